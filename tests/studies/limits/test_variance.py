"""Shares of variance and mixed models: by hand, against peers' numbers, and recovered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from adaptlens.errors import UserError
from adaptlens.stats.mixed_model import mixed
from adaptlens.studies.limits.variance import (
    TOGETHER,
    Moments,
    attribution,
    mixed_effects,
    moments,
    shares,
)
from limits_scores import abilities_of, scores


def table_of(*columns, bases, tasks):
    """Moments of one point a cell; columns [bases * tasks], the outcome last."""
    rows = np.column_stack([np.ones(bases * tasks), *columns])
    cells = rows[:, :, None] * rows[:, None, :]
    names = {f"x{place}": (place,) for place in range(1, len(columns))}
    return Moments(cells.reshape(bases, tasks, *cells.shape[1:]), names, 0, len(rows))


def test_predictors_that_do_not_correlate_have_their_squared_correlations():
    x, z = np.array([-1.0, -1, 1, 1]), np.array([-1.0, 1, -1, 1])
    # y = 2x + z + what neither explains: 4 and 1 of 6.
    rest = np.array([1.0, -1, -1, 1])
    found = shares(table_of(x, z, 2 * x + z + rest, bases=2, tasks=2), resamples=0)
    assert found.values == pytest.approx({"x1": 4 / 6, "x2": 1 / 6, TOGETHER: 5 / 6})


def test_two_predictors_that_correlate_share_by_both_orders():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    z, y = 0.5 * x + rng.normal(size=40), x + rng.normal(size=40)
    a, b, c = (np.corrcoef(*pair)[0, 1] for pair in ((x, y), (z, y), (x, z)))
    both = (a**2 + b**2 - 2 * a * b * c) / (1 - c**2)
    found = shares(table_of(x, z, y, bases=8, tasks=5), resamples=0)
    # Alone, and after the other, each half of the time.
    wanted = {"x1": (a**2 + both - b**2) / 2, "x2": (b**2 + both - a**2) / 2, TOGETHER: both}
    assert found.values == pytest.approx(wanted)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_shares_add_up_to_r_squared(seed):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(4, 24))
    found = shares(table_of(*columns, bases=6, tasks=4), resamples=0)
    design = np.column_stack([np.ones(24), *columns[:3]])
    rest = columns[3] - design @ np.linalg.lstsq(design, columns[3], rcond=None)[0]
    *parts, whole = found.values.values()
    assert whole == pytest.approx(1 - rest.var() / columns[3].var())
    assert sum(parts) == pytest.approx(whole)


def test_within_tasks_difficulty_explains_nothing():
    rng = np.random.default_rng(1)
    difficulty = np.tile(rng.normal(size=6), 5)
    noise = rng.normal(size=(2, 30))
    found = shares(table_of(difficulty + 0.01 * noise[0], 5 * difficulty + noise[1],
                            bases=5, tasks=6), resamples=0)  # fmt: skip
    within = shares(table_of(difficulty + 0.01 * noise[0], 5 * difficulty + noise[1],
                             bases=5, tasks=6), within_tasks=True, resamples=0)  # fmt: skip
    assert found.values[TOGETHER] > 0.9
    x, y = (one.reshape(5, 6) - one.reshape(5, 6).mean(0) for one in noise)
    assert within.values[TOGETHER] == pytest.approx(np.corrcoef(x.ravel(), y.ravel())[0, 1] ** 2)


def simulated(seed, *, bases=11, tasks=12, variations=("",), by_variation=0.0):
    rng = np.random.default_rng(seed)
    icl, _, family, size = abilities_of(rng, bases=bases, tasks=tasks, difficulty=0.5, size=0.3)
    seen = rng.random((3, tasks)) < 0.5
    tuned = 0.7 * icl + 0.4 * size[:, None] + 0.5 * rng.normal(size=(bases, 1))
    return scores(icl, tuned, family, size, rng, models=3, noise=0.4, seen=seen,
                  measured=0.0, variations=variations, by_variation=by_variation)  # fmt: skip


def test_known_shares_are_recovered_within_their_intervals():
    truth = {row["predictor"]: row["share"] for row in
             attribution(simulated(99, bases=400), resamples=20)
             if row["given"] == "difficulty"}  # fmt: skip
    runs, missed = 25, dict.fromkeys(truth, 0)
    for seed in range(runs):
        for row in attribution(simulated(seed), resamples=200, seed=seed):
            if row["given"] == "difficulty" and row["varies"]:
                share = truth[row["predictor"]]
                missed[row["predictor"]] += not row["low"] <= share <= row["high"]
    assert truth["base ICL"] > 0.2 and truth["size"] > 0.1
    assert max(missed.values()) <= 3


def test_the_rows_of_a_system_say_what_varies_and_add_up():
    rows = attribution(simulated(0, variations=("", "ornate"), by_variation=1.0), resamples=50)
    within = {row["predictor"]: row for row in rows if row["given"] == "difficulty"}
    parts = [row["share"] for name, row in within.items() if name != TOGETHER]
    assert sum(parts) == pytest.approx(within[TOGETHER]["share"])
    assert not within["exposure"]["varies"] and within["exposure"]["share"] == 0
    assert within["prompt variation"]["varies"]
    assert within["prompt variation"]["points"] == 11 * 12 * 3 * 2


def test_a_variation_that_changes_all_answers_alike_has_its_share():
    table = simulated(0, variations=("", "ornate"))
    # All points twice, 0.1 apart: a variance of 0.05 squared beside that of the points.
    varied = table["variation"] == "ornate"
    table.loc[varied, ["value", "half_a", "half_b"]] = (
        table.loc[(table["variation"] == "") & (table["system"] == "regular"),
                  ["value", "half_a", "half_b"]].to_numpy() - 0.1
    )  # fmt: skip
    table["value"] = table["value"].clip(0, 1)
    own = table.loc[(table["system"] == "regular") & ~varied, "value"]
    found = shares(moments(table), resamples=0)
    wanted = 0.0025 / (0.0025 + own.var(ddof=0))
    assert found.values["prompt variation"] == pytest.approx(wanted, abs=1e-4)


def test_a_fixed_effect_beside_blocks_has_the_numbers_of_lme4():
    # Box, Hunter and Hunter's penicillin; lmer(yield ~ treat + (1|blend)), Faraway.
    y = [89, 88, 97, 94, 84, 77, 92, 79, 81, 87, 87, 85, 87, 92, 89, 84, 79, 81, 80, 88]
    treat, blend = np.tile(np.arange(4), 5), np.repeat(np.arange(5), 4)
    fixed = {"intercept": np.ones(20)} | {name: (treat == place + 1).astype(float)
                                          for place, name in enumerate("BCD")}  # fmt: skip
    found = mixed(np.array(y, float), fixed, {"blend": blend}, df={"C": 12})
    assert [one.value for one in found.fixed] == pytest.approx([84, 1, 5, 2])
    assert [one.stderr for one in found.fixed] == pytest.approx([2.48, 2.75, 2.75, 2.75], abs=0.006)
    assert (round(found.spreads["blend"], 2), round(found.spreads["rest"], 2)) == (3.43, 4.34)
    assert round(found.criterion, 1) == 103.8


def test_balanced_crossed_effects_are_those_of_mean_squares():
    rng = np.random.default_rng(2)
    y = 2 * rng.normal(size=(12, 1)) + rng.normal(size=(1, 9)) + 0.5 * rng.normal(size=(12, 9))
    rows, columns = np.repeat(np.arange(12), 9), np.tile(np.arange(9), 12)
    found = mixed(y.ravel(), {"intercept": np.ones(108)}, {"row": rows, "column": columns})
    by_row, by_column = 9 * y.mean(1).var(ddof=1), 12 * y.mean(0).var(ddof=1)
    rest = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()
    rest = np.square(rest).sum() / (11 * 8)
    wanted = [np.sqrt((by_row - rest) / 9), np.sqrt((by_column - rest) / 12), np.sqrt(rest)]
    assert list(found.spreads.values()) == pytest.approx(wanted, rel=1e-5)


def test_crossed_unbalanced_effects_are_those_of_the_likelihood_written_out():
    rng = np.random.default_rng(3)
    read = rng.random((7, 9)) < 0.7
    row, column = np.nonzero(read)
    x = rng.normal(size=len(row))
    y = 1 + 0.5 * x + rng.normal(size=7)[row] + 0.7 * rng.normal(size=9)[column]
    y = y + 0.4 * rng.normal(size=len(row))
    design = np.column_stack([np.ones(len(row)), x])
    members = [np.equal.outer(group, group).astype(float) for group in (row, column)]

    def written_out(logs):
        by_row, by_column, rest = np.exp(2 * np.asarray(logs))
        covariance = by_row * members[0] + by_column * members[1] + rest * np.eye(len(row))
        inverse = np.linalg.inv(covariance)
        square = design.T @ inverse @ design
        effects = np.linalg.solve(square, design.T @ inverse @ y)
        left = y - design @ effects
        return (np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(square)[1]
                + left @ inverse @ left + (len(row) - 2) * np.log(2 * np.pi))  # fmt: skip

    found = mixed(y, {"intercept": np.ones(len(row)), "x": x}, {"row": row, "column": column})
    spreads = list(found.spreads.values())
    least = minimize(written_out, np.zeros(3), method="Nelder-Mead",
                     options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000})  # fmt: skip
    assert written_out(np.log(spreads)) == pytest.approx(found.criterion)
    assert found.criterion == pytest.approx(least.fun, abs=1e-6)
    assert spreads == pytest.approx(np.exp(least.x).tolist(), rel=1e-5)


def test_a_factor_without_effect_has_a_spread_of_nothing():
    y = np.tile([1.0, -1.0, 2.0, -2.0], 5)
    found = mixed(y, {"intercept": np.ones(20)}, {"group": np.repeat(np.arange(5), 4)})
    assert found.spreads["group"] == pytest.approx(0, abs=1e-3)


def test_predictors_that_determine_each_other_are_refused():
    with pytest.raises(UserError, match="leave one out"):
        mixed(np.arange(5.0), {"one": np.ones(5), "two": 2 * np.ones(5)}, {})


def test_the_mixed_model_finds_what_performance_was_made_of():
    missed = 0
    for seed in range(4):
        rows = {row["term"]: row for row in mixed_effects(simulated(seed, tasks=8))}
        missed += not rows["base ICL"]["low"] <= 0.7 <= rows["base ICL"]["high"]
        # 0.4 units of 0.08 a step of 4 in size.
        truth = 0.4 * 0.08 / np.log10(4)
        missed += not rows["size"]["low"] <= truth <= rows["size"]["high"]
        assert rows["base ICL"]["p"] < 0.001 and rows["rest"]["kind"] == "random"
    assert missed <= 1


def test_predictors_that_tell_every_base_apart_have_no_errors_and_leave_bases_no_intercept():
    rng = np.random.default_rng(5)
    table = scores(*abilities_of(rng, bases=2, tasks=12, related=0.7), rng, models=6)
    rows = {row["term"]: row for row in mixed_effects(table)}
    assert "base" not in rows and "base on task" in rows
    for name in ("intercept", "family: family-1, not family-0"):
        assert abs(rows[name]["value"]) < 1
        assert all(np.isnan(rows[name][key]) for key in ("error", "low", "high", "p", "df"))
    assert 0 < rows["base ICL"]["error"] < 1
