"""The order in which arms, draws, tasks and models are given changes no verdict and no number."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.conditions import Condition
from adaptlens.stats import intervals
from adaptlens.studies.compare import across_models, analyze, front
from adaptlens.studies.compare import verdict as judging
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.stored import Stored
from adaptlens.types import Example, Task

TEMPLATES = ("plain", "bare")
SETTINGS = {
    "scoring": "validation", "true_few_shot": False, "margin": 2.0, "seed": 0,
    "prices": {"input_million_tokens": 1.0, "output_million_tokens": 2.0, "gpu_hour": 3.0},
}  # fmt: skip
ARMS = (("zero-shot", "zero_shot", 0), ("icl-2", "icl", 2), ("icl-4", "icl", 4),
        ("it-2", "it", 2), ("it-4", "it", 4))  # fmt: skip


def task(name: str) -> Task:
    def items(size: int) -> tuple[Example, ...]:
        return tuple(Example(f"{name}{i}", f"the {i}", "ab"[i % 2]) for i in range(size))

    return Task(name, "choice", items(20), items(8), items(40), choices=("a", "b"))


def condition(model: str, name: str, label: str, adaptation: str, examples: int) -> Condition:
    """Answers from a seed of its own; few enough for ties between arms."""
    rng = np.random.default_rng([*f"{model} {name} {label}".encode()])
    draws = tuple(range(6)) if examples else (-1,)
    arrays = {}
    for split, shape in (("", (len(draws), 2, 40)), ("validation_", (len(draws), 8))):
        gold = np.arange(shape[-1]) % 2
        right = rng.random(shape) < 0.8 + examples / 30
        chosen = np.where(right, gold, 1 - gold)
        ahead = rng.uniform(0.2, 2.0, shape)[..., None] * (np.arange(2) == chosen[..., None])
        arrays |= {
            f"behavior.{split}loglik": ahead - 3.0,
            f"behavior.{split}prior_loglik": np.full((*shape, 2), -1.0),
            f"behavior.{split}answer_bytes": np.full((*shape, 2), 2),
            f"behavior.{split}answer_tokens": np.full((*shape, 2), 1),
            f"behavior.{split}gold": gold,
        }
    for cost in ("query_flops", "query_flops_cached", "query_tokens", "cached_tokens",
                 "answer_tokens"):  # fmt: skip
        arrays[f"cost.{cost}"] = 10.0 + examples * rng.integers(1, 4, (len(draws), 2))
    runs = [{"flops": 100.0 + d, "flops_computed": 50.0 + d} for d in draws]
    numbers = dict.fromkeys(
        ("training_tried_flops", "training_tried_flops_computed", "training_seconds_amortized",
         "query_flops", "query_seconds"), 10.0 + examples,
    )  # fmt: skip
    return Condition(
        model, name, name, label, adaptation, {"examples": examples}, draws, arrays, numbers,
        tuple(f"{label}{d}" for d in draws), templates=TEMPLATES,
        runs=runs if adaptation == "it" else (),
    )  # fmt: skip


EVERYTHING = [
    condition(model, name, *arm) for model in ("m", "n") for name in ("s", "t") for arm in ARMS
]


def with_draws(one: Condition, order: list[int]) -> Condition:
    """A condition whose draws come in another order."""
    if len(one.draws) == 1:
        return one
    arrays = {
        name: array if name.endswith("gold") else array[order] for name, array in one.arrays.items()
    }
    return replace(
        one,
        draws=tuple(order),
        arrays=arrays,
        cells=tuple(one.cells[d] for d in order),
        runs=[one.runs[d] for d in order] if one.runs else (),
    )


def analyzed(found: list[Condition], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Verdicts, tables and notes, as sets of rows."""
    tasks = {name: task(name) for name in ("s", "t")}
    stored = Stored("compare", compare_config(**SETTINGS), SETTINGS, found, tasks, ())
    monkeypatch.setattr(analyze, "read", lambda *_: stored)
    for name in ("comparisons", "estimate", "verdict"):
        quick = partial(getattr(intervals if name != "verdict" else judging, name), flips=99)
        monkeypatch.setattr(analyze, name, quick)
    for module, name in ((front, "standings"), (intervals, "estimate")):
        quick = partial(getattr(module, name), flips=99)
        monkeypatch.setattr(across_models, name, quick)
    report, answers = analyze.analyze(None)
    rows = {name: table.to_dict("records") for name, table in report.tables.items()}
    rows |= {"verdicts": report.verdicts, "answers": answers.to_dict("records")}
    for own in rows["accuracy"]:
        own["cell"] = sorted(own["cell"].split())
    kept = {name: sorted(map(rounded, own)) for name, own in rows.items()}
    return {**kept, "notes": sorted(report.notes), "fronts": sorted(report.fronts)}


def rounded(row: dict[str, Any]) -> str:
    """A row as text; sums over draws in another order differ in the last bits."""
    return str({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in sorted(row.items())})


@pytest.fixture(scope="module")
def as_listed():
    with pytest.MonkeyPatch.context() as patch:
        yield analyzed(EVERYTHING, patch)


@given(order=st.permutations(range(len(EVERYTHING))), draws=st.permutations(range(6)))
@settings(max_examples=5)
def test_no_order_of_arms_draws_tasks_or_models_changes_a_table(as_listed, order, draws):
    with pytest.MonkeyPatch.context() as patch:
        found = analyzed([with_draws(EVERYTHING[i], list(draws)) for i in order], patch)
    for name, rows in as_listed.items():
        assert found[name] == rows, name


def test_the_study_has_verdicts_to_change(as_listed):
    assert len(as_listed["verdicts"]) == 4
    assert len(as_listed["accuracy"]) > 100 and len(as_listed["differences"]) > 20
    assert as_listed["break_even"] and as_listed["front"] and len(as_listed["fronts"]) == 2
