"""What a reader must know about one arm before believing its scores."""

from adaptlens.adapt.families import family_of
from adaptlens.conditions import Condition


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
