"""What a comparison asked of the servers of served models, and how answers came of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from adaptlens.conditions import Condition

USED = ("requests", "read_tokens", "cached_tokens", "written_tokens")


def rows(members: Sequence[Condition]) -> list[dict[str, Any]]:
    """Return a row for each condition of a served model: what it used, and how it was scored.

    `unnamed` is the share of the test answers that name none of the options, not a number where
    answers are scored by log-probability.
    """
    return [
        {
            "task": one.task,
            "model": one.model,
            "condition": one.label,
            "scored": "as written" if "chosen" in one.behavior else "log-probability",
            "unnamed": unnamed(one),
            **{name: one.numbers[f"served_{name}"] for name in USED},
        }
        for one in members
        if "served_requests" in one.numbers
    ]


def unnamed(one: Condition) -> float:
    """Return the share of a condition's test answers that name none of the options."""
    if "chosen" not in one.behavior:
        return float("nan")
    return float((np.asarray(one.behavior["chosen"]) < 0).mean())


def notes(members: Sequence[Condition]) -> list[str]:
    """Return a sentence with what was used in all, and one for answers that name no option."""
    own = rows(members)
    if not own:
        return []
    used = {name: sum(row[name] for row in own) for name in USED}
    said = [
        f"{own[0]['task']}: the server of {own[0]['model']} answered {used['requests']:,.0f} "
        f"requests: {used['read_tokens']:,.0f} tokens read, {used['cached_tokens']:,.0f} of them "
        f"from its cache, and {used['written_tokens']:,.0f} written, as it counts them"
    ]
    said += [
        f"{row['task']}, {row['condition']}: {row['unnamed']:.0%} of the answers name none of the "
        "options, and count as wrong"
        for row in own
        if row["unnamed"] > 0
    ]
    return said
