"""A measurement: how many words every prompt has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from adaptlens.prompts.sizes import PromptSizes
from adaptlens.types import Adapted, CostEstimate, Measured, Task


@dataclass(frozen=True)
class Words:
    """`words` [repeats, queries], and their mean."""

    name: ClassVar[str] = "words"
    axes: ClassVar[Mapping[str, tuple[str, ...]]] = {"words": ("repeats", "queries")}

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the prompts written down and the bytes kept; no model reads anything."""
        prompts = float(len(sizes.ways) * sizes.num_draws * len(sizes.task.test))
        return CostEstimate(prompts=prompts, disk_bytes=8 * prompts)

    def measure(self, lm: Any, task: Task, adapted: Adapted, *, progress: Any = None) -> Measured:
        """Return the array above."""
        counted = [
            [len(adapted.write(variant, query).text.split()) for query in task.test]
            for variant in range(len(adapted.draws))
        ]
        words = np.array(counted, dtype=float)
        return Measured({"words": float(words.mean())}, {"words": words})
