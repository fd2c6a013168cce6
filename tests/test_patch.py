"""Patching gives what one hooked forward pass per patch gives, on every architecture."""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import tiny
from adaptlens.errors import UserError
from adaptlens.lm.bank import LoraBank
from adaptlens.lm.full import FullVariants
from adaptlens.lm.load import assemble
from adaptlens.lm.patch import all_units, joint, sweep, unit_means
from adaptlens.lm.units import METRICS, Pair, Unit

SEQ = 18
CLOSE = 1e-4
FAMILIES = (*tiny.ARCHITECTURES, "gpt_neox-serial")
# The last map of each family's feed-forward part, whose input are the neurons.
LAST_MAP = dict.fromkeys(tiny.ARCHITECTURES, "mlp.down_proj") | {
    "gpt2": "mlp.c_proj",
    "gpt_neox": "mlp.dense_4h_to_h",
    "gptj": "mlp.fc_out",
    "opt": "fc2",
}


def language_model(family, seed=0):
    arch, _, form = family.partition("-")
    changes = {"use_parallel_residual": False} if form == "serial" else {}
    model = tiny.tiny_model(arch, seed, **changes)
    return assemble(model, tiny.tiny_tokenizer(), name=f"tiny-{family}", digest=family)


def make_pairs(count=2, seq=SEQ, sites=None, shared=6, seed=0, variants=1):
    """Return pairs whose prompts begin alike and differ in some of the later tokens."""
    source = np.random.default_rng(seed)
    stem = source.integers(3, 280, shared)
    pairs = []
    for n in range(count):
        clean = np.concatenate([stem, source.integers(3, 280, seq - shared)])
        corrupt = clean.copy()
        changed = range(shared + 2 + n % 2, seq, 3)
        corrupt[list(changed)] = (corrupt[list(changed)] + 1 + n) % 280 + 3
        answer, foil = source.choice(280, 2, replace=False)
        wanted = ((seq - 1,),) if sites is None else sites
        pairs.append(
            Pair(
                tuple(map(int, clean)),
                tuple(map(int, corrupt)),
                int(answer),
                int(foil),
                wanted,
                n % variants,
            )
        )
    return pairs


def module_of(parts, unit):
    """Return the module at which a unit's output passes by, and whether it is what goes in."""
    block = parts.layers[unit.layer]
    if unit.kind == "head":
        return parts.o_proj(unit.layer), True
    if unit.kind == "neuron":
        return block.get_submodule(LAST_MAP[parts.family.removesuffix("_text")]), True
    return (parts.mlp(unit.layer), False) if unit.kind == "mlp" else (block, False)


def naive_run(lm, ids, edits=(), wanted=()):
    """Run one whole prompt with plain hooks.

    `edits` are (unit, places, numbers [places, unit width]); returns the last token's logits and
    the outputs of the units wanted.
    """
    parts, hooks, seen = lm.anatomy, [], {}
    width = {"head": parts.head_width, "neuron": 1}

    def reach(unit, states):
        flat = states.view(len(ids), -1)
        size = width.get(unit.kind, flat.shape[1])
        return flat[:, unit.index * size : (unit.index + 1) * size]

    def attach(unit, act):
        module, entering = module_of(parts, unit)
        if entering:
            hooks.append(module.register_forward_pre_hook(lambda _, args: act(args[0])))
        else:
            hooks.append(
                module.register_forward_hook(
                    lambda _, __, out: act(out[0] if isinstance(out, tuple) else out)
                )
            )

    for unit in wanted:
        attach(unit, lambda s, unit=unit: seen.__setitem__(unit, reach(unit, s).clone()))
    for unit, places, numbers in edits:
        # In place, as the residual stream is handed on.
        attach(unit, lambda s, u=unit, p=places, n=numbers: reach(u, s).__setitem__(list(p), n))
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
    for hook in hooks:
        hook.remove()
    return logits, seen


