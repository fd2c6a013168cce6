"""A study as another package defines it: what the command line, the driver and reports ask of one.

The project's own studies are folders whose `plan` modules have the same names; see README.md here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptlens.cells import Study
from adaptlens.columns.shared import Columns
from adaptlens.config.schema import Schema
from adaptlens.engines import Reporter
from adaptlens.report.study_page import StudyReport, write_plain
from adaptlens.store import Run
from adaptlens.studies import progress
from adaptlens.studies.driver import Studied, carry_out, write_tables


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A study that is registered by an entry point of the group `adaptlens.studies`.

    Attributes:
        settings: its settings: a frozen dataclass, `config.fields.Shared` and more.
        question: what it asks; its command's help begins with it.
        columns: its tables, each with its columns and what they say.
        plan: returns its cells, given its settings.
        analyze: returns what is shown of a run, given that and "path=value" texts, which change
            those of its settings that `settings.analysis` names; it needs no model.
        page: writes the report's page and figures to a path, and returns it.
    """

    settings: Schema[Any]
    question: str
    plan: Callable[[Any], Study]
    analyze: Callable[[Run, Sequence[str]], StudyReport]
    columns: Mapping[str, Columns] = field(default_factory=dict)
    page: Callable[[StudyReport, Path], Path] = write_plain

    def planned_work(self, study: Study, out: str | Path | None) -> list[dict[str, Any]]:
        """Return one row per condition: what is measured, draws wanted and done."""
        return progress.planned_work(study, out)

    def run_study(self, config: Any, *, out: str | Path | None, reporter: Reporter) -> Studied:
        """Plan, run, analyze and report the study."""
        study = self.plan(config)
        report, page, outcome, run = carry_out(study, out, config, reporter, self.write_report)
        return Studied(report, outcome, run.folder, page)

    def write_report(self, run: Run, overrides: Sequence[str] = ()) -> tuple[StudyReport, Path]:
        """Analyze what is stored and write tables and page; needs no model."""
        found = self.analyze(run, overrides)
        write_tables(run, found.tables)
        return found, self.page(found, run.folder / "report.html")
