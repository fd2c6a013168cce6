"""How a study gets on, read from its run folder alone, whoever works on it."""

import time

from adaptlens.cells import Cell, Study, missing
from adaptlens.engines import Outcome, Reporter
from adaptlens.engines.drain import POLL_SECONDS
from adaptlens.store import Run, cell_id

_SHARE = 0.05
"""Of the time may go into looking, however many cells there are and however slow the disk."""


class Watch:
    """Tells a reporter what workers do; begun before they are, so that it misses nothing."""

    def __init__(self, study: Study, run: Run, reporter: Reporter) -> None:
        """Count what is done already."""
        self._run, self._reporter = run, reporter
        pending = missing(study.cells, (record.spec for record in run.records()))
        self._pending = {cell_id(cell.spec()): cell for cell in pending}
        self._seen = {name: len(run.log(name)) for name in self._pending}
        self._total = len(study.cells)
        self._running: set[str] = set()
        self._failed: dict[str, str] = {}
        self.finished = 0
        self.pause_seconds = POLL_SECONDS
        reporter.begin(self._total, self._total - len(self._pending))

    def look(self) -> int:
        """Tell the reporter what has happened since the last look; return how many cells are left.

        `pause_seconds` then says how long to wait before the next.

        Raises:
            UserError: the run cannot be read.
        """
        start = time.perf_counter()
        for name, cell in list(self._pending.items()):
            if self._run.is_done(name):
                self._pending.pop(name)
                self.finished += 1
                self._reporter.finished(cell)
            elif self._run.holder(name):
                if name not in self._running:
                    self._running.add(name)
                    self._reporter.started(cell)
            elif reason := self._run.failure(name, self._seen[name]):
                self._pending.pop(name)
                self._failed[name] = reason
                self._reporter.failed(cell, reason)
        taken = time.perf_counter() - start
        self.pause_seconds = max(POLL_SECONDS, taken / _SHARE)
        return len(self._pending)

    def left(self) -> list[Cell]:
        """Return the cells that are neither done nor failed."""
        return list(self._pending.values())

    def outcome(self) -> Outcome:
        """Return what was finished, found done and failed; cells that are left count as failed."""
        failed = {
            **self._failed,
            **{name: "no worker was left to do it" for name in self._pending},
        }
        return Outcome(
            self.finished, self._total - self.finished - len(failed), tuple(failed.items())
        )
