"""Ways of adapting a base: each turns (model, task, draws) into an `Adapted` bank."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from adaptlens.prompts.sizes import PromptSizes
from adaptlens.stats.scores import Family
from adaptlens.types import Adapted, CostEstimate, Task

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


class Adaptation(Protocol):
    """What every adaptation offers; its fields are its recorded arguments.

    Attributes:
        name: what it is registered by.
        family: what it changes: nothing, the prompt alone, or the weights.
        draws_per_cell: how many draws one cell may hold (None: any number; full tuning: 1).

    Some say more: `style` (`report.theme.Style`), how figures show it, where that is not left to
    the project; `every_template`, whether each template of a task is read;
    `settled(task, model)`, itself with what defaults stand for, by which its cells are named;
    `sketch(task, query, way)`, a prompt as long as those to come, where it has more than the
    instruction and the query.
    """

    name: str
    family: Family
    draws_per_cell: int | None

    @property
    def label(self) -> str:
        """The condition's name in tables, such as "icl-16"."""
        ...

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return what adapting takes in all draws of a cell, reading the test items not counted."""
        ...

    def adapt(
        self, lm: Any, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return the adapted bank, one variant per draw."""
        ...
