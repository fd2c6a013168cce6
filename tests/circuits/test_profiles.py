"""One condition's circuit: by hand, against loops over all pairs and all splits."""

import json
import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.circuits.export import to_graphviz, to_json
from adaptlens.circuits.profiles import (
    Circuit,
    Patched,
    circuit,
    cross_validated_products,
    gate,
    kind_of,
    layer_of,
    named,
    num_effective,
    reliability,
    squared_effects,
)
from adaptlens.errors import UserError
from adaptlens.lm.units import Unit


def patched(effects, *, name="icl", units=None, draws=(-1,), gap=1.0, **given):
    """A condition whose patches change the metric by `effects` [repeats, queries, units]."""
    effects = np.asarray(effects, float)
    cells = effects.shape[:2]
    units = units or tuple(f"L0.H{i}" for i in range(effects.shape[2]))
    gaps = np.broadcast_to(np.asarray(gap, float), cells)
    corrupt = np.full(cells, -1.0)
    return Patched(
        name, units, corrupt[..., None] + effects, corrupt + gaps, corrupt,
        np.zeros(cells), draws=draws, **given,
    )  # fmt: skip


def noisy(rng, truth, *, repeats=5, queries=40, by_draw=0.0, noise=0.3, tails=None, **given):
    """Effects around a true profile, with effects of draws and noise."""
    units = len(truth)

    def chance(shape):
        return rng.standard_t(tails, size=shape) if tails else rng.normal(size=shape)

    effects = np.asarray(truth) + by_draw * chance((repeats, 1, units))
    effects = effects + noise * chance((repeats, queries, units))
    return patched(effects, draws=given.pop("draws", tuple(range(repeats))), **given)


def test_denoising_adds_to_the_corrupt_run_and_noising_takes_from_the_clean_one():
    values = np.array([[[0.5], [0.2]]])
    clean, corrupt, floor = np.full((1, 2), 2.0), np.full((1, 2), -1.0), np.zeros((1, 2))
    denoise = Patched("a", ("L0.H0",), values, clean, corrupt, floor, "denoise")
    noise = Patched("a", ("L0.H0",), values, clean, corrupt, floor, "noise")
    assert denoise.changes.ravel() == pytest.approx([1.5, 1.2])
    assert noise.changes.ravel() == pytest.approx([1.5, 1.8])


def test_changes_below_the_floor_are_none():
    one = Patched("a", ("L0.H0", "L0.H1"), np.array([[[0.1, 0.3], [-0.1, -0.3]]]),
                  np.ones((1, 2)), np.zeros((1, 2)), np.full((1, 2), 0.2))  # fmt: skip
    assert one.changes.tolist() == [[[0, 0.3], [0, -0.3]]]


def test_a_profile_is_the_ratio_of_means_and_not_the_mean_of_ratios():
    # Changes 1 and 3 over gaps 1 and 7: 4 / 8, where the mean of ratios is 5 / 7.
    one = patched([[[1.0], [3.0]]], gap=[[1.0, 7.0]])
    assert one.effect_profile == pytest.approx([0.5])


def test_the_shares_of_some_queries_are_their_profile_where_gaps_are_equal():
    effects = np.random.default_rng(0).normal(size=(2, 6, 3))
    one = patched(effects, draws=(0, 1), gap=2.0)
    assert one.shares[:, :3].mean((0, 1)) == pytest.approx(one.on([0, 1, 2]).effect_profile)


def test_shares_follow_the_ratio_to_first_order():
    rng = np.random.default_rng(0)
    effects, gap = 1 + 0.01 * rng.normal(size=(1, 50, 2)), 2 + 0.01 * rng.normal(size=(1, 50))
    one = patched(effects, gap=gap)
    half = one.on(range(25))
    moved, exact = (
        one.shares[:, :25].mean((0, 1)) - one.effect_profile,
        half.effect_profile - one.effect_profile,
    )
    assert moved == pytest.approx(exact, rel=0.01, abs=1e-6)


