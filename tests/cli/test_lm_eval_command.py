"""`adaptlens lm-eval` hands on what it is given, with this project's model unless one is named."""

import importlib.util

import pytest
from click.testing import CliRunner

from adaptlens.cli.lm_eval_command import _with_model
from adaptlens.cli.main import main


@pytest.mark.parametrize(
    "named", [("--model", "hf"), ("--model=hf",), ("-M", "hf"), ("--config", "a.yaml")]
)
def test_a_model_that_is_named_stays(named):
    assert _with_model(("--tasks", "sst2", *named)) == ["--tasks", "sst2", *named]


def test_a_run_that_names_no_model_has_this_projects():
    assert _with_model(("run", "--tasks", "sst2"))[-2:] == ["--model", "adaptlens"]
    assert _with_model(("--tasks", "sst2"))[-2:] == ["--model", "adaptlens"]


def test_what_is_no_run_gets_none():
    assert _with_model(("ls", "tasks")) == ["ls", "tasks"]
    assert _with_model(("--help",)) == ["--help"]


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = CliRunner().invoke(main, ["lm-eval", "--tasks", "sst2"])
    assert done.exit_code == 2
    assert "pip install 'adaptlens[lm-eval]'" in done.output


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    evaluated = pytest.importorskip("lm_eval.__main__")

    def offline() -> None:
        raise ConnectionError("Couldn't reach 'allenai/ai2_arc' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(evaluated, "cli_evaluate", offline)
    done = CliRunner().invoke(main, ["lm-eval", "--tasks", "arc_easy"])
    assert done.exit_code == 2
    assert done.stderr == (
        "error: lm-eval could not load a data set: Couldn't reach 'allenai/ai2_arc' on the Hub "
        "(OfflineModeIsEnabled); go online, or give tasks whose data are in the Hugging Face "
        "cache.\n"
    )
