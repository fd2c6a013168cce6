"""What benchmarks measure with: seconds, memory, and the machine's limits."""

import functools
import time
from collections.abc import Callable
from pathlib import Path

import torch


def clock() -> float:
    """Return seconds to subtract: of the processor on one thread, of the wall on several.

    The first leave out the time in which a shared machine runs others.
    """
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def synchronize(device: str = "cpu") -> None:
    """Wait for what an accelerator was given to do; a processor has done it already."""
    if device != "cpu":
        torch.cuda.synchronize()


def seconds(run: Callable[[], object], device: str = "cpu") -> float:
    """Return how long a call takes, what it gave an accelerator to do included."""
    read = clock if device == "cpu" else time.perf_counter
    synchronize(device)
    start = read()
    run()
    synchronize(device)
    return read() - start


def matrix_peak(
    size: int = 2048,
    repeats: int = 5,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> float:
    """Return the operations a second of the best of some large matrix products."""
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    out = torch.empty_like(a)
    multiply = functools.partial(torch.mm, a, b, out=out)
    return 2 * size**3 / min(seconds(multiply, device) for _ in range(repeats))


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
