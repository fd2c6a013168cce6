"""The one line: what it says, how its arms are chosen, and how often it is wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest

from adaptlens.stats import Scores
from adaptlens.verdict import verdict

TEN = tuple(range(10))
QUERIES = 100
GUESSING = {"chance": np.full(QUERIES, 0.5)}


def arm(family, rights, *, repeats=10, validation=None, queries=QUERIES):
    """Scores that are right on the given queries, in every draw alike."""
    values = np.zeros((repeats, queries))
    values[:, list(rights)] = 1.0
    kept = None if validation is None else np.repeat(np.array(validation)[:, None], 20, axis=1)
    return Scores(values, tuple(range(repeats)), family, kept)


def test_tune_and_prompt_read_alike_with_the_winner_first():
    better, worse = range(80), range(60)
    tune = verdict({"icl-16": arm("prompt", worse), "it-16": arm("tune", better)})
    prompt = verdict({"icl-16": arm("prompt", better), "it-16": arm("tune", worse)})
    assert (tune.state, prompt.state) == ("tune", "prompt")
    assert tune.line.startswith("tune: it-16 beats icl-16 by 20.0 points [")
    assert prompt.line.startswith("prompt: icl-16 beats it-16 by 20.0 points [")
    # The flips have no luck in this: 20 queries, all on one side.
    assert tune.line.endswith("], p(Holm)<0.001, 100 queries x 10 draws")
    assert tune.line.split(" points ")[1] == prompt.line.split(" points ")[1]


def test_generation_is_told_in_points_of_chrf():
    conditions = {"icl-16": arm("prompt", range(60)), "it-16": arm("tune", range(80))}
    assert "by 20.0 chrF points [" in verdict(conditions, kind="generation").line


def test_the_same_answers_on_many_queries_are_no_difference():
    same = range(150)
    conditions = {
        "icl-16": arm("prompt", same, queries=200),
        "it-16": arm("tune", same, queries=200),
    }
    found = verdict(conditions)
    assert found.state == "no difference"
    # 0.98^200 = 0.018; the bound on unseen queries is 1 - 0.025^(1/200) = 1.8 points.
    assert found.line == (
        "no difference: it-16 and icl-16 are equivalent within 2 points "
        "(+0.0 points [-1.8, 1.8]), p=0.018, 200 queries x 10 draws"
    )


def test_the_same_answers_on_few_queries_leave_it_undecided():
    found = verdict({"icl-16": arm("prompt", range(60)), "it-16": arm("tune", range(60))})
    assert found.state == "undecided"
    assert "smallest detectable difference" in found.line


def test_arms_no_better_than_the_majority_answer_are_neither():
    always = np.array([1.0] * 60 + [0.0] * 40)
    conditions = {"icl-16": arm("prompt", range(40, 98)), "it-16": arm("tune", range(0, 60))}
    found = verdict(conditions, baselines={**GUESSING, "majority 'negative'": always})
    assert found.state == "neither"
    assert found.line.startswith("neither beats always answering 'negative': it-16 +0.0 points [")
    assert "icl-16 -2.0 points [" in found.line


def test_an_arm_must_beat_every_baseline():
    # 70 of 100 is far above guessing; against an answer that is right 68 times it is not.
    often = np.array([0.0] * 32 + [1.0] * 68)
    conditions = {"icl-16": arm("prompt", range(60)), "it-16": arm("tune", range(30, 100))}
    assert verdict(conditions, baselines=GUESSING).state != "neither"
    both = verdict(conditions, baselines={**GUESSING, "majority 'x'": often})
    assert both.state == "neither"
    assert {test.right for test in both.tests[1:]} == {"majority 'x'"}


def test_three_draws_leave_even_a_large_gap_undecided():
    conditions = {
        "icl-16": arm("prompt", range(10), repeats=3),
        "it-16": arm("tune", range(90), repeats=3),
    }
    found = verdict(conditions)
    assert found.state == "undecided"
    assert found.line.startswith(
        "undecided: 3 draws support no claim; at least 5 do; it-16 against"
    )
    assert found.warnings == ("3 draws support no claim; at least 5 do",)


def test_one_side_alone_has_no_verdict():
    found = verdict({"icl-16": arm("prompt", range(10))})
    assert found.line == ("undecided: only prompting was measured, so there is nothing to compare")


def test_zero_shot_stands_for_prompting_where_it_is_best():
    bare = Scores(np.ones((1, QUERIES)), validation=np.ones((1, 20)))
    conditions = {
        "zero-shot": bare,
        "icl-4": arm("prompt", range(50), validation=[0.5] * 10),
        "it-4": arm("tune", range(60), validation=[0.6] * 10),
    }
    found = verdict(conditions)
    assert found.line.startswith("prompt: zero-shot beats it-4 by 40.0 points [")


def test_arms_are_chosen_on_the_validation_split_not_on_the_test_split():
    conditions = {
        "icl-1": arm("prompt", range(90), validation=[0.2] * 10),
        "icl-16": arm("prompt", range(50), validation=[0.8] * 10),
        "it-16": arm("tune", range(70), validation=[0.5] * 10),
    }
    found = verdict(conditions)
    assert (found.prompt, found.tuned) == ("icl-16", "it-16")
    assert found.line.startswith("tune: it-16 beats icl-16 by 20.0 points [")


def test_where_halves_of_the_draws_choose_differently_a_claim_must_hold_either_way():
    # On even draws validation prefers a, on odd draws b; over all draws a is slightly ahead.
    even = np.arange(10) % 2 == 0
    a = arm("tune", range(50), validation=np.where(even, 1.0, 0.1))
    b = arm("tune", range(50, 90), validation=np.where(even, 0.1, 0.9))
    none = arm("prompt", [])
    found = verdict({"icl-16": none, "a": a, "b": b})
    assert found.tuned == "a"
    # Even draws are judged with what the odd ones chose (b), odd draws with a: 45 of 100.
    crossed = replace(b, values=np.where(even[:, None], b.values, a.values))
    views = [verdict({"icl-16": none, "a": view}).primary for view in (crossed, a)]
    assert [view.difference for view in views] == pytest.approx([0.45, 0.5])
    assert found.primary.difference == pytest.approx(0.45)
    assert found.primary.p == max(view.p for view in views)
    assert found.primary.low == min(view.low for view in views)
    assert found.primary.high == max(view.high for view in views)
    assert "cross-fitted" in found.selection


def test_the_order_of_draws_and_conditions_does_not_matter():
    rng = np.random.default_rng(0)

    def scores(family):
        return Scores(rng.random((10, QUERIES)), TEN, family, rng.random((10, 20)))

    conditions = {f"{f}-{i}": scores(f) for f in ("prompt", "tune") for i in range(3)}
    order = [7, 2, 9, 0, 1, 3, 8, 5, 4, 6]
    shuffled = {
        label: Scores(s.values[order], tuple(order), s.family, s.validation[order])
        for label, s in reversed(conditions.items())
    }
    assert verdict(shuffled).line == verdict(conditions).line


def test_without_validation_scores_all_pairs_are_corrected_for():
    conditions = {
        "icl-1": arm("prompt", range(50)),
        "icl-16": arm("prompt", range(60)),
        "it-1": arm("tune", range(40)),
        "it-16": arm("tune", range(70)),
    }
    found = verdict(conditions)
    assert (found.tuned, found.prompt) == ("it-16", "icl-16")
    assert found.primary.correction == "Holm over 4 tests"
    # The gap of 10 queries is the pair's smallest p; others are as small or smaller.
    assert found.primary.level == pytest.approx(1 - 0.05 / 4)
    assert "cover all 4 pairs" in found.selection


def test_every_test_behind_the_verdict_is_corrected_together():
    conditions = {"icl-16": arm("prompt", range(60)), "it-16": arm("tune", range(80))}
    found = verdict(conditions, baselines=GUESSING)
    assert [(t.left, t.right) for t in found.tests] == [
        ("it-16", "icl-16"),
        ("it-16", "chance"),
        ("icl-16", "chance"),
    ]
    assert found.primary.correction == "Holm over 3 tests"


def field(rng, repeats, spread, prompts, tunings):
    """Equally good arms on 80 test and 60 validation queries, each with its own draw effects."""
    ease = rng.normal(size=140)
    found = {}
    for family, count in (("prompt", prompts), ("tune", tunings)):
        for i in range(count):
            quality = spread * rng.normal(size=(repeats, 1))
            right = (1.2 + ease + quality + rng.normal(size=(repeats, 140)) > 0).astype(float)
            found[f"{family}-{i}"] = Scores(
                right[:, :80], tuple(range(repeats)), family, right[:, 80:]
            )
    return found


RUNS = 200
ALLOWED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize(("prompts", "tunings"), [(1, 1), (1, 4), (3, 3)])
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_equally_good_arms_get_a_false_verdict_in_at_most_five_percent(prompts, tunings, spread):
    rng = np.random.default_rng(0)
    states = [
        verdict(field(rng, 10, spread, prompts, tunings), seed=i, flips=199).state
        for i in range(RUNS)
    ]
    assert sum(state in ("tune", "prompt") for state in states) / RUNS <= ALLOWED


def test_a_difference_as_large_as_the_margin_is_called_none_in_at_most_five_percent():
    rng = np.random.default_rng(0)
    wrong = 0
    for i in range(RUNS):
        # One answer in fifty is wrong on the left only: truly 2 points.
        left = (rng.random((5, 300)) < 0.98).astype(float)
        conditions = {
            "icl-16": Scores(left, tuple(range(5)), "prompt"),
            "it-16": Scores(np.ones((5, 300)), tuple(range(5)), "tune"),
        }
        wrong += verdict(conditions, seed=i, flips=199).state == "no difference"
    assert wrong / RUNS <= ALLOWED
