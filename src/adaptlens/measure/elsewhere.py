"""What an adapted model does with items that it was not adapted to: `Task.elsewhere`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from adaptlens.errors import UserError
from adaptlens.lm.asked import Asked
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.measure import Progress
from adaptlens.measure.axes import AXES, Stated
from adaptlens.measure.behavior import Rows, as_written, choices, generation, scored
from adaptlens.models import shape
from adaptlens.prompts import render
from adaptlens.prompts.fitting import fit
from adaptlens.prompts.sizes import PromptSizes, spread
from adaptlens.types import Adapted, CostEstimate, Elsewhere, Example, Measured, Part, Prompt, Task

LOOKED_AT = 16
"""Items of which the tokens are counted, to know about how many all have."""

ROLES = ("ood", "also", "text")

Write = Callable[[Example], Prompt]


@dataclass(frozen=True)
class BehaviorElsewhere:
    """Scores every set of `Task.elsewhere`, as `Behavior` scores the test split.

    The arrays of set number i are `ROLEi.NAME`, with the names that `Behavior` gives them. Items of
    another domain ("ood") are read by every variant. Other tasks ("also") are read without
    demonstrations, under their one template, by each draw's weights. Of plain text ("text")
    `target_loglik` is that of all but its first word, and `bytes` [queries] how long that is.

    Attributes:
        roles: of the sets that are read; what changes no weights need not read "also" and "text".
    """

    roles: tuple[str, ...] = ROLES

    name: ClassVar[str] = "elsewhere"
    axes: ClassVar[Stated] = AXES["elsewhere"]

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the work of reading every set."""
        prompts = read = written = 0.0
        for _, one in self._sets(sizes.task):
            ways = len(sizes.ways) if one.role == "ood" else 1
            queries = ways * len(one.task.test)
            if one.role == "ood":
                tokens = sizes.read(queries, sizes.options, groups=ways)
            else:
                tokens = queries * _tokens(one.task, sizes.model)
            prompts += sizes.num_draws * queries
            read += sizes.num_draws * tokens
            if one.task.kind == "generation" and one.role != "text":
                written += sizes.num_draws * queries * sizes.answer
        disk = 32.0 * prompts * max(1.0, sizes.choices)
        return CostEstimate(prompts, read, written_tokens=written, disk_bytes=disk)

    def measure(
        self, lm: Asked, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return the arrays above; none where the task names no such items."""
        arrays: dict[str, np.ndarray] = {}
        work = ForwardStats()
        for number, one in self._sets(task):
            start, asked = f"{one.role}{number}.", one.task
            if one.role == "ood":
                splits = {start: as_written(adapted, asked.test)}
            else:
                write = _beginning if one.role == "text" else partial(_asked, lm, asked)
                splits = {start: _by_weights(adapted, asked.test, write)}
            if one.role == "text":
                _check_lengths(lm, one)
                (found,) = scored(lm, adapted, [*splits.values()], progress, work)
                rests = (_parted(text.target)[1] for text in asked.test)
                arrays[start + "target_loglik"] = np.array(
                    [[float(x[0]) for x in row] for row in found]
                )
                arrays[start + "bytes"] = np.array([len(rest.encode()) for rest in rests])
            elif asked.kind == "choice":
                arrays |= choices(lm, asked, adapted, splits, progress, work)
            else:
                arrays |= generation(lm, asked, adapted, splits, progress, work)[0]
        return Measured(arrays=arrays)

    def _sets(self, task: Task) -> list[tuple[int, Elsewhere]]:
        """Return the sets that are read, by their numbers."""
        return [(i, one) for i, one in enumerate(task.elsewhere) if one.role in self.roles]


def _by_weights(adapted: Adapted, queries: Sequence[Example], write: Write) -> Rows:
    """Return queries as each draw reads them, whatever its prompt: by its weights alone."""
    draws = len(adapted.draws) // (len(adapted.templates) or 1)

    def rows(queries: Sequence[Example]) -> list[list[Prompt]]:
        return [[write(query) for query in queries]] * draws

    return Rows(queries, tuple(range(draws)), rows)


def _asked(lm: Asked, task: Task, query: Example) -> Prompt:
    return fit(lm, task, (), query, on_overflow="error")


def _beginning(text: Example) -> Prompt:
    """Return a text's first word as a prompt, and the rest as its one answer."""
    first, rest = _parted(text.target)
    return Prompt((Part("query", first),), (rest,), text.id, target=rest)


def _check_lengths(lm: Asked, one: Elsewhere) -> None:
    """Refuse texts that are longer than the model's context.

    Raises:
        UserError: one is.
    """
    for text in one.task.test:
        if (excess := len(lm.encode(text.target)) - lm.context_tokens) > 0:
            raise UserError(
                f"{text.id} of '{one.name}' is {excess} tokens longer than the context of "
                f"{lm.context_tokens} tokens; break the text into shorter lines."
            )


def _parted(text: str) -> tuple[str, str]:
    """Return a text's first word, and the rest, which begins with white space."""
    end = len(text.split(maxsplit=1)[0])
    return text[:end], text[end:]


def _tokens(task: Task, model: str) -> float:
    """Return about how many tokens an item and its answers have."""
    items = spread(task.test, LOOKED_AT)
    texts = [
        render.render(task, (), item).text + "".join(item.choices or task.choices or (item.target,))
        for item in items
    ]
    return sum(shape.token_counts(model, texts)) / len(items)
