"""Shapes of sets of states: worked by hand, against naive oracles, and 0 on unrelated data."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from adaptlens.metrics.shapes import (
    SET_MEASURES,
    folded_components,
    grams,
    kept_without,
    mantel,
)

SEEDS = st.integers(0, 10**6)
cka, procrustes, rsa = (SET_MEASURES[name] for name in ("cka", "procrustes", "rsa"))


def leave_out(name, x, y, groups):
    measure = SET_MEASURES[name]
    return measure.without(measure.prepare(x), measure.prepare(y), kept_without(groups))


def related(seed, repeats=2, queries=24, width=6):
    draw = np.random.default_rng(seed)
    shared = draw.normal(size=(1, queries, width)) * np.arange(1, width + 1)
    x, y = draw.normal(size=(2, repeats, queries, width)) + shared
    return x, y


def unbiased_hsic(k, l):  # noqa: E741
    """Return the mean over four different queries of Song et al.'s kernel, term by term."""
    fours = list(itertools.permutations(range(len(k)), 4))
    terms = (k[i, j] * l[i, j] + k[i, j] * l[q, r] - 2 * k[i, j] * l[i, q] for i, j, q, r in fours)
    return sum(terms) / len(fours)


def naive_cka(x, y):
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return unbiased_hsic(k, l) / math.sqrt(unbiased_hsic(k, k) * unbiased_hsic(l, l))


def naive_rsa(x, y):
    return spearmanr(pdist(x), pdist(y)).statistic


def naive_procrustes(x, y, held_out, components, kept):
    """Return the held-out score with components and rotation by singular values, fold by fold."""
    pairs = []
    for held in held_out:
        sides = []
        for one in (x, y):
            mean = one[~held].mean(axis=0)
            axes = np.linalg.svd(one[~held] - mean)[2][:components]
            sides.append((one - mean) @ axes.T)
        left, _, right = np.linalg.svd(sides[0][~held & kept].T @ sides[1][~held & kept])
        pairs.append((sides[0][held & kept] @ left @ right, sides[1][held & kept]))
    own, other = (np.concatenate([pair[i] for pair in pairs]).ravel() for i in range(2))
    return own @ other / np.linalg.norm(own) / np.linalg.norm(other)


def test_debiased_cka_by_hand():
    # Two groups of two cut the one way and the other. U-centered, pairs within a group have 1/3,
    # others -1/6: the sum of products is -4/18 + 2/36 = -1/6, that of squares 2/9 + 4/36 = 1/3.
    x = np.array([[[0.0], [0], [1], [1]]])
    y = np.array([[[0.0], [1], [0], [1]]])
    assert cka(x, y) == pytest.approx([-0.5])
    assert grams(x)[0, 0] == pytest.approx([0, 1 / 3, -1 / 6, -1 / 6])


@given(SEEDS)
@settings(max_examples=20)
def test_debiased_cka_is_the_mean_over_quadruples_of_different_queries(seed):
    x, y = related(seed, queries=6, width=3)
    assert cka(x, y) == pytest.approx([naive_cka(*rows) for rows in zip(x, y, strict=True)])


def test_rsa_by_hand():
    # Distances 1, 3, 2 and 2, 3, 1 are their own ranks: 1 - 6 (1 + 0 + 1) / (3 * 8) = 1/2.
    x, y = np.array([[[0.0], [1], [3]]]), np.array([[[0.0], [2], [3]]])
    assert rsa(x, y) == pytest.approx([0.5])


@given(SEEDS)
def test_rsa_is_spearmans_correlation_of_distances_also_with_ties(seed):
    x, y = np.random.default_rng(seed).integers(0, 3, size=(2, 2, 8, 2)).astype(float)
    x[:, 0], y[:, 0] = 5.0, -7.0
    assert rsa(x, y) == pytest.approx([naive_rsa(*rows) for rows in zip(x, y, strict=True)])


