"""Claims with three possible answers: supported, refuted, or not decided.

The rules are fixed before the data are seen, by the settings of the study; docs/methods.md states
them, and how often they err.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from adaptlens import layered
from adaptlens.layered import Likeness, Mean
from adaptlens.stats import holm

State = Literal["supported", "refuted", "not decided"]

MINIMUM_DRAWS = 5
"""Fewer draws decide nothing, see `stats.MINIMUM_DRAWS`."""


@dataclass(frozen=True)
class Statement:
    """A claim about a mean.

    Attributes:
        factor: number of the factor of the study it belongs to.
        claim: what is claimed, in words.
        sign: 1 if the mean is claimed to be above 0, -1 below, 0 if there is no effect.
        mean: what was found.
    """

    factor: int
    claim: str
    sign: int
    mean: Mean


@dataclass(frozen=True)
class Judged:
    """What becomes of a statement, and why."""

    statement: Statement
    state: State
    p_holm: float
    line: str


def judged(statements: Sequence[Statement], *, margin: float, alpha: float = 0.05) -> list[Judged]:
    """Return each statement with its verdict; p-values are corrected over all of them (Holm).

    An effect is claimed: supported if it is clearly there in its direction, unless it is shown to
    lie within the margin; refuted if it is shown to, or clearly there in the other direction. No effect is claimed: supported
    if shown to lie within the margin; refuted if clearly there and not within it. Within the
    margin: the 90% interval, the two one-sided tests of Schuirmann 1987. Else, and with fewer than
    5 draws, not decided.
    """
    corrected = holm([one.mean.p if np.isfinite(one.mean.p) else 1.0 for one in statements])
    found = []
    for one, p_holm in zip(statements, corrected, strict=True):
        mean = one.mean
        is_there = p_holm < alpha
        is_within = max(mean.at_least(-margin), mean.at_most(margin)) < alpha
        state: State = "not decided"
        if 1 < mean.draws < MINIMUM_DRAWS or not np.isfinite(mean.value):
            pass
        elif one.sign == 0:
            state = "supported" if is_within else "refuted" if is_there else state
        elif is_within:
            state = "refuted"
        elif is_there:
            state = "supported" if mean.value * one.sign > 0 else "refuted"
        found.append(Judged(one, state, p_holm, _line(mean, p_holm, is_within, margin)))
    return found


def _line(mean: Mean, p_holm: float, is_within: bool, margin: float) -> str:
    said = f"{_interval(mean)}, p(Holm) {_p(p_holm)}"
    if is_within:
        said += f", within {margin:g} of none"
    said += f", {mean.queries} queries x {mean.draws} draws"
    if 1 < mean.draws < MINIMUM_DRAWS:
        said += f"; fewer than {MINIMUM_DRAWS} draws decide nothing"
    return said


def _interval(mean: Mean) -> str:
    return f"{mean.value:+.3f} [{mean.low:.3f}, {mean.high:.3f}]"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


@dataclass(frozen=True)
class Claim:
    """What becomes of the claim that in-context learning is implicit instruction tuning.

    `effect`, `low`, `high` are of the weakest of its parts in the last layer; `p` is that of the
    cluster of layers around it, `p_holm` that of the last layer corrected over layers.
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