def test_units_have_the_names_that_the_engine_gives_them(unchecked):
    assert named(Unit("head", 3, 5)) == str(Unit("head", 3, 5)) == "L3.H5"
    assert named(("mlp", 2, 0)) == "L2.MLP"
    kinds = [kind_of(named(Unit(kind, 1, 4))) for kind in ("head", "mlp", "residual", "neuron")]
    assert kinds == ["head", "mlp", "residual", "neuron"]
    assert layer_of("L12.H3") == 12
    one = patched(np.ones((1, 2, 2)), units=(Unit("head", 0, 1), ("mlp", 0, 0)))
    assert one.units == ("L0.H1", "L0.MLP")
    assert one.only("mlp").effect_profile == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"units": ("head 3",)}, "expected a name such as L3.H5"),
        ({"units": ("L0.H0", "L0.H0")}, "has shape"),
        ({"clean": np.ones((2, 3))}, "one row a draw"),
        ({"patched": np.full((1, 3, 1), np.nan)}, "not finite"),
        ({"direction": "sideways"}, "unknown direction"),
        ({"draws": ()}, "has shape"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused(change, says, unchecked):
    right = dict(name="icl", units=("L0.H0",), patched=np.ones((1, 3, 1)), clean=np.ones((1, 3)),
                 corrupt=np.zeros((1, 3)), floor=np.zeros((1, 3)))  # fmt: skip
    with pytest.raises(UserError, match=says):
        Patched(**{**right, **change})


def test_the_gate_says_why_there_is_no_circuit():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(1, 40, 2))
    assert gate(patched(effects, gap=1 + 0.1 * rng.normal(size=(1, 40)))) == ""
    none = gate(patched(effects, gap=rng.normal(size=(1, 40))))
    assert none.startswith("no clean-corrupt gap: icl does not tell them apart")
    reversed_ = gate(patched(effects, gap=-1 + 0.1 * rng.normal(size=(1, 40))))
    assert "answers the corrupt prompts better" in reversed_


def test_the_gate_is_shut_at_chance_and_open_above_it():
    rng = np.random.default_rng(0)
    one = patched(rng.normal(size=(1, 40, 2)), gap=1 + 0.1 * rng.normal(size=(1, 40)))
    half, all_right = np.arange(40)[None] % 2, np.ones((1, 40))
    assert gate(one, correct=half, chance=0.5).startswith(
        "not above chance: icl answers 50.0% rightly"
    )
    assert gate(one, correct=all_right, chance=0.5) == ""


def test_a_gap_that_draws_do_not_agree_on_is_no_gap():
    rng = np.random.default_rng(1)
    effects = rng.normal(size=(5, 40, 2))
    gap = np.array([3, -2, 2.5, -1, 1])[:, None] + 0.01 * rng.normal(size=(5, 40))
    one = patched(effects, draws=tuple(range(5)), gap=gap)
    assert gate(one).startswith("no clean-corrupt gap")
    as_if_one_draw = patched(effects.mean(0)[None], gap=gap.mean(0)[None])
    assert gate(as_if_one_draw) == ""


def test_two_queries_are_multiplied_with_each_other_and_not_with_themselves():
    one = patched([[[1.0, 0.5], [1.0, -0.5]]])
    assert squared_effects(one).tolist() == [1.0, -0.25]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 6), st.sampled_from(["same", "own"])
)
def test_products_leave_out_pairs_with_a_common_query_or_draw(seed, repeats, queries, draws):
    rng = np.random.default_rng(seed)
    a = noisy(rng, [1.0, -2, 0], repeats=repeats, queries=queries)
    own = tuple(range(repeats)) if draws == "same" else tuple(range(10, 10 + repeats))
    b = noisy(rng, [1.0, -2, 0], repeats=repeats, queries=queries, draws=own)
    pairs = [
        a.shares[r, i] * b.shares[s, j]
        for r in range(repeats) for s in range(repeats)
        for i in range(queries) for j in range(queries)
        if i != j and (a.draws[r] != b.draws[s] or repeats == 1)
    ]  # fmt: skip
    assert cross_validated_products(a.shares, b.shares, a=a, b=b) == pytest.approx(
        np.mean(pairs, axis=0)
    )


