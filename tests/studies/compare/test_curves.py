"""How many examples: which arms are on a curve, where two cross, and the sentences."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from adaptlens.report.charts import NothingToDraw
from adaptlens.stats.intervals import difference
from adaptlens.stats.learning_curves import Curve
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare import curves as made
from adaptlens.studies.compare.advice import with_crossing
from adaptlens.studies.compare.curves import Ahead, Crossing, crossing, held_against, line, ways
from adaptlens.studies.compare.figures_curves import learning_curves
from adaptlens.studies.compare.tables import learned
from adaptlens.studies.compare.verdict import Verdict
from curve_rates import PAIRS, answers, bags, crossings, logistic, naive_bayes

SIZES = (2, 4, 8, 16, 32)
TEN = tuple(range(10))


def right(share: float, draws: int = 10, queries: int = 1000) -> Scores:
    """An arm that gets a share of the queries right, draws a tenth of a point apart."""
    apart = np.arange(draws) - draws // 2
    values = (np.arange(queries)[None] < queries * share + apart[:, None]).astype(float)
    return Scores(values, tuple(range(draws)), floor=0.5, validation=values[:, :50])


def arm(label: str, look: str, examples: int, scores: Scores, **changes: object):
    condition = SimpleNamespace(
        label=label, examples=examples, is_brought=False, control="", adaptation=look
    )
    for name, value in changes.items():
        setattr(condition, name, value)
    return SimpleNamespace(
        label=label, condition=condition, scores=scores, shown=SimpleNamespace(look=look)
    )


RISING = [arm(f"it-{k}", "it", k, right(s)) for k, s in zip(SIZES, (0.6, 0.7, 0.8, 0.9, 0.95),
                                                            strict=True)]  # fmt: skip
LEVEL = [arm(f"icl-{k}", "icl", k, right(0.79 + k / 1000)) for k in SIZES]
ARMS = [*RISING, *LEVEL]


def judged(prompt: str = "icl-2", tuned: str = "it-32", arms=ARMS, **changes) -> Verdict:
    known = {one.label: one.scores for one in arms}
    pair = difference(known[tuned], known[prompt], names=(tuned, prompt), flips=99)
    return Verdict("tune", "", prompt, tuned, primary=replace(pair, **changes))


def test_a_way_is_an_adaptation_at_several_sizes():
    others = [
        arm("it-64-random", "it", 64, right(0.9), control="random"),
        arm("mine", "mine", 8, right(0.9), is_brought=True),
        arm("zero-shot", "zero_shot", 0, Scores(np.ones((1, 1000)))),
        arm("sl-8", "sl", 8, right(0.9)),
        arm("full-4", "full", 4, right(0.8)),
        arm("full-8", "full", 8, right(0.9, draws=5)),
    ]
    found = ways([*reversed(ARMS), *others])
    assert {look: curve.sizes for look, curve in found.items()} == {"it": SIZES, "icl": SIZES}
    assert found["it"].arms[-1] is RISING[-1].scores


def test_a_crossing_lies_between_what_is_shown_on_either_side():
    found = crossing(ways(ARMS), ARMS, judged(), 1000)
    assert found.state == "crossing"
    below, above = found.ahead
    assert (below.side, below.first, above.side) == ("prompt", 2, "tune")
    # At 8 examples both score 80 %.
    assert below.last <= 8 <= above.first
    assert found.ends == (below.last, above.first)
    assert below.last <= found.middle <= above.first
    assert found.held == (2, pytest.approx(0.7915))
    assert found.line.startswith(
        f"Tuning wins from between {below.last} and {above.first} examples on; below that, prompt."
    )


def test_the_other_way_round_prompting_overtakes():
    swapped = [
        *(replace_look(one, "icl") for one in RISING), *(replace_look(one, "it") for one in LEVEL)
    ]  # fmt: skip
    found = crossing(ways(swapped), swapped, judged("icl-32", "it-2", swapped), 1000)
    assert [one.side for one in found.ahead] == ["tune", "prompt"]
    assert found.line.startswith("Prompting wins from between ") and "that, tune." in found.line


def replace_look(one, look: str):
    return arm(f"{look}-{one.condition.examples}", look, one.condition.examples, one.scores)


@pytest.mark.parametrize(
    ("found", "labeled", "said"),
    [
        (
            Crossing("crossing", ahead=(Ahead("prompt", 2, 160), Ahead("tune", 240, 256)),
                     first=2, last=256),
            100, "Label 60 to 140 more and tuning wins; below that, prompt.",
        ),
        (
            Crossing("crossing", ahead=(Ahead("prompt", 2, 80), Ahead("tune", 140, 200)),
                     first=2, last=256),
            100, "Tuning wins from between 80 and 140 examples on (up to 40 more than there are); "
            "below that, prompt. That is shown up to 200 examples.",
        ),
        (
            Crossing("none", ahead=(Ahead("tune", 2, 256),), first=2, last=256),
            100, "No crossing is expected up to 256 examples: tuning is ahead from 2 on.",
        ),
        (
            Crossing("part", ahead=(Ahead("prompt", 2, 8), Ahead("prompt", 16, 16)),
                     first=2, last=256),
            100, "Prompting is ahead from 2 to 8 and at 16 examples; what else there is from 2 to "
            "256 examples cannot be said from these sizes.",
        ),
        (
            Crossing("unknown", first=2, last=256),
            100, "Cannot be said from these sizes: from 2 to 256 examples neither side is shown to "
            "be ahead.",
        ),
    ],
)  # fmt: skip
def test_the_sentences(found, labeled, said):
    curve = Curve(SIZES, tuple(one.scores for one in RISING))
    assert line(found, curve, None, labeled) == said


def test_two_sizes_say_nothing_beyond_themselves():
    some = [one for one in ARMS if one.condition.examples in (2, 32)]
    found = crossing(ways(some), some, judged(arms=some), 1000)
    assert found.last == 32
    rows = made.rows(ways(some), "judged")
    assert max(row["examples"] for row in rows) == 32
    alike = [replace_look(one, look) for look in ("icl", "it") for one in some[:2]]
    said = crossing(ways(alike), alike, judged("icl-32", "it-32", alike), 1000).line
    assert said.startswith("Cannot be said from these sizes: from 2 to 32 examples")
    assert "Two sizes (2 and 32) show no form of a curve, so nothing is said beyond 32" in said


def test_why_nothing_can_be_said():
    one = [RISING[-1], *LEVEL]
    assert crossing(ways(one), one, judged(), 99).line == (
        "Cannot be said: it-32 was tuned on one number of examples, and a curve takes three: try "
        "more of them, as in --shots 2,4,8,16,32."
    )
    few = judged(supports_claims=False, warnings=("3 draws support no claim",))
    assert crossing(ways(ARMS), ARMS, few, 99).line == "Cannot be said: 3 draws support no claim."
    assert crossing({}, [], Verdict("undecided", ""), 99).line == ""
    blind = [arm("icl-2", "icl", 2, replace(right(0.8), validation=None)), *RISING]
    assert crossing(ways(blind), blind, judged(arms=blind), 99).line == (
        "Cannot be said: without validation items the arms are those with the best test scores."
    )
    apart = [arm("icl-2", "icl", 2, right(0.8, draws=5)), *RISING]
    assert crossing(ways(apart), apart, judged(arms=apart), 99).line == (
        "Cannot be said: not all draws of both arms are there."
    )


def test_a_prompt_without_examples_is_a_level_at_every_number():
    level = Scores(right(0.8).values[:1])
    found = held_against(Curve(SIZES, tuple(one.scores for one in RISING)), None, level, 0)
    assert (found.first, found.last) == (2, 256)
    assert [one.side for one in found.ahead][:1] == ["prompt"]


def test_curves_are_rows_up_to_eight_times_the_largest_size():
    rows = made.rows({"it": Curve(SIZES, tuple(one.scores for one in RISING))}, "judged")
    by_number = {row["examples"]: row for row in rows}
    assert set(SIZES) | {64, 128, 256} <= set(by_number)
    assert by_number[8]["measured"] == pytest.approx(0.7995)
    assert np.isnan(by_number[64]["measured"])
    assert by_number[256]["doublings"] == 3
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    chrf = made.rows({"it": Curve(SIZES, tuple(one.scores for one in RISING))}, "chrf")
    assert chrf[0]["value"] == pytest.approx(100 * rows[0]["value"])


def test_advice_ends_in_a_crossing_that_is_shown():
    shown = Crossing("none", "No crossing is expected.")
    assert with_crossing("Tune.", judged(), shown) == "Tune. No crossing is expected."
    assert with_crossing("Tune.", judged(), Crossing("part", "A part.")) == "Tune."
    assert with_crossing("N.", replace(judged(), state="neither"), shown) == "N."


def test_the_figure_and_the_table_show_the_verdict_s_two_ways():
    curves, about = ways(ARMS), {"task": "t", "model": "m"}
    table = pd.DataFrame([about | row for row in made.rows(curves, "judged")])
    found = crossing(curves, ARMS, judged(), 1000)
    crossed = pd.DataFrame([about | found.row("judged")])
    spec = learning_curves(table, crossed).to_dict()
    assert "labeled examples" in str(spec)
    assert f"they cross between {found.ends[0]} and {found.ends[1]} examples" in str(spec)
    with pytest.raises(NothingToDraw):
        learning_curves(table, None)
    shown = learned({"curves": table})
    assert [row[2].text for row in shown.rows][:8] == [
        "2", "4", "8", "16", "32", "64", "128", "256"
    ]  # fmt: skip


def test_a_simulated_crossing_is_mostly_found_and_not_false():
    false, *_ = crossings("cross at 12", 3, draws=10, queries=200)
    assert false == 0
    tuned, prompted = PAIRS["alike"]
    assert tuned(16) == prompted(16)


def test_the_real_learners_of_the_benchmark_learn():
    words = bags(["good fine", "good", "bad", "bad poor", "fine", "poor"])
    labels = np.array([0, 0, 1, 1])
    for learn in (naive_bayes, logistic):
        assert learn(words[:4], labels, words[4:], 2).tolist() == [0, 1]


def test_simulated_arms_score_what_they_should():
    (scores,) = answers(np.random.default_rng(0), [0.8], draws=400, queries=400, failing=0.1)
    assert scores.values.mean() == pytest.approx(0.9 * 0.8 + 0.1 * 0.5, abs=0.04)
