"""One verdict over the models of a task: who is on the front of score against cost, in words.

Advice comes first, in a short sentence; what it rests on follows.
"""

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import counted, equals, fixed, listed, numeral
from adaptlens.stats.intervals import estimate
from adaptlens.studies.compare.arm_choice import Choice
from adaptlens.studies.compare.arms import Arm
from adaptlens.studies.compare.costs import SERVINGS, by_draw, query_prices
from adaptlens.studies.compare.front import (
    ALPHA,
    NOT_DOMINATED,
    Offer,
    Standing,
    standings,
)
from adaptlens.studies.compare.verdict_words import UNITS, interval

if TYPE_CHECKING:
    from adaptlens.studies.compare.analyze import Judged

FLOPS = {"uncached": "query_flops", "cached": "query_flops_cached"}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Together:
    """What is said of all models on one task.

    Attributes:
        task: its name.
        advice: one short sentence; empty where nothing could be said.
        line: what it rests on, arm by arm, with the numbers; likewise.
        rows: one for each judged arm, and for each arm that one is held against.
        notes: what a reader must know.
    """

    task: str
    advice: str = ""
    line: str = ""
    rows: Rows = field(default_factory=list)
    notes: Sequence[str] = ()


def together(every: "Iterable[Judged]") -> list[Together]:
    """Return what is said of all models on each task that several were compared on."""
    by_task: dict[str, list[Judged]] = {}
    for judged in every:
        by_task.setdefault(judged.name, []).append(judged)
    return [_of_task(name, several) for name, several in by_task.items() if len(several) > 1]


def _of_task(task: str, several: "Sequence[Judged]") -> Together:
    asked = {
        tuple((example.id, example.input, example.target) for example in judged.task.test)
        for judged in several
    }
    if len(asked) > 1:
        note = f"{task}: models were not asked the same items, so they are not held together"
        return Together(task, notes=(note,))
    unit, offers = _offers(several)
    notes = []
    if left_out := sum(len(judged.scores) for judged in several) - len(offers):
        notes.append(
            f"{task}: {counted(left_out, 'arm')} whose cost of a query is not known stand in no "
            "comparison of models"
        )
    config = several[0].config
    found = standings(
        offers,
        margin=config.margin / 100,
        blind=all(judged.verdict.is_chosen_blind for judged in several),
        seed=config.seed,
    )
    if not found:
        return Together(task, notes=tuple(notes))
    if few := sorted({w for one in found if one.difference and not one.difference.supports_claims
                      for w in one.difference.warnings}):  # fmt: skip
        notes.append(f"{task}, models together: {'; '.join(few)}")
    rows = _rows(task, unit, found, several)
    beaten = {one.offer.name for one in found if _beats_no_baseline(one, several)}
    return Together(
        task,
        _advice(task, found, beaten),
        _line(task, unit, found, several, beaten),
        rows,
        tuple(notes),
    )


def _offers(several: "Sequence[Judged]") -> tuple[str, list[Offer]]:
    """Return the unit of cost, money where every arm has a price, and the arms with a cost."""
    arms = [
        (judged, arm) for judged in several for arm in judged.arms if arm.label in judged.scores
    ]
    money = [_prices(judged, arm) for judged, arm in arms]
    in_money = all(map(math.isfinite, (cost for own in money for cost in own)))
    costs = money if in_money else [_flops(arm) for _, arm in arms]
    offers = []
    for (judged, arm), (uncached, cached) in zip(arms, costs, strict=True):
        if not math.isfinite(uncached + cached):
            continue
        choices = {choice.label: choice for choice in judged.verdict.choices}
        offers.append(
            Offer(
                judged.model,
                arm.label,
                arm.condition.label,
                choices.get(arm.label, Choice(arm.label, arm.scores)),
                uncached,
                cached,
                arm.label in choices,
            )
        )
    return "money" if in_money else "FLOP", offers


def _prices(judged: "Judged", arm: Arm) -> tuple[float, float]:
    uncached, cached = (float(query_prices(arm, judged.prices, s).mean()) for s in SERVINGS)
    return uncached, cached


def _flops(arm: Arm) -> tuple[float, float]:
    if not all(name in arm.condition.costs for name in FLOPS.values()):
        return math.nan, math.nan
    uncached, cached = (float(by_draw(arm, FLOPS[serving]).mean()) for serving in SERVINGS)
    return uncached, cached


