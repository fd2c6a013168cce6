"""Measurements: each reads one adapted bank into numbers and arrays.

None of them trains.
"""

from collections.abc import Callable
from typing import Any, Protocol

from adaptlens.measure.axes import Stated
from adaptlens.types import Adapted, Measured, Task

Progress = Callable[[int, int], None]
"""Called with (requests done, requests in all)."""


class Measurement(Protocol):
    """What every measurement offers; its fields are its recorded arguments.

    `axes` states those of its arrays, as `measure.axes.AXES` has them.
    """

    name: str
    axes: Stated

    def measure(
        self, lm: Any, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return what was found; its arrays have the axes that `axes` states."""
        ...
