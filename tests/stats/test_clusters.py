"""Queries that share a passage, draws that share a training file: by hand, and by error rates."""

import math

import numpy as np
import pytest

from adaptlens.errors import UserError
from adaptlens.stats.clusters import by_cluster, effective_clusters
from adaptlens.stats.intervals import difference, estimate
from adaptlens.stats.paired import tables_of
from adaptlens.stats.scores import Scores
from adaptlens.stats.training_pool import for_new_files, inflation


def test_clusters_of_one_size_are_judged_by_their_means():
    values = np.array([[0.0, 1, 1, 1, 0, 0], [1, 1, 0, 1, 0, 1]])
    groups = np.array(["b", "b", "a", "a", "c", "c"])
    assert by_cluster(values, groups) == pytest.approx(np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.5]]))
    whole = Scores(values, (0, 1), groups=groups, floor=1.0)
    means = Scores(by_cluster(values, groups), (0, 1), floor=1.0)
    assert estimate(whole).low == pytest.approx(estimate(means).low)


def test_unequal_clusters_give_the_variance_of_a_jackknife_over_clusters():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(7), [1, 2, 9, 4, 4, 12, 3])
    values = (rng.random((1, groups.size)) < 0.7).astype(float)
    found = tables_of(Scores(values, groups=groups)).crossed(seed=0, flips=0)
    without = np.array([values[0, groups != g].mean() for g in range(7)])
    assert found.mean == pytest.approx(values.mean())
    assert found.stderr**2 == pytest.approx(6 / 7 * np.square(without - without.mean()).sum())


def test_draws_that_differ_everywhere_are_not_taken_for_noise_of_large_clusters():
    groups = np.repeat([0, 1, 2, 3, 4], [40, 1, 1, 1, 1])
    values = np.repeat([[0.2], [0.8], [0.5]], groups.size, axis=1)
    assert by_cluster(values, groups) == pytest.approx(np.repeat([[0.2], [0.8], [0.5]], 5, axis=1))


def test_how_many_clusters_of_one_size_unequal_ones_are_worth():
    assert effective_clusters(np.arange(40) % 8) == 8
    sizes = np.array([6, 2, 1, 1])
    # The variance of the jackknife as a matrix in the effects of clusters, and its trace.
    shares = sizes / 10
    apart = np.eye(4) - shares
    matrix = apart.T @ np.diag(np.square(shares * (3 / 4) / (1 - shares))) @ apart
    df = np.trace(matrix) ** 2 / np.trace(matrix @ matrix)
    groups = np.repeat(np.arange(4), sizes)
    assert effective_clusters(groups) == pytest.approx(1 + df)
    found = tables_of(Scores((groups == 1)[None].astype(float), groups=groups))
    assert found.crossed(seed=0, flips=0).df == pytest.approx(df)


def test_a_cluster_with_most_queries_does_not_make_a_difference_certain():
    # One user with half of the messages, for whom tuning is better, and twenty of whom it is not.
    groups = np.r_[np.zeros(100, int), np.repeat(np.arange(1, 21), 5)]
    left, right = np.zeros((2, 1, 200))
    left[0, :60] = right[0, :30] = 1
    left[0, 100:160] = right[0, 101:161] = 1
    plain = difference(Scores(left), Scores(right))
    found = difference(Scores(left, groups=groups), Scores(right, groups=groups))
    assert plain.p < 0.001
    assert found.p > 0.1
    assert found.low < 0
    assert any("as little as 2.1 of one size" in said for said in found.warnings)


def share_of_false_claims(sizes, runs: int) -> float:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    wrong = 0
    for run in range(runs):
        rng = np.random.default_rng(run)
        easy = rng.normal(0.6, 0.15, (2, len(sizes)))[:, groups]
        arms = [
            Scores((rng.random(groups.size) < own)[None].astype(float), groups=groups)
            for own in easy
        ]
        wrong += difference(*arms, seed=run, flips=99).p <= 0.05
    return wrong / runs


