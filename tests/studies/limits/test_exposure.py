"""Effects of pretraining exposure, and what carries them: by hand, and recovered."""

import math

import numpy as np
import pandas as pd
import pytest

from adaptlens.errors import UserError
from adaptlens.studies.limits.exposure import Group, effect, exposure, groups, steps_of
from adaptlens.studies.limits.mediation import CAVEAT, mediation
from limits_scores import scores

LEVELS = ("none", "little", "much")
EXPOSED = ["cluster-0"]
"""Every fourth task."""


def simulated(
    seed,
    *,
    on_icl=(0.0, 0.5, 3.0),
    on_it=(0.0, 0.5, 3.0),
    through=0.0,
    tasks=32,
    spread=1.0,
    measured=0.01,
    models=3,
):
    """Three models that differ in exposure; abilities in units of 0.08 around 0.5.

    `through` of what each level does to ICL on a task goes on to IT, beside `on_it`.
    """
    rng = np.random.default_rng(seed)
    is_exposed = np.arange(tasks) % 4 == 0
    difficulty = rng.normal(size=(1, tasks))
    own = spread * rng.normal(size=(3, tasks)) + np.outer(on_icl, is_exposed)
    it = difficulty + np.outer(on_it, is_exposed) + through * own
    return scores(difficulty + own, it, np.zeros(3, int), np.zeros(3), rng, models=models,
                  noise=0.1, measured=measured, exposures=LEVELS)  # fmt: skip


def group_of(tasks, exposed, queries=100.0):
    is_exposed = np.arange(tasks) < exposed
    return Group("", 1.0, LEVELS, ("",) * tasks, is_exposed, np.full(tasks, queries), {})


def both(steps):
    """Differences [repeats, tasks] as all queries and two halves that agree."""
    return np.stack([np.asarray(steps, float)] * 3)


def test_the_difference_in_differences_by_hand():
    group = group_of(4, 2)
    steps = both([[0.5, 0.7, 0.1, 0.3]])
    exposed, unexposed, apart = (effect(group, steps, kind) for kind in
                                 ("exposed", "unexposed", "exposed - unexposed"))  # fmt: skip
    assert (exposed.value, unexposed.value, apart.value) == pytest.approx((0.6, 0.2, 0.4))
    # Variance over tasks of each side: 0.02 / 2; both sides have one degree of freedom.
    assert exposed.stderr == pytest.approx(0.1) and exposed.df == pytest.approx(1)
    assert apart.stderr == pytest.approx(math.sqrt(0.02)) and apart.df == pytest.approx(2)


def test_repeats_of_tuning_add_their_variance():
    # Rows differ by 0.2 from each other on all tasks: 0.02 / 2 beside nothing over tasks.
    found = effect(group_of(2, 2), both([[0.3, 0.3], [0.5, 0.5]]), "exposed")
    assert (found.value, found.stderr) == (pytest.approx(0.4), pytest.approx(0.1))
    assert (found.queries, found.draws) == (2, 2)


def test_of_these_tasks_the_error_is_that_of_the_queries():
    steps = np.array([[[0.3, 0.5]], [[0.2, 0.5]], [[0.4, 0.5]]])
    found = effect(group_of(2, 2), steps, "exposed", of_these=True)
    # Halves differ by 0.2 and 0: 0.04 / 4 / 2 squared.
    assert found.stderr == pytest.approx(0.05) and found.df == pytest.approx(2)


def test_where_all_queries_agree_the_unseen_ones_still_may_not():
    found = effect(group_of(4, 4, queries=25.0), both(np.zeros((1, 4))), "exposed")
    assert (found.value, found.stderr) == (0.0, 0.01)
    assert found.high > 0.03


def test_one_task_has_no_error_over_tasks():
    found = effect(group_of(3, 1), both([[0.4, 0.1, 0.1]]), "exposed")
    assert found.value == pytest.approx(0.4) and math.isnan(found.stderr)


