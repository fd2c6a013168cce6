"""What arms would score with other numbers of examples: curves over nested draws, with intervals.

No one form fits all learning curves, and a few sizes cannot tell forms apart. So every form of
`forms` that the scores do not exclude is kept, and an interval holds for all of them: a confidence
set of forms, then the union of their intervals. Of each form, level and gain are fitted by least
squares, a size weighing as many examples as it has; what the form says of another size is then a
weighted sum of the arms' means, whose error is that of one crossed table. docs/methods.md has
sources, assumptions and coverage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float

from adaptlens.stats.clusters import by_cluster, effective_clusters
from adaptlens.stats.scores import Scores
from adaptlens.stats.training_pool import for_new_files
from adaptlens.stats.unseen_draws import unseen_draws

NEAREST = 2.0
HORIZON = 8
"""Nothing is said beyond this many times the largest size."""

POWERS = (0.25, 0.5, 1.0, 2.0)
TURN_WIDTHS = (1.0, 1.5, 2.0)
"""How wide a turn is: standard deviations in doublings."""

Weights = Float[np.ndarray, "_forms _numbers _arms"]


@dataclass(frozen=True, eq=False)
class Curve:
    """Arms that differ in their number of examples alone, on the same queries.

    Attributes:
        sizes: their numbers of examples, ascending, above 0; a single arm makes a level.
        arms: their scores; all that draw have the same draws.
    """

    sizes: tuple[int, ...]
    arms: tuple[Scores, ...]


@dataclass(frozen=True, eq=False)
class Band:
    """A score, or a difference of two, at numbers of examples, with its interval at each.

    Attributes:
        at: numbers of examples.
        middle: the median of the forms that are kept; not a number where none is.
        low: the least of their lower ends; the least there is where no form is kept.
        high: the greatest of their upper ends.
        forms: how many forms, or pairs of forms, are kept.
        all_forms: how many there were.
    """

    at: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    forms: int
    all_forms: int


def curve_band(curve: Curve, at: Sequence[float] | np.ndarray, *, level: float = 0.95) -> Band:
    """Return what the arms of a curve score at other numbers of examples.

    Args:
        curve: its arms.
        at: numbers of examples above 0, see `HORIZON`.
        level: chance that the interval at one number covers, whichever of the forms is true.
    """
    return _band([curve], np.asarray(at, float), 1 - level)


def gap_band(
    left: Curve, right: Curve, at: Sequence[float] | np.ndarray, *, level: float = 0.95
) -> Band:
    """Return how far one curve is above another at numbers of examples.

    Args:
        left: its arms.
        right: what it is compared with, on the same queries; the same draws are paired.
        at: as above.
        level: as above.
    """
    return _band([left, right], np.asarray(at, float), 1 - level)


def forms(sizes: Sequence[int], at: np.ndarray) -> Float[np.ndarray, "_forms _numbers"]:
    """Return every form h of a curve `level + gain h(k)` at some numbers k of examples.

    - `log k`, and `k` itself;
    - the power law `-k^-c`;
    - Morgan, Mercer and Flodin's `-1 / (1 + (k / t)^c)`, and Weibull's `-exp(-(k / t)^c)`, of which
      the exponential is c = 1. For c above 1 the start is slow, and must be over at the largest
      size: t is no more than that.
    - a turn, `exp(-(log2 k - log2 t)^2 / (2 width^2))`, up or down again, that is over before the
      largest size: t is between the first size and the last but one.

    Args:
        sizes: those measured, ascending.
        at: numbers of examples above 0.

    Source: Viering and Loog 2023, table 1, and Mohr et al. 2022 for the forms that extrapolate
    best. The turns are ours.
    """
    low, high = math.log2(sizes[0]), math.log2(sizes[-1])
    made = [np.log(at), at, *(-(at**-c) for c in POWERS)]
    for c, last in ((0.5, high + 3), (1.0, high + 3), (2.0, high)):
        for scale in 2.0 ** np.arange(low - 1, last + 0.5):
            made += [-1 / (1 + (at / scale) ** c), -np.exp(-((at / scale) ** c))]
    inner = np.log2(sizes[:-1])
    for turn in sorted({*inner[1:], *((inner[1:] + inner[:-1]) / 2)}):
        made += [np.exp(-(((np.log2(at) - turn) / wide) ** 2) / 2) for wide in TURN_WIDTHS]
    return np.stack(made)


class JointMeans:
    """The means of several arms on the same queries, and the errors of weighted sums of them.

    A weighted sum of the means is the mean of one crossed table, the weighted sum of the arms' own,
    and its error is that table's, as `stats.crossed` has it. The mean squares of such a table are
    quadratic in the weights, so that their matrices are all that thousands of sums need. What
    templates add is not reduced by what they do to single queries and draws, which makes errors
    larger; Student's t stands in for sign flips.
    """

    def __init__(self, arms: Sequence[Scores]) -> None:
        """Take arms on the same queries, those that draw with the same draws."""
        self.draws = max(len(one.draws) for one in arms)
        stack = np.stack([np.broadcast_to(t, (self.draws, t.shape[1])) for t in map(_block, arms)])
        self.queries = stack.shape[2]
        groups = next((one.groups for one in arms if one.groups is not None), None)
        effective = self.queries if groups is None else effective_clusters(groups)
        self.means = stack.mean((1, 2))
        rows = stack.mean(2) - self.means[:, None]
        columns = stack.mean(1) - self.means[:, None]
        rest = stack - self.means[:, None, None] - rows[:, :, None] - columns[:, None]
        rest = rest.reshape(len(arms), -1)
        self._df = max(1.0, effective - 1), max(1, self.draws - 1)
        columns_df, of_draws = self.queries - 1, self._df[1]
        self._query = columns @ columns.T / columns_df / self.queries
        self._draw = rows @ rows.T / of_draws / self.draws
        self._rest = rest @ rest.T / (columns_df * of_draws) / rest.shape[1]
        self._template, self._templates = _by_template(arms)

    def error(self, *sides: tuple[Weights, slice]) -> tuple[np.ndarray, np.ndarray]:
        """Return the standard errors of weighted sums, and their degrees of freedom.

        Args:
            sides: one or two: weights [forms, numbers, arms], and which arms they are of. Of two,
                every form of the first meets every form of the second; results are [forms, numbers]
                or [forms, other forms, numbers].

        Source: Cornfield and Tukey 1956 (mean squares), Satterthwaite 1946.
        """
        query, draw, rest, template = (
            np.maximum(0.0, _quadratic(matrix, sides))
            for matrix in (self._query, self._draw, self._rest, self._template)
        )
        variance = np.maximum(query, rest) + np.maximum(0.0, draw - rest) + template
        of_queries, of_draws = self._df
        spread = query**2 / of_queries + (draw**2 + rest**2 / of_queries) / of_draws
        spread = spread + template**2 / self._templates
        df = np.where(spread > 0, variance**2 / np.maximum(spread, 1e-300), of_queries)
        return np.sqrt(variance), df


def _block(scores: Scores) -> Float[np.ndarray, "repeats queries"]:
    """Return an arm's table as intervals take it: a mean over templates, clusters for queries."""
    table = scores.table.mean(0)
    table = table if scores.groups is None else by_cluster(table, scores.groups)
    return for_new_files(table, scores.pool_share)