@given(SEEDS)
@settings(max_examples=20)
def test_procrustes_is_its_definition_fold_by_fold(seed):
    x, y = related(seed)
    held_out = folded_components(x).held_out
    everyone = np.ones(24, dtype=bool)
    expected = [naive_procrustes(a, b, held_out, 4, everyone) for a, b in zip(x, y, strict=True)]
    assert procrustes(x, y) == pytest.approx(expected)


def test_every_query_is_held_out_once():
    folded = folded_components(related(0)[0], folds=5)
    assert (folded.held_out.sum(axis=0) == 1).all()
    assert sorted(folded.held_out.sum(axis=1)) == [4, 5, 5, 5, 5]
    assert folded.coordinates.shape == (2, 5, 24, 4)


@pytest.mark.parametrize("name", SET_MEASURES)
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_equal_states_score_one(name, kind):
    x = related(1)[0].astype(kind)
    assert SET_MEASURES[name](x, x.copy()) == pytest.approx(np.ones(2), abs=1e-12)


@pytest.mark.parametrize("name", SET_MEASURES)
@given(seed=SEEDS, scale=st.floats(0.01, 100))
@settings(max_examples=30)
def test_no_measure_changes_when_one_side_is_rotated_scaled_and_shifted(name, seed, scale):
    x, y = related(seed)
    draw = np.random.default_rng(seed)
    turn = np.linalg.qr(draw.normal(size=(6, 6)))[0]
    moved = scale * x @ turn + draw.normal(size=6)
    assert SET_MEASURES[name](moved, y) == pytest.approx(SET_MEASURES[name](x, y), abs=1e-9)
    assert SET_MEASURES[name](moved, x) == pytest.approx(np.ones(2), abs=1e-9)


@pytest.mark.parametrize(("name", "scatter"), [("cka", 0.02), ("procrustes", 0.05), ("rsa", 0.06)])
def test_unrelated_states_score_nothing_with_more_dimensions_than_queries(name, scatter):
    x, y = np.random.default_rng(2).normal(size=(2, 20, 64, 4096)).astype(np.float32)
    found = SET_MEASURES[name](x, y)
    assert found.std() == pytest.approx(scatter, rel=0.4)
    assert found.mean() == pytest.approx(0, abs=3 * scatter / math.sqrt(20))


def test_debiased_cka_finds_the_value_of_the_population():
    # Half of either side's variance is shared, evenly over the dimensions: the population's value
    # is the squared covariance over the product of variances, 1/4.
    shared, x, y = np.random.default_rng(3).normal(size=(3, 10, 64, 4096))
    found = cka(shared + x, shared + y)
    assert found.mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("name", SET_MEASURES)
def test_one_row_is_compared_with_every_row_of_the_other(name):
    measure, (x, y) = SET_MEASURES[name], related(4, repeats=3)
    spelled_out = measure(np.repeat(x[:1], 3, axis=0), y)
    assert measure(x[:1], y) == pytest.approx(spelled_out)
    assert measure(y, x[:1]) == pytest.approx(measure(y, np.repeat(x[:1], 3, axis=0)))
    assert measure(x[:1], y[:1]) == pytest.approx(spelled_out[:1])


@pytest.mark.parametrize("name", SET_MEASURES)
def test_prepared_conditions_give_what_states_give(name):
    measure, (x, y) = SET_MEASURES[name], related(5)
    assert (measure.between(measure.prepare(x), measure.prepare(y)) == measure(x, y)).all()


def test_which_queries_stay_by_hand():
    stay = kept_without([7, 3, 7])
    assert stay.tolist() == [[True, False, True], [False, True, False]]