def test_groups_are_models_of_one_family_and_size_that_differ_in_exposure():
    (group,) = groups(simulated(0, tasks=8), EXPOSED)
    assert group.levels == LEVELS
    assert [name for name, own in zip(group.tasks, group.is_exposed, strict=True) if own] == [
        "task-00", "task-04",
    ]  # fmt: skip
    assert steps_of(group, "ICL", "much", "none").shape == (3, 1, 8)
    assert steps_of(group, "IT", "much", "none").shape == (3, 3, 8)
    table = simulated(0, tasks=8)
    assert groups(table[table["exposure"] == "much"], EXPOSED) == []


def test_a_name_that_is_no_task_and_no_cluster_is_refused():
    with pytest.raises(UserError, match="task or cluster"):
        groups(simulated(0, tasks=8), ["clutter-0"])


def test_known_effects_are_recovered_within_their_intervals():
    missed = rows = 0
    for seed in range(25):
        for row in exposure(simulated(seed), EXPOSED):
            wanted = {"much none": 3, "little none": 0.5, "much little": 2.5}
            truth = 0.08 * wanted[f"{row['more']} {row['less']}"]
            if row["tasks"] == "exposed - unexposed" and row["quantity"] != "zero-shot":
                rows += 1
                missed += not row["low"] <= truth <= row["high"]
    assert rows >= 25 * 6
    assert missed / rows <= 0.08


def test_no_exposure_is_rarely_called_an_effect():
    wrong = 0
    for seed in range(40):
        rows = exposure(simulated(seed, on_icl=(0, 0, 0), on_it=(0, 0, 0)), EXPOSED)
        own = [row for row in rows if row["tasks"] == "exposed - unexposed"]
        wrong += any(row["p_holm"] <= 0.05 for row in own if row["mixture"] == "all")
    assert wrong / 40 <= 0.1


def test_tuning_is_split_by_what_the_mixture_had():
    table = simulated(1, tasks=8)
    table["seen"] = (table["system"] == "regular") & (table["mixture"] == "mixture-0")
    rows = [row for row in exposure(table, EXPOSED) if row["quantity"] == "IT"]
    assert {row["mixture"] for row in rows} == {"all", "seen", "unseen"}


def states(**kind):
    """What becomes of IT given ICL, and of ICL given IT."""
    return [row["state"] for row in mediation(simulated(3, **kind), EXPOSED, margin=0.08)]


def test_an_effect_that_goes_through_icl_vanishes_given_icl():
    given_icl, _ = states(on_it=(0, 0, 0), through=1.0, tasks=64)
    assert given_icl == "vanishes"


def test_an_effect_that_goes_past_icl_remains():
    given_icl, _ = states(through=0.0, tasks=64)
    assert given_icl == "remains"


def test_without_effect_there_is_nothing_to_explain():
    flat = (0.0, 0.0, 0.0)
    assert states(on_icl=flat, on_it=flat, through=1.0)[0] == "no effect to explain"


def test_a_mediator_that_only_exposure_moves_shows_no_slope():
    assert states(spread=0.0, measured=0.05)[0] == "undefined"


def test_errors_of_the_mediator_do_not_leave_a_direct_effect():
    # Half of what moves ICL is error; a plain slope would be half of what it is.
    slopes = [mediation(simulated(seed, on_it=(0, 0, 0), through=1.0, tasks=64, measured=0.08),
                        EXPOSED)[0]["slope"] for seed in range(10)]  # fmt: skip
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.1)


def test_every_row_says_what_three_models_cannot_show():
    rows = mediation(simulated(4), EXPOSED)
    assert [(row["outcome"], row["mediator"]) for row in rows] == [("IT", "ICL"), ("ICL", "IT")]
    assert all(row["note"] == CAVEAT for row in rows)
    assert all(row["direct"] == pytest.approx(row["total"] - row["through"]) for row in rows)


def test_mediation_needs_tasks_of_both_kinds():
    table = simulated(5, tasks=8)
    with pytest.raises(UserError, match="name some"):
        mediation(table, sorted(set(table["cluster"])))


def test_unfinished_cells_leave_the_rest():
    table = pd.DataFrame(simulated(6, tasks=16)).sample(frac=0.9, random_state=1)
    assert any(math.isfinite(row["value"]) for row in exposure(table, EXPOSED))
