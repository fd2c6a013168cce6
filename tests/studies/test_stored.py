"""What a run holds of a study comes back as the types it went in as, or is refused in words."""

import numpy as np
import pytest

import faked
from adaptlens.cells import STUDY_FILE, planned
from adaptlens.errors import UserError
from adaptlens.store import Run
from adaptlens.studies.compare import plan
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.driver import write_plan
from adaptlens.studies.stored import read


def test_settings_and_tasks_come_back_as_they_went_in(tmp_path):
    study = plan.plan(compare_config(**faked.FEW))
    found = read(faked.compared(tmp_path / "run"), "compare")
    assert found.config == compare_config(**faked.FEW)
    assert found.tasks == study.tasks
    assert [one.label for one in found.found] == [one.label for one in study.cells]
    assert list(found.by_task()) == [("reference", "sentiment-novel", next(iter(study.tasks)))]
    assert found.notes == []


def test_a_run_that_is_not_complete_says_so(tmp_path):
    study = plan.plan(compare_config(**faked.FEW))
    run = Run.open(tmp_path / "run", create=True)
    write_plan(run, study)
    with pytest.raises(UserError, match=r"no cell of run .* is done yet"):
        read(run, "compare")
    faked.fill(run, study, study.cells[0], np.random.default_rng(0))
    partial = read(run, "compare").partial
    assert (partial.cells_done, partial.cells) == (1, len(study.cells))
    assert partial.line.startswith(f"Partial: 1 of {len(study.cells)} cells are done")
    for cell in study.cells[1:]:
        faked.fill(run, study, cell, np.random.default_rng(0))
    assert read(run, "compare").partial is None


@pytest.mark.parametrize(
    ("name", "command"), [("limits", "study limits"), ("convergence", "study convergence")]
)
def test_a_run_of_another_study_is_refused_with_the_command_that_makes_one(tmp_path, name, command):
    run = faked.compared(tmp_path / "run")
    with pytest.raises(UserError, match=rf"holds no {name} study; run `adaptlens {command} --out"):
        read(run, name)


def test_an_empty_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no compare study; run `adaptlens compare --out"):
        read(Run.open(tmp_path / "run", create=True), "compare")


def test_a_run_of_another_format_is_refused_by_report_and_by_workers(tmp_path):
    run = faked.compared(tmp_path / "run")
    plan = run.need_json(STUDY_FILE)
    run.write_json(STUDY_FILE, {**plan, "cells": [{**one, "format": 1} for one in plan["cells"]]})
    for reader in (lambda: read(run, "compare"), lambda: planned(run)):
        with pytest.raises(UserError, match="have format 1, this one reads 4; run the command"):
            reader()
