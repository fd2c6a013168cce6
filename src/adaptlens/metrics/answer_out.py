"""Hidden states with the answer taken out: what two conditions share beyond answering alike.

At the token from which an answer is predicted, most of the variance between queries is which answer
that is. Two conditions that answer alike are alike there whatever else they do, so what they do is
compared with the answer out, in two ways: `class_means_out` within the queries a condition answers
alike, `project_out` across the directions in which the model's own head reads the answer.
Formulas: docs/methods.md, section 12.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from adaptlens.metrics.similarity import (
    MEASURES,
    Compared,
    Directed,
    Pair,
    States,
    centered,
    compared,
    cosines,
    directed,
    num_rows,
    prepared,
)

Answers = Int[np.ndarray, "repeats queries"]
"""The answer given to each query, as a number."""

MOST_ALONE = 0.2
"""Where a larger share of queries is alone with its answer, nothing is said within answers."""

MOST_DIRECTIONS = 0.5
"""Where the answers' directions span more of the width than this share, too little is left."""

RANK_TOLERANCE = 1e-5
"""Directions shorter than this, relative to the longest, are rounding (weights are float32)."""


def class_means_out(
    states: Float[np.ndarray, "repeats queries width"], answers: Answers
) -> Float[np.ndarray, "repeats queries width"]:
    """Return states less the mean state of the queries with the same answer, in float64.

    Adding a constant to all states of one answer changes nothing, nor does doing it twice. A query
    that is alone with its answer becomes exactly 0. The query itself is in its mean: without it,
    the residual is the same times n / (n - 1) for n queries, which no cosine sees. A dimension
    that varies within answers by less than its stored format can tell apart becomes 0.

    Source: the within-class deviations of a discriminant analysis (Fisher 1936).
    """
    return np.stack([_within(*row) for row in zip(states, answers, strict=True)])


def _within(states: np.ndarray, answers: np.ndarray) -> np.ndarray:
    wide = states.astype(np.float64)
    rest = np.empty_like(wide)
    for answer in np.unique(answers):
        same = answers == answer
        rest[same] = wide[same] - wide[same].mean(0)
    spread = np.sqrt(np.square(rest).mean(0))
    finest = max(float(np.finfo(states.dtype).eps), 1e-12)
    varies = spread > finest * np.hypot(wide.mean(0), wide.std(0))
    return np.where(varies & ~is_alone(answers)[:, None], rest, 0.0)


def is_alone(answers: Int[np.ndarray, " queries"]) -> Bool[np.ndarray, " queries"]:
    """Return whether a query is the only one with its answer."""
    _, which, counts = np.unique(answers, return_inverse=True, return_counts=True)
    return counts[which] == 1


def project_out(
    states: Float[np.ndarray, "repeats queries width"],
    readout: Float[np.ndarray, "repeats answers width"],
) -> Float[np.ndarray, "repeats queries width"]:
    """Return states without their part in the span of the readout vectors' differences, float64.

    Read with these vectors, every answer then has the same logit, whatever the state was. Doing it
    twice changes nothing. Where all vectors are equal, the states are as they were.

    Args:
        states: of each query.
        readout: the vectors the answers are read with.
    """
    return np.stack([_across(*row) for row in zip(states, readout, strict=True)])


def _across(states: np.ndarray, readout: np.ndarray) -> np.ndarray:
    return _without(states, directions(readout))


def _without(states: np.ndarray, basis: np.ndarray) -> np.ndarray:
    wide = states.astype(np.float64)
    return wide - (wide @ basis) @ basis.T


def directions(
    readout: Float[np.ndarray, "answers width"],
) -> Float[np.ndarray, "width rank"]:
    """Return an orthonormal basis of the differences of vectors.

    Rank 0 where all are equal.
    """
    wide = readout.astype(np.float64)
    _, sizes, axes = np.linalg.svd(wide - wide.mean(0), full_matrices=False)
    scale = np.linalg.norm(wide, axis=1).max(initial=0.0)
    return axes[sizes > RANK_TOLERANCE * max(scale, 1e-300)].T


