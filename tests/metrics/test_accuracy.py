import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.errors import UserError
from adaptlens.metrics import accuracy

NAN = math.nan
ARRAYS = {
    # Two draws, two queries; the second query has only two choices.
    "loglik": np.array(
        [[[-6.0, -5.0, -9.0], [-2.0, -1.0, NAN]], [[-4.0, -5.0, -9.0], [-1.0, -2.0, NAN]]]
    ),
    "prior_loglik": np.array([[[-4.0, -1.0, -9.0], [-1.0, -3.0, NAN]]] * 2),
    "answer_bytes": np.array([[6, 4, 9], [4, 1, 0]]),
    "answer_tokens": np.array([[3, 1, 1], [2, 1, 0]]),
    "gold": np.array([0, 1]),
}


def test_the_raw_rule_takes_the_most_likely_answer():
    assert accuracy.predictions(ARRAYS).tolist() == [[1, 1], [0, 0]]


def test_lengths_divide_the_log_likelihood():
    # -6/6 > -5/4, -9/9 ties with -6/6 and comes later; -2/4 > -1/1.
    assert accuracy.predictions(ARRAYS, "bytes").tolist() == [[0, 0], [0, 0]]
    # -6/3 > -5/1; -2/2 ties with -1/1 and comes first.
    assert accuracy.predictions(ARRAYS, "tokens").tolist() == [[0, 0], [0, 0]]


def test_the_corrected_rule_takes_out_how_likely_an_answer_is_anyway():
    # Query 0: -6+4, -5+1, -9+9 and then -4+4 (first of a tie with -9+9); query 1: -2+1, -1+3.
    assert accuracy.predictions(ARRAYS, "corrected").tolist() == [[2, 1], [0, 1]]


def test_batch_calibration_by_hand():
    # Probabilities of the second answer 0.6, 0.7, 0.8, 0.9, mean 0.75: the first is found by
    # 0.4/0.25 > 0.6/0.75 and 0.3/0.25 > 0.7/0.75, but not by 0.2/0.25 > 0.8/0.75.
    second = np.array([0.6, 0.7, 0.8, 0.9])
    loglik = np.log(np.stack([1 - second, second], axis=-1))[None]
    arrays = {"loglik": loglik - np.array([1.0, 5.0, 2.0, 9.0])[:, None]}
    assert accuracy.predictions(arrays, "calibrated").tolist() == [[0, 0, 1, 1]]
    scores = accuracy.choice_scores({"loglik": loglik}, "calibrated")
    assert np.allclose(np.exp(scores), np.stack([(1 - second) / 0.25, second / 0.75], axis=-1))


def test_each_repeat_is_a_batch_of_its_own():
    rng = np.random.default_rng(0)
    loglik = rng.normal(size=(3, 20, 4))
    together = accuracy.choice_scores({"loglik": loglik}, "calibrated")
    alone = [accuracy.choice_scores({"loglik": loglik[i : i + 1]}, "calibrated") for i in range(3)]
    assert np.allclose(together, np.concatenate(alone))


