"""A report in short, for a terminal and as Markdown: main tables, and each verdict in a line."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptlens.formatting import counted
from adaptlens.report.tables import Table

FEW = re.compile(r"(fewer than \d+ \w+ decide nothing)")
"""How a claim's line says that no number could have decided it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict: what it is about, its state, and the line that goes on after the state."""

    about: str
    state: str
    line: str


@dataclass(frozen=True, slots=True)
class Partial:
    """How much of a run there is where some is missing: finished cells, of how many."""

    cells_done: int
    cells: int

    @property
    def line(self) -> str:
        """What a reader has to know first, and how to go on."""
        return (
            f"Partial: {self.cells_done} of {counted(self.cells, 'cell')} are done, and all that "
            "follows is of these alone. The command that made the run, given again, does the rest."
        )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A report in short.

    Attributes:
        title: the question.
        tables: the main ones, with the columns that there is room for.
        findings: the verdicts.
        lines: what there is to know beside them, a sentence each.
        notes: what a reader needs in order to trust the numbers.
        details: tables that there is room for in a text, and not in a terminal.
        partial: how much of the run there is; None where all is.
    """

    title: str
    tables: Sequence[Table]
    findings: Sequence[Finding]
    lines: Sequence[str] = ()
    notes: Sequence[str] = ()
    details: Sequence[Table] = ()
    partial: Partial | None = None


def of_claims(claims: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return a finding for each claim; those that no number could have decided are counted."""
    short, others = few_units(claims)
    findings = [
        Finding(f"{one['model']}, {one['task']}, {one['claim']}", one["state"], f"; {one['line']}")
        for one in others
    ]
    for reason, number in short.items():
        line = f"; {reason}; the page and --json have their numbers"
        findings.append(Finding(counted(number, "claim"), "not decided", line))
    return findings


def few_units(
    claims: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, int], list[Mapping[str, Any]]]:
    """Return how many claims are not decided for want of draws, bases or tasks, and the others.

    The number of the first is by its reason, as the claims' own lines say it; a reason that one
    claim alone has stays with it.
    """
    reasons = [
        found[1] if claim["state"] == "not decided" and (found := FEW.search(claim["line"])) else ""
        for claim in claims
    ]
    several = {reason: number for reason, number in Counter(reasons).items() if number > 1}
    several.pop("", None)
    kept = [c for c, reason in zip(claims, reasons, strict=True) if reason not in several]
    return several, kept
