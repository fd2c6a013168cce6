"""Gates: what they take, what passes, and how often one passes that should not."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from adaptlens.errors import UserError
from adaptlens.stats.intervals import Scores, above
from adaptlens.studies.compare import gates
from gate_rates import CASES, passes


def fixed(rights: int, queries: int = 100) -> Scores:
    """One arm as it is, right on the first so many queries."""
    return Scores((np.arange(queries) < rights).astype(float)[None])


def test_a_gate_is_an_arm_another_and_points():
    gate = gates.parse(" mine >= base - 1.5 ")
    assert (gate.left, gate.right, gate.points, gate.fixed) == ("mine", "base", -1.5, None)
    assert gates.parse("mine>=icl-16").points == 0
    assert gates.parse("best-mine >= it-16+2").points == 2
    assert gates.parse("mine >= 80").fixed == 80


@pytest.mark.parametrize("text", ["", "mine", "mine > base", "mine >= base - x", ">= base"])
def test_what_is_no_gate_is_one_line(text):
    with pytest.raises(UserError, match="expected ARM >= ARM") as caught:
        gates.parse(text)
    assert "\n" not in str(caught.value)


def test_a_gate_names_arms_that_there_are():
    gates.check([gates.parse("mine >= base"), gates.parse("mine >= majority + 1")], ["mine"])
    with pytest.raises(UserError, match="did you mean 'mine'"):
        gates.check([gates.parse("mime >= base")], ["mine"])
    with pytest.raises(UserError, match="180 is no score"):
        gates.check([gates.parse("mine >= 180")], ["mine"])


def test_what_is_shown_passes_and_what_is_not_contradicted_does_not():
    arms = {"zero-shot": fixed(70), "mine": fixed(80), "like": fixed(70)}
    asked = ["mine >= base", "mine >= base + 9", "like >= base", "like >= base - 5", "mine >= 60"]
    rows = gates.judged(map(gates.parse, asked), arms, {}, seed=0)
    assert [row["passed"] for row in rows] == [True, False, False, True, True]
    assert [round(row["difference"], 6) for row in rows] == [10, 10, 0, 0, 20]
    for row in rows:
        assert row["least"] <= row["difference"]
        assert row["passed"] == (row["least"] >= row["bound"])


def test_an_arm_is_held_against_answering_without_reading():
    baseline = {"majority 'good'": np.repeat([1.0, 0.0], 50), "chance": np.full(100, 0.5)}
    asked = [gates.parse("mine >= majority"), gates.parse("mine >= chance")]
    rows = gates.judged(asked, {"mine": fixed(90)}, baseline, seed=0)
    assert [row["passed"] for row in rows] == [True, True]
    assert [row["difference"] for row in rows] == pytest.approx([40.0, 40.0])


def test_too_few_draws_pass_nothing_and_the_row_says_so():
    drawn = Scores(np.ones((2, 100)), (0, 1), "tune")
    (row,) = gates.judged([gates.parse("it-2 >= base")], {"it-2": drawn, "zero-shot": fixed(1)},
                          {}, seed=0)  # fmt: skip
    assert not row["passed"] and "2 draws support no claim" in row["reason"]
    assert "2 draws support no claim" in gates.line(row)


def test_the_least_that_is_shown_is_where_the_test_begins_to_fail():
    found = above(fixed(80), fixed(70), -0.01)
    assert above(fixed(80), fixed(70), found.least - 1e-4).p <= 0.05
    assert above(fixed(80), fixed(70), found.least + 1e-4).p > 0.05


def test_where_all_queries_agree_only_what_unseen_ones_may_do_is_left():
    # Of 100 queries that all answer alike a share s of another kind is missed with (1 - s)^100;
    # half a query is taken off the gap of 5 points.
    found = above(fixed(100), fixed(100), -0.05)
    assert found.p == pytest.approx((1 - 0.045) ** 100)


def test_a_score_near_the_ceiling_is_held_to_the_binomial_tail():
    # By Student's t, from 3 wrong answers that were seen, 57 of 60 would show 90 with p = 0.04.
    def p(rights, queries, asked):
        level = Scores(np.full((1, queries), asked / 100))
        return above(fixed(rights, queries), level, 0.0).p

    at_least_57 = sum(math.comb(60, n) * 0.9**n * 0.1 ** (60 - n) for n in range(57, 61))
    assert at_least_57 == pytest.approx(0.137, abs=1e-3)
    assert p(57, 60, 90) == pytest.approx(at_least_57)
    assert p(60, 60, 95) == pytest.approx(0.95**60)
    assert p(60, 60, 95) <= 0.05 < p(58, 60, 95)


def test_the_report_for_pipelines_has_a_test_for_each_gate():
    row = {"task": "t", "model": "m", "difference": 1.0, "least": -1.0, "p": 0.2, "reason": ""}
    rows = [{**row, "gate": "a >= b", "passed": True}, {**row, "gate": "a > <b", "passed": False}]
    suite = ElementTree.fromstring(gates.junit(rows))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite] == ["a >= b", "a > <b"]
    assert suite[1][0].tag == "failure" and "shown to be at least -1.0" in suite[1][0].get(
        "message"
    )
    assert gates.not_passed(rows) == "1 gate not passed: 'a > <b' on m, t"
    assert not gates.not_passed(rows[:1])


@pytest.mark.parametrize("case", ["near the ceiling", "answers that agree in 19 of 20"])
def test_arms_exactly_at_the_bound_seldom_pass(case):
    # Without Yates' correction 0.077 and 0.085 of 600 pass.
    assert passes(-5.0, -5.0, 200, 60, CASES[case]) <= 0.06