@given(st.integers(2, 12), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_batch_calibration_depends_on_neither_scale_nor_order(queries, choices, seed):
    rng = np.random.default_rng(seed)
    loglik = rng.normal(scale=3, size=(1, queries, choices))
    scores = accuracy.choice_scores({"loglik": loglik}, "calibrated")
    # What a query adds to all of its choices, such as the likelihood of its own words, is no prior.
    shifted = loglik + rng.normal(size=(1, queries, 1))
    moved = accuracy.choice_scores({"loglik": shifted}, "calibrated")
    assert np.allclose(moved - moved[..., :1], scores - scores[..., :1])
    some, other = rng.permutation(queries), rng.permutation(choices)
    turned = accuracy.choice_scores({"loglik": loglik[:, some][..., other]}, "calibrated")
    assert np.allclose(turned, scores[:, some][..., other])


def test_an_answer_that_is_never_likely_is_still_none_after_batch_calibration():
    loglik = np.array([[[-1.0, -2.0, -3000.0], [-2.0, -1.0, -3000.0], [-2.0, -1.0, -3001.0]]])
    assert accuracy.predictions({"loglik": loglik}, "calibrated").tolist() == [[0, 1, 1]]


def test_batch_calibration_needs_choices_that_all_queries_share():
    with pytest.raises(UserError, match="different numbers of choices"):
        accuracy.choice_scores(ARRAYS, "calibrated")


def test_correct_compares_with_the_gold_answer():
    assert accuracy.correct(ARRAYS).tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_a_margin_is_positive_exactly_where_the_answer_is_correct():
    assert accuracy.margins(ARRAYS).tolist() == [[-1.0, 1.0], [1.0, -1.0]]


def test_probabilities_ignore_choices_that_do_not_exist():
    shares = accuracy.probabilities(np.log(np.array([[[0.1, 0.3, NAN], [0.2, 0.2, 0.4]]])))
    assert np.allclose(shares, [[[0.25, 0.75, 0.0], [0.25, 0.25, 0.5]]])


def test_very_unlikely_answers_do_not_underflow():
    shares = accuracy.probabilities(np.array([[[-2000.0, -2000.0 + math.log(3)]]]))
    assert np.allclose(shares, [[[0.25, 0.75]]])


def test_brier_by_hand():
    # Shares 0.25, 0.75 with the second right: 2 * 0.25^2; with the first right: 2 * 0.75^2.
    loglik = np.log(np.array([[[0.1, 0.3], [0.1, 0.3]]]))
    assert np.allclose(accuracy.brier(loglik, np.array([1, 0])), [[0.125, 1.125]])


def test_quadratic_scores_are_of_the_probabilities_that_the_rule_states():
    # As they are, 0.25 and 0.75; less what a content-free query gives, 0.1 / 0.3 and 0.3 / 0.1 and
    # so 0.1 and 0.9; by length, the same as they are.
    arrays = {
        "loglik": np.log(np.array([[[0.1, 0.3]]])),
        "prior_loglik": np.log(np.array([[[0.3, 0.1]]])),
        "answer_bytes": np.array([[[4, 9]]]),
        "answer_tokens": np.array([[[1, 3]]]),
        "gold": np.array([0]),
    }
    for rule, share in (("raw", 0.25), ("bytes", 0.25), ("tokens", 0.25), ("corrected", 0.1)):
        assert accuracy.quadratic(arrays, rule) == pytest.approx(1 - (1 - share) ** 2)
    # Of one query, calibration leaves both equally likely.
    assert accuracy.quadratic(arrays, "calibrated") == pytest.approx(0.75)


def test_choice_loglik_is_the_log_of_the_normalized_probability():
    loglik = np.array([[[-1.0, -2.5, NAN], [-3.0, -1.0, -2.0]]])
    gold = np.array([1, 0])
    expected = np.log(accuracy.probabilities(loglik)[0, [0, 1], gold])
    assert np.allclose(accuracy.choice_loglik(loglik, gold), expected)
    assert accuracy.answer_loglik(loglik, gold).tolist() == [[-2.5, -3.0]]


def test_calibration_error_by_hand():
    # Bins {0.5, 0.7} one of two right, {0.8, 1.0} both right: gaps 0.1 and 0.1.
    stated, right = np.array([[1.0, 0.5, 0.8, 0.7]]), np.array([[1.0, 0.0, 1.0, 1.0]])
    found = accuracy.calibration(stated, right, num_bins=2)
    assert found.ece == pytest.approx(0.1)
    # 0.5 * (0.01 - 0.25) + 0.5 * (0.01 - 0)
    assert found.squared == pytest.approx(-0.115)
    # {0.5, 0.7}: 0, 1, 2 right in 0.15, 0.5, 0.35, off 1.2 by 1.2, 0.2, 0.8. {0.8, 1}: 1, 2 right
    # in 0.2, 0.8, off 1.8 by 0.8, 0.2. So (0.18 + 0.1 + 0.28 + 0.16 + 0.16) / 4.
    assert found.ece_if_calibrated == pytest.approx(0.22)
    bins = accuracy.reliability(stated, right, num_bins=2)
    assert [b["bin_confidence"] for b in bins] == pytest.approx([0.6, 0.9])
    assert [(b["bin_accuracy"], b["count"]) for b in bins] == [(0.5, 2), (1.0, 2)]


def test_the_calibration_error_of_several_draws_is_their_mean():
    stated = np.array([[1.0, 0.5, 0.8, 0.7], [0.5, 0.5, 0.5, 0.5]])
    right = np.array([[1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    assert accuracy.calibration(stated, right, num_bins=2).ece == pytest.approx((0.1 + 0.5) / 2)


@pytest.mark.parametrize(("chance_right", "queries"), [(0.999, 30), (0.9999, 200), (0.6, 7)])
def test_the_error_expected_at_the_ceiling_is_the_binomials(chance_right, queries):
    # One bin: the mean distance of a binomial count from its mean.
    expected = sum(
        math.comb(queries, n)
        * chance_right**n
        * (1 - chance_right) ** (queries - n)
        * abs(n - queries * chance_right)
        for n in range(queries + 1)
    )
    stated = np.full((1, queries), chance_right)
    found = accuracy.calibration(stated, np.ones_like(stated), num_bins=1)
    assert found.ece_if_calibrated == pytest.approx(expected / queries, rel=1e-9)


def test_one_wrong_answer_at_full_confidence_is_no_chance():
    stated, right = np.full((1, 100), 0.9999), np.ones((1, 100))
    # All right, as 99 calibrated models in 100 would be: no simulated error is smaller.
    assert accuracy.calibration(stated, right, num_bins=1).ece_p == 1.0
    right[0, :3] = 0.0
    # Three wrong where 0.01 are expected: in 2 of 10 million models.
    assert accuracy.calibration(stated, right, num_bins=1).ece_p == 1 / 500


def test_a_calibrated_model_shows_the_error_that_is_foretold():
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.5, 1.0, (1, 200))
    runs = [
        accuracy.calibration(stated, (rng.random((1, 200)) < stated).astype(float), seed=seed)
        for seed in range(1000)
    ]
    errors = np.array([run.ece for run in runs])
    off = errors.mean() - runs[0].ece_if_calibrated
    assert abs(off) < 4 * errors.std() / math.sqrt(len(runs))
    # A p-value is at most x in a share x of runs: within 4 standard errors.
    for level in (0.05, 0.3):
        share = np.mean([run.ece_p <= level for run in runs])
        assert abs(share - level) < 4 * math.sqrt(level * (1 - level) / len(runs))
    # The debiased square is 0 on average: within 4 standard errors.
    squares = np.array([run.squared for run in runs])
    assert abs(squares.mean()) < 4 * squares.std() / math.sqrt(len(squares))


def test_bins_never_hold_fewer_than_two_queries():
    bins = accuracy.reliability(np.linspace(0.5, 1, 7)[None], np.ones((1, 7)), num_bins=10)
    assert [b["count"] for b in bins] == [3, 2, 2]


def test_kappa_by_hand():
    # Agreement 3/4; shares of answer 1 are 1/2 and 1/4, so by chance 1/8 + 3/8.
    left, right = np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 0]])
    assert accuracy.agreement(left, right) == 0.75
    assert accuracy.kappa(left, right) == pytest.approx(0.5)
    assert math.isnan(accuracy.kappa(np.ones((2, 3), int), np.ones((1, 3), int)))


