"""The verdict as advice: what is said of each state, and what arms are called."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from adaptlens.stats.intervals import difference
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare.advice import advice, named
from adaptlens.studies.compare.costs import BreakEven
from adaptlens.studies.compare.verdict import Verdict


def arm(label: str, adaptation: str, examples: int = 0, *, brought: bool = False):
    condition = SimpleNamespace(
        label=label.removeprefix("best-"), adaptation=adaptation, examples=examples,
        is_brought=brought,
    )  # fmt: skip
    return SimpleNamespace(label=label, condition=condition)


ARMS = [arm("icl-8", "icl", 8), arm("best-it-8", "it", 8)]
PAYS = BreakEven("", [
    {"unit": "FLOP", "trainer": "plain PEFT", "counted": "one run", "serving": "uncached",
     "queries": 1234.2},
])  # fmt: skip
NEVER = BreakEven("", [{**PAYS.rows[0], "queries": math.inf}])


def pair(left: int, right: int, draws: int = 10):
    """Return the difference of two arms that get so many of 100 queries right, give or take one."""
    apart = np.arange(draws) % 3 - 1
    values = [
        (np.arange(100)[None] < rights + apart[:, None]).astype(float) for rights in (left, right)
    ]
    sides = [Scores(one, tuple(range(draws)), floor=0.5) for one in values]
    return difference(*sides, names=("best-it-8", "icl-8"))


def verdict(state: str, left: int = 90, right: int = 60, **changes: object) -> Verdict:
    found = Verdict(state, "", "icl-8", "best-it-8", primary=pair(left, right))
    return replace(found, **changes)


@pytest.mark.parametrize(
    ("label", "adaptation", "examples", "said"),
    [
        ("icl-1", "icl", 1, "showing 1 example in the prompt"),
        ("zero-shot", "zero_shot", 0, "asking without examples"),
        ("best-prompt-0", "best_prompt", 0, "the best prompt found (no examples)"),
        ("best-prompt-8", "best_prompt", 8, "the best prompt found (8 examples)"),
        ("best-it-8", "it", 8, "tuning on 8 examples"),
        ("sl-8", "sl", 8, "tuning without the instruction on 8 examples"),
        (
            "ia2-8",
            "ia2",
            8,
            "aligning attention with the prompt's on 8 examples",
        ),
        ("distil-8", "distil", 8, "distilling the prompt into weights on 8 examples"),
    ],
)
def test_an_arm_is_named_in_words(label, adaptation, examples, said):
    assert named(arm(label, adaptation, examples)) == said


def test_a_brought_arm_goes_by_its_name():
    assert named(arm("best-mine", "adapter", brought=True)) == "'mine'"


def test_to_tune_says_by_how_much_and_from_when_it_pays():
    said = advice(verdict("tune"), ARMS, PAYS, "choice")
    assert said.startswith("Tuning on 8 examples scores 30.0 points [")
    assert "more than showing 8 examples in the prompt." in said
    assert said.endswith("It has paid for its training after 1,235 queries.")
    assert advice(verdict("tune"), ARMS, NEVER, "choice").endswith("are no shorter.")
    assert advice(verdict("tune"), ARMS, BreakEven(""), "generation").endswith("in the prompt.")


def test_to_prompt_turns_the_interval_around():
    said = advice(verdict("prompt", 60, 90), ARMS, BreakEven(""), "choice")
    assert said.startswith("Showing 8 examples in the prompt scores 30.0 points [")
    low, high = (float(x) for x in said.split("[")[1].split("]")[0].split(", "))
    assert 0 < low < 30 < high


def test_no_difference_and_no_decision_are_left_to_cost():
    alike = advice(verdict("no difference", 80, 80), ARMS, PAYS, "choice")
    assert "score alike, within 2 points." in alike
    assert alike.endswith("Take the cheaper: the prompt below 1,235 queries, tuning above.")
    open_ = advice(verdict("undecided", 76, 80), ARMS, NEVER, "choice")
    assert open_.startswith("Showing 8 examples in the prompt is 4.0 points ahead of tuning on 8")
    assert "cannot tell from chance: it would have found " in open_
    assert open_.endswith("cost decides: the prompt, which needs no training.")
    same = advice(verdict("undecided", 80, 80), ARMS, PAYS, "choice")
    assert "score the same here; that they are equal is not shown." in same
    few = replace(verdict("undecided", 76, 80), primary=pair(76, 80, draws=3))
    assert "points. 3 draws support no claim; at least 5 do. Until" in advice(
        few, ARMS, PAYS, "choice"
    )


@pytest.mark.parametrize(
    ("cached", "tuned", "alike"),
    [
        (1234.2, "after 1,235 queries.", "tuning above."),
        (98_000, ", or 98,000 queries where the prompt is cached.",
         " (98,000 queries where it is cached), tuning above."),
        (math.inf, ", and never where the prompt is cached.",
         "; where the prompt is cached, the prompt."),
    ],
)  # fmt: skip
def test_a_cached_prompt_stays_cheap_for_longer_and_the_advice_says_so(cached, tuned, alike):
    pays = BreakEven("", [*PAYS.rows, {**PAYS.rows[0], "serving": "cached", "queries": cached}])
    assert advice(verdict("tune"), ARMS, pays, "choice").endswith(tuned)
    assert advice(verdict("no difference", 80, 80), ARMS, pays, "choice").endswith(alike)


def test_neither_names_what_is_not_beaten_and_nothing_is_said_of_nothing():
    tests = (SimpleNamespace(left="icl-8", right="majority 'good'"),)
    said = advice(verdict("neither", tests=tests), ARMS, PAYS, "choice")
    assert "is shown to beat always answering 'good'." in said
    assert advice(Verdict("undecided", ""), ARMS, PAYS, "choice") == ""


def test_no_decision_between_arms_that_beat_nothing_is_not_left_to_cost():
    low = [SimpleNamespace(left=name, right="majority 'good'", low=-0.1) for name in ("a", "b")]
    said = advice(verdict("undecided", 76, 80, tests=tuple(low)), ARMS, PAYS, "choice")
    assert said.endswith(
        "Neither is shown to beat always answering 'good', so neither is worth its cost yet."
    )
    one = (low[0], SimpleNamespace(left="b", right="majority 'good'", low=0.02))
    said = advice(verdict("undecided", 76, 80, tests=one), ARMS, PAYS, "choice")
    assert said.endswith("the prompt below 1,235 queries, tuning above.")
