"""Paired differences of systems, and the claims about the limits of tuning."""

import math

import numpy as np
import pandas as pd
import pytest

from adaptlens.studies.limits.claims import Margins, Part, _Claim, _line, _tails, claims
from adaptlens.studies.limits.contrasts import exceeding, mean_over, paired, systems, variations
from limits_scores import abilities_of, scores

CLAIM_COLUMNS = (
    "model", "task", "factor", "claim", "state", "line", "effect", "low", "high", "p", "p_holm",
    "test", "queries", "draws",
)  # fmt: skip


def simulated(
    seed,
    *,
    related=0.9,
    bases=9,
    tasks=12,
    gain=0.0,
    base=-0.1,
    pipeline=0.0,
    exposed=(0.0, 0.0, 0.0),
    variations=("",),
    by_variation=0.0,
    **kind,
):
    """All five systems; `gain`, `base` and `pipeline` are shifts in ability, of 0 to 1."""
    rng = np.random.default_rng(seed)
    icl, it, _, _ = abilities_of(rng, related=related, bases=bases, tasks=tasks, **kind)
    family, size = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])[:bases], np.tile([0.0, 0, 0, -1, 1], 2)
    exposures = ["none", "little", "much", *["much"] * (bases - 3)]
    is_exposed = np.arange(tasks) % 4 == 0
    seen = (np.arange(tasks) % 4 == 3)[None] & np.ones((3, 1), bool)
    table = scores(icl, it, family, size[:bases], rng, models=3, exposures=exposures, seen=seen,
                   measured=0.01, variations=variations, by_variation=by_variation)  # fmt: skip
    numbers = ["value", "half_a", "half_b"]

    def copied(of, system, shift):
        rows = table[(table["system"] == of) & (table["variation"] == "")].copy()
        rows["system"] = system
        rows[numbers] += shift + 0.01 * rng.normal(size=(len(rows), 1))
        return rows

    parts = [table, copied("gold", "base", base), copied("regular", "samplegen", 0.0),
             copied("regular", "pipeline", pipeline)]  # fmt: skip
    out = pd.concat(parts, ignore_index=True)
    out.loc[out["system"] == "regular", numbers] += gain
    for place, raised in enumerate(exposed):
        of_tasks = out["task"].isin([f"task-{t:02}" for t in np.flatnonzero(is_exposed)])
        own = (out["model"] == f"base-{place}") & of_tasks & (out["system"] != "base")
        out.loc[own, numbers] += raised
    out[numbers] = out[numbers].clip(0, 1)
    return out


def of_claims(table, **settings):
    rows = claims(table, exposed=["cluster-0"], **settings)
    return {row["factor"]: row for row in rows}


def test_the_mean_over_bases_and_tasks_by_hand():
    table = pd.DataFrame({
        "model": ["a", "a", "b", "b"], "task": ["s", "t", "s", "t"], "queries": 100.0,
        "difference": [0.1, 0.1, 0.3, 0.3],
    })  # fmt: skip
    found = mean_over(table)
    # Over bases 0.02 / 2, over tasks nothing: the larger.
    assert (found.value, found.stderr) == (pytest.approx(0.2), pytest.approx(0.1))
    assert (found.queries, found.draws, found.df) == (2, 2, 1.0)


def test_models_of_a_base_count_once():
    table = pd.DataFrame({
        "model": ["a"] * 3 + ["b"], "task": "t", "queries": 100.0,
        "difference": [0.0, 0.1, 0.2, 0.5],
    })  # fmt: skip
    assert mean_over(table).value == pytest.approx((0.1 + 0.5) / 2)


def test_crossed_means_cover_and_are_rarely_false():
    rng = np.random.default_rng(0)
    base, task = (one.ravel() for one in np.meshgrid(np.arange(9), np.arange(12), indexing="ij"))
    covered = 0
    for _ in range(150):
        values = 0.05 * (
            rng.normal(size=9)[base] + rng.normal(size=12)[task] + rng.normal(size=108)
        )
        table = pd.DataFrame({"model": base.astype(str), "task": task.astype(str),
                              "queries": 100.0, "difference": values})  # fmt: skip
        found = mean_over(table)
        covered += found.low <= 0 <= found.high
    assert covered / 150 >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / 150)


def test_a_base_system_stands_beside_every_model_and_a_tuned_one_beside_the_same():
    table = simulated(0)
    beside_gold = paired(table, "regular", "gold")
    assert len(beside_gold) == 9 * 3 * 12
    one = beside_gold.iloc[0]
    gold = table[(table["system"] == "gold") & (table["model"] == one["model"])
                 & (table["task"] == one["task"])]  # fmt: skip
    assert one["ability_right"] == pytest.approx(gold["value"].item())
    same = paired(table, "pipeline", "samplegen")
    assert len(same) == 9 * 3 * 12 and same["difference"].abs().max() < 0.1


