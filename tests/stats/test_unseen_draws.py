"""Draws that were not made: bounds by hand, and error rates where draws collapse."""

import math
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.stats.intervals import difference, estimate
from adaptlens.stats.scores import Scores
from adaptlens.stats.unseen_draws import ANY_SHARE, MOST_COLLAPSING, UnseenDraws, unseen_draws

FIVE, TEN = tuple(range(5)), tuple(range(10))


def test_the_bound_on_what_was_never_seen_by_hand():
    # (1 - u)^R is the chance that none of R draws is of a kind whose share is u.
    assert UnseenDraws(10, 0).unseen(0.025, 1.0) == pytest.approx(1 - 0.025**0.1)
    assert UnseenDraws(10, 10).unseen(0.025, 1.0) == 0.0
    # One of 30: the chance of none or one of them, written out.
    u = 1 / 30 + UnseenDraws(30, 1).unseen(0.025, 1.0)
    assert (1 - u) ** 30 + 30 * u * (1 - u) ** 29 == pytest.approx(0.025)


def by_draw(means, queries: int = 100, floor: float = 0.5) -> Scores:
    """Scores that are exactly `mean` in every draw, for the same queries."""
    rows = [np.arange(queries) < round(mean * queries) for mean in means]
    return Scores(np.array(rows, float), tuple(range(len(means))), floor=floor)


def test_a_draw_has_collapsed_when_it_is_nearer_to_the_floor_than_to_the_median_draw():
    # The median draw scores 0.96: half way to 0.5 is 0.73.
    found = unseen_draws(by_draw([0.96, 0.98, 0.74, 0.72, 0.96]))
    assert astuple(found) == (5, 1, pytest.approx(0.46))
    assert found.share == 0.2


@pytest.mark.parametrize("means", [[0.5] * 5, [0.3, 0.4, 0.4, 0.4, 0.45]])
def test_an_arm_at_chance_has_nothing_to_lose(means):
    found = unseen_draws(by_draw(means))
    assert (found.collapsed, found.drop, found.fall(0.025)) == (0, 0.0, 0.0)


def test_what_has_no_draws_loses_nothing():
    assert unseen_draws(Scores(np.ones((1, 5)))).fall(0.025, ANY_SHARE) == 0.0


def test_how_far_a_mean_may_fall_by_hand():
    good = UnseenDraws(30, 0, 0.5)
    assert good.fall(0.025) == pytest.approx((1 - 0.025 ** (1 / 30)) * 0.5)
    # Of five good draws half may be missing; no more than one in five is assumed to fail.
    few = UnseenDraws(5, 0, 0.5)
    assert few.fall(0.025) == pytest.approx(MOST_COLLAPSING * 0.5)
    assert few.fall(0.025, ANY_SHARE) == pytest.approx((1 - 0.025**0.2) * 0.5)
    # What was seen to fail is in the mean already.
    seen = UnseenDraws(30, 2, 0.5)
    assert seen.fall(0.025) == pytest.approx((MOST_COLLAPSING - 2 / 30) * 0.5)
    assert UnseenDraws(5, 1, 0.5).fall(0.025) == 0.0


def test_perfect_draws_bound_what_other_draws_do():
    found = estimate(Scores(np.ones((10, 200)), TEN, floor=0.5))
    queries, draws = 1 - 0.025 ** (1 / 200), MOST_COLLAPSING * 0.5
    assert found.low == pytest.approx(1 - math.hypot(queries, draws))
    assert found.high == 1.0


@pytest.mark.parametrize("repeats", [5, 10, 30])
def test_good_draws_are_no_difference_only_when_there_are_enough_of_them(repeats):
    # A share 0.04 of draws that fail, which makes 2 points, is missed with chance 0.96^R.
    same = Scores(np.ones((repeats, 10_000)), tuple(range(repeats)), floor=0.5)
    found = difference(same, same)
    assert found.equivalence_p == pytest.approx(0.96**repeats, rel=0.01)


def test_enough_good_draws_are_no_difference():
    same = Scores(np.ones((80, 1000)), tuple(range(80)), floor=0.5)
    assert difference(same, same).equivalence_p <= 0.05


