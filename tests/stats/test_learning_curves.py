"""Learning curves: weights and errors by hand, forms, and how often intervals cover."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.stats.intervals import difference, estimate
from adaptlens.stats.learning_curves import (
    Curve,
    JointMeans,
    _critical,
    _possible,
    _weights,
    curve_band,
    forms,
    gap_band,
)
from adaptlens.stats.paired import tables_between, tables_of
from adaptlens.stats.scores import Scores
from curve_rates import TRUTHS, answers, covered, power_law

FIVE = tuple(range(5))


def arms_of(levels, *, draws: int = 5, queries: int = 60, seed: int = 0, **case) -> list[Scores]:
    return answers(np.random.default_rng(seed), levels, draws=draws, queries=queries, **case)


def test_weights_of_two_sizes_are_those_of_the_line_through_them():
    # Every form is fitted through both: of log k, 3 doublings beyond two that are 2 apart.
    weights = _weights((4, 16), np.array([4.0, 8.0, 16.0, 128.0]))
    assert weights[0] == pytest.approx(np.array([[1, 0], [0.5, 0.5], [0, 1], [-1.5, 2.5]]))
    # The second form is k: (128 - 4) / (16 - 4) = 31/3 of the gain.
    assert weights[1, -1] == pytest.approx([1 - 31 / 3, 31 / 3])
    assert weights[:, 0] == pytest.approx(np.tile([1.0, 0.0], (len(weights), 1)), abs=1e-9)


def test_sizes_count_half_for_each_doubling_in_between():
    # log k at its own largest size: shares 1/7, 2/7, 4/7 of x = 0, 1, 2; mean 10/7, sum of squares
    # 1/7 (100 + 2 * 9 + 4 * 16) / 49 = 26/49, distance of 2 from the mean 4/7.
    weights = _weights((2, 4, 8), np.array([8.0]))[0, 0]
    slope = (4 / 7) / (26 / 49)
    by_hand = [
        1 / 7 * (1 - 10 / 7 * slope),
        2 / 7 * (1 - 3 / 7 * slope),
        4 / 7 * (1 + 4 / 7 * slope),
    ]
    assert weights == pytest.approx(by_hand)


@given(st.sampled_from([(2, 4, 8), (1, 3, 9, 20), (2, 4, 8, 16, 32)]), st.floats(1, 200))
@settings(max_examples=30, deadline=None)
def test_what_is_exactly_of_a_form_is_predicted_exactly(sizes, number):
    known = forms(sizes, np.array(sizes, float))
    wanted = forms(sizes, np.array([number]))
    weights = _weights(sizes, np.array([number]))
    for form, value, own in zip(known, wanted, weights, strict=True):
        scale = max(1.0, abs(value[0]), np.abs(own).max())
        assert own[0].sum() == pytest.approx(1.0, abs=1e-6 * scale)
        assert own[0] @ (0.3 + 0.2 * form) == pytest.approx(0.3 + 0.2 * value[0], abs=1e-6 * scale)


def test_the_error_of_a_weighted_sum_is_that_of_its_own_table():
    left, right = arms_of([0.6, 0.8], queries=40)
    joint = JointMeans([left, right])
    weights = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]])
    stderr, df = joint.error((weights, slice(0, 2)))
    for place, tables in enumerate(
        (tables_of(left), tables_of(right), tables_between(left, right))
    ):
        crossed = tables.crossed(seed=0, flips=0)
        assert stderr[0, place] == pytest.approx(crossed.stderr)
        assert df[0, place] == pytest.approx(crossed.df)
    # The same from both sides, each with its own weights.
    one, two = (np.ones((1, 1, 1)), slice(0, 1)), (-np.ones((1, 1, 1)), slice(1, 2))
    assert joint.error(one, two)[0][0, 0, 0] == pytest.approx(stderr[0, 2])


def test_templates_and_groups_make_errors_as_large_as_elsewhere_or_larger():
    (alone,) = arms_of([0.7], templates=6, draws=10)
    stderr, _ = JointMeans([alone]).error((np.ones((1, 1, 1)), slice(0, 1)))
    assert stderr[0, 0] >= tables_of(alone).crossed(seed=0, flips=0).stderr
    (grouped,) = arms_of([0.7], groups=6, draws=10)
    stderr, _ = JointMeans([grouped]).error((np.ones((1, 1, 1)), slice(0, 1)))
    assert stderr[0, 0] == pytest.approx(tables_of(grouped).crossed(seed=0, flips=0).stderr)


def test_critical_values_are_students():
    assert _critical(np.array([1.0, 4.0, 59.0, 1e6]), 0.025) == pytest.approx(
        [12.706, 2.776, 2.001, 1.960], abs=2e-3
    )


def test_a_form_is_excluded_by_what_it_cannot_be():
    sizes = (2, 4, 8, 16, 32)
    straight = arms_of([0.5 + 0.08 * math.log2(k) for k in sizes], draws=20, queries=1000)
    kept = _possible(JointMeans(straight), slice(0, 5), sizes, 0.025)
    assert kept[0]  # log k, which is true
    assert not kept[1]  # k
    assert not kept[5]  # 1 / k^2


def test_two_sizes_exclude_no_form():
    band = curve_band(Curve((4, 16), tuple(arms_of([0.6, 0.7]))), [4, 16, 64])
    assert band.forms == band.all_forms > 30
    assert np.all(np.diff(band.high - band.low) > 0)


def test_at_a_measured_size_of_two_the_interval_is_about_that_of_the_arm():
    arms = tuple(arms_of([0.6, 0.7], draws=10, queries=400))
    band = curve_band(Curve((4, 16), arms), [4, 16])
    for place, arm in enumerate(arms):
        found = estimate(arm)
        assert band.middle[place] == pytest.approx(found.value)
        assert band.low[place] == pytest.approx(found.low, abs=0.02)
        assert band.high[place] == pytest.approx(found.high, abs=0.02)


def test_a_level_against_a_level_is_the_difference_of_two_arms():
    left, right = arms_of([0.6, 0.8], draws=10, queries=400)
    band = gap_band(Curve((8,), (left,)), Curve((8,), (right,)), [8])
    found = difference(left, right)
    assert band.middle[0] == pytest.approx(found.difference)
    assert band.low[0] == pytest.approx(found.low, abs=0.01)
    assert band.high[0] == pytest.approx(found.high, abs=0.01)


def test_scores_that_are_all_right_still_leave_room():
    perfect = Scores(np.ones((5, 60)), FIVE, floor=0.5)
    band = curve_band(Curve((4, 8, 16), (perfect,) * 3), [16, 128])
    assert np.all(band.high == 1.0)
    # By queries not seen alone 1 - 0.0125^(1/60) = 7.0 points, and by draws that fail 10 points.
    assert band.low == pytest.approx(1 - math.hypot(1 - 0.0125 ** (1 / 60), 0.2 * 0.5))


def test_where_no_form_fits_nothing_is_said():
    up, down = (Scores(np.full((5, 60), x), FIVE) for x in (0.9, 0.1))
    band = curve_band(Curve((2, 4, 8, 16, 32, 64), (up, down) * 3), [64, 128])
    assert band.forms == 0
    assert np.all(np.isnan(band.middle))
    assert np.all(band.low == 0.0) and np.all(band.high == 1.0)


@given(st.permutations(range(5)))
@settings(max_examples=5, deadline=None)
def test_the_order_of_draws_is_of_no_effect(order):
    arms = arms_of([0.6, 0.7, 0.75])
    mixed = [
        replace(one, values=one.values[order], draws=tuple(one.draws[i] for i in order))
        for one in arms
    ]
    bands = [curve_band(Curve((2, 4, 8), tuple(own)), [8, 16]) for own in (arms, mixed)]
    assert bands[0].low == pytest.approx(bands[1].low)
    assert bands[0].high == pytest.approx(bands[1].high)


@pytest.mark.parametrize("name", ["power law", "slow start, half at 16", "up, then down from 11"])
def test_intervals_cover(name):
    hits, widths, _ = covered(TRUTHS[name], (2, 4, 8, 16, 32), 20, draws=10, queries=200)
    assert np.all(hits >= 0.9)
    assert np.all(widths < 70)


def test_the_peer_s_power_law_by_hand():
    # Means that lie on 0.9 - 0.4 k^-0.5 leave no residual, so its interval is the curve itself.
    sizes = (2, 4, 8, 16)
    means = np.array([0.9 - 0.4 * k**-0.5 for k in sizes])
    low, high = power_law(sizes, means, [64])
    assert low[0] == pytest.approx(0.85, abs=1e-3)
    assert high[0] == pytest.approx(0.85, abs=1e-3)
