"""Bad input at the command line: one line on stderr, exit code 2, nothing left behind."""

import json
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from adaptlens.cli.main import main
from adaptlens.store import Run
from tests.lm import test_load as models
from tests.tasks import test_bad_input_tasks as data
from tiny import tiny_folder


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def refused(*words: str) -> str:
    """Run the command line; return its one-line message, having checked everything else."""
    result = CliRunner().invoke(main, [*words, "--out", "run"])
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    assert not Path("run").exists()
    return last_line(result.stderr)


def last_line(talk: str) -> str:
    """Return what was said last; progress bars of libraries may stand before it."""
    return talk.strip().splitlines()[-1]


def one_line(message: str) -> str:
    assert message.startswith("error: ")
    return message


@pytest.mark.parametrize(
    ("make", "settings", "fragments"),
    [pytest.param(*row[1:], id=row[0]) for row in data.TABLE],
)
def test_data_that_cannot_be_used(make, settings, fragments, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    wish = {"path": make(folder), **settings}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"tasks": [wish]}))
    message = one_line(refused("compare", "--config", "study.yaml"))
    if set(settings) <= {"input", "target", "choices"}:
        for fragment in fragments:
            assert fragment in message


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("llama"), "llama")


@pytest.mark.parametrize("case", models.SPOILED)
def test_models_that_cannot_be_used(case, tmp_path):
    folder = tiny_folder(tmp_path, "llama")
    models.SPOILED[case][0](folder)
    result = CliRunner().invoke(
        main, ["compare", "--model", str(folder), "--task", "sentiment", "--out", "run"]
    )
    assert result.exit_code == 2
    one_line(last_line(result.stderr))
    assert not list(Path().glob("run/cells/*/result.json"))


WORDS = [
    ("unknown model", ["--model", "referense"], ["referense", "'reference'"]),
    ("unknown task", ["--task", "sentimnt"], ["unknown task", "'sentiment'"]),
    ("unknown tuning", ["--tuning", "it,sll"], ["sll", "'sl'"]),
    ("unknown selection", ["--selection", "balancd"], ["balancd", "balanced"]),
    ("unknown overflow rule", ["--on-overflow", "drop"], ["drop", "drop-demos"]),
    ("unknown dtype", ["--dtype", "float8"], ["float8", "float32"]),
    ("unknown setting", ["--set", "tune.rnk=3"], ["tune.rnk", "'tune.lora_rank'"]),
    ("unknown top setting", ["--set", "shotz=3"], ["shotz", "'shots'"]),
    ("set without value", ["--set", "margin"], ["margin"]),
    ("negative draws", ["--draws", "-1"], ["draws", "-1", "at least 1"]),
    ("no draws", ["--draws", "0"], ["draws", "0", "at least 1"]),
    ("negative shots", ["--shots", "-4"], ["shots", "-4", "at least 0"]),
    ("no queries", ["--queries", "0"], ["queries", "0", "at least 1"]),
    ("rank zero", ["--set", "tune.lora_rank=0"], ["rank", "0"]),
    ("rate not a number", ["--set", "tune.learning_rate=fast"], ["rate", "fast"]),
    ("more shots than examples", ["--shots", "600"], ["600", "512", "at most 512"]),
    ("more tuning than examples", ["--sizes", "9999"], ["9999", "at most"]),
    ("missing config", ["--config", "nothing.yaml"], ["nothing.yaml"]),
]


@pytest.mark.parametrize(
    ("words", "fragments"), [pytest.param(w, f, id=name) for name, w, f in WORDS]
)
def test_words_that_mean_nothing(words, fragments):
    message = one_line(refused("compare", *words))
    for fragment in fragments:
        assert fragment in message


