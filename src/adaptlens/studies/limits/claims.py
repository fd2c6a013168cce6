"""Claims about the limits of tuning with three answers: supported, refuted, or not decided.

The claims are those of Bigoulaeva et al. 2025 (arXiv 2501.08716); the criteria are ours, and are
fixed before the data are seen. docs/methods.md states them, and how often they err.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import counted, equals, in_sentence, parameters
from adaptlens.stats.hypotheses import State
from adaptlens.stats.intervals import holm
from adaptlens.stats.layerwise import Mean
from adaptlens.studies.limits.config import CLAIMS
from adaptlens.studies.limits.contrasts import mean_over, paired
from adaptlens.studies.limits.correlation import CONTROLS, MINIMUM_BASES, correlate
from adaptlens.studies.limits.exposure import effect, groups
from adaptlens.studies.limits.panel import FIRST, panel
from adaptlens.studies.limits.variance import moments, shares

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = list[dict[str, Any]]

MINIMUM_TASKS = 3
"""Fewer tasks support no claim about tasks of their kind."""
STRICTEST = "difficulty, size, family"


@dataclass(frozen=True)
class Margins:
    """The smallest things that count, fixed before the data are seen.

    Attributes:
        correlation: of tuned and in-context performance after controls, to call it following.
        gain: of ability, 0 guessing to 1 all right.
        system: how much better one system must be, of ability.
        share: of variance, to call an influence more than little.
    """

    correlation: float = CLAIMS["correlation"]
    gain: float = CLAIMS["gain"]
    system: float = CLAIMS["system"]
    share: float = CLAIMS["share"]


@dataclass(frozen=True)
class Part:
    """One number of a claim, and what it says about a bound.

    Attributes:
        what: the number, in words.
        value: what was found.
        low: the lower end of its interval.
        high: the upper end.
        sign: 1 if the claim is that it lies above the bound, -1 below.
        above: one-sided p-value of not lying above the bound.
        below: of not lying below it.
        count: units behind it, in words.
        reason: why it decides nothing, or "".
    """

    what: str
    value: float
    low: float
    high: float
    sign: int
    above: float
    below: float
    count: str
    reason: str = ""

    @property
    def for_it(self) -> float:
        """The one-sided p-value of the claim being false."""
        return self.above if self.sign > 0 else self.below

    @property
    def against_it(self) -> float:
        """The one-sided p-value of the claim being true."""
        return self.below if self.sign > 0 else self.above


@dataclass(frozen=True)
class _Claim:
    factor: int
    claim: str
    parts: Sequence[Part]
    test: str
    needs: str = ""
    """What has to be measured for it to have parts."""


def claims(
    scores: "DataFrame",
    margins: Margins | None = None,
    *,
    exposed: Collection[str] = (),
    scoring: str = FIRST,
    alpha: float = 0.05,
    seed: int = 0,
) -> Rows:
    """Return what becomes of the five claims; the chance of any false answer is at most alpha.

    A claim says that each of its numbers lies above a bound, or below. It is supported where all
    are shown to (an intersection-union test, Berger 1982), refuted where one is shown to lie on
    the other side (at its share of the level), else not decided: also without looking where there
    are fewer than 5 bases, or fewer than 3 tasks. Both p-values are one-sided; p is twice the
    smaller one, p_holm is corrected over the claims.

    1. Tuned follows in-context performance: Spearman's correlation given difficulty, size and
       family, above `margins.correlation`.
    2. Tuning data and pretraining bound both: with exposure "none" neither ICL nor IT (mixtures
       without the task) is better than reading without examples by `margins.gain` on exposed
       tasks, and with "much" both are.
    3. Outside its mixture's clusters tuned is no better than ICL: the gain is below `margins.gain`.
    4. The pipeline generalizes better than direct answers: pipeline minus samplegen, on tasks that
       are not in the mixture, above `margins.system`.
    5. Prompt variations explain little: their share of variance within tasks, of every tuned system
       that was varied, below `margins.share`.

    Columns: model, task ("all models", "all tasks"), factor (number of the claim), claim, state,
    line, effect, low, high (of the number with the weakest support), p, p_holm, test, queries
    (of all tasks), draws (tuned models).

    Args:
        scores: the long table, see `studies.limits.panel.COLUMNS`.
        margins: the bounds.
        exposed: tasks or clusters that exposure concerns.
        scoring: as in `studies.limits.panel.panel`.
        alpha: chance of any false answer.
        seed: of resamples.

    Raises:
        UserError: see `studies.limits.panel.panel` and `studies.limits.exposure.groups`.
    """
    bounds = margins or Margins()
    found = [
        _follows(scores, bounds, scoring, alpha, seed),
        _bounded(scores, bounds, exposed, scoring),
        _no_gain(scores, bounds, scoring, alpha),
        _pipeline(scores, bounds, scoring, alpha),
        _variations(scores, bounds, scoring, alpha, seed),
    ]
    tails = [_tails(one.parts) for one in found]
    p_values = [min(1.0, 2 * min(pair)) for pair in tails]
    whole = panel(scores, scoring=scoring)
    rows: Rows = []
    for one, pair, p, p_holm in zip(found, tails, p_values, holm(p_values), strict=True):
        state: State = "not decided"
        if p_holm < alpha:
            state = "supported" if pair[0] <= pair[1] else "refuted"
        weakest = min(one.parts, key=_support, default=None)
        rows.append({
            "model": "all models", "task": "all tasks", "factor": one.factor, "claim": one.claim,
            "state": state, "line": _line(one, p_holm),
            "effect": weakest.value if weakest else math.nan,
            "low": weakest.low if weakest else math.nan,
            "high": weakest.high if weakest else math.nan,
            "p": p, "p_holm": p_holm, "test": one.test,
            "queries": int(whole.queries.sum()), "draws": len(whole.of),
        })  # fmt: skip
    return rows


def _tails(parts: Sequence[Part]) -> tuple[float, float]:
    """Return the p-values of the claim being false, and of its being true."""
    if not parts:
        return 1.0, 1.0
    looked = [one for one in parts if not one.reason]
    for_it = max((1.0 if one.reason else one.for_it) for one in parts)
    against = min((one.against_it for one in looked), default=1.0)
    return for_it, min(1.0, len(parts) * against)


def _support(part: Part) -> float:
    """Return how well a part supports the claim: the chance of it, were the claim false, less 1."""
    return -part.for_it if not part.reason else -2.0


def _line(claim: _Claim, p_holm: float) -> str:
    if not claim.parts:
        return f"not measured: {claim.needs}"
    said = []
    for one in claim.parts:
        number = f"{one.what} {_number(one)}, {one.count}"
        said.append(f"{number}; {one.reason}" if one.reason else number)
    return f"{'; '.join(said)}; p(Holm) {equals(p_holm)}"


def _number(part: Part) -> str:
    if not math.isfinite(part.value):
        return "could not be measured"
    if not (math.isfinite(part.low) and math.isfinite(part.high)):
        return f"{in_sentence(part.value)}, no interval"
    return in_sentence(part.value, part.low, part.high)


def _count(bases: int, tasks: int) -> str:
    return f"{counted(bases, 'base')} x {counted(tasks, 'task')}"


def _part(what: str, mean: Mean, sign: int, bound: float, count: str, reason: str = "") -> Part:
    """Return a part from a mean, with what it says about the bound."""
    above, below = (one if math.isfinite(one) else 1.0
                    for one in (mean.at_least(bound), mean.at_most(bound)))  # fmt: skip
    if not math.isfinite(mean.stderr):
        reason = reason or "no error can be told"
    side = "above" if sign > 0 else "below"
    return Part(f"{what} (claimed {side} {bound:g}):", mean.value, mean.low, mean.high, sign, above,
                below, count, reason)  # fmt: skip


def _few(bases: int, tasks: int = MINIMUM_TASKS) -> str:
    if bases < MINIMUM_BASES:
        return f"fewer than {MINIMUM_BASES} bases decide nothing"
    return f"fewer than {MINIMUM_TASKS} tasks decide nothing" if tasks < MINIMUM_TASKS else ""


def _follows(
    scores: "DataFrame", margins: Margins, scoring: str, alpha: float, seed: int
) -> _Claim:
    whole, bound = panel(scores, scoring=scoring), margins.correlation
    one = correlate(whole, CONTROLS[STRICTEST], level=1 - alpha, seed=seed)["spearman"]
    above, below = one.above(bound), one.below(bound)
    part = Part(f"Spearman given {STRICTEST} (claimed above {bound:g}):", one.value, one.low,
                one.high, 1, above, below, _count(one.bases, one.tasks),
                one.note or _few(one.bases, one.tasks))  # fmt: skip
    return _Claim(1, "tuned performance follows in-context performance of the base", [part],
                  "bootstrap over bases and tasks, Student's t of Fisher's z")  # fmt: skip


def _bounded(
    scores: "DataFrame", margins: Margins, exposed: Collection[str], scoring: str
) -> _Claim:
    parts = []
    for group in groups(scores, exposed, scoring=scoring) if exposed else ():
        bare = group.read["zero-shot"].values
        for level, sign in (("none", -1), ("much", 1)):
            if level not in group.levels:
                continue
            place = group.levels.index(level)
            for quantity in ("ICL", "IT"):
                read = group.read[quantity]
                gain = read.values[:, place] - bare[:, place]
                if quantity == "IT":
                    gain[:, read.seen[place]] = math.nan
                mean = effect(group, gain, "exposed")
                reason = _few(MINIMUM_BASES, mean.queries)
                count = f"{counted(mean.queries, 'task')} x {counted(mean.draws, 'tuning')}"
                where = f"{group.family} {parameters(group.size)}, exposure {level}"
                parts.append(_part(f"{quantity} less zero-shot, {where}", mean, sign, margins.gain,
                                   count, reason))  # fmt: skip
    return _Claim(2, "pretraining bounds both in-context learning and tuning", parts,
                  "intersection-union over exposures, Student's t over tasks",
                  "it takes bases whose pretraining did or did not show the exposed tasks, as the "
                  "ladder's")  # fmt: skip


def _no_gain(scores: "DataFrame", margins: Margins, scoring: str, alpha: float) -> _Claim:
    table = paired(scores, "regular", "gold", scoring=scoring)
    table = table[table["is_outside"]]
    parts = []
    if not table.empty:
        mean = mean_over(table, level=1 - alpha)
        parts = [_part("tuned less in context, clusters not tuned on", mean, -1, margins.gain,
                       _count(mean.draws, mean.queries),
                       _few(mean.draws, mean.queries))]  # fmt: skip
    return _Claim(3, "tuning gains nothing over the base in context outside its mixture", parts,
                  "crossed errors of bases and tasks, Student's t",
                  "it takes a mixture without whole clusters, as --mixtures default,nlg-only",
    )  # fmt: skip


def _pipeline(scores: "DataFrame", margins: Margins, scoring: str, alpha: float) -> _Claim:
    parts = []
    if {"pipeline", "samplegen"} <= set(scores["system"]):
        table = paired(scores, "pipeline", "samplegen", scoring=scoring)
        table = table[~table["seen"]]
        if not table.empty:
            mean = mean_over(table, level=1 - alpha)
            parts = [_part("pipeline less samplegen, tasks not tuned on", mean, 1, margins.system,
                           _count(mean.draws, mean.queries),
                           _few(mean.draws, mean.queries))]  # fmt: skip
    return _Claim(4, "the pipeline generalizes better than direct answers", parts,
                  "crossed errors of bases and tasks, Student's t",
                  "it takes systems samplegen and pipeline, and tasks not tuned on")  # fmt: skip


def _variations(
    scores: "DataFrame", margins: Margins, scoring: str, alpha: float, seed: int
) -> _Claim:
    parts = []
    varied = set(scores.loc[scores["variation"] != "", "system"])
    for system in ("regular", "samplegen"):
        if system not in varied:
            continue
        known = moments(scores, tuned=system, scoring=scoring)
        if not known.columns["prompt variation"]:
            continue
        found = shares(known, within_tasks=True, seed=seed)
        name, bound = "prompt variation", margins.share
        low, high = found.interval(name, 1 - alpha)
        parts.append(Part(f"share of variance within tasks, {system} (claimed below {bound:g}):",
                          found.values[name], low, high, -1, found.above(name, bound),
                          found.below(name, bound), _count(found.bases, found.tasks),
                          _few(found.bases, found.tasks)))  # fmt: skip
    return _Claim(5, "prompt variations explain little", parts,
                  "bootstrap over bases and tasks, Student's t of the share",
                  "it takes tuned models read in other prompts, as --variations unified",
    )  # fmt: skip
