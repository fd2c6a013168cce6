"""Finished cells join into conditions: draws in order, each once, others' cells left alone."""

import numpy as np
import pytest

from adaptlens.cells import resolve
from adaptlens.conditions import Condition, conditions
from adaptlens.report.labels import Shown
from adaptlens.store import Run


def spec(draws, label="icl-4", seed=0):
    return {
        "format": 1,
        "model": {"name": "m", "digest": "d", "dtype": "float32", "chat": False},
        "task": {"name": "t", "digest": "t", "kind": "choice", "queries": 3, "seed": 0},
        "adaptation": {"name": "icl", "arguments": {"examples": 4}, "label": label},
        "measurements": [],
        "draws": list(draws),
        "seed": seed,
        "components": {},
    }


def finish(run, draws, **numbers):
    """Finish a cell whose stored score of draw d is d on every query."""
    with run.claim(spec(draws)) as claim:
        claim.finish(
            {"draws": list(draws), "numbers": {"peak_bytes": 1.0, **numbers}, "notes": ["n"]},
            {
                "behavior.loglik": np.array([[[float(d)] * 2] * 3 for d in draws]),
                "behavior.gold": np.array([0, 1, 0]),
            },
            {"outputs": [[f"{d}"] * 3 for d in draws], "prompts": []},
        )


@pytest.fixture
def run(tmp_path):
    return Run.open(tmp_path / "run", create=True)


def test_draws_of_several_cells_are_joined_in_order(run):
    finish(run, (2, 3))
    finish(run, (0, 1))
    (found,) = conditions(run, [spec(range(4))])
    assert found.draws == (0, 1, 2, 3)
    assert found.arrays["behavior.loglik"][:, 0, 0].tolist() == [0, 1, 2, 3]
    assert found.arrays["behavior.gold"].tolist() == [0, 1, 0]
    assert [row[0] for row in found.outputs] == ["0", "1", "2", "3"]
    assert found.examples == 4


def test_a_draw_two_cells_hold_counts_once(run):
    finish(run, (0, 1))
    finish(run, (1, 2))
    (found,) = conditions(run, [spec(range(3))])
    assert found.draws == (0, 1, 2)


def test_draws_nobody_asked_for_are_left_out(run):
    finish(run, (0, 1, 2, 3))
    (found,) = conditions(run, [spec((0, 2))])
    assert found.draws == (0, 2)


def test_conditions_without_a_finished_draw_are_left_out(run):
    finish(run, (0,))
    assert conditions(run, [spec((0,), seed=1)]) == []


def test_numbers_are_means_over_draws_and_memory_is_the_most(run):
    finish(run, (0, 1, 2), query_flops=1.0, peak_bytes=5.0, dropped_demos=2.0)
    finish(run, (3,), query_flops=5.0, peak_bytes=9.0, dropped_demos=1.0)
    (found,) = conditions(run, [spec(range(4))])
    assert found.numbers == {"query_flops": 2.0, "peak_bytes": 9.0, "dropped_demos": 3.0}


@pytest.mark.parametrize(
    ("adaptation", "arguments", "shown", "short"),
    [
        ("zero_shot", {}, Shown("zero-shot", "zero-shot", "zero_shot"), "anchor"),
        ("zero_shot", {"wording": "options"},
         Shown("zero-shot-options", "zero-shot-options", "zero_shot", 0, "options"),
         "anchor options"),
        ("icl", {"examples": 16, "control": "wrong-50"},
         Shown("icl-16-wrong-50", "icl-16-wrong-50", "icl", 16, "wrong 50"), "ICL wrong 50"),
        ("best_prompt", {"examples": 0}, Shown("best-prompt-0", "best-prompt-0", "best_prompt"),
         "best-prompt-0"),
        ("it", {"examples": 8, "restart": 1},
         Shown("it-8-restart", "it-8-restart", "it", 8, "restart"), "IT restart"),
        ("it_trajectory",
         {"examples": 8, "checkpoint_steps": (0, 4), "lr_multipliers": 0.5, "rate_name": "x0.5"},
         Shown("it-8-trajectory-rate-x0.5", "it-8-trajectory-rate-x0.5", "it", 8, "trajectory"),
         "IT trajectory"),
        ("full", {"examples": 8, "control": "shuffled"},
         Shown("full-8-shuffled", "full-8-shuffled", "full", 8, "shuffled"), "full shuffled"),
    ],
)  # fmt: skip
def test_a_condition_is_shown_as_what_it_was_made_of(adaptation, arguments, shown, short):
    component, made = resolve("adaptation", adaptation, **arguments)
    one = Condition("m", "t", "", made.label, adaptation, component.arguments, (), {}, {}, ())
    assert one.shown == shown
    assert one.shown.short == short
