"""Draws that were not made: how far below the mean seen they may pull the true mean.

Some draws of training examples fail: with those demonstrations, or tuned on those examples, a
model answers by chance. Draws in which nothing failed cannot show how often that happens; they
only bound it. `docs/methods.md` shows what happens to intervals that ignore this.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from adaptlens.stats.scores import Scores

MOST_COLLAPSING = 0.2
"""Assumed for intervals and claims of a difference: at most one draw in five of an arm fails."""

ANY_SHARE = 1.0
"""Nothing is assumed, as behind every claim that there is no difference."""

STEPS = 50


@dataclass(frozen=True)
class UnseenDraws:
    """What draws of one condition that were not made may do to its mean.

    Attributes:
        draws: how many were made; 0 where nothing is drawn.
        collapsed: how many of them lie nearer to what a failed draw scores than to the median
            draw. It need not be whole.
        drop: what a failed draw costs: the median draw less the floor.
    """

    draws: int = 0
    collapsed: float = 0.0
    drop: float = 0.0

    @property
    def share(self) -> float:
        """The share of the draws made that collapsed."""
        return self.collapsed / self.draws if self.draws else 0.0

    def unseen(self, tail: float, most: float = MOST_COLLAPSING) -> float:
        """Return by how much the share of all draws that fail may exceed that of the draws made.

        With a chance of at most `tail` it is more, unless more than `most` of all draws fail.

        Source: Clopper and Pearson 1934, whose bound counts that are not whole have, too.
        """
        if not self.draws or self.share >= most:
            return 0.0
        survived = self.draws - self.collapsed
        upper = float(scipy.special.betainccinv(self.collapsed + 1, survived, tail))
        return max(0.0, min(most, upper) - self.share)

    def fall(self, tail: float, most: float = MOST_COLLAPSING) -> float:
        """Return how far the mean over all draws may lie below that of the draws made."""
        return self.unseen(tail, most) * self.drop if self.drop > 0 else 0.0

    def p_value(
        self, gap: float, sampling: Callable[[float], float], *, sides: int, most: float
    ) -> float:
        """Return the least alpha at which chance and unseen draws together do not reach `gap`.

        That is where gap^2 = half(alpha)^2 + fall(alpha / sides)^2, `half` being the distance that
        sampling alone reaches: the two are independent, so their squares add up.

        Args:
            gap: the distance, above 0, from the mean seen to the one that is tested.
            sampling: the p-value of a distance by sampling alone; falls as the distance grows.
            sides: 2 for a two-sided test.
            most: the share of draws that are assumed to fail at most.

        Source: Zou and Donner 2008 (method of variance estimates recovery).
        """
        if self.drop <= 0 or self.share >= most:
            return sampling(gap)

        def left(share: float) -> float:
            rest = gap**2 - ((share - self.share) * self.drop) ** 2
            return sampling(math.sqrt(rest)) if rest > 0 else 1.0

        def unseen(share: float) -> float:
            survived = self.draws - self.collapsed
            return sides * float(scipy.special.betaincc(self.collapsed + 1, survived, share))

        if unseen(most) >= left(most):
            return left(most)
        low, high = self.share, most
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if unseen(middle) > left(middle) else (low, middle)
        return min(1.0, unseen(low))


def unseen_draws(scores: Scores) -> UnseenDraws:
    """Return what is known of the draws of a condition that were not made."""
    if not scores.is_drawn:
        return UnseenDraws()
    means = scores.by_draw
    typical = float(np.median(means))
    lost = (means < typical) & (np.abs(means - scores.floor) < np.abs(means - typical))
    return UnseenDraws(len(means), int(lost.sum()), max(0.0, typical - scores.floor))


def falls(several: Sequence[UnseenDraws], tail: float, most: float = MOST_COLLAPSING) -> float:
    """Return how far several conditions, each with draws of its own, may pull a mean together."""
    return math.hypot(*(one.fall(tail, most) for one in several))


def p_of_several(
    several: Sequence[UnseenDraws],
    gap: float,
    sampling: Callable[[float], float],
    *,
    sides: int,
    most: float,
) -> float:
    """Return the p-value of `UnseenDraws.p_value` where several conditions pull at the mean.

    Args:
        several: the conditions; their distances add up by their squares.
        gap: as there.
        sampling: as there.
        sides: as there.
        most: as there.
    """
    pulling = [one for one in several if one.drop > 0 and one.share < most]
    if len(pulling) < 2:
        return (
            pulling[0].p_value(gap, sampling, sides=sides, most=most) if pulling else sampling(gap)
        )
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        rest = gap**2 - falls(pulling, middle / sides, most) ** 2
        reached = rest > 0 and sampling(math.sqrt(rest)) <= middle
        low, high = (low, middle) if reached else (middle, high)
    return high
