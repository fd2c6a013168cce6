"""What a process has in hand: a file that says so, refreshed while it does, void when it is gone.

A cell's claim, a base model's lease and the mark of a command are all this one.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from adaptlens.errors import UserError
from adaptlens.store.atomic import remove, writing
from adaptlens.store.links import refuse_links
from adaptlens.store.owners import Holder, locked, read_owner, write_owner

HEARTBEAT_SECONDS = 15.0


class Lease:
    """The right of this process to something, until released; a context manager."""

    def __init__(self, path: Path, lock: Path) -> None:
        """Take it; the caller holds the lock and has seen that no live process has it.

        Args:
            path: the file that says who has it; what a dead process left there is removed.
            lock: the run's.

        Raises:
            UserError: the disk refuses.
        """
        self.owner = Holder.this_process()
        self._path, self._lock = path, lock
        with writing(path):
            if os.path.lexists(path):
                remove(path)
            write_owner(path, self.owner)
            try:
                self._heartbeat = _Heartbeat(path)
            except BaseException:
                path.unlink()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def is_ours(self) -> bool:
        """Say whether no other process has taken it over since, as one silent for long may find."""
        return read_owner(self._path) == self.owner

    def release(self, leave: Callable[[float], None] | None = None) -> None:
        """Let others have it; a second call does nothing.

        Args:
            leave: called under the lock with the time by the disk's clock, before others may have
                it, unless another has taken it over already.
        """
        self._heartbeat.stop()
        # Nothing is lost where the disk refuses this: it then ends with the process.
        with suppress(UserError, OSError), locked(self._lock) as now:
            if self.is_ours():
                if leave is not None:
                    leave(now)
                self._path.unlink(missing_ok=True)

    def drop(self) -> None:
        """Give up what was just taken, under the caller's lock."""
        self._heartbeat.stop()
        self._path.unlink()


class _Heartbeat:
    """Refreshes the time of a file from a thread until stopped."""

    def __init__(self, path: Path) -> None:
        refuse_links(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        # The descriptor, not the path: after a takeover the path is another process's.
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._descriptor)

    def stop(self) -> None:
        """Stop refreshing; a second call does nothing."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join()
            os.close(self._descriptor)
