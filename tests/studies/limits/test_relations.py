"""Correlations over tuned models and tasks: hand-worked, against oracles, and how often wrong."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, pearsonr, spearmanr

from adaptlens.errors import UserError
from adaptlens.stats.rank_correlation import Kendall, pearson, ranks
from adaptlens.studies.limits.correlation import CONTROLS, Controlled, correlate
from adaptlens.studies.limits.panel import COLUMNS, abilities, panel
from adaptlens.studies.limits.relations import per_model, per_task, relations
from limits_scores import abilities_of, scores

FEW = {"resamples": 200, "exchanges": 199}
FEWER = {"resamples": 100, "exchanges": 99}
SMALL = {"tasks": 8, "models": 2}
RUNS = 40
"""Of each simulation; 200 are in benchmarks/relation_rates.py."""


def simulated(seed=0, *, models=4, noise=0.3, measured=0.0, **kind):
    """A panel whose two sides beyond what all share correlate by `related`."""
    rng = np.random.default_rng(seed)
    return panel(
        scores(*abilities_of(rng, **kind), rng, models=models, noise=noise, measured=measured)
    )


def rows_of(*values, **changed):
    """Rows of one model and task, regular and then gold, with these values."""
    import pandas as pd

    row = dict.fromkeys(COLUMNS, "") | {
        "model": "m", "size": 1e6, "seed": -1, "draw": 0, "task": "t", "cluster": "c",
        "seen": False, "scoring": "choice", "chance": 0.5, "floor": 0.5, "queries": 100,
        "unparsed": 0.0, "system": "gold",
    }  # fmt: skip
    return pd.DataFrame([row | {"value": v, "half_a": v, "half_b": v} | changed for v in values])


def test_ability_is_the_score_above_its_floor_over_the_headroom():
    (found,) = abilities(rows_of(0.75))["ability"]
    assert found == pytest.approx(0.5)
    (worse,) = abilities(rows_of(0.25))["ability"]
    assert worse == pytest.approx(-0.5)


def test_draws_are_averaged_and_chance_stands_in_for_a_floor_not_measured():
    table = rows_of(0.6, 0.8, floor=math.nan)
    table["draw"] = [0, 1]
    (found,) = abilities(table).itertuples()
    assert (found.ability, found.draws) == (pytest.approx(0.4), 2)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (rows_of(0.5).drop(columns=["floor"]), "without floor"),
        (rows_of(0.5, floor=1.0), "less than 1"),
        (rows_of(50.0), "fractions"),
        (rows_of(0.5, system="golden"), "gold"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(table, said):
    with pytest.raises(UserError, match=said):
        abilities(table)


def test_a_table_without_both_systems_is_refused():
    with pytest.raises(UserError, match="read in both 'regular' and 'gold'"):
        panel(rows_of(0.5))


def test_a_panel_puts_every_tuned_model_beside_its_base():
    found = simulated(models=3, bases=5, tasks=6)
    assert found.tuned.shape == (3, 15, 6) and found.icl.shape == (3, 5, 6)
    assert found.of.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    half = found.only(np.arange(15)[:, None] + np.zeros(6) < 6)
    assert half.bases == ("base-0", "base-1") and half.tuned.shape == (3, 6, 6)


def test_ranks_are_counted_by_weight_and_shared_by_equal_values():
    # Values 10, 20, 20, 30 once, twice, once, once: places 0-1, 1-4, 4-5 of 5.
    found = ranks(np.array([[20.0, 10.0, 20.0, 30.0]]), np.array([[2.0, 1.0, 1.0, 1.0]]))
    assert found[0] == pytest.approx([0.5, 0.1, 0.5, 0.9])


def test_a_value_alone_has_the_middle_rank():
    assert ranks(np.array([[7.0]]), np.array([[3.0]])).tolist() == [[0.5]]


counts = st.lists(st.integers(0, 3), min_size=12, max_size=12).filter(
    lambda w: sum(map(bool, w)) > 3
)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), counts)
def test_weights_do_what_repeating_points_does(seed, weights):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 5, (2, 12)).astype(float)
    again = np.repeat(np.arange(12), weights)
    if len(set(x[again])) < 2 or len(set(y[again])) < 2:
        return
    w = np.array([weights], float)
    assert pearson(x[None], y[None], w)[0] == pytest.approx(pearsonr(x[again], y[again])[0])
    ranked = pearson(ranks(x[None], w), ranks(y[None], w), w)[0]
    assert ranked == pytest.approx(spearmanr(x[again], y[again])[0])
    tau = Kendall(y, np.arange(12), 12).of(x, w)[0]
    assert tau == pytest.approx(kendalltau(x[again], y[again])[0])


def test_kendalls_correlation_of_points_in_cells_is_that_of_the_points():
    rng = np.random.default_rng(1)
    cell, x, y = rng.integers(0, 7, 40), rng.integers(0, 4, 7).astype(float), rng.normal(size=40)
    found = Kendall(y, cell, 8)
    x = np.append(x, 0.0)
    assert found.of(x, np.ones((1, 8)))[0] == pytest.approx(kendalltau(x[cell], y)[0])
    assert found.permuted(x[None])[0] == pytest.approx(kendalltau(x[cell], y)[0])


@pytest.mark.parametrize("given", ["difficulty", "difficulty, size, family"])
def test_controls_leave_what_regression_task_by_task_leaves(given):
    whole = simulated(2, bases=9, tasks=5, models=2)
    one = Controlled(whole, CONTROLS[given])
    y, x = one.left(*one.sides(), np.ones((1, 9)), np.ones((1, 5)))
    design = one.design[whole.of]
    assert design.shape[1] == (1 if given == "difficulty" else 4)
    for task in range(5):
        in_context = x[0, whole.of * 5 + task], whole.icl[0][whole.of, task]
        for found, values in ((y[0, one.task == task], whole.tuned[0][:, task]), in_context):
            fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
            assert found == pytest.approx(values - fitted, abs=1e-9)


def test_with_the_model_controlled_no_model_and_no_task_is_better_on_average():
    whole = simulated(3, bases=6, tasks=5, models=2)
    one = Controlled(whole, CONTROLS["difficulty, model"])
    y, x = one.left(*one.sides(), np.ones((1, 6)), np.ones((1, 5)))
    for table in (y.reshape(12, 5), x.reshape(6, 5)):
        assert table.mean(0) == pytest.approx(np.zeros(5), abs=1e-9)
        assert table.mean(1) == pytest.approx(np.zeros(len(table)), abs=1e-9)


@pytest.mark.parametrize("given", ["nothing", "difficulty, size, family", "difficulty, model"])
def test_a_resample_is_the_study_with_its_bases_and_tasks_repeated(given):
    whole = simulated(4, bases=7, tasks=5, models=2)
    rng = np.random.default_rng(0)
    one = Controlled(whole, CONTROLS[given])
    bases, tasks = np.array([2, 1, 1, 1, 0, 1, 1]), rng.multinomial(5, [0.2] * 5)
    weights = np.outer(bases, tasks).reshape(1, -1).astype(float)
    y, x = one.left(*one.sides(), bases[None].astype(float), tasks[None].astype(float))
    found = one.coefficient(y, x, weights, ranked=False)[0]
    rows, columns = np.repeat(np.arange(14), bases[whole.of]), np.repeat(np.arange(5), tasks)
    sides = [table[rows][:, columns] for table in (whole.tuned[0], whole.icl[0][whole.of])]
    if given != "nothing":
        design = one.design[whole.of][rows]
        sides = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in sides]
    if given == "difficulty, model":
        sides = [v - v.mean(1, keepdims=True) for v in sides]
    assert found == pytest.approx(pearsonr(*(side.ravel() for side in sides))[0])


def test_all_orders_of_few_bases_are_tried_and_few_bases_decide_nothing():
    found = correlate(simulated(5, bases=4, related=1.0), ("task",), **FEW)["spearman"]
    assert found.exchanges == 24
    assert found.p >= 2 / 24 - 1e-9
    assert found.note == "4 bases: fewer than 5 decide nothing"
    too_few = correlate(simulated(5, bases=4), CONTROLS["difficulty, size, family"], **FEW)
    assert math.isnan(too_few["pearson"].value)
    assert too_few["pearson"].note == "4 bases: too few for these controls"


def test_more_models_of_the_same_bases_are_no_more_evidence():
    one, ten = (simulated(6, related=0.5, models=models, noise=0.0) for models in (1, 10))
    few, many = (correlate(whole, ("task",), **FEW) for whole in (one, ten))
    for name in few:
        for field in ("value", "low", "high", "p"):
            assert getattr(few[name], field) == pytest.approx(getattr(many[name], field), abs=1e-6)


@pytest.mark.parametrize("given", ["difficulty", "difficulty, size, family", "difficulty, model"])
def test_a_known_correlation_is_recovered_within_its_interval(given):
    everywhere = 0.0 if "model" in given else 0.25
    truth = 0.7 * math.sqrt((everywhere + 0.25) / (everywhere + 0.25 + 0.3**2))
    found = [correlate(simulated(seed, related=0.7, **SMALL), CONTROLS[given], **FEWER)["pearson"]
             for seed in range(RUNS)]  # fmt: skip
    missed = sum(not one.low <= truth <= one.high for one in found)
    assert missed / RUNS <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / RUNS)
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ({}, "nothing"),
        ({"base": 1.0, "profile": 0.2}, "difficulty"),
        ({"family": 0.5, "size": 0.5}, "difficulty, size, family"),
        ({}, "difficulty, model"),
    ],
)
def test_what_is_unrelated_is_rarely_called_related(kind, given):
    wrong = 0
    for seed in range(RUNS):
        found = correlate(simulated(seed, **kind, **SMALL), CONTROLS[given], **FEWER)["spearman"]
        wrong += found.p <= 0.05 and found.low > 0
    assert wrong / RUNS <= 0.05


def test_difficulty_alone_correlates_highly_and_not_after_the_control():
    raw, controlled = (
        [correlate(simulated(seed, difficulty=2.0), CONTROLS[given], **FEWER)["spearman"]
         for seed in range(12)]
        for given in ("nothing", "difficulty")
    )  # fmt: skip
    assert min(one.value for one in raw) > 0.6
    assert abs(np.mean([one.value for one in controlled])) < 0.15
    assert sum(one.p <= 0.05 for one in raw) <= 2


def test_size_and_family_alone_correlate_until_they_are_controlled():
    whole = simulated(7, family=1.0, size=1.0, base=0.1, profile=0.3)
    before, after = (correlate(whole, CONTROLS[given], **FEW)["spearman"]
                     for given in ("difficulty", "difficulty, size, family"))  # fmt: skip
    assert before.value > 0.6 and before.p <= 0.05
    assert abs(after.value) < 0.35


def test_the_ceiling_is_what_halves_say_all_queries_can_reach():
    # Both sides carry errors of 0.08 / sqrt(2) beside a spread that is known; the truth is 1.
    rng = np.random.default_rng(8)
    table = abilities_of(rng, bases=30, tasks=20, related=1.0, difficulty=0.0, base=1.0, profile=1)
    whole = panel(scores(*table, rng, models=1, noise=0.0, measured=0.08, scale=0.08))
    found = correlate(whole, **FEW)["pearson"]
    assert found.ceiling == pytest.approx(2 / (2 + 0.5), abs=0.06)
    assert found.value == pytest.approx(found.ceiling, abs=0.06)
    assert found.disattenuated == pytest.approx(1.0, abs=0.06)


def test_errors_that_both_sides_share_do_not_count_as_relation_across_halves():
    whole = simulated(9, bases=30, tasks=20, difficulty=0.0, noise=0.0, models=1)
    rng = np.random.default_rng(0)
    errors = 0.08 * rng.normal(size=(2, 30, 20))
    for side in (whole.tuned, whole.icl):
        side[1:] += errors
        side[0] = side[1:].mean(0)
    found = correlate(whole, **FEW)["pearson"]
    assert found.value > 0.3
    assert abs(found.disattenuated) < 0.3


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(10)
    seen = np.arange(3)[:, None] % 2 == np.arange(8) % 2
    table = scores(*abilities_of(rng, bases=9, tasks=8, related=0.9), rng, models=3, seen=seen)
    return relations(table, resamples=200), per_task(table, **FEW), per_model(table, resamples=200)


def test_relations_have_a_row_for_every_part_control_and_coefficient(tables):
    rows, _, _ = tables
    assert {(row["tasks"], row["family"]) for row in rows} == {
        ("all", ""), ("seen", ""), ("unseen", ""),
        *(("all", f"family-{place}") for place in range(3)),
    }  # fmt: skip
    assert {row["given"] for row in rows if row["tasks"] == "all"} == set(CONTROLS)
    assert all(row["p_holm"] >= row["p"] for row in rows if math.isfinite(row["p"]))
    within = [row for row in rows if row["family"]]
    assert all("3 bases" in row["note"] and not row["related"] for row in within)


def test_a_strong_relation_is_called_related(tables):
    rows, _, _ = tables
    wanted = ("all", "", "difficulty")
    whole = [row for row in rows if (row["tasks"], row["family"], row["given"]) == wanted]
    assert [row["related"] for row in whole] == [True] * 3


def test_every_task_is_looked_at_over_bases_and_every_base_over_tasks(tables):
    _, by_task, by_model = tables
    assert {row["task"] for row in by_task} == {f"task-{place:02}" for place in range(8)}
    assert all((row["bases"], row["models"], row["num_tasks"]) == (9, 27, 1) for row in by_task)
    assert {row["model"] for row in by_model} == {f"base-{place}" for place in range(9)}
    assert all(row["p"] >= 1 / 9 - 1e-9 and not row["related"] for row in by_model)


def test_the_correlation_of_one_task_is_scipys():
    rng = np.random.default_rng(11)
    table = scores(*abilities_of(rng, bases=6, tasks=4), rng, models=2)
    whole = panel(table)
    found = [row for row in per_task(table, **FEW)
             if (row["task"], row["given"]) == ("task-02", "nothing")]  # fmt: skip
    x, y = whole.icl[0][whole.of, 2], whole.tuned[0][:, 2]
    for row, known in zip(found, (spearmanr, pearsonr, kendalltau), strict=True):
        assert row["value"] == pytest.approx(known(x, y)[0])


def test_an_unfinished_study_is_analyzed_with_what_there_is():
    rng = np.random.default_rng(12)
    table = scores(*abilities_of(rng, bases=7, tasks=6, related=1.0), rng, models=2)
    holes = table.sample(frac=0.9, random_state=0)
    for row in relations(holes, **FEW):
        if row["tasks"] == "all" and not row["family"] and row["given"] != "difficulty, family":
            assert math.isfinite(row["value"]) or row["note"]


def test_resamples_that_all_agree_give_no_interval():
    # Of two bases on two tasks, only the resample that holds all four points varies.
    rng = np.random.default_rng(1)
    table = scores(*abilities_of(rng, bases=2, tasks=2), rng, models=1)
    row = relations(table)[0]
    assert (row["tasks"], row["given"], row["coefficient"]) == ("all", "nothing", "spearman")
    assert row["value"] == pytest.approx(0.4)
    assert np.isnan(row["low"]) and np.isnan(row["high"])
