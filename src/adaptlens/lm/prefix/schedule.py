"""What to compute, in which order, so that long shared prefixes are computed once for all rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from adaptlens.lm.prefix.trie import Order, sort

# A cache costs one more forward pass for the prefix, and its sequences no longer share batches
# with others. In tokens' worth of work, measured on 2 CPU cores with an 18M model.
_CACHE_COST_TOKENS = 96
_LEAST_CACHED_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Stage:
    """A prefix to put in a cache, and what is read after it.

    Attributes:
        start: tokens cached already, by the stage above.
        stop: tokens cached once tokens start..stop of sequence `source` are added.
        source: number of a sequence that begins with this prefix.
        sequences: numbers of the sequences packed right after this prefix.
        deeper: stages that lengthen the prefix further.
    """

    start: int = 0
    stop: int = 0
    source: int = -1
    sequences: tuple[int, ...] = ()
    deeper: tuple["Stage", ...] = field(default=())


def plan(
    sequences: Sequence[Sequence[int]],
    wanted: Sequence[int],
    row_tokens: int,
    numbers: Sequence[int] | None = None,
    variants: Sequence[int] = (),
) -> Stage:
    """Return the stages that read the sequences (all, or those numbered) that share prefixes.

    A prefix is cached where packing alone would write it into so many rows that the repeats cost
    more than a further forward pass.

    Args:
        sequences: token ids of each sequence.
        wanted: per sequence, the first token whose state is wanted; no cache reaches it.
        row_tokens: the width of packed rows.
        numbers: which sequences to plan for.
        variants: per sequence, the variant whose rows it is packed into; one for all if empty.
    """
    order = sort(sequences, numbers)
    if not len(order.numbers):
        return Stage()
    least = [wanted[n] for n in order.numbers]
    readers = [variants[n] for n in order.numbers] if variants else [0] * len(least)
    return _stage(order, least, readers, 0, len(order.numbers), 0, 0, row_tokens)


def _stage(
    order: Order,
    least: list[int],
    readers: list[int],
    low: int,
    high: int,
    start: int,
    stop: int,
    row_tokens: int,
) -> Stage:
    """Return the stage that reads low..high, whose first `stop` tokens are to be cached."""
    here: list[int] = []
    deeper: list[Stage] = []
    ranges = [(low, high)]
    while ranges:
        a, b = ranges.pop()
        depth = min(order.depth(a, b), min(least[a:b]))
        own = len({*readers[a:b]})
        below = own * order.num_tokens(a, b, max(depth, stop))
        repeats = max(own, -(-below // row_tokens)) - 1
        new = depth - stop
        if b - a > 1 and new >= _LEAST_CACHED_TOKENS and repeats * new > _CACHE_COST_TOKENS:
            deeper.append(_stage(order, least, readers, a, b, stop, depth, row_tokens))
        elif b - a == 1 or below <= row_tokens:
            here.extend(range(a, b))
        else:
            ranges.extend(reversed(order.children(a, b)))
    numbers = tuple(int(order.numbers[i]) for i in here)
    return Stage(start, stop, int(order.numbers[low]), numbers, tuple(deeper))


def row_width(prefix: int) -> int:
    """Return the width of packed rows that is good after a prefix of this length.

    Wide rows share one copy of the prefix among more tokens; narrow ones waste less attention on
    tokens that do not see each other.
    """
    return max(128, min(prefix // 4, 512))