def test_only_the_side_with_draws_may_fall():
    drawn = Scores(np.ones((10, 200)), TEN, floor=0.5)
    steady = Scores(np.ones((1, 200)), floor=0.5)
    found = difference(drawn, steady)
    queries = 1 - 0.025 ** (1 / 200)
    assert found.low == pytest.approx(-math.hypot(queries, MOST_COLLAPSING * 0.5))
    assert found.high == pytest.approx(queries)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.sampled_from([5, 10, 40]),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.sampled_from([0.2, 0.5, 0.8]),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_an_interval_excludes_zero_exactly_when_p_is_at_most_alpha(
    seed, repeats, collapse, floor, level
):
    rng = np.random.default_rng(seed)
    draws = tuple(range(repeats))
    right = np.where(rng.random((repeats, 1)) < collapse, floor, 0.9)
    left = Scores((rng.random((repeats, 60)) < right).astype(float), draws, floor=floor)
    other = Scores((rng.random((repeats, 60)) < 0.7).astype(float), draws, floor=floor)
    found = difference(left, other, level=level, flips=499)
    assert (found.low <= 1e-9 and found.high >= -1e-9) == (found.p > 1 - level)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([5, 10, 40]), st.floats(0, 0.6), st.floats(0, 0.3))
def test_more_to_lose_never_shows_more(seed, repeats, floor, further):
    rng = np.random.default_rng(seed)
    draws = tuple(range(repeats))
    values = [(rng.random((repeats, 60)) < share).astype(float) for share in (0.95, 0.8)]
    lower, upper = (
        difference(*[Scores(v, draws, floor=f) for v in values], margin=0.3, flips=499)
        for f in (floor, floor + further)
    )
    # Draws that collapse are counted by the same floor; with none the order is strict.
    if unseen_draws(Scores(values[0], draws, floor=floor + further)).collapsed == 0:
        assert lower.p >= upper.p - 1e-9
        assert lower.low <= upper.low + 1e-9
        assert lower.equivalence_p >= upper.equivalence_p - 1e-9


RUNS = 300
ERROR = 3 * math.sqrt(0.05 * 0.95 / RUNS)


def collapsing(rng, repeats, share, queries=100) -> Scores:
    """97% right, or 50% in a draw that collapses."""
    right = np.where(rng.random((repeats, 1)) < share, 0.5, 0.97)
    values = (rng.random((repeats, queries)) < right).astype(float)
    return Scores(values, tuple(range(repeats)), floor=0.5)


@pytest.mark.parametrize("share", [0.05, 0.1])
@pytest.mark.parametrize("repeats", [5, 10, 30])
def test_rare_collapses_are_covered_and_claim_nothing(repeats, share):
    rng = np.random.default_rng(repeats)
    truth = 0.97 - 0.47 * share
    covers, claims, equal = 0, 0, 0
    for run in range(RUNS):
        left = collapsing(rng, repeats, share)
        right = Scores((rng.random((repeats, 100)) < truth).astype(float), left.draws, floor=0.5)
        score = estimate(left, seed=run, flips=199)
        covers += score.low <= truth <= score.high
        found = difference(left, right, seed=run, flips=199, margin=0.47 * share)
        claims += found.p <= 0.05
        good = Scores((rng.random((repeats, 100)) < 0.97).astype(float), left.draws, floor=0.5)
        equal += (
            difference(left, good, seed=run, flips=199, margin=0.47 * share).equivalence_p <= 0.05
        )
    assert covers / RUNS >= 0.93 - ERROR
    assert claims / RUNS <= 0.05 + ERROR
    assert equal / RUNS <= 0.05 + ERROR


def test_without_the_allowance_most_intervals_miss():
    rng = np.random.default_rng(0)
    covers = 0
    for run in range(100):
        bare = replace(collapsing(rng, 5, 0.1), floor=1.0)
        found = estimate(bare, seed=run, flips=199)
        covers += found.low <= 0.923 <= found.high
    assert covers < 70