def test_guessing_scores_one_over_the_choices_of_each_query():
    assert accuracy.chance(ARRAYS) == pytest.approx([1 / 3, 1 / 2])


def test_the_majority_answer_is_the_training_splits():
    name, values = accuracy.majority(["b", "a", "b", "a", "b"], ["a", "b", "a"])
    assert (name, values.tolist()) == ("b", [0.0, 1.0, 0.0])


def test_break_even_by_hand():
    assert accuracy.break_even(1000, 5, 1) == 250
    assert accuracy.break_even(1000, 5, 1, prompt_setup=200) == 200
    assert accuracy.break_even(100, 5, 1, prompt_setup=200) == 0


def test_tuning_that_never_pays_breaks_even_never():
    assert accuracy.break_even(1000, 1, 1) == math.inf
    assert accuracy.break_even(1000, 1, 2) == math.inf
    # The same cost, once as a mean of others: 0.30000000000000004 against 0.3.
    assert accuracy.break_even(1000, 0.1 + 0.2, 0.3) == math.inf
    assert math.isnan(accuracy.break_even(math.nan, 2, 1))


@given(
    st.floats(1, 1e12), st.floats(1e-3, 1e9), st.floats(1e-3, 1e9), st.floats(0, 1e6)
)  # fmt: skip
def test_at_the_break_even_point_both_have_cost_the_same(training, prompted, tuned, setup):
    queries = accuracy.break_even(training, prompted, tuned, setup)
    if math.isfinite(queries) and queries > 0:
        assert setup + queries * prompted == pytest.approx(training + queries * tuned)
