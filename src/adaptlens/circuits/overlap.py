"""How far the largest units of two conditions are the same ones: overlap curve and ranks.

An overlap means nothing by itself. Beside it stand what chance gives, and the ceiling: what two
halves of one condition give, whose true circuits are equal. See docs/methods.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float

from adaptlens.circuits.profiles import Patched
from adaptlens.errors import UserError
from adaptlens.formatting import fixed

SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
PERSISTENCE = 0.9
GROUPS = 10

Rows = Float[np.ndarray, "splits units"]
"""Profiles, one of each split."""


@dataclass(frozen=True)
class Overlap:
    """How far two circuits share their members.

    Attributes:
        k: how many units; 0 for an overlap of whole rankings.
        found: mean overlap of one condition's half with the other's other half.
        chance: of two unrelated circuits.
        ceiling: mean overlap of two halves of one condition.
        corrected: (found - chance) / (ceiling - chance): 0 is chance, 1 as alike as can be seen.
            NaN where the ceiling is not above chance.
        low: the lower end of the interval of `corrected`, over draws and queries.
        high: the upper end.
        reason: why `corrected` is undefined; else empty.
    """

    k: int
    found: float
    chance: float
    ceiling: float
    corrected: float
    low: float
    high: float
    reason: str


def sizes(num_units: int, shares: Sequence[float] = SHARES) -> list[int]:
    """Return the numbers of units that shares of all units come to, at least 1, each once.

    Of 1,024 units 5, 10, 20, 51, 102 and 205; of 36 units 1, 2, 4 and 7. Halves are rounded up.
    """
    return sorted({max(1, math.floor(share * num_units + 0.5)) for share in shares})


def jaccards(left: Rows, right: Rows, ks: Sequence[int]) -> Float[np.ndarray, "splits sizes"]:
    """Return the share of common members of the k largest units of each profile, for each k.

    A unit counts with its sign: one that turns from helping to harming is no common member. Units
    without any effect are in no circuit. NaN where both circuits are empty.

    Source: Jaccard 1912.
    """
    (places, signs), (other_places, other_signs) = _ranked(left), _ranked(right)
    agree = (signs == other_signs) & (signs != 0)
    depth = np.where(agree, np.maximum(places, other_places), np.iinfo(np.int64).max)
    out = np.full((len(depth), len(ks)), np.nan)
    for i, k in enumerate(ks):
        common = (depth < k).sum(1)
        total = sum(np.minimum(k, (one != 0).sum(1)) for one in (signs, other_signs)) - common
        np.divide(common, total, out=out[:, i], where=total > 0)
    return out


def rank_biased_overlap(
    left: Rows, right: Rows, persistence: float = PERSISTENCE
) -> Float[np.ndarray, " splits"]:
    """Return how alike two rankings of units are, the top counting most; 1 is equal.

    Units are ranked by absolute effect and are the same only with the same sign. Depth d has the
    weight persistence^d; with 0.9 the first 10 depths make up 86% of the whole. What lies beyond
    the last unit is extrapolated from the overlap of all.

    Source: Webber, Moffat and Zobel 2010, equation 23 (rankings of one length).
    """
    return _biased(_ranked(left), _ranked(right), persistence)


def chance_jaccard(num_units: int, left: int, right: int, same_sign: float = 1.0) -> float:
    """Return the mean overlap of two random sets of units.

    Common units are hypergeometric; each has the same sign in both with chance `same_sign`.

    Args:
        num_units: from which both are drawn.
        left: members of one.
        right: members of the other.
        same_sign: chance that a common unit has one sign.
    """
    common = np.arange(min(left, right) + 1)
    same = common[:, None]
    chances = scipy.stats.hypergeom.pmf(common, num_units, left, right)
    chances = chances * scipy.stats.binom.pmf(same, common, same_sign)
    return float((chances * same / (left + right - same)).sum())


def overlap_curve(
    a: Patched,
    b: Patched,
    *,
    shares: Sequence[float] = SHARES,
    splits: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> list[Overlap]:
    """Return the overlap of signed top sets for each share of all units; see `Overlap`.

    One half of the queries and of the draws in one condition is set against the other half in the
    other, so that what both owe to the same queries is not overlap, and all three numbers come from
    profiles of the same number of cells. The interval is a jackknife over draws and over groups
    of queries, which repeats the whole.

    Args:
        a: a condition.
        b: another, with the same units and queries.
        shares: of all units.
        splits: random halvings.
        level: of the intervals.
        seed: of the halvings.

    Raises:
        UserError: Fewer than 4 queries.
    """
    ks = sizes(len(a.units), shares)

    def chance(k: int) -> float:
        counts, signs = [], []
        for one in (a, b):
            top = np.argsort(-np.abs(one.effect_profile), kind="stable")[:k]
            kept = one.effect_profile[top][one.effect_profile[top] != 0]
            counts.append(len(kept))
            signs.append(float((kept > 0).mean()) if len(kept) else 0.0)
        same = signs[0] * signs[1] + (1 - signs[0]) * (1 - signs[1])
        left, right = counts
        return chance_jaccard(len(a.units), left, right, same) if min(counts) else 0.0

    def overlaps(left: Rows, right: Rows) -> np.ndarray:
        return jaccards(left, right, ks)

    return _curve(a, b, overlaps, ks, [chance(k) for k in ks], splits, level, seed)


def ranked_overlap(
    a: Patched,
    b: Patched,
    *,
    persistence: float = PERSISTENCE,
    splits: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> Overlap:
    """Return the rank-biased overlap with chance and ceiling, as `overlap_curve` does for sets.

    Chance is the mean over random orders of b's units, which keep their effects and so their signs.
    """
    rng = np.random.default_rng(seed)
    shuffled = np.stack([rng.permutation(b.effect_profile) for _ in range(splits)])
    same = np.broadcast_to(a.effect_profile, shuffled.shape)
    chance = float(np.nanmean(rank_biased_overlap(same, shuffled, persistence)))

    def overlaps(left: Rows, right: Rows) -> np.ndarray:
        return rank_biased_overlap(left, right, persistence)[:, None]

    return _curve(a, b, overlaps, [0], [chance], splits, level, seed)[0]


def _curve(
    a: Patched,
    b: Patched,
    overlaps: Callable[[Rows, Rows], np.ndarray],
    ks: Sequence[int],
    chance: Sequence[float],
    splits: int,
    level: float,
    seed: int,
) -> list[Overlap]:
    count = len(a.queries)
    if count < 4:
        raise UserError(f"{count} queries cannot be halved; expected 4 at least.")
    everywhere = np.ones(count, bool)
    alike = np.asarray(chance)
    found = _found(a, b, overlaps, everywhere, {}, splits, seed)
    corrected = _corrected(found, alike)
    without = []
    # Groups of queries are left out, and draws one at a time: an overlap is not smooth enough for
    # leaving out single queries.
    order = np.random.default_rng(seed).permutation(count)
    groups = min(GROUPS, count // 3)
    left_out = [
        _corrected(
            _found(
                a, b, overlaps, np.isin(order.argsort() % groups, g, invert=True), {}, splits, seed
            ),
            alike,
        )
        for g in range(groups)
    ]
    without.append(np.stack(left_out) if groups > 1 else np.empty((0, len(ks))))
    for draws in sorted({one.draws for one in (a, b) if len(one.draws) > 2}):
        rows = [
            _corrected(_found(a, b, overlaps, everywhere, {draws: r}, splits, seed), alike)
            for r in range(len(draws))
        ]
        without.append(np.stack(rows))
    variance, df = np.zeros(len(ks)), math.inf
    for some in without:
        if len(some) > 1:
            variance += (len(some) - 1) / len(some) * np.square(some - some.mean(0)).sum(0)
            df = min(df, len(some) - 1.0)
    critical = -scipy.special.stdtrit(df, (1 - level) / 2) if variance.any() else np.nan
    reach = np.sqrt(variance) * critical
    return [
        Overlap(k, float(found[0, i]), float(alike[i]), float(found[1, i]), float(corrected[i]),
                float(corrected[i] - reach[i]), float(corrected[i] + reach[i]),
                "" if math.isfinite(corrected[i]) else _why(found[1, i], alike[i]))
        for i, k in enumerate(ks)
    ]  # fmt: skip


def _why(ceiling: float, chance: float) -> str:
    if not math.isfinite(ceiling):
        return "no unit has an effect"
    return (f"two halves of one condition share no more ({fixed(ceiling, 2)}) than unrelated "
            f"circuits ({fixed(chance, 2)})")  # fmt: skip


def _corrected(found: np.ndarray, chance: np.ndarray) -> np.ndarray:
    room = found[1] - chance
    return np.divide(found[0] - chance, room, out=np.full(len(chance), np.nan), where=room > 0)


def _found(
    a: Patched,
    b: Patched,
    overlaps: Callable[[Rows, Rows], np.ndarray],
    kept: np.ndarray,
    without: dict[tuple[int, ...], int],
    splits: int,
    seed: int,
) -> np.ndarray:
    """Return mean overlap and ceiling [2, sizes] on the queries kept, less one draw each."""
    rng = np.random.default_rng(seed)
    queries = _halves(np.flatnonzero(kept), len(kept), splits, rng)
    sides = []
    by_draws: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
    for one in (a, b):
        count = len(one.draws)
        if one.draws not in by_draws:
            rows = np.array([r for r in range(count) if r != without.get(one.draws, -1)])
            whole = np.zeros((splits, count))
            whole[:, rows] = 1
            halves = _halves(rows, count, splits, rng) if len(rows) > 1 else (whole, whole)
            by_draws[one.draws] = halves
        cells = one.shares.reshape(-1, one.shares.shape[2])
        sides.append([
            (r[:, :, None] * q[:, None, :]).reshape(splits, -1) @ cells
            for r, q in zip(by_draws[one.draws], queries, strict=True)
        ])  # fmt: skip
    (a1, a2), (b1, b2) = sides
    between = (overlaps(a1, b2) + overlaps(a2, b1)) / 2
    within = (overlaps(a1, a2) + overlaps(b1, b2)) / 2
    return np.stack([between.mean(0), within.mean(0)])


def _halves(
    places: np.ndarray, count: int, splits: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return indicators [splits, count] of two random halves of some places, equally large."""
    half = len(places) // 2
    order = places[np.argsort(rng.random((splits, len(places))), axis=1)]
    found = np.zeros((2, splits, count))
    for side in range(2):
        chosen = order[:, side * half : (side + 1) * half]
        np.put_along_axis(found[side], chosen, 1.0, axis=1)
    return found[0], found[1]


def _ranked(profiles: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each unit in its ranking [splits, units], and its sign."""
    profiles = np.atleast_2d(profiles)
    order = np.argsort(-np.abs(profiles), axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(profiles.shape[1])[None], axis=1)
    return places, np.sign(profiles)


def _biased(
    left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray], persistence: float
) -> np.ndarray:
    splits, count = left[0].shape
    agree = (left[1] == right[1]) & (left[1] != 0)
    common = np.zeros((splits, count + 1))
    for split in range(splits):
        depth = np.maximum(left[0][split], right[0][split])[agree[split]]
        np.add.at(common[split], depth, 1)
    common = np.cumsum(common, axis=1)[:, :count]
    agreement = common / np.arange(1, count + 1)
    weights = persistence ** np.arange(1, count + 1)
    tail = agreement[:, -1] * persistence**count
    return (1 - persistence) / persistence * (agreement @ weights) + tail
