"""Calls from Python: objects beside names, in every study, and what cannot go together."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import transformers

import adaptlens
from adaptlens import tasks
from adaptlens.errors import UserError
from adaptlens.models import shipped
from adaptlens.studies.compare.config import COMPARISON
from adaptlens.studies.python_call import settings_of, told
from cutting import undrawn
from tiny import tiny_model, tiny_tokenizer

ROWS = [{"text": f"film number {i} was fine", "label": ["good", "bad"][i % 2]} for i in range(40)]
SMALL: dict[str, Any] = {
    "shots": [0, 2],
    "draws": 2,
    "tuning": ["it", "full"],
    "queries": 8,
    "search": False,
    "num_templates": 1,
    "tune": {"max_steps": [3], "lr_multipliers": [1]},
    "quiet": True,
}


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    undrawn(monkeypatch)


def reference() -> dict[str, Any]:
    folder = shipped.folder("reference")
    return {
        "model": transformers.AutoModelForCausalLM.from_pretrained(folder),
        "tokenizer": transformers.AutoTokenizer.from_pretrained(folder),
    }


def test_a_loaded_model_scores_as_the_same_model_by_its_name(tmp_path: Path):
    given = reference()
    before = {name: value.clone() for name, value in given["model"].state_dict().items()}
    names = {"model": "reference", "task": "sentiment-novel"}
    objects = {**given, "task": tasks.load("sentiment-novel")}
    found = [
        adaptlens.prompt_or_tune(**one, **SMALL, out=tmp_path / str(i)).accuracy.drop(
            columns=["cell"]
        )
        for i, one in enumerate((names, objects))
    ]
    pd.testing.assert_frame_equal(*found)
    after = given["model"].state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_same_call_again_finds_its_cells_and_another_model_or_other_data_do_not(tmp_path: Path):
    calls = [
        {**reference(), "task": pd.DataFrame(ROWS)},
        {**reference(), "task": ROWS},
        {**reference(), "task": ROWS[:-1]},
        {"model": tiny_model("llama", max_position_embeddings=999), "task": ROWS,
         "tokenizer": tiny_tokenizer()},
    ]  # fmt: skip
    small = {**SMALL, "tuning": [], "shots": [0]}
    done = [adaptlens.prompt_or_tune(**one, **small, out=tmp_path).outcome for one in calls]
    assert [one.finished for one in done] == [1, 0, 1, 1]


def test_workers_of_a_run_get_its_tasks_and_not_its_models(tmp_path: Path):
    given = {**reference(), "task": ROWS, **SMALL, "out": tmp_path}
    with pytest.raises(UserError, match="loaded in this process, and engine asks for others"):
        adaptlens.prompt_or_tune(**given, engine={"workers": 2})
    assert not (tmp_path / "study.json").exists()
    small = {**given, "tuning": [], "shots": [0]}
    adaptlens.prompt_or_tune(**small)
    stored = json.loads((tmp_path / "loading.json").read_text("utf-8"))["models"]
    with pytest.raises(UserError, match="can be had only in the call"):
        adaptlens.prompt_or_tune(**{**small, "model": stored["reference"], "tokenizer": None})


@pytest.mark.parametrize("study", ["convergence", "implicit", "limits"])
def test_every_study_takes_a_loaded_model_and_rows(study: str, tmp_path: Path, monkeypatch):
    """What a study is given to carry out: names for the objects, which are there meanwhile."""
    from adaptlens import registry

    seen = {}

    def run_study(config: Any, *, out: Any, reporter: Any) -> str:
        source = {key: value for key, value in config.tasks[0].items() if key != "cluster"}
        seen["task"] = tasks.load(source.pop("path"), **source)
        seen["model"] = config.models[0]
        return "found"

    plan = registry.resolve("study", study)
    monkeypatch.setattr(plan, "run_study", run_study)
    call = getattr(adaptlens, f"study_{study}")
    given = {"name": "films", "choices": ["good", "bad"], "instruction": "Good?", "cluster": "x"}
    assert call(**reference(), task=pd.DataFrame(ROWS), **given, quiet=True) == "found"
    assert (seen["task"].name, seen["task"].instruction) == ("films", "Good?")
    assert seen["model"].startswith("loaded:reference@")


def settings(**given: Any) -> dict[str, Any]:
    with settings_of(COMPARISON, given, given.pop("tokenizer", None)) as found:
        return dict(found)


def test_what_a_call_says_of_reading_goes_to_every_task_that_does_not_say_it_itself():
    found = settings(
        task=["a.tsv", {"path": ROWS, "input": "text", "name": "films"}],
        input="review",
        target="label",
        ood={"tweets": ROWS, "other": "b.tsv"},
        also=["text.txt", {"path": ROWS, "name": "more"}],
        shots=[0],
    )
    assert found["shots"] == [0]
    assert found["tasks"][0] == {"path": "a.tsv", "input": "review", "target": "label"}
    path = found["tasks"][1].pop("path")
    assert path.startswith("data:films@")
    assert found["tasks"][1] == {"input": "text", "target": "label"}
    assert found["ood"]["tweets"]["path"].startswith("data:tweets@")
    assert found["ood"]["other"] == {"path": "b.tsv", "input": "review", "target": "label"}
    assert found["also"][0] == {"path": "text.txt"}
    assert found["also"][1]["path"].startswith("data:more@")
    assert settings(models=["reference"], task="a.tsv")["models"] == ["reference"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": ROWS, "tasks": "a.tsv"}, "task and tasks are one setting"),
        ({"input": "text"}, "input says how to read a task, but no task was given"),
        (
            {"task": [{"path": rows, "name": "films"} for rows in (ROWS, ROWS[:9])]},
            "two tasks would be called 'films'",
        ),
        ({"task": "a.tsv", "name": "films"}, "name='films' was given for 'a.tsv'"),
        ({"task": ROWS, "name": 3}, "name=3 was given for a task; expected a text"),
        ({"task": None}, "a task is an object of type NoneType"),
        ({"models": "reference", "tokenizer": "x"}, "tokenizer was given, but no loaded model"),
        ({"models": object()}, "model is an object of type object"),
    ],
)
def test_what_does_not_go_together_is_one_line(given: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        settings(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dtype": "bfloat16"}, "dtype is 'bfloat16', but the loaded model .* is in float32"),
        ({"device": "cuda"}, "device is 'cuda', but the loaded model .* is on cpu"),
        ({"quantize": "4bit"}, "quantize='4bit' was given for the loaded model"),
    ],
)
def test_a_loaded_model_is_used_as_it_is(given: dict[str, Any], said: str):
    model = {"models": tiny_model("llama"), "tokenizer": tiny_tokenizer()}
    assert settings(**model)["dtype"] == "float32"
    half = {**model, "models": tiny_model("llama").to(torch.bfloat16)}
    assert settings(**half)["dtype"] == "bfloat16"
    with pytest.raises(UserError, match="dtype is 'float32', but the loaded model"):
        settings(**{**half, "models": [half["models"], "reference"]})
    with pytest.raises(UserError, match="given twice"):
        settings(**{**model, "models": [model["models"], model["models"]]})
    with pytest.raises(UserError, match=said):
        settings(**model, **given)


def test_a_call_shows_its_progress_unless_it_is_to_be_quiet(capsys):
    for quiet in (False, True):
        with told(None, quiet) as shown:
            shown.begin(3, 1)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "1 of 3 cells were done before; continuing.\n"


def test_a_notebook_shows_what_the_caller_can_fix_in_one_line():
    assert UserError("given 3;\nexpected 4")._render_traceback_() == [
        "UserError: given 3;\\nexpected 4"
    ]
