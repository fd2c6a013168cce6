"""The study of implicit patterns as one self-contained HTML page, and as figures beside it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from adaptlens import grids, plots
from adaptlens.figures import FORMATS, Figure, Wanted, draw
from adaptlens.grids import implicit as tabled
from adaptlens.grids.convergence import SIGNS, cells_by_condition, tone
from adaptlens.looks import in_order, look
from adaptlens.report.page import publish, render
from adaptlens.values import Role

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ImplicitReport:
    """Everything the page of a study of implicit patterns and circuits shows.

    Attributes:
        claims: one row per claim: model, task (a family, or "all families"), factor (its number),
            claim, state ("supported", "refuted", "not decided"), line, effect, low, high, p,
            p_holm, test, queries, draws.
        tables: tidy tables by name (curves, shortcut, needed, transfer, gates, profiles,
            differences, shift, overlap, functional, faithfulness, specifications, variance,
            annotations, circuit, edges, effects); one that is missing or empty has no section.
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
    notes: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        """Check that every claim has a known verdict and every prompt known parts."""
        for claim in self.claims:
            if claim["state"] not in SIGNS:
                raise ValueError(f"no such verdict: '{claim['state']}'; one of {[*SIGNS]}")
        for prompt in self.prompts:
            strange = {role for role, _ in prompt["parts"]} - set(get_args(Role))
            if strange:
                raise ValueError(f"no such prompt role: {', '.join(sorted(strange))}")

    def table(self, name: str) -> "pd.DataFrame | None":
        """Return a table, or None where it was not measured."""
        table = self.tables.get(name)
        return None if table is None or table.empty else table


def write(report: ImplicitReport, path: Path | str, *, formats: Iterable[str] = FORMATS) -> Path:
    """Write the page, and each figure as `figures/NAME.FORMAT` beside it; return the page's path.

    Every file is written atomically, the page last. The same report gives the same bytes.

    Raises:
        UserError: the disk refuses, or a format is not one of svg, png, pdf.
    """
    figures = draw(wanted(report), formats)
    return publish(html(report, figures), figures.values(), Path(path))


def html(report: ImplicitReport, figures: Mapping[str, Figure]) -> str:
    """Return the page as one string."""
    cells = cells_by_condition(report.cells)
    return render(
        "implicit.html",
        ["page.js"],
        figures,
        report=report,
        grids={
            "claims": tabled.claims(report.claims),
            "curves": tabled.curves(report.tables, cells),
            "cells": grids.plain(report.cells, "cells", "Cells", anchor="cell")
            if len(report.cells)
            else None,
        },
        families=families(report),
        cards=cards(report.claims),
        counts=Counter(claim["state"] for claim in report.claims),
        signs=SIGNS,
        tone=tone,
        adaptations=[(name, look(name)) for name in _adaptations(report)],
    )


def families(report: ImplicitReport) -> dict[str, str]:
    """Return the families the tables are of, each with a name for files and ids."""
    found: dict[str, str] = {}
    for table in report.tables.values():
        for family in table["family"].unique() if "family" in table else ():
            if family not in found:
                plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in str(family))
                found[family] = plain if plain not in found.values() else f"{plain}-{len(found)}"
    return found


def wanted(report: ImplicitReport) -> Iterator[Wanted]:
    """Yield the figures that the report has rows for."""
    if (curves := report.table("curves")) is not None:
        yield Wanted(
            "curves",
            "Right answers, %, by number of demonstrations or training examples. Dotted: "
            "zero-shot. Ringed: the number chosen on validation items. Hollow: tuned on all "
            "families together. Bands: 95% intervals.",
            partial(plots.learning, curves),
        )
    for family, slug in families(report).items():
        if (profiles := report.table("profiles")) is not None:
            own = profiles[profiles["family"] == family]
            yield Wanted(f"profiles-{slug}", f"{family}: units.", partial(plots.profiles, own))


def cards(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims by what is claimed, each with its verdict on every family.

    What was tested on all families together comes first and decides; where nothing was, and
    families differ, the verdict is how many there are of each.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for claim in sorted(claims, key=lambda claim: claim["factor"]):
        groups.setdefault((claim["factor"], claim["claim"], claim["model"]), []).append(claim)
    found = []
    for (factor, claim, model), rows in groups.items():
        rows = sorted(rows, key=lambda row: row["task"] != tabled.EVERY_FAMILY)
        states = Counter(row["state"] for row in rows)
        decided = rows[0]["task"] == tabled.EVERY_FAMILY or len(states) == 1
        state = rows[0]["state"] if decided else ""
        found.append(
            {
                "claim": claim, "model": model, "factor": factor, "state": state,
                "counts": states, "num": len(rows),
                "lines": [{**row, "said": tabled.effect(row)} for row in rows],
            }
        )  # fmt: skip
    return found


def _adaptations(report: ImplicitReport) -> list[str]:
    """Return the ways of adapting that the report compares."""
    found: set[str] = set()
    for table in report.tables.values():
        if "method" in table:
            found |= {str(name).replace("-", "_") for name in table["method"].unique()}
    return in_order(found)
