"""Break-even of the pair that was judged, and sentences that cover several verdicts."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.stats.intervals import Scores
from adaptlens.studies.compare import across
from adaptlens.studies.compare.costs import break_even, cost_row, from_on_queries
from adaptlens.studies.compare.verdict import verdict

WAYS = ("bare", "asked")


def arm(label, query, cached, *, runs=(), searches=(), templates=(), draws=(0, 1), **numbers):
    """An arm whose queries cost the same under both templates but for the second's 10 more."""
    costs = {
        "query_flops": np.array([[q, q + 10] for q in query], float),
        "query_flops_cached": np.array([[c, c + 10] for c in cached], float),
        "query_tokens": np.full((len(draws), 2), 20.0),
        "cached_tokens": np.full((len(draws), 2), 5.0),
        "answer_tokens": np.full((len(draws), 2), 1.0),
    }
    numbers = {"query_seconds": 1.0, **numbers}
    condition = SimpleNamespace(
        is_brought=False,
        label=label, costs=costs, numbers=numbers, draws=draws, runs=runs, searches=searches,
        templates=WAYS,
    )  # fmt: skip
    return SimpleNamespace(label=label, condition=condition, templates=templates)


def tuned(**changes):
    runs = [{"flops": 900.0, "flops_computed": 300.0}, {"flops": 1800.0, "flops_computed": 600.0}]
    numbers = {
        "training_tried_flops": 9000.0,
        "training_tried_flops_computed": 3000.0,
        "training_seconds_amortized": 6.0,
        "query_seconds": 1.0,
        **changes,
    }
    return arm("it-4", (5, 5), (5, 5), runs=runs, **numbers)


def prompted():
    found = arm("icl-4", (95, 95), (15, 15), query_seconds=4.0)
    found.condition.costs["query_tokens"] = np.full((2, 2), 30.0)
    return found


def judged(state, prompt="icl-4", tuned="it-4", tests=()):
    return SimpleNamespace(state=state, prompt=prompt, tuned=tuned, tests=tests)


def found(rows, **wanted):
    (row,) = (row for row in rows if all(row[name] == value for name, value in wanted.items()))
    return row["queries"], row["low"], row["high"]


def test_break_even_of_one_run_by_hand():
    rows = break_even([tuned(), prompted()], judged("tune")).rows
    one = {"unit": "FLOP", "counted": "one run"}
    # 1350 on average, 900 and 1800 in single draws, over 90 saved a query.
    peft = found(rows, trainer="plain PEFT", serving="uncached", **one)
    assert peft == (15.0, 10.0, 20.0)
    here = found(rows, trainer="adaptlens", serving="uncached", **one)
    assert here == pytest.approx((5.0, 10 / 3, 20 / 3))
    # Filling the cache costs the prompt 80 once, and 10 are saved a query after.
    cached = found(rows, trainer="plain PEFT", serving="cached", **one)
    assert cached == pytest.approx((127.0, 82.0, 172.0))


def test_everything_tried_counts_on_both_sides():
    searched = arm("best-prompt-4", (95, 95), (15, 15), searches=[{"flops": 4500.0}] * 2)
    rows = break_even([tuned(), searched], judged("tune", "best-prompt-4")).rows
    wanted = {"unit": "FLOP", "serving": "uncached", "trainer": "plain PEFT"}
    assert found(rows, counted="everything tried", **wanted)[0] == 50.0  # (9000 - 4500) / 90
    assert found(rows, counted="one run", **wanted)[0] == 15.0
    plain = break_even([tuned(), prompted()], judged("tune")).rows
    assert found(plain, counted="everything tried", **wanted)[0] == 100.0


def test_seconds_are_not_told_with_a_cached_prompt():
    rows = break_even([tuned(), prompted()], judged("tune")).rows
    assert [row["serving"] for row in rows if row["unit"] == "seconds"] == ["uncached"]
    assert found(rows, unit="seconds")[0] == 2.0  # 6 / (4 - 1)


def test_prompts_of_nearly_one_length_are_not_told_apart_by_seconds():
    short = prompted()
    short.condition.costs["query_tokens"][:] = 29.0
    even = break_even([tuned(), short], judged("tune"))
    assert "seconds" not in {row["unit"] for row in even.rows}
    assert "seconds" not in even.line


