"""Claims with three possible answers: supported, refuted, or not decided.

The rules are fixed before the data are seen, by the settings of the study; docs/methods.md states
them, and how often they err.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from adaptlens.formatting import equals, in_sentence
from adaptlens.stats import layerwise
from adaptlens.stats.intervals import holm
from adaptlens.stats.layerwise import Mean, Similarity

State = Literal["supported", "refuted", "not decided"]

MINIMUM_DRAWS = 5
"""Fewer draws decide nothing, see `stats.intervals.MINIMUM_DRAWS`."""


@dataclass(frozen=True)
class Hypothesis:
    """A claim about a mean.

    Attributes:
        factor: number of the factor of the study it belongs to.
        claim: what is claimed, in words.
        sign: 1 if the mean is claimed to be above 0, -1 below, 0 if there is no effect.
        mean: what was found.
        num_selected_from: how many means this is the weakest of (the two sides of a U), if each of
            them must hold for the claim. Picking it makes support no easier, but refutation does
            get easier.
    """

    factor: int
    claim: str
    sign: int
    mean: Mean
    num_selected_from: int = 1


@dataclass(frozen=True)
class Judged:
    """What becomes of a hypothesis, and why."""

    hypothesis: Hypothesis
    state: State
    p_holm: float
    line: str

    def undecided(self, reason: str) -> "Judged":
        """Return it as not decided for a reason other than its numbers; itself without one."""
        line = f"{reason}; {self.line}"
        return replace(self, state="not decided", line=line) if reason else self

    def row(self, test: str) -> dict[str, Any]:
        """Return it as a row of the table of claims, with the name of the test."""
        mean = self.hypothesis.mean
        return {
            "factor": self.hypothesis.factor, "claim": self.hypothesis.claim, "state": self.state,
            "line": self.line, "effect": mean.value, "low": mean.low, "high": mean.high,
            "p": mean.p, "p_holm": self.p_holm, "test": test, "queries": mean.queries,
            "draws": mean.draws,
        }  # fmt: skip


def judged(hypotheses: Sequence[Hypothesis], *, margin: float, alpha: float = 0.05) -> list[Judged]:
    """Return each hypothesis with its verdict; the chance of any false one is at most alpha.

    Each mean is tested against 0, and for lying within the margin (two one-sided tests, Schuirmann
    1987). An effect is claimed: supported if it is there, in its direction, and not shown to lie
    within the margin; refuted if shown to, or if it is there in the other direction. No effect is
    claimed: supported if shown to lie within the margin, refuted if it is there and not shown to.
    Else, and with fewer than 5 draws, not decided.

    All p-values, two for each hypothesis, are corrected together by Holm's method. A mean that is 0
    lies within the margin, so one of the two nulls of a hypothesis is true at most, and no
    p-value is multiplied by more than the number of hypotheses (Shaffer 1986).

    Args:
        hypotheses: what is claimed, and what was found.
        margin: the smallest effect that counts, in the units of the means.
        alpha: chance of any false verdict.
    """
    there = [
        hypothesis.mean.p if math.isfinite(hypothesis.mean.p) else 1.0 for hypothesis in hypotheses
    ]
    within = [
        min(1.0, hypothesis.num_selected_from * _within(hypothesis.mean, margin))
        for hypothesis in hypotheses
    ]
    p_there, p_within = _corrected(there, within)
    judgments = []
    for hypothesis, p_holm, p_equal in zip(hypotheses, p_there, p_within, strict=True):
        is_there, is_within = p_holm < alpha, p_equal < alpha
        state: State = "not decided"
        if hypothesis.mean.draws < MINIMUM_DRAWS:
            pass
        elif hypothesis.sign == 0:
            state = "supported" if is_within else "refuted" if is_there else state
        elif is_within:
            state = "refuted"
        elif is_there:
            state = "supported" if hypothesis.mean.value * hypothesis.sign > 0 else "refuted"
        judgments.append(
            Judged(hypothesis, state, p_holm, _line(hypothesis.mean, p_holm, is_within, margin))
        )
    return judgments


def _within(mean: Mean, margin: float) -> float:
    p = max(mean.at_least(-margin), mean.at_most(margin))
    return p if math.isfinite(p) else 1.0


def _corrected(there: Sequence[float], within: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return both p-values of each hypothesis, of which one null at most is true, by Holm.

    Source: Shaffer 1986, Modified sequentially rejective multiple test procedures.
    """
    p_values = [*there, *within]
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        most_true = min(len(there), len(p_values) - rank)
        largest = max(largest, min(1.0, most_true * p_values[place]))
        adjusted[place] = largest
    return adjusted[: len(there)], adjusted[len(there) :]


def _line(mean: Mean, p_holm: float, is_within: bool, margin: float) -> str:
    said = f"{interval(mean)}, p(Holm) {equals(p_holm)}"
    if is_within:
        said += f", within {margin:g} of none"
    said += f", {mean.queries} queries x {mean.draws} draws"
    if mean.draws < MINIMUM_DRAWS:
        said += f"; fewer than {MINIMUM_DRAWS} draws decide nothing"
    return said


