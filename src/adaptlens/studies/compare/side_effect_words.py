"""Side effects in sentences: what speaks against a verdict, and everything that was told."""

from collections.abc import Sequence

from adaptlens.formatting import counted, ends, equals, fixed
from adaptlens.studies.compare.arms import Arm
from adaptlens.studies.compare.side_effects import ANCHOR, LIKELIHOOD, QUADRATIC, Change
from adaptlens.studies.compare.tables import ROLES
from adaptlens.studies.compare.verdict import Verdict
from adaptlens.studies.compare.verdict_words import UNITS, interval

MOST_SAID = 2
"""A verdict's line ends in so many side effects; the others are counted."""


def but(found: Sequence[Change], verdict: Verdict, arms: Sequence[Arm]) -> str:
    """Return what speaks against the arm that a verdict is for: "but ..."; empty for nothing.

    Where it is for neither, what either of its two has lost. The largest losses, in points, are
    told, the others counted.

    Args:
        found: all changes.
        verdict: whose arms are looked at.
        arms: among them its two.
    """
    winner = {"tune": verdict.tuned, "prompt": verdict.prompt}.get(verdict.state)
    judged = {winner} if winner else {verdict.tuned, verdict.prompt}
    own = judged | {arm.condition.label for arm in arms if arm.label in judged}
    losses = []
    for change in found:
        left, right = change.found.left, change.found.right
        flipped = right in own and left not in own
        side = right if flipped else left
        behind = (change.found.difference > 0) == flipped and change.found.difference != 0
        both = {left, right} <= own and left != right
        if change.is_real and side in own and behind and not both:
            told = f"{_told(change, flipped)}, p {equals(change.found.p_holm)}"
            losses.append((-abs(change.found.difference), told))
    said = [told for _, told in sorted(losses)]
    more = len(said) - MOST_SAID
    said = [*said[:MOST_SAID], *([f"and {more} more"] if more > 0 else [])]
    return f"but {'; '.join(said)}" if said else ""


def line(found: Sequence[Change]) -> str:
    """Return every real change that a person must know, in one sentence, or that there is none.

    That an arm is better than zero-shot on another domain, too, or that its probabilities are, is
    for the tables.
    """
    if not found:
        return ""
    told = [
        c
        for c in found
        if c.role not in ("ood", "confidence") or c.found.right != ANCHOR or c.found.difference < 0
    ]
    if not told:
        return ""
    real = [change for change in told if change.is_real]
    if not real:
        least = max(change.found.detectable for change in told)
        return (
            f"nothing is shown to be lost ({counted(len(told), 'difference')} looked at; what "
            f"would be found in each: {fixed(100 * least)} points)"
        )
    return "; ".join(map(_told, real))


def _told(change: Change, flipped: bool = False) -> str:
    """Return a change as a clause about its left side; `flipped`, about its right side."""
    found = change.found
    sides = (found.right, found.left) if flipped else (found.left, found.right)
    if change.metric == QUADRATIC:
        return _of_probabilities(change, sides, flipped)
    gap = f"{fixed(100 * abs(found.difference))} {_unit(change)}"
    span = interval(found, 1 if found.difference > 0 else -1)
    if change.role == "wording":
        way = "more" if found.difference > 0 else "less"
        return f"under templates that it was not tuned on {sides[0]} scores {gap} {span} {way}"
    way = "ahead of" if (found.difference > 0) != flipped else "behind"
    return f"on {change.items} ({ROLES[change.role]}) {sides[0]} is {gap} {span} {way} {sides[1]}"


def _of_probabilities(change: Change, sides: tuple[str, str], flipped: bool) -> str:
    """Return how far stated probabilities are from the truth, as Brier scores."""
    found = change.found
    brier = [fixed(2 * (1 - score), 2) for score in (change.value.value, change.other)]
    own, other = reversed(brier) if flipped else brier
    sign = 1 if found.difference > 0 else -1
    low, high = sorted(2 * sign * end for end in (found.low, found.high))
    way = ("further from", "more") if (sign < 0) != flipped else ("nearer to", "less")
    return (
        f"the probabilities that {sides[0]} states are {way[0]} the truth than those of "
        f"{sides[1]}: Brier score {own} against {other}, {fixed(2 * abs(found.difference), 2)} "
        f"{ends(low, high, 2)} {way[1]}"
    )


def _unit(change: Change) -> str:
    if change.metric == LIKELIHOOD:
        return "points of likelihood"
    return UNITS["generation" if change.metric == "chrf" else "choice"]
