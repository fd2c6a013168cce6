"""Nulls and claims about shifts of circuits: by hand, against every pattern, and error rates."""

import math
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest

import shift_rates
from adaptlens.circuits.distance import distance
from adaptlens.circuits.nulls import (
    crossed_errors,
    exchange_test,
    noise_floor,
    unit_tests,
)
from adaptlens.circuits.shift_claims import (
    draws_needed,
    no_shift,
    shift_claim,
    shifted,
    shifted_more,
)
from adaptlens.errors import UserError
from adaptlens.stats.crossed import Crossed
from adaptlens.stats.hypotheses import State
from adaptlens.stats.resampling import interval
from adaptlens.stats.specification_curve import specification_curve, variance_shares
from tests.circuits.test_profiles import noisy, patched

OWN = tuple(range(10, 15))
TRUTH = np.array([0.6, 0.4, -0.3, 0.2] + [0.0] * 16)
ELSEWHERE = np.roll(TRUTH, 8)
QUICK = {"bootstraps": 200, "flips": 0}


def test_halves_of_one_condition_are_0_apart_on_average_and_inside_the_floor():
    rng = np.random.default_rng(0)
    one, again = (noisy(rng, TRUTH, by_draw=0.1, draws=draws) for draws in (tuple(range(5)), OWN))
    floor = noise_floor(one)
    assert set(floor.by) == {"queries", "draws", "queries and draws"}
    for values in floor.by.values():
        assert abs(np.mean(values)) < 0.02
    assert floor.limit == max(np.quantile(v, 0.95) for v in floor.by.values())
    assert distance(one, again).value < floor.limit
    assert distance(one, noisy(rng, ELSEWHERE, draws=OWN)).value > floor.limit


def test_a_floor_is_made_of_halves_with_nothing_in_common():
    # Two queries, each alone in its half: no product within a half, so no distance.
    one = patched(np.random.default_rng(0).normal(size=(1, 2, 3)))
    assert np.isnan(noise_floor(one, splits=4).by["queries"]).all()
    # Four queries in halves (0, 1) and (2, 3): by hand from the products of shares.
    four = patched(np.random.default_rng(0).normal(size=(1, 4, 3)) + 3)
    x = four.shares[0]
    found = []
    for i, j, k, m in ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)):
        between = (x[i] + x[j]) @ (x[k] + x[m]) / 4
        found.append(2 - 2 * between / ((x[i] @ x[j] + x[k] @ x[m]) / 2))
    values = noise_floor(four, splits=50).by["queries"]
    assert {round(v, 9) for v in values} == {round(v, 9) for v in found}


def test_moving_one_unit_moves_that_unit_and_no_other():
    rng = np.random.default_rng(0)
    a = noisy(rng, TRUTH)
    moved = TRUTH.copy()
    moved[7] += 0.5
    found = unit_tests(a, noisy(rng, moved, draws=OWN))
    assert np.flatnonzero(found.p_family < 0.05).tolist() == [7]
    assert np.flatnonzero(found.q < 0.05).tolist() == [7]
    assert found.low[7] < 0.5 < found.high[7]
    assert found.change[7] == pytest.approx(0.5, abs=0.1)


def test_equal_conditions_have_no_changed_unit_and_units_without_effect_none_either():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(1, 10, 3))
    effects[..., 2] = 0
    found = unit_tests(patched(effects), patched(effects))
    assert (found.p_family == 1).all() and (found.change == 0).all()
    other = patched(np.concatenate([effects[..., :2] + rng.normal(size=(1, 10, 2)),
                                    np.zeros((1, 10, 1))], axis=2))  # fmt: skip
    assert unit_tests(patched(effects), other).p_family[2] == 1


