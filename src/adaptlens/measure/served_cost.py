"""What a query costs at a server: tokens, and the seconds until it is answered."""

import time
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

import numpy as np

from adaptlens.errors import UserError
from adaptlens.lm.served import Served
from adaptlens.measure import Progress
from adaptlens.measure.axes import AXES, Stated
from adaptlens.prompts.sizes import PromptSizes, common
from adaptlens.types import Adapted, CostEstimate, Measured, Task

SAMPLE_QUERIES = 8


@dataclass(frozen=True)
class ServedCost:
    """Counts the tokens of a query, as the server's tokenizer cuts it, and times a few.

    Tokens are means over `SAMPLE_QUERIES` + 1 test queries; cached tokens are those of the
    beginning that all of them share, which a server with a prefix cache reads once. Seconds are the
    median of single queries of the first variant, each one token long, from here and back: network,
    queue and all, whoever else the server works for. Operations and memory are the server's, and
    nobody here can know them. Of a server that does not tell tokens, nothing is counted here.
    """

    name: ClassVar[str] = "served_cost"
    axes: ClassVar[Stated] = AXES["served_cost"]

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of nine prompts one by one."""
        return CostEstimate(prompts=9.0, single_tokens=9 * (sizes.shared + sizes.rest))

    def measure(
        self, lm: Served, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the numbers above, means over variants; those of each variant are the arrays."""
        if not isinstance(lm, Served):
            raise UserError(f"served_cost was asked for of '{lm.name}', which is not served.")
        queries = task.test[: SAMPLE_QUERIES + 1]
        sent = [
            [adapted.write(variant, query) for query in queries]
            for variant in range(len(adapted.draws))
        ]
        arrays = {}
        if lm.at.has_tokenizer:
            texts = [[prompt.text for prompt in row] for row in sent]
            beginnings = [common(row) for row in texts]
            sizes = iter(lm.token_counts([t for row in texts for t in row] + beginnings))
            arrays["query_tokens"] = np.array(
                [np.mean([next(sizes) for _ in row]) for row in texts]
            )
            arrays["cached_tokens"] = np.array([float(next(sizes)) for _ in beginnings])
            answers = [[prompt.answers or (prompt.target,) for prompt in row] for row in sent]
            flat = iter(lm.token_counts([a for row in answers for one in row for a in one]))
            arrays["answer_tokens"] = np.array(
                [np.mean([sum(next(flat) for _ in one) for one in row]) for row in answers]
            )
        taken = []
        for prompt in sent[0]:
            start = time.perf_counter()
            lm.continuations([prompt], None, 1, weights=adapted.weights)
            taken.append(time.perf_counter() - start)
        numbers = {name: float(values.mean()) for name, values in arrays.items()}
        return Measured({**numbers, "query_seconds": median(taken[1:] or taken)}, arrays)
