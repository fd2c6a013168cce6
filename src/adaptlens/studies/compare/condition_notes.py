"""What a reader must know about one arm before believing its scores."""

from collections.abc import Sequence

from adaptlens.adapt.families import family_of
from adaptlens.conditions import Condition
from adaptlens.errors import listed
from adaptlens.studies.compare.arms import Arm


def notes(condition: Condition, task: str, model: str) -> list[str]:
    """Return sentences about what was read for a condition, each naming its task or its model."""
    about = f"{task}, {condition.label}"
    said = [f"{model}: {note}" for note in condition.notes]
    if condition.is_brought and family_of(condition.adaptation) == "tune":
        said.append(
            f"{about}: as it was brought; what is claimed of it holds for it alone, not "
            "for tuning that way again"
        )
    if dropped := condition.numbers.get("dropped_demos", 0):
        said.append(
            f"{about}: {dropped:.0f} demonstrations were left out of "
            "prompts that would not fit the context (drop-demos)"
        )
    if unshared := condition.numbers.get("unshared_sequences", 0):
        said.append(
            f"{about}: {unshared:.0f} texts were read on their own, since "
            f"prefixes cannot be shared exactly in '{model}'"
        )
    if moved := condition.numbers.get("seams_moved", 0):
        said.append(
            f"{about}: in {moved:.0f} prompts the last token changes once "
            "an answer follows; they are scored from the first token that differs"
        )
    return said


def other_rules(arms: Sequence[Arm], task: str) -> list[str]:
    """Return which recorded arms are judged by another scoring rule than arms of this run.

    A rule is chosen on validation items, which recorded answers do not have: answers that are the
    same may then count otherwise.
    """
    said = []
    for one in (arm for arm in arms if arm.condition.is_recorded and arm.rules):
        others = {
            arm.label: arm.rule
            for arm in arms
            if arm.rules and not arm.condition.is_recorded and set(arm.rules) != set(one.rules)
        }
        if others:
            named = listed(f"{label} by {rule}" for label, rule in others.items())
            alike = "" if one.rules == ("written",) else "; --scoring raw judges all alike"
            said.append(
                f"{task}, {one.label}: judged by the rule {one.rule}, as recorded answers have no "
                f"validation items to choose one by, but {named}: a difference from these is one "
                f"of rules, too{alike}"
            )
    return said
