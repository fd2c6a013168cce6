"""How many examples would be needed: curves of every way of adapting, and where two of them cross.

A way is an adaptation at several numbers of examples, as "it" or "best-prompt". The two that are
held against each other are those of the verdict's arms, which the validation split chose; curves
are of the test split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np

from adaptlens.formatting import listed
from adaptlens.stats.learning_curves import HORIZON, Curve, curve_band, gap_band
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare.arms import Arm
from adaptlens.studies.compare.verdict import Verdict

LEAST_SIZES = 3
"""Two sizes show no form: with them nothing is claimed beyond the larger."""

PER_DOUBLING = 8
"""How many numbers of examples are looked at between one and its double, where so many are."""

MORE_SIZES = "try more of them, as in --shots 2,4,8,16,32"

SIDES = {"tune": "tuning", "prompt": "prompting"}

Rows = list[dict[str, Any]]
Side = Literal["tune", "prompt"]
State = Literal["crossing", "none", "part", "unknown"]


@dataclass(frozen=True)
class Ahead:
    """Numbers of examples from `first` to `last` at which a side is shown to be ahead."""

    side: Side
    first: int
    last: int


@dataclass(frozen=True)
class Crossing:
    """Where tuning overtakes prompting, in labeled examples, or is overtaken.

    Attributes:
        state: "crossing" between two numbers, "none" where one side is ahead throughout, "part"
            where something less is shown, "unknown" where nothing is.
        line: that as a sentence.
        tuned: the way of tuning, by its look.
        prompt: the way of prompting.
        ahead: where each side is ahead, in order.
        first: the least number of examples looked at; 0 for none.
        last: the largest.
        middle: where the middle curves cross; None where they do not.
        held: the examples and the score of the one prompt that tuning is held against, too.
    """

    state: State
    line: str = ""
    tuned: str = ""
    prompt: str = ""
    ahead: tuple[Ahead, ...] = ()
    first: int = 0
    last: int = 0
    middle: int | None = None
    held: tuple[int, float] | None = None

    @property
    def ends(self) -> tuple[int, int] | None:
        """The last number at which one side is ahead, the first at which the other is."""
        if self.state != "crossing":
            return None
        return self.ahead[0].last, self.ahead[1].first

    def row(self, metric: str) -> dict[str, Any]:
        """Return the row of the table of crossings; chrF is in hundredths."""
        low, high = self.ends or (np.nan, np.nan)
        examples, score = self.held or (np.nan, np.nan)
        return {
            "prompt": self.prompt,
            "tuned": self.tuned,
            "metric": metric,
            "prompt_examples": examples,
            "prompt_value": score * (100.0 if metric == "chrf" else 1.0),
            "state": self.state,
            "low": low,
            "middle": np.nan if self.middle is None else self.middle,
            "high": high,
            "first": self.first,
            "last": self.last,
            "line": self.line,
        }


def ways(arms: Sequence[Arm]) -> dict[str, Curve]:
    """Return the curve of every way of adapting that was read at several numbers of examples.

    Arms that draw nothing, that were brought, or that are controls, are on none; nor are those of
    which draws are missing that the others have.
    """
    found: dict[str, dict[int, Scores]] = {}
    for arm in arms:
        one = arm.condition
        if one.examples and arm.scores.is_drawn and not (one.is_brought or one.control):
            found.setdefault(arm.shown.look, {})[one.examples] = arm.scores
    curves = {}
    for look, by_size in found.items():
        sizes = tuple(sorted(by_size))
        scores = tuple(by_size[size] for size in sizes)
        if len(sizes) > 1 and len({frozenset(one.draws) for one in scores}) == 1:
            curves[look] = Curve(sizes, scores)
    return curves


def rows(curves: Mapping[str, Curve], metric: str) -> Rows:
    """Return a row for each way and number of examples: those measured, and half-doublings.

    Of two sizes there is nothing beyond the larger.

    Args:
        curves: by way.
        metric: of the scores; chrF is in hundredths.
    """
    scale = 100.0 if metric == "chrf" else 1.0
    made = []
    for look, curve in curves.items():
        first, largest, last = curve.sizes[0], curve.sizes[-1], _reach(curve)
        doublings = [largest * 2**i for i in range(4) if largest * 2**i <= last]
        numbers = sorted({*_numbers(first, last, 2), *curve.sizes, *doublings})
        measured = dict(zip(curve.sizes, curve.arms, strict=True))
        band = curve_band(curve, numbers)
        for place, number in enumerate(numbers):
            seen = measured.get(number)
            made.append(
                {
                    "adaptation": look,
                    "examples": number,
                    "metric": metric,
                    "measured": np.nan if seen is None else scale * float(seen.table.mean()),
                    "value": scale * float(band.middle[place]),
                    "low": scale * float(band.low[place]),
                    "high": scale * float(band.high[place]),
                    "doublings": max(0.0, float(np.log2(number / largest))),
                    "sizes": len(curve.sizes),
                    "forms": band.forms,
                    "all_forms": band.all_forms,
                    "queries": curve.arms[0].queries,
                    "draws": len(curve.arms[0].draws),
                }
            )
    return made


def crossing(
    curves: Mapping[str, Curve], arms: Sequence[Arm], verdict: Verdict, labeled: int
) -> Crossing:
    """Return where the ways of the verdict's two arms cross, and say so.

    Args:
        curves: see `ways`.
        arms: among them the verdict's two.
        verdict: whose arms they are.
        labeled: how many training examples there are.
    """
    if verdict.primary is None:
        return Crossing("unknown")
    known = {arm.label: arm for arm in arms}
    tuned, prompt = known[verdict.tuned], known[verdict.prompt]
    looks, examples = (tuned.shown.look, prompt.shown.look), prompt.condition.examples
    if reason := _unknown(tuned, prompt, curves, verdict):
        return Crossing("unknown", f"Cannot be said: {reason}", *looks)
    curve, other = curves[tuned.shown.look], curves.get(prompt.shown.look)
    found = held_against(curve, other, prompt.scores, examples)
    return replace(
        found,
        line=line(found, curve, other, labeled),
        tuned=tuned.shown.look,
        prompt=prompt.shown.look,
        held=(examples, float(prompt.scores.table.mean())),
    )


def held_against(curve: Curve, other: Curve | None, held: Scores, examples: int) -> Crossing:
    """Return where tuning is ahead of, and behind, the best prompt with as many examples.

    That is the better of two: the prompting way's own curve, and, from its number of examples on,
    the prompt that the verdict is about. Tuning is shown to be ahead where it is ahead of both, and
    behind where it is behind either. Beyond the numbers of examples that prompts had, their curve
    counts only where the verdict's prompt has the largest of them: elsewhere more were tried, and
    the validation split chose fewer.

    Args:
        curve: of tuning.
        other: of prompting; None where there is none.
        held: the scores of the one prompt.
        examples: that it shows.
    """
    both = [one for one in (curve, other) if one is not None]
    rises = other is not None and examples >= other.sizes[-1]
    first = max([one.sizes[0] for one in both] + [examples] * (other is None))
    last = min(_reach(one) for one in (both if rises else [curve]))
    if last < first:
        return Crossing("unknown", first=first, last=last)
    numbers = np.array(_numbers(first, last, PER_DOUBLING))
    bands = [(gap_band(curve, Curve((max(1, examples),), (held,)), numbers), numbers >= examples)]
    if other is not None:
        bands.append((gap_band(curve, other, numbers), (numbers <= other.sizes[-1]) | rises))
    middle, low, high = (
        np.min([np.where(counts, ends, np.inf) for ends, counts in both_ways], axis=0)
        for both_ways in (
            [(band.middle, counts) for band, counts in bands],
            [(band.low, counts) for band, counts in bands],
            [(band.high, counts) for band, counts in bands],
        )
    )
    ahead = _ahead(numbers, low, high)
    state = _state(ahead, first, last)
    return Crossing(state, ahead=ahead, first=first, last=last, middle=_middle(numbers, middle))


def line(found: Crossing, curve: Curve, other: Curve | None, labeled: int) -> str:
    """Return a crossing as one sentence, or two.

    Args:
        found: the crossing.
        curve: of tuning.
        other: of prompting; None where there is none.
        labeled: how many training examples there are.
    """
    said, span = _said(found, labeled), f"from {found.first:,} to {found.last:,} examples"
    if found.last < found.first:
        return f"Cannot be said: both sides have no number of examples in common; {MORE_SIZES}."
    if found.state == "unknown":
        said = f"Cannot be said from these sizes: {span} neither side is shown to be ahead."
    elif found.state == "part":
        said = f"{said}; what else there is {span} cannot be said from these sizes."
    if found.state in ("unknown", "part"):
        short = [one.sizes for one in (curve, other) if one and len(one.sizes) < LEAST_SIZES]
        if short:
            said += (
                f" Two sizes ({short[0][0]} and {short[0][1]}) show no form of a curve, so nothing "
                f"is said beyond {found.last:,}: {MORE_SIZES}."
            )
    return said


def _said(found: Crossing, labeled: int) -> str:
    if found.state == "none":
        return (
            f"No crossing is expected up to {found.last:,} examples: "
            f"{SIDES[found.ahead[0].side]} is ahead from {found.first:,} on."
        )
    if found.state == "part":
        by_side = {
            side: listed(_from_to(one) for one in found.ahead if one.side == side)
            for side in dict.fromkeys(one.side for one in found.ahead)
        }
        said = " and ".join(
            f"{SIDES[side]} is ahead {where} examples" for side, where in by_side.items()
        )
        return said[:1].upper() + said[1:]
    if found.state == "crossing":
        below, above = found.ahead
        wins = SIDES[above.side]
        if below.last >= labeled:
            more = f"{below.last - labeled:,} to {above.first - labeled:,}"
            return f"Label {more} more and {wins} wins; below that, {below.side}."
        more = f" (up to {above.first - labeled:,} more than there are)"
        said = (
            f"{wins.capitalize()} wins from between {below.last:,} and {above.first:,} examples on"
            f"{more * (above.first > labeled)}; below that, {below.side}."
        )
        shown = f" That is shown up to {above.last:,} examples."
        return said + shown * (above.last < found.last)
    return ""


def _from_to(one: Ahead) -> str:
    return f"at {one.first:,}" if one.first == one.last else f"from {one.first:,} to {one.last:,}"


def _unknown(tuned: Arm, prompt: Arm, curves: Mapping[str, Curve], verdict: Verdict) -> str:
    """Return why two arms have no crossing that could be looked for."""
    pair = verdict.primary
    assert pair is not None
    if not pair.supports_claims:
        return f"{pair.warnings[0]}."
    if tuned.condition.is_brought:
        return f"{tuned.label} was brought as it is, and is on no curve."
    if tuned.shown.look not in curves:
        return (
            f"{tuned.label} was tuned on one number of examples, and a curve takes three: "
            f"{MORE_SIZES}."
        )
    if prompt.condition.examples and not prompt.scores.is_drawn:
        return f"{prompt.label} picks from all training examples, whose number it does not have."
    if tuned.scores.validation is None or prompt.scores.validation is None:
        return "without validation items the arms are those with the best test scores."
    other = curves.get(prompt.shown.look)
    scores = [*curves[tuned.shown.look].arms, prompt.scores, *(other.arms if other else ())]
    if len({frozenset(one.draws) for one in scores if one.is_drawn}) > 1:
        return "not all draws of both arms are there."
    return ""


def _reach(curve: Curve) -> int:
    return curve.sizes[-1] * (HORIZON if len(curve.sizes) >= LEAST_SIZES else 1)


def _numbers(first: int, last: int, per_doubling: int) -> list[int]:
    """Return whole numbers from `first` to `last`, evenly on a scale of doublings."""
    count = max(2, 1 + round(per_doubling * np.log2(last / first)))
    return sorted({round(float(n)) for n in np.geomspace(first, last, count)})


def _ahead(numbers: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[Ahead, ...]:
    """Return where a difference is shown to be above or below 0, given its interval."""
    signs = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    found = []
    for sign, places in groupby(range(len(numbers)), key=lambda place: int(signs[place])):
        run = list(places)
        if sign:
            side: Side = "tune" if sign > 0 else "prompt"
            found.append(Ahead(side, int(numbers[run[0]]), int(numbers[run[-1]])))
    return tuple(found)


def _state(ahead: Sequence[Ahead], first: int, last: int) -> State:
    if not ahead:
        return "unknown"
    if (ahead[0].first, ahead[0].last) == (first, last):
        return "none"
    return "crossing" if len(ahead) == 2 and ahead[0].side != ahead[1].side else "part"


def _middle(numbers: np.ndarray, middle: np.ndarray) -> int | None:
    """Return the number of examples at which the middle curves cross, if they do just once."""
    signs = np.sign(middle)
    places = np.flatnonzero(signs[1:] * signs[:-1] < 0)
    return int(numbers[places[0] + 1]) if len(places) == 1 else None
