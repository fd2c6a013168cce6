"""Intervals and tests: worked by hand, against naive oracles, and against their own error rates."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as students

from adaptlens.errors import UserError
from adaptlens.stats.crossed import Crossed
from adaptlens.stats.intervals import Scores, above, comparisons, difference, estimate, holm

TEN = tuple(range(10))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    # The two of weight 1/2 must be twice as clear, and together cost the other as much as one test:
    # 2 / 0.5 times 0.01, 1.5 / 0.5 times 0.012, and what is left, 1, times 0.04 or 0.05.
    assert holm([0.04, 0.01, 0.012], [1, 0.5, 0.5]) == pytest.approx([0.04, 0.04, 0.04])
    assert holm([0.05, 0.01, 0.012], [1, 0.5, 0.5]) == pytest.approx([0.05, 0.04, 0.04])
    assert holm([0.01, 0.04, 0.03], [1, 0.5, 0.5]) == pytest.approx([0.02, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_p_value_and_bonferroni(p_values):
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p <= adjusted <= 1
        assert adjusted <= min(1, max(p_values) * len(p_values))
    assert holm(p_values)[int(np.argmin(p_values))] == min(1, len(p_values) * min(p_values))


def test_a_small_permutation_test_tries_every_sign_pattern():
    # Gaps 1, 1, 1, 0, 1: of 16 patterns of the four that count, 2 are as extreme.
    left, right = np.array([[1.0, 1, 1, 0, 1]]), np.zeros((1, 5))
    found = difference(Scores(left), Scores(right))
    assert found.difference == 0.8
    assert found.p == 2 / 16
    assert found.test == "sign-flip permutation over queries"


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-4, 4), min_size=3, max_size=9))
def test_without_draws_the_test_is_the_classical_paired_permutation_test(gaps):
    left = np.array([[max(0, gap) / 4 for gap in gaps]])
    right = np.array([[max(0, -gap) / 4 for gap in gaps]])
    sums = [
        sum(s * g for s, g in zip(signs, gaps, strict=True))
        for signs in product((-1, 1), repeat=len(gaps))
    ]
    as_extreme = sum(abs(total) >= abs(sum(gaps)) for total in sums) / len(sums)
    assert difference(Scores(left), Scores(right)).p == pytest.approx(as_extreme)


def crossed_error(blocks: list[np.ndarray]) -> tuple[float, float]:
    """Mean and standard error of crossed random effects, by loops over mean squares."""
    queries = blocks[0].shape[1]
    of_query = [sum(block[:, q].mean() for block in blocks) for q in range(queries)]
    by_query = float(np.var(of_query, ddof=1)) / queries
    draws, rest = [], []
    for block in blocks:
        repeats, grand = len(block), block.mean()
        rows = sum((block[r].mean() - grand) ** 2 for r in range(repeats)) / (repeats - 1)
        left = sum(
            (block[r, q] - block[r].mean() - block[:, q].mean() + grand) ** 2
            for r in range(repeats)
            for q in range(queries)
        )
        draws.append(rows / repeats)
        rest.append(left / ((repeats - 1) * (queries - 1)) / (repeats * queries))
    variance = max(by_query, sum(rest))
    variance += sum(max(0.0, d - e) for d, e in zip(draws, rest, strict=True))
    return float(np.mean(of_query)), math.sqrt(variance)


def flipped_blocks(blocks, of_queries, of_draws) -> list[np.ndarray]:
    """The blocks after flipping the signs of query effects, draw effects and what is left."""
    found = []
    for block, signs in zip(blocks, of_draws, strict=True):
        grand = block.mean()
        rows, columns = block.mean(1, keepdims=True) - grand, block.mean(0) - grand
        rest = block - grand - rows - columns
        found.append(signs[:, None] * rows + signs[:, None] * of_queries * rest)
    found[0] = found[0] + of_queries * sum(block.mean(0) for block in blocks)
    return found


def test_the_error_and_every_flip_equal_a_loop_over_crossed_effects():
    rng = np.random.default_rng(0)
    blocks = [rng.random((3, 8)), -0.9 * rng.random((4, 8))]
    found = Crossed(blocks, drawn=True, seed=0, flips=10)
    mean, error = crossed_error(blocks)
    assert (found.mean, found.stderr) == pytest.approx((mean, error))
    signs = rng.choice([-1.0, 1.0], (20, 8 + 3 + 4))
    for row, studentized in zip(signs, found._studentized(signs), strict=True):
        mean, error = crossed_error(flipped_blocks(blocks, row[:8], [row[8:11], row[11:]]))
        assert studentized == pytest.approx(mean / error)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 10]), st.sampled_from([0, 20]))
def test_one_template_changes_no_number(seed, repeats, first_draw):
    rng = np.random.default_rng(seed)
    values = [(rng.random((repeats, 30)) < 0.7).astype(float) for _ in range(2)]
    draws = [tuple(range(start, start + repeats)) for start in (0, first_draw)]
    plain = [Scores(v, d) for v, d in zip(values, draws, strict=True)]
    named = [Scores(v[None], d, templates=("a",)) for v, d in zip(values, draws, strict=True)]
    one, other = difference(*plain, flips=99), difference(*named, flips=99)
    assert (one.low, one.high, one.p) == pytest.approx((other.low, other.high, other.p), abs=1e-12)
    assert one.equivalence_p == pytest.approx(other.equivalence_p, abs=1e-12)
    alone, alike = estimate(plain[0], flips=99), estimate(named[0], flips=99)
    assert (alone.low, alone.high) == pytest.approx((alike.low, alike.high), abs=1e-12)


def test_draws_are_paired_by_their_ids_not_by_their_order():
    rng = np.random.default_rng(0)
    left = Scores(rng.random((6, 30)), (0, 1, 2, 3, 4, 5))
    right = rng.random((6, 30))
    shuffled = [3, 1, 5, 0, 2, 4]
    same = difference(left, Scores(right, left.draws))
    assert difference(left, Scores(right[shuffled], tuple(shuffled))) == same


def test_draws_that_are_not_the_same_add_their_variances():
    rng = np.random.default_rng(0)
    values = (rng.random((8, 200)) < rng.uniform(0.3, 0.9, (8, 1))).astype(float)
    # At a floor of 1 no draw has anything to lose, so sampling is all there is.
    left = Scores(values, tuple(range(8)), floor=1.0)
    paired = difference(left, left)
    apart = difference(left, Scores(values, tuple(range(8, 16)), floor=1.0))
    assert (paired.difference, apart.difference) == (0.0, 0.0)
    spread = values.mean(1).std(ddof=1) * math.sqrt(2 / 8)
    # The interval of two independent sets of 8 draws is about t(14) wide on either side.
    assert apart.high == pytest.approx(students.isf(0.025, 14) * spread, rel=0.1)


def test_left_and_right_exchange_the_sign():
    rng = np.random.default_rng(1)
    left, right = (Scores((rng.random((10, 50)) < 0.6).astype(float), TEN) for _ in range(2))
    one, other = difference(left, right), difference(right, left)
    assert (one.difference, one.low) == (-other.difference, pytest.approx(-other.high))
    assert (one.p, one.detectable) == pytest.approx((other.p, other.detectable))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 5, 10]), st.sampled_from([12, 60]))
def test_an_interval_excludes_zero_exactly_when_p_is_at_most_alpha(seed, repeats, queries):
    rng = np.random.default_rng(seed)
    draws = tuple(range(repeats))
    left = Scores((rng.random((repeats, queries)) < 0.75).astype(float), draws)
    right = Scores((rng.random((repeats, queries)) < 0.6).astype(float), draws)
    found = difference(left, right, flips=499)
    assert (found.low <= 1e-9 and found.high >= -1e-9) == (found.p > 0.05)


def test_identical_answers_are_equivalent_only_as_far_as_the_queries_reach():
    # All n queries agree: under a true 2 points that has chance 0.98^n.
    same = Scores(np.ones((1, 200)))
    found = difference(same, same)
    assert (found.difference, found.p) == (0.0, 1.0)
    assert found.equivalence_p == pytest.approx(0.98**200)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 200))
    few = Scores(np.ones((1, 100)))
    assert difference(few, few).equivalence_p == pytest.approx(0.98**100)


def test_one_disagreement_in_two_hundred_does_not_show_equality():
    # Under a true 2 points at most one disagreement has chance 0.98^200 + 200 * 0.02 * 0.98^199
    # = 0.09, so to claim equality then would be wrong too often.
    left = np.ones((1, 200))
    right = left.copy()
    right[0, 0] = 0.0
    assert difference(Scores(left), Scores(left)).equivalence_p <= 0.05
    assert difference(Scores(left), Scores(right)).equivalence_p > 0.05


def test_texts_that_were_not_seen_to_fail_may_fail():
    # Were one text in fifty to lose everything, none of 60 would be seen to with chance 0.98^60.
    rng = np.random.default_rng(0)
    right = Scores(rng.uniform(0.4, 0.8, (1, 60)))
    left = Scores(right.values + rng.permutation(np.repeat([-1e-3, 1e-3], 30)))
    assert difference(left, right).equivalence_p == pytest.approx(0.98**60, rel=1e-3)
    assert above(left, right, -0.02).p == pytest.approx(0.98**60, rel=1e-3)
    # Of right or wrong answers a true difference of two points is seen in the variance.
    assert difference(Scores(np.ones((1, 400))), Scores(np.ones((1, 400)))).equivalence_p < 0.001


def share_shown_equal(queries, runs):
    shown = 0
    for run in range(runs):
        rng = np.random.default_rng(run)
        base = rng.uniform(0.5, 0.7, queries)
        fails = rng.random(queries) < 0.04
        # The mean is 0.96 x 0 less 0.04 x 0.5, two points below.
        other = base + np.where(fails, -0.5, rng.normal(0, 0.02, queries))
        found = difference(Scores(other[None]), Scores(base[None]), flips=99, seed=run)
        shown += found.equivalence_p <= 0.05
    return shown / runs


def test_texts_that_seldom_fail_are_not_shown_to_be_alike():
    assert share_shown_equal(100, 200) <= 0.05
    assert share_shown_equal(400, 200) <= 0.05


def test_a_perfect_score_still_has_an_interval():
    found = estimate(Scores(np.ones((1, 200))))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 200))


def test_without_draws_the_interval_of_a_score_is_wilsons():
    # 84 of 100: Wilson's interval with z is [0.756, 0.899]; the flips' critical value is near z.
    found = estimate(Scores(np.repeat([[1.0, 0.0]], [84, 16], axis=1)))
    assert (found.low, found.high) == pytest.approx((0.756, 0.899), abs=0.006)


def test_few_draws_support_no_claim_and_say_so():
    rng = np.random.default_rng(0)

    def pair(repeats):
        draws = tuple(range(repeats))
        return Scores(np.ones((repeats, 40)), draws), Scores(rng.random((repeats, 40)), draws)

    assert difference(*pair(5)).supports_claims
    three = difference(*pair(3))
    assert not three.supports_claims
    assert three.warnings == ("3 draws support no claim; at least 5 do",)
    assert "unknown" in difference(*pair(1)).warnings[0]


def test_a_condition_without_draws_needs_none():
    rng = np.random.default_rng(0)
    found = difference(Scores(rng.random((1, 40))), Scores(rng.random((1, 40))))
    assert found.supports_claims
    assert (found.warnings, found.draws) == ((), 1)


def test_the_table_tests_tuned_against_prompted_and_everything_against_the_base():
    rng = np.random.default_rng(0)
    families = {"zero-shot": "none", "icl-4": "prompt", "icl-16": "prompt", "it-16": "tune"}
    conditions = {
        label: Scores(rng.random((1, 30)) if f == "none" else rng.random((10, 30)),
                      (-1,) if f == "none" else TEN, f)
        for label, f in families.items()
    }  # fmt: skip
    table = comparisons(conditions, flips=199)
    assert [(row.left, row.right) for row in table] == [
        ("it-16", "icl-4"),
        ("it-16", "icl-16"),
        ("icl-4", "zero-shot"),
        ("icl-16", "zero-shot"),
        ("it-16", "zero-shot"),
    ]
    assert [row.p_holm for row in table] == holm([row.p for row in table])
    assert {row.correction for row in table} == {"Holm over 5 pairs"}


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda: Scores(np.full((1, 5), 55.0)), ["55.0", "0 to 1", "divide chrF by 100"]),
        (lambda: Scores(np.full((1, 5), np.nan)), ["nan", "without gaps"]),
        (lambda: Scores(np.ones((3, 5)), (0, 1)), ["[3, 5]", "2 draws"]),
        (lambda: Scores(np.ones((2, 5)), (4, 4)), ["[4, 4]", "each draw once"]),
        (lambda: Scores(np.ones((1, 1))), ["at least 2 queries"]),
        (
            lambda: difference(Scores(np.ones((1, 5))), Scores(np.ones((1, 6)))),
            ["5 queries", "6", "same queries"],
        ),
        (
            lambda: comparisons({"icl-16": Scores(np.ones((1, 5)))}, [("icl-16", "icl-61")]),
            ["icl-61", "did you mean 'icl-16'"],
        ),
    ],
)
def test_unusable_scores_are_refused_in_one_line(make, fragments):
    with pytest.raises(UserError) as raised:
        make()
    assert all(fragment in str(raised.value) for fragment in fragments)
    assert "\n" not in str(raised.value)


def simulated(rng, repeats, spread, gap=0.0):
    """Right or wrong answers of two conditions: query ease shared, draw quality its own.

    At a floor of 1 unseen draws have nothing to lose, so that sampling alone is tested.
    """
    ease = rng.normal(size=120)
    draws = tuple(range(repeats))
    found = []
    for shift in (gap, 0.0):
        quality = spread * rng.normal(size=(repeats, 1))
        hidden = shift + 0.8 + ease + quality + rng.normal(size=(repeats, 120))
        found.append(Scores((hidden > 0).astype(float), draws, floor=1.0))
    return found


RUNS = 300
ALLOWED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize("repeats", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_at_most_five_percent_of_tests_find_what_is_not_there(repeats, spread):
    rng = np.random.default_rng(repeats)
    found = [difference(*simulated(rng, repeats, spread), seed=i, flips=199) for i in range(RUNS)]
    assert sum(one.p <= 0.05 for one in found) / RUNS <= ALLOWED
    assert sum(one.low <= 0 <= one.high for one in found) / RUNS >= 1 - ALLOWED


def test_ignoring_the_draws_finds_what_is_not_there():
    # The reason for all this: pairing queries alone rejects in most runs.
    rng = np.random.default_rng(0)
    wrong = 0
    for i in range(100):
        left, right = simulated(rng, 10, 1.0)
        means = [Scores(side.values.mean(0, keepdims=True)) for side in (left, right)]
        wrong += difference(*means, seed=i, flips=199).p <= 0.05
    assert wrong > 50


def test_the_detectable_difference_is_found_in_four_of_five_runs():
    rng = np.random.default_rng(0)

    def run(i, gap):
        by_draw, by_query = rng.normal(0, 0.02, (10, 1)), rng.normal(0, 0.1, 120)
        values = 0.5 + gap + by_draw + by_query + rng.normal(0, 0.1, (10, 120))
        level = Scores(np.full((1, 120), 0.5))
        return difference(Scores(values.clip(0, 1), TEN), level, seed=i, flips=199)

    reach = float(np.median([run(i, 0.0).detectable for i in range(100)]))
    found = sum(run(i, reach).p <= 0.05 for i in range(RUNS)) / RUNS
    assert abs(found - 0.8) <= 3 * math.sqrt(0.8 * 0.2 / RUNS)
