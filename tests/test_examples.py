"""The examples: they run as they stand, and hold nothing of the machine that they were made on."""

import runpy
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import notebooks
from adaptlens import tasks
from adaptlens.cli.main import main
from cutting import undrawn

FOLDER = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture
def beside(tmp_path: Path, monkeypatch) -> Path:
    """Where an example runs: a folder of its own that holds the file of reviews."""
    shutil.copy(FOLDER / "reviews.tsv", tmp_path)
    shutil.copy(FOLDER / "reviews.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    undrawn(monkeypatch)
    return tmp_path


def test_there_is_a_notebook_for_each_question():
    names = {path.stem for path in NOTEBOOKS}
    assert names == {"prompt_or_tune", "inside_the_model", "many_models"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_was_found(path: Path, beside: Path):
    shown = notebooks.run(path)
    (found,) = (one for one in shown if hasattr(one, "_repr_html_") and hasattr(one, "page"))
    assert found.page.is_file()
    assert len(repr(found).split("\n")) <= 10
    assert found._repr_html_().startswith("<div")
    assert all(len(one) for one in shown if one is not found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_what_it_put_out(path: Path):
    for cell in notebooks.cells(path):
        assert cell["metadata"] == {}
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_reviews_are_those_of_their_generator():
    made = runpy.run_path(str(FOLDER / "make_reviews.py"))["reviews"]()
    lines = ["review\tlabel", *(f"{review}\t{label}" for review, label in made)]
    assert (FOLDER / "reviews.tsv").read_text("utf-8").splitlines() == lines
    task = tasks.load(str(FOLDER / "reviews.tsv"), choices="0=negative,1=positive")
    assert len({*task.train, *task.validation, *task.test}) == len(made) == 200
    assert sum(label for _, label in made) == 100


def test_the_settings_are_those_of_a_comparison(beside: Path):
    ran = CliRunner().invoke(main, ["compare", "--config", "reviews.yaml", "--out", "run"])
    assert ran.exit_code == 0, ran.output
    assert "reference, reviews: " in ran.output
