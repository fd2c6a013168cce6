"""Side effects: what is looked at, what is told, and what speaks against a verdict's winner."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adaptlens.conditions import Condition
from adaptlens.stats.intervals import difference, estimate, holm
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare import side_effect_words, side_effects
from adaptlens.studies.compare.answers_changed import answers_changed
from adaptlens.studies.compare.arms import Arm, Reading, arms
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.compare.side_effects import Change
from adaptlens.studies.compare.verdict import Verdict
from adaptlens.types import Elsewhere, Example, Task
from elsewhere_rates import CASES, told

ITEMS = tuple(Example(f"e{i}", f"item {i}", "ab"[i % 2]) for i in range(60))


def on(name: str, role: str = "also") -> Elsewhere:
    return Elsewhere(name, role, Task(name, "choice", (), (), ITEMS, choices=("a", "b")))


def right(share: float, draws: int = 5) -> Scores:
    """Return an arm of so many draws that gets that share of 60 items right, by one item apart."""
    apart = np.arange(draws) - draws // 2
    values = (np.arange(60)[None] < 60 * share + apart[:, None]).astype(float)
    return Scores(values, tuple(range(draws)), "tune") if draws > 1 else Scores(values)


def change(
    left: str,
    of: Scores,
    to: Scores,
    items: str = "trec",
    role: str = "also",
    versus: str = "zero-shot",
    metric: str = "judged",
) -> Change:
    found = difference(of, to, names=(left, versus))
    found = replace(found, p_holm=found.p)
    return Change(items, role, metric, estimate(of), float(to.values.mean()), found)


LOST = change("it-8", right(0.3), right(0.8, 1))
SAME = change("it-8", right(0.8), right(0.8, 1), "news")
AHEAD = change("it-8", right(0.9), right(0.4, 1), "tweets", "ood")
BEHIND = change("best-it-8", right(0.3), right(0.8), "tweets", "ood", "icl-8")
WORDING = change("it-8", right(0.4), right(0.6), side_effects.OTHER_WORDS, "wording", "it-8")
SURER = change(
    "best-it-8", right(0.5), right(0.9), side_effects.STATED, "confidence", "icl-8", "quadratic"
)
ARMS = [SimpleNamespace(label="best-it-8", condition=SimpleNamespace(label="it-8"))]


def test_what_a_winner_loses_elsewhere_is_said_with_the_verdict():
    tune = Verdict("tune", "tune: ...", "icl-8", "best-it-8")
    assert side_effect_words.but([SAME, AHEAD], tune, ARMS) == ""
    said = side_effect_words.but([LOST, SAME, BEHIND], tune, ARMS)
    assert said.startswith("but on trec (another task) it-8 is 50.0 points [")
    assert " behind zero-shot, p " in said
    assert "; on tweets (another domain) best-it-8 is 50.0 points [" in said
    assert " behind icl-8, p " in said


def test_what_the_other_side_loses_does_not_speak_against_the_winner():
    prompt = Verdict("prompt", "prompt: ...", "icl-8", "best-it-8")
    assert side_effect_words.but([LOST, BEHIND], prompt, ARMS) == ""
    won = change("best-it-8", right(0.8), right(0.3), "tweets", "ood", "icl-8")
    said = side_effect_words.but([won], prompt, ARMS)
    assert said.startswith("but on tweets (another domain) icl-8 is 50.0 points [")
    undecided = Verdict("undecided", "undecided: ...", "icl-8", "best-it-8")
    assert side_effect_words.but([won, AHEAD, SAME], undecided, ARMS) == ""
    said = side_effect_words.but([LOST, won], undecided, ARMS)
    assert said.startswith("but on trec (another task) it-8 is 50.0 points [")
    assert "tweets" not in said


def test_a_loss_in_wording_and_in_confidence_is_said_with_its_numbers():
    tune = Verdict("tune", "tune: ...", "icl-8", "best-it-8")
    said = side_effect_words.but([WORDING], tune, ARMS)
    assert said.startswith("but under templates that it was not tuned on it-8 scores 20.0 points [")
    assert "] less, p = 0.001" in said
    # A score of 0.5 is a Brier score of 2 (1 - 0.5).
    said = side_effect_words.but([SURER], tune, ARMS)
    assert said.startswith(
        "but the probabilities that best-it-8 states are further from the truth than those of "
        "icl-8: Brier score 1.00 against 0.20, 0.80 ["
    )
    low, high = (float(end) for end in said.split("[")[1].split("]")[0].split(", "))
    assert 0 < low < 0.8 < high and "] more, p " in said
    prompt = Verdict("prompt", "prompt: ...", "icl-8", "best-it-8")
    assert side_effect_words.but([WORDING, SURER], prompt, ARMS) == ""
    found = replace(
        SURER, value=estimate(right(0.9)), other=0.7,
        found=replace(SURER.found, difference=0.2, low=0.1, high=0.3),
    )  # fmt: skip
    said = side_effect_words.but([found], prompt, ARMS)
    assert said.startswith(
        "but the probabilities that icl-8 states are further from the truth than those of "
        "best-it-8: Brier score 0.60 against 0.20, 0.40 [0.20, 0.60] more, p "
    )


def test_the_two_largest_losses_are_said_and_the_others_counted_in_any_order():
    tune = Verdict("tune", "tune: ...", "icl-8", "best-it-8")
    every = [SURER, WORDING, LOST, BEHIND]
    said = side_effect_words.but(every, tune, ARMS)
    assert said.startswith("but on trec (another task) it-8 is 50.0 points [")
    assert "; on tweets (another domain) best-it-8 is 50.0 points [" in said
    assert said.endswith("; and 2 more")
    assert side_effect_words.but(every[::-1], tune, ARMS) == said
    assert "more" not in side_effect_words.but([LOST, BEHIND], tune, ARMS)


def test_every_real_change_is_told_but_what_was_hoped_for():
    told = side_effect_words.line([LOST, AHEAD, BEHIND])
    assert told.startswith("on trec (another task) it-8 is 50.0 points [")
    assert "behind zero-shot; on tweets (another domain) best-it-8 is 50.0 points" in told
    assert told.endswith("behind icl-8")
    low, high = (float(end) for end in told.split("[")[1].split("]")[0].split(", "))
    assert 0 < low < 50 < high
    assert side_effect_words.line([]) == ""
    better = replace(SURER, found=replace(SURER.found, right="zero-shot", difference=0.2))
    assert side_effect_words.line([better, WORDING]).startswith("under templates that it was not")
    none = side_effect_words.line([SAME, AHEAD])
    assert none.startswith("nothing is shown to be lost (1 difference looked at; what would be ")
    assert f"{100 * SAME.found.detectable:.1f} points" in none


def test_rows_are_fractions_of_one_with_the_other_side_s_mean():
    (row,) = side_effects.rows([LOST])
    assert row["difference"] == pytest.approx(row["value"] - row["value_right"])
    assert row["low"] <= row["difference"] <= row["high"] < 0
    assert row["value_low"] <= row["value"] <= row["value_high"]


def test_where_nothing_changes_little_is_told():
    # Of 40 runs, 6 or more have a chance of 1.4 % at a rate of 5 %.
    assert told(40, 60, CASES["five draws"]) <= 5 / 40
    assert told(20, 200, CASES["an arm without draws"], 15.0) >= 0.5


def test_the_order_of_arms_changes_nothing():
    def arm(label: str, shares: tuple[float, ...], family: str = "tune"):
        loglik = np.stack(
            [np.stack([np.zeros(60), np.where(np.arange(60) < 60 * share, -1.0, 1.0)], -1)
             for share in shares]
        )  # fmt: skip
        arrays = {"elsewhere.also0.loglik": loglik, "elsewhere.also0.gold": np.zeros(60, int)}
        draws = tuple(range(len(shares))) if len(shares) > 1 else (-1,)
        condition = SimpleNamespace(
            arrays=arrays, draws=draws, control="", templates=(), is_recorded=False, tuned_on=()
        )
        scores = SimpleNamespace(family=family, examples=0, pool=None)
        return Arm(label, condition, scores)

    arms = [
        arm("zero-shot", (0.5,), "none"),
        arm("it-8", (0.2, 0.3, 0.25, 0.2, 0.3)),
        arm("sl-8", (0.5, 0.45, 0.55, 0.5, 0.5)),
        arm("full-8", (0.6, 0.7, 0.65, 0.6, 0.7)),
    ]
    plain = replace(on("trec").task, choices=(), test=tuple(
        replace(item, choices=("a", "b"), target="a") for item in ITEMS
    ))  # fmt: skip
    task = replace(plain, name="own", elsewhere=(Elsewhere("trec", "also", plain),))
    verdict = Verdict("undecided", "", "zero-shot", "it-8")
    seen = []
    for order in (arms, arms[::-1], arms[2:] + arms[:2]):
        found = side_effects.changes(order, task, verdict, margin=2.0, seed=0)
        seen.append({c.found.left: (c.found.difference, c.found.p_holm) for c in found})
    assert seen[0] == seen[1] == seen[2] and set(seen[0]) == {"it-8", "sl-8", "full-8"}
    assert seen[0]["it-8"][0] < -0.2


# Two options, of which the first is right: what was chosen has probability 1 - 1e-9 or so, but
# where `sure` is lower.
def stored(
    label: str, shares: Any, *, sure: float = 20.0, templates: tuple[str, ...] = (), **given: Any
) -> Condition:
    """Return a condition that gets the first share [draws, (templates)] of 40 items right."""
    shares = np.asarray(shares, float)
    rights = np.arange(40) < np.round(40 * shares)[..., None]
    loglik = np.stack([np.where(rights, 0.0, -sure), np.where(rights, -sure, 0.0)], axis=-1)
    arrays = {
        "behavior.loglik": loglik,
        "behavior.prior_loglik": 0.0 * loglik,
        "behavior.answer_bytes": np.full(loglik.shape, 2),
        "behavior.answer_tokens": np.full(loglik.shape, 1),
        "behavior.gold": np.zeros(40, int),
    }
    draws = given.pop("draws", tuple(range(len(shares))))
    fields = {
        "model": "m", "task": "own", "task_digest": "d", "label": label, "adaptation": "it",
        "arguments": {"examples": 8}, "draws": draws, "arrays": arrays, "templates": templates,
        "numbers": {"query_flops": 7.0}, "cells": ("c",) * len(draws), **given,
    }  # fmt: skip
    return Condition(**fields)


OWN = Task("own", "choice", ITEMS[:40], (), tuple(replace(i, target="a") for i in ITEMS[:40]),
           choices=("a", "b"))  # fmt: skip
BASE = {"adaptation": "zero_shot", "arguments": {}, "draws": (-1,)}
NAMES = ("t0", "t1", "t2", "t3")
TUNED_ON = (("t0", "t1"), ("t2", "t3"), ("t0", "t3"), ("t1", "t2"), ("t0", "t2"), ("t1", "t3"))


def arms_of(*members: Condition) -> list[Arm]:
    return arms(members, OWN, compare_config(scoring="raw"), "chrf")


def test_draws_tuned_on_some_templates_are_held_against_those_tuned_on_others():
    # A template that was not tuned on costs 20 points, template t3 10 more, draw 5 all but 30.
    def share(draw: int, name: str) -> float:
        hard = 0.1 * (name == "t3") + 0.4 * (draw == 5)
        return 0.9 - hard - 0.2 * (name not in TUNED_ON[draw])

    shares = [[share(draw, name) for name in NAMES] for draw in range(6)]
    both = arms_of(stored("it-8", shares, templates=NAMES, tuned_on=TUNED_ON))
    (found,) = side_effects.changes(both, OWN, Verdict("tune", "", "", "it-8"), margin=2.0, seed=0)
    assert (found.role, found.items) == ("wording", "templates not tuned on")
    assert (found.found.left, found.found.right) == ("it-8", "it-8")
    assert found.found.difference == pytest.approx(-0.2)
    mean = float(np.mean(shares))
    assert found.value.value == pytest.approx(mean - 0.1) and np.isnan(found.value.low)
    assert found.other == pytest.approx(mean + 0.1)
    assert found.is_real
    (row,) = side_effects.rows([found])
    assert (row["value"], row["value_right"]) == pytest.approx((mean - 0.1, mean + 0.1))
    assert not side_effects.changes(
        arms_of(stored("it-8", shares, templates=NAMES)), OWN, Verdict("tune", "", "", "it-8"),
        margin=2.0, seed=0,
    )  # fmt: skip


def test_the_verdict_s_tuned_arm_is_held_against_its_prompt_and_zero_shot_in_confidence():
    every = arms_of(
        stored("zero-shot", [0.75], sure=np.log(9), **BASE),
        stored("it-8", [0.75] * 5, sure=np.log(99)),
        stored("icl-8", [0.75] * 5, sure=np.log(4), adaptation="icl"),
        stored("sl-8", [0.5] * 5, adaptation="sl"),
    )
    verdict = Verdict("undecided", "", "icl-8", "it-8")
    seen = []
    for order in (every, every[::-1]):
        found = side_effects.changes(order, OWN, verdict, margin=2.0, seed=0)
        seen.append({(c.found.left, c.found.right): (c.value.value, c.other) for c in found})
        assert {c.role for c in found} == {"confidence"}
        assert {c.found.correction for c in found} == {"Holm over 2 tests"}
    # All are right in 3 of 4, and certain to 99, 90 or 80 %: Brier 2 (3/4 0.01^2 + 1/4 0.99^2).
    quadratic = [1 - (0.75 * (1 - p) ** 2 + 0.25 * p**2) for p in (0.99, 0.9, 0.8)]
    assert seen[0] == seen[1]
    assert seen[0]["it-8", "zero-shot"] == pytest.approx((quadratic[0], quadratic[1]))
    assert seen[0]["it-8", "icl-8"] == pytest.approx((quadratic[0], quadratic[2]))
    said = side_effect_words.but(found, replace(verdict, state="tune"), every)
    assert "the probabilities that it-8 states are further from the truth" in said
    assert "those of zero-shot: Brier score 0.49 against 0.42, 0.07 [" in said
    plain = Verdict("undecided", "", "zero-shot", "it-8")
    assert len(side_effects.changes(every, OWN, plain, margin=2.0, seed=0)) == 1


def test_confidence_counts_as_one_test_beside_those_that_were_asked_for():
    def also(one: Condition, shares: Any) -> Condition:
        read = stored("", shares).arrays
        further = {
            f"elsewhere.also0.{name}": read[f"behavior.{name}"] for name in ("loglik", "gold")
        }
        return replace(one, arrays={**one.arrays, **further})

    every = arms_of(
        also(stored("zero-shot", [0.75], sure=np.log(9), **BASE), [0.75]),
        also(stored("it-8", [0.75] * 5, sure=np.log(99)), [0.6, 0.5, 0.55, 0.6, 0.5]),
        stored("icl-8", [0.75] * 5, sure=np.log(4), adaptation="icl"),
    )
    other = replace(OWN, name="trec", train=())
    task = replace(OWN, elsewhere=(Elsewhere("trec", "also", replace(other, choices=(), test=tuple(
        replace(item, choices=("a", "b")) for item in other.test
    ))),))  # fmt: skip
    found = side_effects.changes(
        every, task, Verdict("tune", "", "icl-8", "it-8"), margin=2.0, seed=0
    )
    assert [change.role for change in found] == ["also", "confidence", "confidence"]
    wanted = holm([change.found.p for change in found], [1.0, 0.5, 0.5])
    assert [change.found.p_holm for change in found] == wanted
    assert {c.found.correction for c in found} == {
        "Holm over 3 tests, those of confidence counting as one"
    }


def test_what_a_model_writes_states_no_probabilities():
    arrays = {"behavior.chosen": np.zeros((1, 40), int), "behavior.gold": np.zeros(40, int),
              "behavior.num_choices": np.full(40, 2)}  # fmt: skip
    every = arms_of(
        replace(stored("zero-shot", [0.75], **BASE), arrays=arrays),
        replace(stored("it-8", [0.75]), arrays=arrays),
    )
    assert every[0].rules == ("written",)
    verdict = Verdict("undecided", "", "zero-shot", "it-8")
    assert side_effects.changes(every, OWN, verdict, margin=2.0, seed=0) == []


def test_answers_of_an_arm_at_its_template_are_held_against_zero_shot_s_under_that_one():
    base = stored("zero-shot", [[0.5, 1.0]], templates=NAMES[:2], **BASE)
    tuned = stored("it-8", [[0.75, 0.75], [0.25, 0.5]], templates=NAMES[:2])
    whole, zero = arms_of(tuned)[0], arms_of(base)[0]
    best = replace(
        whole, label="best-it-8", templates=("t0", "t1"),
        scores=replace(whole.scores, values=whole.scores.values[[0, 1], [0, 1]], templates=()),
    )  # fmt: skip
    readings = {one.label: Reading(one, OWN) for one in (base, tuned)}
    rows = {row["condition"]: row for row in answers_changed([best, zero, whole], readings)}
    # Draw 0 under t0 gains a quarter of the items, draw 1 under t1 loses half of them.
    assert (rows["best-it-8"]["gained"], rows["best-it-8"]["lost"]) == (0.125, 0.25)
    assert rows["best-it-8"]["agreement"] == 0.625
    assert rows["it-8"]["gained"] == 0.0625
    assert rows["it-8"]["lost"] == pytest.approx((0.25 + 0.25 + 0.5) / 4)


def test_items_that_belong_together_elsewhere_count_as_one():
    items = tuple(replace(item, group=f"g{i // 10}") for i, item in enumerate(ITEMS))
    task = replace(on("trec").task, test=items, clustered_by="passage")
    arrays = {
        "elsewhere.also0.loglik": np.tile([0.0, -1.0], (5, 60, 1)),
        "elsewhere.also0.gold": np.arange(60) % 2,
    }
    condition = SimpleNamespace(arrays=arrays, draws=(0, 1, 2, 3, 4))
    scored = SimpleNamespace(family="tune", examples=8, pool=100)
    arm = Arm("it-8", condition, scored)
    found = side_effects._scores(arm, Elsewhere("trec", "also", task), 0)
    assert found.groups is not None and len(set(found.groups)) == 6
    assert found.floor == 0.5 and found.values.shape == (5, 60)
    alone = side_effects._scores(arm, on("trec"), 0)
    assert alone.groups is None
