"""How many samples tuning needs for what demonstrations reach: by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from adaptlens.stats.hypotheses import judged
from adaptlens.studies.implicit.samples_needed import Answered, difference, points
from adaptlens.studies.implicit.shortcut_use import ICL, ZERO, Behaved
from adaptlens.tasks.shortcuts import PATTERN
from adaptlens.types import NO_DRAWS

DRAWS, QUERIES = 5, 10
ALL = tuple(range(DRAWS))


def model(icl: float, curve: dict[int, float], *, shots: int = 2, zero: float = 0.2) -> Behaved:
    """Return a model whose every answer has the accuracy itself for its score: no noise.

    Such scores are no answers, so nothing is known of those that were not seen.
    """

    def scored(value: float, draws: tuple[int, ...] = ALL) -> Answered:
        return Answered(np.full((len(draws), QUERIES), value), draws, span=math.inf)

    found = {
        (PATTERN, ZERO, 0, PATTERN): scored(zero, (-1,)),
        (PATTERN, ICL, shots, PATTERN): scored(icl),
        **{(PATTERN, "it", n, PATTERN): scored(value) for n, value in curve.items()},
    }
    return Behaved("m", "code", found, found, 0)


@pytest.mark.parametrize(
    ("icl", "curve", "samples"),
    [
        # log(1 + n): 3 examples and 15 are log 4 and log 16; halfway between is log 8.
        (0.6, {3: 0.4, 15: 0.8}, 7.0),
        # Zero-shot, 0.2, is at log 1; halfway to log 4 is log 2.
        (0.3, {3: 0.4, 15: 0.8}, 1.0),
        (0.8, {3: 0.4, 15: 0.8}, 15.0),
        # What falls again counts with the most it had.
        (0.6, {3: 0.6, 15: 0.5, 63: 0.9}, 3.0),
        (0.6, {3: 0.1, 15: 1.0}, 7.0),
        (0.9, {3: 0.4, 15: 0.8}, math.inf),
    ],
)
def test_the_rising_curve_from_zero_shot_on_meets_the_target(icl, curve, samples):
    (row,) = model(icl, curve).needed()
    assert row["samples"] == pytest.approx(samples)
    assert (row["low"], row["high"]) == pytest.approx((samples, samples))
    assert row["ratio"] == pytest.approx(samples / 2)
    assert row["gain"] == pytest.approx(100 * (icl - 0.2))


@pytest.mark.parametrize(("icl", "gain"), [(0.2, "0.0"), (0.1, "-10.0")])
def test_demonstrations_that_gain_nothing_measure_nothing(icl, gain):
    one = model(icl, {3: 0.4, 15: 0.8})
    (row,) = one.needed()
    assert math.isnan(row["samples"])
    assert math.isnan(row["ratio"])
    (claim,) = one.frugality(10)
    assert claim["state"] == "not decided"
    assert claim["line"] == (
        f"2 demonstrations: {gain} points [{gain}, {gain}] over zero-shot, "
        "nothing that tuning could be measured by"
    )


@pytest.mark.parametrize(
    ("icl", "shots", "state"), [(0.6, 2, "refuted"), (0.6, 1, "refuted"), (0.9, 1, "supported")]
)
def test_the_claim_takes_the_whole_interval(icl, shots, state):
    (claim,) = model(icl, {3: 0.4, 15: 0.8}, shots=shots).frugality(10)
    assert claim["state"] == state


def test_noise_in_the_smallest_size_does_not_make_a_bound():
    """Where some resamples meet the target before the first size, the interval reaches below it."""
    source = np.random.default_rng(0)
    one = model(0.6, {32: 0.6, 128: 0.9})
    for key in ((PATTERN, ICL, 2, PATTERN), (PATTERN, "it", 32, PATTERN)):
        one.test[key] = Answered(
            (source.random((DRAWS, 40)) < 0.6).astype(float), tuple(range(DRAWS))
        )
    one.test[PATTERN, ZERO, 0, PATTERN] = Answered((source.random((1, 40)) < 0.2) * 1.0, (-1,))
    one.test[PATTERN, "it", 128, PATTERN] = Answered(np.full((DRAWS, 40), 0.9), tuple(range(DRAWS)))
    (row,) = one.needed()
    assert row["low"] < 32 < row["high"]


def test_draws_that_one_of_them_lacks_are_left_out():
    one = model(0.6, {3: 0.4, 15: 0.8})
    values = np.full((2, QUERIES), 0.4)
    one.test[PATTERN, "it", 3, PATTERN] = Answered(values, (1, 3), span=math.inf)
    (row,) = one.needed()
    assert (row["low"], row["samples"], row["high"]) == pytest.approx((7, 7, 7))
    assert row["draws"] == 2


def test_few_draws_decide_nothing():
    one = model(0.9, {3: 0.4, 15: 0.8}, shots=1)
    one.test[PATTERN, "it", 3, PATTERN] = Answered(np.full((4, QUERIES), 0.4), (0, 1, 2, 3))
    (claim,) = one.frugality(10)
    assert claim["state"] == "not decided"
    assert claim["line"].endswith("; fewer than 5 draws decide nothing")


def test_no_draw_in_common_is_not_measured_yet():
    one = model(0.9, {3: 0.4, 15: 0.8})
    one.test[PATTERN, "it", 3, PATTERN] = Answered(np.full((1, QUERIES), 0.4), (7,))
    assert one.needed() == []


def test_where_all_is_right_nothing_is_shown_to_be_the_same():
    one = model(1.0, {3: 1.0}, zero=0.0)
    for key, answers in one.test.items():
        one.test[key] = Answered(answers.values, answers.draws)
    (claim,) = [
        found for found in one.hypotheses() if found.claim.startswith("in-context learning reads")
    ]
    assert (claim.mean.value, claim.mean.low) == (0.0, pytest.approx(-30.85, abs=0.01))
    (judgment,) = judged([claim], margin=5.0)
    assert judgment.state == "not decided"


def test_draws_that_were_not_made_may_fail():
    # Right in all of five draws; a draw that fails is right by chance, half of the time.
    right = Answered(np.ones((5, 300)), tuple(range(5)), floor=0.5)
    other = Answered(np.repeat([[1.0, 0.0]], [270, 30], axis=1), NO_DRAWS)
    seen, allowed = difference(replace(right, floor=None), other), difference(right, other)
    assert seen.low > 0
    # At most one draw in five fails: 0.2 of 0.5 points.
    assert allowed.low == pytest.approx(0.1 - math.hypot(0.1 - seen.low, 0.1))
    assert allowed.low < 0 < seen.p < 0.01 < 0.05 < allowed.p
    assert (allowed.value, allowed.high) == (seen.value, seen.high)
    # That it is no more than 5 points worse: a tenth of the draws may fail, unseen with 0.9^5.
    alike = Answered(np.ones((1, 300)), NO_DRAWS)
    assert difference(right, alike).at_least(-0.05) == pytest.approx(0.9**5, abs=0.01)
    assert difference(replace(right, floor=None), alike).at_least(-0.05) < 0.001
    assert points(difference(right, alike)).at_least(-5) == pytest.approx(0.9**5, abs=0.01)


def test_failing_draws_on_both_sides_pull_both_ways():
    rng = np.random.default_rng(0)
    left, right = (
        Answered((rng.random((5, 200)) < 0.9).astype(float), tuple(range(5)), floor=0.5)
        for _ in range(2)
    )
    bare = difference(replace(left, floor=None), replace(right, floor=None))
    found = difference(left, right)
    falls = [0.2 * (np.median(one.values.mean(1)) - 0.5) for one in (left, right)]
    assert found.low == pytest.approx(bare.value - math.hypot(bare.value - bare.low, falls[0]))
    assert found.high == pytest.approx(bare.value + math.hypot(bare.high - bare.value, falls[1]))
