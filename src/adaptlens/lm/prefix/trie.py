"""Token sequences laid out so that every shared prefix is there once.

Sequences that begin alike form a prefix tree. `pack` writes trees into rows in depth-first order:
a token is present once however many sequences run through it, carries the position it has in its
sequence, and is seen by exactly the tokens below it. Because the order is depth-first, the tokens
below token k are the ones from k up to `ends[k]`, so one integer a token holds the whole mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A batch of rows, each holding the prefix trees of some sequences.

    Attributes:
        ids: the tokens, zero where a row is padded.
        positions: the place of each token in its sequence.
        ends: one past the last token below each token (depth-first order).
        variants: per row, the variant whose sequences it holds.
        sequences: the numbers of the packed sequences that lie in this batch.
        rows: per entry of `sequences`, its row.
        places: per entry of `sequences`, where in the row its tokens after the prefix are, in
            order.
        prefix: how many tokens, seen by all, come before the rows (in a cache).
        num_tokens: tokens in the rows, padding excluded.
        is_chain: whether no row branches, so that ordinary causal attention is the same.
    """

    ids: Int64[Tensor, "batch seq"]
    positions: Int64[Tensor, "batch seq"]
    ends: Int64[Tensor, "batch seq"]
    variants: tuple[int, ...]
    sequences: tuple[int, ...]
    rows: tuple[int, ...]
    places: tuple[Int64[np.ndarray, " _"], ...]
    prefix: int
    num_tokens: int
    is_chain: bool

    def mask(self) -> Bool[Tensor, "batch seq seq"]:
        """Return which token of a row sees which, the prefix left out."""
        order = torch.arange(self.ids.shape[1], device=self.ids.device)
        return (order[None, :] <= order[:, None]) & (order[:, None] < self.ends[:, None, :])

    def mask_with_prefix(self) -> Bool[Tensor, "batch seq {self.prefix}+seq"]:
        """Return the same after the prefix, which all see."""
        before = self.ids.new_ones((*self.ids.shape, self.prefix), dtype=torch.bool)
        return torch.cat([before, self.mask()], dim=-1)

    def to(self, device: torch.device | str) -> "Packed":
        """Return the same rows on another device."""
        return Packed(
            self.ids.to(device), self.positions.to(device), self.ends.to(device), self.variants,
            self.sequences, self.rows, self.places, self.prefix, self.num_tokens, self.is_chain,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Sequences in dictionary order, with what each shares with the one before.

    Sorted, the sequences below any node of the prefix tree are neighbors, and what two of them
    share is the least of `shared` between them; so the tree itself is never built.

    Attributes:
        numbers: the numbers of the sequences, sorted.
        lengths: their lengths.
        shared: tokens in common with the one before; 0 for the first.
    """

    numbers: Int64[np.ndarray, " sequences"]
    lengths: Int64[np.ndarray, " sequences"]
    shared: Int64[np.ndarray, " sequences"]

    def num_tokens(self, low: int, high: int, prefix: int) -> int:
        """Return how many tokens the sequences low..high hold after `prefix`, each once."""
        new = self.lengths[low + 1 : high] - self.shared[low + 1 : high]
        return int(self.lengths[low] - prefix + new.sum())

    def depth(self, low: int, high: int) -> int:
        """Return how many leading tokens all of low..high have in common."""
        if high - low == 1:
            return int(self.lengths[low])
        return int(self.shared[low + 1 : high].min())

    def children(self, low: int, high: int) -> list[tuple[int, int]]:
        """Return the ranges into which low..high part after their common tokens."""
        parts = np.flatnonzero(self.shared[low + 1 : high] == self.depth(low, high)) + low + 1
        edges = [low, *parts.tolist(), high]
        return list(pairwise(edges))


def sort(sequences: Sequence[Any], numbers: Sequence[int] | None = None) -> Order:
    """Return the sequences (all, or those numbered) in dictionary order.

    Args:
        sequences: all tuples, all lists or all texts.
        numbers: which to sort; None means all.
    """
    chosen = range(len(sequences)) if numbers is None else numbers
    ordered = sorted(chosen, key=lambda n: sequences[n])
    shared = [0] * len(ordered)
    for i in range(1, len(ordered)):
        shared[i] = common(sequences[ordered[i - 1]], sequences[ordered[i]])
    lengths = [len(sequences[n]) for n in ordered]
    return Order(np.array(ordered, int), np.array(lengths, int), np.array(shared, int))


def common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many leading items two sequences share."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def pack(
    sequences: Sequence[Sequence[int]],
    row_tokens: int,
    *,
    prefix: int = 0,
    variants: Sequence[int] | None = None,
    numbers: Sequence[int] | None = None,
    batch_tokens: int | None = None,
) -> list[Packed]:
    """Return the sequences laid out in rows of about `row_tokens`, shared tokens once a row.

    A row is longer only where a single sequence is. Rows hold sequences of one variant.

    Args:
        sequences: token ids of each sequence, none of them empty after the prefix.
        row_tokens: the width wanted. A row's attention is quadratic in it.
        prefix: leading tokens that all sequences share and that lie in a cache; they are not laid
            out, and positions start after them.
        variants: per sequence, the variant it belongs to; None means 0 for all.
        numbers: which sequences to pack; None means all.
        batch_tokens: the most tokens, padding included, in one batch; None puts all rows into
            one batch, sorted by variant. With a budget, rows come longest first.
    """
    owners: dict[int, list[int]] = {}
    for n in range(len(sequences)) if numbers is None else numbers:
        owners.setdefault(variants[n] if variants is not None else 0, []).append(n)
    rows: list[tuple[int, list[int]]] = []
    for variant in sorted(owners):
        order = sort(sequences, owners[variant])
        for row in _fill(order, row_tokens, prefix):
            rows.append((variant, [int(order.numbers[i]) for i in sorted(row)]))
    laid = [(variant, members, _lay(sequences, members, prefix)) for variant, members in rows]
    if batch_tokens is None:
        return [_batch(laid, prefix)] if laid else []
    laid.sort(key=lambda row: -len(row[2][0]))
    return [_batch(laid[low:high], prefix) for low, high in _cut(laid, batch_tokens)]


def _fill(order: Order, row_tokens: int, prefix: int) -> list[list[int]]:
    """Return rows, each a list of places in `order`, by first fit of the longest subtrees first."""
    if not len(order.numbers):
        return []
    items = _items(order, row_tokens, prefix)
    sizes = [order.num_tokens(low, high, prefix) for low, high in items]
    rows: list[list[int]] = []
    room: list[int] = []
    open_from = 0
    for i in sorted(range(len(items)), key=lambda i: (-sizes[i], i)):
        for r in range(open_from, len(rows)):
            if room[r] >= sizes[i]:
                break
        else:
            r = len(rows)
            rows.append([])
            room.append(max(row_tokens - sizes[i], 0) + sizes[i])
        rows[r].extend(range(*items[i]))
        room[r] -= sizes[i]
        while open_from < len(rows) and room[open_from] == 0:
            open_from += 1
    return rows


def row_lengths(order: Order, row_tokens: int) -> list[int]:
    """Return how long the rows are in which `pack` lays these sequences out, without doing it."""
    found = []
    for row in _fill(order, row_tokens, 0):
        members = sorted(row)
        repeated = [order.shared[i + 1 : j + 1].min() for i, j in pairwise(members)]
        found.append(int(order.lengths[members].sum() - sum(repeated)))
    return found


def _items(order: Order, row_tokens: int, prefix: int) -> list[tuple[int, int]]:
    """Return neighboring ranges that each fit a row, the tree cut where little is shared."""
    items, uncut = [], [(0, len(order.numbers))]
    while uncut:
        low, high = uncut.pop()
        if high - low == 1 or order.num_tokens(low, high, prefix) <= row_tokens:
            items.append((low, high))
            continue
        children = order.children(low, high)
        trunk = order.depth(low, high) - prefix
        sizes = [order.num_tokens(a, b, prefix) - trunk for a, b in children]
        # A trunk that is short beside its branches is not worth keeping them together: loose
        # branches fill rows better. A long one is repeated in every row, so a row takes all it can.
        loose = trunk * 8 <= sum(sizes) / len(sizes)
        # Where a sequence is longer than a row anyway, the row has room for what shares its trunk.
        longest = int(order.lengths[low:high].max()) - prefix
        most = row_tokens if loose or longest <= row_tokens else trunk + row_tokens
        start, used = None, trunk
        for (a, b), size in zip(children, sizes, strict=True):
            if start is not None and (loose or used + size > most):
                items.append((start, a))
                start, used = None, trunk
            if trunk + size > most:
                uncut.append((a, b))
            else:
                start, used = a if start is None else start, used + size
        if start is not None:
            items.append((start, high))
    return items


_Row = tuple[list[int], list[int], np.ndarray, list[np.ndarray]]


def _lay(sequences: Sequence[Sequence[int]], members: list[int], prefix: int) -> _Row:
    """Return ids, positions, ends of one row, and each member's places; members are sorted."""
    ids: list[int] = []
    positions: list[int] = []
    ends = np.zeros(sum(len(sequences[n]) for n in members), int)
    places: list[np.ndarray] = []
    path = np.zeros(0, int)
    before: Sequence[int] = ()
    for n in members:
        sequence = sequences[n]
        kept = max(common(before, sequence) - prefix, 0) if places else 0
        ends[path[kept:]] = len(ids)
        new = sequence[prefix + kept :]
        path = np.concatenate([path[:kept], np.arange(len(ids), len(ids) + len(new))])
        positions.extend(range(prefix + kept, len(sequence)))
        ids.extend(new)
        places.append(path)
        before = sequence
    ends[path] = len(ids)
    return ids, positions, ends[: len(ids)], places


def _cut(laid: list[tuple[int, list[int], _Row]], batch_tokens: int) -> list[tuple[int, int]]:
    """Return ranges of rows (longest first) whose padded size is within `batch_tokens`."""
    ranges, low = [], 0
    while low < len(laid):
        high = low + max(batch_tokens // len(laid[low][2][0]), 1)
        ranges.append((low, min(high, len(laid))))
        low = high
    return ranges


def _batch(laid: list[tuple[int, list[int], _Row]], prefix: int) -> Packed:
    """Return rows padded to the longest. A padding token sees the prefix and itself alone."""
    width = max(len(ids) for _, _, (ids, _, _, _) in laid)
    shape = (len(laid), width)
    ids = np.zeros(shape, np.int64)
    positions = np.zeros(shape, np.int64)
    ends = np.tile(np.arange(1, width + 1, dtype=np.int64), (len(laid), 1))
    # Padding counts on from the start, so that a chain's positions stay consecutive, but not past
    # the last token's, beyond which a learned table may have no row.
    last = max(max(row_positions) for _, _, (_, row_positions, _, _) in laid)
    positions[:] = np.minimum(np.arange(prefix, prefix + width), last)
    for b, (_, _, (row_ids, row_positions, row_ends, _)) in enumerate(laid):
        ids[b, : len(row_ids)] = row_ids
        positions[b, : len(row_ids)] = row_positions
        ends[b, : len(row_ids)] = row_ends
    return Packed(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        ends=torch.from_numpy(ends),
        variants=tuple(variant for variant, _, _ in laid),
        sequences=tuple(n for _, members, _ in laid for n in members),
        rows=tuple(b for b, (_, members, _) in enumerate(laid) for _ in members),
        places=tuple(place for _, _, row in laid for place in row[3]),
        prefix=prefix,
        num_tokens=sum(len(row[0]) for _, _, row in laid),
        is_chain=all(row[2][: len(row[0])].min() == len(row[0]) for _, _, row in laid),
    )
