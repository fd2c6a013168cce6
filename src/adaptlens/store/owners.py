"""Who holds a cell: one claim file, one winner, and a way to tell the dead from the slow.

Every decision about claims is made under the run's lock (`flock`, which the kernel gives up when
its holder dies), so that the claim of a killed process has exactly one heir.
"""

import errno
import fcntl
import functools
import json
import os
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from adaptlens.errors import UserError
from adaptlens.store.files import write_new, writing

HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 120.0
"""A claim from another machine that was not refreshed for this long is taken over."""


@dataclass(frozen=True, slots=True)
class Owner:
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
    def this_process() -> "Owner":
        """Return a new owner, with a token of its own, for the process that is running."""
        pid = os.getpid()
        return Owner(socket.gethostname(), _machine(), pid, _process_start(pid), uuid.uuid4().hex)

    def is_live(self, silent_seconds: float) -> bool:
        """Say whether the process still works, `silent_seconds` after its last heartbeat."""
        if self.machine == _machine():
            return _process_start(self.pid) == self.process_start != ""
        return silent_seconds < STALE_SECONDS


def read_owner(claim: Path) -> Owner | None:
    """Return who holds the claim file, or None where there is none, or only a torn one."""
    try:
        return Owner(**json.loads(claim.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None


def create_claim(claim: Path, owner: Owner) -> None:
    """Create the claim file; FileExistsError where there is one."""
    write_new(claim, json.dumps(asdict(owner)).encode())


@contextmanager
def locked(lock: Path) -> Iterator[float]:
    """Hold the run's lock; yields the present time by the clock of the disk it is on.

    Heartbeats are file times, so on a network disk they are compared with its clock, not ours.
    """
    with writing(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            raise UserError(
                f"the disk of '{lock.parent}' does not offer file locks, which keep two processes "
                "from doing the same work; put the run on another disk."
            ) from error
        with writing(lock):
            os.utime(descriptor)
        yield os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


class Heartbeat:
    """Refreshes the time of a claim file from a thread until stopped."""

    def __init__(self, claim: Path) -> None:
        """Start refreshing the claim file, which must exist."""
        self._descriptor = os.open(claim, os.O_RDWR)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        # The descriptor, not the path: after a takeover the path is another process's claim.
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._descriptor)

    def stop(self) -> None:
        """Stop refreshing; a second call does nothing."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join()
            os.close(self._descriptor)


@functools.cache
def _machine() -> str:
    """Return a name shared exactly by the processes whose numbers can be looked up from here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _process_start(pid: int) -> str:
    """Return when the process started, or "" where no such process runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return "" if Path("/proc/self/stat").exists() else _process_start_by_ps(pid)
    except ProcessLookupError:
        return ""
    # The second field is the program's name in brackets and may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    state, start = fields[0], fields[19]
    return "" if state in "ZX" else start


def _process_start_by_ps(pid: int) -> str:
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
