"""This machine and its processes, by names that no other machine or later process has."""

import functools
import os
import socket
import subprocess
from pathlib import Path


@functools.cache
def machine() -> str:
    """Return a name shared exactly by the processes whose numbers can be looked up from here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def process_start(pid: int) -> str:
    """Return when the process started, or "" where no such process runs."""
    try:
        state, start = _stat(pid)
    except FileNotFoundError:
        return "" if Path("/proc/self/stat").exists() else _by_ps(pid, "lstart")
    except ProcessLookupError:
        return ""
    return "" if state in "ZX" else start


def is_stopped(pid: int) -> bool:
    """Say whether the process is stopped, by a signal or a debugger, and so does nothing."""
    try:
        return _stat(pid)[0] in "Tt"
    except OSError:
        return not Path("/proc/self/stat").exists() and _by_ps(pid, "state").startswith("T")


def _stat(pid: int) -> tuple[str, str]:
    """Return a process's state, one letter, and when it started, from /proc."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    # The second field is the program's name in brackets and may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return fields[0], fields[19]


def _by_ps(pid: int, field: str) -> str:
    command = ["ps", "-o", f"{field}=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
