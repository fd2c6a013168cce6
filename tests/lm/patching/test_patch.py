"""Patching gives what one hooked forward pass per patch gives, on every architecture."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from adaptlens.errors import UserError
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.full_weights import FullVariants
from adaptlens.lm.patching import patch, suffix
from adaptlens.lm.patching.patch import Method, all_units, joint, sweep, sweeps, unit_means
from adaptlens.lm.units import Unit
from adaptlens.types import METRICS
from naive_patching import (
    FAMILIES,
    SEQ,
    forked_pairs,
    language_model,
    make_pairs,
    naive,
    naive_means,
)

CLOSE = 1e-4
SITES = {
    "last": ((SEQ - 1,),),
    "middle": ((9, 11, 12),),
    "all": (tuple(range(SEQ)),),
    "several": ((SEQ - 1,), (8,), (10, 14)),
}


def count_passes(lm, call):
    """Return what a function returns, and how many passes through the model it made."""
    passes = []
    hook = lm.architecture.backbone.register_forward_hook(lambda *_: passes.append(1))
    try:
        return call(), len(passes)
    finally:
        hook.remove()


def assert_equal(found, wanted):
    values, clean, corrupt = wanted
    assert found.values.shape == (*values.shape[:3], len(METRICS))
    for ours, theirs in ((found.values, values), (found.clean, clean), (found.corrupt, corrupt)):
        np.testing.assert_allclose(ours, theirs, atol=CLOSE, rtol=1e-5)
    assert found.floor.shape == clean.shape
    assert found.floor.max() < CLOSE


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_and_mlps_at_the_last_token(family):
    lm, pairs = language_model(family), make_pairs()
    found = sweep(lm, pairs)
    assert found.patches == tuple(all_units(lm.architecture, ("head", "mlp")))
    assert found.exact
    assert_equal(found, naive(lm, pairs, [[unit] for unit in found.patches]))


@pytest.mark.parametrize("site", ["middle", "several", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_units_of_all_kinds_at_several_places(family, site):
    lm, pairs = language_model(family), make_pairs(sites=SITES[site])
    units = [Unit("head", 0, 1), Unit("head", 2, 3), Unit("mlp", 1), Unit("residual", 0)]
    units += [Unit("residual", 2), Unit("neuron", 1, 5), Unit("head", 1, 0)]
    found = sweep(lm, pairs, units=units)
    assert found.exact
    assert_equal(found, naive(lm, pairs, [[unit] for unit in units]))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gptj", "opt", "phi3"])
@pytest.mark.parametrize("ablation", ["resample", "zero", "mean"])
def test_noise_takes_the_output_away_from_the_clean_run(family, ablation):
    lm, pairs = language_model(family), make_pairs(sites=SITES["several"])
    units = [Unit("head", 0, 2), Unit("head", 1, 3), Unit("mlp", 2), Unit("residual", 1)]
    means, by_hand = None, {}
    if ablation == "mean":
        means = unit_means(lm, pairs, ("head", "mlp", "residual"))
        by_hand = naive_means(lm, pairs, units)
    found = sweep(lm, pairs, units=units, direction="noise", ablation=ablation, means=means)
    wanted = naive(lm, pairs, [[u] for u in units], "noise", ablation, by_hand)
    assert_equal(found, wanted)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "gpt_neox", "opt", "olmo2"])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_sets_of_units_are_replaced_at_once(family, direction):
    lm, pairs = language_model(family), make_pairs(sites=SITES["several"])
    everything = all_units(lm.architecture, ("head", "mlp"))
    sets = [[], everything, everything[::2], [Unit("head", 2, 1), Unit("head", 0, 3)]]
    found = joint(lm, pairs, sets, direction=direction)
    assert_equal(found, naive(lm, pairs, sets, direction))
    unpatched = found.corrupt if direction == "denoise" else found.clean
    np.testing.assert_allclose(found.values[:, 0, 0], unpatched, atol=CLOSE)


FEW = [Unit("head", 0, 2), Unit("head", 2, 1), Unit("mlp", 1), Unit("residual", 0)]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gptj", "mistral"])
@pytest.mark.parametrize("ablation", ["resample", "zero"])
def test_prompts_that_share_beginnings_of_any_length(family, ablation):
    lm, pairs = language_model(family), forked_pairs()
    found = sweep(lm, pairs, units=FEW, direction="noise", ablation=ablation)
    assert found.exact
    assert_equal(found, naive(lm, pairs, [[unit] for unit in FEW], "noise", ablation))


def test_nothing_changes_before_the_prompts_part():
    lm, pairs = language_model("llama"), forked_pairs()
    found = sweep(lm, pairs, units=FEW)
    for site, values in enumerate(found.values.swapaxes(0, 1)):
        same = (values == found.corrupt[:, None]).all()
        assert same == (site == 2)


def test_prompts_that_do_not_differ_have_no_effects():
    lm = language_model("gpt2")
    pairs = [dataclasses.replace(pair, corrupt=pair.clean) for pair in make_pairs()]
    found = sweep(lm, pairs, kinds=("head", "mlp", "residual"))
    np.testing.assert_array_equal(
        found.values, np.broadcast_to(found.clean[:, None, None], found.values.shape)
    )


def test_the_clean_stream_at_the_last_token_gives_the_clean_run():
    lm, pairs = language_model("qwen3"), make_pairs()
    found = sweep(lm, pairs, units=[Unit("residual", 2)])
    np.testing.assert_allclose(found.values[:, 0, 0], found.clean, atol=1e-6)
    np.testing.assert_allclose(found.clean[:, 2], 0, atol=1e-6)
    assert (found.corrupt[:, 2] > 0.1).all()


def test_a_head_nothing_reads_has_no_effect_and_the_others_do():
    lm, pairs = language_model("llama"), make_pairs()
    width = lm.architecture.head_width
    with torch.no_grad():
        lm.architecture.o_proj(1).weight[:, 2 * width : 3 * width] = 0
    found = sweep(lm, pairs, kinds=("head",))
    effects = np.abs(found.values - found.corrupt[:, None, None])[..., 0].max((0, 1))
    without = {unit for unit, size in zip(found.patches, effects, strict=True) if size < 1e-5}
    assert without == {Unit("head", 1, 2)}


def banks(lm, targets, variants=3):
    bank = LoraBank(lm, num_variants=variants, rank=2, target_modules=targets)
    bank.master_weights.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    return bank


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("llama", ["q_proj", "v_proj"]),
        ("llama", ["o_proj", "down_proj", "k_proj"]),
        ("gemma3", ["o_proj", "up_proj"]),
        ("gpt2", ["c_attn", "c_proj"]),
        ("opt", ["out_proj", "fc2"]),
    ],
)
def test_unmerged_adapters_act_on_what_is_put_in(family, targets):
    lm, pairs = language_model(family), forked_pairs(variants=3)
    bank = banks(lm, targets)
    units = [*FEW, Unit("neuron", 1, 3)]
    found = sweep(lm, pairs, units=units, weights=bank)
    assert_equal(found, naive(lm, pairs, [[unit] for unit in units], weights=bank))
    sets = [units[:3], units[1:]]
    found = joint(lm, pairs, sets, weights=bank)
    assert_equal(found, naive(lm, pairs, sets, "noise", weights=bank))


def test_an_adapter_that_adds_nothing_leaves_the_effects_of_the_base():
    lm, pairs = language_model("llama"), make_pairs(4, variants=2)
    base = sweep(lm, pairs)
    adapted = sweep(lm, pairs, weights=LoraBank(lm, num_variants=2))
    np.testing.assert_allclose(adapted.values, base.values, atol=1e-5)


def test_fully_tuned_variants_read_their_own_pairs():
    lm, pairs = language_model("llama"), make_pairs(4, variants=2)
    own = list(lm.model.parameters())
    other = [p.detach() + 0.05 * torch.randn(p.shape) for p in own]
    full = FullVariants(lm, [[p.detach().clone() for p in own], other])
    found = sweep(lm, pairs, units=FEW, weights=full)
    assert_equal(found, naive(lm, pairs, [[unit] for unit in FEW], weights=full))
    base = sweep(lm, pairs[::2], units=FEW)
    np.testing.assert_allclose(found.values[::2], base.values, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_several_methods_at_once_are_each_on_its_own_and_read_prompts_once(family):
    lm, pairs = language_model(family), forked_pairs()
    means = unit_means(lm, pairs)
    methods = [
        Method(),
        Method("noise"),
        Method("noise", "mean", means),
        Method("noise", "zero"),
    ]
    together, passes = count_passes(lm, lambda: sweeps(lm, pairs, methods))
    singly = [
        count_passes(
            lm,
            lambda m=method: sweep(
                lm, pairs, direction=m.direction, ablation=m.ablation, means=m.means
            ),
        )
        for method in methods
    ]
    assert passes < sum(own for _, own in singly)
    for found, (alone, _) in zip(together, singly, strict=True):
        assert found.patches == alone.patches
        for name in ("values", "clean", "corrupt"):
            np.testing.assert_allclose(getattr(found, name), getattr(alone, name), atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_means_are_those_of_a_loop(weighted):
    lm, pairs = language_model("gemma2"), make_pairs(5, sites=SITES["several"], variants=2)
    bank = banks(lm, ["o_proj", "down_proj"], 2) if weighted else None
    if not weighted:
        pairs = [dataclasses.replace(pair, variant=0) for pair in pairs]
    units = [*FEW, Unit("neuron", 0, 7)]
    means = unit_means(lm, pairs, ("head", "mlp", "residual", "neuron"), weights=bank)
    wanted = naive_means(lm, pairs, units, 2 if weighted else 1, bank)
    width = {"head": lm.architecture.head_width, "neuron": 1}
    for (unit, variant, site), numbers in wanted.items():
        found = means.arrays[unit.kind, unit.layer][variant, site]
        size = width.get(unit.kind, len(found))
        own = found[unit.index * size : (unit.index + 1) * size]
        np.testing.assert_allclose(own, numbers.numpy(), atol=1e-5)
    found = sweep(
        lm, pairs, units=units, direction="noise", ablation="mean", means=means, weights=bank
    )
    sets = [[unit] for unit in units]
    assert_equal(found, naive(lm, pairs, sets, "noise", "mean", wanted, bank))


@pytest.mark.parametrize("family", ["llama", "opt", "qwen3"])
@pytest.mark.parametrize("weighted", [False, True])
def test_means_of_prompts_that_share_their_beginning_are_those_of_a_loop(family, weighted):
    lm, variants = language_model(family), 2 if weighted else 1
    pairs = forked_pairs(variants)
    pairs += pairs[:2]
    targets = ["out_proj", "fc2"] if family == "opt" else ["o_proj", "down_proj"]
    bank = banks(lm, targets, 2) if weighted else None
    units = [Unit("head", 1, 1), Unit("mlp", 1, 0), Unit("residual", 0, 0), Unit("neuron", 1, 7)]
    means = unit_means(lm, pairs, ("head", "mlp", "residual", "neuron"), weights=bank)
    width = {"head": lm.architecture.head_width, "neuron": 1}
    for (unit, variant, site), numbers in naive_means(lm, pairs, units, variants, bank).items():
        found = means.arrays[unit.kind, unit.layer][variant, site]
        size = width.get(unit.kind, len(found))
        own = found[unit.index * size : (unit.index + 1) * size]
        np.testing.assert_allclose(own, numbers.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_whole_prompts_give_the_same_where_prefixes_cannot_be_shared(family):
    lm, pairs = language_model(family), forked_pairs()
    alone = dataclasses.replace(lm, shares_prefix=False)
    swept, whole = sweep(lm, pairs, units=FEW), sweep(alone, pairs, units=FEW)
    assert (swept.exact, whole.exact) == (True, False)
    np.testing.assert_allclose(swept.values, whole.values, atol=CLOSE)
    assert whole.floor.max() < CLOSE


def test_attention_that_is_not_what_the_sweep_takes_it_for_runs_whole_prompts():
    lm, pairs = language_model("llama"), make_pairs()
    wanted = sweep(lm, pairs, units=FEW)
    for layer in range(3):
        attention = lm.architecture.attention(layer)
        attention.config = copy.copy(attention.config)
    found = sweep(lm, pairs, units=FEW)
    assert (wanted.exact, found.exact) == (True, False)
    np.testing.assert_allclose(found.values, wanted.values, atol=CLOSE)


@pytest.mark.parametrize("shares_prefix", [True, False])
def test_a_tight_budget_gives_the_same_numbers(shares_prefix):
    lm = dataclasses.replace(language_model("llama"), shares_prefix=shares_prefix)
    pairs, done = forked_pairs(), []
    free = sweep(lm, pairs, units=FEW)
    tight = sweep(lm, pairs, units=FEW, budget_bytes=1, progress=lambda n, of: done.append((n, of)))
    np.testing.assert_allclose(tight.values, free.values, atol=1e-5)
    assert done[-1] == (6 * 5 * 4, 6 * 5 * 4)
    assert [n for n, _ in done] == sorted(n for n, _ in done)


@pytest.mark.parametrize("shares_prefix", [True, False])
def test_out_of_memory_halves_what_runs_at_once(shares_prefix, monkeypatch):
    lm = dataclasses.replace(language_model("llama"), shares_prefix=shares_prefix)
    pairs = forked_pairs()
    wanted = sweep(lm, pairs, units=FEW)
    backbone, forward = lm.architecture.backbone, lm.architecture.backbone.forward
    tokens = []

    def little_memory(*args, input_ids, **kwargs):
        out = forward(*args, input_ids=input_ids, **kwargs)
        tokens.append(out.last_hidden_state.shape[:2].numel())
        if tokens[-1] > 160:
            raise torch.OutOfMemoryError("out of memory")
        return out

    monkeypatch.setattr(backbone, "forward", little_memory)
    found = sweep(lm, pairs, units=FEW)
    assert max(tokens) > 160
    np.testing.assert_allclose(found.values, wanted.values, atol=CLOSE)


def test_a_single_patch_that_does_not_fit_the_memory_is_an_error(monkeypatch):
    lm = language_model("llama")

    def no_memory(*args, **kwargs):
        raise torch.OutOfMemoryError("out of memory")

    alone = dataclasses.replace(lm, shares_prefix=False)
    monkeypatch.setattr(suffix.SuffixPass, "attend", no_memory)
    monkeypatch.setattr(patch, "is_exact", lambda parts: True)
    with pytest.raises(UserError, match="two runs of 18 tokens do not fit the memory of cpu"):
        sweep(lm, make_pairs(), units=FEW)
    assert sweep(alone, make_pairs(), units=FEW).values.shape == (2, 1, 4, 4)


PAIR = make_pairs(1)[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"corrupt": PAIR.corrupt[1:]}, "pair 0 has 18 clean and 17 corrupt tokens; expected as"),
        ({"sites": ((18,),)}, "pair 0 is to be patched at place 18; expected 0 to 17"),
        ({"sites": ((-1,),)}, "pair 0 is to be patched at place -1; expected 0 to 17"),
        ({"sites": ((),)}, "pair 0 has 1 sites, .* none without places"),
        ({"sites": ()}, "pair 0 has 0 sites"),
        ({"foil": PAIR.answer}, "as answer and as foil; expected two tokens to tell apart"),
        ({"answer": 320}, "pair 0 has the token 320, but 'tiny-llama' has 320"),
        ({"clean": PAIR.clean * 20, "corrupt": PAIR.corrupt * 20}, "more than the context"),
    ],
)
def test_pairs_that_cannot_be_patched_are_refused(changed, message):
    with pytest.raises(UserError, match=message):
        sweep(language_model("llama"), [dataclasses.replace(PAIR, **changed)])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"direction": "up"}, "unknown direction 'up'"),
        ({"ablation": "meen"}, "unknown ablation 'meen'; did you mean 'mean'"),
        ({"ablation": "zero"}, "ablation 'zero' .* direction 'denoise'.*use direction 'noise'"),
        ({"ablation": "mean", "direction": "noise"}, "'mean' was asked for without means"),
        ({"kinds": ("heads",)}, "unknown kind of unit 'heads'; did you mean 'head'"),
        ({"units": [Unit("head", 3, 0)]}, "unit L3.H0 is not in the model; expected layers 0 to 2"),
        ({"units": [Unit("head", 0, 4)]}, "unit L0.H4 is not in the model.* with 4 units"),
    ],
)
def test_what_does_not_go_together_is_refused(asked, message):
    with pytest.raises(UserError, match=message):
        sweep(language_model("llama"), [PAIR], **asked)


def test_means_of_other_units_or_sites_are_refused():
    lm, noise = language_model("llama"), {"direction": "noise", "ablation": "mean"}
    means = unit_means(lm, [PAIR], ("mlp",))
    with pytest.raises(UserError, match="means of kind 'head' in layer 0 were given for none"):
        sweep(lm, [PAIR], means=means, **noise)
    two = dataclasses.replace(PAIR, sites=((1,), (2,)))
    with pytest.raises(UserError, match="for 1 variants, 1 sites; expected 1 variants, 2 sites"):
        sweep(lm, [two], kinds=("mlp",), means=means, **noise)


def test_no_pairs_unequal_sites_and_unknown_insides_are_refused():
    lm = language_model("llama")
    with pytest.raises(UserError, match="no pairs of prompts were given"):
        sweep(lm, [])
    two = dataclasses.replace(PAIR, sites=((1,), (2,)))
    with pytest.raises(UserError, match="pair 1 has 2 sites, pair 0 has 1; expected"):
        sweep(lm, [PAIR, two])
    with pytest.raises(UserError, match="the inside of 'tiny-llama' is not known"):
        sweep(dataclasses.replace(lm, architecture=None), [PAIR])
    with pytest.raises(UserError, match="read by variant 2; expected 0 to 1"):
        pair = dataclasses.replace(PAIR, variant=2)
        sweep(lm, [pair], weights=LoraBank(lm, num_variants=2))
