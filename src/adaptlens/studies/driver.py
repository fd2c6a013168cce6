"""The one way a study runs: plan, do the cells, analyze; what is damaged is made anew."""

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from adaptlens import registry, telling
from adaptlens.canonical import digest
from adaptlens.cells import STUDY_FILE, Cell, Study, missing, task_file
from adaptlens.engines import Engine, Outcome, Reporter
from adaptlens.engines import Silent as Silent
from adaptlens.errors import RunIncomplete, UserError
from adaptlens.formatting import counted
from adaptlens.models import loaded, server
from adaptlens.report.summary import Finding
from adaptlens.store import Damaged, Run, make_folder, write_atomically
from adaptlens.store.addresses import without_passwords
from adaptlens.store.commands import working
from adaptlens.studies.findings import Findings, claims_in_short
from adaptlens.studies.progress import default_folder, own_folder
from adaptlens.studies.wanted import Loading

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.report.study_page import StudyReport
    from adaptlens.report.summary import Summary

SUMMARY_FILE = "summary.json"
"""What a run found, in short; made with its page."""

MOST_MENDS = 3
"""A disk that damages what was just made anew is not written to for ever."""

_log = logging.getLogger(__name__)

Report = Callable[[Run], tuple[Any, Path]]
Further = Callable[[Run, Study], Study]


class Settings(Loading, Protocol):
    """How the models of a study are loaded, and where; and who does its cells."""

    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def engine(self) -> Mapping[str, Any]: ...  # noqa: D102


@dataclass(frozen=True, repr=False)
class Studied(Findings):
    """What a study found: claims with verdicts, tables, and the page.

    It prints as a few lines, and shows itself in a notebook.
    """

    report: "StudyReport"
    outcome: Outcome
    run_folder: Path
    page: Path

    @property
    def claims(self) -> "pd.DataFrame":
        """One row per claim: what was expected, what was found, and whether it holds."""
        import pandas as pd

        return pd.DataFrame(self.report.claims)

    @property
    def in_short(self) -> "pd.DataFrame":
        """Every claim with its verdict, effect and p-value, as texts: to be read; see `claims`."""
        return claims_in_short(self.report.claims)

    def _title(self) -> str:
        about = {f"{claim['model']}, {claim['task']}" for claim in self.report.claims}
        return about.pop() if len(about) == 1 else ""

    def _findings(self) -> list[Finding]:
        said = f"{self._title()}, "
        found = self.report.summary().findings
        return [replace(one, about=one.about.removeprefix(said)) for one in found]


def carry_out(
    study: Study,
    out: str | Path | None,
    config: Settings,
    reporter: Reporter,
    report: Report,
    further: Further | None = None,
    beside: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Any, Path, Outcome, Run]:
    """Return what a study found, its page, what the engine did, and the run.

    Args:
        study: the plan.
        out: the run folder; the study's default where it is None.
        config: the settings of the study.
        reporter: who is told of progress.
        report: analyses the run, and writes tables and page.
        further: returns the plan with the cells that follow from what was found, once all are done.
        beside: what else is written down with the plan, by the name of the file.

    Raises:
        UserError: what the user can fix; among it, that another plan is at work in the folder.
    """
    _check_lent(study, config.engine)
    quiet = isinstance(reporter, Silent)
    run = Run.open(out or _own_folder(study), create=True)
    # First, as what is damaged may be what keeps commands apart.
    _mend(run)
    with working(run.folder, plan_digest(study)):
        for name, value in (beside or {}).items():
            run.write_json(name, value)
        for attempt in range(1, MOST_MENDS + 1):
            try:
                outcome = _do(study, run, config, reporter)
                if further is not None and not outcome.failed:
                    larger = further(run, study)
                    outcome = _do(larger, run, config, reporter)
                if outcome.failed and not run.whole_specs():
                    raise all_failed(outcome, run)
                with telling.slow("analyzing what was measured, drawing the page", quiet=quiet):
                    found = report(run)
                return (*found, outcome, run)
            except Damaged:
                # Found by its digest, when it was read: so all the rest is read, too.
                if attempt == MOST_MENDS or not _mend(run, thorough=True):
                    raise
    raise AssertionError("every attempt returns or raises")


def _own_folder(study: Study) -> Path:
    """Return the study's own folder, having said where it is if another study has its name."""
    folder, wanted = own_folder(study), default_folder(study)
    if folder != wanted:
        _log.warning(
            "%s holds another study; this one is in %s (--out names a folder)", wanted, folder
        )
    return folder


