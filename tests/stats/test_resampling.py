"""Bootstrap resamples: what they are drawn from, and what is drawn again."""

import numpy as np

from adaptlens.stats.resampling import resampled_counts, resamples


def test_a_resample_has_as_many_as_there_are():
    found = resampled_counts(np.random.default_rng(0), 7, 500)
    assert found.shape == (500, 7)
    assert (found.sum(1) == 7).all()
    # The count of one of seven is binomial, of mean 1 and variance 6 / 7.
    assert abs(found.mean(0) - 1).max() < 0.15
    assert abs(found.var() - 6 / 7) < 0.1


def test_a_resample_of_a_single_one_is_drawn_again_where_two_must_differ():
    # Of two, half of all resamples are of one of them alone.
    alone = resampled_counts(np.random.default_rng(0), 2, 400)
    assert 150 < (alone == 2).any(1).sum() < 250
    two = resampled_counts(np.random.default_rng(0), 2, 400, least_distinct=2)
    assert (two == 1).all()
    # Those that needed no second draw stay as they were drawn.
    five = [resampled_counts(np.random.default_rng(0), 5, 4000, least_distinct=n) for n in (1, 2)]
    kept = (five[0] > 0).sum(1) > 1
    assert 0 < (~kept).sum() < 20
    assert (five[0][kept] == five[1][kept]).all()
    assert ((five[1] > 0).sum(1) > 1).all()


def test_where_there_is_only_one_no_two_can_differ():
    assert (resampled_counts(np.random.default_rng(0), 1, 3, least_distinct=2) == 1).all()


def test_conditions_with_the_same_draws_are_resampled_alike():
    weights = resamples([(3, 4), (-1,), (3, 4)], 6, bootstraps=50, seed=0)
    assert set(weights.draws) == {(3, 4), (-1,)}
    assert (weights.of((-1,)) == weights.queries).all()
