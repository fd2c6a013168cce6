"""States with the answer taken out: by hand, what leaves them as they are, and what is left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.metrics.answer_out import (
    MOST_ALONE,
    answers_projected_out,
    class_means_out,
    directions,
    is_alone,
    project_out,
    steered,
    within_answers,
)
from adaptlens.metrics.similarity import MEASURES

SEEDS = st.integers(0, 10**6)


def some(seed, repeats=3, queries=12, width=7, answers=3):
    """States, what each query is answered (every answer at least twice), and readout vectors."""
    draw = np.random.default_rng(seed)
    states = draw.normal(size=(repeats, queries, width))
    given = np.stack([draw.permutation(np.arange(queries) % answers) for _ in range(repeats)])
    return states, given, draw.normal(size=(repeats, answers, width)).astype(np.float32)


def test_class_means_by_hand():
    states = np.array([[[1.0, 0], [3, 2], [10, 10], [10, 14], [7, 7]]])
    found = class_means_out(states, np.array([[0, 0, 1, 1, 2]]))
    # Means (2, 1) and (10, 12); the last query is alone with its answer.
    assert found.tolist() == [[[-1, -1], [1, 1], [0, -2], [0, 2], [0, 0]]]


def test_directions_by_hand():
    # Differences along the first axis alone; their common part is no direction.
    assert abs(directions(np.array([[1.0, 5, 0], [3, 5, 0], [-4, 5, 0]]))).tolist() == [
        [1], [0], [0],
    ]  # fmt: skip
    assert directions(np.array([[1.0, 2], [1, 2]])).shape == (2, 0)
    states = np.array([[[2.0, 3, 4]]])
    assert project_out(states, np.array([[[1.0, 5, 0], [3, 5, 0]]])).tolist() == [[[0, 3, 4]]]


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_taking_the_answer_out_twice_changes_nothing(seed):
    states, answers, readout = some(seed)
    once = class_means_out(states, answers)
    np.testing.assert_allclose(class_means_out(once, answers), once, atol=1e-12)
    once = project_out(states, readout)
    np.testing.assert_allclose(project_out(once, readout), once, atol=1e-12)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_constant_per_answer_changes_nothing(seed):
    x, answers, _ = some(seed)
    y, others, _ = some(seed + 1)
    moved = x + 100 * np.random.default_rng(seed).normal(size=(3, 7))[answers]
    before, after = (within_answers(one, y, answers, others) for one in (x, moved))
    np.testing.assert_allclose(after.matched, before.matched, atol=1e-9)
    np.testing.assert_allclose(after.mismatched, before.mismatched, atol=1e-9)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_with_the_answers_projected_out_all_have_the_same_logit(seed):
    states, _, readout = some(seed)
    logits = project_out(states, readout) @ readout.astype(float).swapaxes(1, 2)
    assert np.ptp(logits, axis=-1).max() < 1e-5  # Float32 vectors.
    moved = states + (readout[:, :1] - readout[:, 1:2])
    found = answers_projected_out(states, moved, readout, readout)
    np.testing.assert_allclose(found.matched, 1, atol=1e-5)


def test_states_that_share_an_answer_and_nothing_else_are_unrelated_within_it():
    draw = np.random.default_rng(0)
    answers = np.tile(np.arange(60) % 2, (8, 1))
    axis = np.zeros(64)
    axis[0] = 20
    x, y = draw.normal(size=(2, 8, 60, 64)) + np.where(answers[..., None], axis, -axis)
    assert MEASURES["centered"](x, y).matched.mean() > 0.8
    assert abs(within_answers(x, y, answers, answers).matched.mean()) < 0.02
    readout = np.stack([np.stack([axis, -axis])] * 8)
    assert abs(answers_projected_out(x, y, readout, readout).matched.mean()) < 0.02


def test_the_cosine_is_that_of_leaving_the_query_out_of_its_mean():
    (x, answers, _), (y, _, _) = some(3), some(4)
    found = within_answers(x, y, answers, answers).matched
    for r, q in ((0, 0), (2, 7)):
        same = (answers[r] == answers[r, q]) & (np.arange(12) != q)
        a, b = (one[r, q] - one[r, same].mean(0) for one in (x, y))
        assert found[r, q] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_query_alone_with_its_answer_gets_the_mean_of_the_others():
    x, answers, _ = some(5, answers=2)
    y, _, _ = some(6)
    answers[:, 4] = 2
    found = within_answers(x, y, answers, answers)
    assert is_alone(answers[0]).nonzero()[0].tolist() == [4]
    assert found.matched[:, 4] == pytest.approx(np.delete(found.matched, 4, 1).mean(1))
    many = np.arange(12)[None].repeat(3, 0)
    many[:, : int(12 * (1 - MOST_ALONE)) - 1] = 0
    assert np.isnan(within_answers(x, y, many, answers).matched).all()


def test_a_condition_without_draws_stands_against_every_draw():
    (x, answers, readout), (y, others, _) = some(7, repeats=1), some(8)
    found = within_answers(x, y, answers, others).matched
    each = [within_answers(x, y[r : r + 1], answers, others[r : r + 1]).matched for r in range(3)]
    np.testing.assert_array_equal(found, np.concatenate(each))
    readouts = readout.repeat(3, 0)
    assert answers_projected_out(x, y, readout, readouts).matched.shape == (3, 12)


def test_states_that_do_not_vary_within_answers_are_undefined_there():
    answers = np.arange(12)[None] % 2
    same = np.where(answers[..., None], 1.1, 0.3) + np.zeros((1, 12, 7))
    varied = np.random.default_rng(0).normal(size=(1, 12, 7))
    assert np.isnan(within_answers(same.astype(np.float32), varied, answers, answers).matched).all()


def test_answers_that_span_most_of_the_width_leave_nothing_to_compare():
    x, _, _ = some(9)
    wide = np.random.default_rng(9).normal(size=(3, 5, 7))
    assert np.isnan(answers_projected_out(x, x, wide, wide).matched).all()


def test_the_steered_anchor_has_the_tuned_class_means_and_the_anchors_residuals():
    anchor, _, _ = some(10, repeats=1)
    tuned, answers, _ = some(11)
    found = steered(anchor, tuned, answers)
    for r in range(3):
        for answer in range(3):
            same = answers[r] == answer
            np.testing.assert_allclose(found[r, same].mean(0), tuned[r, same].mean(0), atol=1e-12)
    as_anchor = within_answers(found, anchor.repeat(3, 0), answers, answers).matched
    np.testing.assert_allclose(as_anchor, 1, atol=1e-12)