def test_money_by_hand():
    # A query of the tuned model reads 20 tokens, the prompt 30, and both write one.
    prices = {"gpu_hour": 3600.0, "input_million_tokens": 1e6, "cached_million_tokens": 1e5}
    prices["output_million_tokens"] = 1e6
    rows = break_even([tuned(), prompted()], judged("tune"), prices).rows
    assert found(rows, unit="money", serving="uncached")[0] == pytest.approx(0.6)  # 6 / (31 - 21)


def test_money_by_flops_has_the_least_and_most_of_single_draws():
    # An operation costs 1: runs of 900 and 1,800, and 10 saved a query.
    prices = {"gpu_hour": 3600.0, "gpu_flops": 1.0}
    prices |= {"input_million_tokens": 1e6, "output_million_tokens": 1e6}
    rows = break_even([tuned(), prompted()], judged("tune"), prices).rows
    wanted = {"unit": "money", "serving": "uncached", "trainer": "plain PEFT"}
    assert found(rows, **wanted) == pytest.approx((135.0, 90.0, 180.0))


def test_without_a_price_that_it_needs_no_money_is_told_and_the_line_says_so():
    even = break_even([tuned(), prompted()], judged("tune"), {"gpu_hour": 1.0})
    assert "money" not in {row["unit"] for row in even.rows}
    assert "in money: not told" in even.line
    assert "money" not in break_even([tuned(), prompted()], judged("tune")).line


def test_costs_have_money_and_energy_as_far_as_prices_say():
    plain = cost_row(tuned(training_flops=1350.0, training_trained_parameters=1e9))
    assert not [name for name in plain if "price" in name or "joules" in name]
    prices = {"flops_per_joule": 10.0, "gb_month": 0.5}
    row = cost_row(tuned(training_flops=1350.0, training_trained_parameters=1e9), prices)
    assert row["training_joules"] == 135.0 and row["storage_price"] == 2.0  # 4 GB
    assert row["query_joules"] == 1.0  # 5 and 15 under the two templates
    assert "query_price" not in row and "training_price" not in row


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("prompt", "no break-even: icl-4 is better than it-4, which no saving on queries makes up"),
        ("neither", "no break-even: of it-4 and icl-4, neither is shown to beat an answer"),
    ],
)
def test_where_tuning_is_worse_a_sentence_says_that_there_is_none(state, said):
    even = break_even([tuned(), prompted()], judged(state))
    assert even.rows == [] and even.line.startswith(said)


def test_tuning_that_is_not_shown_to_beat_a_baseline_has_none():
    def against(arm, p):
        return SimpleNamespace(left=arm, right="majority 'a'", p_holm=p)

    pair = SimpleNamespace(left="it-4", right="icl-4", p_holm=0.5)
    tests = (pair, against("it-4", 0.2), against("icl-4", 0.01))
    even = break_even([tuned(), prompted()], judged("undecided", tests=tests))
    assert even.rows == []
    assert even.line == "no break-even: it-4 is not shown to beat always answering 'a'"
    beaten = (pair, against("it-4", 0.01), against("icl-4", 0.2))
    assert break_even([tuned(), prompted()], judged("undecided", tests=beaten)).rows


def test_a_break_even_before_anything_is_shown_says_so():
    said = break_even([tuned(), prompted()], judged("undecided")).line
    assert said.endswith("; it is not shown that tuning is as good")
    assert "from 15 queries on (10 to 20 in single draws)" in said
    for state in ("tune", "no difference"):
        assert "not shown" not in break_even([tuned(), prompted()], judged(state)).line


@pytest.mark.parametrize(("prompt", "tune"), [("", "it-4"), ("icl-4", ""), ("", "")])
def test_with_one_side_there_is_nothing_to_compare(prompt, tune):
    even = break_even([tuned(), prompted()], judged("undecided", prompt, tune))
    assert (even.rows, even.line) == ([], "no break-even: nothing to compare")


def test_zero_shot_is_a_prompt_too_and_may_never_cost_more():
    zero = arm("zero-shot", (5,), (5,), draws=(-1,))
    even = break_even([tuned(), zero], judged("no difference", "zero-shot"))
    assert found(even.rows, unit="FLOP", counted="one run", trainer="plain PEFT",
                 serving="uncached") == (math.inf, math.inf, math.inf)  # fmt: skip
    assert "one run of plain PEFT: never" in even.line