def test_the_family_of_units_is_held_by_the_largest_of_every_sign_pattern():
    rng = np.random.default_rng(2)
    changes = rng.normal(size=(9, 4)) + np.array([1.5, 0, 0, 0.5])
    found = unit_tests(patched(np.zeros((1, 9, 4))), patched(changes[None]), flips=20_000)

    def t(values):
        return values.mean(0) / (values.std(0, ddof=1) / 3)

    patterns = [np.abs(t(np.array(signs)[:, None] * changes))
                for signs in product([-1, 1], repeat=9)]  # fmt: skip
    own = np.abs(t(changes)) - 1e-9
    assert found.p == pytest.approx(np.mean([p >= own for p in patterns], 0), abs=0.015)
    exact = np.mean([p.max() >= own for p in patterns], 0)
    assert found.p_family == pytest.approx(exact, abs=0.015)


def test_errors_of_units_are_those_of_one_table_at_a_time():
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(5, 12, 3)) + rng.normal(size=(5, 1, 3)),
              rng.normal(size=(4, 12, 3)) + rng.normal(size=(1, 12, 3))]  # fmt: skip
    error, df = crossed_errors(blocks)
    for unit in range(3):
        one = Crossed([block[..., unit] for block in blocks], True, seed=0, flips=0)
        assert error[unit] == pytest.approx(one.stderr)
        assert df[unit] == pytest.approx(one.df)


def test_units_that_draws_do_not_agree_on_have_not_changed():
    rng = np.random.default_rng(0)
    a = noisy(rng, TRUTH, noise=0.05)
    b = noisy(rng, TRUTH, noise=0.05, by_draw=0.5, draws=OWN)
    assert unit_tests(a, b).p_family.min() > 0.05
    as_if_one = patched(b.changes.mean(0)[None]), patched(a.changes.mean(0)[None])
    assert unit_tests(*as_if_one).p_family.min() < 0.01


def test_a_q_value_is_the_least_that_benjamini_and_hochberg_would_have_to_allow():
    rng = np.random.default_rng(0)
    found = unit_tests(noisy(rng, TRUTH), noisy(rng, ELSEWHERE, draws=OWN))
    for p, q in zip(found.p, found.q, strict=True):
        levels = [one * len(found.p) / (found.p <= one).sum() for one in found.p if one >= p]
        assert q == pytest.approx(min(1.0, *levels))


def three(rng, icl, tuning, *, repeats=5, **given):
    own = tuple(range(100, 100 + repeats))
    return (
        patched(TRUTH + 0.1 * rng.normal(size=(1, 40, 20)), name="zero-shot"),
        noisy(rng, icl, name="icl", repeats=repeats, **given),
        noisy(rng, tuning, name="it", repeats=repeats, draws=own, **given),
    )


@pytest.mark.parametrize(("repeats", "least"), [(5, 2 / 252), (3, 0.1)])
def test_the_smallest_chance_of_exchanged_repeats_is_known(repeats, least):
    found = three(np.random.default_rng(0), ELSEWHERE, TRUTH, repeats=repeats)
    assert exchange_test(*found) == pytest.approx(least)


def test_exchanged_repeats_are_all_deals_of_the_difference():
    found = three(np.random.default_rng(4), TRUTH, TRUTH * 1.05, repeats=3, by_draw=0.1)
    zero, icl, it = found
    shares = np.concatenate([icl.shares, it.shares])

    def mean(pairs):
        return np.mean(
            [x[i] @ y[j] for x, y in pairs for i in range(40) for j in range(40) if i != j]
        )

    def far(group):
        z = zero.shares[0]
        power = (mean([(shares[r], shares[s]) for r in group for s in group if r != s])
                 + mean([(z, z)])) / 2  # fmt: skip
        return 2 - 2 * mean([(shares[r], z) for r in group]) / power

    deals = list(combinations(range(6), 3))
    values = np.abs([far(d) - far([r for r in range(6) if r not in d]) for d in deals])
    assert exchange_test(*found) == pytest.approx(np.mean(values >= values[0] * (1 - 1e-9)))


def test_one_repeat_cannot_be_exchanged():
    zero, icl, _ = three(np.random.default_rng(0), TRUTH, TRUTH)
    assert math.isnan(exchange_test(zero, icl, zero))