STUDY_WORDS = [
    ("misspelled prefix", ["--model", "untraind:reference"], ["untraind", "'untrained'"]),
    ("prefix twice", ["--model", "chat:chat:reference"], ["chat:chat:reference", "write it once"]),
    ("prefix of nothing", ["--model", "untrained:"], ["names no model", "untrained:reference"]),
    ("untrained nothing", ["--model", "untrained:referense"], ["referense", "'reference'"]),
    ("several shots", ["--shots", "0,4"], ["--shots 0,4", "--shots 16", "--counts"]),
    ("no shots", ["--shots", "0"], ["shots", "given 0", "at least 1"]),
    ("shots without a number", ["--shots", ","], ["--shots", "--shots 16"]),
    ("no count", ["--counts", "0,4"], ["counts", "given 0", "at least 1"]),
    ("count twice", ["--counts", "4,4"], ["counts", "'4' is given twice"]),
    ("unknown factor", ["--factors", "pairs,layer"], ["'layer'", "'layers'"]),
    ("unknown unrelated task", ["--unrelated", "topik"], ["topik", "'topic'"]),
    ("draws of factors", ["--draws", "4", "--set", "factor_draws=5"], ["factor_draws", "5", "4"]),
    (
        "checkpoint_steps that fall",
        ["--set", "checkpoint_steps=8,4"],
        ["checkpoint_steps", "[8, 4]", "larger than the one before"],
    ),
    ("unknown claim", ["--set", "claim.measur=cosine"], ["claim.measur", "'claim.measure'"]),
    ("unknown placeholder", ["--set", "wordings.a={text}"], ["wordings.a", "{text}", "{choices}"]),
    ("few bits", ["--set", "quantize=4bit"], ["quantize", "untrained", "leave out quantize"]),
    ("a setting of compare", ["--set", "prices.gpu_hour=2"], ["unknown key 'prices'"]),
    ("more shots than examples", ["--shots", "600"], ["600", "512", "at most 512"]),
    ("more counts than examples", ["--counts", "1,600"], ["600", "512", "at most 512"]),
]


@pytest.mark.parametrize(
    ("words", "fragments"), [pytest.param(w, f, id=name) for name, w, f in STUDY_WORDS]
)
def test_words_that_mean_nothing_to_the_convergence_study(words, fragments):
    message = one_line(refused("study", "convergence", *words))
    for fragment in fragments:
        assert fragment in message


PLAN_WORDS = [
    ("unknown study", ["--study", "converge"], ["unknown study 'converge'", "'convergence'"]),
    ("ways of tuning", ["--study", "convergence", "--tuning", "it"], ["--tuning", "convergence"]),
    ("sizes", ["--study", "convergence", "--sizes", "4"], ["--sizes", "leave it out"]),
    ("factors", ["--factors", "pairs"], ["--factors", "'compare'", "--study"]),
    ("unrelated", ["--unrelated", "topic"], ["--unrelated", "'compare'"]),
]


@pytest.mark.parametrize(
    ("words", "fragments"), [pytest.param(w, f, id=name) for name, w, f in PLAN_WORDS]
)
def test_options_of_another_study_are_not_passed_over(words, fragments):
    message = one_line(refused("plan", *words))
    for fragment in fragments:
        assert fragment in message


def test_models_that_would_need_what_they_do_not_have(llama):
    template = one_line(refused_at_run(llama, f"chat:{llama}"))
    assert "has no chat template" in template


def refused_at_run(llama, name: str) -> str:
    words = ["--model", name, "--task", "sentiment", "--shots", "0", "--queries", "2"]
    result = CliRunner().invoke(main, ["compare", *words, "--out", "run"])
    assert result.exit_code == 2, (result.output, result.exception)
    return last_line(result.stderr)


def stored_run(name: str, settings=None) -> None:
    """Make a run of a study of this name, with no cells."""
    Run.open("run", create=True).write_json(
        "study.json", {"name": name, "settings": settings or {}, "cells": []}
    )


def report_refused(*words: str) -> str:
    result = CliRunner().invoke(main, ["report", "run", *words])
    assert result.exit_code == 2, (result.output, result.exception)
    return one_line(last_line(result.stderr))


def test_a_report_of_a_study_nobody_knows():
    stored_run("convergense")
    assert "unknown study 'convergense'; did you mean 'convergence'?" in report_refused()


def test_a_report_of_a_run_without_a_study():
    Run.open("run", create=True)
    assert "holds no study" in report_refused()


def test_a_report_of_a_comparison_takes_no_other_settings():
    stored_run("compare")
    assert "--set margin=3" in report_refused("--set", "margin=3")


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("draws=9", "'draws' decides what is measured"),
        ("tune.lora_rank=2", "'tune' decides what is measured"),
        ("factors=pairs,labels", "'labels' was not measured in this run"),
        ("measurs=cka", "did you mean 'measures'?"),
    ],
)
def test_a_report_does_not_change_what_was_measured(override, fragment):
    stored_run("convergence", {"factors": ["pairs", "dose"]})
    assert fragment in report_refused("--set", override)


def test_the_check_of_a_shipped_model_takes_no_prefix():
    result = CliRunner().invoke(main, ["zoo", "check", "untrained:reference"])
    assert result.exit_code == 2
    assert "'untrained:reference' has a prefix" in one_line(last_line(result.stderr))


