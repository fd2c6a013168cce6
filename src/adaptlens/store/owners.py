"""Who holds a cell: one claim file, one winner, and a way to tell the dead from the slow.

Every decision about claims is made under the run's lock (`flock`, which the kernel gives up when
its holder dies), so that the claim of a killed process has exactly one new holder.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from adaptlens.errors import UserError
from adaptlens.store.atomic import STALE_SECONDS, read_bytes, write_new, writing
from adaptlens.store.links import refuse_links
from adaptlens.store.machine import is_stopped, machine, process_start

LOCK_SAID_SECONDS = 3.0
"""After so long it is said who has the lock that is waited for."""
LOCK_SECONDS = 120.0
"""After so long a lock is no longer waited for: its holder, which needs an instant, is stuck."""

_log = logging.getLogger(__name__)
_first_seen: dict[str, tuple[int, float]] = {}
"""Claims dated ahead of the clock: their date, and when, by a clock of our own, it was seen."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a claim.

    `machine` tells boots and process namespaces apart, so that a process number is only looked up
    where it means something; `process_start` tells a process from a later one with its number.
    """

    host: str
    machine: str
    pid: int
    process_start: str
    token: str

    @staticmethod
    def this_process() -> "Holder":
        """Return a new owner, with a token of its own, for the process that is running."""
        pid = os.getpid()
        return Holder(socket.gethostname(), machine(), pid, process_start(pid), uuid.uuid4().hex)

    def is_live(self, silent_seconds: float) -> bool:
        """Say whether the process still works, `silent_seconds` after its last heartbeat.

        One on this machine does while it runs, unless it was stopped as long as one elsewhere may
        be silent.
        """
        if self.machine != machine():
            return silent_seconds < STALE_SECONDS
        if process_start(self.pid) != self.process_start or not self.process_start:
            return False
        return silent_seconds < STALE_SECONDS or not is_stopped(self.pid)

    def said(self) -> str:
        """Return who this is, and until when to wait for what it holds."""
        who = f"process {self.pid} on {self.host}"
        if self.machine != machine():
            return f"{who}, until it ends or is silent for {STALE_SECONDS:.0f} s"
        if is_stopped(self.pid):
            return (
                f"{who}, which is stopped (kill -CONT {self.pid} lets it go on), for "
                f"{STALE_SECONDS:.0f} s at most"
            )
        return f"{who}, until it ends"


def read_owner(claim: Path) -> Holder | None:
    """Return who holds the claim file, or None where there is none, or only a torn one.

    Raises:
        UserError: it is, or lies behind, a link in a run.
    """
    try:
        owner = Holder(**json.loads(read_bytes(claim)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = (owner.host, owner.machine, owner.process_start, owner.token)
    known = all(isinstance(text, str) for text in texts)
    return owner if known and type(owner.pid) is int and owner.pid > 0 else None


def live_owner(claim: Path, now: float) -> Holder | None:
    """Return the process that holds the claim file and still works, or None.

    Args:
        claim: the file, which need not exist.
        now: the present time by the clock of the disk. Of a claim that is dated ahead of it, what
            counts is how long this process has seen it unchanged.
    """
    try:
        dated = os.lstat(claim).st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None
    owner = read_owner(claim)
    if owner is None:
        return None
    silent_seconds = now - dated / 1e9
    if silent_seconds < 0:
        seen, at = _first_seen.get(owner.token, (0, 0.0))
        if seen != dated:
            at = time.monotonic()
            _first_seen[owner.token] = (dated, at)
        silent_seconds = time.monotonic() - at
    return owner if owner.is_live(silent_seconds) else None


def write_owner(claim: Path, owner: Holder) -> None:
    """Create the claim file; FileExistsError where there is one."""
    write_new(claim, json.dumps(asdict(owner)).encode())


@contextmanager
def locked(lock: Path) -> Iterator[float]:
    """Hold the run's lock; yields the present time by the clock of the disk it is on.

    Heartbeats are file times, so on a network disk they are compared with its clock, not ours.
    """
    with writing(lock):
        refuse_links(lock)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(lock, flags, 0o666)
    try:
        _take(descriptor, lock)
        with writing(lock):
            _sign(descriptor)
            os.utime(descriptor)
        yield os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def _take(descriptor: int, lock: Path) -> None:
    """Wait for the lock, with a word on who has it, and not for ever.

    Raises:
        UserError: the disk has no locks, or the lock's holder is stuck.
    """
    start, told, pause = time.monotonic(), False, 0.001
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waited = time.monotonic() - start
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            raise UserError(
                f"the disk of '{lock.parent}' does not offer file locks, which keep two processes "
                "from doing the same work; put the run on another disk."
            ) from error
        if waited >= LOCK_SECONDS:
            raise UserError(
                f"the lock of run '{lock.parent}' has been held for {waited:.0f} s by "
                f"{_holder(lock)}; it is held for an instant only, so let that process go on, or "
                "end it, then run the same command again."
            )
        if waited >= LOCK_SAID_SECONDS and not told:
            told = True
            _log.warning(
                "waiting for the lock of run '%s', held by %s; giving up after %.0f s",
                lock.parent, _holder(lock), LOCK_SECONDS,
            )  # fmt: skip
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _sign(descriptor: int) -> None:
    """Write into the lock who holds it, unless the file has another name elsewhere."""
    if os.fstat(descriptor).st_nlink == 1:
        # On a full disk the lock stays unsigned, which harms nothing.
        with suppress(OSError):
            signature = json.dumps(asdict(Holder.this_process())).encode()
            os.ftruncate(descriptor, os.pwrite(descriptor, signature, 0))


def _holder(lock: Path) -> str:
    owner = read_owner(lock)
    if owner is None:
        return "a process that did not say which"
    stopped = owner.machine == machine() and is_stopped(owner.pid)
    hint = f" (stopped: kill -CONT {owner.pid} lets it go on)" if stopped else ""
    return f"process {owner.pid} on {owner.host}{hint}"