def state(icl, tuning, *, seed=0, **given) -> State:
    found = three(np.random.default_rng(seed), icl, tuning, **given)
    return shift_claim(*found, margin=0.1, **QUICK).state


def test_the_claim_has_three_answers():
    assert state(ELSEWHERE, TRUTH) == "supported"
    assert state(TRUTH, ELSEWHERE) == "refuted"
    # No difference beyond the margin, also where draws that were not made have another circuit.
    assert state(TRUTH, TRUTH, repeats=draws_needed(0.1)) == "refuted"
    assert state(TRUTH, TRUTH, by_draw=0.5) == "not decided"


def test_few_draws_do_not_show_that_shifts_are_alike_and_the_line_says_how_many_would():
    found = three(np.random.default_rng(0), TRUTH, TRUTH)
    claim = shift_claim(*found, margin=0.1, **QUICK)
    assert [one.state for one in claim.parts] == ["refuted"]  # by the draws that were made
    assert claim.state == "not decided"
    assert f"; {draws_needed(0.1)} draws are needed" in claim.line


def test_three_repeats_decide_nothing_and_the_line_says_so():
    found = three(np.random.default_rng(0), ELSEWHERE, TRUTH, repeats=3)
    claim = shift_claim(*found, margin=0.1, **QUICK)
    assert claim.state == "not decided"
    assert claim.line.startswith("descriptive: fewer than 5 repeats decide nothing")


def test_without_a_reference_circuit_only_the_distance_of_the_two_is_left():
    found = three(np.random.default_rng(0), ELSEWHERE, TRUTH)
    why = {"zero-shot": "not above chance: zero-shot answers 50% rightly"}
    claim = shift_claim(*found, margin=0.1, reasons=why, **QUICK)
    assert claim.state == "not decided" and claim.parts == ()
    assert claim.line.startswith("undefined: not above chance") and "icl and it are" in claim.line
    assert claim.apart.value == pytest.approx(2, abs=0.3)
    assert math.isnan(claim.difference.value) and claim.difference.queries == claim.apart.queries
    no_icl = shift_claim(*found, margin=0.1, reasons={"icl": "no gap"}, **QUICK)
    assert math.isnan(no_icl.apart.value) and "icl and it are" not in no_icl.line


def test_a_shift_that_any_prompt_makes_refutes_the_claim():
    rng = np.random.default_rng(0)
    repeats = draws_needed(0.2, 0.05 / 2)
    zero, icl, it = three(rng, ELSEWHERE, TRUTH, noise=0.1, repeats=repeats)
    draws = tuple(range(200, 200 + repeats))
    neutral = noisy(rng, ELSEWHERE, name="neutral prefix", draws=draws, repeats=repeats, noise=0.1)
    claim = shift_claim(zero, icl, it, margin=0.2, controls={"neutral prefix": neutral}, **QUICK)
    assert claim.state == "refuted"
    assert [one.state for one in claim.parts] == ["supported", "refuted"]


def test_equal_circuits_are_shown_to_be_equal_and_others_not():
    rng = np.random.default_rng(0)
    zero = patched(TRUTH + 0.1 * rng.normal(size=(1, 40, 20)), name="zero-shot")
    repeats = draws_needed(0.1, 0.05 / 2)
    adapted = {
        "same": noisy(rng, TRUTH, repeats=repeats, draws=tuple(range(repeats))),
        "other": noisy(rng, ELSEWHERE, repeats=repeats, draws=tuple(range(100, 100 + repeats))),
    }
    same, other = no_shift(zero, adapted, margin=0.1, **QUICK)
    assert (same.state, other.state) == ("supported", "refuted")


