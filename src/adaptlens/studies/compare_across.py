"""What the verdicts of several tasks and models say together, at one chance of a false claim."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from adaptlens.counts import counted, listed
from adaptlens.stats import holm

ALPHA = 0.05


def corrected(verdicts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the verdicts with `p_holm_tasks`: Holm over the tests of tuning against prompting.

    Args:
        verdicts: with `p`, what the verdict's own claim of a difference rests on; NaN where none
            was tested, which counts for nothing and stays NaN.
    """
    tested = [place for place, one in enumerate(verdicts) if not math.isnan(one["p"])]
    adjusted = dict(zip(tested, holm([verdicts[place]["p"] for place in tested]), strict=True))
    return [
        {**one, "p_holm_tasks": adjusted.get(place, math.nan)} for place, one in enumerate(verdicts)
    ]


def said(verdicts: Sequence[Mapping[str, Any]], alpha: float = ALPHA) -> list[str]:
    """Return the sentence that covers several verdicts; nothing for one.

    Args:
        verdicts: as `corrected` returns them.
        alpha: the chance of any false claim in the sentence.
    """
    if len(verdicts) < 2:
        return []
    models = {one["model"] for one in verdicts}
    tasks = {one["task"] for one in verdicts}
    over = counted(len(tasks), "task")
    if len(models) > 1:
        over = f"{over} and {counted(len(models), 'model')}"

    def names(state: str, sure: bool) -> list[str]:
        return sorted(
            one["task"] if len(models) == 1 else f"{one['task']} on {one['model']}"
            for one in verdicts
            if one["state"] == state and (one["p_holm_tasks"] <= alpha) == sure
        )

    parts = []
    for state, what in (("tune", "tuning is better"), ("prompt", "prompting is better")):
        if won := names(state, True):
            parts.append(f"{what} on {listed(won)}")
    if lost := sorted(names("tune", False) + names("prompt", False)):
        parts.append(f"what is claimed of {listed(lost)} alone does not stand beside the others")
    found = "; ".join(parts) or "no difference between tuning and prompting is shown"
    return [f"over the {over}, p-values corrected for all of them (Holm): {found}"]