def interval(mean: "Mean | Excess") -> str:
    """Return a mean, or what stands for one, as "+0.103 [-0.002, 0.208]"."""
    return in_sentence(mean.value, mean.low, mean.high)


@dataclass(frozen=True)
class Excess:
    """How much more alike ICL and IT are than something else, in one layer.

    Attributes:
        layer: its place among all layers.
        over: what they are compared with.
        value: the mean over queries and draws.
        low: the lower end of its interval.
        high: the upper end.
        p_holm: one-sided, of no excess, corrected over layers.
    """

    layer: int
    over: str
    value: float
    low: float
    high: float
    p_holm: float


@dataclass(frozen=True)
class Claim:
    """What becomes of the claim that in-context learning is implicit instruction tuning.

    `effect`, `low`, `high` are the excess that decides, in the last layer before the final norm:
    the one most clearly below the margin of a claim refuted, else the least; `decides` has it
    whole, and is None where nothing was defined. `p` is one-sided, of the cluster of layers around
    it, `p_holm` that of the last layer corrected over layers, each the largest over all excesses.
    `reason` is why the numbers were not looked at, or empty. `layers` has the least excess of every
    layer, `excesses` every one in the last.
    """

    state: State
    line: str
    effect: float
    low: float
    high: float
    p: float
    p_holm: float
    queries: int
    draws: int
    decides: Excess | None = None
    reason: str = ""
    layers: tuple[Excess, ...] = ()
    excesses: tuple[Excess, ...] = ()


def implicit_tuning(
    icl_it: Similarity,
    anchor_icl: Similarity,
    anchor_it: Similarity,
    icl_control: Similarity,
    anchor_control: Similarity,
    *,
    routes: Mapping[str, Similarity] = MappingProxyType({}),
    margin: float,
    alpha: float = 0.05,
    flips: int = layerwise.FLIPS,
    seed: int = 0,
) -> Claim:
    """Return whether ICL brings the states to where tuning on the same examples brings them.

    In the last layer before the final norm ICL and IT must be more alike, by more than the margin,
    than the anchor and ICL; than the anchor and IT; than ICL and every other route to the same
    answers; and their excess over either anchor similarity must be larger, by more than the margin,
    than the excess of the control, which is that of ICL and the control's tuning over the larger of
    its two anchor similarities. Which of these is the larger is not looked up in the data: an
    excess over the control's holds if it holds for one of the two, at half the level.

    - supported: every excess's interval lies above the margin, and its p-values, of the cluster of
      layers that ends in the last one and of the last layer after Holm's correction over layers,
      are below alpha (an intersection-union test).
    - refuted: some excess is below the margin, at alpha divided by their number, four and one for
      each route.
    - not decided: else. Also without looking: with fewer than 5 draws; where prompting or tuning
      is not shown to have moved the states by more than the margin; where no two conditions are
      more alike on the same query than on different ones.

    Args:
        icl_it: similarity of ICL and IT; layers as in `Similarity`, 1 where states are equal.
        anchor_icl: of the anchor and ICL.
        anchor_it: of the anchor and IT.
        icl_control: of ICL and the control's tuning.
        anchor_control: of the anchor and the control's tuning.
        routes: of ICL and other conditions that answer as IT does, by name.
        margin: the smallest excess that counts.
        alpha: chance of a false answer.
        flips: sign flips behind intervals and clusters.
        seed: of the flips.

    Source: the criterion is ours; the claim is that of Duan et al. 2023 (arXiv 2311.10367).
    """
    given = (icl_it, anchor_icl, anchor_it, icl_control, anchor_control, *routes.values())
    draws = [d for d in icl_it.draws if all(d in pair.draws or not pair.drawn for pair in given)]
    kept = [layer for layer in range(len(icl_it.values) - 1)
            if all(np.isfinite(pair.values[layer]).all() for pair in given)]  # fmt: skip
    queries, drawn = icl_it.values.shape[2], icl_it.drawn
    if not draws or len(icl_it.values) - 2 not in kept or queries < 2:
        nothing = (
            "the similarities are not all defined in the last layer, in two queries and a draw"
        )
        nan = math.nan
        counted = (queries, len(draws))
        return Claim("not decided", nothing, nan, nan, nan, 1.0, 1.0, *counted, reason=nothing)
    rows = [_of(pair, draws, kept) for pair in given]
    wanted = _excesses(*(values for values, _ in rows[:5]))
    for name, (values, _) in zip(routes, rows[5:], strict=True):
        wanted[f"ICL ~ {name}"] = [rows[0][0] - values]
    excesses = [
        _tested(over, alternatives, kept, drawn, margin, alpha, flips, seed)
        for over, alternatives in wanted.items()
    ]
    by_layer = [min(layer, key=lambda excess: excess.low)
                for layer in zip(*(tests.layers for tests in excesses), strict=True)]  # fmt: skip
    decides = by_layer[-1]
    p = max(tests.p_cluster for tests in excesses)
    p_holm = max(tests.layers[-1].p_holm for tests in excesses)
    state: State = "not decided"
    reason = _reason_not_to_look(rows[:3], drawn, len(draws), margin, alpha)
    if not reason:
        if all(excess.layers[-1].low > margin for excess in excesses) and max(p, p_holm) < alpha:
            state = "supported"
        elif len(excesses) * min(excess.p_below for excess in excesses) < alpha:
            state = "refuted"
            decides = min(excesses, key=lambda excess: excess.p_below).layers[-1]
    line = (
        f"ICL ~ IT less {decides.over}: {interval(decides)}, of {len(excesses)} excesses "
        f"(margin {margin:g}), p {equals(p)} over layers, p(Holm) {equals(p_holm)} in the last, "
        f"{queries} queries x {len(draws)} draws"
    )
    return Claim(
        state,
        f"{reason}; {line}" if reason else line,
        decides.value,
        decides.low,
        decides.high,
        p,
        p_holm,
        queries,
        len(draws),
        decides,
        reason,
        tuple(by_layer),
        tuple(tests.layers[-1] for tests in excesses),
    )