def test_outside_means_that_no_task_of_the_cluster_was_tuned_on():
    found = paired(simulated(0), "regular", "gold")
    assert set(found.loc[found["is_outside"], "cluster"]) == {"cluster-0", "cluster-1", "cluster-2"}


def test_systems_head_to_head_say_who_is_better():
    rows = systems(simulated(1, pipeline=0.1))
    whole = {(row["left"], row["right"]): row for row in rows
             if (row["cluster"], row["tasks"]) == ("all", "all")}  # fmt: skip
    assert whole["pipeline", "samplegen"]["state"] == "left"
    assert whole["pipeline", "samplegen"]["value"] == pytest.approx(0.1, abs=0.01)
    assert whole["gold", "base"]["state"] == "left"
    assert whole["samplegen", "regular"]["state"] == ""
    assert {row["tasks"] for row in rows if row["left"] == "gold"} == {"all"}
    by_cluster = [
        row for row in rows if row["cluster"] == "cluster-3" and row["left"] == "pipeline"
    ]
    assert all(row["num_tasks"] == 3 for row in by_cluster)


def test_variations_are_paired_with_the_prompt_as_it_is():
    table = simulated(2, variations=("", "ornate", "corrupted"))
    worse = table["variation"] == "corrupted"
    table.loc[worse, ["value", "half_a", "half_b"]] -= 0.2
    rows = {(row["variation"], row["cluster"]): row for row in variations(table)}
    assert rows["corrupted", "all"]["state"] == "worse"
    assert rows["corrupted", "all"]["value"] == pytest.approx(-0.2, abs=0.02)
    assert rows["ornate", "all"]["state"] == ""
    assert ("ornate", "cluster-2") in rows


def test_a_task_where_tuning_gains_is_listed_and_the_others_are_not():
    table = simulated(3, related=1.0, profile=0.2, base=0.0, difficulty=0.5)
    gains = (table["task"] == "task-05") & (table["system"] == "regular")
    loses = (table["task"] == "task-06") & (table["system"] == "regular")
    numbers = ["value", "half_a", "half_b"]
    table.loc[gains, numbers] += 0.2
    table.loc[loses, numbers] -= 0.2
    rows = [row for row in exceeding(table) if (row["level"], row["tasks"]) == ("task", "all")]
    assert {row["task"]: row["state"] for row in rows if row["state"]} == {
        "task-05": "tuned", "task-06": "in context",
    }  # fmt: skip
    assert len(rows) == 12


def test_queries_that_all_models_share_are_noise_of_a_task():
    # All models err alike on a task's queries: without that source every task would differ.
    wrong = total = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        flat = np.zeros((9, 12))
        table = scores(flat, flat, np.zeros(9, int), np.zeros(9), rng, models=2, noise=0.05,
                       measured=0.0)  # fmt: skip
        for half in ("half_a", "half_b"):
            errors = dict(zip(sorted(set(table["task"])), 0.07 * rng.normal(size=12), strict=True))
            own = table["system"] == "regular"
            table.loc[own, half] += table.loc[own, "task"].map(errors)
        table["value"] = (table["half_a"] + table["half_b"]) / 2
        rows = [row for row in exceeding(table) if (row["level"], row["tasks"]) == ("task", "all")]
        wrong += sum(row["p"] <= 0.05 for row in rows)
        total += len(rows)
    assert wrong / total <= 0.08


def test_where_all_answers_agree_the_error_is_that_of_one_unseen_query():
    rng = np.random.default_rng(0)
    flat = np.zeros((3, 4))
    table = scores(flat, flat, np.zeros(3, int), np.zeros(3), rng, noise=0.0, measured=0.0,
                   queries=48)  # fmt: skip
    numbers = ["value", "half_a", "half_b"]
    for system, value in (("gold", 0.0), ("regular", 1.0)):
        table.loc[table["system"] == system, numbers] = value
    for row in exceeding(table):
        assert row["value"] == 1.0
        # Student's reach with 2 degrees of freedom (3 bases) or 3 (4 tuned models), times 1 / 48.
        reach = {"task": 4.3027, "base and task": 3.1824}[row["level"]]
        assert row["high"] - row["value"] == pytest.approx(reach / 48, rel=1e-4)


def part(value, sign, error, bound=0.1, reason=""):
    z = (value - bound) / error
    above = 0.5 * math.erfc(z / math.sqrt(2))
    return Part("", value, value - 2 * error, value + 2 * error, sign, above, 1 - above, "", reason)