def _by_template(arms: Sequence[Scores]) -> tuple[np.ndarray, int]:
    """Return the mean squares of templates' effects, and their degrees of freedom.

    Arms that were read under other templates share none.
    """
    matrix = np.zeros((len(arms), len(arms)))
    effects = [one.table.mean((1, 2)) - one.table.mean() for one in arms]
    for i, left in enumerate(arms):
        for j, right in enumerate(arms):
            many = len(left.templates)
            if many > 1 and set(left.templates) == set(right.templates):
                matrix[i, j] = effects[i] @ effects[j] / (many - 1) / many
    return matrix, min((len(a.templates) for a in arms if len(a.templates) > 1), default=2) - 1


def _quadratic(matrix: np.ndarray, sides: Sequence[tuple[Weights, slice]]) -> np.ndarray:
    own = [np.einsum("fna,ab,fnb->fn", w, matrix[i, i], w, optimize=True) for w, i in sides]
    if len(sides) == 1:
        return own[0]
    (left, i), (right, j) = sides
    both = np.einsum("fna,ab,gnb->fgn", left, matrix[i, j], right, optimize=True)
    return own[0][:, None] + own[1][None] + 2 * both


def _band(curves: Sequence[Curve], at: np.ndarray, alpha: float) -> Band:
    """Return the interval of a curve, or of the first less the second.

    Half of alpha is for excluding forms, half for the interval of each that is kept; all of it is
    for the interval where nothing can be excluded. Source: Berger and Boos 1994.
    """
    joint = JointMeans([arm for curve in curves for arm in curve.arms])
    choosing = sum(len(curve.sizes) > 2 for curve in curves)
    tail = alpha / (4 if choosing else 2)
    sides, values, falls, tried, start = [], [], [], 1, 0
    for curve, sign in zip(curves, (1, -1), strict=False):
        own = slice(start, start + len(curve.sizes))
        start = own.stop
        weights = _weights(curve.sizes, at)
        tried *= len(weights)
        if len(curve.sizes) > 2:
            weights = weights[_possible(joint, own, curve.sizes, alpha / 2 / choosing)]
        value = weights @ joint.means[own]
        sides.append((sign * weights, own))
        values.append(value)
        unseen, last = unseen_draws(curve.arms[-1]), curve.arms[-1]
        falls.append(unseen.unseen(tail) * np.clip(value - last.floor, 0.0, 1.0))
    lowest, kept = 1.0 - len(curves), math.prod(len(value) for value in values)
    if not kept:
        ends = np.full(len(at), lowest), np.ones(len(at))
        return Band(at, np.full(len(at), math.nan), *ends, 0, tried)
    value, down, up = values[0], falls[0], np.zeros(1)
    if len(curves) > 1:
        value, down, up = value[:, None] - values[1], down[:, None], falls[1]
    stderr, df = joint.error(*sides)
    chance = _critical(df, tail) * stderr
    # Queries of a kind that was not seen may score anything, see `difference_tests`.
    other, within = 1 - tail ** (1 / joint.queries), np.clip(value, lowest, 1.0)
    low = value - np.hypot(np.maximum(chance, other * (within - lowest)), down)
    high = value + np.hypot(np.maximum(chance, other * (1 - within)), up)
    every = tuple(range(value.ndim - 1))
    return Band(
        at,
        np.median(within, axis=every),
        np.clip(low.min(every), lowest, 1.0),
        np.clip(high.max(every), lowest, 1.0),
        kept,
        tried,
    )


