"""Who has a base model in hand, so that two workers do not load the same one while others wait.

Leases are courtesy: they steer which base a worker takes next. That no cell is done twice is what
claims are for (`store.lease`).
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from adaptlens.store import Run, make_folder
from adaptlens.store.atomic import remove, writing
from adaptlens.store.events import last_outcome
from adaptlens.store.owners import Heartbeat, Owner, create_claim, live_owner, locked, read_owner

FOLDER = "leases"


class Lease:
    """The word of this process that it drains a base; `lease` hands it out. A context manager."""

    def __init__(self, path: Path, lock: Path) -> None:
        """Take the base. The caller holds the lock and has seen that the base is free."""
        self._path, self._lock = path, lock
        self._owner = Owner.this_process()
        with writing(path):
            if os.path.lexists(path):
                remove(path)
            create_claim(path, self._owner)
            self._heartbeat = Heartbeat(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let others take the base; a second call does nothing."""
        self._heartbeat.stop()
        # A lease that the disk does not let go of ends with its process.
        with suppress(OSError), locked(self._lock):
            if read_owner(self._path) == self._owner:
                self._path.unlink()


def lease(run: Run, base: str) -> Lease | None:
    """Return the right to drain a base, or None where a live process has it.

    Args:
        run: the run.
        base: the digest of the base, as `by_base` gives it.

    Raises:
        UserError: the run cannot be written.
    """
    path = run.folder / FOLDER / base[:20]
    make_folder(path.parent)
    with locked(run.folder / "lock") as now:
        return None if live_owner(path, now) else Lease(path, run.folder / "lock")


def is_held(run: Run, cell: str) -> bool:
    """Whether a live process works on the cell at this moment."""
    return holder(run, cell) is not None


def holder(run: Run, cell: str) -> Owner | None:
    """Return the live process that works on the cell at this moment, or None."""
    return live_owner(run.cell_folder(cell) / "claim", time.time())


def num_events(run: Run, cell: str) -> int:
    """Return how many events the cell's log has; what comes after them is new, by any clock."""
    return len(run.log(cell))


def failure(run: Run, cell: str, seen: int) -> str | None:
    """Return why the cell failed, in one line, if that was its latest event.

    Several workers so leave alone what one of them has found not to work; a later command tries it
    again.

    Args:
        run: the run.
        cell: the cell's id.
        seen: so many of its events are from before, and do not count.
    """
    last = last_outcome(run.log(cell)[seen:])
    if last is None or last["event"] != "failed":
        return None
    return (str(last.get("error", "")).strip().splitlines() or ["it did not say why"])[-1]
