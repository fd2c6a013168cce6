"""Inference on values over layers x draws x queries: means, clusters of layers, the U-shape.

Values are similarities, or differences of them, of any size. Draws and queries are two crossed
random factors (`crossed`); the same draws and queries stand behind every layer.
"""

import math
from dataclasses import dataclass

import numpy as np

from adaptlens.crossed import Crossed
from adaptlens.distributions import t_quantile, t_tail

FLIPS = 1999
NO_DRAWS = (-1,)


@dataclass(frozen=True, eq=False)
class Likeness:
    """How alike two conditions are, by one measure.

    Attributes:
        values: [layers, repeats, queries], the same query in both; the last layer is the one
            after the final norm.
        baseline: of the same shape, the mean over all other queries in the second condition.
        draws: the draw behind each of the repeats; (-1,) where neither condition has any.
    """

    values: np.ndarray
    baseline: np.ndarray
    draws: tuple[int, ...]

    @property
    def drawn(self) -> bool:
        """Whether another draw would have given other values."""
        return self.draws != NO_DRAWS


@dataclass(frozen=True)
class Mean:
    """A mean over queries and draws, the interval that would cover it, and p for a mean of 0.

    `error` is its standard error, `freedom` the degrees of freedom of that; `p` is two-sided.
    """

    value: float
    low: float
    high: float
    p: float
    queries: int
    draws: int
    error: float
    freedom: float

    def at_least(self, bound: float = 0.0) -> float:
        """Return the one-sided p-value of the mean being no larger than a bound."""
        return _tail(self.value - bound, self.error, self.freedom)

    def at_most(self, bound: float = 0.0) -> float:
        """Return the one-sided p-value of the mean being no smaller than a bound."""
        return _tail(bound - self.value, self.error, self.freedom)


def mean(
    values: np.ndarray, drawn: bool, *, level: float = 0.95, flips: int = 0, seed: int = 0
) -> Mean:
    """Return the mean of values [repeats, queries].

    Args:
        values: finite numbers; with one column, what all queries share.
        drawn: whether the rows are draws; else there is one row.
        level: of the interval.
        flips: studentised sign flips behind interval and p; 0 takes Student's t with
            Satterthwaite's degrees of freedom.
        seed: of the flips.

    Source: `crossed.Crossed`.
    """
    values = np.asarray(values, float)
    if values.shape[1] == 1:
        return _of_one_query(values[:, 0], level)
    found = Crossed([values], drawn, centre=True, seed=seed, flips=flips)
    value, (repeats, queries) = float(values.mean()), values.shape
    if found.error == 0:
        return Mean(
            value, value, value, 1.0 if value == 0 else 0.0, queries, repeats, 0.0, math.inf
        )
    reach = found.critical(1 - level) * found.error
    p = min(1.0, 2 * found.tail(abs(value) / found.error))
    return Mean(
        value, value - reach, value + reach, p, queries, repeats, found.error, found.freedom
    )


def _of_one_query(values: np.ndarray, level: float) -> Mean:
    """Return the mean of values [repeats] that all queries share, by Student's t over draws.

    The interval is NaN where there is but one.
    """
    repeats, value = len(values), float(values.mean())
    if repeats == 1:
        return Mean(value, math.nan, math.nan, math.nan, 1, 1, math.nan, math.nan)
    error, freedom = float(values.std(ddof=1)) / math.sqrt(repeats), float(repeats - 1)
    reach = t_quantile((1 - level) / 2, freedom) * error
    p = min(1.0, 2 * _tail(abs(value), error, freedom))
    return Mean(value, value - reach, value + reach, p, 1, repeats, error, freedom)


def of_draws(values: np.ndarray, left_out: np.ndarray, *, level: float = 0.95) -> Mean:
    """Return the mean of a measure that gives one number [repeats] from all queries together.

    Its variance is that of the mean over draws plus that of a jackknife that leaves out groups of
    queries; both contain what is left over, so the interval errs on the wide side.

    Args:
        values: [repeats].
        left_out: [groups, repeats], the values without each group of queries.
        level: of the interval.

    Source: Efron and Stein 1981 (jackknife), Satterthwaite 1946.
    """
    repeats, groups = len(values), len(left_out)
    value = float(np.mean(values))
    by_draw = float(np.var(values, ddof=1)) / repeats if repeats > 1 else 0.0
    without = left_out.mean(1)
    by_query = float((groups - 1) / groups * np.square(without - without.mean()).sum())
    variance = by_draw + by_query
    if variance <= (1e-12 * max(1.0, abs(value))) ** 2:
        return Mean(value, value, value, 1.0 if value == 0 else 0.0, groups, repeats, 0.0, math.inf)
    freedom = variance**2 / (by_draw**2 / max(repeats - 1, 1) + by_query**2 / (groups - 1))
    error = math.sqrt(variance)
    reach = t_quantile((1 - level) / 2, freedom) * error
    p = min(1.0, 2 * _tail(abs(value), error, freedom))
    return Mean(value, value - reach, value + reach, p, groups, repeats, error, freedom)