def test_draws_not_seen_leave_sameness_undecided_and_the_line_says_how_many_are_needed():
    rng = np.random.default_rng(0)
    zero, icl, _ = three(rng, TRUTH, TRUTH, noise=0.1)
    (one,) = no_shift(zero, {"the same": icl}, margin=0.1, **QUICK)
    assert one.state == "not decided"
    assert "within 0.1 of none" in one.line
    assert one.line.endswith("; 14 draws are needed, or draws not seen may have another circuit")


def test_a_condition_without_a_circuit_is_neither_the_same_nor_another():
    zero, icl, it = three(np.random.default_rng(0), TRUTH, ELSEWHERE)
    why = {"icl": "no gap", "it": ""}
    first, second = no_shift(zero, {"a": icl, "b": it}, margin=0.1, reasons=why, **QUICK)
    assert (first.state, first.line) == ("not decided", "undefined: no gap")
    assert second.state == "refuted"
    nothing = no_shift(
        zero, {"a": icl}, margin=0.1, reasons={"zero-shot": "not above chance"}, **QUICK
    )
    assert nothing[0].line == "undefined: not above chance"


@pytest.mark.parametrize("margin", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_draws_needed_are_the_fewest_that_keep_the_mean_within_the_margin(margin, alpha):
    def away(repeats: int) -> float:
        share = 1 - alpha ** (1 / repeats)
        usual, other = np.array([1.0, 0.0]), np.array([0.0, 1.0])
        mean = (1 - share) * usual + share * other
        return 2 * np.square(usual - mean).sum() / (1 + np.square(mean).sum())

    found = draws_needed(margin, alpha)
    assert away(found) <= margin < away(found - 1)
    assert draws_needed(2.0, alpha) == 1


def test_false_claims_are_rare():
    rng = np.random.default_rng(0)
    wrong = {"units": 0, "distance": 0, "difference": 0}
    runs = 200
    for run in range(runs):
        by_draw = (0.0, 0.1, 0.3)[run % 3]
        tails = (None, 3)[run % 2]
        zero, a, b = three(rng, TRUTH, TRUTH, by_draw=by_draw, tails=tails)
        wrong["units"] += unit_tests(a, b, flips=199, seed=run).p_family.min() <= 0.05
        found = interval(distance(a, b), bootstraps=100, flips=0, seed=run)
        wrong["distance"] += found.p <= 0.05
        wrong["difference"] += shifted_more(zero, a, b, bootstraps=100, flips=0, seed=run).p <= 0.05
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert {name: count / runs <= limit for name, count in wrong.items()} == dict.fromkeys(
        wrong, True
    )


def test_a_shift_that_is_there_is_found():
    rng = np.random.default_rng(0)
    a, b = noisy(rng, TRUTH), noisy(rng, ELSEWHERE, draws=OWN)
    found = shifted(a, b, **QUICK)
    assert found.p < 0.02 and found.low < 2 < found.high


@pytest.mark.parametrize(
    ("table", "rows"), [("equal", 12), ("known", 24), ("claim", 28), ("no-shift", 24),
                        ("transfer", 12)],
)  # fmt: skip
def test_the_tables_of_the_benchmark_can_be_made(table, rows, capsys, monkeypatch):
    monkeypatch.setattr(shift_rates, "FLIPS", 19)
    monkeypatch.setattr(shift_rates, "BOOTSTRAPS", 20)
    shift_rates.PARTS[table](np.random.default_rng(0), 1)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    header = next(i for i, line in enumerate(lines) if "draws" in line and "effects" in line)
    assert len(lines[header + 1 :]) == rows


def test_the_benchmark_judges_at_the_margin_of_the_study():
    assert shift_rates.MARGIN == 0.1
    near, far = (np.square(shift_rates.profile() - other).sum() for other in
                 (shift_rates.mixed(3, 0.0), shift_rates.profile(9)))  # fmt: skip
    assert near == 0
    # Six members of 0.5, 0.3, 0.3, 0.2, 0.4, 0.6: nine places on none is where one was.
    assert far == pytest.approx(2 * (0.25 + 0.09 + 0.09 + 0.04 + 0.16 + 0.36))


def specifications() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "metric": ["logit", "logit", "prob", "prob", "kl"],
            "direction": ["noise", "denoise"] * 2 + ["noise"],
            "value": [0.3, 0.1, -0.1, 0.2, math.nan],
            "low": [0.2, -0.1, -0.2, 0.1, math.nan],
            "high": [0.4, 0.3, 0.1, 0.3, math.nan],
        }
    )