def within_answers(
    x: States,
    y: States,
    x_answers: Int[np.ndarray, "#repeats queries"],
    y_answers: Int[np.ndarray, "#repeats queries"],
) -> Compared:
    """Return how alike states are within the answers each condition gives.

    The cosine of what is left of either when the class means of its own answers are taken out
    (`class_means_out`). Where a query is
    alone with its answer on either side, nothing is known of it; it gets the mean of the repeat's
    other queries, so that it speaks for no one. NaN everywhere in a repeat in which more than
    `MOST_ALONE` of them are alone.

    Args:
        x: states.
        y: of the same queries.
        x_answers: the answers given with the states x.
        y_answers: those given with y.
    """
    own = prepared(class_deviations, x, x_answers)
    other = prepared(class_deviations, y, y_answers)
    return compared(within_classes(own(r), other(r)) for r in range(num_rows(x, y)))


@dataclass(frozen=True, eq=False)
class ClassDeviations:
    """The states of one row with the class means of its answers taken out.

    Attributes:
        rest: what is left of them.
        alone: whether a query is the only one with its answer.
    """

    rest: Directed
    alone: Bool[np.ndarray, " queries"]


def class_deviations(
    states: Float[np.ndarray, "queries width"], answers: Int[np.ndarray, " queries"]
) -> ClassDeviations:
    """Return what one row of states brings into `within_answers`, whatever it is compared with."""
    return ClassDeviations(directed(_within(states, answers)), is_alone(answers))


def within_classes(x: ClassDeviations, y: ClassDeviations) -> Pair:
    """Return what two rows give in `within_answers`."""
    alone = x.alone | y.alone
    matched, mismatched = cosines(x.rest, y.rest)
    return _filled(matched, alone), _filled(mismatched, alone)


def _filled(values: np.ndarray, alone: np.ndarray) -> np.ndarray:
    if not alone.any():
        return values
    if alone.mean() > MOST_ALONE:
        return np.full(values.shape, np.nan)
    return np.where(alone, values[~alone].mean(), values)


def answers_projected_out(
    x: States,
    y: States,
    x_readout: Float[np.ndarray, "#repeats answers width"],
    y_readout: Float[np.ndarray, "#repeats answers width"],
) -> Compared:
    """Return the centered cosine of states without what the head reads the answers with.

    NaN where the answers' directions span more than `MOST_DIRECTIONS` of the width.

    Args:
        x: states.
        y: of the same queries.
        x_readout: the vectors that x's answers are read with.
        y_readout: those of y.
    """
    if any(spans_too_much(directions(one[0])) for one in (x_readout, y_readout)):
        nothing = np.full((num_rows(x, y), x.shape[1]), np.nan)
        return Compared(nothing, nothing)
    return MEASURES["centered"](project_out(x, x_readout), project_out(y, y_readout))


def spans_too_much(basis: Float[np.ndarray, "width rank"]) -> bool:
    """Say whether the directions of answers leave too little of the width to compare."""
    width, rank = basis.shape
    return rank > MOST_DIRECTIONS * width


def out_of(
    states: Float[np.ndarray, "queries width"], basis: Float[np.ndarray, "width rank"]
) -> Directed:
    """Return what one row of states brings into `answers_projected_out`, whatever it meets."""
    return centered(_without(states, basis))


def steered(
    anchor: Float[np.ndarray, "1 queries width"],
    tuned: Float[np.ndarray, "repeats queries width"],
    answers: Answers,
) -> Float[np.ndarray, "repeats queries width"]:
    """Return the anchor's states moved, for each answer, by the mean change of tuning.

    They give the tuned model's answers to the extent that these are read from class means, and
    have nothing else of it: within those answers they are the anchor's. It is what a head on the
    untouched model, or a steering vector per answer, could do.

    Args:
        anchor: states of the untouched model.
        tuned: of the tuned one.
        answers: which the tuned model gives.

    Source: steering by a difference of means, Rimsky et al. 2024 (arXiv 2312.06681).
    """
    moved = np.repeat(anchor.astype(np.float64), len(tuned), axis=0)
    for repeat, given in enumerate(answers):
        for answer in np.unique(given):
            same = given == answer
            moved[repeat, same] += (tuned[repeat, same] - anchor[0, same]).mean(0, dtype=np.float64)
    return moved
