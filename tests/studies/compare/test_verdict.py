"""The one line: what it says, how its arms are chosen, and how often it is wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.stats.intervals import Scores, comparisons
from adaptlens.studies.compare.verdict import verdict
from adaptlens.studies.compare.verdict_words import worst_case

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
    # 20 queries, all on one side, in every draw; what keeps p from 0 is draws that were not made.
    assert tune.line.endswith(", 10 draws x 100 queries; in its worst draw by 20.0")
    assert tune.line.split(" points ")[1] == prompt.line.split(" points ")[1]


def test_generation_is_told_in_points_of_chrf():
    conditions = {"icl-16": arm("prompt", range(60)), "it-16": arm("tune", range(80))}
    assert "by 20.0 chrF points [" in verdict(conditions, kind="generation").line


def test_the_same_answers_are_no_difference_only_where_draws_enough_were_made():
    same = range(400)

    def found(repeats):
        conditions = {
            "icl-16": arm("prompt", same, queries=400, repeats=repeats),
            "it-16": arm("tune", same, queries=400, repeats=repeats),
        }
        conditions = {n: replace(s, floor=0.5) for n, s in conditions.items()}
        return verdict(conditions, flips=199)

    # Ten good draws do not exclude that one draw in four falls from 100 to 50.
    assert found(10).state == "undecided"
    # 200 draws do: at most 1 - 0.05^(1/200) = 1.5% of draws fail, which costs 0.7 points.
    many = found(200)
    assert many.state == "no difference"
    assert many.line.startswith("no difference: it-16 and icl-16 are equivalent within 2 points")


def test_an_undecided_line_says_what_would_decide():
    found = verdict({"icl-16": arm("prompt", range(60)), "it-16": arm("tune", range(60))})
    assert found.state == "undecided"
    assert "would decide a difference like this" in found.line


def test_arms_no_better_than_the_majority_answer_are_neither():
    always = np.array([1.0] * 60 + [0.0] * 40)
    conditions = {"icl-16": arm("prompt", range(40, 98)), "it-16": arm("tune", range(0, 60))}
    found = verdict(conditions, baselines={**GUESSING, "majority 'negative'": always})
    assert found.state == "neither"
    assert found.line.startswith("neither beats always answering 'negative': it-16 0.0 points [")
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
    procedure, own = (verdict({"icl-16": none, "a": view}).primary for view in (crossed, a))
    assert (own.difference, procedure.difference) == pytest.approx((0.5, 0.45))
    assert found.primary == own
    assert found.procedure == replace(procedure, left="a")
    assert found.p == max(own.p, procedure.p)
    assert "by 50.0 points [" in found.line
    assert "; chosen on other draws, arms differ by +45.0 [" in found.line
    assert "halves of the draws would choose other arms" in found.selection


def test_the_line_prints_the_difference_of_the_arms_that_it_names():
    rng = np.random.default_rng(1)
    for _ in range(20):
        # Small arms collapse now and then, large ones never: ties in most halves of the draws.
        conditions = {}
        for family in ("prompt", "tune"):
            for size, share in ((4, 0.2), (16, 0.0)):
                fails = rng.random(10) < share
                level = np.where(fails, 0.5, 1.0)[:, None]
                values = (rng.random((10, 60)) < level).astype(float)
                held = (rng.random((10, 30)) < level).astype(float)
                label = f"{'icl' if family == 'prompt' else 'it'}-{size}"
                conditions[label] = Scores(values, TEN, family, held, examples=size, floor=0.5)
        found = verdict(conditions, flips=99)
        left, right = conditions[found.tuned], conditions[found.prompt]
        gap = left.values.mean() - right.values.mean()
        assert found.primary.difference == pytest.approx(gap)
        said = f"{100 * gap:+.1f}" if found.state == "undecided" else f"{100 * abs(gap):.1f}"
        said = said.replace("+0.0", "0.0").replace("-0.0", "0.0")
        assert said in found.line


def test_equally_good_arms_are_chosen_by_what_they_cost():
    held = [0.9] * 10
    costly = replace(arm("prompt", range(60), validation=held), cost=5.0, examples=16)
    cheap = replace(arm("prompt", range(50), validation=held), cost=1.0, examples=4)
    conditions = {"icl-16": costly, "icl-4": cheap, "it-4": arm("tune", range(40))}
    assert verdict(conditions, flips=99).prompt == "icl-4"


def test_a_half_of_the_draws_that_cannot_tell_keeps_to_the_choice_of_all():
    # b is ahead on even draws, by one query in a hundred of validation, a by far on the odd ones.
    even = np.arange(10) % 2 == 0
    held = np.ones((10, 100))
    held[even, 0] = 0.0
    good = np.where(even, 1.0, 0.2)[:, None] * np.ones(100)
    a = replace(arm("tune", range(50)), validation=held)
    b = replace(arm("tune", range(40)), validation=good)
    found = verdict({"icl-16": arm("prompt", []), "a": a, "b": b}, flips=99)
    assert (found.tuned, found.procedure) == ("a", None)
    # One query in twenty is more than the margin of two points, though no more than its error.
    a, b = (replace(one, validation=one.validation[:, :20]) for one in (a, b))
    told = verdict({"icl-16": arm("prompt", []), "a": a, "b": b}, flips=99)
    assert told.tuned == "a"
    # b on odd draws, which the even ones chose it for: 40 of 100; a on even ones: 50.
    assert told.procedure.difference == pytest.approx(0.45)


def test_a_winner_that_is_behind_somewhere_is_said_to_be():
    values = np.zeros((10, QUERIES))
    values[:, :90] = 1.0
    values[3, :90] = 0.0
    other = arm("prompt", range(20))
    won = replace(arm("tune", []), values=values)
    found = verdict({"icl-16": other, "it-16": won}, margin=1.0, flips=99)
    # Ahead by 70 points in nine draws of ten, behind by 20 in one.
    assert found.state == "tune"
    assert "in its worst draw behind by 20.0" in found.line


def test_the_worst_template_and_draw_of_a_claim_are_said():
    names = ("plain", "named", "question", "options", "chat", "bare")
    values = np.zeros((6, 10, QUERIES))
    values[:5, :, :90] = 1.0
    values[5, :, :72] = 1.0
    values[5, 3, :72] = 0.0
    asked = Scores(values, TEN, "tune", templates=names)
    none = Scores(np.zeros((6, 10, QUERIES)), TEN, "prompt", templates=names[::-1])
    worst = worst_case(asked, none)
    # 'bare': 72 of 100 in nine draws of ten. Draw 3: 90 under five templates of six.
    assert worst.template == ("bare", pytest.approx(0.648))
    assert worst.draw == (3, pytest.approx(0.75))
    found = verdict({"icl-16": none, "it-16": asked}, flips=99)
    assert "in its worst template, 'bare', by 64.8; in its worst draw by 75.0" in found.line


@given(data=st.data(), with_validation=st.booleans(), templates=st.integers(0, 2))
@settings(max_examples=25)
def test_no_order_changes_the_verdict_or_a_number(data, with_validation, templates):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    names = tuple(f"t{i}" for i in range(templates))
    conditions = {}
    for family, label in (("none", "zero-shot"), ("prompt", "icl"), ("tune", "it")):
        for size in range(1 if family == "none" else 3):
            draws = (-1,) if family == "none" else tuple(range(6))
            shape = (*([templates] if templates else []), len(draws), 20)
            # Coarse scores, so that there are ties to resolve.
            held = rng.integers(0, 3, (len(draws), 8)) / 2 if with_validation else None
            conditions[f"{label}-{size}"] = Scores(
                rng.integers(0, 2, shape).astype(float), draws, family, held, names
            )
    labels = data.draw(st.permutations(list(conditions)))
    order = data.draw(st.permutations(list(range(6))))
    asked = data.draw(st.permutations(list(range(templates))))

    def permuted(scores):
        rows = order if scores.is_drawn else [0]
        values = scores.values[list(asked)] if templates else scores.values
        held = scores.validation
        return replace(
            scores,
            values=values[..., rows, :],
            draws=tuple(scores.draws[i] for i in rows),
            validation=None if held is None else held[rows],
            templates=tuple(names[i] for i in asked),
        )

    shuffled = {label: permuted(conditions[label]) for label in labels}
    chance = {"chance": np.full(20, 0.5), "a": np.full(20, 0.5)}
    one = verdict(conditions, baselines=chance, flips=99)
    other = verdict(shuffled, baselines=dict(reversed(chance.items())), flips=99)
    assert other == one
    known = {(d.left, d.right): d for d in comparisons(conditions, flips=99)}
    assert {(d.left, d.right): d for d in comparisons(shuffled, flips=99)} == known


def test_without_validation_scores_all_pairs_are_corrected_for():
    conditions = {
        "icl-1": arm("prompt", range(50)),
        "icl-16": arm("prompt", range(60)),
        "it-1": arm("tune", range(40)),
        "it-16": arm("tune", range(70)),
    }
    found = verdict(conditions)
    assert (found.tuned, found.prompt) == ("it-16", "icl-16")
    assert len(found.tests) == 4
    assert found.tests[0].correction == "Holm over 4 tests"
    # The pair's own difference stays that of any table; the claim is corrected.
    (alone,) = comparisons(conditions, [("it-16", "icl-16")])
    assert replace(found.primary, correction=alone.correction) == alone
    assert found.p >= found.primary.p
    assert "covers all 4 pairs" in found.selection


def test_every_test_behind_the_verdict_is_corrected_together():
    conditions = {"icl-16": arm("prompt", range(60)), "it-16": arm("tune", range(80))}
    found = verdict(conditions, baselines=GUESSING)
    assert [(t.left, t.right) for t in found.tests] == [
        ("it-16", "icl-16"),
        ("it-16", "chance"),
        ("icl-16", "chance"),
    ]
    assert found.tests[0].correction == "Holm over 3 tests"
    assert found.p == found.tests[0].p_holm


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
