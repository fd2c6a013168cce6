"""How alike the shapes are that two sets of hidden states form, whatever their bases.

Each measure gives one number per repeat, 1 on equal data and 0 on average on unrelated data, also
where there are fewer queries than dimensions. None changes when either side is rotated, shifted
or scaled as a whole. For states of one base model, whose dimensions mean the same, `similarity`
asks the sharper question. Formulas and sources: docs/methods.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from adaptlens.metrics.similarity import States, deviations, num_rows

COMPONENTS = 10
FOLDS = 5
TIED_DIGITS = 12
"""Squared distances that agree to so many digits of the largest one are tied."""


@dataclass(frozen=True)
class SetMeasure:
    """One way to compare the shapes of two sets of states: a number per repeat.

    A study of many pairs prepares each condition once:
    `measure.between(measure.prepare(x), measure.prepare(y))` is `measure(x, y)`.

    Attributes:
        prepare: what states bring into any comparison.
        of_pairs: the values of each pair of prepared conditions over the queries kept each time,
            for jackknife intervals; `cka` and `rsa` are what they are on these queries,
            `procrustes` fits its rotations anew but keeps the components found with all queries. A
            ValueError where too few are kept.
        num_queries: of a prepared condition.
    """

    prepare: Callable[[States], Any]
    of_pairs: Callable[
        [Sequence[tuple[Any, Any]], Bool[np.ndarray, "groups queries"]],
        list[Float[np.ndarray, "groups repeats"]],
    ]
    num_queries: Callable[[Any], int]

    def __call__(self, x: States, y: States) -> Float[np.ndarray, " repeats"]:
        """Return the likeness of two sets of states; see `SET_MEASURES`.

        Raises:
            ValueError: Shapes do not fit, or there are too few queries.
        """
        num_rows(x, y)
        return self.between(self.prepare(x), self.prepare(y))

    def without(
        self, x: Any, y: Any, kept: Bool[np.ndarray, "groups queries"]
    ) -> Float[np.ndarray, "groups repeats"]:
        """Return the likeness of two prepared conditions over the queries kept each time."""
        return self.of_pairs([(x, y)], kept)[0]

    def between(self, x: Any, y: Any) -> Float[np.ndarray, " repeats"]:
        """Return the likeness of two prepared conditions."""
        return self.without(x, y, np.ones((1, self.num_queries(x)), dtype=bool))[0]


def mantel(x: States, y: States, permutations: int = 999, seed: int = 0) -> float:
    """Return the p-value of the mean of `rsa` over repeats being above 0.

    One-sided; the queries of y change places, the same way in every repeat. Exact in the sense of
    Phipson and Smyth 2010: never below 1 / (permutations + 1). NaN where `rsa` is undefined.

    Source: Mantel 1967.
    """
    repeats, (own, other) = num_rows(x, y), (rank_distances(x), rank_distances(y))
    left, right = (_standard(one.ranks()) for one in (own, other))
    if len(left) < repeats or len(right) < repeats:
        # With one row on a side, the mean correlation is that with the mean of the other's ranks.
        left, right = left.mean(axis=0, keepdims=True), right.mean(axis=0, keepdims=True)
    left, right = np.ascontiguousarray(left.T), np.ascontiguousarray(right.T)
    observed = float(np.vdot(left, right))
    if np.isnan(observed):
        return float("nan")
    first, second = np.triu_indices(own.num_queries, 1)
    place = np.zeros((own.num_queries, own.num_queries), dtype=np.int64)
    place[first, second] = place[second, first] = np.arange(len(first))
    draw, reached = np.random.default_rng(seed), 0
    for _ in range(permutations):
        order = draw.permutation(own.num_queries)
        value = float(np.vdot(left, right[place[order[first], order[second]]]))
        reached += value >= observed - 1e-12 * max(1.0, abs(observed))
    return (1 + reached) / (1 + permutations)


def kept_without(
    groups: Sequence[int] | Int[np.ndarray, " queries"],
) -> Bool[np.ndarray, "groups queries"]:
    """Return which queries stay as each group is left out in turn."""
    members = np.asarray(groups)
    return members != np.unique(members)[:, None]


def grams(
    states: Float[np.ndarray, "repeats queries width"],
) -> Float[np.ndarray, "repeats queries queries"]:
    """Return the U-centered Gram matrices of states.

    Their diagonal is 0 and every row sums to 0. Source: Székely and Rizzo 2014, definition 2.

    Raises:
        ValueError: There are fewer than 4 queries.
    """
    count = states.shape[1]
    if count < 4:
        raise ValueError(f"given {count} queries; expected at least 4 for debiased CKA; add some.")
    matrix = _products(states)
    matrix[:, range(count), range(count)] = 0.0
    rows = matrix.sum(axis=-1) / (count - 2)
    matrix += rows.sum(axis=-1)[:, None, None] / (count - 1)
    matrix -= rows[:, :, None] + rows[:, None, :]
    matrix[:, range(count), range(count)] = 0.0
    return matrix


def _alignment(k: np.ndarray, l: np.ndarray, kept: np.ndarray) -> np.ndarray:  # noqa: E741
    """Return the debiased linear centered kernel alignment; it may be below 0.

    Both covariances are the unbiased ones, without the diagonal of the Gram matrices, which alone
    makes unrelated data look alike when there are more dimensions than queries. NaN where one
    side does not vary.

    Source: Kornblith et al. 2019 (arXiv 1905.00414), with the estimator of Song et al. 2012,
    eq. 5; Murphy et al. 2024 (arXiv 2405.01012).
    """
    if kept.sum(axis=-1).min() < 4:
        raise ValueError(
            "fewer than 4 queries stay; debiased CKA needs 4; leave out smaller groups."
        )
    stay = kept.astype(np.float64)
    shared = _covariance(k, l, stay)
    return _ratio(shared, np.sqrt(_covariance(k, k, stay) * _covariance(l, l, stay)))


def _covariance(k: np.ndarray, l: np.ndarray, stay: np.ndarray) -> np.ndarray:  # noqa: E741
    """Return n(n - 3) times the unbiased HSIC [groups, repeats] over the queries that stay.

    Song et al. 2012, eq. 5, whose three sums over a subset are products with its indicator.
    """
    count = stay.sum(axis=-1)
    rows_k, rows_l = stay @ k, stay @ l
    trace = ((stay @ (k * l)) * stay).sum(axis=-1)
    totals = (rows_k * stay).sum(axis=-1) * (rows_l * stay).sum(axis=-1)
    crossed = (rows_k * rows_l * stay).sum(axis=-1)
    found = trace + totals / ((count - 1) * (count - 2)) - 2 * crossed / (count - 2)
    return found.T


@dataclass(frozen=True, eq=False)
class RankedDistances:
    """The distances between all pairs of queries, sorted once so that subsets rank at once.

    Attributes:
        order: the pairs from the nearest to the farthest.
        first: in that order, the place of the first pair tied with this one.
        last: the place of the last one.
        num_queries: of which the pairs are the upper triangle, row by row.
    """

    order: Int[np.ndarray, "repeats pairs"]
    first: Int[np.ndarray, "repeats pairs"]
    last: Int[np.ndarray, "repeats pairs"]
    num_queries: int

    def ranks(self) -> Float[np.ndarray, "repeats pairs"]:
        """Return the rank of every pair among all."""
        everyone = np.ones((1, self.order.shape[1]), dtype=bool)
        return np.stack([self.ranks_of(row, everyone)[0] for row in range(len(self.order))])

    def ranks_of(
        self, row: int, kept: Bool[np.ndarray, "groups pairs"]
    ) -> Float[np.ndarray, "groups pairs"]:
        """Return each pair's rank among the kept ones, 0 where it is not."""
        order = self.order[row]
        before = np.zeros((len(kept), kept.shape[1] + 1))
        np.cumsum(kept[:, order], axis=-1, out=before[:, 1:])
        ranks = np.empty(kept.shape)
        ranks[:, order] = before[:, self.first[row]] + before[:, self.last[row] + 1]
        return np.where(kept, (ranks + 1) / 2, 0.0)


