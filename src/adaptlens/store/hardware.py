"""The machine that a cell was made on, written down with it."""

import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from adaptlens.formatting import byte_size, counted
from adaptlens.store.versions import UNKNOWN


def hardware() -> dict[str, Any]:
    """Return this machine's processor, cores, memory in bytes, and system."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
    }


def in_words(machines: Iterable[Mapping[str, Any]]) -> str:
    """Return the machines that cells were made on, once each.

    Args:
        machines: of each cell: what `hardware` returns and, where it is known, `device` and
            `threads`; empty where nothing was written down.
    """
    return "; ".join(dict.fromkeys(_sentence(one) if one else UNKNOWN for one in machines))


def _sentence(machine: Mapping[str, Any]) -> str:
    parts = [
        machine.get("device", ""),
        f"{machine['processor']}, {counted(machine['cores'], 'core')}",
        counted(machine["threads"], "thread") if "threads" in machine else "",
        f"{byte_size(machine['memory_bytes'])} of memory",
        machine["system"],
    ]
    return ", ".join(filter(None, parts))


def _processor() -> str:
    """Return the processor's name as the system has it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(filter(None, names)), platform.processor() or platform.machine())