def halvings(count):
    for first in combinations(range(count), count // 2):
        yield list(first), [i for i in range(count) if i not in first]


def test_products_are_the_mean_over_all_splits_into_halves():
    one = patched(np.random.default_rng(0).normal(size=(1, 8, 3)))
    by_split = [one.on(x).effect_profile * one.on(y).effect_profile for x, y in halvings(8)]
    assert squared_effects(one) == pytest.approx(np.mean(by_split, axis=0))


def test_reliability_is_spearman_and_brown_over_all_splits():
    rng = np.random.default_rng(0)
    one = patched(rng.normal(size=10) + rng.normal(size=(1, 8, 10)))
    parts = [(one.on(x).effect_profile, one.on(y).effect_profile) for x, y in halvings(8)]
    covariance = np.mean([np.cov(x, y)[0, 1] for x, y in parts])
    variance = np.mean([x.var(ddof=1) for x, _ in parts])
    r = covariance / variance
    assert reliability(one) == pytest.approx(2 * r / (1 + r))


def test_reliability_counts_draws():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    same = noisy(rng, truth, noise=0.1)
    drawn = noisy(rng, truth, noise=0.1, by_draw=math.sqrt(5))
    assert reliability(same) > 0.99
    assert reliability(drawn) == pytest.approx(0.5, abs=0.1)


def test_as_many_units_work_as_have_equal_effects():
    assert num_effective(patched(np.tile([2.0, 2, -2, 0, 0], (1, 3, 1)))) == pytest.approx(3)
    assert math.isnan(num_effective(patched([[[1.0], [-1.0]]])))


def test_noise_in_many_units_is_no_effect():
    rng = np.random.default_rng(0)
    truth = np.zeros(1000)
    truth[:10] = 1
    one = noisy(rng, truth, noise=2.0)
    plain = np.square(one.effect_profile)
    assert plain.sum() ** 2 / np.square(plain).sum() > 20
    assert num_effective(one) == pytest.approx(10, rel=0.2)


def test_a_circuit_has_the_largest_units_with_their_signs():
    one = patched(np.tile([0.1, -0.5, 0.0, 0.3], (1, 2, 1)))
    assert circuit(one, 2).members == pytest.approx({"L0.H1": -0.5, "L0.H3": 0.3})
    # A unit without any effect is in no circuit.
    assert set(circuit(one, 4).members) == {"L0.H0", "L0.H1", "L0.H3"}
    with pytest.raises(UserError, match="of 4 in all"):
        circuit(one, 5)


BOTH = [Circuit("zero-shot", {"L1.MLP": 0.4, "L0.H1": 0.2}), Circuit('icl "4"', {"L0.H1": -0.3})]


def test_circuits_of_several_conditions_make_one_json_object():
    found = json.loads(json.dumps(to_json(BOTH, {"L0.H1": {"induction": 0.9}})))
    assert found["conditions"] == ["zero-shot", 'icl "4"']
    assert [one["unit"] for one in found["units"]] == ["L0.H1", "L1.MLP"]
    assert found["units"][0]["share_of_gap"] == {"zero-shot": 0.2, 'icl "4"': -0.3}
    assert found["units"][0]["annotations"] == {"induction": 0.9}
    assert found["units"][1]["kind"] == "mlp" and found["units"][1]["layer"] == 1


def test_a_drawing_has_each_unit_once_in_its_layer_and_quotes_are_escaped():
    drawn = to_graphviz(BOTH)
    lines = drawn.splitlines()
    assert sum(line.strip().startswith('"L0.H1" [') for line in lines) == 1
    assert lines[0] == "digraph circuits {" and lines[-1] == "}"
    assert drawn.count("{") == drawn.count("}")
    assert 'label="icl \\"4\\""' in drawn
    head = next(line for line in lines if '"L0.H1"' in line)
    assert "dashed" in head and "zero-shot +0.20" in head and "-0.30" in head
    assert '"layer 0" -> "layer 1"' in drawn