def _weights(sizes: Sequence[int], at: np.ndarray) -> Weights:
    """Return with what weights the arms' means make what each form says of other numbers.

    Level and gain are fitted anew for every number, by least squares in which a size weighs a
    NEAREST-th for each doubling between it and that number.
    """
    if len(sizes) == 1:
        return np.ones((1, len(at), 1))
    known = np.array(sizes, float)
    seen, wanted = forms(sizes, known), forms(sizes, at)
    share = NEAREST ** -np.abs(np.log2(at)[:, None] - np.log2(known))
    share = share / share.sum(1, keepdims=True)
    middle = (seen @ share.T)[:, :, None]
    away = seen[:, None, :] - middle
    slope = away / (share * away**2).sum(2, keepdims=True)
    return share * (1 + (wanted[:, :, None] - middle) * slope)


def _critical(df: np.ndarray, tail: float) -> np.ndarray:
    """Return Student's critical values, one-sided, interpolated in 1 / df to a thousandth."""
    known = np.linspace(0, 1, 1001)
    exact = -scipy.special.stdtrit(1 / np.maximum(known, 1e-9), tail)
    return np.interp(1 / df, known, exact)


def _possible(joint: JointMeans, own: slice, sizes: Sequence[int], alpha: float) -> np.ndarray:
    """Return which forms the means do not exclude, all together with a false one in alpha.

    Of n sizes there are n - 2 sums of means that a form says are 0, whatever its level and gain:
    orthonormal ones, in the order of powers of log k. None may be further from 0 than Student's t
    allows, Bonferroni's correction being over them.
    """
    many, seen = len(sizes), forms(sizes, np.array(sizes, float))
    seen = (seen - seen.mean(1, keepdims=True)) / np.ptp(seen, axis=1, keepdims=True)
    powers = [np.broadcast_to(np.log2(sizes) ** power, seen.shape) for power in range(2, many)]
    columns = np.stack([np.ones_like(seen), seen, *powers], axis=2)
    tested = np.linalg.qr(columns)[0].swapaxes(1, 2)[:, 2:]
    stderr, df = joint.error((tested, own))
    allowed = -scipy.special.stdtrit(df, alpha / (many - 2) / 2) * stderr
    # What stands for all queries also differs by those of a kind that was not seen.
    allowed = np.maximum(allowed, 1 - (alpha / 2) ** (1 / joint.queries))
    return (np.abs(tested @ joint.means[own]) <= allowed).all(1)
