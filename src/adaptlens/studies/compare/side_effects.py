"""What adapting to a task changes elsewhere: on other domains, on other tasks, in plain text.

Every arm is held against the base model's zero-shot reading of the same items; on other domains the
two arms of the verdict are also held against each other. All of it is corrected together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adaptlens.conditions import Condition
from adaptlens.formatting import counted, equals, fixed
from adaptlens.measure.arrays import ElsewhereAnswers
from adaptlens.metrics import accuracy
from adaptlens.metrics.accuracy import Rule
from adaptlens.stats.intervals import Difference, difference, estimate, holm
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare.arms import Arm, Reading, by_draw, floor, groups_of
from adaptlens.studies.compare.tables import ROLES
from adaptlens.studies.compare.verdict import Verdict
from adaptlens.studies.compare.verdict_words import UNITS, interval
from adaptlens.types import Elsewhere, Task

ANCHOR = "zero-shot"
ALPHA = 0.05
LIKELIHOOD = "likelihood"
"""The metric of plain text: the geometric mean of the probability of its bytes."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Change:
    """One arm against another on one set of items.

    Attributes:
        on: the set.
        metric: that is compared: judged, chrf or `LIKELIHOOD`.
        scores: of the arm on the left.
        other: of that on the right.
        found: their difference, its p-value corrected for all changes.
    """

    on: Elsewhere
    metric: str
    scores: Scores
    other: Scores
    found: Difference

    @property
    def is_real(self) -> bool:
        """Whether there is a difference, after correction."""
        return self.found.supports_claims and self.found.p_holm <= ALPHA


def changes(
    arms: Sequence[Arm], task: Task, verdict: Verdict, *, margin: float, seed: int
) -> list[Change]:
    """Return every change that is looked at; none without a zero-shot reading.

    Args:
        arms: of one model on one task.
        task: theirs.
        verdict: whose two arms are held against each other, too.
        margin: the smallest difference that matters, in points.
        seed: of the random sign flips.
    """
    anchor = next((arm for arm in arms if arm.label == ANCHOR), None)
    if anchor is None:
        return []
    found: list[Change] = []
    for number, one in enumerate(task.elsewhere):
        read = {arm.label: _scores(arm, one, number) for arm in arms if _is_read(arm, one)}
        held = [(label, ANCHOR) for label in read if label != ANCHOR]
        if one.role == "ood" and verdict.tuned in read and verdict.prompt in read:
            pair = verdict.tuned, verdict.prompt
            held += [pair] if verdict.prompt != ANCHOR else []
        for left, right in held:
            between = difference(
                read[left], read[right], names=(left, right), margin=margin / 100, seed=seed
            )
            found.append(Change(one, _metric(one), read[left], read[right], between))
    adjusted = holm([change.found.p for change in found])
    said = f"Holm over {len(found)} tests"
    return [
        replace(change, found=replace(change.found, p_holm=p, correction=said))
        for change, p in zip(found, adjusted, strict=True)
    ]


def _is_read(arm: Arm, one: Elsewhere) -> bool:
    """Whether an arm may do otherwise there than one that is read already.

    Other tasks and texts are read by weights, which no prompt changes, and no choice of a template.
    Nothing else was recorded of answers that were.
    """
    if arm.condition.control or arm.condition.is_recorded:
        return False
    if one.role == "ood" or arm.label == ANCHOR:
        return True
    return arm.scores.family == "tune" and not arm.templates


def _metric(one: Elsewhere) -> str:
    if one.role == "text":
        return LIKELIHOOD
    return "judged" if one.task.kind == "choice" else "chrf"


def _scores(arm: Arm, one: Elsewhere, number: int) -> Scores:
    """Return what an arm scores there: by its own rule on another domain, else by one for all."""
    condition = arm.condition
    stored = ElsewhereAnswers(condition.arrays, one.role, number)
    templates: tuple[str, ...] = ()
    least = 0.0
    if one.role == "text":
        values = np.exp(stored.target_loglik / stored.bytes)
    elif one.role == "also":
        values = stored.chrf / 100 if one.task.kind == "generation" else _right(stored, one.task)
        if one.task.kind == "choice":
            least = float(accuracy.chance(stored).mean())
    else:
        reading = Reading(condition, one.task, stored)
        values, least = by_draw(reading, arm.rules, "chrf"), floor(reading)
        templates = () if arm.templates else condition.templates
        if arm.templates:
            values = values[condition.templates.index(arm.templates[0])]
        elif not templates:
            values = values[0]
    return Scores(
        values,
        condition.draws,
        arm.scores.family,
        templates=templates,
        floor=least,
        groups=groups_of(one.task),
        examples=arm.scores.examples,
        pool=arm.scores.pool,
    )


def _right(stored: ElsewhereAnswers, task: Task) -> np.ndarray:
    """Return whether answers to another task are right, by a rule that needs no choosing."""
    return accuracy.correct({**stored}, "calibrated" if task.choices else "raw")


