"""Intervals and paired tests for scores on queries x draws, two crossed random factors.

Every number is judged against both sources of chance: which queries were asked and which
demonstrations were drawn. Scores are fractions of 1 throughout; "points" are hundredths.
docs/methods.md derives the formulas and shows their error rates.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from adaptlens.errors import UserError, unknown
from adaptlens.stats.clusters import effective_clusters
from adaptlens.stats.difference_tests import DifferenceTest, unseen_queries
from adaptlens.stats.paired import Tables, tables_between, tables_of
from adaptlens.stats.sample_size import SampleSize
from adaptlens.stats.scores import Family as Family
from adaptlens.stats.scores import Scores as Scores
from adaptlens.stats.training_pool import MOST_OF_POOL
from adaptlens.stats.unseen_draws import unseen_draws

MINIMUM_DRAWS = 5
"""Fewer draws support no claim: their spread, and so the error of their mean, is barely known."""

MINIMUM_GROUPS = 5
"""Fewer clusters of queries support no claim, for the same reason."""

FLIPS = 4999
BISECTIONS = 20
"""Of a bound, which it finds to a millionth."""


@dataclass(frozen=True)
class Estimate:
    """The mean score of one condition, and the interval that would cover it.

    `worst_draw` is the least mean of a draw, None without draws; `collapsed` is the share of draws
    nearer to the floor than to the median draw.
    """

    value: float
    low: float
    high: float
    queries: int
    draws: int
    worst_draw: float | None = None
    collapsed: float = 0.0


@dataclass(frozen=True)
class Above:
    """Whether one condition is shown to score more than another plus a bound, fractions of 1.

    Attributes:
        difference: of the two means.
        least: the largest bound that would be shown; minus 1 where none would.
        p: one-sided, of a true difference of at most the bound.
        supports_claims: false with too few draws or clusters, whatever p; `warnings` says why.
    """

    difference: float
    least: float
    p: float
    supports_claims: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """How much one condition scores above another on the same queries, as fractions of 1.

    `p` is two-sided and for this pair alone, `p_holm` covers all pairs tested with it.
    `equivalence_p` is small when the difference is shown to lie within `margin`. `detectable` is
    the true difference this design would find in 80 of 100 runs. `supports_claims` is false with
    too few draws or clusters, whatever the p-values; `warnings` says why, and what else a reader
    must know. `needed_draws` (with these queries) and `needed_queries` (with these draws) are the
    least numbers that would decide if more looked like those seen: for a difference of at least
    the margin, that there is one; for a smaller one, that it lies within the margin. None where
    no number up to 1,000 draws or 100,000 queries does. They are for this pair alone.
    """

    left: str
    right: str
    difference: float
    low: float
    high: float
    level: float
    p: float
    p_holm: float
    equivalence_p: float
    margin: float
    detectable: float
    queries: int
    draws: int
    test: str
    correction: str = "none"
    supports_claims: bool = True
    warnings: tuple[str, ...] = ()
    templates: int = 1
    needed_draws: int | None = None
    needed_queries: int | None = None


def estimate(scores: Scores, *, level: float = 0.95, seed: int = 0, flips: int = FLIPS) -> Estimate:
    """Return the mean over queries, draws and templates with an interval within 0 to 1.

    Wilson's interval at the effective number of queries, value (1 - value) / variance, its
    critical value from the same studentized sign flips as the tests. Where all scores are equal,
    the exact binomial bound on what unseen queries may do. The lower end also allows for draws
    that were not seen to fail (`unseen_draws`).

    Source: Wilson 1927; effective sample size as in Korn and Graubard 1998.
    """
    found = tables_of(scores).crossed(seed=seed, flips=flips, center=True)
    unseen, mean = unseen_draws(scores), found.mean
    if found.stderr == 0:
        low, high = unseen_queries(mean, found.queries, 1 - level, 0.0)
    else:
        low, high = _wilson(mean, found.stderr, found.critical(1 - level, cautious=True))
    low = max(0.0, mean - math.hypot(mean - low, unseen.fall((1 - level) / 2)))
    return Estimate(
        mean,
        low,
        high,
        scores.queries,
        len(scores.draws),
        worst_draw=float(scores.by_draw.min()) if scores.is_drawn else None,
        collapsed=unseen.share,
    )


def difference(
    left: Scores,
    right: Scores,
    *,
    names: tuple[str, str] = ("left", "right"),
    margin: float = 0.02,
    level: float = 0.95,
    seed: int = 0,
    flips: int = FLIPS,
) -> Difference:
    """Return how far `left` is above `right` on the same queries, over queries, draws, templates.

    Draws, and templates, are paired where both conditions have the same ones (in any order) and
    independent otherwise; a condition without is compared with every one of the other.

    The p-value is the larger of a studentized sign-flip permutation test, in which the effects of
    draws, of templates, of queries and what is left flip together, and Student's t with
    Satterthwaite's degrees of freedom. Without draws and templates it is the classical paired
    permutation test alone (all sign patterns where there are at most 4,096).

    Interval and p-value allow for failed draws that were not seen, at most `MOST_COLLAPSING` of
    all; `equivalence_p` allows for any share of them.

    Args:
        left: scores on the same queries, in the same order, as `right`.
        right: what `left` is compared with.
        names: what the two are called.
        margin: the smallest difference that matters, a fraction of 1.
        level: of the interval.
        seed: of the random sign flips.
        flips: how many of them.

    Raises:
        UserError: different numbers of queries, or different groups of them.
    """
    tables, tested = paired_test(left, right, names, margin, 1 - level, seed, flips)
    found = tested.crossed
    low, high = tested.interval()
    size = SampleSize(tested, max(left.pool_share, right.pool_share))
    clusters = size.queries()
    short = tuple(dict.fromkeys((*too_few(left), *too_few(right))))
    reach = tuple(dict.fromkeys((*_reach(left), *_reach(right))))
    factors = ["queries", *["draws"] * tables.drawn, *["templates"] * bool(tables.templates)]
    return Difference(
        *names,
        difference=found.mean,
        low=low,
        high=high,
        level=level,
        p=tested.p,
        p_holm=tested.p,
        equivalence_p=tested.equivalence_p,
        margin=margin,
        detectable=tested.detectable,
        queries=left.queries,
        draws=min((len(s.draws) for s in (left, right) if s.is_drawn), default=1),
        test=f"sign-flip permutation over {_listed(factors)}"
        + (", studentized, with Satterthwaite's t" if len(factors) > 1 else ""),
        supports_claims=not short,
        warnings=(*short, *reach),
        templates=min((len(s.templates) for s in (left, right) if s.templates), default=1),
        needed_draws=size.draws(MINIMUM_DRAWS),
        needed_queries=clusters and math.ceil(clusters * left.queries / found.queries),
    )


def above(
    left: Scores,
    right: Scores,
    bound: float,
    *,
    names: tuple[str, str] = ("left", "right"),
    alpha: float = 0.05,
    seed: int = 0,
    flips: int = FLIPS,
) -> Above:
    """Return whether `left` is shown to score more than `right` plus a bound, maybe below 0.

    Args:
        left: scores on the same queries, in the same order, as `right`.
        right: what `left` is compared with.
        bound: a fraction of 1; -0.01 asks that `left` be no more than a point worse.
        names: what the two are called.
        alpha: chance that `least` is above the true difference.
        seed: of the random sign flips.
        flips: how many of them.

    Raises:
        UserError: different numbers of queries, or different groups of them.
    """
    _, tested = paired_test(left, right, names, abs(bound), alpha, seed, flips)
    short = tuple(dict.fromkeys((*too_few(left), *too_few(right))))
    least, high = -1.0, tested.mean
    for _ in range(BISECTIONS):
        middle = (least + high) / 2
        shown = replace(tested, margin=abs(middle)).above_p(middle) <= alpha
        least, high = (middle, high) if shown else (least, middle)
    return Above(tested.mean, least, tested.above_p(bound), not short, short)


def paired_test(
    left: Scores,
    right: Scores,
    names: tuple[str, str],
    margin: float,
    alpha: float,
    seed: int,
    flips: int = FLIPS,
) -> tuple[Tables, DifferenceTest]:
    """Return the paired table of two conditions, and the tests of their difference.

    Args and errors are those of `difference`, alpha being 1 - level.

    Raises:
        UserError: different numbers of queries, or different groups of them.
    """
    if right.queries != left.queries:
        raise UserError(
            f"{names[0]} has {left.queries} queries and {names[1]} has {right.queries}; a "
            "paired comparison needs the same queries on both sides."
        )
    tables = tables_between(left, right)
    found = tables.crossed(seed=seed, flips=flips)
    binary = [bool(np.all((s.values == 0) | (s.values == 1))) for s in (left, right)]
    is_fixed = binary == [True, False] and not (right.is_drawn or right.templates)
    return tables, DifferenceTest(
        found,
        unseen_draws(left),
        unseen_draws(right),
        margin,
        alpha,
        all(binary),
        left.queries,
        float(right.values.mean()) if is_fixed else None,
    )


def comparisons(
    conditions: Mapping[str, Scores],
    pairs: Iterable[tuple[str, str]] | None = None,
    *,
    margin: float = 2.0,
    alpha: float = 0.05,
    seed: int = 0,
    flips: int = FLIPS,
) -> list[Difference]:
    """Return the paired table: every pair tested, and Holm's correction over all of them.

    Args:
        conditions: label to scores; all on the same queries.
        pairs: (left, right) labels; by default every tuned condition against every prompted one,
            and every adapted one against every condition of family "none".
        margin: the smallest difference that matters, in points.
        alpha: 1 - alpha is the level of each interval, which is for its pair alone.
        seed: of the random sign flips.
        flips: how many of them.

    Raises:
        UserError: a pair names a condition that is not there.
    """
    chosen = list(pairs_of_interest(conditions) if pairs is None else pairs)
    for name in (name for pair in chosen for name in pair):
        if name not in conditions:
            raise unknown("condition", name, conditions)
    found = [
        difference(
            conditions[left],
            conditions[right],
            names=(left, right),
            margin=margin / 100,
            level=1 - alpha,
            seed=seed,
            flips=flips,
        )
        for left, right in chosen
    ]
    adjusted = holm([one.p for one in found])
    said = f"Holm over {len(found)} pairs"
    return [replace(one, p_holm=p, correction=said) for one, p in zip(found, adjusted, strict=True)]


def pairs_of_interest(conditions: Mapping[str, Scores]) -> list[tuple[str, str]]:
    """Return tuned x prompted, then adapted x unadapted."""
    named: dict[str, list[str]] = {"prompt": [], "tune": [], "none": []}
    for label, scores in conditions.items():
        named[scores.family].append(label)
    adapted = [label for label, scores in conditions.items() if scores.family != "none"]
    return [*product(named["tune"], named["prompt"]), *product(adapted, named["none"])]


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Return p-values that hold the chance of any false rejection, in the order given.

    Args:
        p_values: of the tests.
        weights: of the tests, above 0: one of weight 1/2 costs the others half as much, and must be
            twice as clear; equal unless given.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure (section 4 of it for
    weights).
    """
    shares = [1.0] * len(p_values) if weights is None else list(weights)
    adjusted = [0.0] * len(p_values)
    largest, left = 0.0, float(sum(shares))
    for place in sorted(range(len(p_values)), key=lambda i: p_values[i] / shares[i]):
        share = max(left, shares[place]) / shares[place]
        largest = max(largest, min(1.0, share * p_values[place]))
        adjusted[place] = largest
        left -= shares[place]
    return adjusted


