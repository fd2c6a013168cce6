"""What a cell is named by holds the numbers that defaults stand for, in every study."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from adaptlens.adapt.full_tuning import FULL_RATE_TIMES_WIDTH, FullTuning
from adaptlens.adapt.lora import LORA_RATE_TIMES_WIDTH, InstructionTuning, TuningTrajectory
from adaptlens.adapt.mixture import RegularTuned
from adaptlens.adapt.prompt_tuning import PromptTuning
from adaptlens.adapt.settings import stated_width, width
from adaptlens.cells import Study
from adaptlens.engines import Silent
from adaptlens.errors import UserError
from adaptlens.lm.adapters import targets
from adaptlens.lm.load import load
from adaptlens.models import shape
from adaptlens.studies.compare import plan as comparison
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.convergence import plan as convergence
from adaptlens.studies.convergence.config import convergence_config
from adaptlens.studies.implicit import plan as implicit
from adaptlens.studies.implicit.config import implicit_config
from adaptlens.studies.limits import plan as limits
from adaptlens.studies.limits.config import limits_config
from adaptlens.types import Example, Task
from tiny import CONFIGS, tiny_folder

WIDTH = 128
EVERY = ["it", "sl", "full", "distil", "ia2", "ia2-it", "vector", "soft-prompt"]
ITEMS = tuple(Example(str(i), f"the {i}", "ab"[i % 2]) for i in range(40))
TASK = Task("t", "choice", ITEMS, ITEMS[:8], ITEMS[:3], choices=("a", "b"))


def nulls(value: Any, path: str = "") -> Iterator[str]:
    """Yield where nothing stands."""
    if value is None:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from nulls(inner, f"{path}.{key}")
    for inner in value if isinstance(value, list | tuple) else ():
        yield from nulls(inner, f"{path}[]")


def plans() -> dict[str, Study]:
    return {
        "compare": comparison.plan(
            compare_config(models=["reference"], tuning=EVERY, shots=[0, 4], also=["translation"])
        ),
        "true few-shot": comparison.plan(
            compare_config(models=["reference"], tuning=EVERY, shots=[0, 4], true_few_shot=True)
        ),
        "convergence": convergence.plan(
            convergence_config(further=["distil", "vector"], validation=8)
        ),
        "implicit": implicit.plan(implicit_config()),
        "limits": limits.plan(limits_config(models=["ladder-llama-s"])),
    }


def test_no_null_stands_for_a_default_in_any_cell_of_any_study():
    for name, study in plans().items():
        found = {path for cell in study.cells for path in nulls(cell.spec())}
        assert found == set(), name


def test_what_is_stored_is_what_was_planned(tmp_path):
    config = compare_config(shots=[0, 2], tuning=["it"], draws=1, queries=4, search=False)
    comparison.compare(config, out=tmp_path / "run", reporter=Silent())
    stored = [json.loads(p.read_text()) for p in (tmp_path / "run/cells").glob("*/spec.json")]
    assert {one["adaptation"]["label"] for one in stored} == {"zero-shot", "icl-2", "it-2"}
    assert not [path for one in stored for path in nulls(one)]
    (tuned,) = (one["adaptation"]["arguments"] for one in stored if one["draws"] == [0]
                and one["adaptation"]["name"] == "it")  # fmt: skip
    usual = LORA_RATE_TIMES_WIDTH / WIDTH
    assert tuned["learning_rate"] == [usual / 4, usual, 4 * usual]
    assert tuned["lr_multipliers"] == 1.0
    assert tuned["max_steps"] == [10, 30]
    assert tuned["target_modules"] == ["q_proj", "v_proj"]


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_targets_before_the_model_is_loaded_are_those_of_the_loaded_model(family, tmp_path):
    folder = str(tiny_folder(tmp_path, family))
    lm = load(folder, device="cpu")
    assert targets.usual_targets(folder) == targets.named_targets(lm, None)
    assert stated_width(folder) == width(lm)


def test_targets_of_a_family_that_is_not_known_are_looked_up_in_its_modules(monkeypatch):
    monkeypatch.setattr(targets, "LAYOUTS", {})
    targets.usual_targets.cache_clear()
    assert targets.usual_targets("untrained:reference") == ("q_proj", "v_proj")
    targets.usual_targets.cache_clear()


def test_settled_arguments_try_what_the_defaults_do():
    lm = load("reference", device="cpu")
    given = {"examples": 4, "lr_multipliers": (0.25, 1.0, 4.0), "batch_size": 8}
    for how, usual in (
        (InstructionTuning(**given), LORA_RATE_TIMES_WIDTH / WIDTH),
        (FullTuning(**given), FULL_RATE_TIMES_WIDTH / WIDTH),
        (PromptTuning(**given), PromptTuning(**given).usual_rate(lm)),
        (TuningTrajectory(examples=4, lr_multipliers=2.0), LORA_RATE_TIMES_WIDTH / WIDTH),
    ):
        settled = how.settled(TASK, "reference")
        assert settled.candidates(usual) == how.candidates(usual)
        assert settled.settled(TASK, "reference") == settled
        assert type(settled)(**asdict(settled)) == settled


def test_a_rate_given_in_numbers_is_the_same_cell_as_the_default_that_it_equals():
    usual = LORA_RATE_TIMES_WIDTH / WIDTH
    default = InstructionTuning(examples=4).settled(TASK, "reference")
    given = InstructionTuning(
        examples=4, learning_rate=usual, max_steps=30, target_modules=("q_proj", "v_proj"),
        lr_multipliers=(0.25, 1.0, 4.0),
    ).settled(TASK, "reference")  # fmt: skip
    assert given == default


def test_a_mixture_is_settled_by_its_rows():
    how = RegularTuned(num_train_epochs=2.0, batch_size=16).settled(TASK, "reference")
    assert how.max_steps == 5  # 2 x 40 / 16
    assert how.learning_rate == LORA_RATE_TIMES_WIDTH / WIDTH
    assert how.target_modules == ("q_proj", "v_proj")


def test_a_width_that_is_nowhere_said_is_asked_for_in_a_line(monkeypatch):
    monkeypatch.setattr(shape, "width", lambda model: 0)
    with pytest.raises(UserError, match=r"'reference' states no hidden_size.*learning_rate"):
        InstructionTuning(examples=4).settled(TASK, "reference")
    given = InstructionTuning(examples=4, learning_rate=1e-4).settled(TASK, "reference")
    assert given.learning_rate == 1e-4
