"""What trackers are told of a run; each is asked for real where its package is installed."""

import importlib.util
import json
import os

import pytest
from click.testing import CliRunner

from adaptlens.cli.main import main
from adaptlens.studies import trackers
from adaptlens.studies.compare.analyze import analyze
from faked import compared

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("run") / "small")


@pytest.fixture(scope="module")
def told(run):
    report, _ = analyze(run)
    page = run.folder / "report.html"
    page.write_text("<p>A page.</p>")
    return trackers.told(run, report, page)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to be in, and no settings of trackers."""
    for name in [name for name in os.environ if name.startswith(("WANDB", "MLFLOW", "TRACKIO"))]:
        monkeypatch.delenv(name)
    for name, value in trackers.QUIET.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def installed(name):
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"needs adaptlens[{name}]"
    )


def test_what_is_told_is_what_the_tables_have(run, told):
    table = analyze(run)[0].tables["accuracy"]
    own = table[(table["condition"] == "icl-2") & (table["metric"] == "judged")]
    assert told.numbers["reference/sentiment-novel/icl-2"] == float(own["value"].iloc[0])
    assert told.name == "small" and told.settings["study"] == "compare"
    assert told.settings["draws"] == 2 and json.loads(told.settings["shots"]) == [0, 2]
    assert [*told.verdicts] == ["reference, sentiment-novel"]
    assert told.page.name == "report.html" and [*told.table] == [*trackers.SCORES]


def test_settings_have_dotted_names():
    given = {"tune": {"lora_rank": 8, "max_steps": [1, 2]}, "seed": 0}
    assert trackers._flat(given) == {"tune.lora_rank": 8, "tune.max_steps": "[1, 2]", "seed": 0}


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_done(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = CliRunner().invoke(main, ["compare", "--track", "wandb", "--model", "nothing"])
    assert done.exit_code == 2 and "pip install 'adaptlens[wandb]'" in done.output


def test_what_a_tracker_refuses_is_one_line_and_the_run_is_whole(run, monkeypatch):
    def refuse(found):
        raise ValueError("no such project")

    monkeypatch.setattr(trackers, "check", lambda name: None)
    monkeypatch.setattr(trackers, "TRACKERS", {"wandb": refuse})
    done = CliRunner().invoke(main, ["report", str(run.folder), "--track", "wandb"])
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert "--track wandb: ValueError: no such project; the run is at" in said


@installed("wandb")
def test_wandb_has_an_offline_run(here, told):
    trackers.TRACKERS["wandb"](told)
    (folder,) = (here / "wandb").glob("offline-run-*")
    assert any(path.suffix == ".wandb" for path in folder.iterdir())


@installed("mlflow")
def test_mlflow_has_a_run_in_a_folder(here, told):
    mlflow = pytest.importorskip("mlflow")
    trackers.TRACKERS["mlflow"](told)
    (found,) = mlflow.search_runs(experiment_names=["adaptlens"], output_format="list")
    assert found.info.run_name == "small" and found.data.params["draws"] == "2"
    name = "reference/sentiment-novel/icl-2"
    assert found.data.metrics[name] == pytest.approx(told.numbers[name])
    assert [*here.glob("mlruns/**/artifacts/report.html")]
    assert [*here.glob("mlruns/**/artifacts/scores.csv")]


@installed("trackio")
def test_trackio_has_a_run_in_its_folder(here, told):
    trackers.TRACKERS["trackio"](told)
    assert [path for path in here.rglob("*") if path.suffix in (".db", ".parquet")]
