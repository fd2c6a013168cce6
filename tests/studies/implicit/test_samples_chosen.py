"""The number of samples that validation chooses: cross-fitted, by hand, and whatever the order."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import implicit_rates
from adaptlens.stats.layerwise import Mean
from adaptlens.studies.implicit.samples_chosen import Chosen, assembled, chosen, over_views
from adaptlens.studies.implicit.samples_needed import Answered, difference
from adaptlens.studies.implicit.shortcut_use import ICL, ZERO, Behaved
from adaptlens.tasks.shortcuts import BROKEN, KINDS, PATTERN

DRAWS = tuple(range(6))


def scored(*rows: float, draws=DRAWS) -> Answered:
    """Answers of which each draw's mean is what is given."""
    return Answered(np.repeat(np.array(rows)[:, None], 2, 1), draws)


def test_each_half_of_the_draws_is_judged_by_what_the_other_half_chose():
    # Draws 0, 2, 4 like 2 samples best, draws 1, 3, 5 like 8; overall 8 wins (0.6 against 0.5).
    found = chosen({2: scored(0.9, 0.1, 0.9, 0.1, 0.9, 0.1), 8: scored(*[0.3, 0.9] * 3)})
    assert found == Chosen(8, {0: 8, 2: 8, 4: 8, 1: 2, 3: 2, 5: 2})
    assert found.views == (found.by_draw, 8)


def test_ties_go_to_the_overall_choice_and_then_to_the_fewest():
    # The half (0, 2, 4) ties between 2 and 8, of which 8 is best overall.
    tied = chosen({2: scored(*[0.5, 0.1] * 3), 8: scored(*[0.5, 0.9] * 3)})
    assert tied == Chosen(8, dict.fromkeys(DRAWS, 8)) and tied.views == (8,)
    assert chosen({8: scored(*[0.5] * 6), 2: scored(*[0.5] * 6)}).overall == 2


def test_few_draws_are_not_halved_and_no_common_draw_leaves_the_overall_choice():
    few = tuple(range(4))
    found = chosen({2: scored(0.9, 0.1, 0.9, 0.1, draws=few),
                    8: scored(0.3, 0.9, 0.3, 0.9, draws=few)})  # fmt: skip
    assert found == Chosen(8, dict.fromkeys(few, 8))
    apart = chosen({2: scored(0.9, draws=(0,)), 8: scored(0.3, draws=(1,))})
    assert apart == Chosen(2, {}) and apart.views == (2,)
    assert chosen({}) is None


def test_answers_are_put_together_draw_by_draw():
    found = {2: scored(1, 2, 3, draws=(0, 1, 2)), 8: scored(4, 5, draws=(2, 1))}
    own = assembled(found, {2: 8, 1: 2, 0: 2})
    assert own is not None and own.draws == (0, 1, 2)
    assert own.values[:, 0].tolist() == [1, 2, 4]
    assert assembled(found, {0: 8, 1: 8}).draws == (1,)
    assert assembled(found, {0: 32}) is None


def test_what_holds_for_both_views_is_the_weaker_of_the_two():
    one = Mean(1.0, 0.5, 1.5, 0.01, 10, 6, 0.2, 5.0)
    other = replace(one, value=2.0, low=0.8, high=3.2, p=0.04, stderr=0.5, df=8.0)
    assert over_views([one]) == one
    both = replace(one, low=0.5, high=3.2, p=0.04, stderr=0.5, df=5.0)
    assert over_views([one, other]) == both
    assert over_views([one, replace(other, value=-2.0)]).p == 1.0


