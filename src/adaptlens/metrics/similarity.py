"""How alike two sets of hidden states are, query by query, in the basis both share.

A condition without draws has one row of states, which is compared with every row of the other. One
base model underlies every condition, so its dimensions mean the same in all of them; measures that
ignore the basis are in `shapes`. Formulas and sources: docs/methods.md; what goes wrong without the
baselines: docs/similarity-traps.md.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

States = Float[np.ndarray, "#repeats queries width"]
ByQuery = Float[np.ndarray, "repeats queries"]
Row = Float[np.ndarray, "queries width"]
Pair = tuple[np.ndarray, np.ndarray]

FINEST = 1e-12
"""Relative precision of a mean of many numbers in float64."""


@dataclass(frozen=True, eq=False)
class Compared:
    """How alike two conditions are, query by query, and how alike other queries are.

    Attributes:
        matched: of the same query in both; NaN where it is undefined.
        mismatched: the mean over all other queries of the second condition; NaN where there is no
            other query.
    """

    matched: ByQuery
    mismatched: ByQuery

    @property
    def above(self) -> ByQuery:
        """What is left when the other queries' mean is taken off."""
        return self.matched - self.mismatched


@dataclass(frozen=True, eq=False)
class Directed:
    """Rows of states and what their cosines with any others need of them.

    Attributes:
        states: in float64.
        squares: of their lengths.
        total: the sum of their directions; a zero state has none.
    """

    states: Float[np.ndarray, "queries width"]
    squares: Float[np.ndarray, " queries"]
    total: Float[np.ndarray, " width"]

    @cached_property
    def mean_squares(self) -> Float[np.ndarray, " width"]:
        """The mean square in each dimension."""
        found: np.ndarray = np.square(self.states).mean(axis=0)
        return found


@dataclass(frozen=True)
class Measure:
    """One way to compare states: calling it with two sets of states gives `Compared`.

    Whoever compares one set with many prepares it once.

    Attributes:
        prepare: what is done to the states of one side, whatever they are compared with.
        pair: the matched and mismatched values [queries] of two sides so prepared.
        is_distance: 0 on equal states and larger the further apart, rather than 1 and smaller.
    """

    prepare: Callable[[Row], Directed]
    pair: Callable[[Directed, Directed], Pair]
    is_distance: bool = False

    def __call__(self, x: States, y: States) -> Compared:
        """Return matched and mismatched values of two sets of states.

        Raises:
            ValueError: The shapes do not fit.
        """
        repeats = num_rows(x, y)
        own, other = (prepared(self.prepare, states) for states in (x, y))
        return compared(self.pair(own(r), other(r)) for r in range(repeats))


def prepared(
    prepare: Callable[..., Any], *sides: Float[np.ndarray, "..."] | Int[np.ndarray, "..."]
) -> Callable[[int], Any]:
    """Return what gives a row of a side as it is compared; a side's only row is prepared once."""
    if len(sides[0]) > 1:
        return lambda repeat: prepare(*(side[repeat] for side in sides))
    only = prepare(*(side[0] for side in sides))
    return lambda repeat: only


def change_cosine(
    x: States, x_anchor: States, y: States, y_anchor: States, shared: bool = False
) -> Compared:
    """Return the cosine of two changes, each from an anchor of its own.

    The changes are x less x_anchor and y less y_anchor. With one anchor for both, unrelated
    states of equal size score 0.5, since the anchor is in both changes. Independent anchors (the
    same queries behind two paraphrases of the instruction) are without that part. `mismatched` is
    free of it in either case: its changes are of different queries. It is what the changes have in
    common whatever the query; `above` is the part that belongs to the query.

    Args:
        x: states.
        x_anchor: the states that x is a change of.
        y: states.
        y_anchor: the states that y is a change of.
        shared: Accept equal anchors; `matched` and `above` are then not to be trusted.

    Raises:
        ValueError: Shapes do not fit, or the anchors are equal and `shared` is not given.
    """
    changes = _changes(x, x_anchor, y, y_anchor, shared)
    return compared(paired_cosines(dx, dy) for dx, dy in changes)


def change_projection(
    x: States, x_anchor: States, y: States, y_anchor: States, shared: bool = False
) -> Compared:
    """Return how far x's change goes along y's: 1 is as far, 0 is across.

    The coefficient <dx, dy> / <dy, dy>, the least-squares slope through the origin of x's change
    on y's. Noise in y's change makes it smaller. Arguments and errors are those of
    `change_cosine`; so is the trap of one anchor for both.
    """
    changes = _changes(x, x_anchor, y, y_anchor, shared)
    return compared(_slopes(dx, dy) for dx, dy in changes)


