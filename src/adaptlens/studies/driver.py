"""The one way a study runs: plan, do the cells, analyse; what is damaged is made anew."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from adaptlens.canonical import digest
from adaptlens.cells import Study
from adaptlens.engines import Outcome, Reporter
from adaptlens.store import Damaged, Run
from adaptlens.store.commands import working
from adaptlens.studies.running import Settings, default_folder, execute, shown_settings, write_plan

MOST_MENDS = 3
"""A disk that damages what was just made anew is not written to for ever."""

_log = logging.getLogger(__name__)

Report = Callable[[Run], tuple[Any, Path]]
Further = Callable[[Run, Study], Study]


def carry_out(
    study: Study,
    out: str | Path | None,
    config: Settings,
    reporter: Reporter,
    models: Iterable[str],
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
        models: the names of the models that the cells are of.
        report: analyses the run, and writes tables and page.
        further: returns the plan with the cells that follow from what was found, once all are done.
        beside: what else is written down with the plan, by the name of the file.

    Raises:
        UserError: what the user can fix; among it, that another plan is at work in the folder.
    """
    run = Run.open(out or default_folder(study), create=True)
    models = list(models)
    # First, as what is damaged may be what keeps commands apart.
    _mend(run)
    with working(run.folder, plan_digest(study)):
        for name, value in (beside or {}).items():
            run.write_json(name, value)
        for attempt in range(1, MOST_MENDS + 1):
            try:
                outcome = _do(study, run, config, reporter, models)
                if further is not None and not outcome.failed:
                    larger = further(run, study)
                    outcome = _do(larger, run, config, reporter, models)
                return (*report(run), outcome, run)
            except Damaged:
                # Found by its digest, when it was read: so all the rest is read, too.
                if attempt == MOST_MENDS or not _mend(run, thorough=True):
                    raise
    raise AssertionError("every attempt returns or raises")


def plan_digest(study: Study) -> str:
    """Return what two commands share if and only if they are to do the same; whoever does it."""
    settings = {key: value for key, value in study.settings.items() if key != "engine"}
    cells = [cell.spec() for cell in study.cells]
    return digest({"name": study.name, "settings": shown_settings(settings), "cells": cells})


def _do(study: Study, run: Run, config: Settings, reporter: Reporter, models: list[str]) -> Outcome:
    write_plan(run, study)
    return execute(study, run, config, reporter, models)


def _mend(run: Run, *, thorough: bool = False) -> list[str]:
    said = run.mend(thorough=thorough)
    for sentence in said:
        _log.warning("%s", sentence)
    return said
