"""How many draws and queries would decide: by hand, and by making them."""

import numpy as np
import pytest

from adaptlens.stats.crossed import MeanSquares
from adaptlens.stats.intervals import MINIMUM_DRAWS, difference
from adaptlens.stats.sample_size import resized
from adaptlens.stats.scores import Scores


def test_mean_squares_of_more_draws_and_queries_by_hand():
    # Components of the variance, over 10 draws x 100 queries: queries 2, draws 3, the rest 1.
    seen = MeanSquares(100, (10,), 3.0, (4.0,), (1.0,))
    assert seen.variance == 6.0
    assert resized(seen, None, None) == seen
    assert resized(seen, 20, None).variance == 2 + 1.5 + 0.5
    assert resized(seen, None, 400).variance == 0.5 + 3 + 0.25
    # Of one file, half of it in each draw: R draws bring 1 + R of their component.
    assert resized(seen, 21, None, 0.5).variance == pytest.approx(2 + 3 * 10 / 21 * 2 + 10 / 21)


def test_perfect_draws_by_hand():
    # The failing share that makes 2 of 50 points is excluded where 0.96^R is at most 0.05; 1,000
    # queries reach 0.3 points, which takes a draw or two more.
    same = Scores(np.ones((10, 1000)), tuple(range(10)), floor=0.5)
    found = difference(same, same)
    assert 74 <= found.needed_draws <= 76
    assert found.needed_queries is None
    made = Scores(np.ones((found.needed_draws, 1000)), tuple(range(found.needed_draws)), floor=0.5)
    assert difference(made, made).equivalence_p <= 0.05


def test_queries_that_agree_without_draws_by_hand():
    # (1 - 0.02)^149 is the first at most 0.05.
    same = Scores(np.ones((1, 50)))
    found = difference(same, same)
    assert (found.needed_draws, found.needed_queries) == (None, 149)


def repeated(scores: Scores, draws: int = 1, queries: int = 1) -> Scores:
    """The same scores again and again: the same components, but for n - 1 becoming n."""
    values = np.tile(scores.values, (draws, queries))
    return Scores(values, tuple(range(len(values))), floor=scores.floor)


@pytest.mark.parametrize("gap", [0.05, 0.1])
def test_as_many_as_it_says_are_enough_and_far_fewer_are_not(gap):
    rng = np.random.default_rng(0)
    ease, quality = rng.normal(size=100), 0.15 * rng.normal(size=(2, 10, 1))
    chance = np.stack([1 + 3 * gap + ease + quality[0], 1 - 3 * gap + ease + quality[1]])
    sides = (chance + rng.normal(size=chance.shape) > 0).astype(float)
    left, right = (Scores(side, tuple(range(10)), floor=0.7) for side in sides)
    found = difference(left, right)
    assert found.needed_queries is None or found.needed_queries > 1
    for needed, seen, axis in (
        (found.needed_draws, 10, "draws"),
        (found.needed_queries, 100, "queries"),
    ):
        if needed is None:
            continue
        times = -(-needed // seen) + 1
        more = difference(repeated(left, **{axis: times}), repeated(right, **{axis: times}))
        assert more.p <= 0.05
    assert found.needed_draws is not None and found.needed_draws >= MINIMUM_DRAWS


def test_what_is_decided_needs_no_more():
    left = Scores((np.arange(100) < 90)[None].repeat(6, 0).astype(float), tuple(range(6)))
    right = Scores((np.arange(100) < 20)[None].repeat(6, 0).astype(float), tuple(range(6)))
    found = difference(left, right)
    assert found.p <= 0.05
    assert found.needed_draws == MINIMUM_DRAWS
    assert found.needed_queries < 100
