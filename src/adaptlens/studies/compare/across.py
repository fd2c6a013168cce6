"""What the verdicts of several tasks and models say together, at one chance of a false claim."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from adaptlens.formatting import counted, listed
from adaptlens.stats.intervals import holm
from adaptlens.studies.compare.verdict import Verdict

ALPHA = 0.05

CLAIMS = {
    "tune": "tuning is better",
    "prompt": "prompting is better",
    "no difference": "tuning and prompting are equivalent",
}


def claimed_p(verdict: Verdict) -> float:
    """Return the p-value of what a verdict claims, as its line has it; NaN where none was tested.

    A difference and no difference cannot both be false claims about one pair, so only the one that
    is made counts. Where neither arm beats the baselines nothing is claimed about the pair: 1.
    """
    if verdict.primary is None:
        return math.nan
    if verdict.state == "no difference":
        return verdict.equivalence_p
    return 1.0 if verdict.state == "neither" else verdict.p


def corrected(verdicts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the verdicts with `p_holm_tasks`: Holm over the claims on tuning against prompting.

    Args:
        verdicts: with `p`, see `claimed_p`; a claim that was not tested counts for nothing and
            stays NaN.
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
    for state, what in CLAIMS.items():
        if won := names(state, True):
            parts.append(f"{what} on {listed(won)}")
    if lost := sorted(name for state in CLAIMS for name in names(state, False)):
        parts.append(f"what is claimed of {listed(lost)} alone does not stand beside the others")
    found = "; ".join(parts) or "neither a difference nor that there is none is shown of any"
    return [f"over the {over}, p-values corrected for all of them (Holm): {found}"]