def too_few(scores: Scores) -> tuple[str, ...]:
    """Return why scores support no claim."""
    found = []
    count = len(scores.draws)
    if scores.is_drawn and count == 1:
        found.append(
            "one draw: how much scores differ from draw to draw is unknown, so interval and test "
            f"hold for this draw only; at least {MINIMUM_DRAWS} draws support a claim"
        )
    elif scores.is_drawn and count < MINIMUM_DRAWS:
        found.append(f"{count} draws support no claim; at least {MINIMUM_DRAWS} do")
    if scores.groups is not None and (count := len(set(scores.groups.tolist()))) < MINIMUM_GROUPS:
        found.append(
            f"{count} group{'s' * (count != 1)} of queries support no claim; at least "
            f"{MINIMUM_GROUPS} do"
        )
    return tuple(found)


def _reach(scores: Scores) -> tuple[str, ...]:
    """Return what an interval does not reach beyond, though it is sound as far as it goes."""
    found = []
    if len(scores.templates) == 1:
        found.append(
            "one template: how much scores differ from wording to wording is unknown, so interval "
            f"and test hold for '{scores.templates[0]}' only"
        )
    if scores.pool_share > MOST_OF_POOL:
        found.append(
            f"each draw is {scores.examples} of {scores.pool} training examples: the result holds "
            f"for these {scores.pool} only, not for new ones"
        )
    if scores.groups is not None:
        count = len(set(scores.groups.tolist()))
        if count >= MINIMUM_GROUPS > (effective := effective_clusters(scores.groups)) + 0.5:
            found.append(
                f"{count} groups of queries differ so much in size that they tell as little as "
                f"{effective:.1f} of one size: intervals are wide, and seldom is anything shown"
            )
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    """Return names as a list in words."""
    if len(names) < 3:
        return " and ".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _wilson(mean: float, error: float, critical: float) -> tuple[float, float]:
    if math.isinf(critical):
        return 0.0, 1.0
    spread = critical**2 * error**2 / (mean * (1 - mean))
    middle = (mean + spread / 2) / (1 + spread)
    half = math.sqrt(mean * (1 - mean) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
