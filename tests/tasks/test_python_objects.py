"""Data from Python: the same rows give the same task, whatever holds them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens import tasks
from adaptlens.cells import task_digest
from adaptlens.errors import UserError
from adaptlens.tasks import python_objects
from adaptlens.types import Example, Task

ROWS = [{"text": f"film number {i} was fine", "label": ["good", "bad"][i % 2]} for i in range(30)]


def of(value: object, label: str = "reviews", **settings: object) -> Task:
    data = python_objects.read(value, label)
    with python_objects.held({data.source: data}):
        return tasks.load(data.source, **settings)


def of_file(folder: Path, **settings: object) -> Task:
    path = folder / "reviews.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return tasks.load(str(path), **settings)


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        tuple(ROWS),
        pd.DataFrame(ROWS),
        pd.DataFrame(ROWS, index=range(100, 130)).astype({"label": "category", "text": "string"}),
        datasets.Dataset.from_list(ROWS),
    ],
    ids=["list", "tuple", "frame", "frame-of-other-types", "dataset"],
)
def test_the_same_rows_as_a_file_and_as_an_object_are_the_same_task(value, tmp_path: Path):
    settings = {"instruction": "Good or bad?", "choices": "good,bad", "seed": 3}
    assert task_digest(of(value, **settings)) == task_digest(of_file(tmp_path, **settings))


def test_what_changes_the_task_changes_its_digest_and_the_name_of_the_data():
    other = [*ROWS[:-1], {**ROWS[-1], "label": "good"}]
    assert task_digest(of(ROWS)) != task_digest(of(other))
    assert task_digest(of(ROWS)) != task_digest(of(ROWS, "films"))
    sources = {python_objects.read(value, "reviews").source for value in (ROWS, other)}
    assert len(sources) == 2
    assert python_objects.read(pd.DataFrame(ROWS), "reviews").source in sources


def test_splits_are_those_given(tmp_path: Path):
    parts = {"train": ROWS[:20], "test": ROWS[20:]}
    hub = datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in parts.items()})
    frames = {split: pd.DataFrame(rows) for split, rows in parts.items()}
    column = pd.DataFrame(ROWS).assign(split=["train"] * 20 + ["test"] * 10)
    found = [of(value) for value in (parts, hub, frames, column)]
    assert {example.input for example in found[0].test} == {row["text"] for row in ROWS[20:]}
    assert len({task_digest(task) for task in found}) == 1


def test_names_of_class_labels_are_the_answers():
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["good", "bad"])}
    )
    assert of(datasets.Dataset.from_list(ROWS, features=features)).choices == ("bad", "good")


def test_what_is_missing_in_a_frame_is_missing_in_the_task():
    cells = [None, float("nan"), pd.NA, np.nan, pd.NaT]
    frame = pd.DataFrame(ROWS).astype(object)
    for place, cell in enumerate(cells):
        frame.loc[place, "text"] = cell
    with pytest.raises(UserError, match=r"5 of 30 rows have an empty .*\(rows 1, 2, 3, 4, 5\)"):
        of(frame)
    assert {e.input for e in of(frame, drop_empty=True).train} <= {r["text"] for r in ROWS[5:]}


@given(st.lists(st.integers(-5, 5) | st.booleans() | st.text("abc ", min_size=1), min_size=1))
def test_cells_of_a_frame_are_those_of_a_list(cells):
    rows = [{"a": cell, "b": "x"} for cell in cells]
    frame = pd.DataFrame(rows).astype(object)
    assert python_objects.read(frame, "x").source == python_objects.read(rows, "x").source


def test_an_index_with_a_name_is_said_not_to_be_read():
    frame = pd.DataFrame(ROWS).assign(user=range(30)).set_index("user")
    assert "The index of reviews is not read: 'user'." in of(frame).notes


def test_a_task_is_taken_as_it_is():
    examples = tuple(Example(str(i), row["text"], row["label"]) for i, row in enumerate(ROWS))
    task = Task("mine", "choice", examples[:10], (), examples[10:], choices=("good", "bad"))
    assert of(task, "") == task
    assert of(task, "yours", limit_test=5) == replace(task, name="yours", test=task.test[:5])
    with pytest.raises(UserError, match="choices='a,b' was given for the task 'mine'"):
        of(task, "", choices="a,b")
    with pytest.raises(UserError, match="the id '0' twice in its train split"):
        of(replace(task, train=(examples[0], examples[0])), "")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (pd.DataFrame(ROWS).iloc[:0], "have no rows \\(columns: text, label\\)"),
        (pd.DataFrame(ROWS)["text"], "one column, a Series; expected a DataFrame"),
        (pd.DataFrame([["a", "b"]], columns=["x", "x"]), "the column 'x' twice"),
        (pd.DataFrame(ROWS).pivot(columns="label"), "columns of 2 levels"),
        (datasets.Dataset.from_list(ROWS).to_iterable_dataset(), "without streaming=True"),
        ([*ROWS, 3], "1 entries that are not records \\(record 31\\)"),
        ({"first": ROWS}, "names the split 'first'; expected train, validation"),
        ([{"text": object(), "label": "a"}] * 9, "row|record 1: column 'text' holds a object"),
        ([{"text": b"a", "label": "a"}] * 9, "column 'text' holds a bytes"),
        (np.zeros(3), "are of type ndarray; expected a pandas DataFrame"),
    ],
)
def test_what_no_task_can_be_read_from_is_one_line(value, said: str):
    with pytest.raises(UserError, match=said) as raised:
        of(value)
    assert "\n" not in str(raised.value)


def test_settings_that_say_how_to_read_a_file_are_refused():
    for setting in ({"header": True}, {"references": "a.txt"}, {"max_file_bytes": 3}):
        with pytest.raises(UserError, match=r"was given for the data 'reviews', which are no file"):
            of(ROWS, **setting)


def test_data_are_there_as_long_as_they_are_held():
    data = python_objects.read(ROWS)
    with pytest.raises(UserError, match="can be had only in the call that it was given to"):
        tasks.load(data.source)


@pytest.mark.parametrize(
    ("value", "is_data"),
    [
        (ROWS, True),
        ({"train": ROWS}, True),
        (pd.DataFrame(ROWS), True),
        ([{"path": "a.tsv"}, {"path": "b.tsv"}], False),
        ([pd.DataFrame(ROWS), pd.DataFrame(ROWS)], False),
        ([ROWS, ROWS], False),
        (["a.tsv", {"path": ROWS}], False),
        ({"path": ROWS}, False),
        ("a.tsv", False),
        ({}, False),
        ([], False),
    ],
)
def test_rows_are_told_from_tasks(value, is_data: bool):
    assert python_objects.is_data(value) is is_data


def test_data_without_a_name_are_called_by_what_is_in_them():
    rows = [{"text": f"number {i}", "label": "ab"[i % 2]} for i in range(8)]
    one, same, other = (python_objects.read(given) for given in (rows, list(rows), rows[:7]))
    assert re.fullmatch(r"data-[0-9a-f]{6}", one.label)
    assert one.label == same.label != other.label
    assert python_objects.read(rows, "films").label == "films"