def _of(
    similarity: Similarity, draws: Sequence[int], layers: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return similarity and baseline [layers, repeats, queries] of these draws and layers."""
    rows = [similarity.draws.index(d) for d in draws] if similarity.drawn else [0]
    where = np.ix_(layers, rows)
    return similarity.values[where].astype(float), similarity.baseline[where].astype(float)


def _excesses(
    both: np.ndarray, icl: np.ndarray, it: np.ndarray, control: np.ndarray, moved: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """Return what must lie above the margin: for each, alternatives of which the largest counts."""
    return {
        "anchor ~ ICL": [both - icl],
        "anchor ~ IT": [both - it],
        "anchor ~ ICL, less the control's": [(both - icl) - (control - by) for by in (icl, moved)],
        "anchor ~ IT, less the control's": [(both - it) - (control - by) for by in (icl, moved)],
    }


@dataclass(frozen=True)
class _Tested:
    """One excess: layer by layer, of the cluster with the last layer, and of being small."""

    layers: list[Excess]
    p_cluster: float
    p_below: float


def _tested(
    over: str,
    alternatives: Sequence[np.ndarray],
    kept: Sequence[int],
    drawn: bool,
    margin: float,
    alpha: float,
    flips: int,
    seed: int,
) -> _Tested:
    """Return the tests of the largest of some alternatives [layers, repeats, queries].

    Above something if one of them is, at its share of the level; below if each of them is.
    """
    many, last = len(alternatives), len(kept) - 1
    layers = [
        [layerwise.mean(values[place], drawn, level=1 - alpha / many,
                      flips=flips if place == last else 0, seed=seed) for values in alternatives]
        for place in range(len(kept))
    ]  # fmt: skip
    p_above = [min(1.0, many * min(mean.at_least() for mean in means)) for means in layers]
    excesses = [
        Excess(
            layer,
            over,
            max(mean.value for mean in means),
            max(mean.low for mean in means),
            max(mean.high for mean in means),
            p,
        )
        for layer, means, p in zip(kept, layers, holm(p_above), strict=True)
    ]
    around = [
        cluster.p
        for values in alternatives
        for cluster in layerwise.clusters(values, drawn, side="above", flips=flips, seed=seed)
        if cluster.last == last
    ]
    p_cluster = min(1.0, many * min(around, default=1.0))
    return _Tested(excesses, p_cluster, max(mean.at_most(margin) for mean in layers[last]))


def _reason_not_to_look(
    given: Sequence[tuple[np.ndarray, np.ndarray]],
    drawn: bool,
    draws: int,
    margin: float,
    alpha: float,
) -> str:
    """Return why ICL ~ IT, anchor ~ ICL and anchor ~ IT can decide nothing, or ""."""
    if not drawn or draws < MINIMUM_DRAWS:
        return f"fewer than {MINIMUM_DRAWS} draws decide nothing"
    if reason := _no_effect(given[1][0][-1], given[2][0][-1], margin):
        return reason
    above = [
        layerwise.mean(values[-1] - baseline[-1], len(values[-1]) > 1).at_least()
        for values, baseline in given
    ]
    if min(holm([p if math.isfinite(p) else 1.0 for p in above])) >= alpha:
        return "no signal: no two conditions are more alike on the same query than on others"
    return ""


def no_effect(anchor_icl: Similarity, anchor_it: Similarity, margin: float) -> str:
    """Return why nothing can be said of a model in which prompting or tuning did nothing, or "".

    Two conditions that left the states as they were are alike for that reason alone. They are
    judged in the last layer before the final norm.

    Args:
        anchor_icl: similarity of the anchor and ICL, 1 where states are equal.
        anchor_it: of the anchor and IT.
        margin: the smallest change that counts.
    """
    return _no_effect(anchor_icl.values[-2], anchor_it.values[-2], margin)


def _no_effect(anchor_icl: np.ndarray, anchor_it: np.ndarray, margin: float) -> str:
    for values, name in ((anchor_it, "tuning"), (anchor_icl, "prompting")):
        if not layerwise.mean(values, len(values) > 1).high <= 1 - margin:
            return f"no effect: {name} is not shown to have changed the states"
    return ""
