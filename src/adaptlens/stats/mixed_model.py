"""Linear mixed models with crossed random intercepts, by restricted maximum likelihood."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Real, Shaped

from adaptlens.errors import UserError

_ROUNDS = 500
_LARGEST = 1e5


@dataclass(frozen=True)
class Fixed:
    """A fixed effect: estimate, standard error, interval and p by Student's t."""

    name: str
    value: float
    stderr: float
    low: float
    high: float
    p: float
    df: float


@dataclass(frozen=True)
class Fitted:
    """A fitted mixed model.

    Attributes:
        fixed: the fixed effects, in the order given.
        spreads: standard deviation of each random factor's effects, and of the "rest".
        criterion: minus twice the restricted log-likelihood.
        points: how many observations.
    """

    fixed: tuple[Fixed, ...]
    spreads: Mapping[str, float]
    criterion: float
    points: int


class _Profiled:
    """The restricted likelihood as a function of relative standard deviations alone."""

    def __init__(self, y: np.ndarray, x: np.ndarray, groups: Sequence[np.ndarray]) -> None:
        self.points, self.columns = x.shape
        self.levels = [int(group.max()) + 1 for group in groups]
        starts = np.cumsum([0, *self.levels[:-1]])
        places = np.stack([group + start for group, start in zip(groups, starts, strict=True)])
        total = sum(self.levels)
        self.crossed = np.zeros((total, total))
        for one in places:
            for other in places:
                np.add.at(self.crossed, (one, other), 1.0)
        beside = np.column_stack([x, y])
        self.by_group = np.zeros((total, self.columns + 1))
        for one in places:
            np.add.at(self.by_group, one, beside)
        self.inner = beside.T @ beside

    def solved(self, relative: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
        """Return criterion, fixed effects, their covariance and the residual variance."""
        scale = np.repeat(relative, self.levels)
        inside = self.crossed * scale[:, None] * scale + np.eye(len(scale))
        factor = np.linalg.cholesky(inside)
        turned = np.linalg.solve(factor, self.by_group * scale[:, None])
        left = self.inner - turned.T @ turned
        square, right = left[:-1, :-1], left[:-1, -1]
        root = np.linalg.cholesky(square)
        effects = np.linalg.solve(square, right)
        df = self.points - self.columns
        rest = max(float(left[-1, -1] - right @ effects), 1e-300)
        logs = 2 * float(np.log(factor.diagonal()).sum() + np.log(root.diagonal()).sum())
        criterion = logs + df * (1 + math.log(2 * math.pi * rest / df))
        return criterion, effects, np.linalg.inv(square) * rest / df, rest / df


def mixed(
    y: Real[np.ndarray, " points"],
    fixed: Mapping[str, Real[np.ndarray, " points"]],
    groups: Mapping[str, Shaped[np.ndarray, " points"]],
    *,
    df: Mapping[str, float] | None = None,
    level: float = 0.95,
) -> Fitted:
    """Return the fit of y = fixed effects + one random intercept per factor + the rest.

    Restricted maximum likelihood, profiled over relative standard deviations as lme4 does.
    Intervals are Student's with the degrees of freedom given, infinite where none are.

    Args:
        y: values.
        fixed: name to predictor; give the intercept like any other.
        groups: random factor to the level each point belongs to; crossed or nested.
        df: name of a fixed effect to the degrees of freedom of its test.
        level: of the intervals.

    Raises:
        UserError: predictors determine each other, or leave no point over.

    Source: Bates, Maechler, Bolker and Walker 2015 (sections 3 and 5).
    """
    x = np.stack([np.asarray(one, float) for one in fixed.values()], axis=1)
    if len(y) <= x.shape[1] or np.linalg.matrix_rank(x) < x.shape[1]:
        raise UserError(
            f"the predictors {', '.join(fixed)} of {len(y)} points were given; expected predictors "
            "that do not determine each other, and more points than predictors: leave one out."
        )
    numbered = [np.unique(np.asarray(one), return_inverse=True)[1] for one in groups.values()]
    profiled = _Profiled(np.asarray(y, float), x, numbered)
    relative = _least(profiled, len(groups))
    criterion, effects, covariance, rest = profiled.solved(relative)
    spreads = dict(zip(groups, (relative * math.sqrt(rest)).tolist(), strict=True))
    found = []
    for place, name in enumerate(fixed):
        value, error = float(effects[place]), math.sqrt(float(covariance[place, place]))
        own = (df or {}).get(name, 1e7)
        reach = -float(scipy.special.stdtrit(own, (1 - level) / 2)) * error
        p = 2 * float(scipy.special.stdtr(own, -abs(value) / error)) if error > 0 else math.nan
        found.append(Fixed(name, value, error, value - reach, value + reach, p, own))
    return Fitted(tuple(found), spreads | {"rest": math.sqrt(rest)}, criterion, len(y))


def _least(profiled: _Profiled, count: int) -> np.ndarray:
    """Return the relative standard deviations [factors] of the least criterion.

    Nelder and Mead's simplex (1965), restarted where it stops; then each is tried at 0.
    """
    relative = np.ones(count)
    for size in (1.0, 0.5) if count else ():
        found = scipy.optimize.minimize(
            lambda tried: profiled.solved(tried)[0],
            relative,
            method="Nelder-Mead",
            bounds=[(0, _LARGEST)] * count,
            options={
                "initial_simplex": np.concatenate(
                    [relative[None], relative + size * np.eye(count)]
                ),
                "maxiter": _ROUNDS * count,
                "xatol": 1e-6,
                "fatol": 1e-10,
            },
        )
        relative = found.x
    for place in range(count):
        without = relative.copy()
        without[place] = 0.0
        if profiled.solved(without)[0] <= profiled.solved(relative)[0] + 1e-9:
            relative = without
    return relative
