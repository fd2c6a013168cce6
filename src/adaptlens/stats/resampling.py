"""Numbers made from several conditions, and their error over draws and queries.

A number that is no mean still has, for each draw and query, what that cell contributes to it. These
contributions are judged as queries x draws are everywhere (`crossed`), beside a bootstrap that
resamples draws first and queries within.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float

from adaptlens.stats.crossed import Crossed
from adaptlens.stats.layerwise import FLIPS, Mean
from adaptlens.types import NO_DRAWS

BOOTSTRAPS = 2000

Draws = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Weights:
    """How often each draw and each query is in each resample.

    Attributes:
        draws: for each set of draws.
        queries: the same for all conditions.
    """

    draws: Mapping[Draws, Float[np.ndarray, "resamples _repeats"]]
    queries: Float[np.ndarray, "resamples queries"]

    def of(self, draws: Draws) -> Float[np.ndarray, "resamples cells"]:
        """Return the weights of one condition's cells."""
        rows = self.draws[draws]
        return (rows[:, :, None] * self.queries[:, None, :]).reshape(len(rows), -1)


def resamples(draws: Sequence[Draws], queries: int, *, bootstraps: int, seed: int) -> Weights:
    """Return bootstrap resamples of draws and of queries.

    Conditions with equal draws are resampled alike. What has no draws, or one, is not resampled.
    A resample of a single draw is drawn again: it has no two draws that differ.

    Source: Owen 2007 (draws and queries, crossed, are resampled independently).
    """
    rng = np.random.default_rng(seed)
    by_draw = {}
    for one in sorted(set(draws)):
        by_draw[one] = resampled_counts(rng, len(one), bootstraps, least_distinct=2)
    return Weights(by_draw, resampled_counts(rng, queries, bootstraps))


def resampled_counts(
    rng: np.random.Generator, count: int, resamples: int, *, least_distinct: int = 1
) -> Float[np.ndarray, "{resamples} {count}"]:
    """Return how often each of `count` things is in each bootstrap resample.

    A resample in which fewer than `least_distinct` differ (or than there are) is drawn again.
    """
    share = np.full(count, 1 / count)
    found = rng.multinomial(count, share, resamples).astype(float)
    while (alone := (found > 0).sum(1) < min(count, least_distinct)).any():
        found[alone] = rng.multinomial(count, share, int(alone.sum()))
    return found


@dataclass(frozen=True, eq=False)
class Quantity:
    """A number, and what every draw and query contributes to it.

    Attributes:
        value: the number.
        influence: for each set of draws, of mean 0: how much larger the number would be, to first
            order, if all cells of its conditions were like this one.
        resampled: the number in each resample.
        is_distance: its true value is never below 0, though an unbiased estimate may be.
        further_variance: from what is neither draw nor query, such as random circuits.
    """

    value: float
    influence: Mapping[Draws, Float[np.ndarray, "_repeats queries"]]
    resampled: Callable[[Weights], Float[np.ndarray, " resamples"]]
    is_distance: bool = False
    further_variance: float = 0.0

    def __sub__(self, other: "Quantity") -> "Quantity":
        """Return the difference; what the two have in common cancels in its error."""
        influence = dict(self.influence)
        for draws, table in other.influence.items():
            influence[draws] = influence[draws] - table if draws in influence else -table
        return Quantity(
            self.value - other.value,
            influence,
            lambda weights: self.resampled(weights) - other.resampled(weights),
            further_variance=self.further_variance + other.further_variance,
        )


def interval(
    quantity: Quantity,
    *,
    level: float = 0.95,
    bootstraps: int = BOOTSTRAPS,
    flips: int = FLIPS,
    seed: int = 0,
) -> Mean:
    """Return the number with an interval and a p-value for 0, over draws and queries.

    The standard error is that of the contributions, as crossed random effects. The interval covers
    both Student's (with Satterthwaite's degrees of freedom, or the sign flips' critical value if
    that is larger) and the bootstrap's percentiles, and p is the larger of theirs: percentiles
    alone cover too little with few draws. Of a distance, only a value above 0 is evidence of one.

    Args:
        quantity: the number.
        level: of the interval.
        bootstraps: resamples; 0 for none.
        flips: sign flips behind interval and p; 0 for Student's t alone.
        seed: of both.
    """
    blocks = list(quantity.influence.values())
    queries = blocks[0].shape[1]
    draws = min((len(one) for one in quantity.influence if one != NO_DRAWS), default=1)
    value = quantity.value
    if not math.isfinite(value):
        nan = math.nan
        return Mean(value, nan, nan, nan, queries, draws, nan, nan)
    blocks[0] = blocks[0] + value
    drawn = any(len(block) > 1 for block in blocks)
    found = Crossed(blocks, drawn, seed=seed, flips=flips, center=True)
    error = math.hypot(found.stderr, math.sqrt(quantity.further_variance))
    again = np.zeros(0)
    if bootstraps:
        weights = resamples(tuple(quantity.influence), queries, bootstraps=bootstraps, seed=seed)
        again = quantity.resampled(weights)
        again = again[np.isfinite(again)]
    if error <= 1e-12 * max(1.0, abs(value)):
        p = 0.5 ** (queries - 1) if abs(value) > 1e-9 else 1.0
        return Mean(value, value, value, p, queries, draws, 0.0, math.inf)
    students = -float(scipy.special.stdtrit(found.df, (1 - level) / 2))
    critical = max(found.critical(1 - level), students)
    scaled = abs(value) / error
    p = 2 * max(found.tail(scaled), float(scipy.special.stdtr(found.df, -scaled)))
    low, high = value - critical * error, value + critical * error
    if len(again):
        low, high = (
            min(low, float(np.quantile(again, (1 - level) / 2))),
            max(high, float(np.quantile(again, (1 + level) / 2))),
        )
        beyond = int((again * np.sign(value) <= 0).sum())
        p = max(p, 2 * (beyond + 1) / (len(again) + 1))
    if quantity.is_distance and value <= 0:
        p = 1.0
    return Mean(value, low, high, min(1.0, p), queries, draws, error, found.df)
