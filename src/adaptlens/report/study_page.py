"""What the pages of all studies have in common: what they show, and how it gets there."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.columns import frame_of
from adaptlens.formatting import counted
from adaptlens.report.frame import check_prompts, other_tables, publish, render
from adaptlens.report.images import Figure
from adaptlens.report.labels import Labels
from adaptlens.report.summary import Partial, Summary, of_claims
from adaptlens.report.tables import (
    SIGNS,
    Entry,
    Table,
    counts,
    embedded,
    heading_of,
    p_entry,
    plain,
    text,
    tone,
    verdict,
    words,
)

if TYPE_CHECKING:
    import pandas as pd


COPY = "untrained:"
"""How the name of a control begins, a copy with random weights: its claims are not counted."""
MOST_ROWS = 40
"""Of a table that a terminal shows as it is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyReport:
    """Everything the page of a study shows.

    Attributes:
        title: the question that the study asks.
        claims: one row per claim: model, task (or "all families", "all tasks"), factor (its
            number), claim, state ("supported", "refuted", "not decided"), line, effect, low, high,
            p, p_holm, test, queries, draws.
        tables: tidy tables by name; `KNOWN` of the page's module says which have a section. One
            that is missing or empty has none; one that is not known is shown whole.
        prompts: prompts as sent: task, model, condition, query_id, `parts` of (role, text),
            `answers` and `gold`.
        settings: the run's configuration, nested.
        versions: package to version.
        cells: one cell a row, its id in the column `cell`.
        labels: what the labels of conditions stand for.
        notes: sentences a reader needs in order to trust the numbers.
        made: when the cells were made, and on which machines, by what that is called.
        command: what makes such a run again.
        partial: how much of the run there is, where some of its cells are not done.
    """

    title: str
    claims: Sequence[Mapping[str, Any]]
    tables: Mapping[str, "pd.DataFrame"]
    prompts: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    cells: "pd.DataFrame"
    labels: Labels = field(default_factory=dict)
    notes: Sequence[str] = ()
    made: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    partial: Partial | None = None

    def __post_init__(self) -> None:
        """Check that every claim has a known verdict and every prompt known parts."""
        for claim in self.claims:
            if claim["state"] not in SIGNS:
                raise ValueError(f"no such verdict: '{claim['state']}'; one of {[*SIGNS]}")
        check_prompts(self.prompts)

    def main_tables(self) -> Sequence[Table | None]:
        """Return the tables that stand for the study in a terminal and as Markdown.

        Where a study does not say which, all as they are, up to `MOST_ROWS` rows each.
        """
        return [
            plain(table, name, heading_of(name)).first(MOST_ROWS)
            for name, table in self.tables.items()
            if len(table)
        ]

    def summary(self) -> Summary:
        """Return the study in short."""
        shown = [table for table in self.main_tables() if table]
        findings = of_claims(self.claims)
        return Summary(
            title=self.title,
            tables=shown,
            findings=findings,
            notes=self.notes,
            partial=self.partial,
        )

    def table(self, name: str) -> "pd.DataFrame | None":
        """Return a table, or None where it was not measured."""
        table = self.tables.get(name)
        return None if table is None or table.empty else table


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the page says of one claim.

    Attributes:
        claim: what is claimed.
        state: its verdict; "" where it differs from task to task.
        mixed: then, in how many tasks it is what.
        about: which model it is about, where there are several.
        lines: verdict and numbers on each thing that it was tested on.
        more: why there are no numbers, a sentence each.
    """

    claim: str
    state: str
    lines: Sequence[tuple[str, str]]
    mixed: str = ""
    about: str = ""
    more: Sequence[str] = ()

    @property
    def title(self) -> str:
        """The claim as a heading."""
        return self.claim[:1].upper() + self.claim[1:]

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, Any]],
        said: Callable[[Mapping[str, Any]], str],
        *,
        about: str = "",
        more: Sequence[str] = (),
        first_decides: bool = False,
    ) -> "Card":
        """Return what is said of one claim that was tested on several things.

        Args:
            rows: the rows of the claim, as a `StudyReport` has them.
            said: the numbers of a row, and what they are of.
            about: which model the claim is about, where there are several.
            more: why there are no numbers, a sentence each.
            first_decides: the verdict is that of the first row, whatever the others are.
        """
        states = Counter(row["state"] for row in rows)
        decided = [f"{state} in {n}" for state, n in states.items() if state != "not decided"]
        return cls(
            claim=rows[0]["claim"],
            state=rows[0]["state"] if first_decides or len(states) == 1 else "",
            mixed=f"{' and '.join(sorted(decided, reverse=True))} of {len(rows)}",
            about=about,
            lines=[(row["state"], said(row)) for row in rows],
            more=more,
        )


def claims_table(
    claims: Sequence[Mapping[str, Any]],
    factors: Mapping[int, str],
    effect: Callable[[Mapping[str, Any]], Entry],
    about: str = "task",
) -> Table | None:
    """Return one row per claim: verdict, effect with interval, p-values and the test.

    Args:
        claims: as a `StudyReport` has them.
        factors: what the study calls its factors, by their number.
        effect: the entry of a claim's effect.
        about: what the study calls the tasks of its claims.
    """
    if not claims:
        return None
    headings = (
        ("verdict", False), ("claim", False), ("effect", True), ("p (Holm)", True),
        (about, False), ("model", False), ("queries", True), ("draws", True), ("p", True),
        ("test", False), ("factor", False),
    )  # fmt: skip
    rows = tuple(
        (
            verdict(row["state"]),
            words(row["claim"]),
            effect(row),
            p_entry(row["p_holm"]),
            *(text(row[name]) for name in ("task", "model")),
            *counts(row, "queries draws"),
            p_entry(row["p"]),
            text(row["test"]),
            text(f"{row['factor']} {factors.get(row['factor'], '')}".strip()),
        )
        for row in sorted(claims, key=lambda row: row["factor"])
    )
    return Table("claims", "All claims", headings, rows)


def render_study(
    package: str,
    report: StudyReport,
    figures: Mapping[str, Figure],
    scripts: Sequence[str] = ("page.js",),
    page: str = "page.html",
    **values: Any,
) -> str:
    """Return the page of a study; claims are counted, and verdicts have their signs."""
    own = (claim for claim in report.claims if not claim["model"].startswith(COPY))
    size = _in_words(Counter(claim["state"] for claim in own))
    if report.settings.get("quick") is True:
        size = "; ".join(filter(None, [size, "a first look (--quick), which decides little"]))
    return render(
        package, scripts, figures, page, report=report, signs=SIGNS, tone=tone, size=size, **values
    )


def _in_words(states: Mapping[str, int]) -> str:
    """Return how many claims there are of each verdict; empty without claims."""
    total = sum(states.values())
    counts = ", ".join(f"{states[state]} {state}" for state in SIGNS)
    return f"{counted(total, 'claim')}: {counts}" if total else ""


def write_plain(report: StudyReport, path: Path) -> Path:
    """Write a page that has no sections of its own: claims, notes, and every table whole."""
    tables = other_tables(report.tables, (), report.cells)
    claims = plain(frame_of(report.claims), "claims", "All claims") if report.claims else None
    tables["claims"] = claims

    def page(figures: Mapping[str, Figure]) -> str:
        return render_study("adaptlens.report", report, figures, page="plain.html", tables=tables)

    return publish(path, (), page, ())


def browsed(rows: "pd.DataFrame | None", names: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the page's table of every number needs.

    Args:
        rows: the numbers, or None.
        names: columns that are said once, above the table, where all rows agree.
    """
    from markupsafe import Markup

    if rows is None:
        return {"num_rows": 0, "constant": {}, "rows": Markup("")}
    constant = {
        name: str(rows[name].iloc[0])
        for name in names
        if name in rows and rows[name].nunique() == 1
    }
    shown = rows.drop(columns=list(constant))
    return {"num_rows": len(rows), "constant": constant, "rows": Markup(embedded(shown))}
