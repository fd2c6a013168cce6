"""Who has a base model in hand, so that two workers do not load the same one while others wait.

Leases are courtesy: they steer which base a worker takes next. That no cell is done twice is what
claims are for (`store.claims`).
"""

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from adaptlens.store import Run
from adaptlens.store.files import writing
from adaptlens.store.owners import Heartbeat, Owner, create_claim, locked, read_owner

FOLDER = "leases"


class Lease:
    """The word of this process that it drains a base; `lease` hands it out. A context manager."""

    def __init__(self, path: Path, lock: Path) -> None:
        """Take the base. The caller holds the lock and has seen that the base is free."""
        self._path, self._lock = path, lock
        self._owner = Owner.this_process()
        with writing(path):
            path.unlink(missing_ok=True)
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
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    with locked(run.folder / "lock") as now:
        return None if _is_live(path, now) else Lease(path, run.folder / "lock")


def is_held(run: Run, cell: str) -> bool:
    """Whether a live process works on the cell at this moment."""
    return _is_live(run.cell_folder(cell) / "claim", time.time())


def failure(run: Run, cell: str, since: datetime) -> str | None:
    """Return why the cell failed, in one line, if that was its latest event and not before `since`.

    Several workers so leave alone what one of them has found not to work; a later command tries it
    again.
    """
    last = next(
        (e for e in reversed(run.log(cell)) if e["event"] in ("claimed", "failed", "released")),
        None,
    )
    if last is None or last["event"] != "failed" or datetime.fromisoformat(last["time"]) < since:
        return None
    return str(last["error"]).strip().splitlines()[-1]


def now() -> datetime:
    """Return the time as the cells' logs write it: UTC, to the millisecond."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _is_live(path: Path, now: float) -> bool:
    try:
        silent_seconds = now - path.stat().st_mtime
    except FileNotFoundError:
        return False
    owner = read_owner(path)
    return owner is not None and owner.is_live(silent_seconds)
