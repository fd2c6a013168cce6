"""Prompts are read in portions whose tokens fit in memory together.

A thousand demonstrations before each of a thousand queries are gigabytes of token ids, though the
model reads nearly all of them once.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from adaptlens.types import Prompt

Told = Callable[[int, int], None]
T = TypeVar("T")

MOST_CHARACTERS = 2**26
"""Of a portion, prompts counted once and once more for each answer."""
_BEGINNING = 4096
"""Prompts that agree in so many characters are read one after the other."""


def in_portions(
    prompts: Sequence[Prompt],
    variants: Sequence[int] | None,
    read: Callable[[Sequence[Prompt], Sequence[int] | None, Told | None], Sequence[T]],
    *,
    progress: Told | None = None,
    most_characters: int = MOST_CHARACTERS,
) -> list[T]:
    """Return what `read` returns of every prompt, in their order.

    All are one portion where they fit. Else those that begin alike, and are of the same variant,
    are neighbors, so that of what they share little is read twice.

    Args:
        prompts: what is read.
        variants: who reads each; None is the same for all.
        read: called with a portion's prompts, their variants and whom to tell of progress; returns
            one value a prompt.
        progress: called with (done, all): of one portion as `read` counts, else in prompts.
        most_characters: of a portion, unless a single prompt has more.
    """
    sizes = [len(prompt.text) * (1 + len(prompt.answers)) for prompt in prompts]
    if sum(sizes) <= most_characters:
        return list(read(prompts, variants, progress))
    owners = variants or [0] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda n: (owners[n], prompts[n].text[:_BEGINNING], n))
    found: dict[int, T] = {}
    for numbers in _portions(order, sizes, most_characters):
        told = _further(progress, len(found), len(numbers), len(prompts)) if progress else None
        own = [owners[n] for n in numbers] if variants else None
        found.update(zip(numbers, read([prompts[n] for n in numbers], own, told), strict=True))
    return [found[n] for n in range(len(prompts))]


def _portions(order: Sequence[int], sizes: Sequence[int], most: int) -> list[list[int]]:
    """Return the numbers in runs whose sizes add up to at most so much; none is empty."""
    portions: list[list[int]] = []
    room = 0
    for n in order:
        if not portions or sizes[n] > room:
            portions.append([])
            room = most
        portions[-1].append(n)
        room -= sizes[n]
    return portions


def _further(progress: Told, before: int, size: int, total: int) -> Told:
    """Return what is told of a portion of this size, those before it being done."""

    def told(done: int, of: int) -> None:
        progress(before + size * done // max(of, 1), total)

    return told
