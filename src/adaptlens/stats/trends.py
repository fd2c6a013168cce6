"""How values over draws x queries follow a level or a predictor: slopes, bins, regression."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Real

from adaptlens.stats import layerwise
from adaptlens.stats.intervals import holm
from adaptlens.stats.layerwise import Mean


def slope(
    values: Real[np.ndarray, "levels repeats queries"],
    x: Sequence[float] | Real[np.ndarray, " levels"],
    *,
    flips: int = 0,
    seed: int = 0,
) -> Mean:
    """Return the mean slope of values on x.

    The least-squares slope of each draw and query alone, then their mean over both; with x from 0
    to 1 it is the change from the first level to the last.

    Raises:
        ValueError: fewer than two levels differ.
    """
    centered = _spread(x) - np.mean(x)
    slopes = np.tensordot(centered, np.asarray(values, float), axes=1) / np.square(centered).sum()
    return layerwise.mean(slopes, drawn=len(slopes) > 1, flips=flips, seed=seed)


def _spread(x: Sequence[float] | np.ndarray) -> np.ndarray:
    levels = np.asarray(x, float)
    if len(np.unique(levels)) < 2:
        raise ValueError(f"given the levels {levels.tolist()}; a trend needs two that differ")
    return levels


@dataclass(frozen=True)
class Bin:
    """The cells whose predictor lies between two quantiles: mean predictor, mean value."""

    x: float
    y: float
    low: float
    high: float
    count: int


def bins(
    y: Real[np.ndarray, "repeats queries"],
    x: Real[np.ndarray, "repeats queries"],
    num_bins: int,
    *,
    level: float = 0.95,
) -> list[Bin]:
    """Return the mean of y in equally large bins of x.

    Cells of a bin share draws and queries, and not all pairs of these are in it; the interval is
    that of `regression`. It is NaN where a bin holds one draw and one query alone. Cells of equal
    x lie in one bin where x has few values, so there may be fewer bins.
    """
    edges = np.quantile(x, np.linspace(0, 1, num_bins + 1)[1:-1])
    which = np.searchsorted(edges, x, side="right")
    found = []
    for own in (which == number for number in range(num_bins)):
        if not own.any():
            continue
        count, mean = int(own.sum()), float(y[own].mean())
        by_cell = np.where(own, y - mean, 0.0) / count
        sums, counts = np.where(own, y, 0.0), own.astype(float)
        variance, df = 0.0, math.inf
        found_by = []
        for axis in (1, 0):
            kept = own.any(axis)
            rest = count - counts.sum(axis)[kept]
            if kept.sum() < 2:
                continue
            without = (count * mean - sums.sum(axis)[kept]) / rest
            found_by.append(_jackknife(without[:, None], np.array([mean])))
            df = min(df, float(kept.sum() - 1))
        variance = _both(found_by, np.square(by_cell).sum()[None])[0] if found_by else math.nan
        critical = -float(scipy.special.stdtrit(df, (1 - level) / 2)) if found_by else math.nan
        reach = critical * math.sqrt(variance)
        found.append(Bin(float(x[own].mean()), mean, mean - reach, mean + reach, count))
    return found


@dataclass(frozen=True)
class Coefficient:
    """A regression coefficient per standard deviation of its predictor, its interval and p."""

    value: float
    low: float
    high: float
    p: float
    stderr: float
    df: float


UNDEFINED = Coefficient(*[math.nan] * 6)


@dataclass(frozen=True)
class Predictor:
    """What one predictor says alone, and beside all others.

    Attributes:
        name: of the predictor.
        alone: its coefficient when it is the only one.
        together: its coefficient beside all others.
        mean: `alone` as a mean, for hypotheses.
        partial_r2: share of what the others leave unexplained that it explains.
        vif: how much the others inflate the variance of `together`.
    """

    name: str
    alone: Coefficient
    together: Coefficient
    mean: Mean
    partial_r2: float
    vif: float


def regression(
    y: Real[np.ndarray, "repeats queries"],
    predictors: Mapping[str, Real[np.ndarray, "repeats queries"]],
    *,
    within_queries: bool = False,
) -> list[Predictor]:
    """Return how y follows each standardized predictor.

    Least squares with an intercept. Errors are clustered by draws and by queries (Cameron, Gelbach
    and Miller 2011), each from a jackknife that leaves one out at a time, which holds its level
    with few draws where sums of residuals do not (MacKinnon, Nielsen and Webb 2023), and Student's
    t with the fewer of the two as degrees of freedom, less one. A predictor that does not vary, or
    that the others determine, has NaN for what is not defined.

    Args:
        y: values.
        predictors: by name.
        within_queries: take each query's mean out of everything, so that only differences between
            draws count.
    """
    kept = {name: _standard(x, within_queries) for name, x in predictors.items()}
    varying = {name: x for name, x in kept.items() if np.isfinite(x).all()}
    target = _centered(np.asarray(y, float), within_queries)
    fitted = _fit(y, list(varying.values()), within_queries)
    together = dict(zip(varying, fitted, strict=True))
    repeats, queries = y.shape
    found = []
    for name, x in kept.items():
        if name not in varying:
            nan = math.nan
            nothing = Mean(nan, nan, nan, nan, queries, repeats, nan, nan)
            found.append(Predictor(name, UNDEFINED, UNDEFINED, nothing, math.nan, math.nan))
            continue
        (alone,) = _fit(y, [x], within_queries)
        others = [other for known, other in varying.items() if known != name]
        left, own = _residual(target, others), _residual(x, others)
        unexplained = float(np.square(left).sum())
        determined = float(np.square(own).mean()) < 1e-9
        shared = float((left * own).sum() ** 2 / np.square(own).sum()) if not determined else 0.0
        found.append(
            Predictor(
                name,
                alone,
                UNDEFINED if determined else together[name],
                Mean(alone.value, alone.low, alone.high, alone.p, queries, repeats,
                     alone.stderr, alone.df),
                math.nan if determined or unexplained == 0 else shared / unexplained,
                math.inf if determined else float(np.square(x).mean() / np.square(own).mean()),
            )
        )  # fmt: skip
    return found


def carriers(predictors: Sequence[Predictor], *, alpha: float = 0.05) -> list[str]:
    """Return the predictors whose coefficient stays when all are in: none, one or several.

    p-values of `together` are corrected over all predictors (Holm). None is also the answer where
    predictors say so much the same that it cannot be told which carries the effect.
    """
    p_values = [one.together.p if math.isfinite(one.together.p) else 1.0 for one in predictors]
    return [one.name for one, p in zip(predictors, holm(p_values), strict=True) if p < alpha]


def _centered(x: np.ndarray, within_queries: bool) -> np.ndarray:
    return x - (x.mean(0) if within_queries else x.mean())


def _standard(x: np.ndarray, within_queries: bool) -> np.ndarray:
    """Return x with mean 0 and standard deviation 1; NaN where it does not vary."""
    centered = _centered(np.asarray(x, float), within_queries)
    spread = float(centered.std())
    scale = max(float(np.abs(x).max()), 1e-300)
    return centered / spread if spread > 1e-7 * scale else np.full(centered.shape, math.nan)


def _residual(y: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    if not others:
        return y
    design = np.stack([x.ravel() for x in others], axis=1)
    fitted = design @ np.linalg.lstsq(design, y.ravel(), rcond=None)[0]
    return y - fitted.reshape(y.shape)


def _fit(
    y: np.ndarray, predictors: Sequence[np.ndarray], within_queries: bool
) -> list[Coefficient]:
    """Return the coefficient of each predictor beside all others."""
    if not predictors:
        return []
    design, target = np.stack(predictors, axis=-1), np.asarray(y, float)

    def estimate(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        own = design[rows][:, columns]
        own = own - own.mean(0 if within_queries else (0, 1))
        cells = own.reshape(-1, own.shape[-1])
        wanted = _centered(target[rows][:, columns], within_queries).ravel()
        return np.linalg.pinv(cells.T @ cells, rcond=1e-10, hermitian=True) @ (cells.T @ wanted)

    rows, columns = (np.arange(count) for count in y.shape)
    values = estimate(rows, columns)
    cells = design.reshape(-1, len(predictors))
    rest = _centered(target, within_queries).ravel() - cells @ values
    influence = (cells * rest[:, None]) @ np.linalg.pinv(
        cells.T @ cells, rcond=1e-10, hermitian=True
    )
    found, fewest = [], math.inf
    if len(rows) > (2 if within_queries else 1):
        without = [estimate(np.delete(rows, one), columns) for one in rows]
        found.append(_jackknife(np.stack(without), values))
        fewest = min(fewest, len(rows) - 1)
    if len(columns) > 1:
        without = [estimate(rows, np.delete(columns, one)) for one in columns]
        found.append(_jackknife(np.stack(without), values))
        fewest = min(fewest, len(columns) - 1)
    if not found:
        return [Coefficient(value, *[math.nan] * 5) for value in values.tolist()]
    variance = _both(found, np.square(influence).sum(0))
    scale = max(float(np.abs(target).max()), 1e-300)
    return [
        _coefficient(value, math.sqrt(own), fewest, scale)
        for value, own in zip(values.tolist(), variance.tolist(), strict=True)
    ]


def _coefficient(value: float, error: float, df: float, scale: float) -> Coefficient:
    if error <= 1e-12 * scale:
        p = 1.0 if abs(value) <= 1e-12 * scale else 0.0
        return Coefficient(value, value, value, p, 0.0, df)
    reach = -float(scipy.special.stdtrit(df, 0.025)) * error
    p = 2 * float(scipy.special.stdtr(df, -abs(value) / error))
    return Coefficient(value, value - reach, value + reach, p, error, df)


def _jackknife(without: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the variance of values [numbers] from those without each group [groups, numbers]."""
    groups = len(without)
    return (groups - 1) / groups * np.square(without - values).sum(0)


def _both(clustered: Sequence[np.ndarray], by_cell: np.ndarray) -> np.ndarray:
    """Return the variance by draws plus that by queries, less that by cell, which both contain.

    Never less than either.
    """
    if len(clustered) == 1:
        return clustered[0]
    return np.maximum(sum(clustered) - by_cell, np.maximum(*clustered))
