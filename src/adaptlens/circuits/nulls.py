"""Is a shift of circuits more than noise, more than another shift, or none at all?

Each number of `shift` has a null here: halves of one condition (N0), signs of single units (N1),
repeats that change sides (N2), irrelevant prompts and updates (N3). Random circuits (N4) are in
`transfer`. Rules and error rates: docs/methods.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy
from jaxtyping import Float

from adaptlens.circuits.distance import Product, comparable, repeat_products
from adaptlens.circuits.profiles import Patched, apart
from adaptlens.stats.intervals import holm
from adaptlens.stats.layerwise import FLIPS

PERMUTATIONS = 5000
FLOOR_SPLITS = 400
CHUNK_CELLS = 8_000_000


@dataclass(frozen=True, eq=False)
class Floor:
    """Distances between two halves of one condition (N0).

    Attributes:
        by: what the halves do not share ("queries", "draws", "queries and draws") to the distances
            found; without an entry where a condition has too few draws.
        limit: the largest of their 95th percentiles.
    """

    by: Mapping[str, Float[np.ndarray, " splits"]]
    limit: float


def noise_floor(condition: Patched, *, splits: int = FLOOR_SPLITS, seed: int = 0) -> Floor:
    """Return how far halves of one condition are apart: what noise alone does (N0).

    Halves have half of the queries, or of the draws or seeds (which takes 4 of these), or of both,
    and are therefore noisier than the whole. Distances are `circuits.distance.distance`, 0 on
    average.

    Args:
        condition: whose halves.
        splits: random halvings of each kind.
        seed: of the halvings.
    """
    rng = np.random.default_rng(seed)
    found = Product(condition, condition)
    rows, columns = len(condition.draws), len(condition.queries)
    sources = ["queries", "draws", "queries and draws"] if rows >= 4 else ["queries"]
    by = {}
    for source in sources:
        draws = _two_halves(rng, rows, splits, "draws" in source)
        queries = _two_halves(rng, columns, splits, "queries" in source)
        cells = [(r[:, :, None] * q[:, None, :]).reshape(splits, -1)
                 for r, q in zip(draws, queries, strict=True)]  # fmt: skip
        keep = apart(condition.draws, condition.draws), apart(condition.queries, condition.queries)
        products = []
        for i, j in ((0, 0), (0, 1), (1, 1)):
            count = ((draws[i] @ keep[0]) * draws[j]).sum(1)
            count = count * ((queries[i] @ keep[1]) * queries[j]).sum(1)
            products.append(found.between(cells[i], cells[j], count))
        power = (products[0] + products[2]) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            by[source] = np.where(power > 0, 2 - 2 * products[1] / power, np.nan)
    limits = [_quantile(values, 0.95) for values in by.values()]
    return Floor(by, float(np.max(limits)))


def _two_halves(
    rng: np.random.Generator, count: int, splits: int, split: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return indicators [splits, count] of two disjoint halves, or twice of everything."""
    if not split:
        return np.ones((splits, count)), np.ones((splits, count))
    places = np.argsort(rng.random((splits, count)), axis=1).argsort(axis=1)
    half = count // 2
    return (places < half).astype(float), ((places >= half) & (places < 2 * half)).astype(float)


def _quantile(values: np.ndarray, share: float) -> float:
    """Return a quantile; infinite where a tenth of the halves has no profile to speak of."""
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, share)) if len(finite) > 0.9 * len(values) else math.inf


@dataclass(frozen=True, eq=False)
class UnitTests:
    """Which units changed from one condition to another (N1).

    Intervals and `p` are for a unit alone.

    Attributes:
        units: their names.
        change: share of the gap in the second condition less that in the first.
        low: the lower end of its interval.
        high: the upper end.
        p: two-sided.
        p_family: the chance of any false one at this level.
        q: the share of false ones expected among all with a q so small.
    """

    units: tuple[str, ...]
    change: Float[np.ndarray, " units"]
    low: Float[np.ndarray, " units"]
    high: Float[np.ndarray, " units"]
    p: Float[np.ndarray, " units"]
    p_family: Float[np.ndarray, " units"]
    q: Float[np.ndarray, " units"]


