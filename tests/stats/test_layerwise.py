"""Inference over layers: by hand, against every sign pattern, and against its own error rates."""

import math
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as students

from adaptlens.stats import layerwise

MANY = 150
SLACK = 3 * math.sqrt(0.05 * 0.95 / MANY)
"""Three standard errors of a share of 5%."""


def table(rng, *, layers=1, repeats=10, queries=30, by_draw=0.3, by_query=0.5, carry=0.8):
    """Values [layers, repeats, queries] with mean 0; neighboring layers are alike."""

    def along(shape):
        out = rng.normal(size=(layers, *shape))
        for layer in range(1, layers):
            out[layer] = carry * out[layer - 1] + math.sqrt(1 - carry**2) * out[layer]
        return out

    return (
        by_draw * along((repeats, 1)) + by_query * along((1, queries)) + along((repeats, queries))
    )


def test_a_mean_without_draws_is_students_t_over_queries():
    # Mean 3 and standard error sqrt(2.5 / 5) of 1 to 5; t(0.025, 4) = 2.776.
    found = layerwise.mean(np.array([[1.0, 2, 3, 4, 5]]), drawn=False)
    assert found.value == 3
    assert found.stderr == pytest.approx(math.sqrt(0.5))
    assert found.high - found.value == pytest.approx(2.776 * math.sqrt(0.5), abs=1e-3)
    assert found.p == pytest.approx(2 * students.sf(3 / math.sqrt(0.5), 4))


def test_a_mean_counts_the_spread_of_draws_and_of_queries():
    # Draws at 0, 1, 2 and queries at 0, 3 add up without rest: variance 1 / 3 + 4.5 / 2.
    values = np.array([0.0, 1, 2])[:, None] + np.array([0.0, 3])
    found = layerwise.mean(values, drawn=True)
    assert found.value == 2.5
    assert found.stderr**2 == pytest.approx(1 / 3 + 4.5 / 2)
    assert (found.queries, found.draws) == (2, 3)


def test_equal_values_have_no_interval_and_the_p_value_of_equal_signs():
    same = layerwise.mean(np.ones((3, 6)), drawn=True)
    assert (same.value, same.low, same.high) == (1, 1, 1)
    assert same.p == 2 * 0.5**6
    assert layerwise.mean(np.zeros((3, 6)), drawn=True).p == 1


def test_what_all_queries_share_is_tested_over_draws_alone():
    found = layerwise.mean(np.array([[1.0], [2], [3]]), drawn=True)
    assert found.stderr == pytest.approx(1 / math.sqrt(3))
    assert found.high - found.value == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert math.isnan(layerwise.mean(np.array([[1.0]]), drawn=False).p)