def test_a_specification_curve_by_hand():
    found = specification_curve(specifications())
    assert found.median == pytest.approx(0.15)
    assert (found.same_sign, found.off_zero, found.opposite) == (0.75, 0.5, 0)
    assert found.count == 4


def test_a_table_without_its_columns_is_refused():
    with pytest.raises(UserError, match="unknown column 'values'"):
        specification_curve(specifications(), value="values")
    with pytest.raises(UserError, match="no specification has a finite"):
        specification_curve(specifications().iloc[4:])


def crossed_table(rng, sizes, effects, rest):
    """One value for each combination of levels."""
    levels = pd.MultiIndex.from_product([range(n) for n in sizes.values()], names=sizes)
    table = levels.to_frame(index=False)
    table["value"] = rest * rng.normal(size=len(table))
    for name, effect in effects.items():
        table["value"] += effect * rng.normal(size=sizes[name])[table[name]]
    return table


def test_shares_of_variance_are_the_analysis_of_variance_where_all_combinations_occur():
    table = crossed_table(
        np.random.default_rng(0), {"item": 6, "draw": 4}, {"item": 1, "draw": 2}, 1
    )
    y = table["value"].to_numpy().reshape(6, 4)
    rest = y - y.mean(0) - y.mean(1)[:, None] + y.mean()
    noise = np.square(rest).sum() / 15
    by_item = (4 * y.mean(1).var(ddof=1) - noise) / 4
    by_draw = (6 * y.mean(0).var(ddof=1) - noise) / 6
    found = variance_shares(table, ["item", "draw"])
    assert [one.variance for one in found] == pytest.approx([by_item, by_draw, noise])
    total = by_item + by_draw + noise
    assert [one.share for one in found] == pytest.approx(
        [by_item / total, by_draw / total, noise / total]
    )
    assert [one.levels for one in found] == [6, 4, 24]


def test_shares_of_variance_are_unbiased_where_combinations_are_missing():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        table = crossed_table(rng, {"item": 20, "draw": 8, "spec": 6},
                              {"item": 1.0, "draw": 0.5, "spec": 0.0}, 1.0)  # fmt: skip
        kept = table[rng.random(len(table)) < 0.2 + 0.6 * (table["item"] % 2)]
        found.append([one.variance for one in variance_shares(kept, ["item", "draw", "spec"])])
    error = np.std(found, axis=0) / math.sqrt(60)
    assert (np.abs(np.mean(found, axis=0) - [1, 0.25, 0, 1]) < 3 * error).all()


def test_what_combinations_do_is_a_factor_of_its_own():
    rng = np.random.default_rng(0)
    table = crossed_table(rng, {"item": 15, "draw": 10, "spec": 8}, {"item": 1.0}, 0.5)
    table["value"] += 2 * rng.normal(size=(15, 10))[table["item"], table["draw"]]
    found = {one.factor: one for one in variance_shares(table, ["item", "draw", "item:draw"])}
    assert found["item:draw"].variance == pytest.approx(4, rel=0.3)
    assert found["rest"].variance == pytest.approx(0.25, rel=0.2)


def test_factors_that_cannot_be_told_apart_are_refused():
    table = crossed_table(np.random.default_rng(0), {"item": 5, "draw": 4}, {}, 1)
    table["seed"] = table["draw"]
    with pytest.raises(UserError, match="cannot be told apart"):
        variance_shares(table, ["draw", "seed"])
    table["metric"] = "kl"
    with pytest.raises(UserError, match="'metric' has 1 levels"):
        variance_shares(table, ["draw", "metric"])
