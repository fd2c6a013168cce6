"""What another package adds works everywhere: its adaptation, measurement, task and study.

The package is tests/outside; each of the four is one file and one entry point.
"""

import importlib.util
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from adaptlens import registry
from adaptlens.adapt.families import FAMILY
from adaptlens.measure.axes import AXES
from outside import SOURCE, installed


def command(site):
    """Return what runs a command where the package in this folder is installed."""
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])

    def run(*words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "adaptlens", *words],
            cwd=site.parent, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    installed(folder / "site")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    return command(folder / "site")


@pytest.fixture(scope="module")
def studied(run):
    return json.loads(run("study", "reminders", "--out", "run", "--json").stdout)


def test_help_names_the_study_and_shows_the_options_it_has_settings_for(run):
    assert "Does saying the instruction again" in run("study", "--help").stdout
    shown = run("study", "reminders", "--help").stdout
    assert "--queries" in shown
    assert "--template" in shown
    assert "--shots" not in shown


def test_plan_foresees_it(run):
    rows = json.loads(run("plan", "--study", "reminders", "--no-trial", "--json").stdout)
    assert [row["condition"] for row in rows] == ["zero-shot", "reminded-1", "reminded-2"]
    assert {row["measured"] for row in rows} == {"behavior words"}


def test_a_trial_says_what_it_takes(run):
    rows = json.loads(run("plan", "--study", "reminders", "--set", "times=[1]", "--json").stdout)
    assert all(row["seconds"] > 0 and row["disk_bytes"] > 0 for row in rows)


def test_the_study_counts_the_words_it_adds(studied):
    # "Say whether the number is even or odd." has 8 words; "Input: N Output:" has 3.
    words = {row["condition"]: row["words"] for row in studied["tables"]["reminders"]}
    assert words == {"zero-shot": 11, "reminded-1": 19, "reminded-2": 27}


def test_status_and_report_know_the_run(run, studied):
    cells = json.loads(run("status", "run", "--json").stdout)
    assert cells["counts"]["done"] == 3
    again = json.loads(run("report", "run", "--json").stdout)
    assert again["tables"] == studied["tables"]
    run("check", "run")


def test_its_page_shows_every_row(folder, studied):
    page = (folder / studied["report"]).read_text("utf-8")
    assert "Does saying the instruction again" in page
    assert [page.count(f'<td data-sort="reminded-{n}">') for n in (1, 2)] == [2, 2]


def test_its_tables_are_had_as_markdown_and_in_a_terminal(run, studied):
    said = run("report", "run", "--markdown").stdout
    assert "\n| model | task | condition | accuracy | words |\n|---|---|---|---:|---:|\n" in said
    assert [said.count(f"| reminded-{n} |") for n in (1, 2)] == [1, 1]
    shown = run("report", "run").stdout
    assert "condition" in shown and shown.count("reminded-") == 2


def test_a_cell_says_which_package_made_it(folder, studied):
    specs = [
        json.loads(path.read_text("utf-8"))
        for path in sorted((folder / "run" / "cells").glob("*/spec.json"))
    ]
    packages = {spec["adaptation"]["label"]: spec["adaptation"].get("package") for spec in specs}
    assert packages == {"zero-shot": None, "reminded-1": "toyways 0.1", "reminded-2": "toyways 0.1"}
    assert {spec["measurements"][1]["package"] for spec in specs} == {"toyways 0.1"}


def test_a_study_that_cannot_be_loaded_takes_no_other_with_it(tmp_path):
    folder = installed(tmp_path)
    (folder / "toyways" / "reminders.py").write_text("import nothing_of_the_kind\n")
    adaptlens = command(folder)
    assert "convergence" in adaptlens("study", "--help").stdout
    said = adaptlens("study", "reminders", code=2).stderr
    assert "'reminders' of the package 'toyways' cannot be loaded" in said
    assert "nothing_of_the_kind" in said