def test_unequal_clusters_keep_the_level():
    assert share_of_false_claims([100, *[5] * 20], 200) <= 0.05
    assert share_of_false_claims([150 // (1 + k) for k in range(30)], 200) <= 0.05


def test_clusters_of_one_query_change_nothing():
    rng = np.random.default_rng(1)
    values = (rng.random((5, 40)) < 0.7).astype(float)
    draws = tuple(range(5))
    plain, grouped = Scores(values, draws), Scores(values, draws, groups=np.arange(40)[::-1])
    assert estimate(plain) == estimate(grouped)


def test_few_clusters_support_no_claim():
    values, zeros = np.ones((1, 40)), np.zeros((1, 40))
    groups = np.arange(40) % 4
    found = difference(Scores(values, groups=groups), Scores(zeros, groups=groups))
    assert not found.supports_claims
    assert found.warnings == ("4 groups of queries support no claim; at least 5 do",)
    five = np.arange(40) % 5
    assert difference(Scores(values, groups=five), Scores(zeros, groups=five)).supports_claims


def test_groups_must_fit_the_queries_and_each_other(unchecked):
    ones = np.ones((1, 4))
    with pytest.raises(UserError, match=r"\[3\] were given for 4 queries"):
        Scores(ones, groups=np.arange(3))
    with pytest.raises(UserError, match="different groups"):
        difference(Scores(ones, groups=np.arange(4)), Scores(ones, groups=np.zeros(4)))


def test_how_much_a_new_file_adds_by_hand():
    # 16 of 64 rows, 10 draws: 1 + 10 (1/4) / (3/4).
    assert inflation(0.25, 10) == pytest.approx(13 / 3)
    assert inflation(0.0, 10) == 1.0
    assert inflation(0.75, 10) == 1.0


def test_the_formula_is_exact_where_a_score_is_the_mean_of_what_its_examples_bring():
    rng = np.random.default_rng(2)
    rows, k, repeats, files = 24, 8, 6, 20_000
    worth = rng.normal(size=(files, 1, rows))
    chosen = np.argsort(rng.random((files, repeats, rows)), axis=2)[..., :k]
    scores = np.take_along_axis(worth, chosen, axis=2).mean(2)
    seen = scores.var(1, ddof=1).mean() / repeats
    assert seen * inflation(k / rows, repeats) == pytest.approx(scores.mean(1).var(), rel=0.04)


def test_only_what_draws_do_is_scaled():
    rng = np.random.default_rng(3)
    block = rng.random((6, 40)) + 0.3 * rng.normal(size=(6, 1))
    found = for_new_files(block, 0.25)
    assert found.mean(0) == pytest.approx(block.mean(0))
    assert found - found.mean(1, keepdims=True) == pytest.approx(
        block - block.mean(1, keepdims=True)
    )

    def component(table):
        rows = table.mean(1)
        rest = table - table.mean(0) - rows[:, None] + table.mean()
        return rows.var(ddof=1) - np.square(rest).sum() / (5 * 39) / 40

    assert component(found) == pytest.approx(inflation(0.25, 6) * component(block))


def test_most_of_a_file_says_that_it_holds_for_that_file_alone():
    values, draws = np.ones((5, 20)), tuple(range(5))
    nothing = Scores(np.zeros((1, 20)))
    found = difference(Scores(values, draws, examples=16, pool=24), nothing)
    assert found.warnings == (
        "each draw is 16 of 24 training examples: the result holds for these 24 only, not for "
        "new ones",
    )
    assert difference(Scores(values, draws, examples=12, pool=24), nothing).warnings == ()
    with pytest.raises(UserError, match="no more than the pool has"):
        Scores(values, draws, examples=25, pool=24)


RUNS = 300
ERROR = 3 * math.sqrt(0.05 * 0.95 / RUNS)


def test_clusters_keep_the_level_that_single_queries_break():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(20), 10)
    wrong = np.zeros(2)
    for run in range(RUNS):
        sides = []
        for _ in range(2):
            hidden = 0.67 * rng.normal(size=20)[groups] + 0.74 * rng.normal(size=(1, 200))
            sides.append((hidden > -0.7).astype(float))
        for place, of in enumerate((groups, None)):
            pair = [Scores(values, groups=of) for values in sides]
            wrong[place] += difference(*pair, seed=run, flips=199).p <= 0.05
    assert wrong[0] / RUNS <= 0.05 + ERROR
    assert wrong[1] / RUNS > 0.15


def test_new_files_are_covered():
    # Each row of a file makes a model a little better or worse, on all queries alike.
    rng = np.random.default_rng(5)
    covers = np.zeros(2)
    for run in range(RUNS):
        worth = rng.normal(size=64)
        rows = np.argsort(rng.random((10, 64)), axis=1)[:, :16]
        quality = worth[rows].mean(1, keepdims=True)
        values = (0.6 + 0.1 * quality + 0.1 * rng.normal(size=(10, 100))).clip(0, 1)
        for place, pool in enumerate((64, None)):
            scores = Scores(values, tuple(range(10)), floor=1.0, examples=16, pool=pool)
            found = estimate(scores, seed=run, flips=199)
            covers[place] += found.low <= 0.6 <= found.high
    assert covers[0] / RUNS >= 0.95 - ERROR
    assert covers[1] / RUNS < 0.9
