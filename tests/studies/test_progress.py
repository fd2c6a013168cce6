"""What every study does with its plan: the folder it runs in, and how much of it is done."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adaptlens
import tiny
from adaptlens.cells import Cell, Component, Study
from adaptlens.engines import Outcome
from adaptlens.store import cell_id
from adaptlens.studies.compare import plan
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.convergence import plan as convergence
from adaptlens.studies.convergence.config import convergence_config
from adaptlens.studies.driver import Silent
from adaptlens.studies.implicit import plan as implicit
from adaptlens.studies.implicit.config import implicit_config
from adaptlens.studies.limits import plan as limits
from adaptlens.studies.limits.config import limits_config
from adaptlens.studies.progress import default_folder
from adaptlens.studies.stored import task_notes
from adaptlens.types import ModelSpec, Task, TaskSpec

ROWS = [{"text": f"{i} the {'put' if i % 2 else 'at'}", "label": f"{i % 2}"} for i in range(80)]
NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=90), min_size=1, max_size=12, unique=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.tiny_model("llama", max_position_embeddings=2048).save_pretrained(folder / "tiny")
    tiny.tiny_tokenizer().save_pretrained(folder / "tiny")
    (folder / "rows.json").write_text(json.dumps(ROWS))
    return folder


def study_of(models, tasks, name: str = "compare") -> Study:
    cells = tuple(
        Cell(ModelSpec(model), TaskSpec(task), Component("icl", {}), "icl-4", (), (0,), 0)
        for model in models
        for task in tasks
    )
    return Study(name, {}, cells, {})


@pytest.mark.parametrize(
    ("study", "folder"),
    [
        (study_of(["reference"], ["translation"]), "reference-translation"),
        (study_of(["a", "b", "c"], ["x", "y", "z"]), "a+b+c-x+y+z"),
        (study_of(["untrained:org/m"], ["my task"]), "untrained_org_m-my_task"),
        (study_of(["m"], ["t"], "limits"), "limits-m-t"),
        (study_of(["m"], ["t" * 60]), "m-" + "t" * 60),
        # Digits: the first 8 of sha256sum of ["a","b","c","d"], ["xx..."] and ["yy...","zz..."].
        (study_of(["a", "b", "c", "d"], ["t"]), "a+3-more-bb037af0-t"),
        (study_of(["m"], ["x" * 61]), "m-" + "x" * 40 + "-9b9968df"),
        (study_of(["m"], ["y" * 50, "z" * 10]), "m-" + "y" * 40 + "+1-more-54f252a6"),
    ],
)  # fmt: skip
def test_the_folder_of_a_study_by_hand(study, folder):
    assert default_folder(study) == Path("runs") / folder


@given(NAMES, NAMES, st.sampled_from(["compare", "convergence", "implicit", "limits"]))
def test_every_folder_can_be_made_anywhere(models, tasks, name):
    assert len(default_folder(study_of(models, tasks, name)).name) < 150


@given(NAMES, NAMES, NAMES)
def test_other_models_or_tasks_have_another_folder(these, those, tasks):
    same = these == those
    assert (
        default_folder(study_of(these, tasks)) == default_folder(study_of(those, tasks))
    ) == same
    assert (
        default_folder(study_of(tasks, these)) == default_folder(study_of(tasks, those))
    ) == same


def test_all_families_of_patterns_have_a_folder_that_can_be_made():
    study = implicit.plan(implicit_config(models=["reference-math"], quick=True))
    assert len({cell.task.name for cell in study.cells}) > 3
    assert default_folder(study).name.startswith("implicit-reference-math-")
    assert len(default_folder(study).name) < 80


@pytest.mark.parametrize(
    ("study", "config"),
    [
        (plan, compare_config(tasks=["sentiment"])),
        (convergence, convergence_config(tasks=["sentiment"], untrained=False)),
        (implicit, implicit_config(families=["boolean"], quick=True)),
        (limits, limits_config(quick=True)),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_cells_of_quantized_weights_are_other_cells(study, config):
    ids = [
        {cell_id(cell.spec()) for cell in study.plan(replace(config, quantize=bits)).cells}
        for bits in (None, "8bit", "4bit")
    ]
    assert all(ids) and ids[0].isdisjoint(ids[1] | ids[2]) and ids[1].isdisjoint(ids[2])


def test_a_plan_without_a_folder_finds_what_is_done(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = limits_config(
        models=[str(folder / "tiny")],
        tasks=[{"path": str(folder / "rows.json"), "cluster": "words"}],
        mixtures=["default"], systems=["base", "gold", "regular", "pipeline"], draws=1,
        gold_draws=1, size=20, queries=4, variations=[], tune={"max_steps": [1], "lora_rank": 2},
    )  # fmt: skip
    found = limits.run_study(config, out=None, reporter=Silent())
    assert not found.outcome.failed
    rows = limits.planned_work(limits.plan(config), None)
    assert [(row["draws_done"], row["draws"]) for row in rows] == [(1, 1)] * 4
    # The pipeline is a base model that reads what the samplegen model wrote.
    assert found.report.title.endswith("1 base, 2 tuned models, 1 task")


def test_a_study_gives_its_claims_and_its_own_table(tmp_path):
    judged = [{"claim": "one", "state": "supported"}, {"claim": "two", "state": "refuted"}]
    scores = pd.DataFrame({"value": [0.5]})
    report = SimpleNamespace(claims=judged, tables={"scores": scores})
    found = adaptlens.Limits(report, Outcome(1, 0, ()), tmp_path, tmp_path / "report.html")
    assert found.claims["state"].tolist() == ["supported", "refuted"]
    assert found.scores is scores


def test_a_note_of_several_tasks_is_said_once():
    tasks = [
        ("a", ("Drawn with seed 0.", "3 items left out.")),
        ("b", ("Drawn with seed 0.",)),
        ("c", ()),
        ("a", ("Drawn with seed 0.",)),
    ]
    tasks = [Task(name, "choice", (), (), (), notes=notes) for name, notes in tasks]
    assert task_notes(tasks) == ["a, b: Drawn with seed 0.", "a: 3 items left out."]


def test_another_study_of_the_same_name_has_a_folder_of_its_own(
    folder, tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text(
        "\n".join(["text,other,label", *(f"w{i},x{i},{'ab'[i % 2]}" for i in range(40))])
    )

    def compared(column: str, **changes: object) -> Path:
        found = adaptlens.prompt_or_tune(
            str(folder / "tiny"), "rows.csv", input=column, target="label", shots=[0], tuning=[],
            search=False, queries=6, validation=4, quiet=True, **changes,
        )  # fmt: skip
        return found.run_folder

    first = compared("text")
    page = (first / "report.html").read_text()
    second = compared("other")
    assert second == first.with_name(f"{first.name}-2")
    assert (
        f"{first} holds another study; this one is in {second} (--out names a folder)"
        in caplog.text
    )
    assert (first / "report.html").read_text() == page
    assert (compared("text"), compared("other")) == (first, second)
    assert compared("text", num_templates=3) == first.with_name(f"{first.name}-3")