@pytest.mark.parametrize(
    ("parts", "state"),
    [
        ([part(0.3, 1, 0.05)], "supported"),
        ([part(0.3, -1, 0.05)], "refuted"),
        ([part(0.12, 1, 0.05)], "not decided"),
        ([part(0.3, 1, 0.05), part(0.0, -1, 0.02)], "supported"),
        ([part(0.3, 1, 0.05), part(0.12, 1, 0.05)], "not decided"),  # All must hold.
        ([part(0.3, 1, 0.05), part(0.0, 1, 0.02)], "refuted"),  # One that fails is enough.
        ([part(0.3, 1, 0.05, reason="too few")], "not decided"),
        ([], "not decided"),
    ],
)
def test_a_claim_needs_all_its_parts(parts, state):
    for_it, against = _tails(parts)
    found = "supported" if for_it < 0.025 else "refuted" if against < 0.025 else "not decided"
    assert found == state


def test_what_was_built_in_is_supported():
    rows = of_claims(simulated(4, exposed=(0.1, 0.2, 0.4), base=0.0, pipeline=0.1, related=1.0,
                               family=0.0, profile=1.0, variations=("", "ornate"),
                               by_variation=0.1),
                     margins=Margins(gain=0.2, system=0.02))  # fmt: skip
    assert {factor: row["state"] for factor, row in rows.items()} == dict.fromkeys(
        (1, 2, 3, 4, 5), "supported"
    )


def test_the_opposite_is_refuted():
    table = simulated(5, exposed=(0.3, 0.3, 0.3), gain=0.2, pipeline=-0.1, related=-1.0,
                      difficulty=0.2, profile=1.0, variations=("", "ornate"))  # fmt: skip
    ornate = table["variation"] == "ornate"
    numbers = ["value", "half_a", "half_b"]
    table.loc[ornate, numbers] = (table.loc[ornate, numbers] - 0.3).clip(0, 1)
    rows = of_claims(table, margins=Margins(gain=0.1))
    assert {factor: row["state"] for factor, row in rows.items()} == dict.fromkeys(
        (1, 2, 3, 4, 5), "refuted"
    )


def test_rows_have_the_columns_of_all_claims_and_say_how_many_bases():
    rows = claims(simulated(6), exposed=["cluster-0"])
    assert all(set(row) == set(CLAIM_COLUMNS) for row in rows)
    assert [row["factor"] for row in rows] == [1, 2, 3, 4, 5]
    assert "9 bases x 12 tasks" in rows[0]["line"]
    assert rows[4]["state"] == "not decided"
    assert rows[4]["line"] == (
        "not measured: it takes tuned models read in other prompts, as --variations unified"
    )


def test_few_bases_decide_nothing():
    table = simulated(7, related=1.0)
    rows = of_claims(table[table["model"].isin(["base-0", "base-1", "base-2", "base-3"])])
    assert rows[1]["state"] == rows[3]["state"] == rows[4]["state"] == "not decided"
    assert "fewer than 5 bases decide nothing" in rows[3]["line"]


def test_a_line_says_plainly_what_has_no_interval_and_what_was_not_measured():
    nan = math.nan
    parts = [
        Part("ICL (claimed above 0.05):", 0.25, 0.125, 0.375, 1, 0.0, 1.0, "4 tasks x 3 tunings"),
        Part("IT (claimed above 0.05):", 0.034, nan, nan, 1, 1.0, 1.0, "1 task x 1 tuning", "few"),
        Part("share (claimed below 0.05):", nan, nan, nan, -1, 1.0, 1.0, "1 base x 5 tasks"),
    ]
    assert _line(_Claim(2, "c", parts, "t"), 1.0) == (
        "ICL (claimed above 0.05): +0.250 [0.125, 0.375], 4 tasks x 3 tunings; "
        "IT (claimed above 0.05): +0.034, no interval, 1 task x 1 tuning; few; "
        "share (claimed below 0.05): could not be measured, 1 base x 5 tasks; p(Holm) = 1.000"
    )


def test_the_line_of_one_base_by_hand():
    table = simulated(6)
    (first, *_) = claims(table[table["model"] == "base-0"])
    assert first["line"] == (
        "Spearman given difficulty, size, family (claimed above 0.3): could not be measured, "
        "1 base x 12 tasks; 1 base: too few for these controls; p(Holm) = 1.000"
    )


def test_models_of_an_exposure_are_named_by_family_and_size():
    line = claims(simulated(6), exposed=["cluster-0"])[1]["line"]
    named = [part.split(" (claimed")[0] for part in line.split("; ")[:-1]]
    assert named == [
        f"{quantity} less zero-shot, family-0 1M, exposure {level}"
        for level in ("none", "much") for quantity in ("ICL", "IT")
    ]  # fmt: skip


def test_with_no_relation_the_first_claim_is_not_supported():
    found = [of_claims(simulated(seed, related=0.0, tasks=8))[1]["state"] for seed in range(12)]
    assert found.count("supported") == 0