@pytest.mark.parametrize("name", ["cka", "rsa"])
@pytest.mark.parametrize("ties", [False, True])
def test_leaving_out_a_group_is_measuring_the_others(name, ties):
    x, y = related(6)
    if ties:
        x, y = np.round(x), np.round(y / 3)
    groups = np.arange(24) * 7 % 5
    found = leave_out(name, x, y, groups)
    kept = [groups != group for group in range(5)]
    assert found == pytest.approx(np.stack([SET_MEASURES[name](x[:, k], y[:, k]) for k in kept]))
    assert leave_out(name, x[:1], y, groups)[:, 0] == pytest.approx(found[:, 0])


def test_leaving_out_a_group_fits_the_rotation_without_it():
    x, y = related(7)
    groups = np.arange(24) % 4
    held_out = folded_components(x).held_out
    expected = [
        [naive_procrustes(a, b, held_out, 4, groups != group) for a, b in zip(x, y, strict=True)]
        for group in range(4)
    ]
    assert leave_out("procrustes", x, y, groups) == pytest.approx(np.array(expected))


def test_a_jackknife_over_queries_gives_the_spread_over_samples_of_them_or_more():
    # On average not less: Efron and Stein 1981.
    draw = np.random.default_rng(8)
    shared, x, y = draw.normal(size=(3, 60, 40, 8))
    x, y = shared + x, shared + y
    for name in SET_MEASURES:
        values = leave_out(name, x, y, np.arange(40) % 20)
        squares = np.square(values - values.mean(axis=0)).sum(axis=0) * 19 / 20
        spread = SET_MEASURES[name](x, y).std()
        assert 0.85 < math.sqrt(squares.mean()) / spread < 2


def test_mantel_is_near_the_share_of_all_permutations_that_reach_as_much():
    x, y = np.random.default_rng(9).normal(size=(2, 1, 5, 2))
    orders = [list(order) for order in itertools.permutations(range(5))]
    reached = [rsa(x, y[:, order])[0] >= rsa(x, y)[0] - 1e-9 for order in orders]
    assert mantel(x, y, permutations=4000) == pytest.approx(np.mean(reached), abs=0.03)


def test_mantel_on_equal_states_is_as_small_as_the_permutations_allow():
    x, _ = related(10)
    assert mantel(x, x, permutations=199) == 1 / 200
    assert mantel(x[:1], x, permutations=199) == 1 / 200


def test_mantel_with_one_row_on_a_side_is_that_with_the_row_repeated():
    x, y = np.random.default_rng(11).normal(size=(2, 3, 12, 2))
    assert mantel(x[:1], y) == mantel(np.repeat(x[:1], 3, axis=0), y)
    assert mantel(y, x[:1]) == mantel(y, np.repeat(x[:1], 3, axis=0))


def test_mantel_calls_unrelated_states_related_no_more_often_than_it_says():
    draw = np.random.default_rng(12)
    called = sum(
        mantel(*draw.normal(size=(2, 2, 12, 2)), permutations=99) <= 0.05 for _ in range(400)
    )
    # 5% of 400, and three standard deviations.
    assert 20 - 13 <= called <= 20 + 13


def test_what_does_not_vary_has_no_shape_and_gives_no_warning():
    x = np.full((1, 24, 6), 0.1, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for measure in SET_MEASURES.values():
            assert np.isnan(measure(x, related(13)[0])).all()
        assert math.isnan(mantel(x, related(13)[0]))


def test_too_few_queries_are_refused(unchecked):
    few = np.ones((1, 3, 8))
    with pytest.raises(ValueError, match="at least 4"):
        cka(few, few)
    with pytest.raises(ValueError, match="at least 3"):
        rsa(few[:, :2], few[:, :2])
    with pytest.raises(ValueError, match="a quarter of the queries"):
        procrustes(few, few)
    with pytest.raises(ValueError, match=r"given 24 queries .* for 5 components; expected 1 to 4"):
        folded_components(related(14)[0], components=5)
    with pytest.raises(ValueError, match="leave out smaller groups"):
        leave_out("cka", *related(14, queries=6), [0, 0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="the same queries and width"):
        rsa(np.ones((1, 5, 3)), np.ones((1, 6, 3)))
