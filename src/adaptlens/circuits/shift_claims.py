"""Claims about shifts of circuits with three answers: supported, refuted, or not decided.

Rules are fixed before the data are seen; docs/methods.md states them and how often they err.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from adaptlens.circuits.distance import distance
from adaptlens.circuits.nulls import exchange_test
from adaptlens.circuits.profiles import Patched
from adaptlens.formatting import in_sentence
from adaptlens.stats.hypotheses import MINIMUM_DRAWS, Hypothesis, Judged, State, judged
from adaptlens.stats.layerwise import FLIPS, Mean
from adaptlens.stats.resampling import BOOTSTRAPS, interval


def shifted(
    a: Patched,
    b: Patched,
    *,
    level: float = 0.95,
    bootstraps: int = BOOTSTRAPS,
    flips: int = FLIPS,
    seed: int = 0,
) -> Mean:
    """Return D_cv of two conditions, with interval and p over draws and queries."""
    found = distance(a, b)
    return interval(found, level=level, bootstraps=bootstraps, flips=flips, seed=seed)


def shifted_more(
    reference: Patched,
    more: Patched,
    less: Patched,
    *,
    level: float = 0.95,
    bootstraps: int = BOOTSTRAPS,
    flips: int = FLIPS,
    seed: int = 0,
) -> Mean:
    """Return how much farther one condition is from a reference than another is (N2, N3).

    A difference of two D_cv on the same queries: the reference's noise is in both, and its part in
    the error cancels. p is the larger of `stats.resampling.interval` and, where both have two
    repeats or more, of `circuits.nulls.exchange_test`.
    """
    found = interval(
        distance(reference, more) - distance(reference, less),
        level=level,
        bootstraps=bootstraps,
        flips=flips,
        seed=seed,
    )
    exact = exchange_test(reference, more, less, seed=seed)
    return replace(found, p=max(found.p, exact)) if math.isfinite(exact) else found


def no_shift(
    reference: Patched,
    adapted: Mapping[str, Patched],
    *,
    margin: float,
    reasons: Mapping[str, str] | None = None,
    factor: int = 0,
    alpha: float = 0.05,
    bootstraps: int = BOOTSTRAPS,
    flips: int = FLIPS,
    seed: int = 0,
) -> list[Judged]:
    """Return whether adaptations leave the circuit of a reference as it is, each on its own line.

    - supported: the distance is shown to lie within the margin (two one-sided tests), and there are
      so many draws that those not seen cannot move it beyond (`draws_needed`);
    - refuted: it is above 0, and not shown to lie within the margin;
    - not decided: else. Also without looking: fewer than 5 draws; a condition without a circuit.

    The chance of any false answer is at most alpha (`stats.hypotheses.judged`).

    Args:
        reference: zero-shot, or what stands in for it.
        adapted: what is claimed, in words, to a condition on the same queries.
        margin: the smallest distance that counts, fixed beforehand.
        reasons: condition name to why it has no circuit (`profiles.gate`); empty for those with.
        factor: number of the factor of the study.
        alpha: chance of any false answer.
        bootstraps: resamples behind each interval.
        flips: sign flips behind each interval.
        seed: of both.
    """
    settings = {"bootstraps": bootstraps, "flips": flips, "seed": seed}
    why = reasons or {}
    undefined = {
        claim: "; ".join(dict.fromkeys(why[c.name] for c in (reference, one) if why.get(c.name)))
        for claim, one in adapted.items()
    }
    hypotheses = [
        Hypothesis(factor, claim, 0,
                   _undefined(len(one.queries), len(one.draws)) if undefined[claim]
                   else shifted(reference, one, level=1 - alpha, **settings))
        for claim, one in adapted.items()
    ]  # fmt: skip
    wanted = draws_needed(margin, alpha / max(1, len(adapted)))
    return [
        _stays(one, adapted[one.hypothesis.claim], undefined[one.hypothesis.claim], wanted, margin)
        for one in judged(hypotheses, margin=margin, alpha=alpha)
    ]


def _stays(one: Judged, condition: Patched, undefined: str, wanted: int, margin: float) -> Judged:
    """Return a judged hypothesis of no shift with what draws not seen do to it."""
    if undefined:
        return replace(one, state="not decided", line=f"undefined: {undefined}")
    line = f"distance (margin {margin:g}) {one.line}"
    if one.state != "supported" or len(condition.draws) >= wanted:
        return replace(one, line=line)
    line += f"; {wanted} draws are needed, or draws not seen may have another circuit"
    return replace(one, state="not decided", line=line)


def draws_needed(margin: float, alpha: float = 0.05) -> int:
    """Return from how many draws on those not seen cannot move a profile beyond the margin.

    Where none of R draws differs, up to a share `s = 1 - alpha^(1/R)` of all may (Clopper and
    Pearson's bound). If these have a profile as strong as the others', with nothing in common, the
    mean profile is `2 s^2 / (1 - s + s^2)` away.
    """
    if margin >= 2:
        return 1
    power = 2 - margin
    share = (math.sqrt(margin**2 + 4 * power * margin) - margin) / (2 * power)
    return math.ceil(math.log(alpha) / math.log1p(-share))


@dataclass(frozen=True)
class ShiftClaim:
    """What becomes of a claim that one adaptation shifts circuits more than another.

    Attributes:
        state: the answer.
        line: why, with its numbers.
        parts: each difference of shifts that the claim rests on, judged alone.
        apart: D_cv of the two adaptations themselves.
    """

    state: State
    line: str
    parts: tuple[Judged, ...]
    apart: Mean

    @property
    def difference(self) -> Mean:
        """How much farther ICL is from the reference than tuning is; NaN where undefined."""
        if self.parts:
            return self.parts[0].hypothesis.mean
        return _undefined(self.apart.queries, self.apart.draws)


def shift_claim(
    reference: Patched,
    icl: Patched,
    tuning: Patched,
    *,
    margin: float,
    controls: Mapping[str, Patched] | None = None,
    reasons: Mapping[str, str] | None = None,
    factor: int = 0,
    alpha: float = 0.05,
    bootstraps: int = BOOTSTRAPS,
    flips: int = FLIPS,
    seed: int = 0,
) -> ShiftClaim:
    """Return whether ICL shifts circuits more than tuning does, from a reference.

    The distance from the reference to ICL must be larger than that to tuning, and than that to
    every control (a neutral prefix of equal length; ICL with shuffled labels), or else any prompt
    moves circuits as far.

    - supported: each of these differences is there, above 0 and not shown to lie within the margin
      (an intersection-union test, so nothing is corrected);
    - refuted: one of them is shown to be below 0, or to lie within the margin, with so many draws
      that those not seen cannot move it beyond (`draws_needed`), at alpha over their number;
    - not decided: else. Also without looking: fewer than 5 repeats of a condition that has any; a
      condition without a circuit. Where the reference has none, how far each shifted is undefined;
      that ICL and tuning differ from each other is then all there is to say, and stands in `apart`:
      D_cv there is what they are apart beyond what draws and seeds are among themselves.

    Args:
        reference: zero-shot, or what stands in for it.
        icl: prompting with demonstrations.
        tuning: tuning.
        margin: the smallest difference of distances that counts, fixed beforehand.
        controls: name to a condition that ICL's shift must exceed.
        reasons: condition name to why it has no circuit (`profiles.gate`); empty for those with.
        factor: number of the factor of the study.
        alpha: chance of a false answer.
        bootstraps: resamples behind each interval.
        flips: sign flips behind each interval.
        seed: of both.

    Source: the criterion is ours; the claim is that of Yin et al. 2024 (arXiv 2410.04691).
    """
    settings = {"bootstraps": bootstraps, "flips": flips, "seed": seed}
    others = {"tuning": tuning, **(controls or {})}
    why = {name: reason for name, reason in (reasons or {}).items() if reason}
    least = min((len(one.draws) for one in (icl, tuning, *others.values()) if one.drawn), default=1)
    descriptive = least < MINIMUM_DRAWS
    apart = _undefined(len(icl.queries), least)
    if not {icl.name, tuning.name} & set(why):
        apart = shifted(icl, tuning, **settings)
    blocked = [why[one.name] for one in (reference, icl, *others.values()) if one.name in why]
    gap = in_sentence(apart.value, apart.low, apart.high)
    between = f"{icl.name} and {tuning.name} are {gap} apart"
    if blocked:
        line = f"undefined: {'; '.join(dict.fromkeys(blocked))}"
        if math.isfinite(apart.value):
            line += f"; {between}, beyond what draws and seeds are among themselves"
        return ShiftClaim("not decided", line, (), apart)
    rows = [
        Hypothesis(factor, f"the circuit shifts more under {icl.name} than under {name}", 1,
                  shifted_more(reference, icl, one, level=1 - alpha, **settings))
        for name, one in others.items()
    ]  # fmt: skip
    parts = tuple(judged([row], margin=margin, alpha=alpha)[0] for row in rows)
    strict = [judged([row], margin=margin, alpha=alpha / len(rows))[0] for row in rows]
    wanted = draws_needed(margin, alpha / len(rows))
    state: State = "not decided"
    if descriptive:
        pass
    elif all(one.state == "supported" for one in parts):
        state = "supported"
    elif any(one.state == "refuted" and (_is_below(one) or least >= wanted) for one in strict):
        state = "refuted"
    said = "; ".join(f"over {name}: {part.line}" for name, part in zip(others, parts, strict=True))
    line = f"difference of shifts from {reference.name} (margin {margin:g}) {said}; {between}"
    if state == "not decided" and any(one.state == "refuted" for one in strict):
        line += f"; {wanted} draws are needed, or draws not seen may have another circuit"
    if descriptive:
        line = f"descriptive: fewer than {MINIMUM_DRAWS} repeats decide nothing; {line}"
    return ShiftClaim(state, line, parts, apart)


def _is_below(one: Judged) -> bool:
    """Return whether the difference of a refuted hypothesis is shown to be below 0."""
    return one.hypothesis.mean.high < 0


def _undefined(queries: int, draws: int) -> Mean:
    nan = math.nan
    return Mean(nan, nan, nan, nan, queries, draws, nan, nan)
