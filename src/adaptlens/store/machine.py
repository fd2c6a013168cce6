"""This machine and its processes, by names that no other machine or later process has."""

import functools
import os
import socket
from pathlib import Path

import psutil

_GONE = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


@functools.cache
def machine() -> str:
    """Return a name shared exactly by the processes whose numbers can be looked up from here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def process_start(pid: int) -> str:
    """Return when the process started, or "" where no such process runs.

    In clock ticks since boot, which setting the clock does not change, where the system counts so
    (Linux); else in hundredths of a second since 1970.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in _GONE:
            return ""
        if not psutil.LINUX:
            return str(round(100 * process.create_time()))
        since_boot = process.create_time() - psutil.boot_time()
    except psutil.NoSuchProcess:
        return ""
    return str(round(since_boot * os.sysconf("SC_CLK_TCK")))


def is_stopped(pid: int) -> bool:
    """Say whether the process is stopped, by a signal or a debugger, and so does nothing."""
    try:
        return psutil.Process(pid).status() in _STOPPED
    except psutil.NoSuchProcess:
        return False