def _rows(task: str, unit: str, found: Sequence[Standing], several: "Sequence[Judged]") -> Rows:
    metric, seed = several[0].metric, several[0].config.seed
    scale = 100.0 if metric == "chrf" else 1.0
    others = {one.against.name: one.against for one in found if one.against is not None}
    shown = [*found]
    for offer in others.values():
        if not offer.is_judged:
            shown.append(Standing(offer, "not judged"))
    rows = []
    for one in shown:
        offer, against, gap = one.offer, one.against, one.difference
        score = estimate(offer.choice.scores, seed=seed)
        row = {
            "task": task,
            "model": offer.model,
            "condition": offer.label,
            "metric": metric,
            "value": score.value * scale,
            "low": score.low * scale,
            "high": score.high * scale,
            "unit": unit,
            "cost": offer.uncached,
            "cost_cached": offer.cached,
            "state": one.state,
            "against_model": against.model if against else "",
            "against": against.label if against else "",
        }
        numbers = {
            "difference": gap.difference * scale,
            "difference_low": gap.low * scale,
            "difference_high": gap.high * scale,
            "p": gap.p,
            "p_holm": one.p,
            "matched_p": one.matched_p,
        } if gap else dict.fromkeys(
            ("difference", "difference_low", "difference_high", "p", "p_holm", "matched_p"),
            math.nan,
        )  # fmt: skip
        rows.append({**row, **numbers, "queries": score.queries, "draws": score.draws})
    return sorted(rows, key=lambda row: (row["cost"], row["cost_cached"], row["model"]))


def _beats_no_baseline(one: Standing, several: "Sequence[Judged]") -> bool:
    """Whether an answer that costs nothing is not shown to be worse than an arm."""
    (judged,) = (judged for judged in several if judged.model == one.offer.model)
    return any(
        test.left == one.offer.label and test.right not in judged.scores and test.p_holm > ALPHA
        for test in judged.verdict.tests
    )


def _advice(task: str, found: Sequence[Standing], beaten: Container[str]) -> str:
    """Return what to take for the least cost and for the highest score, in a short sentence."""
    names = {
        state: [one.offer.name for one in found if one.state == state] for state in NOT_DOMINATED
    }
    cheapest, ahead, still = names["cheapest"], names["ahead"], names["open"]
    taken = [f"{listed(cheapest, 'or')} for the least cost"] if cheapest else []
    taken += [f"{listed(ahead, 'or')} for a higher score"] if ahead else []
    said = f"On {task} take {', '.join(taken)}" if taken else f"On {task} nothing is decided"
    if still:
        said += f"; whether {listed(still, 'or')} scores more is not decided"
    elif cheapest and not ahead:
        said += ": nothing that costs more is shown to score more"
    elif not taken:
        said = f"On {task} every judged arm is dominated or matched by one that costs no more"
    front = [name for of_state in names.values() for name in of_state]
    if useless := [name for name in front if name in beaten]:
        said += f"; {listed(useless)}: not shown to beat an answer that costs nothing"
    return f"{said}."


def _line(
    task: str,
    unit: str,
    found: Sequence[Standing],
    several: "Sequence[Judged]",
    beaten: Container[str],
) -> str:
    """Return the standings as one sentence, what is not shown to be dominated first."""
    kind = several[0].task.kind
    front = [one for one in found if one.state in NOT_DOMINATED]
    behind = [one for one in found if one not in front]
    what = {"FLOP": "FLOPs", "money": "price"}[unit]
    parts = [
        f"score against {what} of a query, {counted(len(several), 'model')} on {task}: not shown "
        f"to be dominated: {listed(_on_front(one, kind, beaten) for one in front)}"
    ]
    parts += [_behind(one, kind) for one in behind]
    return "; ".join(parts)


def _on_front(one: Standing, kind: str, beaten: Container[str]) -> str:
    name = one.offer.name
    if one.state == "cheapest" or one.against is None or one.difference is None:
        said = f"{name} (the cheapest"
    elif one.state == "ahead":
        said = (
            f"{name} ({_points(one, kind)} more than {one.against.name}, for {_times(one)} the "
            f"cost, p {equals(one.p)}"
        )
    else:
        said = (
            f"{name} ({_points(one, kind, sign=True)} against {one.against.name}, p {equals(one.p)}"
        )
    if name in beaten:
        said += "; not shown to beat an answer that costs nothing"
    return f"{said})"


def _behind(one: Standing, kind: str) -> str:
    assert one.against is not None
    if one.state == "dominated":
        return (
            f"{one.offer.name} is dominated by {one.against.name}: {_points(one, kind, -1)} less, "
            f"for {_times(one)} the cost, p {equals(one.p)}"
        )
    assert one.difference is not None
    return (
        f"{one.offer.name} is matched by {one.against.name}: shown to be no more than "
        f"{100 * one.difference.margin:g} {UNITS[kind]} better "
        f"({_points(one, kind, sign=True)}), for {_times(one)} the cost, p {equals(one.matched_p)}"
    )


def _points(one: Standing, kind: str, turn: int = 1, *, sign: bool = False) -> str:
    assert one.difference is not None
    gap = fixed(100 * turn * one.difference.difference, sign=sign)
    return f"{gap} {UNITS[kind]} {interval(one.difference, turn)}"


def _times(one: Standing) -> str:
    """Return how many times the cost of what it is held against an arm costs, not cached."""
    assert one.against is not None
    ratio = one.offer.uncached / one.against.uncached if one.against.uncached else math.inf
    return f"{numeral(ratio, ',.2g' if ratio < 100 else ',.0f')} times"
