"""What the pages of all studies have in common: what they show, and how it gets there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.columns import frame_of
from adaptlens.report import entries
from adaptlens.report.entries import SIGNS, tone
from adaptlens.report.frame import check_prompts, other_tables, publish, render
from adaptlens.report.images import Figure

if TYPE_CHECKING:
    import pandas as pd


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
        notes: sentences a reader needs in order to trust the numbers.
    """

    title: str
    claims: Sequence[Mapping[str, Any]]
    tables: Mapping[str, "pd.DataFrame"]
    prompts: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    cells: "pd.DataFrame"
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check that every claim has a known verdict and every prompt known parts."""
        for claim in self.claims:
            if claim["state"] not in SIGNS:
                raise ValueError(f"no such verdict: '{claim['state']}'; one of {[*SIGNS]}")
        check_prompts(self.prompts)

    def table(self, name: str) -> "pd.DataFrame | None":
        """Return a table, or None where it was not measured."""
        table = self.tables.get(name)
        return None if table is None or table.empty else table


def render_study(
    package: str,
    report: StudyReport,
    figures: Mapping[str, Figure],
    scripts: Sequence[str] = ("page.js",),
    page: str = "page.html",
    **values: Any,
) -> str:
    """Return the page of a study; claims are counted, and verdicts have their signs."""
    counts = Counter(claim["state"] for claim in report.claims)
    return render(
        package, scripts, figures, page, report=report, counts=counts, signs=SIGNS, tone=tone,
        **values,
    )  # fmt: skip


def write_plain(report: StudyReport, path: Path) -> Path:
    """Write a page that has no sections of its own: claims, notes, and every table whole."""
    tables = other_tables(report.tables, (), report.cells)
    claims = entries.plain(frame_of(report.claims), "claims", "All claims")
    grids = {**tables, "claims": claims if report.claims else None}

    def page(figures: Mapping[str, Figure]) -> str:
        return render_study("adaptlens.report", report, figures, page="plain.html", grids=grids)

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
    return {"num_rows": len(rows), "constant": constant, "rows": Markup(entries.embedded(shown))}