def lens_kl(
    log_p: Float[np.ndarray, "*#axes outcomes"], log_q: Float[np.ndarray, "*#axes outcomes"]
) -> Float[np.ndarray, "*#axes"]:
    """Return the Kullback-Leibler divergence of q from p, in nats, over the last axis.

    0 where they are equal, infinite where q rules out what p does not. Over a partition of the
    vocabulary (some tokens, and all others together) it is at most that over the vocabulary.

    Args:
        log_p: log-probabilities; normalized here once more, against rounding.
        log_q: likewise.

    Source: Kullback and Leibler 1951; read through the model's own unembedding: nostalgebraist
    2020, "interpreting GPT: the logit lens".
    """
    p, q = _normalized(log_p), _normalized(log_q)
    weights = np.exp(p)
    with np.errstate(invalid="ignore"):
        terms = np.where(weights > 0, weights * (p - q), 0.0)
    return np.maximum(terms.sum(axis=-1), 0.0)


def deviations(states: Row) -> Row:
    """Return states less their mean over queries, in float64.

    A dimension that varies by less than its stored format can tell apart is exactly 0.
    """
    wide = _wide(states)
    mean = wide.mean(axis=0)
    rest = wide - mean
    spread = np.sqrt(np.square(rest).mean(axis=0))
    finest = max(float(np.finfo(states.dtype).eps), FINEST)
    return np.where(spread > finest * np.hypot(mean, spread), rest, 0.0)


def num_rows(*states: Float[np.ndarray, "..."]) -> int:
    """Return how many repeats there are when sets of states are compared row by row.

    Raises:
        ValueError: They are not [repeats or 1, queries, width] with equal queries and width.
    """
    shapes = [one.shape for one in states]
    repeats = {shape[0] for shape in shapes} - {1}
    if any(len(s) != 3 for s in shapes) or len({s[1:] for s in shapes}) > 1 or len(repeats) > 1:
        raise ValueError(
            f"given states of shapes {', '.join(map(str, shapes))}; expected [repeats or 1, "
            "queries, width] with the same queries and width; take the same draws and queries."
        )
    return repeats.pop() if repeats else 1


def compared(by_repeat: Iterable[Pair]) -> Compared:
    """Return matched and mismatched values, row by row."""
    matched, mismatched = zip(*by_repeat, strict=True)
    return Compared(np.stack(matched), np.stack(mismatched))


def _row(states: np.ndarray, repeat: int) -> Row:
    return states[repeat if len(states) > 1 else 0]


def _wide(states: np.ndarray) -> np.ndarray:
    return states.astype(np.float64)


def directed(states: Row) -> Directed:
    """Return states with what their cosines need."""
    squares = np.square(states).sum(axis=-1)
    return Directed(states, squares, _ratio(states, np.sqrt(squares)[:, None], 0.0).sum(axis=0))


def _as_they_are(states: Row) -> Directed:
    return directed(_wide(states))


def centered(states: Row) -> Directed:
    """Return the deviations of states from their mean with what their cosines need."""
    return directed(deviations(states))


def _standardized(x: Directed, y: Directed) -> Pair:
    spread = np.sqrt((x.mean_squares + y.mean_squares) / 2)
    return paired_cosines(_ratio(x.states, spread, 0.0), _ratio(y.states, spread, 0.0))


def paired_cosines(
    x: Row, y: Row
) -> tuple[Float[np.ndarray, " queries"], Float[np.ndarray, " queries"]]:
    """Return the cosine of x and y of each query, and its mean with y of all others.

    NaN where one is zero; a zero y of another query does not count.
    """
    return cosines(directed(x), directed(y))


def cosines(x: Directed, y: Directed) -> Pair:
    """Return the same of states of which it is known what their cosines need."""
    # The root of the product, not the product of roots: exactly 1 when y is x.
    matched = _ratio((x.states * y.states).sum(axis=-1), np.sqrt(x.squares * y.squares))
    others = np.count_nonzero(y.squares) - (y.squares > 0)
    own = np.where(np.isnan(matched), 0.0, matched)
    return matched, _ratio(_ratio(x.states @ y.total, np.sqrt(x.squares)) - own, others)


