"""Inference on values over layers x draws x queries: means, clusters of layers, thirds of them.

Values are similarities, or differences of them, of any size. Draws and queries are two crossed
random factors (`crossed`); the same draws and queries stand behind every layer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np
import scipy
from jaxtyping import Float, Real

from adaptlens.stats.crossed import Crossed
from adaptlens.stats.difference_tests import least_error, unseen_queries
from adaptlens.stats.unseen_draws import (
    ANY_SHARE,
    MOST_COLLAPSING,
    UnseenDraws,
    falls,
    p_of_several,
)
from adaptlens.types import NO_DRAWS

FLIPS = 1999

Side = Literal["both", "above"]


@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike two conditions are, by one measure.

    Attributes:
        values: of the same query in both; the last layer is the one after the final norm.
        baseline: of the same shape, the mean over all other queries in the second condition.
        draws: the draw behind each of the repeats; `NO_DRAWS` where neither condition has any.
    """

    values: Float[np.ndarray, "layers repeats queries"]
    baseline: Float[np.ndarray, "layers repeats queries"]
    draws: tuple[int, ...]

    @property
    def drawn(self) -> bool:
        """Whether another draw would have given other values."""
        return self.draws != NO_DRAWS


@dataclass(frozen=True)
class Mean:
    """A mean over queries and draws, the interval that would cover it, and p for a mean of 0.

    `stderr` is its standard error, `df` the degrees of freedom of that; `p` is two-sided. `most` is
    the largest size that a value may have: finite for answers that are right or wrong, of which
    those of a kind that was not seen may be otherwise, however alike those seen are. `lower` and
    `upper` are the conditions whose draws that were not made may pull it down, and up.
    """

    value: float
    low: float
    high: float
    p: float
    queries: int
    draws: int
    stderr: float
    df: float
    most: float = math.inf
    lower: tuple[UnseenDraws, ...] = ()
    upper: tuple[UnseenDraws, ...] = ()

    def at_least(self, bound: float = 0.0) -> float:
        """Return the one-sided p-value of the mean being no larger than a bound."""
        return self._allowing(self.lower, self.value - bound, bound, self.value + self.most)

    def at_most(self, bound: float = 0.0) -> float:
        """Return the one-sided p-value of the mean being no smaller than a bound."""
        return self._allowing(self.upper, bound - self.value, bound, self.most - self.value)

    def _allowing(
        self, unseen: tuple[UnseenDraws, ...], distance: float, bound: float, room: float
    ) -> float:
        """Return the p-value with any share of failing draws that those made do not exclude."""
        if not unseen or distance <= 0:
            return self._beyond(distance, bound, room)

        def sampling(rest: float) -> float:
            return self._beyond(rest, bound, room)

        return p_of_several(unseen, distance, sampling, sides=1, most=ANY_SHARE)

    def _beyond(self, distance: float, bound: float, room: float) -> float:
        """Return the p-value of the mean being this far from what it is, at the bound.

        Of bounded values the error is at least what those have whose mean is the bound, and values
        that were not seen may be as far as there is room.
        """
        if self.stderr == 0 and distance > 0:
            if math.isinf(self.most):
                return _of_signs(self.queries, self.draws)
            return (1 - min(1.0, distance / room)) ** self.queries
        error = self.stderr
        if math.isfinite(self.most):
            share = min(1.0, abs(bound) / self.most)
            error = max(error, self.most * least_error(share, self.queries))
        return _tail(distance, error, self.df)


def mean(
    values: Real[np.ndarray, "repeats queries"],
    drawn: bool,
    *,
    level: float = 0.95,
    flips: int = 0,
    seed: int = 0,
    most: float = math.inf,
    lower: tuple[UnseenDraws, ...] = (),
    upper: tuple[UnseenDraws, ...] = (),
) -> Mean:
    """Return the mean of values over queries and draws.

    Args:
        values: finite numbers; with one column, what all queries share.
        drawn: whether the rows are draws; else there is one row.
        level: of the interval.
        flips: studentized sign flips behind interval and p; 0 takes Student's t with
            Satterthwaite's degrees of freedom.
        seed: of the flips.
        most: the largest size that a value may have, if there is one.
        lower: conditions of which draws that were not made may fail and pull the mean down: at most
            `MOST_COLLAPSING` of all for interval and p.
        upper: those that may pull it up.

    Where all values are equal and not 0, there is no error to go by, and p is the chance that as
    many signs, one a query, agree; of bounded values the interval has what queries of a kind that
    was not seen may do. Source: `stats.crossed.Crossed`, `stats.difference_tests.unseen_queries`.
    """
    values = np.asarray(values, float)
    repeats, queries = values.shape
    if queries == 1:
        return _of_one_query(values[:, 0], level)
    value = float(values.mean())
    found = Crossed([values], drawn, center=True, seed=seed, flips=flips)
    if found.stderr == 0:
        p = 0.5 ** (queries - 1) if value else 1.0
        low = high = value
        if math.isfinite(most):
            low, high = (
                most * end for end in unseen_queries(value / most, queries, 1 - level, -1.0)
            )
        seen = Mean(value, low, high, p, queries, repeats, 0.0, math.inf, most)
        return _with_unseen(seen, lambda distance: p, lower, upper, level)

    def sampling(distance: float) -> float:
        return min(1.0, 2 * found.tail(distance / found.stderr))

    reach = found.critical(1 - level)
    p = sampling(abs(value))
    seen = _mean(value, p, reach, queries, repeats, found.stderr, found.df)
    return _with_unseen(replace(seen, most=most), sampling, lower, upper, level)


