"""Side effects: what is told of them, and what speaks against the winner of a verdict."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from adaptlens.stats.intervals import difference
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare import side_effects
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
    left: str, of: Scores, to: Scores, where: Elsewhere, versus: str = "zero-shot"
) -> Change:
    found = difference(of, to, names=(left, versus))
    return Change(where, "judged", of, to, replace(found, p_holm=found.p))


LOST = change("it-8", right(0.3), right(0.8, 1), on("trec"))
SAME = change("it-8", right(0.8), right(0.8, 1), on("news"))
AHEAD = change("it-8", right(0.9), right(0.4, 1), on("tweets", "ood"))
BEHIND = change("best-it-8", right(0.3), right(0.8), on("tweets", "ood"), "icl-8")
ARMS = [SimpleNamespace(label="best-it-8", condition=SimpleNamespace(label="it-8"))]


def test_what_a_winner_loses_elsewhere_is_said_with_the_verdict():
    tune = Verdict("tune", "tune: ...", "icl-8", "best-it-8")
    assert side_effects.but([SAME, AHEAD], tune, ARMS) == ""
    said = side_effects.but([LOST, SAME, BEHIND], tune, ARMS)
    assert said.startswith("but on trec (another task) it-8 is 50.0 points [")
    assert " behind zero-shot, p " in said
    assert "; on tweets (another domain) best-it-8 is 50.0 points [" in said
    assert " behind icl-8, p " in said


def test_what_the_other_side_loses_does_not_speak_against_the_winner():
    prompt = Verdict("prompt", "prompt: ...", "icl-8", "best-it-8")
    assert side_effects.but([LOST, BEHIND], prompt, ARMS) == ""
    won = change("best-it-8", right(0.8), right(0.3), on("tweets", "ood"), "icl-8")
    said = side_effects.but([won], prompt, ARMS)
    assert said.startswith("but on tweets (another domain) icl-8 is 50.0 points [")
    undecided = Verdict("undecided", "undecided: ...", "icl-8", "best-it-8")
    assert side_effects.but([won, AHEAD, SAME], undecided, ARMS) == ""
    said = side_effects.but([LOST, won], undecided, ARMS)
    assert said.startswith("but on trec (another task) it-8 is 50.0 points [")
    assert "tweets" not in said


def test_every_real_change_is_told_but_what_was_hoped_for():
    told = side_effects.line([LOST, AHEAD, BEHIND])
    assert told.startswith("on trec (another task) it-8 is 50.0 points [")
    assert "behind zero-shot; on tweets (another domain) best-it-8 is 50.0 points" in told
    assert told.endswith("behind icl-8")
    low, high = (float(end) for end in told.split("[")[1].split("]")[0].split(", "))
    assert 0 < low < 50 < high
    assert side_effects.line([]) == ""
    none = side_effects.line([SAME, AHEAD])
    assert none.startswith("nothing is shown to be lost (1 difference looked at; what would be ")
    assert f"{100 * SAME.found.detectable:.1f} points" in none


def test_rows_are_fractions_of_one_with_the_other_side_s_mean():
    (row,) = side_effects.rows([LOST], seed=0)
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
            arrays=arrays, draws=draws, control="", templates=(), is_recorded=False
        )
        scores = SimpleNamespace(family=family, examples=0, pool=None)
        return SimpleNamespace(label=label, condition=condition, scores=scores, templates=())

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


def test_items_that_belong_together_elsewhere_count_as_one():
    items = tuple(replace(item, group=f"g{i // 10}") for i, item in enumerate(ITEMS))
    task = replace(on("trec").task, test=items, clustered_by="passage")
    arrays = {
        "elsewhere.also0.loglik": np.tile([0.0, -1.0], (5, 60, 1)),
        "elsewhere.also0.gold": np.arange(60) % 2,
    }
    condition = SimpleNamespace(arrays=arrays, draws=(0, 1, 2, 3, 4))
    scored = SimpleNamespace(family="tune", examples=8, pool=100)
    arm = SimpleNamespace(label="it-8", condition=condition, scores=scored, templates=())
    found = side_effects._scores(arm, Elsewhere("trec", "also", task), 0)
    assert found.groups is not None and len(set(found.groups)) == 6
    assert found.floor == 0.5 and found.values.shape == (5, 60)
    alone = side_effects._scores(arm, on("trec"), 0)
    assert alone.groups is None