def test_a_list_of_shots_that_is_none():
    result = CliRunner().invoke(main, ["compare", "--shots", "0,four"])
    assert result.exit_code == 2
    assert "'0,four' is not a list of whole numbers; write for example 0,4,16" in result.stderr


def test_columns_without_a_task():
    message = one_line(refused("compare", "--input", "text"))
    assert "add --task" in message


def test_a_config_with_an_unknown_key_names_file_and_nearest():
    Path("study.yaml").write_text("modells: [reference]\n")
    message = one_line(refused("compare", "--config", "study.yaml"))
    assert "study.yaml" in message
    assert "'models'" in message


def test_a_prompt_over_the_context_names_example_and_excess(tmp_path, llama):
    rows = [{"text": f"{i} " + "word " * 80, "label": "ab"[i % 2]} for i in range(20)]
    Path("long.json").write_text(json.dumps(rows))
    words = ["--model", str(llama), "--task", "long.json", "--shots", "4", "--out", "run"]
    result = CliRunner().invoke(main, ["compare", *words, "--tuning", "it"])
    assert result.exit_code == 2
    message = one_line(last_line(result.stderr))
    assert "tokens longer than the context of 256 tokens" in message
    assert not list(Path().glob("run/cells/*/result.json"))


@pytest.mark.parametrize("verb", ["status", "report", "check"])
def test_a_folder_that_is_no_run(verb):
    Path("other").mkdir()
    result = CliRunner().invoke(main, [verb, "other"])
    assert result.exit_code == 2
    assert "is not a run" in one_line(last_line(result.stderr))


@pytest.mark.parametrize("verb", ["status", "report", "check"])
def test_a_run_of_a_newer_version(verb):
    Path("newer").mkdir()
    Path("newer/run.json").write_text('{"format": 99}')
    result = CliRunner().invoke(main, [verb, "newer"])
    assert result.exit_code == 2
    assert "newer adaptlens" in one_line(last_line(result.stderr))


def test_a_file_where_the_run_should_be():
    Path("run.txt").write_text("mine")
    result = CliRunner().invoke(main, ["compare", "--out", "run.txt"])
    assert result.exit_code == 2
    one_line(last_line(result.stderr))
    assert Path("run.txt").read_text() == "mine"


def test_a_folder_with_other_files_is_not_taken_for_a_run():
    Path("thesis").mkdir()
    Path("thesis/chapter.md").write_text("mine")
    result = CliRunner().invoke(main, ["compare", "--out", "thesis"])
    assert result.exit_code == 2
    assert "chapter.md" in one_line(last_line(result.stderr))
    assert os.listdir("thesis") == ["chapter.md"]


@pytest.mark.parametrize("name", ["referense", "nothing"])
def test_an_unknown_shipped_model(name):
    result = CliRunner().invoke(main, ["zoo", "show", name])
    assert result.exit_code == 2
    assert name in one_line(last_line(result.stderr))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["compare", "--shotz", "3"],
            "error: no such option '--shotz'. (Did you mean one of: '--out', '--set', '--shots'?). "
            "See `main compare --help`.\n",
        ),
        (
            ["compar"],
            "error: no such command 'compar'. Did you mean 'compare'? See `main --help`.\n",
        ),
        (
            ["models", "gett"],
            "error: no such command 'gett'. Did you mean 'get'? See `main models --help`.\n",
        ),
        (["report"], "error: missing argument 'RUN'. See `main report --help`.\n"),
    ],
)
def test_a_command_line_that_is_none_is_one_line_like_every_other_error(words, said):
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", said)


def test_an_arm_that_is_nothing_is_told_what_an_arm_may_be():
    message = refused("compare", "--model", "reference", "--task", "topic", "--arm", "mine=nope")
    assert message.startswith("error: arm 'mine': 'nope' is no file, no folder and no model")
    assert "adapter_config.json" in message


def test_a_gate_on_an_arm_that_is_not_there_names_those_that_are():
    message = refused(
        "compare", "--model", "reference", "--task", "topic", "--shots", "0,2", "--tuning", "it",
        "--gate", "mine >= base",
    )  # fmt: skip
    assert message == (
        "error: gate 'mine >= base': unknown arm 'mine'; known: base, best-icl-2, best-it-2, "
        "best-prompt-0, best-prompt-2, best-zero-shot, chance, icl-2, it-2, majority, zero-shot."
    )
