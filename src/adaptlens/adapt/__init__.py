"""Ways of adapting a base: each turns (model, task, draws) into an `Adapted` bank."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from adaptlens.types import Adapted, Task

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


class Adaptation(Protocol):
    """What every adaptation offers; its fields are its recorded arguments.

    `draws_per_cell` is how many draws one cell may hold (None: any number; full tuning: 1).
    """

    name: str
    draws_per_cell: int | None

    @property
    def label(self) -> str:
        """The condition's name in tables, such as "icl-16"."""
        ...

    def adapt(
        self, lm: Any, task: Task, draws: Sequence[int], *, progress: Progress | None = None
    ) -> Adapted:
        """Return the adapted bank, one variant per draw."""
        ...
