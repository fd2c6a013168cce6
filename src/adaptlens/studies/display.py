"""How a study gets on, on standard error: all cells with an ETA, and the steps of the current."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from adaptlens.formatting import counted, duration, visible
from adaptlens.report.printer import err
from adaptlens.studies.growth import grown
from adaptlens.types import NO_DRAWS

if TYPE_CHECKING:
    from adaptlens.cells import Cell

FIRST_WORD_SECONDS = 30.0
"""After so long a cell's steps are told where nothing moves, and again after:"""
NEXT_WORD_SECONDS = 60.0


class Display:
    """Shows how a study gets on: all cells with an ETA, and the steps of the current one.

    Nothing moves when standard error is not a terminal; then each finished cell is one line, and
    so is how far a long one is, now and then.
    """

    def __init__(self) -> None:
        self._console = err()
        self._moving = self._console.is_terminal
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", justify="left", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._moving,
            transient=True,
        )
        self._cells: TaskID | None = None
        self._steps: TaskID | None = None
        self._total = 0
        self._done = 0
        self._holders = ""
        self._name = ""
        self._step = ""
        self._step_began = self._next_word = 0.0

    def __enter__(self) -> "Display":
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing and leave the terminal clean."""
        self._progress.stop()

    def begin(self, total: int, done: int) -> None:
        """Show the number of cells; cells done before do not count towards the ETA.

        Begun again with more, it says why there are more.
        """
        first, self._total, self._done = self._total, total, done
        if first and total > first:
            self._console.print(grown(first, total, done))
        elif done:
            self._console.print(f"{done} of {total} cells were done before; continuing.")
        if self._cells is not None:
            self._progress.remove_task(self._cells)
            self._cells = None
        if total > done:
            self._cells = self._progress.add_task("cells", total=total - done)

    def started(self, cell: "Cell") -> None:
        """Show which cell runs; where several do, the latest."""
        self._clear()
        self._name = visible(f"{cell.task.name} {cell.label}")
        self._steps = self._progress.add_task(self._name, total=None)
        self._step = ""
        self._next_word = time.monotonic() + FIRST_WORD_SECONDS

    def progress(self, what: str, done: int, total: int) -> None:
        """Show the current cell's steps."""
        if self._steps is not None:
            self._progress.update(
                self._steps, description=f"{self._name}: {what}", completed=done, total=total
            )
        if not self._moving:
            self._tell(what, done, total)

    def _tell(self, what: str, done: int, total: int) -> None:
        """Say how far the current cell is, and how long its step will go on, if it is time to."""
        now = time.monotonic()
        if what != self._step:
            self._step, self._step_began = what, now
        if now < self._next_word:
            return
        self._next_word = now + NEXT_WORD_SECONDS
        left = (now - self._step_began) * (total - done) / done if done else 0.0
        more = f", about {duration(left)} left" if left else ""
        self._console.print(
            f"[{self._done}/{self._total}] {self._name}: {what}, {done} of {total}{more}"
        )

    def finished(self, cell: "Cell") -> None:
        """Count a cell."""
        self._close()
        self._done += 1
        if not self._moving:
            draws = counted(len(cell.draws), "draw") if cell.draws != NO_DRAWS else "no draws"
            self._console.print(
                f"[{self._done}/{self._total}] {cell.model.name} {cell.task.name} "
                f"{cell.label} ({draws})"
            )

    def failed(self, cell: "Cell", message: str) -> None:
        """Say that a cell failed."""
        self._close()
        text = f"failed: {cell.model.name} {cell.task.name} {cell.label}: {message}"
        self._console.print(Text(text, style="red"))

    def waiting(self, cells: int, holders: str) -> None:
        """Say that other processes hold what is left, and which, once for each change."""
        if not holders or holders == self._holders:
            return
        self._holders = holders
        said = f"waiting for {counted(cells, 'cell')} held by {holders}"
        self._console.print(said, markup=False)
        if self._steps is None:
            self._steps = self._progress.add_task("waiting", total=None)

    def _clear(self) -> None:
        if self._steps is not None:
            self._progress.remove_task(self._steps)
            self._steps = None

    def _close(self) -> None:
        self._clear()
        if self._cells is not None:
            self._progress.advance(self._cells)
