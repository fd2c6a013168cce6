"""Weighted correlations, of many resamples at once: Pearson's, Spearman's, Kendall's.

A resample gives every point a weight, how often it was drawn. One row stands for many where all
resamples share it.
"""

import math

import numpy as np
from jaxtyping import Float, Int

CHUNK_CELLS = 4_000_000


def pearson(
    x: Float[np.ndarray, "#resamples points"],
    y: Float[np.ndarray, "#resamples points"],
    weights: Float[np.ndarray, "#resamples points"],
) -> Float[np.ndarray, " resamples"]:
    """Return Pearson's correlation; NaN where x or y does not vary."""
    total = weights.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = x - (x * weights).sum(-1, keepdims=True) / total
        y = y - (y * weights).sum(-1, keepdims=True) / total
        weighted = y * weights
        size = (x * x * weights).sum(-1) * (y * weighted).sum(-1)
        found = (x * weighted).sum(-1) / np.sqrt(size)
    return np.where(size > 1e-20 * np.square(total[..., 0]), found, np.nan)


def ranks(
    values: Float[np.ndarray, "#resamples points"],
    weights: Float[np.ndarray, "#resamples points"],
) -> Float[np.ndarray, "resamples points"]:
    """Return the rank of every value, counted by weight, from 0 to 1; equal values share theirs.

    Values that differ by less than 1e-9 are equal: what is left after controls is rounded.
    """
    values = np.round(values, 9)
    order = np.argsort(values, axis=-1)
    values, weights, order = np.broadcast_arrays(values, weights, order)
    placed = np.take_along_axis(values, order, -1)
    after = np.cumsum(np.take_along_axis(weights, order, -1), axis=-1)
    before = np.concatenate([np.zeros_like(after[..., :1]), after[..., :-1]], axis=-1)
    differs = placed[..., 1:] != placed[..., :-1]
    edge = np.ones_like(after[..., :1], dtype=bool)
    first = np.where(np.concatenate([edge, differs], -1), before, -np.inf)
    last = np.where(np.concatenate([differs, edge], -1), after, np.inf)
    shared = np.maximum.accumulate(first, axis=-1)
    shared = shared + np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    found = np.empty_like(shared)
    np.put_along_axis(found, order, shared / (2 * np.maximum(after[..., -1:], 1e-300)), -1)
    return found


class Kendall:
    """Kendall's tau-b between y of points and x of the cells these lie in, for many weights.

    Points of a cell share x and weight, so that signs of all pairs of points are added up once.

    Source: Kendall 1945 (ties).
    """

    def __init__(
        self, y: Float[np.ndarray, " points"], cell: Int[np.ndarray, " points"], cells: int
    ) -> None:
        """Add up the signs of y over pairs of cells; `cell` is where each point lies.

        Points that do not count are not given; empty cells weigh nothing.
        """
        y = np.round(y, 9)
        member = np.equal.outer(np.arange(cells), cell).astype(np.float32)
        self.signs = np.zeros((cells, cells))
        self.tied = np.zeros((cells, cells))
        step = max(1, CHUNK_CELLS // max(1, len(y)))
        for start in range(0, len(y), step):
            own = np.sign(y[start : start + step, None] - y[None]).astype(np.float32)
            of = member[:, start : start + step]
            self.signs += of @ (own @ member.T)
            self.tied += of @ ((own == 0).astype(np.float32) @ member.T)
        count = np.bincount(cell, minlength=cells).astype(float)
        self.pairs = np.outer(count, count)

    def of(
        self, x: Float[np.ndarray, " cells"], weights: Float[np.ndarray, "resamples cells"]
    ) -> Float[np.ndarray, " resamples"]:
        """Return tau-b with x under weights."""
        signs = _signs(x)
        products = (self.signs * signs, self.pairs * (signs != 0), self.pairs - self.tied)
        return _tau(*(((weights @ one) * weights).sum(1) for one in products))

    def permuted(self, x: Float[np.ndarray, "resamples cells"]) -> Float[np.ndarray, " resamples"]:
        """Return tau-b with each row of x, all weights 1."""
        used = np.flatnonzero(self.pairs.diagonal())
        agree, pairs = (one[np.ix_(used, used)] for one in (self.signs, self.pairs))
        by_x, found = np.empty(len(x)), np.empty(len(x))
        for place, one in enumerate(x[:, used]):
            signs = _signs(one)
            found[place] = np.vdot(agree, signs)
            by_x[place] = np.vdot(pairs, signs * signs)
        return _tau(found, by_x, np.full(len(x), float((self.pairs - self.tied).sum())))


def _signs(x: np.ndarray) -> np.ndarray:
    x = np.round(x, 9)
    return np.sign(x[:, None] - x[None])


def _tau(agree: np.ndarray, by_x: np.ndarray, by_y: np.ndarray) -> np.ndarray:
    size = np.sqrt(np.maximum(by_x, 0) * np.maximum(by_y, 0))
    return np.divide(agree, size, out=np.full(np.shape(size), math.nan), where=size > 0)
