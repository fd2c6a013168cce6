"""Right answers of two conditions and more: differences, and samples that reach as much."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptlens.stats import layerwise
from adaptlens.stats.scores import Scores
from adaptlens.stats.unseen_draws import UnseenDraws, unseen_draws
from adaptlens.types import NO_DRAWS

ROUNDING = 1e-12
"""Differences of shares above minus this much are not below 0."""


@dataclass(frozen=True)
class Answered:
    """Which answers of a condition were right: [draws, queries] of one kind of items.

    Or how much oftener than others: `span` is by how much two values may differ. `floor` is the
    share of right answers of a draw that failed; of differences, `falls` and `rises` are the
    conditions of which draws that were not made may pull the mean down, and up.
    """

    values: np.ndarray
    draws: tuple[int, ...]
    span: float = 1.0
    floor: float | None = None
    falls: tuple[UnseenDraws, ...] = ()
    rises: tuple[UnseenDraws, ...] = ()

    @property
    def drawn(self) -> bool:
        """Whether another draw would have given other values."""
        return self.draws != NO_DRAWS

    @property
    def lower(self) -> tuple[UnseenDraws, ...]:
        """The conditions of which draws that were not made may pull the mean down."""
        if self.floor is None:
            return self.falls
        return (unseen_draws(Scores(self.values, self.draws, floor=self.floor)),)


def difference(left: Answered, right: Answered) -> layerwise.Mean:
    """Return the mean difference over paired draws and items."""
    x, y, draws = paired(left, right)
    num = min(x.shape[1], y.shape[1])
    return layerwise.mean(
        x[:, :num] - y[:, :num],
        drawn=draws != NO_DRAWS,
        flips=layerwise.FLIPS,
        most=max(left.span, right.span),
        lower=left.lower + right.rises,
        upper=left.rises + right.lower,
    )


def paired(left: Answered, right: Answered) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return rows of the same draws, in order; one without draws keeps its one row."""
    if not left.drawn or not right.drawn:
        x, y = left.values, right.values
        rows = max(len(x), len(y))
        return (
            np.broadcast_to(x, (rows, x.shape[1])),
            np.broadcast_to(y, (rows, y.shape[1])),
            max(left.draws, right.draws),
        )
    draws = tuple(sorted(set(left.draws) & set(right.draws)))
    return (
        left.values[[left.draws.index(d) for d in draws]],
        right.values[[right.draws.index(d) for d in draws]],
        draws,
    )


def in_common(several: Sequence[Answered]) -> list[Answered]:
    """Return each with the draws that all have, in order; what has no draws stays whole."""
    drawn = [set(one.draws) for one in several if one.drawn]
    common = set.intersection(*drawn) if drawn else set()
    found = []
    for one in several:
        draws = tuple(sorted(common)) if one.drawn else one.draws
        kept = one.values[[one.draws.index(draw) for draw in draws]]
        found.append(replace(one, values=kept, draws=draws))
    return found


def points(mean: layerwise.Mean) -> layerwise.Mean:
    """Return a mean of shares as one of points."""
    return replace(
        mean,
        value=100 * mean.value,
        low=100 * mean.low,
        high=100 * mean.high,
        stderr=100 * mean.stderr,
        most=100 * mean.most,
        lower=tuple(replace(one, drop=100 * one.drop) for one in mean.lower),
        upper=tuple(replace(one, drop=100 * one.drop) for one in mean.upper),
    )


def samples_needed(
    target: Answered, curve: Sequence[Answered], sizes: Sequence[int]
) -> tuple[float, float, float]:
    """Return low, value and high of the samples at which the curve reaches the target.

    The curve is made to rise and runs straight in the logarithm of samples + 1; infinite where it
    ends below. The interval has the samples at which the difference to the target may be 0: it
    begins where the upper ends of the differences' intervals reach 0, and ends where the lower ends
    do (a test inverted, after Fieller 1954).

    Args:
        target: right answers to be reached.
        curve: right answers at each size; all with the same draws, or none, and the same items.
        sizes: numbers of samples, rising.
    """
    found = [difference(one, target) for one in curve]
    ends = ([one.high for one in found], [one.value for one in found], [one.low for one in found])
    low, value, high = (_reached(differences, sizes) for differences in ends)
    return low, value, high


def _reached(differences: Sequence[float], sizes: Sequence[int]) -> float:
    """Return the samples at which differences, made to rise, meet 0; infinite where they do not."""
    rising = np.maximum.accumulate(differences)
    meeting = np.flatnonzero(rising >= -ROUNDING)
    if not len(meeting):
        return math.inf
    place = int(meeting[0])
    if not place:
        return float(sizes[0])
    logs = np.log1p(np.asarray(sizes[place - 1 : place + 1], float))
    share = min(1.0, -rising[place - 1] / (rising[place] - rising[place - 1]))
    return float(np.expm1(logs[0] + share * (logs[1] - logs[0])))