def _check_lent(study: Study, engine: Mapping[str, Any]) -> None:
    """Refuse to have other processes use a model that this one has loaded, or a server has.

    Raises:
        UserError: it is asked for.
    """
    here = [name for name, source in study.sources.items() if loaded.PREFIX in source]
    served = [source for source in study.sources.values() if server.PREFIX in source]
    elsewhere = engine.get("name", "in_process") != "in_process" or engine.get("workers", 1) > 1
    if served and elsewhere:
        raise UserError(
            f"model {served[0]} is served, and engine asks for several processes; one process "
            "sends its requests, server.concurrency at a time: leave out engine."
        )
    if here and elsewhere:
        raise UserError(
            f"model {here[0]} is loaded in this process, and engine asks for others, which cannot "
            "use it; leave out engine, or save it with save_pretrained and give the folder."
        )


def all_failed(outcome: Outcome, run: Run) -> RunIncomplete:
    """Return the error for a run of which no cell is done, as all failed."""
    return RunIncomplete(
        f"{counted(len(outcome.failed), 'cell')} failed; `adaptlens status {run.folder}` says why, "
        "the same command tries again."
    )


def plan_digest(study: Study) -> str:
    """Return what two commands share if and only if they are to do the same; whoever does it."""
    settings = {key: value for key, value in study.settings.items() if key != "engine"}
    cells = [cell.spec() for cell in study.cells]
    return digest({"name": study.name, "settings": shown_settings(settings), "cells": cells})


def _do(study: Study, run: Run, config: Settings, reporter: Reporter) -> Outcome:
    write_plan(run, study)
    return execute(study, run, config, reporter)


def _mend(run: Run, *, thorough: bool = False) -> list[str]:
    said = run.mend(thorough=thorough)
    for sentence in said:
        _log.warning("%s", sentence)
    return said


def write_plan(run: Run, study: Study) -> None:
    """Write down what the run is to hold, so that `status` and `report` need no model or task."""
    make_folder(run.folder / "tasks")
    for name, task in study.tasks.items():
        with telling.slow(f"writing down task '{task.name}'"):
            run.write_json(task_file(name), asdict(task))
    run.write_json(
        STUDY_FILE,
        {
            "name": study.name,
            "settings": shown_settings(study.settings),
            "cells": [cell.spec() for cell in study.cells],
            "notes": list(study.notes),
        },
    )
    for cell in missing(study.cells, (record.spec for record in run.records())):
        run.add(cell.spec())


def shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are stored and shown: no address has a password."""
    return {str(key): value for key, value in without_passwords(settings).items()}


def execute(study: Study, run: Run, config: Settings, reporter: Reporter) -> Outcome:
    """Run the study's cells with the configured engine."""
    from adaptlens.engines.worker import LOADING_FILE, loading
    from adaptlens.lm.ready import ready

    def load_model(cell: Cell) -> Any:
        return ready(
            cell.model.source,
            dtype=cell.model.dtype,
            device=config.device,
            chat=config.chat,
            quantize=config.quantize,
        )

    run.write_json(LOADING_FILE, loading(study, config))
    return _engine(config.engine).run(study, run, load_model, reporter)


def _engine(given: Mapping[str, Any]) -> Engine:
    """Return the engine that the settings ask for.

    Raises:
        UserError: an address or a share of a GPU without Ray, which alone has them.
    """
    settings = dict(given)
    name = settings.pop("name", "in_process")
    if name == "ray":
        return registry.resolve("engine", "ray")(**settings)
    if others := sorted(set(settings) - {"workers"}):
        raise UserError(
            f"engine.{others[0]} was given, which the engine '{name}' does not have; add "
            "--engine ray, or leave it out."
        )
    if settings.get("workers", 1) == 1:
        return registry.resolve("engine", name)()
    return registry.resolve("engine", "processes")(**settings)


def write_summary(run: Run, summary: "Summary") -> None:
    """Write down what was found in short, for the index of runs (`studies.runs_index`)."""
    numbers = [
        {"about": table.caption, "name": row[0].text, "value": row[1].text}
        for table in summary.tables
        for row in table.rows
        if len(row) > 1 and table.headings[1][1] and not table.headings[0][1]
    ]
    findings = [asdict(one) for one in summary.findings]
    found = {"title": summary.title, "findings": findings, "numbers": numbers}
    run.write_json(SUMMARY_FILE, found)


def write_tables(run: Run, tables: "Mapping[str, pd.DataFrame]") -> None:
    """Write each table as tables/NAME.parquet."""
    folder = run.folder / "tables"
    make_folder(folder)
    for name, table in tables.items():
        content = io.BytesIO()
        table.to_parquet(content, index=False)
        write_atomically(folder / f"{name}.parquet", content.getvalue())
