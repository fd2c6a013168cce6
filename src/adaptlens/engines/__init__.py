"""Who does the cells of a study, and what that will take.

Whichever engine does them, the same files are left behind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from adaptlens.cells import Cell, Study
from adaptlens.store import Run


class Reporter(Protocol):
    """Who is told how a study gets on (a progress display, or nobody)."""

    def begin(self, total: int, done: int) -> None:
        """Say how many cells the study has and how many were done before.

        It is said again, with more, where cells follow from what the first ones found.
        """
        ...

    def started(self, cell: Cell) -> None:
        """Say that a cell starts."""
        ...

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far the current cell is."""
        ...

    def finished(self, cell: Cell) -> None:
        """Say that a cell is done."""
        ...

    def failed(self, cell: Cell, message: str) -> None:
        """Say that a cell failed."""
        ...

    def waiting(self, cells: int, holders: str) -> None:
        """Say that only cells held by other processes are left, and who they are."""
        ...


class Silent:
    """A reporter that says nothing."""

    def begin(self, total: int, done: int) -> None:
        """Ignore it."""

    def started(self, cell: Cell) -> None:
        """Ignore it."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Ignore it."""

    def finished(self, cell: Cell) -> None:
        """Ignore it."""

    def failed(self, cell: Cell, message: str) -> None:
        """Ignore it."""

    def waiting(self, cells: int, holders: str) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class Outcome:
    """What an engine did: cells finished here, found done, and failed with their reasons."""

    finished: int
    found_done: int
    failed: tuple[tuple[str, str], ...]


LoadModel = Callable[[Cell], Any]
"""Returns the language model of a cell; an engine holds one at a time."""


class Engine(Protocol):
    """What every engine offers."""

    def run(self, study: Study, run: Run, load: LoadModel, reporter: Reporter) -> Outcome:
        """Finish every cell of the study, or say which failed."""
        ...