@given(st.integers(0, 1000), st.floats(-2, 2), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_the_interval_moves_and_stretches_with_the_values(seed, shift, scale):
    values = table(np.random.default_rng(seed))[0]
    one = layerwise.mean(values, True, flips=99)
    other = layerwise.mean(scale * values + shift, True, flips=99)
    for end in ("value", "low", "high"):
        assert getattr(other, end) == pytest.approx(scale * getattr(one, end) + shift, abs=1e-8)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_draws_and_of_queries_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    values = table(rng, layers=4, repeats=5, queries=8) + 0.3
    turned = values[:, rng.permutation(5)][:, :, rng.permutation(8)]
    one, other = layerwise.mean(values[0], True), layerwise.mean(turned[0], True)
    assert (other.low, other.high, other.p) == pytest.approx((one.low, one.high, one.p))
    # Without draws all patterns of 8 signs are tried, so the clusters are the same to the last.
    one, other = ([(c.first, c.last, c.p) for c in layerwise.clusters(y[:, :1], drawn=False)]
                  for y in (values, values[:, :, rng.permutation(8)]))  # fmt: skip
    assert one == other


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_turning_every_sign_turns_the_result(seed):
    values = table(np.random.default_rng(seed), layers=4, repeats=5) + 0.4
    one, other = layerwise.mean(values[0], True), layerwise.mean(-values[0], True)
    assert (other.value, other.low, other.p) == pytest.approx((-one.value, -one.high, one.p))
    found, turned = (layerwise.clusters(y, drawn=True, flips=99) for y in (values, -values))
    assert [(c.first, c.last, c.p) for c in found] == [(c.first, c.last, c.p) for c in turned]
    assert [c.mass for c in turned] == pytest.approx([-c.mass for c in found])


def test_one_sided_tests_about_a_bound_add_up_to_one():
    found = layerwise.mean(table(np.random.default_rng(0))[0] + 0.3, drawn=True)
    for bound in (-0.2, 0.0, 0.5):
        assert found.at_least(bound) + found.at_most(bound) == pytest.approx(1)
    assert found.at_least(found.value) == pytest.approx(0.5)
    assert 2 * found.at_least() == pytest.approx(found.p)


@pytest.mark.parametrize(("repeats", "by_draw"), [(1, 0.0), (5, 0.3), (10, 1.0)])
def test_intervals_of_a_mean_cover_what_they_should(repeats, by_draw):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(MANY):
        found = layerwise.mean(table(rng, repeats=repeats, by_draw=by_draw)[0], repeats > 1)
        covered += found.low <= 0 <= found.high
    assert covered / MANY >= 0.95 - SLACK


def test_a_jackknife_of_a_mean_gives_its_standard_error():
    # Leaving out each of 5 queries of one draw is the textbook case: s / sqrt(5).
    values = np.array([1.0, 2, 4, 7, 11])
    left_out = np.array([np.delete(values, i).mean() for i in range(5)])[:, None]
    found = layerwise.of_draws(np.array([values.mean()]), left_out)
    assert found.stderr == pytest.approx(values.std(ddof=1) / math.sqrt(5))
    assert found.df == pytest.approx(4)


def test_without_left_out_queries_draws_alone_make_the_error():
    found = layerwise.of_draws(np.array([1.0, 2, 3]))
    assert found.stderr == pytest.approx(1 / math.sqrt(3))
    assert found.df == pytest.approx(2)
    assert math.isnan(layerwise.of_draws(np.array([0.5])).low)
    assert layerwise.of_draws(np.array([0.5, 0.5])).low == 0.5


def naive_clusters(values: np.ndarray, threshold: float) -> list[tuple[int, int, float]]:
    """(first, last, p) over layers x queries by trying every pattern of signs, one by one."""
    layers, queries = values.shape
    patterns = [np.array(signs) for signs in product((-1.0, 1.0), repeat=queries)]

    def studentized(row: np.ndarray) -> float:
        return row.mean() / math.sqrt(row.var(ddof=1) / queries)

    of_layer = [[studentized(signs * row) for signs in patterns] for row in values]

    def deviate(layer: int, value: float) -> float:
        reached = sum(abs(other) >= abs(value) - 1e-9 for other in of_layer[layer])
        return math.copysign(-NormalDist().inv_cdf(reached / len(patterns) / 2), value)

    def runs(deviates):
        out = []
        limit = -NormalDist().inv_cdf(threshold / 2)
        for layer, z in enumerate(deviates):
            if abs(z) <= limit:
                continue
            if out and out[-1][1] == layer - 1 and out[-1][2] * z > 0:
                out[-1] = (out[-1][0], layer, out[-1][2] + z)
            else:
                out.append((layer, layer, z))
        return out

    heaviest = []
    for i in range(len(patterns)):
        found = runs([deviate(layer, of_layer[layer][i]) for layer in range(layers)])
        heaviest.append(max((abs(mass) for _, _, mass in found), default=0.0))
    observed = runs([deviate(layer, studentized(row)) for layer, row in enumerate(values)])
    return [
        (first, last, float(np.mean(np.array(heaviest) >= abs(mass) - 1e-9)))
        for first, last, mass in observed
    ]


@pytest.mark.parametrize("seed", range(6))
def test_clusters_are_those_of_every_sign_pattern(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, 7)) + np.array([1.5, 1.0, 0.0, -1.0, -1.0])[:, None]
    found = layerwise.clusters(values[:, None], drawn=False, threshold=0.2)
    wanted = naive_clusters(values, 0.2)
    assert [(one.first, one.last) for one in found] == [(a, b) for a, b, _ in wanted]
    assert [one.p for one in found] == pytest.approx([p for _, _, p in wanted])


