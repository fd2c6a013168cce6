"""Several models on one task: which arms cost no more than another and are shown to score more.

An arm that was judged within its model is held against one other arm: the best by validation of
all arms, of any model, that cost no more. The front is what is left; who is on it is a claim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from adaptlens.stats.intervals import FLIPS, Difference, difference, holm, paired_test
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare.arm_choice import Choice, can_choose, cheaper, choose
from adaptlens.studies.compare.verdict import held

State = Literal["cheapest", "ahead", "open", "dominated", "matched", "not judged"]
NOT_DOMINATED: tuple[State, ...] = ("cheapest", "ahead", "open")

ALPHA = 0.05
SAME_COST = 1e-9
"""Costs that are means over draws differ by rounding."""


@dataclass(frozen=True, eq=False)
class Offer:
    """An arm of one model, with the cost of a query in a unit that all models share.

    Attributes:
        model: its name.
        label: of the arm.
        condition: label of what was measured: an arm at a chosen template shares it with the arm
            at all templates.
        choice: its scores, and those of the procedure that chose it.
        uncached: cost of a query.
        cached: cost of a query where what all queries share is kept.
        is_judged: whether the verdict of its model is about it.
    """

    model: str
    label: str
    condition: str
    choice: Choice
    uncached: float
    cached: float
    is_judged: bool = False

    @property
    def name(self) -> str:
        """What a sentence calls it."""
        return f"{self.label} on {self.model}"

    def costs_no_more(self, other: "Offer") -> bool:
        """Whether it costs no more than another, however prompts are served."""
        return all(
            own <= theirs * (1 + SAME_COST)
            for own, theirs in ((self.uncached, other.uncached), (self.cached, other.cached))
        )

    def costs_less(self, other: "Offer") -> bool:
        """Whether it costs no more, and less in one way of serving."""
        return self.costs_no_more(other) and not other.costs_no_more(self)


@dataclass(frozen=True, eq=False)
class Standing:
    """Where an arm stands among those of all models.

    Attributes:
        offer: the arm.
        state: cheapest: nothing costs as little. dominated: what it is held against costs no more
            and is shown to score more. matched: that costs less and is shown to be no more than
            the margin behind. ahead: the arm is shown to score more than it. open: none of these
            is shown. not judged: another is held against the arm, and no verdict is about it.
        against: what it is held against; None for the cheapest.
        difference: its score less that of `against`; p is the larger of the pair's own and that
            of the procedure which chose the two.
        p: of a difference, corrected.
        matched_p: of being more than the margin better, corrected.
    """

    offer: Offer
    state: State
    against: Offer | None = None
    difference: Difference | None = None
    p: float = 1.0
    matched_p: float = 1.0


def standings(
    offers: Sequence[Offer],
    *,
    margin: float = 0.02,
    blind: bool = True,
    seed: int = 0,
    flips: int = FLIPS,
) -> list[Standing]:
    """Return where every judged arm stands; the chance of any false claim is at most `ALPHA`.

    The judged arm is held against the best of all arms that cost no more (`arm_choice.choose`:
    ties go to the cheaper), of other conditions. Of each such pair two things are tested: that
    they differ, two-sided, and that the cheaper one is no more than the margin behind. Holm's
    correction is over the pairs, by the first of the two; the second is tested at half the level,
    with the first of all other pairs (`_corrected`). Nothing depends on the order of `offers`.

    Without validation scores, or with other draws in other arms, the arm with the best test score
    of those that cost no more stands in, and p-values are multiplied by the number of all pairs
    that it was chosen from.

    Args:
        offers: every arm of every model, on the same queries.
        margin: the smallest difference that matters, a fraction of 1.
        blind: whether the judged arms were chosen on other data than judges them.
        seed: of the random sign flips.
        flips: how many of them.

    Raises:
        UserError: arms were scored on different queries.
    """
    offers = sorted(offers, key=lambda offer: (offer.uncached, offer.cached, offer.name))
    known = {offer.name: offer for offer in offers}
    judged = [offer for offer in offers if offer.is_judged]
    pairs: list[tuple[Offer, Offer, Choice]] = []
    tried = 0
    for offer in judged:
        pool = {other.name: replace(other.choice.scores, cost=other.uncached) for other in offers
                if other.costs_no_more(offer)
                and (other.model, other.condition) != (offer.model, offer.condition)}  # fmt: skip
        if not pool:
            continue
        best = _challenger(pool, margin) if blind else None
        if best is None:
            tried += len(pool)
            best = _best_test_score(pool)
        else:
            tried += 1
        pairs.append((offer, known[best.label], best))
    tested = [_tested(*pair, margin, seed, flips) for pair in pairs]
    if not blind or tried > len(pairs):
        # The judged arms, too, were chosen by their test scores.
        tried = max(tried, sum(a.costs_no_more(b) for a in offers for b in offers if a is not b))
    corrected = _corrected([d.p for d, _ in tested], [p for _, p in tested], tried)
    found = {
        id(offer): _standing(offer, against, result[0], p, matched)
        for (offer, against, _), result, (p, matched) in zip(pairs, tested, corrected, strict=True)
    }
    return [found.get(id(offer)) or Standing(offer, "cheapest") for offer in judged]


def _challenger(pool: Mapping[str, Scores], margin: float) -> Choice | None:
    """Return the best of a pool by validation; None where that cannot choose."""
    draws = {frozenset(scores.draws) for scores in pool.values() if scores.is_drawn}
    if len(pool) > 1 and (len(draws) > 1 or not can_choose(pool)):
        return None
    return choose(pool, sorted(next(iter(draws), ())), margin)


def _best_test_score(pool: Mapping[str, Scores]) -> Choice:
    means = {name: round(float(scores.values.mean()), 12) for name, scores in pool.items()}
    name = min(pool, key=lambda one: (-means[one], cheaper(pool, one)))
    return Choice(name, pool[name])


def _tested(
    offer: Offer, against: Offer, best: Choice, margin: float, seed: int, flips: int
) -> tuple[Difference, float]:
    """Return the difference of a pair, and the p-value of being more than the margin better."""
    names = (offer.name, against.name)
    views = [(offer.choice.scores, best.scores)]
    if offer.choice.crossed is not None or best.crossed is not None:
        views.append((offer.choice.of_procedure, best.of_procedure))
    found = [
        difference(*view, names=names, margin=margin, level=1 - ALPHA, seed=seed, flips=flips)
        for view in views
    ]
    own = held(found[0], found[1] if len(found) > 1 else None)
    if not against.costs_less(offer):
        return own, 1.0
    no_worse = [
        paired_test(right, left, names[::-1], margin, ALPHA, seed, flips)[1]
        for left, right in views
    ]
    return own, max(one.above_p(-margin) for one in no_worse)


def _corrected(
    differ: Sequence[float], behind: Sequence[float], tried: int
) -> list[tuple[float, float]]:
    """Return both p-values of each pair, corrected together over `tried` pairs, at least these.

    A pair counts once, though two claims are made of it: of an arm that is better by the margin or
    more, "dominated" errs at half the level, and so does "matched"; of one that is better by less
    only the first can err; of an equal one, either direction of the first, each at half of it. A
    pair that is matched may still be dominated, so it leaves the correction for the others as it
    is: the p-value of the second stands only in its own place.

    Args:
        differ: two-sided, of no difference.
        behind: one-sided, of being more than the margin behind.
        tried: pairs that these were chosen from.
    """
    rest = [1.0] * (tried - len(differ))
    first = holm([*differ, *rest])
    second = [
        holm([*differ[:place], 2 * own, *differ[place + 1 :], *rest])[place]
        for place, own in enumerate(behind)
    ]
    return list(zip(first, second, strict=False))


def _standing(
    offer: Offer, against: Offer, found: Difference, p: float, matched: float
) -> Standing:
    state: State = "open"
    if found.supports_claims:
        if p <= ALPHA:
            state = "ahead" if found.difference > 0 else "dominated"
        elif matched <= ALPHA:
            state = "matched"
    return Standing(offer, state, against, found, p, matched)


def best_by_cost(rows: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the steps of the highest score so far, by cost, from (cost, score)."""
    costs, scores = np.array(sorted(rows, key=lambda row: (row[0], -row[1]))).T
    highest = np.maximum.accumulate(scores)
    return [(float(c), float(s)) for c, s in zip(costs, highest, strict=True)]