def rank_distances(states: Float[np.ndarray, "repeats queries width"]) -> RankedDistances:
    """Return the Euclidean distances between queries, ranked within each repeat.

    Raises:
        ValueError: There are fewer than 3 queries.
    """
    count = states.shape[1]
    if count < 3:
        raise ValueError(f"given {count} queries; expected at least 3 to compare distances.")
    first, second = np.triu_indices(count, 1)
    products = _products(states)
    sizes = products[:, range(count), range(count)]
    squares = sizes[:, first] + sizes[:, second] - 2 * products[:, first, second]
    largest = squares.max(axis=-1, keepdims=True)
    squares = np.round(np.divide(squares, largest, out=np.zeros_like(squares), where=largest > 0),
                       TIED_DIGITS)  # fmt: skip
    order = np.argsort(squares, axis=-1)
    ordered = np.take_along_axis(squares, order, axis=-1)
    places = np.broadcast_to(np.arange(order.shape[1]), order.shape)
    new = np.diff(ordered, axis=-1, prepend=-1.0) > 0
    final = np.diff(ordered, axis=-1, append=2.0) > 0
    starts = np.maximum.accumulate(np.where(new, places, 0), axis=-1)
    ends = np.minimum.accumulate(np.where(final, places, order.shape[1])[:, ::-1], axis=-1)
    return RankedDistances(order, starts, ends[:, ::-1], count)


