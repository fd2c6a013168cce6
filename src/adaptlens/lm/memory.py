"""How much memory a forward pass may take, and what is done where it runs out."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import psutil
import torch

from adaptlens.errors import UserError
from adaptlens.lm.architecture import Architecture

T = TypeVar("T")

# More tokens a pass than this gain nothing: a processor's caches overflow, an accelerator is full.
_MOST_TOKENS = {"cpu": 2048, "cuda": 32768, "mps": 8192}
_GIB = 2**30


def default_budget(device: torch.device) -> int:
    """Return the bytes forward passes may use where the user names no budget.

    Half of what is free, rounded down to a power of two and at most 1 GiB (16 GiB on an
    accelerator), so that the same machine plans the same chunks.
    """
    if device.type == "cuda":
        free, most = torch.cuda.mem_get_info(device)[0], 16 * _GIB
    elif device.type == "mps":
        free, most = torch.mps.recommended_max_memory(), 4 * _GIB
    else:
        free, most = psutil.virtual_memory().free, _GIB
    return min(1 << max(int(free // 2).bit_length() - 1, 26), most)


class Chunk:
    """Some of the things to run; a context that ends quietly where memory runs out."""

    def __init__(self, low: int, high: int) -> None:
        """Stand for the things from number `low` to `high` - 1."""
        self.low, self.high, self.ran_out = low, high, False

    def __enter__(self) -> tuple[int, int]:
        return self.low, self.high

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.ran_out = isinstance(error, RuntimeError) and _is_out_of_memory(error)
        return self.ran_out


def halving(count: int, most: int, device: torch.device, too_large: str) -> Iterator[Chunk]:
    """Yield chunks of 0 to `count` in order; one that runs out of memory again, half as large.

    What is done in a chunk before memory runs out is not undone, and is done anew.

    Args:
        count: how many things there are to run.
        most: how many to run at once; 1 where it is less.
        device: whose memory it is.
        too_large: says of a single thing that it "does not fit".

    Raises:
        UserError: memory ran out for a single thing.
    """
    low, most = 0, max(most, 1)
    while low < count:
        chunk = Chunk(low, min(low + most, count))
        yield chunk
        if not chunk.ran_out:
            low = chunk.high
            continue
        _free(device)
        most = (chunk.high - low) // 2
        if not most:
            raise does_not_fit(too_large, device)


def attempt(run: Callable[[], T], device: torch.device) -> T | None:
    """Return what `run` returns, or None where memory ran out, which is then free again."""
    try:
        return run()
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
    # Only now is nothing left of the failed call that would hold on to memory.
    _free(device)
    return None


def does_not_fit(what: str, device: torch.device) -> UserError:
    """Return the error that says what "does not fit" the memory, and the way out."""
    return UserError(
        f"{what} the memory of {device}; use shorter prompts, a smaller dtype or a smaller model."
    )


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that an allocation failed, on whichever device."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "can't allocate memory" in text or "out of memory" in text


def pass_tokens(parts: Architecture, prefix: int, width: int, budget_bytes: int) -> int:
    """Return how many tokens, in rows of `width` after a cached prefix, a pass may hold.

    A token needs its activations (about 8 widths in the residual stream and attention, and 12 in
    the feed-forward part), its row of the mask (and of the scores where they are written out), and
    its share of its row's keys and values.
    """
    weight = next(parts.backbone.parameters())
    size = weight.element_size() if weight.is_floating_point() else 4
    config: Any = parts.backbone.config
    scores = 2 * parts.num_heads if config._attn_implementation == "eager" else 0
    a_token = size * 20 * parts.width + (prefix + width) * (4 + size + size * scores)
    a_row = 4 * size * parts.num_heads * parts.head_width * (prefix + width)
    tokens = budget_bytes // (a_token + a_row // width)
    return int(min(max(tokens, width), _MOST_TOKENS.get(weight.device.type, 8192)))


def keep_freed_memory() -> None:
    """Let the C library reuse large freed blocks instead of giving them back after every use.

    Page faults of blocks mapped afresh took a third of a training step on 2 cores, most of it when
    other processes ran. Only glibc has the two settings (mallopt(3)): M_MMAP_MAX, M_TRIM_THRESHOLD.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(-4, 0)
            library.mallopt(-1, 2**31 - 1)