def _distances(own: Directed, other: Directed) -> Pair:
    x, y = own.states, other.states
    count, center = len(x), y.mean(axis=0)
    size = own.squares.sum() + other.squares.sum()
    matched = np.sqrt(np.square(x - y).sum(axis=-1))
    x, y = x - center, y - center
    xx, yy = np.square(x).sum(axis=-1), np.square(y).sum(axis=-1)
    others = np.maximum(xx[:, None] + yy - 2 * x @ y.T, 0.0)
    np.fill_diagonal(others, 0.0)
    if count < 2 or (mean_square := others.sum() / (count * (count - 1))) <= FINEST**2 * size:
        return np.full(count, np.nan), np.full(count, np.nan)
    scale = np.sqrt(mean_square)
    return matched / scale, np.sqrt(others).sum(axis=-1) / (count - 1) / scale


def _slopes(dx: Row, dy: Row) -> Pair:
    yy = np.square(dy).sum(axis=-1)
    matched = _ratio((dx * dy).sum(axis=-1), yy)
    total = _ratio(dy, yy[:, None], 0.0).sum(axis=0)
    others = np.count_nonzero(yy) - (yy > 0)
    own = np.where(np.isnan(matched), 0.0, matched)
    return matched, _ratio(dx @ total - own, others)


def _changes(
    x: np.ndarray, x_anchor: np.ndarray, y: np.ndarray, y_anchor: np.ndarray, shared: bool
) -> list[Pair]:
    repeats = num_rows(x, x_anchor, y, y_anchor)
    changes = [
        (_wide(_row(x, r)) - _row(x_anchor, r), _wide(_row(y, r)) - _row(y_anchor, r))
        for r in range(repeats)
    ]
    same = (x_anchor == y_anchor).all(axis=(-2, -1)).any()
    if same and not shared and any(dx.any() and dy.any() for dx, dy in changes):
        raise ValueError(
            "given the same anchor for both changes; expected two independent ones, or unrelated "
            "states score 0.5; read the anchor behind two wordings, or say shared=True."
        )
    return changes


def _ratio(above: np.ndarray, below: np.ndarray, undefined: float = np.nan) -> np.ndarray:
    """Return the quotient, and `undefined` where there is nothing to divide by."""
    if (below > 0).all():
        found: np.ndarray = np.true_divide(above, below)
        return found
    above, below = np.broadcast_arrays(above, below)
    out = np.full(above.shape, undefined, dtype=np.float64)
    return np.divide(above, below, out=out, where=below > 0)


def _normalized(logs: np.ndarray) -> np.ndarray:
    wide = _wide(logs)
    best = wide.max(axis=-1, keepdims=True)
    return wide - best - np.log(np.exp(wide - best).sum(axis=-1, keepdims=True))


MEASURES: dict[str, Measure] = {
    "cosine": Measure(_as_they_are, cosines),
    "centered": Measure(centered, cosines),
    "standardized": Measure(centered, _standardized),
    "distance": Measure(_as_they_are, _distances, is_distance=True),
}
"""The measures of states in a shared basis, by name; the first is the paper's.

`cosine`: of the raw states of each query. Unchanged when either is scaled. It is high for *any* two
    states of most models, which share a large mean and a few large dimensions: read it beside its
    `mismatched`. NaN where a state is zero. Source: Duan et al. 2024 (arXiv 2311.10367); why it
    misleads: Ethayarajh 2019, Timkey and van Schijndel 2021 (arXiv 2109.04404).
`centered`: cosine after each side's mean over its queries is removed: whether a query lies in the
    same direction from the other queries in both conditions. Unchanged when all states of one side
    are shifted together, or scaled. NaN where the state equals the mean, as it does where all
    queries have one state. Source: Mu and Viswanath 2018 (arXiv 1702.01417), their first step.
`standardized`: the centered cosine with every dimension given the same weight: divided by its
    standard deviation over the queries, pooled over both sides. Unchanged when one dimension is
    scaled in both, or shifted in either. Dimensions that do not vary do not count. Source: Timkey
    and van Schijndel 2021, section 5, who standardize by one model's statistics; pooling is ours.
`distance`: of each query's states, divided by the root mean square distance between x of a query
    and y of another one: 0 on equal states, about 1 where a query's states are as far apart as
    different queries are. Unchanged by a rotation, a shift or a scale common to both. Source: Lin
    1989: 1 less the mean square over queries is his concordance coefficient, for vectors as in King
    and Chinchilli 2001, and without bias from finitely many queries.
"""
