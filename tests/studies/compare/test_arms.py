"""From stored conditions to arms: rules and templates chosen on one half, arms scored on the other.

Arrays small enough to work by hand: two options, the gold one always the first, and a
log-likelihood of 0 for what is chosen and -1 for what is not.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adaptlens.conditions import Condition
from adaptlens.studies.compare.arms import Reading, arms
from adaptlens.studies.compare.config import compare_config
from adaptlens.types import Example, Task


def stored(num_validation: int, num_test: int, **changes: Any) -> Task:
    item = Example("1", "x", "a", ("a", "b"))
    given = {"kind": "choice", "choices": ("a", "b"), "test": (item,) * num_test, **changes}
    return Task("t", train=(item,) * 50, validation=(item,) * num_validation, **given)


def logliks(right: Any) -> np.ndarray:
    """[..., choices] log-likelihoods with which the raw rule is right where `right` is 1."""
    right = np.asarray(right, float)
    return np.stack([right - 1, -right], axis=-1)


def condition(
    right: Any, held_out: Any, *, prior: Any = 0.0, held_prior: Any = 0.0, **changes: Any
) -> Condition:
    """One whose raw answers are right where the arrays [repeats, (templates,) queries] say."""
    arrays = {}
    for split, given, before in (("", right, prior), ("validation_", held_out, held_prior)):
        loglik = logliks(given)
        # A prior that is the answer's own log-likelihood, doubled, turns every choice round.
        arrays |= {
            f"behavior.{split}loglik": loglik,
            f"behavior.{split}prior_loglik": np.asarray(before) * loglik,
            f"behavior.{split}answer_bytes": np.full(loglik.shape, 2),
            f"behavior.{split}answer_tokens": np.full(loglik.shape, 1),
            f"behavior.{split}gold": np.zeros(loglik.shape[-2], int),
        }
    draws = tuple(range(len(np.asarray(right))))
    given = {
        "model": "m", "task": "t", "task_digest": "d", "label": "it-4", "adaptation": "it",
        "arguments": {"examples": 4}, "draws": draws, "arrays": arrays,
        "numbers": {"query_flops": 7.0}, "cells": ("c",) * len(draws), **changes,
    }  # fmt: skip
    return Condition(**given)


def arm_of(one: Condition, task: Task, number: int = 0, **settings: Any) -> Any:
    return arms([one], task, compare_config(**settings), "chrf")[number]


def test_the_rule_is_chosen_on_the_first_half_and_the_arm_scored_on_the_second() -> None:
    # Raw is wrong on the first four of eight validation items and right on the others; the prior
    # turns that round everywhere, so the first half chooses "corrected", which then scores 0.
    one = condition(
        [[1, 0, 0]], [[0, 0, 0, 0, 1, 1, 1, 1]], prior=2.0, held_prior=2.0, adaptation="icl",
        label="icl-4",
    )  # fmt: skip
    arm = arm_of(one, stored(8, 3))
    assert arm.rules == ("corrected",) and arm.rule == "corrected"
    assert arm.scores.values.tolist() == [[0, 1, 1]]
    assert arm.scores.validation is not None
    assert arm.scores.validation.tolist() == [[0, 0, 0, 0]]


def test_with_an_odd_number_the_choosing_half_has_one_more() -> None:
    one = condition([[1, 1]], [[1, 1, 0, 0, 1]])
    assert arm_of(one, stored(5, 2)).scores.validation.tolist() == [[0, 1]]


@pytest.mark.parametrize("rule", ["raw", "bytes", "tokens", "corrected", "calibrated"])
def test_a_rule_that_was_asked_for_judges_whatever_validation_says(rule: str) -> None:
    one = condition([[1, 0]], [[0] * 8], prior=2.0, held_prior=2.0)
    arm = arm_of(one, stored(8, 2), scoring=rule)
    assert arm.rule == rule
    if rule != "calibrated":
        assert arm.scores.values.tolist() == ([[0, 1]] if rule == "corrected" else [[1, 0]])


def test_equally_good_rules_leave_the_raw_one() -> None:
    assert arm_of(condition([[1, 1]], [[1] * 8]), stored(8, 2)).rule == "raw"


@pytest.mark.parametrize(
    ("validation", "settings"), [(3, {}), (0, {}), (8, {"true_few_shot": True})]
)
def test_with_nothing_to_choose_by_the_raw_rule_judges(validation: int, settings: Any) -> None:
    held = np.zeros((1, validation))
    one = condition([[1, 0]], held, prior=2.0, held_prior=2.0)
    assert arm_of(one, stored(validation, 2), **settings).rule == "raw"


def test_options_that_items_do_not_share_are_not_calibrated_over_a_batch() -> None:
    one = condition([[1, 0]], [[0] * 8])
    task = stored(8, 2, choices=())
    assert "calibrated" not in Reading(one, task).rules()
    assert arm_of(one, task, scoring="calibrated").rule == "raw"


def test_each_draw_of_a_searched_prompt_has_the_rule_that_was_found_with_it() -> None:
    # Draw 0 is right as it is; draw 1 after correction.
    one = condition(
        [[1, 1], [0, 0]], [[1] * 8, [0] * 8], prior=2.0, held_prior=2.0, adaptation="best_prompt",
        label="best-prompt-4", searches=({"rule": "raw"}, {"rule": "corrected"}),
    )  # fmt: skip
    arm = arm_of(one, stored(8, 2))
    assert arm.rules == ("raw", "corrected") and arm.rule == "raw, corrected"
    assert arm.scores.values.tolist() == [[1, 1], [1, 1]]
    assert arm.scores.validation.tolist() == [[1] * 4, [1] * 4]
    assert arm_of(one, stored(8, 2), scoring="raw").rules == ("raw", "raw")
    # What is tuned or shown has one rule for all draws.
    both = condition([[1, 1], [0, 0]], [[1] * 8, [0] * 8], prior=2.0, held_prior=2.0)
    assert arm_of(both, stored(8, 2, choices=())).rules == ("raw", "raw")


# Two draws, 0 and 1, under two templates: test [repeats, templates, queries], and validation
# [repeats, queries], where draw d reads query q under template (q + d) modulo 2.
TEST = [[[1, 0, 0], [0, 1, 1]], [[1, 1, 1], [0, 0, 1]]]
HELD = [[0, 1, 0, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0, 1, 1]]


def templated(**changes: Any) -> Condition:
    return condition(TEST, HELD, templates=("plain", "named"), **changes)


def test_scores_under_templates_are_templates_by_repeats_by_queries() -> None:
    arm = arm_of(templated(), stored(8, 3))
    assert arm.scores.templates == ("plain", "named")
    assert arm.scores.values.tolist() == [[[1, 0, 0], [1, 1, 1]], [[0, 1, 1], [0, 0, 1]]]
    assert arm.scores.validation.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_a_tuned_arm_is_judged_again_at_the_template_that_validation_chooses() -> None:
    found = arms([templated()], stored(8, 3), compare_config(), "chrf")
    assert [arm.label for arm in found] == ["it-4", "best-it-4"]
    best = found[1]
    # Of the first four, plain was asked 0 and 0 of draw 0, 0 and 1 of draw 1; named 1, 1; 1, 1.
    assert best.templates == ("named", "named")
    assert best.scores.templates == ()
    assert best.scores.values.tolist() == [[0, 1, 1], [0, 0, 1]]


def test_the_turns_go_by_the_numbers_of_the_draws() -> None:
    # Draws 1 and 2: what was draw 0's row above is now draw 2's, and draw 1's stays.
    one = condition(TEST[::-1], HELD[::-1], templates=("plain", "named"), draws=(1, 2))
    assert arm_of(one, stored(8, 3), 1).templates == ("named", "named")


def test_equally_good_templates_leave_the_first() -> None:
    one = condition([[[1, 1], [0, 0]]], [[1] * 8], templates=("plain", "named"))
    assert arm_of(one, stored(8, 2), 1).templates == ("plain",)


def test_a_template_that_no_validation_query_was_read_under_is_not_chosen() -> None:
    # One draw, two choosing queries, three templates: the third was read by nobody.
    one = condition([[[1, 1]] * 3], [[0] * 4], templates=("a", "b", "c"))
    assert arm_of(one, stored(4, 2), 1).templates == ("a",)


def test_a_draw_tuned_on_some_templates_is_read_under_the_best_of_its_own() -> None:
    # Of the first four, named does better; draw 0 was not tuned on it, and stays with plain.
    own = (("plain",), ("named",))
    best = arm_of(templated(tuned_on=own), stored(8, 3), 1)
    assert best.templates == ("plain", "named")
    assert best.scores.values.tolist() == [[1, 0, 0], [0, 0, 1]]
    # What a draw does under a template that it was not tuned on does not count. Under a, draw 0 was
    # right 1 of 2 times, draw 1 0 of 1, and draw 2, not tuned on it, 1 of 1; under b all together 2
    # of 4.
    held = [[1, 1, 0, 0] + [0] * 4, [1, 0, 0, 0] + [0] * 4, [0, 1, 0, 0] + [0] * 4]
    three = condition(
        [[[1, 1]] * 3] * 3, held, templates=("a", "b", "c"),
        tuned_on=(("a", "b"), ("a", "b"), ("b", "c")),
    )  # fmt: skip
    assert arm_of(three, stored(8, 2), 1).templates == ("b", "b", "b")
    assert arm_of(replace(three, tuned_on=()), stored(8, 2), 1).templates == ("a", "a", "a")


def test_prompts_choose_their_template_where_no_prompt_was_searched() -> None:
    shown = templated(adaptation="icl", label="icl-4")
    found = [condition([[1, 1]], [[0] * 8], adaptation="best_prompt", label="best-prompt-4",
                       searches=({"rule": "raw"},))]  # fmt: skip
    labels = [arm.label for arm in arms([shown], stored(8, 3), compare_config(), "chrf")]
    assert labels == ["icl-4", "best-icl-4"]
    both = arms([shown, *found], stored(8, 2), compare_config(), "chrf")
    assert [arm.label for arm in both] == ["icl-4", "best-prompt-4"]


@pytest.mark.parametrize(
    ("one", "validation"),
    [
        (condition([[1, 0]], [[0] * 8]), 8),
        (condition([[[1, 1], [0, 0]]], [[1] * 3], templates=("a", "b")), 3),
    ],
)
def test_no_template_is_chosen_without_templates_or_validation(
    one: Condition, validation: int
) -> None:
    num_test = one.arrays["behavior.loglik"].shape[-2]
    assert len(arms([one], stored(validation, num_test), compare_config(), "chrf")) == 1


def test_an_arm_says_its_cost_floor_groups_and_pool() -> None:
    items = tuple(Example(name, "x", "a", group=name) for name in ("u", "v", "u"))
    task = stored(8, 3, test=items, clustered_by="user")
    scores = arm_of(templated(), task).scores
    assert scores.groups.tolist() == [0, 1, 0]
    assert (scores.cost, scores.floor, scores.examples, scores.pool) == (7.0, 0.5, 4, 50)
    assert scores.family == "tune" and scores.draws == (0, 1)
    alone = [
        replace(item, id=str(place), group=group)
        for place, (item, group) in enumerate(zip(items, ("u", "", ""), strict=True))
    ]
    apart = stored(8, 3, test=alone, clustered_by="user")
    assert arm_of(templated(), apart).scores.groups.tolist() == [0, 1, 2]
    # Groups that are only kinds of items, not asked for, are none.
    assert arm_of(templated(), stored(8, 3, test=items)).scores.groups is None


def test_what_is_retrieved_or_shows_nothing_draws_from_no_pool() -> None:
    retrieved = condition([[1, 0]], [[0] * 8], adaptation="icl", draws=(-1,), label="icl-4")
    nothing = condition(
        [[1, 0]], [[0] * 8], adaptation="zero_shot", arguments={}, draws=(-1,), label="zero-shot"
    )
    for one in (retrieved, nothing):
        scores = arm_of(one, stored(8, 2)).scores
        assert (scores.examples, scores.pool) == (0, None)


@pytest.mark.parametrize(("metric", "scale"), [("chrf", 100.0), ("exact", 1.0)])
def test_generated_text_is_scored_from_0_to_1(metric: str, scale: float) -> None:
    arrays = {
        f"behavior.{split}{metric}": np.array([[[50.0, 100.0], [0.0, 25.0]]]) * scale / 100
        for split in ("", "validation_")
    }
    one = condition([[1]], [[1]], templates=("p", "q"))
    one = Condition(**{**one.__dict__, "arrays": arrays, "draws": (0,)})
    (arm,) = arms([one], stored(2, 2, kind="generation", choices=()), compare_config(), metric)
    assert arm.rules == () and arm.scores.floor == 0.0
    assert arm.scores.values.tolist() == [[[0.5, 1.0]], [[0.0, 0.25]]]
