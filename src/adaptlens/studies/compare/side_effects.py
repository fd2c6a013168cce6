"""What adapting to a task changes besides the score: elsewhere, in wording, in confidence.

- elsewhere: on other domains, on other tasks, in plain text, every arm is held against the base
  model's zero-shot reading of the same items; on other domains the two arms of the verdict are also
  held against each other;
- wording: draws that were tuned on some of the templates are held, under each template, against
  those that were tuned on others;
- confidence: the probabilities that the verdict's tuned arm states are held against those of its
  prompted one, and of zero-shot.

All of it is corrected together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adaptlens.measure.arrays import ElsewhereAnswers
from adaptlens.metrics import accuracy
from adaptlens.stats.intervals import Difference, Estimate, difference, estimate, holm
from adaptlens.stats.scores import Scores
from adaptlens.stats.unseen_templates import unseen_less_seen
from adaptlens.studies.compare.arms import Arm, Reading, by_draw, floor, groups_of
from adaptlens.studies.compare.verdict import Verdict
from adaptlens.types import Elsewhere, Task

ANCHOR = "zero-shot"
ALPHA = 0.05
LIKELIHOOD = "likelihood"
"""The metric of plain text: the geometric mean of the probability of its bytes."""
QUADRATIC = "quadratic"
"""The metric of stated probabilities: 1 less half the Brier score."""
OTHER_WORDS, STATED = "templates not tuned on", "stated probabilities"
"""What the table calls that which is read where it is no set of other items."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Change:
    """One arm against another, or against itself under the templates that it was tuned on.

    Attributes:
        items: what is read: the name of a set, `OTHER_WORDS` or `STATED`.
        role: "ood", "also" or "text", as of a set; "wording"; "confidence".
        metric: that is compared: judged, chrf, `LIKELIHOOD` or `QUADRATIC`.
        value: what the arm on the left scores; without an interval where that is of some templates.
        other: what the right side scores.
        found: their difference, its p-value corrected for all changes.
    """

    items: str
    role: str
    metric: str
    value: Estimate
    other: float
    found: Difference

    @property
    def is_real(self) -> bool:
        """Whether there is a difference, after correction."""
        return self.found.supports_claims and self.found.p_holm <= ALPHA


def changes(
    arms: Sequence[Arm], task: Task, verdict: Verdict, *, margin: float, seed: int
) -> list[Change]:
    """Return every change that is looked at.

    Args:
        arms: of one model on one task.
        task: theirs.
        verdict: whose two arms are held against each other, too.
        margin: the smallest difference that matters, in points.
        seed: of the random sign flips.
    """
    settings = {"margin": margin / 100, "seed": seed}
    asked = [*_elsewhere(arms, task, verdict, settings), *_in_wording(arms, task, settings)]
    unasked = [*_in_confidence(arms, task, verdict, settings)]
    found = [*asked, *unasked]
    # What nobody asked for counts as one test, that it takes little from what somebody did.
    weights = [1.0] * len(asked) + [1 / max(1, len(unasked))] * len(unasked)
    adjusted = holm([change.found.p for change in found], weights)
    said = f"Holm over {len(found)} tests"
    if asked and len(unasked) > 1:
        said += ", those of confidence counting as one"
    return [
        replace(change, found=replace(change.found, p_holm=p, correction=said))
        for change, p in zip(found, adjusted, strict=True)
    ]


def _elsewhere(
    arms: Sequence[Arm], task: Task, verdict: Verdict, settings: dict[str, Any]
) -> Iterator[Change]:
    """Yield what arms do on other items; nothing without a zero-shot reading."""
    if all(arm.label != ANCHOR for arm in arms):
        return
    for number, one in enumerate(task.elsewhere):
        read = {arm.label: _scores(arm, one, number) for arm in arms if _is_read(arm, one)}
        held = [(label, ANCHOR) for label in read if label != ANCHOR]
        if one.role == "ood" and verdict.tuned in read and verdict.prompt in read:
            pair = verdict.tuned, verdict.prompt
            held += [pair] if verdict.prompt != ANCHOR else []
        for names in held:
            yield _between(one.name, one.role, _metric(one), names, read, settings)


def _in_wording(arms: Sequence[Arm], task: Task, settings: dict[str, Any]) -> Iterator[Change]:
    """Yield what tuned arms do under templates that they were not tuned on."""
    for arm in arms:
        own = arm.condition
        if arm.templates or own.control or not own.tuned_on:
            continue
        seen = Reading(own, task).was_tuned_on.T
        found = unseen_less_seen(arm.scores, seen, name=arm.label, **settings)
        if found is None:
            continue
        mean = float(arm.scores.values.mean())
        unseen, tuned_on = (
            mean + part * found.difference for part in (seen.mean(), seen.mean() - 1)
        )
        value = Estimate(unseen, np.nan, np.nan, found.queries, found.draws)
        metric = "judged" if task.kind == "choice" else "chrf"
        yield Change(OTHER_WORDS, "wording", metric, value, float(tuned_on), found)


def _in_confidence(
    arms: Sequence[Arm], task: Task, verdict: Verdict, settings: dict[str, Any]
) -> Iterator[Change]:
    """Yield how much the probabilities that the verdict's tuned arm states are worth.

    Nothing of texts, nor of choices that a model writes.
    """
    named = (verdict.tuned, verdict.prompt, ANCHOR)
    read = {
        arm.label: _quadratic(arm, task)
        for arm in arms
        if arm.label in named and arm.rules and "written" not in arm.rules
    }
    for other in dict.fromkeys(named[1:]):
        if verdict.tuned in read and other in read:
            yield _between(STATED, "confidence", QUADRATIC, (verdict.tuned, other), read, settings)


def _between(
    items: str,
    role: str,
    metric: str,
    names: tuple[str, str],
    read: dict[str, Scores],
    settings: dict[str, Any],
) -> Change:
    left, right = (read[name] for name in names)
    found = difference(left, right, names=names, **settings)
    value = estimate(left, seed=settings["seed"])
    return Change(items, role, metric, value, float(right.values.mean()), found)


def _quadratic(arm: Arm, task: Task) -> Scores:
    """Return the quadratic scores of an arm, each draw's by its own rule.

    A draw that fails is certain, and right by chance.
    """
    reading = Reading(arm.condition, task)
    values = arm.under_its_templates(by_draw(reading, arm.rules, QUADRATIC))
    return replace(arm.scores, values=values, validation=None, floor=floor(reading))


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
        values, templates = arm.under_its_templates(values), arm.scores.templates
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


def rows(found: Sequence[Change]) -> Rows:
    """Return a row for each change, scores and differences as the table of differences has them."""
    made = []
    for change in found:
        scale = 100.0 if change.metric == "chrf" else 1.0
        score, between = change.value, change.found
        made.append(
            {
                "set": change.items,
                "role": change.role,
                "left": between.left,
                "right": between.right,
                "metric": change.metric,
                "value": score.value * scale,
                "value_low": score.low * scale,
                "value_high": score.high * scale,
                "value_right": change.other * scale,
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