def test_a_chosen_template_costs_what_it_costs():
    at = arm("best-it-4", (5, 5), (5, 5), templates=("asked", "asked"))
    assert cost_row(at)["query_flops"] == 15.0
    assert cost_row(arm("it-4", (5, 5), (5, 5)))["query_flops"] == 10.0


def test_costs_that_were_not_measured_are_no_break_even():
    bare = tuned()
    bare.condition.runs = ()
    assert "not in this run" in break_even([bare, prompted()], judged("tune")).line


@pytest.mark.parametrize(
    ("queries", "low", "high", "said"),
    [
        (0.0, math.nan, math.nan, "from the first query on"),
        (math.inf, math.nan, math.nan, "never"),
        (math.nan, math.nan, math.nan, "unknown"),
        (1234.5, 1000.0, math.inf, "from 1,235 queries on (1,000 to never in single draws)"),
    ],
)
def test_a_break_even_in_words(queries, low, high, said):
    assert from_on_queries({"queries": queries, "low": low, "high": high}) == said


def verdicts(ps, states):
    return [
        {"task": f"task-{i}", "model": "m", "p": p, "state": state}
        for i, (p, state) in enumerate(zip(ps, states, strict=True))
    ]


def test_several_tasks_are_corrected_together():
    # Holm over three: 0.01 x 3, 0.02 x 2, 0.3 x 1; the fourth was not tested.
    some = verdicts((0.02, 0.3, 0.01, math.nan), ("tune", "undecided", "prompt", "undecided"))
    own = across.corrected(some)
    assert [one["p_holm_tasks"] for one in own[:3]] == pytest.approx([0.04, 0.3, 0.03])
    assert math.isnan(own[3]["p_holm_tasks"])
    assert across.said(own) == [
        "over the 4 tasks, p-values corrected for all of them (Holm): tuning is better on task-0; "
        "prompting is better on task-2"
    ]


def test_a_claim_of_one_task_may_not_stand_beside_the_others():
    own = across.corrected(verdicts((0.04, 0.5), ("tune", "undecided")))
    (said,) = across.said(own)
    assert said.endswith("what is claimed of task-0 alone does not stand beside the others")
    assert across.said(across.corrected(verdicts((0.04,), ("tune",)))) == []


def test_equivalence_is_a_claim_too():
    some = verdicts((0.02, 0.04), ("no difference", "undecided"))
    (said,) = across.said(across.corrected(some))
    assert said.endswith("tuning and prompting are equivalent on task-0")
    open_ones = verdicts((0.5, 0.5), ("undecided", "undecided"))
    (said,) = across.said(across.corrected(open_ones))
    assert said.endswith("neither a difference nor that there is none is shown of any")


def test_what_is_corrected_over_tasks_is_what_the_line_claims():
    rng = np.random.default_rng(0)
    draws = tuple(range(10))
    arms = {
        "icl-4": Scores((rng.random((10, 60)) < 0.6).astype(float), draws, "prompt", floor=0.5),
        "it-4": Scores((rng.random((10, 60)) < 0.95).astype(float), draws, "tune", floor=0.5),
    }
    baselines = {"chance": np.full(60, 0.5), "majority 'a'": np.eye(2)[0].repeat(30)}
    found = verdict(arms, baselines=baselines, flips=199)
    # Holm over the pair and both arms against their baselines, not the pair alone.
    assert found.p > found.primary.p_holm
    assert across.claimed_p(replace(found, state="tune")) == found.p
    same = replace(found, state="no difference", equivalence_p=0.03)
    assert across.claimed_p(same) == 0.03
    assert across.claimed_p(replace(found, state="neither")) == 1.0
    assert math.isnan(across.claimed_p(verdict({})))


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1), st.sampled_from(("tune", "prompt", "undecided", "no difference"))
        ),
        min_size=2, max_size=6,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_order_of_tasks_changes_nothing(found, chance):
    some = verdicts(*zip(*found, strict=True))
    other = chance.sample(some, len(some))
    first, second = across.corrected(some), across.corrected(other)
    by_task = {one["task"]: one for one in second}
    assert all(by_task[one["task"]] == one for one in first)
    assert across.said(first) == across.said(second)
