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
from adaptlens.paired import tables_between, tables_of
from adaptlens.scores import NO_DRAWS as NO_DRAWS
from adaptlens.scores import Family as Family
from adaptlens.scores import Scores as Scores

MINIMUM_DRAWS = 5
"""Fewer draws support no claim: their spread, and so the error of their mean, is barely known."""

FLIPS = 4999


@dataclass(frozen=True)
class Estimate:
    """The mean score of one condition, and the interval that would cover it."""

    value: float
    low: float
    high: float
    level: float
    queries: int
    draws: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """How much one condition scores above another on the same queries, as fractions of 1.

    `p` is two-sided and for this pair alone, `p_holm` covers all pairs tested with it.
    `equivalence_p` is small when the difference is shown to lie within `margin`. `detectable` is
    the true difference this design would find in 80 of 100 runs. `supports_claims` is false with
    too few draws, whatever the p-values; `warnings` says why.
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


def estimate(scores: Scores, *, level: float = 0.95, seed: int = 0, flips: int = FLIPS) -> Estimate:
    """Return the mean over queries and draws with an interval within 0 to 1.

    Wilson's interval at the effective number of queries, value (1 - value) / variance, its
    critical value from the same studentised sign flips as the tests. Where all scores are equal,
    the exact binomial bound on what unseen queries may do.

    Source: Wilson 1927; effective sample size as in Korn and Graubard 1998.
    """
    found = tables_of(scores).crossed(seed=seed, flips=flips, centre=True)
    mean, queries = found.mean, scores.queries
    if found.error == 0:
        low, high = _unseen(mean, queries, 1 - level, 0.0, 1.0)
    else:
        critical = found.critical(1 - level, cautious=True)
        effective = mean * (1 - mean) / found.error**2
        if math.isinf(critical):
            low, high = 0.0, 1.0
        else:
            spread = critical**2 / effective
            middle = (mean + spread / 2) / (1 + spread)
            half = math.sqrt(mean * (1 - mean) * spread + spread**2 / 4) / (1 + spread)
            low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Estimate(mean, low, high, level, queries, len(scores.draws), _draw_warnings(scores))


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
    """Return how far `left` is above `right` on the same queries, tested over queries and draws.

    Draws are paired where both conditions have the same ones (in any order) and independent
    otherwise; a condition that draws nothing is compared with every draw of the other.

    The p-value is the larger of a studentised sign-flip permutation test, in which the effects of
    draws, of queries and what is left flip together, and Student's t with Satterthwaite's degrees
    of freedom. Without draws it is the classical paired permutation test alone (all sign patterns
    where there are at most 4,096).

    Args:
        left: scores on the same queries, in the same order, as `right`.
        right: what `left` is compared with.
        names: what the two are called.
        margin: the smallest difference that matters, a fraction of 1.
        level: of the interval.
        seed: of the random sign flips.
        flips: how many of them.

    Raises:
        UserError: different numbers of queries.
    """
    queries = left.queries
    if right.queries != queries:
        raise UserError(
            f"{names[0]} has {queries} queries and {names[1]} has {right.queries}; a "
            "paired comparison needs the same queries on both sides."
        )
    tables = tables_between(left, right)
    found, drawn = tables.crossed(seed=seed, flips=flips), tables.drawn
    mean, alpha = found.mean, 1 - level
    binary = all(np.all((s.values == 0) | (s.values == 1)) for s in (left, right))
    if found.error == 0:
        low, high = _unseen(mean, queries, alpha, -1.0, 1.0)
        p = 2 * found.tail(math.inf) if mean else 1.0
        hidden = (margin - abs(mean)) / (1 - abs(mean)) if abs(mean) < margin else 0.0
        equivalence_p = (1 - hidden) ** queries
    else:
        p = min(1.0, 2 * found.tail(abs(mean) / found.error))
        half = found.critical(alpha, cautious=p > alpha) * found.error
        low, high = max(-1.0, mean - half), min(1.0, mean + half)
        error = max(found.error, math.sqrt(margin * (1 - margin) / queries) if binary else 0.0)
        equivalence_p = found.tail((margin - abs(mean)) / error, cautious=True)
    reach = found.critical(alpha, cautious=True) + found.critical(0.4, cautious=True)
    detectable = reach * found.error
    if binary:
        detectable = max(detectable, reach**2 / (queries + reach**2))
    warnings = tuple(dict.fromkeys((*_draw_warnings(left), *_draw_warnings(right))))
    return Difference(
        *names,
        difference=mean,
        low=low,
        high=high,
        level=level,
        p=p,
        p_holm=p,
        equivalence_p=equivalence_p,
        margin=margin,
        detectable=min(1.0, detectable),
        queries=queries,
        draws=min((len(s.draws) for s in (left, right) if s.is_drawn), default=1),
        test="sign-flip permutation over queries"
        + (" and draws, studentised, with Satterthwaite's t" if drawn else ""),
        supports_claims=not warnings,
        warnings=warnings,
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


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold the chance of any false rejection, in the order given.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _draw_warnings(scores: Scores) -> tuple[str, ...]:
    count = len(scores.draws)
    if not scores.is_drawn or count >= MINIMUM_DRAWS:
        return ()
    if count == 1:
        return (
            "one draw: how much scores differ from draw to draw is unknown, so interval and test "
            f"hold for this draw only; at least {MINIMUM_DRAWS} draws support a claim",
        )
    return (f"{count} draws support no claim; at least {MINIMUM_DRAWS} do",)


def _unseen(
    mean: float, queries: int, alpha: float, lowest: float, highest: float
) -> tuple[float, float]:
    """Return where the mean may be when every query seen scored `mean`.

    With confidence 1 - alpha / 2 at most a share 1 - (alpha / 2)^(1 / queries) of all queries is
    of a kind that was not seen (Clopper and Pearson's bound at zero successes); those may score
    anything.
    """
    share = 1 - (alpha / 2) ** (1 / queries)
    return (1 - share) * mean + share * lowest, (1 - share) * mean + share * highest
