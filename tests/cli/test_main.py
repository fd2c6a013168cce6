"""The command line as a user meets it, on a tiny model: compare, extend, status, report, check."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import adaptlens
from adaptlens import registry
from adaptlens.cli.main import main
from adaptlens.cli.options import user_errors
from adaptlens.store import Run
from adaptlens.studies.compare import plan as comparison
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.convergence.page import ConvergenceReport
from adaptlens.studies.driver import Silent, execute
from convergence_samples import LABELS
from tiny import tiny_config, tiny_model, tiny_tokenizer

ROWS = [
    {"text": f"{i} the {'put' if i % 2 else 'at'}", "label": "pos" if i % 2 else "neg"}
    for i in range(60)
]
WORDS = (
    "--shots", "0,2", "--tuning", "it,full", "--draws", "2", "--set", "tune.max_steps=2",
    "--set", "search_reads=60", "--set", "search_draw_reads=30",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    tiny_model("llama").save_pretrained(folder / "tiny")
    tiny_tokenizer().save_pretrained(folder / "tiny")
    (folder / "rows.json").write_text(json.dumps(ROWS))
    return folder


def invoke(folder: Path, *words: str, code: int = 0):
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, (result.output, result.exception)
    return result


def compare(folder: Path, run: str, *words: str):
    given = ("--model", str(folder / "tiny"), "--task", str(folder / "rows.json"))
    return invoke(folder, "compare", *given, "--out", str(folder / run), *WORDS, *words)


@pytest.fixture(scope="module")
def first(folder):
    return json.loads(compare(folder, "run", "--json").stdout)


def test_every_condition_is_scored_with_an_interval(first):
    accuracy = pd.DataFrame(first["tables"]["accuracy"])
    assert set(accuracy["condition"]) == {
        "zero-shot", "icl-2", "best-prompt-0", "best-prompt-2", "it-2", "best-it-2", "full-2",
        "best-full-2",
    }  # fmt: skip
    fixed = {f"accuracy{rule}" for rule in ("", "_normalized", "_corrected", "_calibrated")}
    assert set(accuracy["metric"]) == {"judged", *fixed}
    assert (accuracy["low"] <= accuracy["value"]).all()
    assert (accuracy["value"] <= accuracy["high"]).all()


def test_stored_scores_are_the_mean_of_stored_answers(folder, first):
    answers = pd.read_parquet(folder / "run" / "tables" / "answers.parquet")
    by_condition = answers.groupby("condition")["correct"].mean()
    accuracy = pd.DataFrame(first["tables"]["accuracy"]).query("metric == 'accuracy'")
    for row in accuracy.itertuples():
        assert row.value == pytest.approx(by_condition[row.condition])


def test_two_draws_are_said_to_support_no_claim(first):
    assert first["verdicts"][0]["state"] == "undecided"
    assert "2 draws support no claim" in first["verdicts"][0]["line"]


def test_the_same_command_does_nothing_again_and_prints_the_same(folder, first):
    again = compare(folder, "run", "--json")
    assert "7 of 7 cells were done before" in " ".join(again.stderr.split())
    assert json.loads(again.stdout)["tables"]["accuracy"] == first["tables"]["accuracy"]


def test_what_a_search_found_is_stored_with_the_run_and_told(folder, first):
    found = pd.DataFrame(first["tables"]["searches"])
    stored = pd.read_parquet(folder / "run" / "tables" / "searches.parquet")
    assert found["options"].tolist() == stored["options"].tolist()
    assert found["condition"].tolist() == ["best-prompt-0", "best-prompt-2", "best-prompt-2"]
    # Each prompt asks about the same item; only those with examples show examples.
    assert all(found["options"].str.startswith("--template '"))
    assert (found["sent"].str.len()[1:] > len(found["sent"][0])).all()
    said = first["verdicts"][0]["allowed"]
    assert "Tuning: it, LoRA" in said and "full, all weights" in said


def test_a_larger_command_adds_only_what_is_missing(folder, first):
    before = set(Run.open(folder / "run").cells())
    compare(folder, "run", "--draws", "3")
    added = set(Run.open(folder / "run").cells()) - before
    specs = [json.loads((folder / "run/cells" / c / "spec.json").read_text()) for c in added]
    assert {(s["adaptation"]["label"], tuple(s["draws"])) for s in specs} == {
        ("icl-2", (2,)),
        ("best-prompt-2", (2,)),
        ("it-2", (2,)),
        ("full-2", (2,)),
    }
    accuracy = pd.read_parquet(folder / "run/tables/accuracy.parquet")
    assert accuracy.set_index("condition")["draws"].to_dict() == {
        "zero-shot": 1,
        "icl-2": 3,
        "best-prompt-0": 1,
        "best-prompt-2": 3,
        "it-2": 3,
        "best-it-2": 3,
        "full-2": 3,
        "best-full-2": 3,
    }


def test_status_report_and_check_read_the_run(folder, first):
    run = str(folder / "run")
    status = json.loads(invoke(folder, "status", run, "--json").stdout)
    assert set(status["counts"]) >= {"done"}
    assert status["counts"]["done"] == len(status["cells"])
    report = json.loads(invoke(folder, "report", run, "--json").stdout)
    assert Path(report["report"]).read_text().lstrip().lower().startswith("<!doctype html>")
    assert "no problem found" in invoke(folder, "check", run).stdout


def test_status_lists_cells_as_they_are_done(folder, first):
    found = json.loads(invoke(folder, "status", str(folder / "run"), "--json").stdout)
    names = [cell["name"].split(" ", 2)[2] for cell in found["cells"]]
    # Draw 2 was added by a larger command; zero-shot and icl are read before anything is tuned.
    kinds = ["zero-shot", "icl-2", "best-prompt-0", "best-prompt-2", "it-2", "full-2"]
    assert list(dict.fromkeys(name.split(" draws ")[0] for name in names)) == kinds
    assert [n for n in names if n.startswith("it-2")] == ["it-2 draws 0-1", "it-2 draws 2-2"]


def test_plan_counts_what_is_left(folder, first):
    given = ("--model", str(folder / "tiny"), "--task", str(folder / "rows.json"))
    out = invoke(
        folder, "plan", *given, *WORDS, "--draws", "9", "--out", str(folder / "run"), "--json"
    )
    rows = {row["condition"]: row for row in json.loads(out.stdout)}
    assert rows["zero-shot"]["draws_done"] == 1
    assert rows["it-2"]["variants_to_tune"] == 9 - rows["it-2"]["draws_done"]
    assert rows["icl-2"]["prompt_characters"] > rows["zero-shot"]["prompt_characters"]


def test_a_corrupted_cell_is_found_and_named(folder, first):
    shutil.copytree(folder / "run", folder / "broken")
    array = next((folder / "broken").glob("cells/*/arrays/behavior.loglik.safetensors"))
    content = bytearray(array.read_bytes())
    content[-1] ^= 255
    array.write_bytes(content)
    result = CliRunner().invoke(main, ["check", str(folder / "broken")])
    assert result.exit_code == 2
    assert array.parent.parent.name in result.stdout


def test_python_does_what_the_command_line_does(folder, first):
    found = adaptlens.prompt_or_tune(
        str(folder / "tiny"),
        str(folder / "rows.json"),
        shots=[0, 2],
        tuning=["it", "full"],
        draws=2,
        tune={"max_steps": 2},
        search_reads=60,
        search_draw_reads=30,
        out=folder / "python",
    )
    wanted = pd.DataFrame(first["tables"]["accuracy"])
    np.testing.assert_allclose(found.accuracy["value"], wanted["value"], rtol=1e-12)
    assert found.page.exists()


def test_the_base_model_is_untouched_by_full_tuning(folder, first):
    assert tiny_config("llama").vocab_size == 320
    digest = {
        json.loads((folder / "run/cells" / c / "spec.json").read_text())["model"]["digest"]
        for c in Run.open(folder / "run").cells()
    }
    assert len(digest) == 1


def test_tasks_and_zoo_describe_what_ships():
    assert "sentiment-novel" in invoke(Path(), "tasks", "list").stdout
    shown = invoke(Path(), "tasks", "show", "translation").stdout
    assert "train" in shown
    assert "validation" in shown


def test_status_imports_neither_arrays_nor_tables(folder, first):
    code = (
        "import sys\nfrom adaptlens.cli.main import main\n"
        f"try: main(['status', {str(folder / 'run')!r}])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'numpy', 'safetensors', 'pandas', 'pyarrow', 'pydantic', 'torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_untrained_copy_runs_beside_its_model(folder):
    tiny = str(folder / "tiny")
    models = [tiny, f"untrained:{tiny}"]
    config = compare_config(
        models=models,
        tasks=str(folder / "rows.json"),
        shots=0,
        tuning=[],
        queries=5,
        validation=1,
        search=False,
    )
    study = comparison.plan(config)
    run = Run.open(folder / "both", create=True)
    execute(study, run, config, Silent())
    trained, fresh = sorted(run.records(), key=lambda record: record.spec["model"]["name"])
    assert (trained.spec["model"]["name"], fresh.spec["model"]["name"]) == (
        "tiny",
        "untrained:tiny",
    )
    assert "random" in fresh.result["notes"][0]
    name = "behavior.loglik"
    assert not np.allclose(trained.arrays[name], fresh.arrays[name])


# The convergence study at the command line; what it finds is tested elsewhere.


def convergence(folder, *words):
    given = ("--model", str(folder / "tiny"), "--task", str(folder / "rows.json"))
    sizes = ("--shots", "2", "--counts", "1,2", "--draws", "3", "--queries", "5")
    return [*words, *given, *sizes, "--factors", "demonstrations", "--set", "untrained=false"]


def test_the_plan_of_a_study_states_the_bytes_of_its_states(folder):
    words = convergence(folder, "plan", "--study", "convergence", "--out", str(folder / "none"))
    rows = {r["condition"]: r for r in json.loads(invoke(folder, *words, "--json").stdout)}
    assert rows["icl-1"]["draws"] == 3
    # 3 draws, 5 queries, 3 layers and two more states of 32 numbers in 4 bytes.
    assert rows["icl-2"]["state_bytes"] == 3 * 5 * 5 * 32 * 4
    assert rows["zero-shot"]["state_bytes"] == 5 * 5 * 32 * 4
    total = sum(row["state_bytes"] for row in rows.values())
    said = invoke(folder, *words).stdout
    assert f"states to store: {total / 1e3:.1f} kB in all" in said
    assert not (folder / "none").exists()


PAIRS = pd.DataFrame(
    [
        ["m", "t", position, layer, final, "icl-16", "it-16", role, measure, value, 0.5, 0.7, 0.25,
         value - 0.25, math.nan, 200, 30]
        for position, layer, final, role, measure, value in [
            ("last", 1, False, "main", "cosine", 0.1111),
            ("last", 2, False, "main", "cosine", 0.6251),
            ("last", 2, False, "main", "centered", 0.4444),
            ("last", 2, False, "main", "cka", 0.2222),
            ("last", 2, False, "control", "cosine", 0.3333),
            ("last", 2, True, "main", "cosine", 0.5555),
            ("labels", 2, False, "main", "cosine", 0.7777),
        ]
    ],
    columns=["model", "task", "position", "layer", "is_final", "left", "right", "role", "measure",
             "value", "low", "high", "baseline", "above", "floor", "queries", "draws"],
)  # fmt: skip

CLAIMS = [
    {"model": "m", "task": "t", "claim": "ICL is [b]implicit[/b] tuning", "state": "not decided",
     "line": "5 draws are too few.", "effect": math.nan, "p": np.float64(0.25)}
]  # fmt: skip


def reported(tables):
    return ConvergenceReport(
        title="t", claims=CLAIMS, tables=tables, prompts=(), versions={},
        settings={"claim": {"measure": "centered"}},
        cells=pd.DataFrame(), notes=["one [note]"], map=pd.DataFrame(), labels=LABELS,
    )  # fmt: skip


@pytest.fixture
def studied(monkeypatch):
    """Stand in for the study: note what it is called with, and give a small report."""
    report = reported({"pairs": PAIRS})
    calls = []

    def run_study(config, *, out, reporter):
        calls.append(config)
        failed = (("abc", "out of memory"),) if config.seed else ()
        return SimpleNamespace(
            report=report, page=Path("p.html"), run_folder="run",
            outcome=SimpleNamespace(failed=failed),
        )  # fmt: skip

    def write_report(run, overrides=()):
        calls.append(overrides)
        return report, Path("p.html")

    module = SimpleNamespace(run_study=run_study, write_report=write_report, calls=calls)
    monkeypatch.setitem(sys.modules, "stand_in", module)
    monkeypatch.setitem(registry.TABLE["study"], "convergence", "stand_in")
    return module


def test_the_last_layer_is_shown_raw_and_by_what_judges_and_nothing_else(folder, studied):
    said = invoke(folder, "study", "convergence").stdout
    shown = [line.split() for line in said.splitlines() if "icl-16" in line and "it-16" in line]
    assert [" ".join(words) for words in shown] == [
        "icl-16 it-16 raw cosine 0.625 [0.500, 0.700] 0.250 – 200 30",
        "icl-16 it-16 centered cosine 0.444 [0.500, 0.700] 0.250 – 200 30",
    ]
    assert "ICL is [b]implicit[/b] tuning: not decided; 5 draws are too few." in said
    assert "note: one [note]" in said
    assert said.rstrip().endswith("report: p.html")


def test_a_study_without_pairs_shows_its_claims():
    summary = reported({}).summary()
    assert (summary.tables, [one.state for one in summary.findings]) == ([], ["not decided"])


def test_a_report_is_had_as_markdown(folder, first):
    said = invoke(folder, "report", str(folder / "run"), "--markdown").stdout
    assert said.startswith("# Prompt or tune?") and "\n- **tiny, rows**: undecided: " in said
    assert "\n| arm | score, % |" in said and "\n|---|---:|" in said
    both = CliRunner().invoke(main, ["report", str(folder / "run"), "--markdown", "--json"])
    assert both.exit_code == 2 and "expected one of them" in both.stderr


def test_claims_and_tables_are_had_as_json(folder, studied):
    found = json.loads(invoke(folder, "study", "convergence", "--json").stdout)
    assert found["claims"] == [{**CLAIMS[0], "effect": None, "p": 0.25}]
    assert found["tables"]["pairs"][1]["value"] == 0.6251
    assert found["tables"]["pairs"][1]["floor"] is None
    assert found["report"] == "p.html"


def test_options_become_settings(folder, studied):
    words = ("--shots", "8", "--counts", "1,8", "--factors", "pairs,dose", "--unrelated", "topic",
             "--full", "--set", "claim.margin=0.2", "--task", "sentiment")  # fmt: skip
    invoke(folder, "study", "convergence", *words)
    (config,) = studied.calls
    assert (config.shots, config.counts, config.factors) == (8, (1, 8), ("pairs", "dose"))
    assert (config.unrelated, config.full, config.claim["margin"]) == ({"path": "topic"}, True, 0.2)
    assert config.tasks == ({"path": "sentiment"},)


def test_failed_cells_of_a_study_end_with_one(folder, studied):
    said = invoke(folder, "study", "convergence", "--seed", "1", code=1).stderr
    assert "cell abc failed: out of memory" in said
    assert "1 cell failed" in said


def test_a_report_is_made_by_the_study_of_the_run(folder, studied, tmp_path):
    settings = {"factors": ["pairs", "dose"]}
    run = Run.open(tmp_path / "run", create=True)
    run.write_json("study.json", {"name": "convergence", "settings": settings, "cells": []})
    invoke(folder, "report", str(run.folder))
    changes = ("claim.measure=cosine", "factors=pairs")
    said = invoke(folder, "report", str(run.folder), "--set", changes[0], "--set", changes[1])
    assert studied.calls == [(), changes]
    assert "report: p.html" in said.stdout


def test_the_public_names_stand_for_what_they_say():
    for name in adaptlens.__all__:
        assert getattr(adaptlens, name) is not None
    assert adaptlens.study_convergence.__name__ == "convergence"


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: os.mkdir("x" * 300), "file name too long"),
        (lambda: os.mkdir("/proc/x"), "no such file or directory"),
        (lambda: Path("/").read_bytes(), "is a directory"),
        (lambda: os.mkdir("/dev/null/x"), "not a directory"),
    ],
)
def test_what_the_operating_system_refuses_is_one_line(refused, words):
    command = click.command("refused")(user_errors(refused))
    done = CliRunner().invoke(command, [])
    assert done.exit_code == 2
    assert words in done.stderr and len(done.stderr.splitlines()) == 1
    assert len(done.stderr) < 400


def test_a_closed_pipe_is_not_an_error_of_a_file():
    def closed():
        raise BrokenPipeError(32, "Broken pipe")

    done = CliRunner().invoke(click.command("closed")(user_errors(closed)), [])
    assert done.exit_code == 1 and "permissions" not in done.stderr