def _with_unseen(
    seen: Mean,
    sampling: Callable[[float], float],
    lower: tuple[UnseenDraws, ...],
    upper: tuple[UnseenDraws, ...],
    level: float,
) -> Mean:
    """Return a mean with what draws that were not made may do to it."""
    against, tail = lower if seen.value > 0 else upper, (1 - level) / 2
    p = seen.p
    if seen.value:
        p = p_of_several(against, abs(seen.value), sampling, sides=2, most=MOST_COLLAPSING)
    low = seen.value - math.hypot(seen.value - seen.low, falls(lower, tail))
    high = seen.value + math.hypot(seen.high - seen.value, falls(upper, tail))
    return replace(seen, p=p, low=low, high=high, lower=lower, upper=upper)


def _of_one_query(values: np.ndarray, level: float) -> Mean:
    """Return the mean of values [repeats] that all queries share, by Student's t over draws.

    The interval is NaN where there is but one.
    """
    repeats, value = len(values), float(values.mean())
    if repeats == 1:
        return Mean(value, math.nan, math.nan, math.nan, 1, 1, math.nan, math.nan)
    error, df = float(values.std(ddof=1)) / math.sqrt(repeats), float(repeats - 1)
    p = min(1.0, 2 * _tail(abs(value), error, df))
    return _mean(value, p, _critical(df, level), 1, repeats, error, df)


def _mean(
    value: float, p: float, critical: float, queries: int, draws: int, error: float, df: float
) -> Mean:
    reach = critical * error
    return Mean(value, value - reach, value + reach, p, queries, draws, error, df)


def of_draws(
    values: Float[np.ndarray, " repeats"],
    left_out: Float[np.ndarray, "groups repeats"] | None = None,
    *,
    level: float = 0.95,
) -> Mean:
    """Return the mean of a measure that gives one number a draw from all queries together.

    Its variance is that of the mean over draws plus that of a jackknife that leaves out groups of
    queries; both contain what is left over, so the interval errs on the wide side. `queries` is
    the number of groups. The interval is NaN where neither says anything: one draw, no groups.

    Args:
        values: of each draw.
        left_out: the values without each group of queries.
        level: of the interval.

    Source: Efron and Stein 1981 (jackknife), Satterthwaite 1946.
    """
    repeats, value = len(values), float(np.mean(values))
    groups = 0 if left_out is None else len(left_out)
    if repeats == 1 and groups < 2:
        return Mean(value, math.nan, math.nan, math.nan, groups, 1, math.nan, math.nan)
    by_draw = float(np.var(values, ddof=1)) / repeats if repeats > 1 else 0.0
    by_query = 0.0
    if left_out is not None and groups > 1:
        without = left_out.mean(1)
        by_query = float((groups - 1) / groups * np.square(without - without.mean()).sum())
    variance = by_draw + by_query
    if variance <= (1e-12 * max(1.0, abs(value))) ** 2:
        p = min(1.0, 2 * _of_signs(groups, repeats)) if value else 1.0
        return Mean(value, value, value, p, groups, repeats, 0.0, math.inf)
    df = variance**2 / (by_draw**2 / max(repeats - 1, 1) + by_query**2 / max(groups - 1, 1))
    error = math.sqrt(variance)
    p = min(1.0, 2 * _tail(abs(value), error, df))
    return _mean(value, p, _critical(df, level), groups, repeats, error, df)


def _of_signs(queries: int, draws: int) -> float:
    """Return the chance that as many signs are all positive, one a query; or one a draw of one."""
    return 0.5 ** (queries if queries > 1 else draws)


def _tail(distance: float, error: float, df: float) -> float:
    """Return the chance of a mean so far above its true value, or farther."""
    if error == 0:
        return 1.0 if distance <= 0 else 0.0
    return float(scipy.special.stdtr(df, -distance / error))


