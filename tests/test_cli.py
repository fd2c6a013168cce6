"""The command line as a user meets it, on a tiny model: compare, extend, status, report, check."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import adaptlens
from adaptlens.cli import main
from adaptlens.store import Run
from tiny import tiny_config, tiny_model, tiny_tokenizer

ROWS = [
    {"text": f"{i} the {'put' if i % 2 else 'at'}", "label": "pos" if i % 2 else "neg"}
    for i in range(60)
]
WORDS = ("--shots", "0,2", "--tuning", "it,full", "--draws", "2", "--set", "tune.steps=2")


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
    assert set(accuracy["condition"]) == {"zero-shot", "icl-2", "it-2", "full-2"}
    assert set(accuracy["metric"]) == {"accuracy", "accuracy_normalised", "accuracy_corrected"}
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
    assert "5 of 5 cells were done before" in " ".join(again.stderr.split())
    assert json.loads(again.stdout)["tables"]["accuracy"] == first["tables"]["accuracy"]


def test_a_larger_command_adds_only_what_is_missing(folder, first):
    before = set(Run.open(folder / "run").cells())
    compare(folder, "run", "--draws", "3")
    added = set(Run.open(folder / "run").cells()) - before
    specs = [json.loads((folder / "run/cells" / c / "spec.json").read_text()) for c in added]
    assert {(s["adaptation"]["label"], tuple(s["draws"])) for s in specs} == {
        ("icl-2", (2,)),
        ("it-2", (2,)),
        ("full-2", (2,)),
    }
    accuracy = pd.read_parquet(folder / "run/tables/accuracy.parquet")
    assert accuracy.set_index("condition")["draws"].to_dict() == {
        "zero-shot": 1,
        "icl-2": 3,
        "it-2": 3,
        "full-2": 3,
    }


def test_status_report_and_check_read_the_run(folder, first):
    run = str(folder / "run")
    status = json.loads(invoke(folder, "status", run, "--json").stdout)
    assert set(status["counts"]) >= {"done"}
    assert status["counts"]["done"] == len(status["cells"])
    report = json.loads(invoke(folder, "report", run, "--json").stdout)
    assert Path(report["report"]).read_text().lstrip().lower().startswith("<!doctype html>")
    assert "no problem found" in invoke(folder, "check", run).stdout


def test_plan_counts_what_is_left(folder, first):
    given = ("--model", str(folder / "tiny"), "--task", str(folder / "rows.json"))
    out = invoke(
        folder, "plan", *given, *WORDS, "--draws", "9", "--out", str(folder / "run"), "--json"
    )
    rows = {row["condition"]: row for row in json.loads(out.stdout)}
    assert rows["zero-shot"]["draws_done"] == 1
    assert rows["it-2"]["variants_to_tune"] == 9 - rows["it-2"]["draws_done"]
    assert rows["icl-2"]["prompt_characters"] > rows["zero-shot"]["prompt_characters"]


def test_a_corrupted_cell_is_found_and_named(folder):
    compare(folder, "broken")
    array = next((folder / "broken").glob("cells/*/arrays/behaviour.loglik.safetensors"))
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
        tune={"steps": 2},
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