def _tail(distance: float, error: float, freedom: float) -> float:
    """Return the chance of a mean so far above its true value, or farther."""
    if error == 0:
        return 1.0 if distance <= 0 else 0.0
    scaled = distance / error
    return t_tail(scaled, freedom) if scaled >= 0 else 1 - t_tail(-scaled, freedom)


@dataclass(frozen=True)
class Cluster:
    """Neighbouring layers first to last in which the mean is clearly on one side of 0.

    `mass` is the sum of their studentised means, `p` the chance of a cluster as heavy anywhere.
    """

    first: int
    last: int
    mass: float
    p: float


def clusters(
    values: np.ndarray, drawn: bool, *, threshold: float = 0.05, flips: int = FLIPS, seed: int = 0
) -> list[Cluster]:
    """Return the clusters of layers in which the mean of [layers, repeats, queries] is not 0.

    Signs of draws and queries are flipped alike in all layers, so that what layers have in common
    stays; the heaviest cluster of each flip is the yardstick for all, which keeps the chance of
    any false cluster at the level of p.

    Source: Maris and Oostenveld 2007; the flips are those of `crossed`.
    """
    found = [
        Crossed([layer], drawn, centre=True, seed=seed, flips=flips)
        for layer in values.astype(float)
    ]
    limits = [t_quantile(threshold / 2, one.freedom) if one.error else math.inf for one in found]
    observed = np.array(
        [layer.mean() / one.error if one.error else 0.0
         for layer, one in zip(values, found, strict=True)]
    )  # fmt: skip
    flipped = np.stack([one.signed for one in found])
    heaviest = np.array([_heaviest(column, limits) for column in flipped.T])
    return [
        Cluster(first, last, mass, float((heaviest >= abs(mass)).sum() + 1) / (len(heaviest) + 1))
        for first, last, mass in _runs(observed, limits)
    ]


def _heaviest(studentised: np.ndarray, limits: list[float]) -> float:
    return max((abs(mass) for _, _, mass in _runs(studentised, limits)), default=0.0)


def _runs(studentised: np.ndarray, limits: list[float]) -> list[tuple[int, int, float]]:
    """Return (first, last, mass) of each run of layers beyond its limit on the same side."""
    runs: list[tuple[int, int, float]] = []
    for layer, (value, limit) in enumerate(zip(studentised, limits, strict=True)):
        if abs(value) <= limit:
            continue
        if runs and runs[-1][1] == layer - 1 and runs[-1][2] * value > 0:
            runs[-1] = (runs[-1][0], layer, runs[-1][2] + float(value))
        else:
            runs.append((layer, layer, float(value)))
    return runs


@dataclass(frozen=True)
class UShape:
    """Whether values are high in the lower and the upper layers and low between.

    `p` is the larger of the two one-sided p-values, so that both sides must stand out.
    """

    lower_minus_middle: Mean
    upper_minus_middle: Mean
    p: float
    is_u: bool
    is_inverted: bool


def u_shape(values: np.ndarray, drawn: bool, *, alpha: float = 0.05, flips: int = 0) -> UShape:
    """Return the test for a U over values [layers, repeats, queries] of at least 3 layers.

    The lower and the upper third are a third of the layers each, rounded down; the middle is the
    rest. Source: intersection-union test, Berger 1982.

    Raises:
        ValueError: fewer than 3 layers.
    """
    layers = len(values)
    if layers < 3:
        raise ValueError(f"{layers} layers have no thirds; at least 3 are needed")
    third = layers // 3
    middle = values[third : layers - third].mean(0)
    sides = [
        mean(side.mean(0) - middle, drawn, flips=flips)
        for side in (values[:third], values[layers - third :])
    ]
    up = max(side.at_least() for side in sides)
    down = max(side.at_most() for side in sides)
    return UShape(sides[0], sides[1], min(up, down), up < alpha, down < alpha)