def test_what_lacks_a_part_is_refused_by_its_name(tmp_path):
    folder = installed(tmp_path)
    file = folder / "toyways" / "words.py"
    file.write_text(file.read_text().replace("def cost_estimate", "def estimate"))
    said = command(folder)("plan", "--study", "reminders", code=2).stderr
    assert "the measurement 'words' of the package 'toyways' has no cost_estimate" in said


def test_a_name_that_the_project_has_is_not_taken_over(tmp_path):
    folder = installed(tmp_path)
    file = folder / "toyways-0.1.dist-info" / "entry_points.txt"
    file.write_text(file.read_text().replace("parity =", "sentiment ="))
    shown = command(folder)("tasks", "show", "sentiment")
    assert "parity" not in shown.stdout
    assert "the task 'sentiment' of the package 'toyways' is left out" in shown.stderr


@pytest.mark.parametrize("name", registry.TABLE["adaptation"])
def test_every_adaptation_says_its_family_and_what_it_takes(name):
    made = registry.resolve("adaptation", name)
    assert made.family == FAMILY[name]
    assert all(hasattr(made, offered) for offered in registry.OFFERS["adaptation"])


@pytest.mark.parametrize("name", registry.TABLE["measurement"])
def test_every_measurement_says_its_axes_and_what_it_takes(name):
    made = registry.resolve("measurement", name)
    assert made.axes is AXES[name]
    assert all(hasattr(made, offered) for offered in registry.OFFERS["measurement"])


def test_a_comparison_has_its_adaptation_as_an_arm_and_its_measurement_as_a_table(run):
    words = (
        "compare --shots 0 --tuning it --sizes 2 --no-search --queries 6 --draws 2 --task parity "
        "--adaptations reminded --measurements words,entropy --set validation=4 "
        "--set tune.max_steps=[2] --set tune.lr_multipliers=[1] --set num_templates=1 "
        "--out compared --json"
    )
    found = json.loads(run(*words.split()).stdout)
    arms = {row["condition"]: row["adaptation"] for row in found["tables"]["accuracy"]}
    assert arms["reminded-1"] == "reminded"
    measured = {
        (row["measurement"], row["condition"]): row["mean"] for row in found["tables"]["measured"]
    }
    assert measured["words", "reminded-1"] == measured["words", "zero-shot"] + 8
    # Of two answers, at most ln 2; weights that were tuned are read with them.
    assert all(0 <= measured["entropy", arm] <= math.log(2) for arm in arms)
    assert measured["entropy", "it-2"] != measured["entropy", "zero-shot"]
    assert "Measured besides" in run("report", "compared").stdout


def test_a_comparison_s_plan_says_what_is_measured_besides(run):
    usual = json.loads(run("plan", "--no-trial", "--shots", "0", "--json").stdout)
    assert "measured" not in usual[0]
    more = run("plan", "--no-trial", "--shots", "0", "--measurements", "words", "--json")
    assert json.loads(more.stdout)[0]["measured"] == "behavior cost words"


def test_contributing_shows_the_measurement_as_it_is():
    shown = (SOURCE / "toyways" / "entropy.py").read_text("utf-8")
    contributing = SOURCE.parent.parent / "CONTRIBUTING.md"
    assert f"```python\n{shown}```" in contributing.read_text("utf-8")


def test_entropy_by_hand():
    spec = importlib.util.spec_from_file_location("entropy", SOURCE / "toyways" / "entropy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Shares 1/2, 1/4, 1/4: 0.5 ln 2 + 2 * 0.25 ln 4 = 1.5 ln 2.
    assert module.entropy(np.log([0.2, 0.1, 0.1])) == pytest.approx(1.5 * math.log(2))


def test_every_cell_that_fails_is_said_once_and_where_to_look(tmp_path):
    folder = installed(tmp_path)
    file = folder / "toyways" / "words.py"
    file.write_text(file.read_text().replace("words = np", "words = nothing + np"))
    said = command(folder)("study", "reminders", "--out", "failed", code=1).stderr
    assert "3 cells failed; `adaptlens status failed` says why" in said


def test_an_adaptation_that_no_package_registers_is_not_known(run):
    said = run("compare", "--adaptations", "reminder", code=2).stderr
    assert "'reminder'" in said
    assert "reminded" in said