def _rank_correlations(
    pairs: Sequence[tuple[RankedDistances, RankedDistances]], kept: np.ndarray
) -> list[np.ndarray]:
    """Return the representational similarity: which queries lie near which.

    Spearman's correlation of the Euclidean distances between all pairs of queries in x with those
    in y; ties have their average rank. NaN where all distances are tied. Pairs share queries, so
    the correlation's usual p-value is wrong: see `mantel`.

    Source: Kriegeskorte et al. 2008, with Euclidean in place of correlation distance, which is
    not free of the basis.
    """
    if kept.sum(axis=-1).min() < 3:
        raise ValueError("fewer than 3 queries stay; distances need 3; leave out smaller groups.")
    first, second = np.triu_indices(kept.shape[1], 1)
    stay = kept[:, first] & kept[:, second]
    repeats = [max(len(one.order) for one in pair) for pair in pairs]
    found = [np.empty((len(kept), count)) for count in repeats]
    alone: dict[RankedDistances, np.ndarray] = {}
    for row in range(max(repeats)):
        # A condition is in several pairs: its ranks are made once, and of one row at a time.
        known = dict(alone)
        for of_pair, count, pair in zip(found, repeats, pairs, strict=True):
            if row >= count:
                continue
            for one in pair:
                if one not in known:
                    known[one] = _standard(one.ranks_of(row, stay))
                    if len(one.order) == 1:
                        alone[one] = known[one]
            of_pair[:, row] = (known[pair[0]] * known[pair[1]]).sum(axis=-1)
    return found


def _standard(ranks: np.ndarray) -> np.ndarray:
    """Return ranks [groups, pairs] with mean 0 and length 1, 0 where a pair has no rank."""
    kept = ranks > 0
    mean = ranks.sum(axis=-1, keepdims=True) / kept.sum(axis=-1, keepdims=True)
    rest = np.where(kept, ranks - mean, 0.0)
    return _ratio(rest, np.sqrt(np.square(rest).sum(axis=-1, keepdims=True)))


@dataclass(frozen=True, eq=False)
class FoldedComponents:
    """The queries in principal components that were found without them, fold by fold.

    Attributes:
        coordinates: of all queries in the components of the queries outside the fold.
        held_out: which queries are in the fold.
    """

    coordinates: Float[np.ndarray, "repeats folds queries components"]
    held_out: Bool[np.ndarray, "folds queries"]


