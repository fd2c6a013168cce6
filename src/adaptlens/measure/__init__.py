"""Measurements: each reads one adapted bank into numbers and arrays.

None of them trains.
"""

from collections.abc import Callable
from typing import Any, Protocol

from adaptlens.measure.axes import Stated
from adaptlens.prompts.sizes import PromptSizes
from adaptlens.types import Adapted, CostEstimate, Measured, Task

Progress = Callable[[int, int], None]
"""Called with (requests done, requests in all)."""


class Measurement(Protocol):
    """What every measurement offers; its fields are its recorded arguments.

    `axes` states those of its arrays, as `measure.axes.AXES` has them; `cost_estimate` says what
    it will take, which `plan` shows.
    """

    name: str
    axes: Stated

    def cost_estimate(self, sizes: PromptSizes) -> CostEstimate:
        """Return the tokens it reads and writes in all draws of a cell, and its arrays' bytes."""
        ...

    def measure(
        self, lm: Any, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return what was found; its arrays have the axes that `axes` states."""
        ...