def rows(found: Sequence[Change], *, seed: int) -> Rows:
    """Return a row for each change, scores and differences as the table of differences has them."""
    made = []
    for change in found:
        scale = 100.0 if change.metric == "chrf" else 1.0
        score, between = estimate(change.scores, seed=seed), change.found
        made.append(
            {
                "set": change.on.name,
                "role": change.on.role,
                "left": between.left,
                "right": between.right,
                "metric": change.metric,
                "value": score.value * scale,
                "value_low": score.low * scale,
                "value_high": score.high * scale,
                "value_right": float(change.other.values.mean()) * scale,
                **{
                    name: getattr(between, name) * scale
                    for name in ("difference", "low", "high", "detectable")
                },
                "p": between.p,
                "p_holm": between.p_holm,
                "equivalence_p": between.equivalence_p,
                "supports_claims": between.supports_claims,
                "queries": between.queries,
                "draws": between.draws,
                "correction": between.correction,
            }
        )
    return made


def but(found: Sequence[Change], verdict: Verdict, arms: Sequence[Arm]) -> str:
    """Return what speaks against the arm that a verdict is for: "but ..."; empty for nothing.

    Where it is for neither, what either of its two has lost.

    Args:
        found: all changes.
        verdict: whose arms are looked at.
        arms: among them its two.
    """
    winner = {"tune": verdict.tuned, "prompt": verdict.prompt}.get(verdict.state)
    judged = {winner} if winner else {verdict.tuned, verdict.prompt}
    own = judged | {arm.condition.label for arm in arms if arm.label in judged}
    said = []
    for change in found:
        flipped = change.found.right in own and change.found.left not in own
        side = change.found.right if flipped else change.found.left
        behind = (change.found.difference > 0) == flipped and change.found.difference != 0
        both = {change.found.left, change.found.right} <= own
        if change.is_real and side in own and behind and not both:
            said.append(f"{_told(change, flipped)}, p {equals(change.found.p_holm)}")
    return f"but {'; '.join(said)}" if said else ""


def line(found: Sequence[Change]) -> str:
    """Return every real change that a person must know, in one sentence, or that there is none.

    That an arm is better than zero-shot on another domain, too, is for the tables.
    """
    if not found:
        return ""
    told = [
        c for c in found if c.on.role != "ood" or c.found.right != ANCHOR or c.found.difference < 0
    ]
    real = [change for change in told if change.is_real]
    if not real:
        least = max((change.found.detectable for change in told), default=0.0)
        return (
            f"nothing is shown to be lost ({counted(len(told), 'difference')} looked at; what "
            f"would be found in each: {fixed(100 * least)} points)"
        )
    return "; ".join(map(_told, real))


def _told(change: Change, flipped: bool = False) -> str:
    """Return a change as a clause about its left side; `flipped`, about its right side."""
    found = change.found
    sides = (found.right, found.left) if flipped else (found.left, found.right)
    gap = f"{fixed(100 * abs(found.difference))} {_unit(change)}"
    way = "ahead of" if (found.difference > 0) != flipped else "behind"
    ends = interval(found, 1 if found.difference > 0 else -1)
    return f"{_on(change)} {sides[0]} is {gap} {ends} {way} {sides[1]}"


def _unit(change: Change) -> str:
    return "points of likelihood" if change.metric == LIKELIHOOD else UNITS[change.on.task.kind]


def _on(change: Change) -> str:
    return f"on {change.on.name} ({ROLES[change.on.role]})"


def answers_changed(arms: Sequence[Arm], readings: dict[str, Reading]) -> Rows:
    """Return how often each arm's answers are others than zero-shot's, each by its own rule.

    Of choices alone, and of arms that are read under the same templates as zero-shot is.
    """
    anchor = next((arm for arm in arms if arm.label == ANCHOR), None)
    if anchor is None or not readings[ANCHOR].is_choice:
        return []
    base = _chosen(readings[ANCHOR], anchor.rules)
    gold = anchor.condition.behavior.gold
    made = []
    for arm in arms:
        own = arm.condition
        same = own.templates == anchor.condition.templates
        if arm is anchor or arm.templates or own.control or not same:
            continue
        given = _chosen(readings[own.label], arm.rules)
        was, now = base == gold, given == gold
        made.append(
            {
                "condition": own.label,
                "agreement": float((given == base).mean()),
                "lost": float((was & ~now).mean()),
                "gained": float((now & ~was).mean()),
                "rule": arm.rule,
                "base_rule": anchor.rule,
            }
        )
    return made


def _chosen(reading: Reading, rules: Sequence[Rule]) -> np.ndarray:
    """Return the chosen answers [templates, draws, queries], each draw's by its own rule."""
    condition: Condition = reading.condition
    by_rule = {
        rule: accuracy.predictions(reading.arrays(), rule).reshape(
            len(condition.templates) or 1, len(condition.draws), -1
        )
        for rule in dict.fromkeys(rules)
    }
    return np.stack([by_rule[rule][:, draw] for draw, rule in enumerate(rules)], axis=1)