def implicit_tuning(
    icl_it: Likeness,
    anchor_icl: Likeness,
    anchor_it: Likeness,
    icl_control: Likeness,
    anchor_control: Likeness,
    *,
    margin: float,
    alpha: float = 0.05,
    flips: int = layered.FLIPS,
) -> Claim:
    """Return whether ICL brings the states to where tuning on the same examples brings them.

    Three parts must hold in the last layer before the final norm: ICL and IT are more alike than
    the anchor and ICL; than the anchor and IT; and their excess over the larger of these two is
    larger than the same excess with the control's tuning in place of IT's. Supported: every part's
    interval lies above the margin, and both p-values of every part, of its cluster of layers and
    of the last layer after Holm's correction over layers, are below alpha. Refuted: some part's
    interval lies below the margin. Not decided: else, and without looking where there are fewer
    than 5 draws, where no two conditions are more alike on the same query than on different ones,
    and where prompting or tuning left the states within the margin of where they were.

    Args:
        icl_it: similarity of ICL and IT; the others likewise.
        anchor_icl: of the anchor and ICL.
        anchor_it: of the anchor and IT.
        icl_control: of ICL and the control's tuning.
        anchor_control: of the anchor and the control's tuning.
        margin: the smallest excess that counts.
        alpha: level of the tests.
        flips: sign flips behind the cluster test.

    Source: the criterion is ours; the claim is that of Duan et al. 2023 (arXiv 2311.10367).
    """
    given = (icl_it, anchor_icl, anchor_it, icl_control, anchor_control)
    draws = [d for d in icl_it.draws if all(d in one.draws or not one.drawn for one in given)]
    kept = [layer for layer in range(len(icl_it.values) - 1)
            if all(np.isfinite(one.values[layer]).all() for one in given)]  # fmt: skip
    both, icl, it, control, moved = (_of(one, draws, kept) for one in given)
    larger = np.where(_means(icl) >= _means(it), icl, it)
    larger_of_control = np.where(_means(icl) >= _means(moved), icl, moved)
    parts = [both - icl, both - it, (both - larger) - (control - larger_of_control)]
    drawn = icl_it.drawn
    last = [layered.mean(part[-1], drawn, flips=flips) for part in parts]
    weakest = min(last, key=lambda part: part.low)
    tests = [_tested(part, drawn, flips) for part in parts]
    p, p_holm = max(test[0] for test in tests), max(test[1] for test in tests)
    state, reason = _gate(icl_it, anchor_icl, anchor_it, draws, kept, margin)
    if not reason:
        if all(part.low > margin for part in last) and max(p, p_holm) < alpha:
            state = "supported"
        elif any(part.high < margin for part in last):
            state = "refuted"
    line = (
        f"ICL ~ IT exceeds the anchor's similarities and the control's excess by "
        f"{_interval(weakest)} at least (margin {margin:g}), p {_p(p)} over layers, p(Holm) "
        f"{_p(p_holm)} in the last, {weakest.queries} queries x {weakest.draws} draws"
    )
    return Claim(
        state,
        f"{reason}; {line}" if reason else line,
        weakest.value,
        weakest.low,
        weakest.high,
        p,
        p_holm,
        weakest.queries,
        weakest.draws,
    )


def _of(one: Likeness, draws: Sequence[int], layers: Sequence[int]) -> np.ndarray:
    rows = [one.draws.index(d) for d in draws] if one.drawn else [0]
    return one.values[np.ix_(layers, rows)].astype(float)


def _means(values: np.ndarray) -> np.ndarray:
    return values.mean((1, 2), keepdims=True)


def _tested(part: np.ndarray, drawn: bool, flips: int) -> tuple[float, float]:
    """Return one-sided p-values above 0: of the cluster with the last layer, and of that layer."""
    last = len(part) - 1
    above = [
        one.p / 2
        for one in layered.clusters(part, drawn, flips=flips)
        if one.last == last and one.mass > 0
    ]
    by_layer = holm([layered.mean(layer, drawn).at_least() for layer in part])
    return above[0] if above else 1.0, by_layer[-1]


def _gate(
    icl_it: Likeness,
    anchor_icl: Likeness,
    anchor_it: Likeness,
    draws: Sequence[int],
    kept: Sequence[int],
    margin: float,
) -> tuple[State, str]:
    """Return "not decided" and the reason not to look further, if there is one."""
    last = kept[-1]
    if len(draws) < MINIMUM_DRAWS:
        return "not decided", f"fewer than {MINIMUM_DRAWS} draws decide nothing"
    for one, name in ((anchor_it, "tuning"), (anchor_icl, "prompting")):
        if layered.mean(one.values[last], one.drawn).high > 1 - margin:
            return "not decided", f"no effect: {name} did not change the states"
    above = [
        layered.mean(one.values[last] - one.baseline[last], one.drawn)
        for one in (icl_it, anchor_icl, anchor_it)
    ]
    if min(holm([one.at_least() for one in above])) >= 0.05:
        return (
            "not decided",
            "no signal: no two conditions are more alike on the same query than on different ones",
        )
    return "not decided", ""
