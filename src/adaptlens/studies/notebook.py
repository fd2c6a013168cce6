"""A study's progress in a notebook: one line below the cell, always the same one."""

import html
import importlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import counted, visible
from adaptlens.studies.growth import grown

if TYPE_CHECKING:
    from adaptlens.cells import Cell

_SECONDS = 0.5
"""Between two changes of the line."""


def is_here() -> bool:
    """Return whether this process shows what it puts out in a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and shell.has_trait("kernel")


class Line:
    """Shows how a study gets on, without widgets; what failed stays, in lines of its own."""

    def __init__(self) -> None:
        # The notebook's own, which is there where a notebook is.
        self._display: Any = importlib.import_module("IPython.display")
        self._shown: Any = None
        self._total = self._done = self._before = 0
        self._cell = self._step = ""
        self._began = time.monotonic()
        self._last = 0.0

    def __enter__(self) -> "Line":
        """Show the line."""
        self._shown = self._display.display(self._html("planning"), display_id=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave what was done, and how long it took."""
        taken = f"in {time.monotonic() - self._began:.0f} s"
        done = self._done - self._before
        said = f"{counted(done, 'cell')} done {taken}" if done else f"nothing left to do, {taken}"
        if error is not None:
            said = f"stopped after {counted(self._done, 'cell')} of {self._total}"
        self._shown.update(self._html(said))

    def begin(self, total: int, done: int) -> None:
        """Show the number of cells; begun again with more, say for good why there are more."""
        if self._total and total > self._total:
            self._display.display(self._html(grown(self._total, total, done)))
        # What was done since it was begun first was done here.
        self._before += done - self._done
        self._total, self._done = total, done
        self._show()

    def started(self, cell: "Cell") -> None:
        """Show which cell runs."""
        self._cell, self._step = f"{cell.task.name} {cell.label}", ""
        self._show()

    def progress(self, what: str, done: int, total: int) -> None:
        """Show the current cell's steps, now and then."""
        self._step = f"{what} {done}/{total}"
        if time.monotonic() - self._last > _SECONDS:
            self._show()

    def finished(self, cell: "Cell") -> None:
        """Count a cell."""
        self._done += 1
        self._cell = self._step = ""
        self._show()

    def failed(self, cell: "Cell", message: str) -> None:
        """Say that a cell failed, and why."""
        self._done += 1
        name = f"{cell.model.name} {cell.task.name} {cell.label}"
        self._display.display(self._html(f"failed: {name}: {message}"))

    def waiting(self, cells: int, holders: str) -> None:
        """Say that other processes hold what is left."""
        self._cell = f"waiting for {counted(cells, 'cell')} held by {holders}"
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        self._last = now
        parts = [f"{self._done}/{self._total} cells", f"{self._cell} {self._step}".strip()]
        if (here := self._done - self._before) and self._done < self._total:
            left = (now - self._began) / here * (self._total - self._done)
            parts.append(f"about {left:.0f} s left")
        self._shown.update(self._html(" · ".join(filter(None, parts))))

    def _html(self, text: str) -> Any:
        return self._display.HTML(f"<small>{html.escape(visible(text))}</small>")