def folded_components(
    states: Float[np.ndarray, "repeats queries width"],
    components: int | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> FoldedComponents:
    """Return the coordinates of states in principal components of the other folds.

    The components come from the Gram matrix of the queries, so the width costs nothing beyond it.

    Args:
        states: of one condition.
        components: at most the width and a quarter of the queries fitted; None takes as many,
            up to 10.
        folds: into which the queries are cut at random; at least 2.
        seed: of the cut.

    Raises:
        ValueError: There are too few queries for the components or folds.
    """
    _, count, width = states.shape
    fitted = count - -(-count // folds) if folds > 1 else 0
    most = min(width, fitted // 4)
    kept = min(COMPONENTS, most) if components is None else components
    if not 1 <= kept <= most:
        raise ValueError(
            f"given {count} queries of width {width} in {folds} folds for {components} components; "
            f"expected 1 to {most}, a quarter of the queries fitted; add queries or take fewer."
        )
    folded = np.random.default_rng(seed).permutation(count) % folds
    held_out = folded == np.arange(folds)[:, None]
    products = _products(states)
    found = [_coordinates(products, ~held, kept) for held in held_out]
    return FoldedComponents(np.stack(found, axis=1), held_out)


def _coordinates(products: np.ndarray, fitted: np.ndarray, components: int) -> np.ndarray:
    """Return all queries [repeats, queries, components] in the components of the fitted ones."""
    towards = products[:, :, fitted]
    inner = towards[:, fitted]
    towards = towards - towards.mean(axis=-1, keepdims=True)
    towards = towards - (inner.mean(axis=1) - inner.mean(axis=(1, 2))[:, None])[:, None]
    sizes, vectors = np.linalg.eigh(towards[:, fitted])
    sizes, vectors = sizes[:, : -components - 1 : -1], vectors[:, :, : -components - 1 : -1]
    real = (sizes > 1e-12 * sizes[:, :1]) & (sizes > 0)
    scale = np.where(real, 1 / np.sqrt(np.where(real, sizes, 1.0)), 0.0)
    return towards @ vectors * scale[:, None]


def _held_out_shape(x: FoldedComponents, y: FoldedComponents, kept: np.ndarray) -> np.ndarray:
    """Return how alike the shapes are after the best rotation, on queries not fitted.

    For each fold: the principal components of either side and the rotation of x's onto y's come
    from the other folds. The score is the cosine of all held-out coordinates of y and of x after
    the rotation, as one vector each. Only the shape within these components counts. NaN where one
    side does not vary.

    Source: Williams et al. 2021 (arXiv 2110.14739), their angular shape metric, scored on held-out
    points as in their package netrep; the cut to components before it is ours.
    """
    total = np.zeros((3, len(kept), max(len(x.coordinates), len(y.coordinates))))
    for fold, held in enumerate(x.held_out):
        own, other = x.coordinates[:, None, fold], y.coordinates[:, None, fold]
        fit, score = (kept & ~held)[:, :, None], (kept & held)[:, :, None]
        left, _, right = np.linalg.svd((own * fit).swapaxes(-1, -2) @ other)
        rotated = own @ (left @ right)
        for i, product in enumerate((rotated * other, rotated**2, np.square(other))):
            total[i] += (product * score).sum(axis=(-1, -2)).T
    shared, own_size, other_size = total
    return _ratio(shared, np.sqrt(own_size * other_size))


def _products(states: np.ndarray) -> np.ndarray:
    """Return the inner products [repeats, queries, queries] of states less their mean."""
    rows = [deviations(row) for row in states]
    return np.stack([row @ row.T for row in rows])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    above, below = np.broadcast_arrays(above, below)
    out = np.full(above.shape, np.nan)
    return np.divide(above, below, out=out, where=below > 0)


def _each(
    measure: Callable[[Any, Any, np.ndarray], np.ndarray],
) -> Callable[[Sequence[tuple[Any, Any]], np.ndarray], list[np.ndarray]]:
    """Return what takes one pair after the other."""
    return lambda pairs, kept: [measure(x, y, kept) for x, y in pairs]


SET_MEASURES: dict[str, SetMeasure] = {
    "cka": SetMeasure(grams, _each(_alignment), lambda gram: gram.shape[-1]),
    "procrustes": SetMeasure(
        folded_components, _each(_held_out_shape), lambda folded: folded.held_out.shape[-1]
    ),
    "rsa": SetMeasure(rank_distances, _rank_correlations, lambda ranked: ranked.num_queries),
}
"""The measures of shape, by name."""
