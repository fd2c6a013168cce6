"""What benchmarks measure with: seconds, memory, and the machine's limits."""

import time
from pathlib import Path

import torch


def clock() -> float:
    """Return seconds to subtract: of the processor on one thread, of the wall on several.

    The first leave out the time in which a shared machine runs others.
    """
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def matrix_peak(size: int = 2048, repeats: int = 5) -> float:
    """Return the operations a second of the best of some large float32 matrix products."""
    a, b = torch.randn(2, size, size)
    out, shortest = torch.empty(size, size), float("inf")
    for _ in range(repeats):
        start = clock()
        torch.mm(a, b, out=out)
        shortest = min(shortest, clock() - start)
    return 2 * size**3 / shortest


def peak_bytes(device: str = "cpu") -> int:
    """Return the largest resident set so far, or on an accelerator the most that was allocated."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")


def reset_peak(device: str = "cpu") -> None:
    """Let `peak_bytes` count from now on."""
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")
    else:
        torch.cuda.reset_peak_memory_stats()
