"""Right answers of two conditions and more: differences, and samples that reach as much."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptlens import layered

RESAMPLES = 2000


@dataclass(frozen=True)
class Answered:
    """Which answers of a condition were right: [draws, queries] of one kind of items."""

    values: np.ndarray
    draws: tuple[int, ...]

    @property
    def drawn(self) -> bool:
        """Whether another draw would have given other values."""
        return self.draws != (-1,)


def difference(left: Answered, right: Answered) -> layered.Mean:
    """Return the mean difference over paired draws and items."""
    x, y, draws = paired(left, right)
    num = min(x.shape[1], y.shape[1])
    return layered.mean(x[:, :num] - y[:, :num], drawn=draws != (-1,), flips=layered.FLIPS)


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
        found.append(Answered(one.values[[one.draws.index(draw) for draw in draws]], draws))
    return found


def points(mean: layered.Mean) -> layered.Mean:
    """Return a mean of shares as one of points."""
    return replace(
        mean,
        value=100 * mean.value,
        low=100 * mean.low,
        high=100 * mean.high,
        error=100 * mean.error,
    )


def samples_needed(
    target: Answered, curve: Sequence[Answered], sizes: Sequence[int], seed: int
) -> tuple[float, float, float]:
    """Return low, value and high of the samples at which the curve reaches the target.

    All with the same draws, or none; an item has the same place everywhere.
    """
    value = _reached(
        np.array([float(target.values.mean())]),
        np.array([[float(one.values.mean())] for one in curve]),
        sizes,
    )[0]
    generator = np.random.default_rng([seed, 0x5A3])
    num_draws, num_queries = target.values.shape
    draws = generator.multinomial(num_draws, np.ones(num_draws) / num_draws, RESAMPLES) / num_draws
    queries = (
        generator.multinomial(num_queries, np.ones(num_queries) / num_queries, RESAMPLES)
        / num_queries
    )

    def resampled(one: Answered) -> np.ndarray:
        own = draws if one.drawn else np.ones((RESAMPLES, 1))
        return np.einsum("rd,dq,rq->r", own, one.values, queries)

    found = _reached(resampled(target), np.array([resampled(one) for one in curve]), sizes)
    ordered = np.sort(found)
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.025, 0.975))
    return float(low), float(value), float(high)


def _reached(targets: np.ndarray, curve: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return [resamples] the samples at which a rising curve [sizes, resamples] meets a target.

    The first size where the curve begins at the target or above; infinite where it ends below.
    """
    rising = np.maximum.accumulate(curve, axis=0)
    logs = np.log1p(np.asarray(sizes, float))
    found = np.where(rising[-1] >= targets, float(sizes[-1]), math.inf)
    for i in range(len(sizes) - 1, 0, -1):
        rise = np.maximum(rising[i] - rising[i - 1], 1e-12)
        share = np.clip((targets - rising[i - 1]) / rise, 0, 1)
        between = np.expm1(logs[i - 1] + share * (logs[i] - logs[i - 1]))
        found = np.where(rising[i] >= targets, between, found)
    return np.where(rising[0] >= targets, float(sizes[0]), found)
