"""States in one basis: worked by hand, against double loops, and 0 on unrelated data."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.metrics.similarity import MEASURES, change_cosine, change_projection, lens_kl

SEEDS = st.integers(0, 10**6)
X = np.array([[[1.0, 0.0], [0.0, 1.0]]])
Y = np.array([[[1.0, 0.0], [1.0, 1.0]]])
HALF = np.sqrt(0.5)


def related(seed, repeats=2, queries=7, width=5):
    draw = np.random.default_rng(seed)
    shared = draw.normal(size=(1, queries, width))
    x, y = draw.normal(size=(2, repeats, queries, width)) + shared + 3 * draw.normal(size=width)
    return x, y


def test_raw_cosine_by_hand():
    found = MEASURES["cosine"](X, Y)
    assert found.matched == pytest.approx(np.array([[1, HALF]]))
    assert found.mismatched == pytest.approx(np.array([[HALF, 0]]))
    assert found.above == pytest.approx(np.array([[1 - HALF, HALF]]))


def test_centered_cosine_by_hand():
    # Less their means: x is (.5, -.5) and (-.5, .5), y is (0, -.5) and (0, .5).
    found = MEASURES["centered"](X, Y)
    assert found.matched == pytest.approx(np.array([[HALF, HALF]]))
    assert found.mismatched == pytest.approx(np.array([[-HALF, -HALF]]))


def test_standardized_cosine_by_hand():
    # Mean squares .25 and 0 in the first dimension, .25 and .25 in the second: pooled, its
    # deviations are worth root 2 more. x is (root 2, -1) and y (0, -1), in units of .5.
    found = MEASURES["standardized"](X, Y)
    assert found.matched == pytest.approx(np.full((1, 2), 1 / np.sqrt(3)))


def test_relative_distance_by_hand():
    # Of the same query 1 and 0 apart, of different ones 2 and 1: the mean square of these is 2.5.
    x, y = np.array([[[0.0], [2.0]]]), np.array([[[1.0], [2.0]]])
    found = MEASURES["distance"](x, y)
    assert found.matched == pytest.approx(np.array([[1, 0]]) / np.sqrt(2.5))
    assert found.mismatched == pytest.approx(np.array([[2, 1]]) / np.sqrt(2.5))


@given(SEEDS)
def test_one_less_the_mean_square_distance_is_lins_concordance(seed):
    x, y = related(seed, repeats=1, width=1)
    a, b = x[0, :, 0], y[0, :, 0]
    # 2 cov / (var + var + gap^2), Lin 1989, with the one unbiased estimate of each:
    # E[a b] over pairs of different queries stands for the product of the means.
    count = len(a)
    product = (a.sum() * b.sum() - a @ b) / (count * (count - 1))
    covariance = a @ b / count - product
    spread = np.mean(a**2) + np.mean(b**2) - 2 * product
    distance = MEASURES["distance"](x, y).matched
    assert 1 - np.mean(distance**2) == pytest.approx(2 * covariance / spread)


def naive(name, x, y):
    """Return what the definition says, one pair of vectors at a time."""
    count = len(x)
    if name in ("centered", "standardized"):
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    if name == "standardized":
        pooled = np.sqrt((x.var(axis=0) + y.var(axis=0)) / 2)
        x, y = x / pooled, y / pooled
    if name == "distance":
        table = np.array([[np.linalg.norm(a - b) for b in y] for a in x])
        off = table[~np.eye(count, dtype=bool)]
        table = table / np.sqrt(np.mean(off**2))
    else:
        table = np.array(
            [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in y] for a in x]
        )  # fmt: skip
    others = [np.delete(table[q], q).mean() for q in range(count)]
    return np.diag(table), np.array(others)


@pytest.mark.parametrize("name", MEASURES)
@given(seed=SEEDS)
def test_every_measure_is_its_definition_pair_by_pair(name, seed):
    x, y = related(seed)
    found = MEASURES[name](x, y)
    for row in range(len(x)):
        matched, mismatched = naive(name, x[row], y[row])
        assert found.matched[row] == pytest.approx(matched, abs=1e-9)
        assert found.mismatched[row] == pytest.approx(mismatched, abs=1e-9)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_equal_states_score_exactly_one_or_no_distance(name, kind):
    x = related(1, queries=50, width=128)[0].astype(kind)
    equal = 0.0 if MEASURES[name].is_distance else 1.0
    assert (MEASURES[name](x, x.copy()).matched == equal).all()


@pytest.mark.parametrize("name", MEASURES)
def test_one_row_is_compared_with_every_row_of_the_other(name):
    x, y = related(2, repeats=4)
    found = MEASURES[name](x[:1], y)
    spelled_out = MEASURES[name](np.repeat(x[:1], 4, axis=0), y)
    assert found.matched.shape == (4, 7)
    assert (found.matched == spelled_out.matched).all()
    assert (MEASURES[name](y, x[:1]).mismatched.shape) == (4, 7)


@given(SEEDS, st.floats(0.1, 100))
def test_cosines_do_not_change_with_the_scale_of_one_side(seed, scale):
    x, y = related(seed)
    for name in ("cosine", "centered"):
        assert MEASURES[name](scale * x, y).above == pytest.approx(MEASURES[name](x, y).above)


@given(SEEDS)
def test_centered_measures_do_not_change_with_a_shift_of_one_side(seed):
    x, y = related(seed)
    shift = np.random.default_rng(seed).normal(size=x.shape[-1]) * 5
    for name in ("centered", "standardized"):
        assert MEASURES[name](x + shift, y).above == pytest.approx(MEASURES[name](x, y).above)
    assert MEASURES["cosine"](x + shift, y).matched != pytest.approx(
        MEASURES["cosine"](x, y).matched
    )


@given(SEEDS)
def test_standardized_cosine_does_not_change_with_the_units_of_a_dimension(seed):
    x, y = related(seed)
    units = np.exp(np.random.default_rng(seed).normal(size=x.shape[-1]) * 2)
    before = MEASURES["standardized"](x, y).matched
    assert MEASURES["standardized"](units * x, units * y).matched == pytest.approx(before)
    assert MEASURES["centered"](units * x, units * y).matched != pytest.approx(
        MEASURES["centered"](x, y).matched
    )


@given(SEEDS, st.floats(0.1, 100))
def test_relative_distance_does_not_change_with_what_both_sides_share(seed, scale):
    x, y = related(seed)
    draw = np.random.default_rng(seed)
    turn = np.linalg.qr(draw.normal(size=(x.shape[-1],) * 2))[0]
    before = MEASURES["distance"](x, y).matched
    moved = [scale * one @ turn + 3 for one in (x, y)]
    assert MEASURES["distance"](*moved).matched == pytest.approx(before)


@given(SEEDS)
def test_cosines_lie_between_minus_one_and_one(seed):
    x, y = related(seed)
    for name in ("cosine", "centered", "standardized"):
        assert np.abs(MEASURES[name](x, y).matched).max() <= 1 + 1e-12


def test_a_common_offset_and_three_large_dimensions_make_raw_cosine_high_for_any_pair():
    draw = np.random.default_rng(3)
    offset = draw.normal(size=896)
    offset[:3] = 50, -60, 60
    x, y = draw.normal(size=(2, 4, 64, 896)) + offset
    raw = MEASURES["cosine"](x, y)
    assert raw.matched.mean() == pytest.approx(0.92, abs=0.01)
    assert raw.mismatched.mean() == pytest.approx(0.92, abs=0.01)
    assert MEASURES["centered"](x, y).matched.mean() == pytest.approx(0, abs=0.01)
    assert MEASURES["standardized"](x, y).matched.mean() == pytest.approx(0, abs=0.01)


def test_nothing_is_above_its_baseline_on_independent_states():
    x, y = np.random.default_rng(4).normal(size=(2, 5, 64, 4096)).astype(np.float32)
    for name in ("cosine", "centered", "standardized"):
        assert MEASURES[name](x, y).above.mean() == pytest.approx(0, abs=0.005)
    far = MEASURES["distance"](x, y)
    assert far.matched.mean() == pytest.approx(1, abs=0.005)
    assert far.above.mean() == pytest.approx(0, abs=0.005)


def test_where_all_queries_have_one_state_centered_cosine_is_undefined_without_a_warning():
    one = np.full((1, 6, 4), 0.1, dtype=np.float32)
    x, y = np.repeat(one, 3, axis=0), related(5, repeats=3, queries=6, width=4)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(MEASURES["centered"](x, y).matched).all()
        assert np.isnan(MEASURES["standardized"](x, y).matched).all()
        assert np.isnan(MEASURES["distance"](x, x).matched).all()
        assert (MEASURES["cosine"](x, x).matched == 1).all()


def test_an_undefined_query_does_not_spoil_the_baseline_of_the_others():
    y = np.concatenate([Y, np.zeros((1, 1, 2))], axis=1)
    x = np.concatenate([X, np.ones((1, 1, 2))], axis=1)
    found = MEASURES["cosine"](x, y)
    assert np.isnan(found.matched[0, 2])
    assert found.mismatched[0, 0] == pytest.approx(HALF)
    # (1, 1) against (1, 0) and (1, 1).
    assert found.mismatched[0, 2] == pytest.approx((HALF + 1) / 2)


def test_a_single_query_has_no_baseline():
    found = MEASURES["cosine"](X[:, :1], Y[:, :1])
    assert found.matched == pytest.approx(np.array([[1.0]]))
    assert np.isnan(found.mismatched).all()


@pytest.mark.parametrize(
    "shape", [(2, 3), (3, 4, 5), (2, 5, 5), (2, 4, 6)], ids=["axes", "draws", "queries", "width"]
)
def test_states_that_do_not_fit_are_refused(shape, unchecked):
    with pytest.raises(ValueError, match="expected"):
        MEASURES["cosine"](np.ones((2, 4, 5)), np.ones(shape))


def test_changes_by_hand():
    # x's changes are (1, 0) and (0, 2), y's (1, 1) and (0, 1).
    x_anchor, y_anchor = np.array([[[5.0, 1], [2, 2]]]), np.array([[[0.0, 3], [4, 4]]])
    x = x_anchor + np.array([[[1.0, 0], [0, 2]]])
    y = y_anchor + np.array([[[1.0, 1], [0, 1]]])
    angle = change_cosine(x, x_anchor, y, y_anchor)
    assert angle.matched == pytest.approx(np.array([[HALF, 1]]))
    assert angle.mismatched == pytest.approx(np.array([[0, HALF]]))
    along = change_projection(x, x_anchor, y, y_anchor)
    assert along.matched == pytest.approx(np.array([[0.5, 2]]))
    assert along.mismatched == pytest.approx(np.array([[0, 1]]))


@given(SEEDS)
def test_changes_are_their_definition_pair_by_pair(seed):
    (x, y), (a, b) = related(seed), related(seed + 1)
    angle, along = change_cosine(x, a, y, b[:1]), change_projection(x, a, y, b[:1])
    for row in range(len(x)):
        dx, dy = x[row] - a[row], y[row] - b[0]
        assert angle.mismatched[row] == pytest.approx(naive("cosine", dx, dy)[1])
        slopes = np.array([[u @ v / (v @ v) for v in dy] for u in dx])
        assert along.matched[row] == pytest.approx(np.diag(slopes))
        others = [np.delete(slopes[q], q).mean() for q in range(len(dx))]
        assert along.mismatched[row] == pytest.approx(np.array(others))


def test_one_anchor_for_both_gives_unrelated_states_a_half_and_two_give_nothing():
    x, y, a, b = np.random.default_rng(6).normal(size=(4, 3, 64, 4096))
    for measure in (change_cosine, change_projection):
        trapped = measure(x, a, y, a, shared=True)
        assert trapped.matched.mean() == pytest.approx(0.5, abs=0.01)
        assert trapped.mismatched.mean() == pytest.approx(0, abs=0.01)
        apart = measure(x, a, y, b)
        assert apart.matched.mean() == pytest.approx(0, abs=0.01)
        assert apart.above.mean() == pytest.approx(0, abs=0.01)


def test_equal_anchors_are_refused_also_in_one_row_or_a_copy():
    x, y, a, b = np.random.default_rng(7).normal(size=(4, 2, 5, 3))
    for left, right in ((a, a), (a, a.copy()), (a[:1], a), (a, np.stack([b[0], a[1]]))):
        with pytest.raises(ValueError, match="same anchor"):
            change_cosine(x, left, y, right)
    assert change_cosine(x, a, y, b).matched.shape == (2, 5)


def test_tuning_that_changed_nothing_has_no_direction():
    x, a = np.random.default_rng(8).normal(size=(2, 2, 5, 3))
    assert np.isnan(change_cosine(x, a, a, a).matched).all()
    assert np.isnan(change_projection(x, a, a, a).matched).all()
    assert change_projection(a, a, x, a).matched == pytest.approx(np.zeros((2, 5)))


def test_what_all_queries_do_alike_is_in_the_baseline_of_changes():
    x, y = np.random.default_rng(9).normal(size=(2, 1, 5, 3))
    move = np.array([1.0, 2.0, 3.0])
    found = change_cosine(x + move, x, y + 4 * move, y)
    assert found.mismatched == pytest.approx(np.ones((1, 5)))
    assert found.above == pytest.approx(np.zeros((1, 5)))
    assert change_projection(x + move, x, y + 4 * move, y).matched == pytest.approx(0.25)


def test_divergence_by_hand():
    p, q = np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])
    # .5 log 2 + .5 log(2/3)
    assert lens_kl(p, q) == pytest.approx(0.5 * np.log(4 / 3))
    assert lens_kl(p, p) == 0
    with np.errstate(divide="ignore"):
        sure = np.log([[1.0, 0.0]])
    assert lens_kl(sure, p) == pytest.approx(np.log(2))
    assert lens_kl(p, sure) == np.inf


@given(SEEDS)
def test_divergence_over_some_outcomes_and_the_rest_is_at_most_that_over_all(seed):
    draw = np.random.default_rng(seed)
    p, q = draw.dirichlet(np.ones(6), size=(2, 3, 4))
    full = lens_kl(np.log(p), np.log(q))
    merged = [np.concatenate([r[..., :2], r[..., 2:].sum(axis=-1, keepdims=True)], -1)
              for r in (p, q)]  # fmt: skip
    coarse = lens_kl(*np.log(merged))
    assert full.shape == coarse.shape == (3, 4)
    assert (coarse >= 0).all()
    assert (coarse <= full + 1e-12).all()


def test_divergence_of_one_row_from_each_of_many():
    draw = np.random.default_rng(10)
    p, q = np.log(draw.dirichlet(np.ones(3), size=(1, 4))), draw.dirichlet(np.ones(3), size=(5, 4))
    assert lens_kl(p, np.log(q))[3] == pytest.approx(lens_kl(p[0], np.log(q[3])))