def read_out(logits, pair, clean):
    logs, clean = logits.log_softmax(-1), clean.log_softmax(-1)
    return [
        float(logits[pair.answer] - logits[pair.foil]),
        float(logs[pair.answer]),
        float((clean.exp() * (clean - logs)).sum()),
        float(logits.argmax() == pair.answer),
    ]


def naive(lm, pairs, sets, direction="denoise", ablation="resample", means=None, weights=None):
    """Return values [pairs, sites, sets, metrics], clean and corrupt [pairs, metrics]."""
    values, cleans, corrupts = [], [], []
    for pair in pairs:
        with weights.routed([pair.variant]) if weights else nullcontext():
            units = sorted({unit for units in sets for unit in units})
            runs = [naive_run(lm, ids, wanted=units) for ids in (pair.clean, pair.corrupt)]
            cleans.append(read_out(runs[0][0], pair, runs[0][0]))
            corrupts.append(read_out(runs[1][0], pair, runs[0][0]))
            base = pair.corrupt if direction == "denoise" else pair.clean
            other = runs[0 if direction == "denoise" else 1][1]

            def put(unit, site, places, variant=pair.variant, other=other):
                if ablation == "zero":
                    return 0.0
                if ablation == "mean":
                    return means[unit, variant, site]
                return other[unit][list(places)]

            values.append(
                [
                    [
                        read_out(
                            naive_run(lm, base, [(u, places, put(u, s, places)) for u in units])[0],
                            pair,
                            runs[0][0],
                        )
                        for units in sets
                    ]
                    for s, places in enumerate(pair.sites)
                ]
            )
    return np.array(values), np.array(cleans), np.array(corrupts)


def assert_equal(found, wanted):
    values, clean, corrupt = wanted
    assert found.values.shape == (*values.shape[:3], len(METRICS))
    for ours, theirs in ((found.values, values), (found.clean, clean), (found.corrupt, corrupt)):
        np.testing.assert_allclose(ours, theirs, atol=CLOSE, rtol=1e-5)
    assert found.floor.shape == clean.shape
    assert found.floor.max() < CLOSE


SITES = {
    "last": ((SEQ - 1,),),
    "middle": ((9, 11, 12),),
    "all": (tuple(range(SEQ)),),
    "several": ((SEQ - 1,), (8,), (10, 14)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_and_mlps_at_the_last_token(family):
    lm, pairs = language_model(family), make_pairs()
    found = sweep(lm, pairs)
    assert found.patches == tuple(all_units(lm.anatomy, ("head", "mlp")))
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


def naive_means(lm, pairs, units, variants=1, weights=None):
    """Return the mean output of each unit, by (unit, variant, site)."""
    means = {}
    for variant in range(variants):
        mine = [pair for pair in pairs if pair.variant == variant]
        with weights.routed([variant]) if weights else nullcontext():
            seen = [naive_run(lm, pair.clean, wanted=units)[1] for pair in mine]
        for site in range(len(pairs[0].sites)):
            for unit in units:
                rows = [s[unit][list(p.sites[site])] for s, p in zip(seen, mine, strict=True)]
                means[unit, variant, site] = torch.cat(rows).mean(0)
    return means


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "gpt_neox", "opt", "olmo2"])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_sets_of_units_are_replaced_at_once(family, direction):
    lm, pairs = language_model(family), make_pairs(sites=SITES["several"])
    everything = all_units(lm.anatomy, ("head", "mlp"))
    sets = [[], everything, everything[::2], [Unit("head", 2, 1), Unit("head", 0, 3)]]
    found = joint(lm, pairs, sets, direction=direction)
    assert_equal(found, naive(lm, pairs, sets, direction))
    assert (np.abs(found.values[:, :, 0] - found.values[:1, :1, :1]) >= 0).all()
    unpatched = found.corrupt if direction == "denoise" else found.clean
    np.testing.assert_allclose(found.values[:, 0, 0], unpatched, atol=CLOSE)
