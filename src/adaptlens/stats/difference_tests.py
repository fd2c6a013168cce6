"""What is shown about one difference of means: that there is one, that it is small, or neither."""

import math
from dataclasses import dataclass
from functools import cached_property

import scipy

from adaptlens.stats.crossed import Crossed, Expected
from adaptlens.stats.unseen_draws import ANY_SHARE, MOST_COLLAPSING, UnseenDraws

POWER = 0.8
STEPS = 40
"""Of a p-value, which is found to a trillionth."""


@dataclass(frozen=True, eq=False)
class DifferenceTest:
    """The tests of a difference of two means, `left` less `right`.

    Two things stand between the mean seen and the true one: sampling (`crossed`), and draws that
    were not made and may fail. Draws of the left side can only lower the difference, those of the
    right side only raise it.

    Attributes:
        crossed: the mean, its error and the sign flips.
        left: what the left side's unseen draws may do.
        right: what the right side's unseen draws may do.
        margin: the smallest difference that matters.
        alpha: chance of a false claim.
        binary: whether all scores are 0 or 1.
        items: queries, each by itself, whatever groups they are in.
        fixed: the score that the right side is, of which nothing is left to chance, where the left
            side's are right or wrong; None where both sides were measured.
    """

    crossed: Crossed | Expected
    left: UnseenDraws
    right: UnseenDraws
    margin: float
    alpha: float
    binary: bool
    items: int
    fixed: float | None = None

    @property
    def mean(self) -> float:
        """The difference."""
        return self.crossed.mean

    @cached_property
    def p(self) -> float:
        """The two-sided p-value of no difference."""
        if self.mean == 0:
            return 1.0
        against = self.left if self.mean > 0 else self.right
        return against.p_value(abs(self.mean), self._two_sided, sides=2, most=MOST_COLLAPSING)

    def interval(self) -> tuple[float, float]:
        """Return the interval at level 1 - alpha; it excludes 0 just where p is at most alpha."""
        mean, error = self.mean, self.crossed.stderr
        if error == 0:
            below, above = unseen_queries(mean, self.crossed.queries, self.alpha, -1.0)
            below, above = mean - below, above - mean
        else:
            half = self.crossed.critical(self.alpha, cautious=self.p > self.alpha) * error
            below, above = half, half
        low = mean - math.hypot(below, self.left.fall(self.alpha / 2))
        high = mean + math.hypot(above, self.right.fall(self.alpha / 2))
        return max(-1.0, low), min(1.0, high)

    @cached_property
    def equivalence_p(self) -> float:
        """The p-value of a difference of `margin` or more; small where it is shown to be less.

        Two one-sided tests, each with any share of failing draws that those made do not exclude.
        Source: Schuirmann 1987.
        """
        if abs(self.mean) >= self.margin:
            return self._one_sided(self.margin - abs(self.mean), 1 - abs(self.mean))

        def sampling(distance: float) -> float:
            return self._one_sided(distance, 1 - abs(self.mean))

        sides = ((self.left, self.margin + self.mean), (self.right, self.margin - self.mean))
        return max(unseen.p_value(gap, sampling, sides=1, most=ANY_SHARE) for unseen, gap in sides)

    def above_p(self, bound: float) -> float:
        """Return the p-value of a difference of at most `bound`; small where more is shown.

        One-sided, with any share of failing draws of the left side that those made do not exclude.
        For scores of 0 or 1 the error is at least what two that differ by `margin` have, and half
        a query is taken off, as only whole ones differ (Yates' correction): without it, two arms
        that answer nearly alike pass too often (benchmarks/gate_rates.py). Against a score that is
        fixed it is at least the binomial tail, which is exact: near a ceiling too few wrong answers
        are seen to tell the error by.
        """
        gap = self.mean - bound - self.binary / (2 * self.items)
        if gap <= 0:
            return 1.0

        def sampling(distance: float) -> float:
            if self.fixed is None:
                return self._one_sided(distance, 1 + self.mean)
            share = self.fixed + self.mean
            if distance >= share:
                return 0.0
            return max(self._one_sided(distance, share), self._binomial(share, distance))

        return self.left.p_value(gap, sampling, sides=1, most=ANY_SHARE)

    def _binomial(self, share: float, distance: float) -> float:
        """Return the chance of so large a share of right answers where it is that much lower.

        Source: Clopper and Pearson 1934; of means of several draws the number need not be whole.
        """
        queries = self.crossed.effective_queries
        right, wrong = queries * share, queries * (1 - share)
        return float(scipy.special.betainc(right, wrong + 1, share - distance))

    @property
    def detectable(self) -> float:
        """The true difference that is found, with p at most alpha, in 80 of 100 runs.

        For scores of 0 or 1 at least k^2 / (queries + k^2), k the sum of the two critical values:
        a difference brings a variance with it. The better side has that much more to lose in a
        draw that fails.
        """
        claim = self.crossed.critical(self.alpha, cautious=True)
        power = self.crossed.critical(2 * (1 - POWER), cautious=True)
        if math.isinf(claim):
            return 1.0
        found = max(
            self._found(side, ahead, claim * self.crossed.stderr, power * self.crossed.stderr)
            for side, ahead in ((self.left, self.mean), (self.right, -self.mean))
        )
        if self.binary:
            found = max(
                found,
                (claim + power) ** 2 / (self.crossed.effective_queries + (claim + power) ** 2),
            )
        return min(1.0, found)

    def _found(self, side: UnseenDraws, ahead: float, claim: float, power: float) -> float:
        """Return the D that solves (D - power)^2 = claim^2 + (loss when even + share D)^2."""
        share = side.unseen(self.alpha / 2) if side.drop > 0 else 0.0
        even = max(0.0, side.drop - max(0.0, ahead)) * share
        half = power + share * even
        rest = (1 - share**2) * (claim**2 + even**2 - power**2)
        return (half + math.sqrt(max(0.0, half**2 + rest))) / (1 - share**2)

    def _two_sided(self, distance: float) -> float:
        """Return the p-value of a mean this far from the tested one, by sampling alone."""
        if self.crossed.stderr > 0:
            return min(1.0, 2 * self.crossed.tail(distance / self.crossed.stderr))
        unseen = (1 - distance / (1 + abs(self.mean))) ** self.crossed.queries
        return min(1.0, 2 * max(self.crossed.tail(math.inf), unseen))

    def _one_sided(self, distance: float, room: float) -> float:
        """Return the p-value of a mean this far from the tested one, in the tested direction.

        Queries of a kind that was not seen may lie `room` away. Where scores are not 0 or 1, those
        seen do not show how far: a text that fails now and then may not be among them. As with
        draws that were not made, the two distances add up by their squares.
        """
        if distance <= 0:
            return self._tail(distance) if self.crossed.stderr > 0 else 1.0
        if self.crossed.stderr == 0:
            return (1 - distance / room) ** self.crossed.queries
        if self.binary or self.fixed is not None:
            return self._tail(distance)
        low, high = 0.0, 1.0
        for _ in range(STEPS):
            middle = (low + high) / 2
            rest = distance**2 - (room * unseen_share(middle, self.crossed.queries)) ** 2
            reached = rest > 0 and self._tail(math.sqrt(rest)) <= middle
            low, high = (low, middle) if reached else (middle, high)
        return high

    def _tail(self, distance: float) -> float:
        error = self.crossed.stderr
        error = max(error, least_error(self.margin, self.crossed.effective_queries) * self.binary)
        return self.crossed.tail(distance / error, cautious=True)


def least_error(margin: float, queries: float) -> float:
    """Return the least standard error of right-or-wrong scores that differ by `margin`.

    Source: Tango 1998 (the variance under the hypothesis that is tested).
    """
    return math.sqrt(margin * (1 - margin) / queries)


def unseen_queries(mean: float, queries: int, alpha: float, lowest: float) -> tuple[float, float]:
    """Return where the mean may be when every query seen scored `mean`.

    With confidence 1 - alpha / 2 at most a share 1 - (alpha / 2)^(1 / queries) of all queries is
    of a kind that was not seen (Clopper and Pearson's bound at zero successes); those may score
    anything from `lowest` to 1.
    """
    share = unseen_share(alpha / 2, queries)
    return (1 - share) * mean + share * lowest, (1 - share) * mean + share


def unseen_share(tail: float, queries: int) -> float:
    """Return the share of all queries below which those of a kind not seen lie, but for `tail`."""
    return 1 - tail ** (1 / queries)