def unit_tests(
    a: Patched, b: Patched, *, level: float = 0.95, flips: int = FLIPS, seed: int = 0
) -> UnitTests:
    """Return the test of every unit's change from a to b, on the same queries.

    Each query's change of all units flips its sign at once; the largest studentized mean over units
    (max-T) is the yardstick, which holds the chance of any false unit. Flips of queries take the
    draws for given. So with draws p is never below that of Student's t with the crossed error of
    draws and queries and Satterthwaite's degrees of freedom, and `p_family` never below its Holm
    correction over units.

    Args:
        a: a condition.
        b: another, with the same units and queries.
        level: of the intervals.
        flips: how many.
        seed: of the flips.

    Source: Nichols and Holmes 2002 (max-T); Benjamini and Hochberg 1995 (q), valid for tests that
    depend on each other positively.
    """
    comparable(a, b)
    blocks = [b.shares, -a.shares]
    if a.draws == b.draws or min(len(a.draws), len(b.draws)) == 1:
        blocks = [b.shares - a.shares]
    columns = np.sum([block.mean(0) for block in blocks], axis=0)
    change, count = columns.mean(0), len(columns)
    error, df = crossed_errors(blocks)
    size = np.sqrt(np.square(columns).mean(0))
    own = _studentized(change, columns.std(0, ddof=1) / math.sqrt(count), size)
    crossed = _studentized(change, error, size)
    drawn = any(len(block) > 1 for block in blocks)
    rng = np.random.default_rng(seed)
    largest, beyond = np.zeros(flips), np.zeros(len(change))
    squares = np.square(columns).sum(0)
    chunk = max(1, CHUNK_CELLS // columns.size * count)
    for start in range(0, flips, chunk):
        many = min(chunk, flips - start)
        signs = 2.0 * rng.integers(0, 2, (many, count)) - 1
        means = signs @ columns / count
        errors = np.sqrt(np.maximum(squares - count * means**2, 0) / (count - 1) / count)
        flipped = np.abs(_studentized(means, errors, size))
        beyond += (flipped >= np.abs(own) * (1 - 1e-9)).sum(0)
        largest[start : start + many] = flipped.max(1)
    largest.sort()
    above = flips - np.searchsorted(largest, np.abs(own) * (1 - 1e-9), "left")
    p, p_family = (beyond + 1) / (flips + 1), (above + 1) / (flips + 1)
    by_t = 2 * scipy.special.stdtr(df, -np.abs(crossed))
    if drawn:
        p = np.maximum(p, by_t)
        p_family = np.maximum(p_family, holm(by_t.tolist()))
    reach = error * -scipy.special.stdtrit(df, (1 - level) / 2)
    q = scipy.stats.false_discovery_control(p)
    return UnitTests(tuple(map(str, a.units)), change, change - reach, change + reach, p,
                     p_family, q)  # fmt: skip


def _studentized(means: np.ndarray, errors: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return mean over error; 0 where a unit has no change, infinite where all agree."""
    constant = errors <= 1e-12 * size
    unbounded = np.where(np.abs(means) <= 1e-12 * size, 0.0, np.copysign(np.inf, means))
    return np.where(constant, unbounded, means / np.where(constant, 1.0, errors))


def crossed_errors(
    blocks: Sequence[Float[np.ndarray, "_repeats queries units"]],
) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
    """Return the standard error of means and its degrees of freedom, unit by unit.

    As `stats.crossed.Crossed` does for one table, for many at once.

    Args:
        blocks: whose means add up; each has its own draws.
    """
    columns = np.sum([block.mean(0) for block in blocks], axis=0)
    queries = len(columns)
    by_query = columns.var(0, ddof=1) / queries
    shared, found = np.zeros_like(by_query), []
    for block in blocks:
        if len(block) < 2:
            continue
        rows = block.mean(1) - block.mean((0, 1))
        rest = block - block.mean(0) - rows[:, None]
        draws = np.square(rows).sum(0) / (len(block) - 1) / len(block)
        left = np.square(rest).sum((0, 1)) / ((len(block) - 1) * (queries - 1))
        found.append((len(block), draws, left / (len(block) * queries)))
    for _, _, rest in found:
        shared = shared + rest
    variance = np.maximum(by_query, shared)
    spread = by_query**2 / (queries - 1)
    for repeats, draws, rest in found:
        variance = variance + np.maximum(0.0, draws - rest)
        spread = spread + (draws**2 + rest**2 / (queries - 1)) / (repeats - 1)
    df = np.divide(variance**2, spread, out=np.full(len(spread), queries - 1.0),
                        where=spread > 0)  # fmt: skip
    return np.sqrt(variance), df


def exchange_test(reference: Patched, icl: Patched, tuning: Patched, *, seed: int = 0) -> float:
    """Return the p-value of the difference of two shifts when repeats change sides (N2).

    The distance of the reference from one group of repeats less that from the other, for all ways
    to deal the repeats to the two; exact given the queries, if draws and seeds are interchangeable.
    That both lead to the same circuits is a narrower null than equal shifts, so a small p is
    necessary for a claim and not enough. With 5 and 5 the smallest is 2/252, with 3 and 3 it is
    0.1. NaN with a single repeat on either side.

    Args:
        reference: the condition from which both shift.
        icl: one condition.
        tuning: the other.
        seed: of random deals, where there are more than 5,000.
    """
    left, right = len(icl.draws), len(tuning.draws)
    if min(left, right) < 2:
        return math.nan
    sides = (icl, tuning)
    between = np.block([[repeat_products(x, y) for y in sides] for x in sides])
    to_reference = [repeat_products(one, reference) for one in sides]
    apart_from = [apart(one.draws, reference.draws) for one in sides]
    own = float(
        repeat_products(reference, reference)[apart(reference.draws, reference.draws)].mean()
    )
    kept = np.concatenate(apart_from)
    towards = (np.concatenate(to_reference) * kept).sum(1) / kept.sum(1)
    np.fill_diagonal(between, 0.0)
    total = left + right
    if math.comb(total, left) <= PERMUTATIONS:
        deals = np.zeros((math.comb(total, left), total))
        for row, group in enumerate(combinations(range(total), left)):
            deals[row, list(group)] = 1
    else:
        places = np.random.default_rng(seed).random((PERMUTATIONS, total)).argsort(1).argsort(1)
        deals = (places < left).astype(float)
        deals[0] = np.arange(total) < left

    def distances(group: np.ndarray, size: int) -> np.ndarray:
        power = ((group @ between) * group).sum(1) / (size * (size - 1))
        mean = (power + own) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(mean > 0, 2 - 2 * (group @ towards) / size / mean, np.nan)

    found = np.abs(distances(deals, left) - distances(1 - deals, right))
    observed = found[0]
    if not math.isfinite(observed):
        return math.nan
    # A deal without a defined distance counts as the most extreme.
    found = np.where(np.isfinite(found), found, np.inf)
    return float((found >= observed * (1 - 1e-9)).mean())
