"""How values over draws x queries follow a level or a predictor: slopes, bins, regression."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adaptlens import layered
from adaptlens.distributions import t_quantile, t_tail
from adaptlens.layered import Mean


def slope(values: np.ndarray, x: Sequence[float] | np.ndarray, *, flips: int = 0) -> Mean:
    """Return the mean slope of values [levels, repeats, queries] on x [levels].

    The least-squares slope of each draw and query alone, then their mean over both.
    """
    centred = np.asarray(x, float) - np.mean(x)
    slopes = np.tensordot(centred, np.asarray(values, float), axes=1) / np.square(centred).sum()
    return layered.mean(slopes, drawn=len(slopes) > 1, flips=flips)


@dataclass(frozen=True)
class Bin:
    """The cells whose predictor lies between two quantiles: mean predictor, mean value."""

    x: float
    y: float
    low: float
    high: float
    count: int


def bins(y: np.ndarray, x: np.ndarray, num_bins: int, *, level: float = 0.95) -> list[Bin]:
    """Return the mean of y [repeats, queries] in equally large bins of x [repeats, queries].

    Cells of a bin share draws and queries; the interval is that of a mean with errors clustered
    by both (Cameron, Gelbach and Miller 2011), Student's t with the fewer of the two as degrees of
    freedom, less one. Cells of equal x lie in one bin where x has few values.
    """
    edges = np.quantile(x, np.linspace(0, 1, num_bins + 1)[1:-1])
    which = np.searchsorted(edges, x, side="right")
    rows, columns = (index for index in np.indices(x.shape))
    found = []
    for number in range(num_bins):
        own = which == number
        if not own.any():
            continue
        mean = float(y[own].mean())
        rest = (y[own] - mean)[:, None]
        error, freedom = _clustered(rest / own.sum(), rows[own], columns[own])
        reach = (
            t_quantile((1 - level) / 2, freedom) * math.sqrt(error[0, 0]) if freedom else math.nan
        )
        found.append(Bin(float(x[own].mean()), mean, mean - reach, mean + reach, int(own.sum())))
    return found


@dataclass(frozen=True)
class Coefficient:
    """A regression coefficient per standard deviation of its predictor, its interval and p."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Predictor:
    """What one predictor says alone, and beside all others.

    Attributes:
        name: of the predictor.
        alone: its coefficient when it is the only one.
        together: its coefficient beside all others.
        mean: `alone` as a mean, for statements.
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
    y: np.ndarray, predictors: Mapping[str, np.ndarray], *, within_queries: bool = False
) -> list[Predictor]:
    """Return how y [repeats, queries] follows each standardised predictor [repeats, queries].

    Least squares with errors clustered by draws and by queries (Cameron, Gelbach and Miller 2011),
    Student's t with the fewer of the two as degrees of freedom, less one. A predictor that does
    not vary, or that the others determine, has NaN for what is not defined.

    Args:
        y: values.
        predictors: by name.
        within_queries: take each query's mean out of everything first, so that only differences
            between draws count.
    """
    kept = {name: _standard(x, within_queries) for name, x in predictors.items()}
    target = y - y.mean(0) if within_queries else y - y.mean()
    rows, columns = (index.ravel() for index in np.indices(y.shape))
    varying = [name for name, x in kept.items() if np.isfinite(x).all()]
    together = _fit(target, [kept[name] for name in varying], rows, columns)
    found = []
    for name, x in kept.items():
        if name not in varying:
            nothing = Coefficient(math.nan, math.nan, math.nan, math.nan)
            found.append(Predictor(name, nothing, nothing, _as_mean(nothing, y, 0.0, 1.0), math.nan,
                                   math.nan))  # fmt: skip
            continue
        ((alone, error, freedom),) = _fit(target, [x], rows, columns)
        others = [kept[other] for other in varying if other != name]
        left, own = _residual(target, others), _residual(x, others)
        determined = float(np.square(own).mean()) < 1e-9
        partial = math.nan if determined else float((left * own).sum() ** 2 /
            (np.square(left).sum() * np.square(own).sum() or math.nan))  # fmt: skip
        nothing = Coefficient(math.nan, math.nan, math.nan, math.nan)
        found.append(
            Predictor(
                name,
                alone,
                nothing if determined else together[varying.index(name)][0],
                _as_mean(alone, y, error, freedom),
                partial,
                math.inf if determined else float(np.square(x).mean() / np.square(own).mean()),
            )
        )
    return found


def _as_mean(found: Coefficient, y: np.ndarray, error: float, freedom: float) -> Mean:
    repeats, queries = y.shape
    return Mean(found.value, found.low, found.high, found.p, queries, repeats, error, freedom)


def agreement(predictors: Mapping[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """Return Spearman's correlation of every two predictors over draws and queries."""
    ranks = {name: _ranks(x.ravel()) for name, x in predictors.items()}
    names = list(ranks)
    return {
        (a, b): float(np.corrcoef(ranks[a], ranks[b])[0, 1])
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks, those of equal values their mean."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[which]


def _standard(x: np.ndarray, within_queries: bool) -> np.ndarray:
    """Return x with mean 0 and standard deviation 1; NaN where it does not vary."""
    centred = np.asarray(x, float) - (x.mean(0) if within_queries else x.mean())
    spread = float(centred.std())
    scale = max(float(np.abs(x).max()), 1e-300)
    return centred / spread if spread > 1e-12 * scale else np.full(centred.shape, math.nan)


def _residual(y: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    if not others:
        return y
    design = np.stack([x.ravel() for x in others], axis=1)
    fitted = design @ np.linalg.lstsq(design, y.ravel(), rcond=None)[0]
    return y - fitted.reshape(y.shape)


def _fit(
    y: np.ndarray, predictors: Sequence[np.ndarray], rows: np.ndarray, columns: np.ndarray
) -> list[tuple[Coefficient, float, float]]:
    """Return coefficient, standard error and degrees of freedom of each predictor."""
    if not predictors:
        return []
    design = np.stack([x.ravel() for x in predictors], axis=1)
    bread = np.linalg.pinv(design.T @ design)
    values = bread @ design.T @ y.ravel()
    rest = y.ravel() - design @ values
    variance, freedom = _clustered((design * rest[:, None]) @ bread, rows, columns)
    found = []
    for value, own in zip(values.tolist(), np.diag(variance).tolist(), strict=True):
        error = math.sqrt(max(own, 0.0))
        reach = t_quantile(0.025, freedom) * error if freedom else math.nan
        p = 1.0 if not error else 2 * t_tail(abs(value) / error, freedom) if freedom else math.nan
        found.append((Coefficient(value, value - reach, value + reach, p), error, freedom))
    return found


def _clustered(
    parts: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the variance of a sum of parts [cells, numbers], and its degrees of freedom.

    That of sums by row, plus that by column, less that by cell, each with G / (G - 1); never less
    than either of the first two.
    """
    cells = parts.T @ parts
    found, fewest = [], math.inf
    for which in (rows, columns):
        groups, index = np.unique(which, return_inverse=True)
        sums = np.zeros((len(groups), parts.shape[1]))
        np.add.at(sums, index, parts)
        if len(groups) > 1:
            found.append(sums.T @ sums * len(groups) / (len(groups) - 1))
            fewest = min(fewest, len(groups) - 1)
    if not found:
        return cells, 0.0
    both = sum(found) - cells if len(found) == 2 else found[0]
    least = np.max([np.diag(one) for one in found], axis=0)
    np.fill_diagonal(both, np.maximum(np.diag(both), least))
    return both, float(fewest)