def naive_clusters_of_draws(values: np.ndarray, threshold: float):
    """(first, last, p) over layers x draws x queries, every estimated effect flipped by itself."""
    layers, repeats, queries = values.shape
    patterns = [np.array(signs) for signs in product((-1.0, 1.0), repeat=queries + repeats)]

    def studentized(y: np.ndarray) -> tuple[float, float]:
        grand, of_row, of_column = y.mean(), y.mean(1), y.mean(0)
        by_query = repeats * np.square(of_column - grand).sum() / (queries - 1)
        by_draw = queries * np.square(of_row - grand).sum() / (repeats - 1)
        rest = y - of_row[:, None] - of_column + grand
        left = np.square(rest).sum() / ((repeats - 1) * (queries - 1))
        v = (max(by_query, left) + max(0, by_draw - left)) / y.size
        parts = by_query**2 / (queries - 1) + by_draw**2 / (repeats - 1)
        parts += left**2 / ((repeats - 1) * (queries - 1))
        return grand / math.sqrt(v), v**2 / (parts / y.size**2)

    def flip(y: np.ndarray, signs: np.ndarray) -> np.ndarray:
        of_query, of_draw = signs[:queries], signs[queries:, None]
        rows = y.mean(1, keepdims=True) - y.mean()
        rest = y - y.mean(0) - rows
        return of_draw * rows + of_query * y.mean(0) + of_draw * of_query * rest

    def runs(deviates):
        limit, out = -NormalDist().inv_cdf(threshold / 2), []
        for layer, z in enumerate(deviates):
            if abs(z) <= limit:
                continue
            if out and out[-1][1] == layer - 1 and out[-1][2] * z > 0:
                out[-1] = (out[-1][0], layer, out[-1][2] + z)
            else:
                out.append((layer, layer, z))
        return out

    flipped = [[studentized(flip(y, signs))[0] for signs in patterns] for y in values]

    def deviate(layer: int, t: float, least: float = 0.0) -> float:
        share = np.mean([abs(other) >= abs(t) - 1e-9 for other in flipped[layer]])
        return math.copysign(-NormalDist().inv_cdf(max(share / 2, least)), t)

    heaviest = [
        max((abs(run[2]) for run in runs([deviate(k, flipped[k][i]) for k in range(layers)])),
            default=0.0)
        for i in range(len(patterns))
    ]  # fmt: skip
    of_layers = [studentized(y) for y in values]
    own = [deviate(k, t, students.sf(abs(t), df)) for k, (t, df) in enumerate(of_layers)]
    return [
        (first, last, float(np.mean(np.array(heaviest) >= abs(mass) - 1e-9)))
        for first, last, mass in runs(own)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_clusters_of_two_draws_are_those_of_every_sign_of_draws_and_queries(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(3, 2, 6)) + 0.2 * rng.normal(size=(3, 2, 1))
    values += np.array([2.0, 1.5, -2.0])[:, None, None]
    found = layerwise.clusters(values, drawn=True, threshold=0.3)
    wanted = naive_clusters_of_draws(values, 0.3)
    assert wanted
    assert [(one.first, one.last) for one in found] == [(a, b) for a, b, _ in wanted]
    assert [one.p for one in found] == pytest.approx([p for _, _, p in wanted])


def test_an_effect_in_some_layers_is_found_there():
    values = table(np.random.default_rng(0), layers=8, queries=60)
    values[3:6] += 1.0
    (found,) = layerwise.clusters(values, drawn=True, flips=499)
    assert (found.first, found.last) == (3, 5)
    assert found.mass > 0 and found.p <= 0.05


def test_neighbors_on_different_sides_are_two_clusters_and_one_side_sees_one():
    values = table(np.random.default_rng(0), layers=4, queries=60)
    values += np.array([1.0, 1, -1, -1])[:, None, None]
    both = layerwise.clusters(values, drawn=True, flips=199)
    assert [(one.first, one.last, one.mass > 0) for one in both] == [(0, 1, True), (2, 3, False)]
    above = layerwise.clusters(values, drawn=True, side="above", flips=199)
    assert [(one.first, one.last) for one in above] == [(0, 1)]


def test_equal_values_in_a_layer_are_a_cluster_unless_they_are_0():
    values = np.zeros((3, 1, 9))
    values[1] = 0.5
    (found,) = layerwise.clusters(values, drawn=False)
    assert (found.first, found.last) == (1, 1)
    assert found.p == 2 * 0.5**9


@pytest.mark.parametrize(("repeats", "by_draw"), [(1, 0.0), (5, 0.1), (10, 1.0)])
def test_a_cluster_anywhere_is_as_rare_as_its_p_value_says(repeats, by_draw):
    rng = np.random.default_rng(2)
    false = 0
    for run in range(MANY):
        values = table(rng, layers=6, repeats=repeats, by_draw=by_draw)
        found = layerwise.clusters(values, repeats > 1, flips=199, seed=run)
        false += min((one.p for one in found), default=1.0) <= 0.05
    assert false / MANY <= 0.05 + SLACK


def test_thirds_of_seven_layers_are_two_three_and_two():
    values = np.array([5.0, 3, 1, 1, 1, 4, 6])[:, None, None] + np.zeros((7, 2, 8))
    lower, upper = layerwise.outer_less_middle(values)
    assert lower.shape == upper.shape == (2, 8)
    assert set(lower.ravel()) == {4 - 1} and set(upper.ravel()) == {5 - 1}


def test_two_layers_have_no_thirds():
    with pytest.raises(ValueError, match="2 layers have no thirds"):
        layerwise.outer_less_middle(np.zeros((2, 3, 4)))


def test_of_answers_all_alike_those_not_seen_may_be_otherwise():
    # All of 20 right in both: with 97.5 % at most 1 - 0.025^(1/20) = 16.8 % are of another kind.
    found = layerwise.mean(np.zeros((5, 20)), drawn=True, most=1.0)
    assert (found.low, found.high) == pytest.approx((-0.16843, 0.16843), abs=1e-5)
    assert found.at_most(0.05) == pytest.approx(0.95**20)
    assert layerwise.mean(np.zeros((5, 200)), drawn=True, most=1.0).at_most(0.05) < 1e-4
    always = layerwise.mean(np.ones((5, 20)), drawn=True, most=1.0)
    assert (always.high, always.at_least(0.9)) == (1.0, pytest.approx(0.95**20))
    without = layerwise.mean(np.zeros((5, 20)), drawn=True)
    assert (without.low, without.at_most(0.05)) == (0.0, 0.5**20)


def test_of_answers_nearly_alike_the_error_is_at_least_that_at_the_bound():
    values = np.zeros((5, 20))
    values[0, 0] = 1.0
    found = layerwise.mean(values, drawn=True, most=1.0)
    distance = 0.05 - found.value
    wanted = scipy.special.stdtr(found.df, -distance / np.sqrt(0.05 * 0.95 / 20))
    assert found.at_most(0.05) == pytest.approx(wanted)
    assert found.at_most(0.05) > 10 * layerwise.mean(values, drawn=True).at_most(0.05)