def _critical(df: float, level: float) -> float:
    return -float(scipy.special.stdtrit(df, (1 - level) / 2))


@dataclass(frozen=True)
class Cluster:
    """Neighboring layers first to last in which the mean is clearly on one side of 0.

    `mass` is the sum of the layers' p-values as normal deviates, `p` the chance of a cluster as
    heavy anywhere.
    """

    first: int
    last: int
    mass: float
    p: float


def clusters(
    values: Real[np.ndarray, "layers repeats queries"],
    drawn: bool,
    *,
    side: Side = "both",
    threshold: float = 0.05,
    flips: int = FLIPS,
    seed: int = 0,
) -> list[Cluster]:
    """Return the clusters of layers in which the mean is not 0.

    Signs of draws and queries are flipped alike in all layers, so that what layers have in common
    stays. The heaviest cluster of each flip is the yardstick for all, which keeps the chance of
    any false cluster at the level of p. A cluster is evidence of an effect somewhere in it, not
    in each of its layers.

    Args:
        values: finite numbers, of at least 2 queries.
        drawn: whether the rows are draws; else there is one row.
        side: "both", or "above": only clusters above 0, in the data and in the flips.
        threshold: chance that a layer without an effect belongs to a cluster. What counts as a
            cluster depends on it, the level of p does not.
        flips: how many; all patterns where there are at most 4,096.
        seed: of the flips.

    Source: Maris and Oostenveld 2007; the flips are those of `crossed`. Theirs adds up studentized
    means. With few draws these reach few values when flipped; normal deviates of p-values that
    are never below Student's (`Crossed.tail`) hold the level there.
    """
    found = [Crossed([layer], drawn, seed=seed, flips=flips) for layer in values.astype(float)]
    limit = NormalDist().inv_cdf(1 - threshold / (2 if side == "both" else 1))
    observed = np.array([_deviate(one) for one in found])
    flipped = np.stack([_flipped_deviates(one) for one in found], axis=1)
    heaviest = np.array([_heaviest(pattern, limit, side) for pattern in flipped])
    own = 0 if found[0].enumerated else 1
    runs = _runs(observed, limit, side)
    chances = [
        float((np.sum(heaviest >= abs(mass) * (1 - 1e-9)) + own) / (len(heaviest) + own))
        for _, _, mass in runs
    ]
    return [Cluster(*run, p) for run, p in zip(runs, chances, strict=True)]


def _deviate(found: Crossed) -> float:
    """Return the one-sided p-value of a mean as a normal deviate."""
    if not found.stderr:
        p = 0.5**found.queries if found.mean else 0.5
    else:
        p = min(0.5, found.tail(abs(found.mean) / found.stderr))
    return math.copysign(-NormalDist().inv_cdf(max(p, 1e-300)), found.mean)


def _flipped_deviates(found: Crossed) -> np.ndarray:
    """Return the same [flips] of every flip, by its rank among all."""
    flips = found.flipped.size
    above = flips - np.searchsorted(found.flipped, np.abs(found.signed) * (1 - 1e-9), "left")
    size = flips if found.enumerated else flips + 1
    by_count = np.array([-NormalDist().inv_cdf(n / size / 2) for n in range(1, flips + 1)])
    return np.copysign(by_count[above - 1], found.signed)


def _heaviest(deviates: np.ndarray, limit: float, side: Side) -> float:
    return max((abs(mass) for _, _, mass in _runs(deviates, limit, side)), default=0.0)


def _runs(deviates: np.ndarray, limit: float, side: Side) -> list[tuple[int, int, float]]:
    """Return (first, last, mass) of each run of layers beyond the limit on the same side."""
    runs: list[tuple[int, int, float]] = []
    for layer, value in enumerate(deviates.tolist()):
        if (abs(value) if side == "both" else value) <= limit:
            continue
        if runs and runs[-1][1] == layer - 1 and runs[-1][2] * value > 0:
            runs[-1] = (runs[-1][0], layer, runs[-1][2] + value)
        else:
            runs.append((layer, layer, value))
    return runs


def outer_less_middle(
    values: Float[np.ndarray, "layers repeats queries"],
) -> tuple[Float[np.ndarray, "repeats queries"], Float[np.ndarray, "repeats queries"]]:
    """Return how far the lower and the upper layers lie above the middle ones.

    The lower and the upper third are a third of the layers each, rounded down; the middle is the
    rest: of 7 layers 2, 3 and 2.

    Raises:
        ValueError: fewer than 3 layers.
    """
    layers = len(values)
    if layers < 3:
        raise ValueError(f"{layers} layers have no thirds; at least 3 are needed")
    third = layers // 3
    middle = values[third : layers - third].mean(0)
    return values[:third].mean(0) - middle, values[layers - third :].mean(0) - middle
