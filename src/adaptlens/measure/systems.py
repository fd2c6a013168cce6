"""What the five systems answer: by log-likelihood of the options, written out, and by meaning.

The system is that of the adaptation (`adapt.mixed`); a samplegen-tuned model also gives the
pipeline, in which the base model finishes what the tuned one wrote.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from adaptlens.errors import UserError, unknown
from adaptlens.formats import END, Writer, layout, outputs, varied
from adaptlens.lm import score
from adaptlens.lm.encoder import cosine_similarity
from adaptlens.lm.load import LM
from adaptlens.lm.walk import Work
from adaptlens.measure import Progress
from adaptlens.values import Adapted, Example, Measured, Prompt, Task, Weights

SHOWN_EACH = 2
_SPARE_TOKENS = 2
_SPARE_SHARE = 1.1

Similarity = Callable[[Sequence[str], Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Systems:
    """Reads the test items of a mixture under every variant.

    Arrays [repeats, queries], NaN where undefined:

    correct_choice: whether the likeliest option (summed log-probability) is the target. Options
        of samplegen and the pipeline are scored after what was written up to the answer marker;
        without a marker the item counts as wrong.
    correct_exact: whether the answer written is the target.
    correct_semantic: whether the option most like the answer written is the target. An empty
        answer is like some option, too: see the floor.
    unparsed: whether no answer was found in what was written.
    floor_exact, floor_semantic: what these would be, on average, were each item answered with
        what was written for another item of its task.

    `loglik` is [repeats, queries, choices], `chance` [queries] one over the number of options (0
    without). The pipeline's have the prefix "pipeline_". All of a variation have its name and a dot
    before them ("unified.correct_exact").

    Attributes:
        variations: in which prompts are read; "" as the adaptation writes them.
        tasks: read these tasks' items only, all others are NaN; () for all.
        semantic: a sentence encoder's name or folder; "" for no match by meaning.
        pipeline: whether the base model finishes what a samplegen model wrote.
        max_new_tokens: the most an output has; None for what the mixture's texts need.
    """

    variations: tuple[str, ...] = ("",)
    tasks: tuple[str, ...] = ()
    semantic: str = ""
    pipeline: bool = True
    max_new_tokens: int | None = None

    name: ClassVar[str] = "systems"

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("variations", "tasks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.variations:
            raise UserError('systems: no variation was given; give "" for prompts as they are.')

    def measure(
        self, lm: LM, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the arrays above, and prompts as sent with what was written after them.

        Raises:
            UserError: an adaptation that writes no system's prompts, a variation that the system
                cannot be read with, a task that is not read, or an encoder that is not there.
        """
        raise NotImplementedError
