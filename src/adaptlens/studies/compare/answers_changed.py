"""Which answers to the task itself adapting changes, against the base model's zero-shot."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adaptlens.conditions import Condition
from adaptlens.metrics import accuracy
from adaptlens.metrics.accuracy import Rule
from adaptlens.studies.compare.arms import Arm, Reading
from adaptlens.studies.compare.side_effects import ANCHOR


def answers_changed(arms: Sequence[Arm], readings: Mapping[str, Reading]) -> list[dict[str, Any]]:
    """Return how often each arm's answers are others than zero-shot's, each by its own rule.

    Of choices alone, draw by draw and template by template: of an arm that has a template chosen
    for it, against zero-shot's answers under that one.
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
        if arm is anchor or own.control or not same:
            continue
        given = _chosen(readings[own.label], arm.rules)
        before, given = (
            arm.under_its_templates(answers)
            for answers in (np.broadcast_to(base, given.shape), given)
        )
        was, now = before == gold, given == gold
        made.append(
            {
                "condition": arm.label,
                "agreement": float((given == before).mean()),
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
