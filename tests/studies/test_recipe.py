"""The recipe says in numbers how conditions were tuned."""

from types import SimpleNamespace

import pandas as pd

from adaptlens.report.how_tuned import constant_columns, table_of
from adaptlens.report.tables import Conditions
from adaptlens.store import hardware
from adaptlens.studies import recipe
from adaptlens.studies.compare.analyze import analyze
from faked import compared
from report_samples import LABELS


def arm(label: str, **made) -> SimpleNamespace:
    arguments = {"examples": 4, "lora_rank": 8, "lora_alpha": 16.0, "lora_dropout": 0.0,
                 "batch_size": 8, "learning_rate": None, "max_steps": [10, 30]}  # fmt: skip
    whole = {"task": "t", "model": "m", "label": label, "adaptation": "it", "examples": 4}
    whole |= {"training": {}, "chosen": (), "runs": (), "cells": ("c",), "is_brought": False}
    whole |= {"control": "", "arguments": arguments}
    return SimpleNamespace(**(whole | made))


def test_a_rate_that_was_left_open_is_a_number(tmp_path):
    run = SimpleNamespace(cell_folder=lambda cell: tmp_path / cell)
    tried = [{"learning_rate": rate, "max_steps": 30} for rate in (0.02, 0.005)]
    chosen = (tried[0], tried[1], tried[0])
    (tmp_path / "c" / "adapters" / "draw=0").mkdir(parents=True)
    config = tmp_path / "c" / "adapters" / "draw=0" / "adapter_config.json"
    config.write_text('{"target_modules": ["q_proj", "v_proj"]}')
    (row,) = recipe.rows([arm("it-4", training={"candidates": tried}, chosen=chosen)], run)
    assert row["learning_rates"] == "0.005 or 0.02"
    assert row["rates_chosen"] == "0.005: 1 draw, 0.02: 2 draws"
    assert (row["max_steps"], row["steps_chosen"]) == ("30", "30: 3 draws")
    assert row["target_modules"] == "q_proj, v_proj"
    assert row["batch_size"] == 4  # of 8, as a draw has 4 examples
    assert row["optimizer"] == "AdamW"


def test_a_vector_has_a_layer_and_a_strength_and_no_rate(tmp_path):
    run = SimpleNamespace(cell_folder=lambda cell: tmp_path / cell)
    tried = [{"layer": layer, "strength": 2.0} for layer in (3, 18)]
    made = {"arguments": {"examples": 4, "strengths": [2.0], "layers": None, "seed": 0}}
    made |= {"training": {"candidates": tried}, "chosen": (tried[1], tried[1], tried[0])}
    (row,) = recipe.rows([arm("it-16", adaptation="vector", **made)], run)
    assert (row["trained"], row["target_modules"], row["learning_rates"]) == ("a vector", "", "")
    assert row["layers_chosen"] == "3: 1 draw, 18: 2 draws"
    assert row["strengths_chosen"] == "2: 3 draws"
    assert "learning rates tried" not in constant_columns(pd.DataFrame([row]))


def test_what_was_trained_is_called_by_its_name(tmp_path):
    run = SimpleNamespace(cell_folder=lambda cell: tmp_path / cell)
    given = {"examples": 4, "lora_rank": 8, "lora_alpha": 16.0, "lora_dropout": 0.0}
    called = {
        "LoRA": {},
        "DoRA": {"use_dora": True},
        "DoRA, rank-stabilized": {"use_dora": True, "use_rslora": True},
        "LoRA, aligned first": {"priming_steps": None, "unlabeled": 64},
    }
    for name, more in called.items():
        (row,) = recipe.rows([arm("it-4", arguments=given | more)], run)
        assert row["trained"] == name


def test_what_an_older_run_did_not_write_down_is_said_to_be_so(tmp_path):
    run = SimpleNamespace(cell_folder=lambda cell: tmp_path / cell)
    (row,) = recipe.rows([arm("it-4", runs=({"steps": 30.0},))], run)
    assert (row["learning_rates"], row["target_modules"]) == ("not recorded", "not recorded")
    assert row["max_steps"] == "10 or 30"


def test_a_model_tuned_on_a_mixture_has_the_batches_it_was_given(tmp_path):
    run = SimpleNamespace(cell_folder=lambda cell: tmp_path / cell)
    (row,) = recipe.rows([arm("regular", adaptation="regular_tuned", examples=0)], run)
    assert row["batch_size"] == 8


def test_where_all_is_the_same_of_all_arms_no_table_says_it_again():
    table = pd.DataFrame({"task": "t", "model": "m", "condition": ["it-4", "it-16"],
                          "trained": "LoRA", "lora_rank": 8.0})  # fmt: skip
    assert table_of(table, Conditions(LABELS, {})) is None


def test_what_is_the_same_of_all_arms_is_said_once():
    table = pd.DataFrame(
        {"task": "t", "model": "m", "condition": ["it-4", "it-16"], "trained": "LoRA",
         "lora_rank": 8.0, "learning_rates": "0.005", "max_steps": ["10", "30"]}
    )  # fmt: skip
    assert constant_columns(table) == {
        "trained": "LoRA", "LoRA rank": "8", "learning rates tried": "0.005",
    }  # fmt: skip
    shown = table_of(table, Conditions(LABELS, {}))
    assert [heading for heading, _ in shown.headings] == ["task", "arm", "steps tried"]
    assert [[entry.text for entry in row] for row in shown.rows] == [
        ["t", "it-4", "10"], ["t", "it-16", "30"],
    ]  # fmt: skip


def test_machines_are_said_once_and_an_older_cell_says_none():
    one = {"processor": "A", "cores": 2, "memory_bytes": 8e9, "system": "Linux 6"}
    used = one | {"device": "cpu", "threads": 1}
    assert hardware.in_words([used, used, {}]) == (
        "cpu, A, 2 cores, 1 thread, 8.0 GB of memory, Linux 6; not recorded"
    )
    found = hardware.hardware()
    assert found["cores"] >= 1 and found["memory_bytes"] > 2**20 and found["processor"]


def test_the_prompt_that_is_shown_of_a_chosen_template_is_written_by_it(tmp_path):
    report, _ = analyze(compared(tmp_path / "run", validation=16, num_templates=3))
    scores = report.tables["accuracy"]
    texts = {
        label: [prompt["parts"][0][1] for prompt in report.prompts if prompt["condition"] == label]
        for label in ("it-2", "best-it-2")
    }
    assert texts["it-2"] == [f"it-2 under {report.tables['wordings']['template'].iloc[0]}"]
    chosen = scores[scores["condition"] == "best-it-2"]["template"].iloc[0].partition(",")[0]
    assert texts["best-it-2"] == [f"it-2 under {chosen}"]