def studied(seed: int) -> dict[tuple[str, str, int, str], Answered]:
    """Random answers of ICL and two ways of tuning, at several sizes, on both kinds of items."""
    rng = np.random.default_rng(seed)
    sizes = {ICL: (1, 2, 4), "it": (8, 32), "full": (8, 32)}
    found = {(PATTERN, ZERO, 0, kind): Answered((rng.random((1, 12)) < 0.2) * 1.0, (-1,))
             for kind in KINDS}  # fmt: skip
    for learned in KINDS:
        for method, counts in sizes.items():
            for size in counts:
                for read in KINDS:
                    right = (rng.random((len(DRAWS), 12)) < 0.6).astype(float)
                    found[learned, method, size, read] = Answered(right, DRAWS)
    return found


def said(one: Behaved):
    """Everything claimed and tabulated, in an order of its own."""
    claims = {row.claim: row.mean for row in one.hypotheses()}
    rows = sorted(map(repr, (*one.curves(), *one.shortcut(), *one.needed(), *one.frugality(10))))
    return claims, rows


@settings(max_examples=4)
@given(seed=st.integers(0, 3), order=st.randoms(use_true_random=False))
def test_no_claim_and_no_number_depends_on_the_order_of_anything(seed, order):
    found, validated = studied(seed), studied(seed + 100)
    expected = said(Behaved("m", "code", found, validated, 0))

    def shuffled(table):
        keys = list(table)
        order.shuffle(keys)
        out = {}
        for key in keys:
            rows = list(range(len(table[key].draws)))
            order.shuffle(rows)
            draws = tuple(table[key].draws[i] for i in rows)
            out[key] = Answered(table[key].values[rows], draws)
        return out

    again = Behaved("m", "code", shuffled(found), shuffled(validated), 0)
    claims, rows = said(again)
    assert claims == expected[0]
    assert rows == expected[1]


def test_a_lucky_draw_does_not_make_its_own_number_look_good():
    """Each number of shots is best on the draws that like it: chosen by all, that is a gain."""
    runs, bias = 100, []
    rng = np.random.default_rng(0)
    for _ in range(runs):
        one = implicit_rates.model(rng, 6, 1.0, 0.5, {1024: 0.5}, zero=0.3)
        shots = one.chosen(ICL, PATTERN)
        tuned = one.test[PATTERN, "it", 1024, PATTERN]
        first = one.answered(PATTERN, ICL, shots.views[0], PATTERN)
        bias.append([100 * (own.values.mean() - tuned.values.mean()) for own in
                     (first, one.test[PATTERN, ICL, shots.overall, PATTERN])])  # fmt: skip
    crossed, same = np.mean(bias, 0)
    error = np.std(bias, 0)[0] / math.sqrt(runs)
    assert abs(crossed) < 3 * error
    assert same > 5


def test_the_tables_of_the_benchmark_can_be_made(capsys):
    for table in implicit_rates.TABLES.values():
        table(1)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(rows) == 4 + 8 + 3 + 12 + 4 + 15 + 4 + 12


def test_the_claim_is_made_of_the_cross_fitted_difference():
    found = studied(0)
    validated = {key: scored(*[0.5] * 6) for key in found}
    for size, rows in ((1, [0.9, 0.1] * 3), (4, [0.3, 0.8] * 3)):
        validated[PATTERN, ICL, size, PATTERN] = scored(*rows)
    one = Behaved("m", "code", found, validated, 0)
    assert one.chosen(ICL, PATTERN).by_draw == {0: 4, 2: 4, 4: 4, 1: 1, 3: 1, 5: 1}
    (claim,) = (s for s in one.hypotheses() if "better than LoRA tuning on 32" in s.claim)
    few, many, tuned = (
        found[PATTERN, method, size, PATTERN].values
        for method, size in ((ICL, 1), (ICL, 4), ("it", 32))
    )
    own = np.where(np.arange(6)[:, None] % 2 == 0, many, few)
    assert claim.mean.value == pytest.approx(100 * (own - tuned).mean())
    whole = difference(found[PATTERN, ICL, 4, PATTERN], found[PATTERN, "it", 32, PATTERN])
    assert claim.mean.high >= 100 * whole.high - 1e-9
    assert BROKEN in {read for _, _, _, read in found}
