"""What is said of several models on one task, in words, as rows, in a table and a figure."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from adaptlens.report.labels import Shown
from adaptlens.report.tables import Conditions
from adaptlens.stats.intervals import estimate
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare import across_models, front
from adaptlens.studies.compare.across_models import together
from adaptlens.studies.compare.arm_choice import Choice
from adaptlens.studies.compare.figures_front import score_by_cost
from adaptlens.studies.compare.tables import front as table_of
from adaptlens.types import Example

QUERIES = 200
LABELS = {"icl-4": Shown("icl-4", "icl-4", "icl", 4), "it-4": Shown("it-4", "it-4", "it", 4)}


@pytest.fixture(autouse=True)
def few_flips(monkeypatch):
    monkeypatch.setattr(across_models, "standings", partial(front.standings, flips=199))
    monkeypatch.setattr(across_models, "estimate", partial(estimate, flips=99))


def arm(label, rights, tokens, cached=0.0, *, is_priced=True):
    """An arm that is right on so many queries; a token costs a million operations."""
    values = np.zeros((10, QUERIES))
    values[:, :rights] = 1.0
    held_out = np.zeros((10, 40))
    held_out[:, : rights // 5] = 1.0
    costs = {
        "query_flops": np.full((10, 1), 1e6 * tokens),
        "query_flops_cached": np.full((10, 1), 1e6 * (tokens - cached)),
        "query_tokens": np.full((10, 1), tokens),
        "cached_tokens": np.full((10, 1), cached),
        "answer_tokens": np.zeros((10, 1)),
    }
    condition = SimpleNamespace(label=label, costs=costs if is_priced else {}, draws=range(10))
    family = "tune" if label.startswith("it") else "prompt"
    scores = Scores(values, tuple(range(10)), family, held_out, cost=1e6 * tokens, floor=0.5)
    return SimpleNamespace(label=label, condition=condition, scores=scores, templates=())


def model(name, *arms, prices=None, words="text", tests=()):
    items = [Example(str(i), f"{words} {i}", "a") for i in range(QUERIES)]
    verdict = SimpleNamespace(
        choices=tuple(Choice(one.label, one.scores) for one in arms),
        tests=tests,
        is_chosen_blind=True,
    )
    return SimpleNamespace(
        name="reviews", model=name, task=SimpleNamespace(test=items, kind="choice"), arms=arms,
        scores={one.label: one.scores for one in arms}, verdict=verdict, prices=prices or {},
        config=SimpleNamespace(margin=2.0, seed=0), metric="judged",
    )  # fmt: skip


def two(**more):
    """A small model that is tuned well, and a large one that is prompted badly."""
    return (
        model("small", arm("it-4", 190, 20), arm("icl-4", 120, 100, 80), **more),
        model("large", arm("icl-4", 120, 200, 100), **more),
    )


def test_a_small_tuned_model_dominates_a_large_prompted_one():
    (found,) = together(two())
    assert found.line.startswith(
        "score against FLOPs of a query, 2 models on reviews: not shown to be dominated: "
        "it-4 on small (the cheapest); icl-4 on small is dominated by it-4 on small: "
        "35.0 points ["
    )
    assert "icl-4 on large is dominated by it-4 on small: 35.0 points [" in found.line
    assert " less, for 10 times the cost, p = " in found.line
    assert found.advice == (
        "On reviews take it-4 on small for the least cost: nothing that costs more is shown to "
        "score more."
    )
    assert [row["state"] for row in found.rows] == ["cheapest", "dominated", "dominated"]
    assert [row["cost_cached"] for row in found.rows] == [20e6, 20e6, 100e6]


def test_one_model_has_no_line_of_its_own():
    assert together(two()[:1]) == []


def test_models_that_were_asked_other_items_are_not_held_together():
    small, large = two()
    other = model("large", *large.arms, words="another")
    (found,) = together((small, other))
    assert not found.line and not found.rows
    assert found.notes == ("reviews: models were not asked the same items, so they are not held "
                           "together",)  # fmt: skip


def test_costs_are_money_where_every_arm_has_a_price():
    tokens = {"input_million_tokens": 2.0, "cached_million_tokens": 0.5}
    (found,) = together(two(prices=tokens))
    assert found.line.startswith("score against price of a query")
    assert [row["unit"] for row in found.rows] == ["money"] * 3
    assert [row["cost"] for row in found.rows] == pytest.approx([40e-6, 200e-6, 400e-6])
    # 80 of 100 tokens, and 100 of 200, come from the cache.
    assert [row["cost_cached"] for row in found.rows] == pytest.approx([40e-6, 80e-6, 250e-6])


def test_an_arm_of_unknown_cost_is_left_out_and_said():
    small, large = two()
    unknown = model("other", arm("it-4", 150, 20, is_priced=False))
    (found,) = together((small, large, unknown))
    assert "1 arm whose cost of a query is not known" in found.notes[0]
    assert "other" not in found.line


def test_an_arm_that_beats_no_baseline_is_said_to():
    test = SimpleNamespace(left="it-4", right="majority 'a'", p_holm=0.4)
    small, large = two(tests=(test,))
    (found,) = together((small, large))
    assert "it-4 on small (the cheapest; not shown to beat an answer that costs nothing)" in (
        found.line
    )
    assert found.advice.endswith("; it-4 on small: not shown to beat an answer that costs nothing.")


def test_the_advice_names_what_scores_more_for_more_and_what_is_not_decided():
    large = model("large", arm("icl-4", 160, 200, 100), arm("it-4", 191, 100))
    (found,) = together((model("small", arm("it-4", 120, 20)), large))
    assert [(row["model"], row["state"]) for row in found.rows] == [
        ("small", "cheapest"), ("large", "ahead"), ("large", "dominated")
    ]  # fmt: skip
    assert found.advice == (
        "On reviews take it-4 on small for the least cost, it-4 on large for a higher score."
    )
    close = model("large", arm("it-4", 122, 100))
    (found,) = together((model("small", arm("it-4", 120, 20)), close))
    assert found.advice == (
        "On reviews take it-4 on small for the least cost; whether it-4 on large scores more is "
        "not decided."
    )


def test_the_table_and_the_figure_have_every_judged_arm():
    (found,) = together(two())
    rows = pd.DataFrame(found.rows)
    table = table_of({"front": rows}, Conditions(LABELS, {}))
    headings = [text for text, _ in table.headings]
    stands = [row[headings.index("stands")].text for row in table.rows]
    assert stands == ["not dominated: the cheapest", "dominated", "dominated"]
    costs = [row[headings.index("a query")].text for row in table.rows]
    assert costs == ["0.02 GFLOP", "0.1 GFLOP", "0.2 GFLOP"]
    for width in (920, 340):
        drawn = score_by_cost(rows, LABELS, width=width).to_dict()
        (dots,) = [d for d in drawn["datasets"].values() if d and "filled" in d[0]]
        assert [dot["filled"] for dot in dots] == [True, False, False]
        assert dots[2]["label"].endswith("at 2e+08 FLOP a query; dominated")
