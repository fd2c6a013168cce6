"""What a comparison says each side was allowed."""

from dataclasses import replace

import pytest

from adaptlens.conditions import Condition
from adaptlens.studies.compare.allowed import allowed
from adaptlens.studies.compare.config import compare_config
from adaptlens.types import Example, Task

ITEM = Example("1", "x", "bad")
TASK = Task("t", "choice", (ITEM,) * 64, (ITEM,) * 21, (ITEM,) * 30, choices=("bad", "good"))


def condition(label: str, adaptation: str, **more) -> Condition:
    given = {"model": "m", "task": "t", "task_digest": "d", "draws": (0, 1), "arrays": {}}
    given |= {"arguments": {}, "numbers": {}, "cells": ()}
    return Condition(label=label, adaptation=adaptation, **(given | more))


def test_what_each_side_was_allowed_by_hand():
    found = {"reads": 900, "items": 11}
    tried = [{"learning_rate": rate, "max_steps": 30} for rate in (0.001, 0.004)]
    members = [
        condition("zero-shot", "zero_shot", draws=(-1,), templates=("plain", "bare")),
        condition("icl-4", "icl", arguments={"examples": 4}, templates=("plain", "bare")),
        condition("best-prompt-4", "best_prompt", arguments={"examples": 4},
                  searches=(found, {**found, "reads": 1200})),
        condition("it-4", "it", arguments={"examples": 4, "lora_rank": 8},
                  templates=("plain", "bare"), training={"candidates": tried},
                  chosen=(tried[1], tried[1])),
    ]  # fmt: skip
    assert allowed(members, TASK, compare_config()) == (
        "Both sides: the same 2 draws of 4 labeled examples of 64; 21 validation items (the first "
        "11 choose rates, prompts, templates and scoring rules, the others choose the arm); "
        "2 templates (plain, bare); for each arm the scoring rule that does best: raw, per byte, "
        "per token, prior-corrected or batch-calibrated. "
        "Prompting: 0 or 4 demonstrations; a search for the best template, label words, "
        "demonstrations and order, which read at most 1,200 prompts on 11 labeled items for one "
        "draw. "
        "Tuning: it, LoRA of rank 8, rates 0.001 (chosen 0×) or 0.004 (chosen 2×), 30 steps."
    )


def test_without_a_search_the_given_rate_and_steps_are_said():
    arguments = {"examples": 4, "learning_rate": [0.002], "max_steps": None}
    said = allowed(
        [condition("full-4", "full", arguments=arguments)],
        replace(TASK, validation=(ITEM,) * 3),
        compare_config(scoring="raw"),
    )
    assert said == (
        "Both sides: the same 2 draws of 4 labeled examples of 64; one scoring rule: raw. "
        "Tuning: full, all weights, rate 0.002, the usual steps."
    )


def test_what_was_learned_on_or_brought_beside_the_labels_is_said():
    learned = {"examples": 4, "lora_rank": 8, "unlabeled": 64, "max_steps": 48}
    members = [
        condition("distil-4", "distil", arguments=learned),
        condition("mine", "adapter", arguments={"arm": "mine", "control": "none"}),
        condition("mine-null", "adapter", arguments={"arm": "mine", "control": "null"}),
    ]
    said = allowed(members, replace(TASK, validation=()), compare_config(scoring="raw"))
    assert said.endswith(
        "Tuning: distil, LoRA of rank 8 on up to 64 inputs more, without their answers, the usual "
        "rate, 48 steps. Brought, with whatever labels were used for it: mine (adapter)."
    )


@pytest.mark.parametrize("few", [True, False])
def test_true_few_shot_says_that_validation_items_choose_the_arm_alone(few):
    said = allowed(
        [condition("icl-4", "icl")], TASK, compare_config(scoring="raw", true_few_shot=few)
    )
    assert ("21 validation items, which choose the arm and nothing else" in said) == few


def test_of_many_layers_those_that_were_chosen_are_named():
    tried = [{"layer": layer, "strength": s} for layer in range(30) for s in (0.5, 1.0)]
    members = [
        condition(
            "vector-8",
            "vector",
            arguments={"examples": 8, "strengths": [0.5, 1.0], "unlabeled": 64},
            training={"candidates": tried},
            chosen=[tried[36], tried[36], tried[41]],
        )
    ]
    said = allowed(members, replace(TASK, validation=()), compare_config(scoring="raw"))
    assert said.endswith(
        "Tuning: vector, a vector on up to 64 inputs more, without their answers, layers 0 to 29 "
        "(chosen 18 2× and 20 1×), strengths 0.5 (chosen 2×) or 1 (chosen 1×)."
    )
