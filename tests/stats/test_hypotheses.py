"""Claims with three answers: each rule by hand, and how often a claim is wrong by chance."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.metrics.similarity import MEASURES
from adaptlens.stats.hypotheses import Hypothesis, implicit_tuning, judged, no_effect
from adaptlens.stats.intervals import holm
from adaptlens.stats.layerwise import Mean, Similarity, of_draws
from adaptlens.stats.layerwise import mean as mean_of

MARGIN = 0.05
RUNS = 60
"""Of each simulation; 200 and more are in benchmarks/claim_rates.py."""


def normal(value: float, error: float = 0.01, draws: int = 30) -> Mean:
    """A mean with a normal error."""
    z, reach = abs(value) / error, 1.96 * error
    p = math.erfc(z / math.sqrt(2))
    return Mean(value, value - reach, value + reach, p, 200, draws, error, 1e7)


def states(*rows: tuple[int, float] | tuple[int, Mean]) -> list[str]:
    """What becomes of hypotheses (sign, value), judged together."""
    hypotheses = [
        Hypothesis(1, "", sign, found if isinstance(found, Mean) else normal(found))
        for sign, found in rows
    ]
    return [one.state for one in judged(hypotheses, margin=MARGIN)]


@pytest.mark.parametrize(
    ("sign", "value", "state"),
    [
        (1, 0.2, "supported"),
        (1, -0.2, "refuted"),
        (-1, -0.2, "supported"),
        (-1, 0.2, "refuted"),
        (0, 0.2, "refuted"),
        (1, 0.0, "refuted"),  # Within the margin, surely.
        (0, 0.0, "supported"),
        (1, 0.03, "refuted"),  # There, and too small to count: 0.03 + 1.645 * 0.01 < 0.05.
        (0, 0.03, "supported"),
        (1, 0.04, "supported"),  # There, and not surely too small.
        (0, 0.04, "refuted"),
    ],
)
def test_a_statement_alone(sign, value, state):
    assert states((sign, value)) == [state]


def test_the_weaker_of_two_is_not_refuted_for_having_been_picked():
    # Two true effects at the margin: one of them looks smaller in more than 5% of runs.
    rng = np.random.default_rng(0)
    refuted = {1: 0, 2: 0}
    for value in 0.3 + 0.1 * rng.normal(size=(2000, 2)).min(1):
        for among in refuted:
            (one,) = judged([Hypothesis(2, "", 1, normal(value, 0.1), among)], margin=0.3)
            refuted[among] += one.state == "refuted"
    assert refuted[2] / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000) < refuted[1] / 2000


def test_a_wide_interval_decides_nothing():
    assert states((1, normal(0.1, 0.08)), (0, normal(0.0, 0.08))) == ["not decided"] * 2


def test_fewer_than_five_draws_decide_nothing_and_say_so():
    (one,) = judged([Hypothesis(1, "", 1, normal(0.5, draws=4))], margin=MARGIN)
    assert one.state == "not decided"
    assert "fewer than 5 draws decide nothing" in one.line
    assert states((1, normal(0.5, draws=1)), (1, normal(0.5, draws=5))) == [
        "not decided", "supported",
    ]  # fmt: skip


def test_a_mean_that_is_undefined_decides_nothing():
    nothing = Mean(*[math.nan] * 4, 200, 30, math.nan, math.nan)  # type: ignore[call-arg, arg-type]
    assert states((1, nothing), (0, nothing), (1, 0.2)) == [
        "not decided", "not decided", "supported",
    ]  # fmt: skip


def test_two_clear_hypotheses_are_corrected_for_two_and_not_for_four():
    # Wide errors keep the tests for the margin out of it.
    means = normal(0.2, 0.08), normal(0.3, 0.1)
    found = judged([Hypothesis(1, "", 1, mean) for mean in means], margin=MARGIN)
    p = [one.hypothesis.mean.p for one in found]
    assert [one.p_holm for one in found] == pytest.approx([2 * p[0], 2 * p[1]])


@given(st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=8))
def test_corrected_p_values_lie_between_holms_and_bonferronis(values):
    found = judged([Hypothesis(1, "", 1, normal(v, 0.05)) for v in values], margin=MARGIN)
    p = [one.hypothesis.mean.p for one in found]
    for one, least in zip(found, holm(p), strict=True):
        assert least - 1e-12 <= one.p_holm <= 1
    assert found[int(np.argmin(p))].p_holm <= min(1.0, len(p) * max(p)) + 1e-12


@pytest.mark.parametrize(
    ("truth", "sign", "false"), [(0.0, 1, "supported"), (0.3, 1, "refuted"), (0.3, 0, "supported")]
)
def test_no_verdict_of_eight_is_false_more_often_than_in_one_run_of_twenty(truth, sign, false):
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(RUNS):
        tables = [truth + rng.normal(size=(6, 1)) / 3 + rng.normal(size=(6, 40)) for _ in range(8)]
        rows = [Hypothesis(1, "", sign, mean_of(one, True)) for one in tables]
        wrong += false in [one.state for one in judged(rows, margin=0.3)]
    assert wrong / RUNS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


def along_layers(rng, shape, layers=4):
    out = rng.normal(size=(layers, *shape))
    for layer in range(1, layers):
        out[layer] = 0.8 * out[layer - 1] + 0.6 * out[layer]
    return out


def likeness(values: np.ndarray, baseline: np.ndarray | float = 0.0) -> Similarity:
    """Of layers and one more after the final norm, in which all is alike and nothing is said."""
    values = np.concatenate([values, np.ones_like(values[:1])])
    return Similarity(values, baseline + np.zeros(values.shape), tuple(range(values.shape[1])))


def similarities(rng, means, draws=10, queries=40, by_draw=0.03):
    """ICL ~ IT, anchor ~ ICL, anchor ~ IT, ICL ~ control, anchor ~ control, around these means."""
    return [
        likeness(
            mean
            + 0.1 * along_layers(rng, (1, queries))
            + by_draw * along_layers(rng, (draws, 1))
            + 0.1 * along_layers(rng, (draws, queries))
        )
        for mean in means
    ]


def claim(rng, means, **given):
    options = {name: given.pop(name) for name in ("flips", "seed") if name in given}
    return implicit_tuning(
        *similarities(rng, means, **given), margin=MARGIN, **{"flips": 199, **options}
    )


@pytest.mark.parametrize(
    ("means", "state", "over"),
    [
        ((0.8, 0.4, 0.3, 0.1, 0.4), "supported", "anchor ~ ICL"),
        ((0.8, 0.3, 0.4, 0.1, 0.4), "supported", "anchor ~ IT"),
        ((0.4, 0.6, 0.3, 0.1, 0.3), "refuted", "anchor ~ ICL"),
        ((0.4, 0.3, 0.6, 0.1, 0.3), "refuted", "anchor ~ IT"),
        # Any tuning does it: the control's excess is the same.
        ((0.8, 0.4, 0.3, 0.8, 0.3), "refuted", "anchor ~ ICL, less the control's"),
    ],
)
def test_the_claim_follows_its_least_excess(means, state, over):
    found = claim(np.random.default_rng(0), means)
    assert found.state == state
    assert found.layers[-1].over == over
    assert over in found.line and "40 queries x 10 draws" in found.line


def test_the_effect_is_the_excess_over_the_larger_similarity_less_the_controls():
    # 0.8 - 0.4 over the anchor, 0.6 - 0.5 of the control over the larger of 0.4 and 0.5.
    values = [np.full((3, 6, 8), one) for one in (0.8, 0.4, 0.3, 0.6, 0.5)]
    found = implicit_tuning(*map(likeness, values), margin=MARGIN)
    assert found.effect == pytest.approx(0.4 - 0.1)
    assert (found.low, found.high) == pytest.approx((0.3, 0.3))
    assert found.state == "supported" and found.queries == 8 and found.draws == 6


@pytest.mark.parametrize(
    ("route", "state"), [(0.2, "supported"), (0.8, "refuted"), (0.72, "not decided")]
)
def test_another_route_to_the_same_answers_must_be_exceeded_too(route, state):
    rng = np.random.default_rng(20)
    given = similarities(rng, (0.8, 0.4, 0.3, 0.1, 0.4))
    found = implicit_tuning(
        *given,
        routes={"SL": similarities(rng, (route,))[0], "a head": similarities(rng, (0.3,))[0]},
        margin=MARGIN,
        flips=199,
    )
    assert found.state == state
    assert [one.over for one in found.excesses][4:] == ["ICL ~ SL", "ICL ~ a head"]
    if state != "supported":
        assert found.decides.over == "ICL ~ SL" and found.effect == found.decides.value


def test_a_refuted_claim_names_what_it_is_clearly_below():
    # The least excess by far is uncertain; the one surely below the margin is that over the route.
    given = [likeness(np.full((4, 8, 20), one)) for one in (0.8, 0.3, 0.3, 0.1, 0.3)]
    wide = likeness(
        0.8 + 2 * np.random.default_rng(0).normal(size=(4, 8, 1)) + np.zeros((4, 8, 20))
    )
    found = implicit_tuning(
        *given, routes={"wide": wide, "equal": given[0]}, margin=MARGIN, flips=99
    )
    assert found.state == "refuted"
    assert found.decides.over == "ICL ~ equal" and found.effect == pytest.approx(0)
    assert found.layers[-1].over == "ICL ~ wide"


def test_nothing_is_said_where_the_last_layer_is_undefined():
    given = similarities(np.random.default_rng(21), (0.8, 0.4, 0.3, 0.1, 0.4))
    given[1].values[-2] = np.nan
    found = implicit_tuning(*given, margin=MARGIN, flips=99)
    assert found.state == "not decided" and found.decides is None and found.reason == found.line


def test_no_effect_is_named_by_who_had_none():
    moved, still = similarities(np.random.default_rng(22), (0.3, 1.0))
    assert no_effect(moved, moved, MARGIN) == ""
    assert no_effect(still, moved, MARGIN).startswith("no effect: prompting")
    assert no_effect(moved, still, MARGIN).startswith("no effect: tuning")


def test_a_verdict_is_withdrawn_for_a_reason():
    (one,) = judged([Hypothesis(8, "", 1, normal(0.5))], margin=MARGIN)
    assert one.undecided("") is one and one.state == "supported"
    assert one.undecided("why").state == "not decided"
    assert one.undecided("why").line == f"why; {one.line}"


def test_an_excess_of_about_the_margin_is_not_decided():
    assert claim(np.random.default_rng(1), (0.45, 0.4, 0.2, 0.1, 0.1)).state == "not decided"


def test_an_excess_in_lower_layers_alone_is_not_the_claim():
    rng = np.random.default_rng(2)
    given = similarities(rng, (0.4, 0.4, 0.3, 0.2, 0.2))
    given[0].values[:2] += 0.5
    found = implicit_tuning(*given, margin=MARGIN, flips=199)
    assert found.state != "supported"
    assert found.layers[0].low > 0.3 and found.p == 1


def test_tuning_that_changes_nothing_is_no_effect():
    rng = np.random.default_rng(3)
    both, icl, _, control, moved = similarities(rng, (0.5, 0.5, 0.0, 0.3, 0.3))
    same = likeness(np.ones((4, 10, 40)))
    found = implicit_tuning(icl, icl, same, control, moved, margin=MARGIN, flips=99)
    assert found.state == "not decided"
    assert found.line.startswith("no effect: tuning is not shown to have changed the states")
    still = implicit_tuning(both, same, both, control, moved, margin=MARGIN, flips=99)
    assert still.line.startswith("no effect: prompting")


def test_fewer_than_five_common_draws_decide_nothing():
    rng = np.random.default_rng(4)
    assert claim(rng, (0.8, 0.4, 0.3, 0.4, 0.4), draws=4).state == "not decided"
    given = similarities(rng, (0.8, 0.4, 0.3, 0.4, 0.4))
    given[3] = Similarity(given[3].values, given[3].baseline, tuple(range(7, 17)))
    found = implicit_tuning(*given, margin=MARGIN, flips=99)
    assert found.state == "not decided" and found.draws == 3
    assert found.line.startswith("fewer than 5 draws decide nothing")


def test_draws_are_paired_by_their_number():
    given = similarities(np.random.default_rng(5), (0.8, 0.4, 0.3, 0.4, 0.4))
    turned = Similarity(given[1].values[:, ::-1], given[1].baseline[:, ::-1], given[1].draws[::-1])
    one = implicit_tuning(*given, margin=MARGIN, flips=99)
    other = implicit_tuning(given[0], turned, *given[2:], margin=MARGIN, flips=99)
    assert one == other


def test_layers_without_a_similarity_are_left_out_and_the_others_keep_their_place():
    given = similarities(np.random.default_rng(6), (0.8, 0.4, 0.3, 0.4, 0.4))
    given[2].values[0] = np.nan
    found = implicit_tuning(*given, margin=MARGIN, flips=199)
    assert [one.layer for one in found.layers] == [1, 2, 3]
    given[2].values[:] = np.nan
    assert implicit_tuning(*given, margin=MARGIN).state == "not decided"


def simulated_states(rng, moves="aab", *, shuffled=False, draws=8, queries=24, width=48):
    """The five likenesses where ICL, IT and control move the states by what their letter names."""
    shape, of_query = (3, draws, queries, width), (3, 1, queries, width)
    anchor = np.broadcast_to(rng.normal(size=of_query), shape)
    ways = {letter: 2 * rng.normal(size=of_query) for letter in sorted(set(moves))}
    named = {"anchor": anchor}
    for name, letter in zip(("icl", "it", "control"), moves, strict=True):
        named[name] = anchor + ways[letter] + rng.normal(size=shape)
    if shuffled:
        named = {name: one[:, :, rng.permutation(queries)] for name, one in named.items()}
    pairs = (("icl", "it"), ("anchor", "icl"), ("anchor", "it"), ("icl", "control"),
             ("anchor", "control"))  # fmt: skip
    found = []
    for a, b in pairs:
        layers = [MEASURES["centered"](x, y) for x, y in zip(named[a], named[b], strict=True)]
        baseline = np.stack([one.mismatched for one in layers])
        found.append(
            likeness(
                np.stack([one.matched for one in layers]), np.concatenate([baseline, baseline[:1]])
            )
        )
    return found


def test_states_that_move_alike_support_the_claim():
    given = simulated_states(np.random.default_rng(7))
    assert implicit_tuning(*given, margin=MARGIN, flips=199).state == "supported"


def test_states_of_shuffled_queries_decide_nothing():
    rng = np.random.default_rng(8)
    found = [
        implicit_tuning(*simulated_states(rng, shuffled=True), margin=MARGIN, flips=99)
        for _ in range(RUNS)
    ]
    decided = [one for one in found if one.state != "not decided"]
    assert len(decided) / RUNS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)
    assert any(one.line.startswith("no signal") for one in found)


@pytest.mark.parametrize("moves", ["abc", "aaa"])
def test_moving_apart_or_as_any_tuning_does_refutes_the_claim(moves):
    given = simulated_states(np.random.default_rng(11), moves)
    assert implicit_tuning(*given, margin=MARGIN, flips=99).state == "refuted"


def test_intervals_are_wider_at_a_stricter_level():
    given = similarities(np.random.default_rng(12), (0.8, 0.4, 0.3, 0.4, 0.4))
    usual, strict = (implicit_tuning(*given, margin=MARGIN, flips=1999, alpha=alpha)
                     for alpha in (0.05, 0.005))  # fmt: skip
    assert usual.effect == strict.effect
    assert strict.low < usual.low and strict.high > usual.high


@pytest.mark.parametrize(
    ("means", "false"),
    [
        ((0.6, 0.3, 0.3, 0.6, 0.3), "supported"),  # The control is as near.
        ((0.45, 0.4, 0.1, 0.1, 0.1), "supported"),  # At the margin over one similarity.
        ((0.45, 0.4, 0.4, 0.4, 0.4), "refuted"),  # At the margin over everything.
    ],
)
@pytest.mark.parametrize("by_draw", [0.03, 0.1])
def test_a_false_answer_is_rare(means, false, by_draw):
    rng = np.random.default_rng(9)
    wrong = sum(
        claim(rng, means, by_draw=by_draw, draws=6, queries=30, flips=99, seed=run).state == false
        for run in range(RUNS)
    )
    assert wrong / RUNS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


def test_a_large_excess_is_found():
    rng = np.random.default_rng(10)
    found = [claim(rng, (0.6, 0.3, 0.3, 0.2, 0.3), draws=8).state for _ in range(20)]
    assert found.count("supported") >= 19


def test_equal_values_are_as_sure_as_so_many_equal_signs():
    four = mean_of(np.full((1, 4), 0.3), drawn=False)
    # Two-sided 2 / 2**4; one-sided half of it, on the side where the mean lies.
    assert (four.p, four.at_least(), four.at_most()) == (0.125, 0.0625, 1.0)
    assert four.at_most(0.5) == 0.0625 and four.at_least(0.3) == 1.0
    three_draws = of_draws(np.full(3, 0.3))
    assert (three_draws.p, three_draws.at_least()) == (0.25, 0.125)
