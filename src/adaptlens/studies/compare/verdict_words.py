"""The verdict as one sentence: who wins, by how much, in the worst case, and what would decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adaptlens.formatting import ends, equals, fixed
from adaptlens.stats.intervals import Difference
from adaptlens.stats.scores import Scores
from adaptlens.stats.unseen_draws import unseen_draws

UNITS = {"choice": "points", "generation": "chrF points"}


@dataclass(frozen=True)
class WorstCase:
    """How far an arm is ahead of another where it is least so, as fractions of 1.

    Attributes:
        template: the template where it is, and by how much; None where there is one way of asking.
        draw: the draw where it is, and by how much; None without draws, or with different ones.
    """

    template: tuple[str, float] | None = None
    draw: tuple[int, float] | None = None


def worst_case(ahead: Scores, behind: Scores) -> WorstCase:
    """Return where `ahead` is least ahead of `behind`, by template and by draw."""
    template = draw = None
    named = [scores for scores in (ahead, behind) if len(scores.templates) > 1]
    if named and all(set(s.templates) == set(named[0].templates) for s in named):
        names = sorted(named[0].templates)
        means = [s.table.mean((1, 2)) for s in (ahead, behind)]
        gaps = np.broadcast_to(means[0] - means[1], (len(names),))
        place = int(np.argmin(gaps))
        template = names[place], float(gaps[place])
    drawn = [scores for scores in (ahead, behind) if scores.is_drawn]
    if drawn and all(set(s.draws) == set(drawn[0].draws) for s in drawn):
        numbers = sorted(drawn[0].draws)
        gaps = np.broadcast_to(ahead.by_draw - behind.by_draw, (len(numbers),))
        place = int(np.argmin(gaps))
        draw = numbers[place], float(gaps[place])
    return WorstCase(template, draw)


@dataclass(frozen=True)
class Finding:
    """What a line is about.

    Attributes:
        state: what is claimed.
        pair: the named pair's own difference.
        p: of the claim, corrected for all that was tested with it.
        equivalence_p: of no difference, likewise.
        procedure: the difference where each half of the draws is judged by what the other half
            chose; None where that is the same.
        against: the named arms against their hardest baselines.
        scores: of the two arms, by label.
        kind: of the task; names the unit.
    """

    state: str
    pair: Difference
    p: float
    equivalence_p: float
    procedure: Difference | None
    against: Sequence[Difference]
    scores: Mapping[str, Scores]
    kind: str


def line(finding: Finding) -> str:
    """Return the verdict in one sentence."""
    said = {
        "tune": _claimed,
        "prompt": _claimed,
        "no difference": _equivalent,
        "neither": _neither,
        "undecided": _undecided,
    }[finding.state](finding)
    return f"{finding.state}{said}"


def _claimed(finding: Finding) -> str:
    pair, unit = finding.pair, UNITS[finding.kind]
    sign = 1 if finding.state == "tune" else -1
    winner, loser = (pair.left, pair.right)[::sign]
    gap = f"{fixed(100 * abs(pair.difference))} {unit} {interval(pair, sign)}"
    worst = worst_case(finding.scores[winner], finding.scores[loser])
    parts = [f": {winner} beats {loser} by {gap}, p(claim) {equals(finding.p)}, {size(finding)}"]
    parts += _of_procedure(finding, sign)
    if worst.template:
        parts.append(f"in its worst template, '{worst.template[0]}', {_ahead(worst.template[1])}")
    if worst.draw:
        parts.append(f"in its worst draw {_ahead(worst.draw[1])}")
    return "; ".join([*parts, *_failed(finding)])


def _equivalent(finding: Finding) -> str:
    pair, unit = finding.pair, UNITS[finding.kind]
    gap = f"{_signed(pair.difference)} {unit} {interval(pair)}"
    said = (
        f": {pair.left} and {pair.right} are equivalent within {100 * pair.margin:g} {unit} "
        f"({gap}), p(claim) {equals(finding.equivalence_p)}, {size(finding)}"
    )
    return "; ".join([said, *_of_procedure(finding), *_failed(finding)])


def _neither(finding: Finding) -> str:
    unit = UNITS[finding.kind]
    names = " or ".join(dict.fromkeys(phrase(test.right) for test in finding.against))
    gaps = ", ".join(
        f"{test.left} {_signed(test.difference)} {unit} {interval(test)}"
        for test in finding.against
    )
    most = 100 * max(test.detectable for test in finding.against)
    least = f"smallest detectable difference {fixed(most)} {unit}"
    return f" beats {names}: {gaps}; {least}, {size(finding)}"


def _undecided(finding: Finding) -> str:
    pair, unit = finding.pair, UNITS[finding.kind]
    gap = f"{pair.left} against {pair.right} {_signed(pair.difference)} {unit} {interval(pair)}"
    if not pair.supports_claims:
        return f": {pair.warnings[0]}; {gap}, {size(finding)}"
    said = f": {gap}, p(claim) {equals(finding.p)}, {size(finding)}"
    return "; ".join([said, *_of_procedure(finding), *_failed(finding), would_decide(pair)])


def _of_procedure(finding: Finding, sign: int = 1) -> list[str]:
    """Return what the procedure of choosing arms gives, where that is not the pair's own."""
    if finding.procedure is None:
        return []
    gap = _signed(sign * finding.procedure.difference)
    return [f"chosen on other draws, arms differ by {gap} {interval(finding.procedure, sign)}"]


def would_decide(pair: Difference) -> str:
    """Return how many draws, or queries, would decide a difference like the one seen."""
    enough = []
    if pair.needed_draws is not None and pair.needed_draws > pair.draws:
        enough.append(f"{pair.needed_draws:,} draws")
    if pair.needed_queries is not None and pair.needed_queries > pair.queries:
        enough.append(f"{pair.needed_queries:,} queries")
    if not enough:
        return "no number of draws alone, or of queries alone, would decide a difference like this"
    return f"{' or '.join(enough)} would decide a difference like this"


def _failed(finding: Finding) -> list[str]:
    """Return a phrase for each arm of which draws fell to about chance."""
    parts = []
    for label in (finding.pair.left, finding.pair.right):
        unseen = unseen_draws(finding.scores[label])
        if unseen.collapsed:
            parts.append(f"{unseen.collapsed:g} of {unseen.draws} draws of {label} failed")
    return parts


def size(finding: Finding) -> str:
    """Return the size of the design: "6 templates x 10 draws x 200 queries"."""
    sides = list(finding.scores.values())
    counts = []
    for what, numbers in (
        ("template", [len(s.templates) for s in sides if len(s.templates) > 1]),
        ("draw", [len(s.draws) for s in sides if s.is_drawn]),
    ):
        different = sorted(set(numbers))
        if different:
            plural = "s" * (different != [1])
            counts.append(f"{' and '.join(map(str, different))} {what}{plural}")
    return " x ".join([*counts, f"{sides[0].queries} queries"])


def phrase(baseline: str) -> str:
    """Return a baseline in words: "always answering 'negative'"."""
    return baseline.replace("majority ", "always answering ", 1)


def interval(test: Difference, sign: int = 1) -> str:
    """Return a difference's interval in points, its ends in order."""
    low, high = sorted((sign * 100 * test.low, sign * 100 * test.high))
    return ends(low, high)


def _signed(fraction: float) -> str:
    return fixed(100 * fraction, sign=True)


def _ahead(fraction: float) -> str:
    """Return by how much an arm is ahead, or that it is behind."""
    points = fixed(100 * abs(fraction))
    if float(points) == 0:
        return "level"
    return f"by {points}" if fraction > 0 else f"behind by {points}"
