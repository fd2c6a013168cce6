"""Measurements: each reads one adapted bank and returns numbers and arrays. None of them trains."""

from collections.abc import Callable
from typing import Any, Protocol

from adaptlens.axes import Stated
from adaptlens.values import Adapted, Measured, Task

Progress = Callable[[int, int], None]
"""Called with (requests done, requests in all)."""


class Measurement(Protocol):
    """What every measurement offers; its fields are its recorded arguments.

    `axes` states those of its arrays, as `axes.AXES` has them.
    """

    name: str
    axes: Stated

    def measure(
        self, lm: Any, task: Task, adapted: Adapted, *, progress: Progress | None = None
    ) -> Measured:
        """Return what was found; its arrays have the axes that `axes` states."""
        ...
