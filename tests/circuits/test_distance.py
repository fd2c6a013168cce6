"""How far two circuits are apart: by hand, against loops, and on conditions with known truth."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.circuits.distance import (
    correlation,
    correlation_quantity,
    distance,
    spread,
    strength,
)
from adaptlens.circuits.overlap import (
    chance_jaccard,
    jaccards,
    overlap_curve,
    rank_biased_overlap,
    ranked_overlap,
    sizes,
)
from adaptlens.circuits.transfer import matched_sets, transfer
from adaptlens.errors import UserError
from adaptlens.stats import layerwise
from adaptlens.stats.resampling import Quantity, Weights, interval, resamples
from tests.circuits.test_profiles import noisy, patched

OWN = tuple(range(10, 15))
TRUTH = np.array([0.6, 0.4, -0.3, 0.2] + [0.0] * 16)
ELSEWHERE = np.roll(TRUTH, 8)


def test_a_distance_by_hand():
    # a has units (1, 0.5) and (1, -0.5) on its two queries: squares 1 and -0.25. b has (1, 0) on
    # both: power 1. The product of the two is 1, so D = 2 (0.75 + 1 - 2) / 1.75.
    a = patched([[[1.0, 0.5], [1.0, -0.5]]], name="a")
    b = patched([[[1.0, 0.0], [1.0, 0.0]]], name="b")
    assert distance(a, b).value == pytest.approx(2 * -0.25 / 1.75)
    assert distance(b, b).value == 0


def test_circuits_without_a_common_unit_are_2_apart():
    a, b = (patched(np.tile(row, (1, 3, 1))) for row in ([1.0, 0], [0, 1.0]))
    assert distance(a, b).value == pytest.approx(2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_a_distance_is_a_mean_over_pairs_of_cells(seed, repeats, others, shared):
    rng = np.random.default_rng(seed)
    a = noisy(rng, [1.0, -2, 0], repeats=repeats, queries=5)
    own = tuple(range(repeats)) if shared else tuple(range(10, 10 + others))
    b = noisy(rng, [1.0, 1, 0], repeats=len(own), queries=5, draws=own)

    def multiplied(x, y):
        alone = len(x.draws) == len(y.draws) == 1
        return np.mean([
            x.shares[r, i] @ y.shares[s, j]
            for r, s in product(range(len(x.draws)), range(len(y.draws)))
            for i, j in product(range(5), range(5))
            if i != j and (alone or x.draws[r] != y.draws[s])
        ])  # fmt: skip

    aa, ab, bb = multiplied(a, a), multiplied(a, b), multiplied(b, b)
    assert distance(a, b).value == pytest.approx(2 * (aa + bb - 2 * ab) / (aa + bb))


def test_what_cells_contribute_is_the_derivative_by_their_weight():
    rng = np.random.default_rng(0)
    a = noisy(rng, TRUTH, queries=12)
    b = noisy(rng, ELSEWHERE, queries=12, draws=OWN)
    step = 1e-6
    for make in (distance, correlation_quantity, strength, spread):
        found = make(a, b)
        rows = {draws: np.ones((1, 5)) for draws in found.influence}
        queries = np.ones((1, 12))
        queries[0, 3] += step
        moved = (found.resampled(Weights(rows, queries))[0] - found.value) / step
        assert moved == pytest.approx(
            sum(t[:, 3].mean() for t in found.influence.values()) / 12, rel=1e-3
        )
        rows[OWN] = rows[OWN] + step * np.eye(5)[[2]]
        moved = (found.resampled(Weights(rows, np.ones((1, 12))))[0] - found.value) / step
        assert moved == pytest.approx(found.influence[OWN][2].mean() / 5, rel=1e-3)


@pytest.mark.parametrize("by_draw", [0.0, 0.2])
@pytest.mark.parametrize("tails", [None, 3])
def test_equal_circuits_are_0_apart_on_average_whatever_the_noise(by_draw, tails):
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        a = noisy(rng, TRUTH, by_draw=by_draw, tails=tails, queries=16)
        b = noisy(rng, TRUTH, by_draw=by_draw, tails=tails, queries=16, draws=OWN)
        found.append(distance(a, b).value)
    error = np.std(found) / math.sqrt(200)
    # The division by a noisy power leaves a little: less than a tenth of the spread.
    assert abs(np.mean(found)) < 3 * error + 0.1 * np.std(found)


def test_noise_that_conditions_share_makes_them_neither_near_nor_far():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        common = rng.normal(size=(1, 16, 20))
        a, b = (patched(truth + common + 0.1 * rng.normal(size=(1, 16, 20)))
                for truth in (TRUTH * 2, ELSEWHERE * 2))  # fmt: skip
        found.append(correlation_quantity(a, b).value)
    truth = np.corrcoef(TRUTH, ELSEWHERE)[0, 1]
    assert np.nanmean(found) == pytest.approx(truth, abs=3 * np.nanstd(found) / 10 + 0.02)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 5))
def test_scaling_all_effects_changes_strength_and_nothing_else(c):
    rng = np.random.default_rng(0)
    effects = TRUTH + 0.1 * rng.normal(size=(1, 30, 20))
    a, b = patched(effects), patched(effects * c)
    assert strength(a, b).value == pytest.approx(math.log(c))
    assert distance(a, b).value == pytest.approx(
        distance(a, a).value + 2 * (1 - c) ** 2 / (1 + c**2), abs=1e-9
    )
    assert spread(a, b).value == pytest.approx(0, abs=1e-9)
    assert correlation(a, b).corrected == pytest.approx(correlation(a, a).corrected)
    curve, same = overlap_curve(a, b, splits=5), overlap_curve(a, a, splits=5)
    assert [one.found for one in curve] == [one.found for one in same]


def test_noise_is_taken_out_of_the_correlation():
    rng = np.random.default_rng(0)
    pairs = [
        (noisy(rng, TRUTH, by_draw=0.1, noise=1.0, name="a"),
         noisy(rng, TRUTH, by_draw=0.1, noise=1.0, name="b", draws=OWN))
        for _ in range(60)
    ]  # fmt: skip
    raw = [np.corrcoef(a.effect_profile, b.effect_profile)[0, 1] for a, b in pairs]
    assert np.mean(raw) < 0.9
    found = [correlation(a, b) for a, b in pairs]
    values = [one.corrected for one in found if not one.reason]
    # Products are unbiased, their ratio to first order.
    slack = 3 * np.std(values) / math.sqrt(len(values)) + 0.02
    assert len(values) > 50 and np.mean(values) == pytest.approx(1, abs=slack)


def test_profiles_that_nothing_repeats_have_no_correlation():
    rng = np.random.default_rng(0)
    a, b = noisy(rng, TRUTH, name="icl"), noisy(rng, TRUTH * 0, name="tuned", draws=OWN)
    found = correlation(a, b)
    assert math.isnan(found.corrected)
    assert found.reason.startswith("the profile of tuned is repeated")


def test_conditions_that_cannot_be_compared_are_refused():
    one = patched(np.ones((1, 4, 2)))
    with pytest.raises(UserError, match="other units"):
        distance(one, patched(np.ones((1, 4, 2)), units=("L0.H0", "L0.MLP")))
    with pytest.raises(UserError, match="4 queries"):
        distance(one, one.on([0, 1]))
    with pytest.raises(UserError, match="share some of their draws"):
        distance(patched(np.ones((2, 4, 2)), draws=(0, 1)),
                 patched(np.ones((2, 4, 2)), draws=(1, 2)))  # fmt: skip


def test_a_mean_has_the_interval_that_means_have():
    values = np.random.default_rng(0).normal(size=(5, 12)) + 0.5
    quantity = Quantity(values.mean(), {tuple(range(5)): values - values.mean()},
                        lambda weights: np.full(len(weights.queries), values.mean()))  # fmt: skip
    found, mean = interval(quantity, bootstraps=0, flips=0), layerwise.mean(values, True)
    for name in ("value", "low", "high", "p", "stderr", "df"):
        assert getattr(found, name) == pytest.approx(getattr(mean, name))


def test_what_two_numbers_have_in_common_cancels_in_their_difference():
    rng = np.random.default_rng(0)
    base = patched(TRUTH + 0.5 * rng.normal(size=(1, 40, 20)), name="zero-shot")
    a = noisy(rng, ELSEWHERE)
    found = interval(distance(base, a) - distance(base, a), bootstraps=50, flips=0)
    assert (found.value, found.stderr, found.p) == (0, 0, 1)


def test_conditions_with_equal_draws_are_resampled_alike_and_never_with_one_draw_alone():
    found = resamples([(0, 1), (0, 1), (5, 6, 7), (-1,)], 8, bootstraps=300, seed=0)
    assert set(found.draws) == {(0, 1), (5, 6, 7), (-1,)}
    assert (found.draws[0, 1] > 0).all()
    assert (found.draws[-1,] == 1).all()
    assert (found.queries.sum(1) == 8).all()


def test_sizes_of_circuits_make_sense_for_small_and_large_models():
    assert sizes(36) == [1, 2, 4, 7]
    assert sizes(1000) == [5, 10, 20, 50, 100, 200]
    assert sizes(3) == [1]


def test_overlap_by_hand_counts_signs():
    a, b = np.array([[3.0, -2, 1, 0]]), np.array([[3.0, 2, 0, 1]])
    assert jaccards(a, b, [1])[0, 0] == 1
    # The second unit has changed its sign: 1 in common of 3.
    assert jaccards(a, b, [2])[0, 0] == pytest.approx(1 / 3)
    assert jaccards(a, a, [4])[0, 0] == 1
    assert math.isnan(jaccards(0 * a, b * 0, [2])[0, 0])


def test_rank_biased_overlap_by_hand():
    a, b = np.array([[2.0, 1]]), np.array([[1.0, 2]])
    # Nothing in common at depth 1, all at depth 2: (1 - p) p + p^2 = p.
    assert rank_biased_overlap(a, b, 0.7)[0] == pytest.approx(0.7)
    assert rank_biased_overlap(a, a, 0.7)[0] == pytest.approx(1)
    assert rank_biased_overlap(a, -a, 0.7)[0] == 0


def test_chance_overlap_is_that_of_random_sets():
    assert chance_jaccard(2, 1, 1) == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        a, b = (np.where(rng.permutation(12) < 4, rng.choice([-1.0, 1.0], 12, p=[0.3, 0.7]), 0)
                for _ in range(2))  # fmt: skip
        found.append(jaccards(a[None], b[None], [4])[0, 0])
    assert chance_jaccard(12, 4, 4, 0.7**2 + 0.3**2) == pytest.approx(np.mean(found), abs=0.01)


def test_overlap_is_1_on_equal_circuits_and_0_on_unrelated_ones():
    rng = np.random.default_rng(0)
    same, none, ranks = [], [], []
    for run in range(25):
        truth, other = (np.where(rng.permutation(100) < 10, rng.choice([-1, 1], 100), 0)
                        * rng.uniform(0.5, 1.5, 100) for _ in range(2))  # fmt: skip
        a, b = (noisy(rng, truth, noise=2.0, by_draw=0.2, draws=d) for d in (tuple(range(5)), OWN))
        c = noisy(rng, other, noise=2.0, by_draw=0.2, draws=OWN)
        same.append(overlap_curve(a, b, shares=(0.1,), splits=10, seed=run)[0].corrected)
        ranks.append(ranked_overlap(a, b, splits=10, seed=run).corrected)
        none.append(overlap_curve(a, c, shares=(0.1,), splits=10, seed=run)[0].corrected)
    for found, truth in ((same, 1), (ranks, 1), (none, 0)):
        error = np.std(found) / math.sqrt(25)
        assert np.mean(found) == pytest.approx(truth, abs=3 * error + 0.02)


def test_overlap_is_undefined_where_halves_share_no_more_than_strangers():
    rng = np.random.default_rng(3)
    a, b = (patched(rng.normal(size=(1, 20, 100)), name=name) for name in "ab")
    undefined = [one for one in overlap_curve(a, b, splits=20) if math.isnan(one.corrected)]
    assert undefined and "unrelated circuits" in undefined[0].reason


def test_transfer_by_hand():
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.normal(size=(1, 40))
    found = transfer(0.5 + noise, 0.9 + noise, np.full((3, 1, 40), 0.1)).found
    assert found.value == pytest.approx((0.4 + noise.mean()) / (0.8 + noise.mean()))
    assert found.low < found.value < found.high
    own = transfer(0.9 + noise, 0.9 + noise, np.full((3, 1, 40), 0.1)).found
    assert (own.value, own.low, own.high) == (1, 1, 1)


def test_transfer_is_undefined_where_the_own_circuit_does_nothing_special():
    rng = np.random.default_rng(0)
    found = transfer(*rng.normal(size=(2, 5, 30)), rng.normal(size=(10, 5, 30)), draws=OWN)
    assert math.isnan(found.found.value)
    assert "not do more than random ones" in found.reason


def test_random_sets_that_differ_widen_the_interval_of_a_transfer():
    rng = np.random.default_rng(0)
    other, own = 0.5 + 0.1 * rng.normal(size=(1, 40)), 0.9 + 0.1 * rng.normal(size=(1, 40))
    flat, uneven = (
        np.zeros((4, 1, 40)),
        np.zeros((4, 1, 40)) + np.array([-1, 1, -1, 1])[:, None, None],
    )
    narrow, wide = (transfer(other, own, sets).found for sets in (flat, uneven))
    assert narrow.value == pytest.approx(wide.value)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


UNITS = [f"L{layer}.H{head}" for layer in range(4) for head in range(4)]
UNITS += [f"L{layer}.MLP" for layer in range(4)]


def test_random_circuits_have_as_many_of_each_layer_and_kind_and_no_member():
    members = ["L0.H0", "L0.H1", "L2.H3", "L1.MLP"]
    found = matched_sets(members, UNITS, 50)
    for one in found:
        assert not set(one) & set(members)
        assert sum(unit.startswith("L0.H") for unit in one) == 2
        assert sum(unit.startswith("L2.H") for unit in one) == 1
        # A layer has one MLP, so that another layer's stands in for it.
        assert sum(unit.endswith("MLP") for unit in one) == 1
    # 1 way in layer 0, 3 in layer 2, 3 MLPs.
    assert len(set(found)) == 9


def test_where_nothing_else_is_left_members_stay():
    members = ["L0.MLP", "L1.MLP", "L2.MLP"]
    found = matched_sets(members, UNITS, 5)
    assert all(len(set(one)) == 3 and "L3.MLP" in one for one in found)
    with pytest.raises(UserError, match=r"L9\.H9, which was not patched"):
        matched_sets(["L9.H9"], UNITS, 1)
