"""The study of limits as one self-contained HTML page, and as figures beside it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from adaptlens import grids
from adaptlens.figures import FORMATS, Figure, Wanted, draw
from adaptlens.grids.convergence import SIGNS, tone
from adaptlens.report.page import publish, render
from adaptlens.values import Role

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class LimitsReport:
    """Everything the page of a study of the limits of tuning shows.

    Attributes:
        claims: one row per claim, see `limits_claims.claims`.
        tables: tidy tables by name (scores, relations, per_task, per_model, attribution,
            mixed_effects, exceeding, systems, variations, exposure, mediation); one that is missing
            or empty has no section.
        prompts: prompts as sent, with what came back: task, model, condition, query_id, `parts` of
            (role, text), `answers`, `gold`, `reading`, `output` and `answer`.
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


def write(report: LimitsReport, path: Path | str, *, formats: Iterable[str] = FORMATS) -> Path:
    """Write the page, and each figure as `figures/NAME.FORMAT` beside it; return the page's path.

    Every file is written atomically, the page last. The same report gives the same bytes.

    Raises:
        UserError: the disk refuses, or a format is not one of svg, png, pdf.
    """
    figures = draw(wanted(report), formats)
    return publish(html(report, figures), figures.values(), Path(path))


def html(report: LimitsReport, figures: Mapping[str, Figure]) -> str:
    """Return the page as one string."""
    return render(
        "limits.html",
        ["page.js"],
        figures,
        report=report,
        signs=SIGNS,
        tone=tone,
        grids={
            "cells": grids.plain(report.cells, "cells", "Cells", anchor="cell")
            if len(report.cells)
            else None,
            "others": [
                grids.plain(table, f"other-{i}", grids.heading_of(name))
                for i, (name, table) in enumerate(report.tables.items())
                if len(table)
            ],
        },
    )


def wanted(report: LimitsReport) -> Iterator[Wanted]:
    """Yield the figures that the report has rows for."""
    yield from ()
