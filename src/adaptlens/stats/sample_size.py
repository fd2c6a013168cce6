"""How many draws, or how many queries, would decide: from the difference and the spread seen."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import scipy

from adaptlens.stats.crossed import Expected, MeanSquares
from adaptlens.stats.difference_tests import DifferenceTest, least_error, unseen_share
from adaptlens.stats.training_pool import inflation
from adaptlens.stats.unseen_draws import ANY_SHARE, MOST_COLLAPSING, UnseenDraws

MOST_DRAWS, MOST_QUERIES = 1_000, 100_000
PILOT_CONFIDENCE = 0.8
"""That the variance of what is planned is no more than is reckoned with."""


@dataclass(frozen=True, eq=False)
class SampleSize:
    """What larger samples would show of a difference if they looked like the one seen.

    The same mean, the same variance components, the same share of draws that collapse. A
    difference below the margin would be shown to be one that does not matter, any other to be one
    at all; by Student's t.

    Attributes:
        test: the difference as seen.
        pool_share: the share of the training file that is in one draw.
    """

    test: DifferenceTest
    pool_share: float = 0.0

    def draws(self, least: int) -> int | None:
        """Return the least number of draws, from `least` up, that decides with these queries.

        None where `MOST_DRAWS` do not, or where nothing is drawn.
        """
        if not (self.test.left.draws or self.test.right.draws):
            return None
        return _least(lambda many: self._decides(many, None), least, MOST_DRAWS)

    def queries(self) -> int | None:
        """Return the least number of queries (clusters, where those count) with these draws.

        None where `MOST_QUERIES` do not decide.
        """
        return _least(lambda many: self._decides(None, many), 2, MOST_QUERIES)

    def detectable(self, draws: int, queries: int) -> float:
        """Return the true difference that so many draws and queries find in 80 of 100 runs.

        Of two arms that look as those seen do: see `DifferenceTest.detectable`. The variance is the
        upper end of its one-sided 80% interval, as a small sample may have shown too little.

        Args:
            draws: of each side that draws examples.
            queries: or clusters, where those count.

        Source: Browne 1995 (the variance of a pilot).
        """
        seen = self.test
        df = seen.crossed.df
        more = df / float(scipy.special.chdtri(df, PILOT_CONFIDENCE))
        squares = _scaled(resized(seen.crossed.squares, draws, queries, self.pool_share), more)
        left, right = (_resized_draws(side, draws) for side in (seen.left, seen.right))
        expected = Expected(0.0, squares)
        return replace(seen, crossed=expected, left=left, right=right).detectable

    def draws_to_detect(self, difference: float, queries: int, least: int) -> int | None:
        """Return the least number of draws, from `least` up, that find a difference.

        None where `MOST_DRAWS` do not find it with so many queries.
        """
        return _least(lambda many: self.detectable(many, queries) <= difference, least, MOST_DRAWS)

    def _decides(self, draws: int | None, queries: int | None) -> bool:
        seen, mean = self.test, self.test.mean
        squares = resized(seen.crossed.squares, draws, queries, self.pool_share)
        left, right = (_resized_draws(side, draws) for side in (seen.left, seen.right))
        error = math.sqrt(squares.variance) if seen.crossed.stderr > 0 else 0.0
        if abs(mean) >= seen.margin:
            against = left if mean > 0 else right
            fall = against.fall(seen.alpha / 2, MOST_COLLAPSING)
            return _excluded(abs(mean), fall, error, squares, 1 + abs(mean), seen.alpha / 2)
        if seen.binary and error:
            error = max(error, least_error(seen.margin, squares.effective_queries))
        room = 1 - abs(mean)
        # Where scores are not 0 or 1, a kind of queries that fails must be excluded, too.
        seldom = room * unseen_share(seen.alpha, squares.queries) * (not seen.binary and error > 0)
        return all(
            _excluded(gap, math.hypot(side.fall(seen.alpha, ANY_SHARE), seldom), error, squares,
                      room, seen.alpha)
            for side, gap in ((left, seen.margin + mean), (right, seen.margin - mean))
        )  # fmt: skip


def resized(
    squares: MeanSquares, draws: int | None, queries: int | None, pool_share: float = 0.0
) -> MeanSquares:
    """Return the mean squares expected of other numbers of draws and queries.

    The variance components stay; none counts as negative. Draws of one file bring its luck with
    them, however many they are.
    """
    many = squares.queries if queries is None else queries
    counts = squares.draws if draws is None else (draws,) * len(squares.draws)
    alone = max(0.0, squares.by_query - sum(squares.by_rest)) * squares.queries / many
    by_draw, by_rest = [], []
    for before, after, of_draws, of_rest in zip(
        squares.draws, counts, squares.by_draw, squares.by_rest, strict=True
    ):
        rest = of_rest * before * squares.queries / (after * many)
        scale = inflation(pool_share, after) / inflation(pool_share, before)
        by_rest.append(rest)
        by_draw.append(rest + max(0.0, of_draws - of_rest) * before / after * scale)
    return replace(
        squares,
        queries=many,
        draws=counts,
        by_query=alone + sum(by_rest),
        by_draw=tuple(by_draw),
        by_rest=tuple(by_rest),
    )


def _scaled(squares: MeanSquares, by: float) -> MeanSquares:
    """Return mean squares that are so many times as large."""
    return replace(
        squares,
        by_query=by * squares.by_query,
        by_draw=tuple(by * one for one in squares.by_draw),
        by_rest=tuple(by * one for one in squares.by_rest),
        of_templates=by * squares.of_templates,
        templates_spread=by**2 * squares.templates_spread,
    )


def _resized_draws(side: UnseenDraws, draws: int | None) -> UnseenDraws:
    if draws is None or not side.draws:
        return side
    return replace(side, draws=draws, collapsed=side.share * draws)


def _excluded(
    gap: float, fall: float, error: float, squares: MeanSquares, room: float, tail: float
) -> bool:
    """Return whether sampling and unseen draws together do not reach `gap`, one-sided at `tail`.

    Without an error, queries of a kind that was not seen may lie `room` away.
    """
    if gap <= fall:
        return False
    rest = math.sqrt(gap**2 - fall**2)
    if error:
        return bool(scipy.special.stdtr(squares.df, -rest / error) <= tail)
    return (1 - rest / room) ** squares.queries <= tail


def _least(decides: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the least number from low to high that decides, more always deciding too."""
    if not decides(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle + 1, high)
    return high
