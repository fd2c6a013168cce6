"""Conditions that a study wants become cells, each with what its way of adapting has."""

from dataclasses import replace

import pytest
import torch

from adaptlens.adapt.full_tuning import FullTuning
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.wanted import Wanted, models_of, study_of, those_taken
from adaptlens.types import NO_DRAWS, Example, ModelSpec, Task

ITEMS = tuple(Example(str(i), f"the {i}", "ab"[i % 2]) for i in range(8))
TASK = Task("t", "choice", ITEMS, (), ITEMS[:3], choices=("a", "b"))
MODEL = ModelSpec("m", "d" * 8, source="reference")
READ = (("behavior", {}),)


@pytest.mark.parametrize(
    ("adaptation", "taken"),
    [
        ("zero_shot", {}),
        ("icl", {"seed": 3, "on_overflow": "error"}),
        ("it", {"seed": 3, "lora_rank": 4, "batch_size": 8}),
        ("full", {"seed": 3, "batch_size": 8}),
    ],
)
def test_a_way_of_adapting_takes_the_settings_that_it_has(adaptation, taken):
    given = {
        "seed": 3,
        "on_overflow": "error",
        "lora_rank": 4,
        "batch_size": 8,
        "learning_rate": None,
    }
    assert those_taken(adaptation, given) == taken


def test_full_tuning_is_cut_and_prompting_is_not():
    both = [Wanted(TASK, name, {"examples": 2}, (0, 1, 2), READ) for name in ("icl", "full")]
    found = study_of("compare", compare_config(seed=5), [(MODEL, both)])
    each = FullTuning(examples=2).draws_per_cell
    assert [one.draws for one in found.cells] == [
        (0, 1, 2), *(tuple(range(i, min(i + each, 3))) for i in range(0, 3, each))
    ]  # fmt: skip
    assert {one.task.queries for one in found.cells} == {3}
    assert {one.task.seed for one in found.cells} == {one.seed for one in found.cells} == {5}


def test_a_task_is_held_once_and_every_model_has_every_condition():
    wanted = [
        Wanted(TASK, "zero_shot", {}, NO_DRAWS, READ),
        Wanted(replace(TASK, description="the same"), "icl", {"examples": 2}, (0,), READ),
        Wanted(replace(TASK, instruction="Say it."), "icl", {"examples": 2}, (0,), READ),
    ]
    models = [MODEL, ModelSpec("n", "e" * 8)]
    found = study_of("compare", compare_config(), ((one, wanted) for one in models), ["a", "a"])
    assert [(one.model.name, one.label) for one in found.cells] == [
        (name, label) for name in "mn" for label in ("zero-shot", "icl-2", "icl-2")
    ]
    assert len(found.tasks) == 2 and {*found.tasks} == {one.task.digest for one in found.cells}
    assert found.notes == ("a",)


@pytest.mark.parametrize(("there", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_cell_holds_the_number_format_that_auto_is_and_the_study_states_it(
    there, dtype, monkeypatch
):
    for flag in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, flag, lambda: there, raising=False)
    given = {"models": ["reference"], "device": "cpu"}
    config, named = compare_config(dtype="auto", **given), compare_config(dtype=dtype, **given)
    wanted = [Wanted(TASK, "zero_shot", {}, NO_DRAWS, READ)]
    found, same = (
        study_of(
            "compare", each, [(model, wanted) for model in models_of(["reference"], each).values()]
        )
        for each in (config, named)
    )
    assert [cell.spec() for cell in found.cells] == [cell.spec() for cell in same.cells]
    assert found.cells[0].model.dtype == dtype
    assert found.notes == (f"dtype auto is {dtype} on this machine",)
    assert same.notes == ()
