"""Gradient estimates equal the slope of the patched model, on every architecture."""

import numpy as np
import pytest
import torch

import tiny
from adaptlens.lm.load import assemble
from adaptlens.lm.patch import all_units
from adaptlens.lm.screen import attribution
from adaptlens.lm.units import Pair, Unit

SEQ = 14
CLOSE = 1e-4
FAMILIES = (*tiny.ARCHITECTURES, "gpt_neox-serial")
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


def make_pairs(count=2, seq=SEQ, sites=((SEQ - 1,),), seed=0, variants=1):
    source = np.random.default_rng(seed)
    pairs = []
    for n in range(count):
        clean = source.integers(3, 280, seq)
        corrupt = clean.copy()
        corrupt[[4 + n % 3, seq - 2]] = source.integers(3, 280, 2)
        answer, foil = source.choice(280, 2, replace=False)
        ids = tuple(map(int, clean)), tuple(map(int, corrupt))
        pairs.append(Pair(*ids, int(answer), int(foil), sites, n % variants))
    return pairs


def outputs(lm, unit):
    """Return the module a unit's output passes by, whether it goes in there, and its slice."""
    parts, block = lm.anatomy, lm.anatomy.layers[unit.layer]
    if unit.kind == "head":
        low = unit.index * parts.head_width
        return parts.o_proj(unit.layer), True, slice(low, low + parts.head_width)
    if unit.kind == "neuron":
        module = block.get_submodule(LAST_MAP[parts.family.removesuffix("_text")])
        return module, True, slice(unit.index, unit.index + 1)
    return (parts.mlp(unit.layer) if unit.kind == "mlp" else block), False, slice(None)


def hooked(lm, ids, pair, unit, act, embeddings=None):
    """Return the logit difference of a whole prompt; `act` gets a unit's [seq, features].

    What it returns goes on in their place.
    """
    module, entering, own = outputs(lm, unit)

    def changed(states):
        flat = states.reshape(len(ids), -1).clone()
        flat[:, own] = act(flat[:, own].clone())
        return flat.view(states.shape)

    if entering:
        hook = module.register_forward_pre_hook(lambda _, args: (changed(args[0]), *args[1:]))
    else:
        hook = module.register_forward_hook(
            lambda _, __, out: (
                (changed(out[0]), *out[1:]) if isinstance(out, tuple) else changed(out)
            )
        )
    hooks = [hook]
    if embeddings is not None:
        hooks.append(lm.anatomy.embed.register_forward_hook(lambda *_: embeddings[None]))
    logits = lm.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
    for hook in hooks:
        hook.remove()
    return logits[pair.answer] - logits[pair.foil]


def slopes(lm, pair, units, direction="denoise", inputs=(None,)):
    """Return [sites, units]: d/dt of the logit difference with t times the patch's change added.

    One run and one backward pass for each; the mean over the embeddings in `inputs`.
    """
    both = (pair.corrupt, pair.clean)
    base, other = both if direction == "denoise" else both[::-1]

    def plain(unit, ids):
        seen = []
        with torch.no_grad():
            hooked(lm, ids, pair, unit, lambda states: seen.append(states) or states)
        return seen[0]

    def slope(unit, places, embeddings):
        change = torch.zeros_like(plain(unit, base))
        change[list(places)] = (plain(unit, other) - plain(unit, base))[list(places)]
        t = torch.zeros((), requires_grad=True)
        hooked(lm, base, pair, unit, lambda s: s + t * change, embeddings).backward()
        return float(t.grad)

    return np.array(
        [
            [np.mean([slope(unit, places, x) for x in inputs]) for unit in units]
            for places in pair.sites
        ]
    )


UNITS = (Unit("head", 0, 1), Unit("head", 2, 3), Unit("mlp", 1), Unit("residual", 0))
UNITS += (Unit("residual", 2), Unit("neuron", 1, 5), Unit("head", 1, 0), Unit("mlp", 2))
KINDS = ("head", "mlp", "residual", "neuron")
SITES = {"last": ((SEQ - 1,),), "several": ((SEQ - 1,), (5,), (9, 11)), "all": (tuple(range(SEQ)),)}


def picked(lm, estimates, kinds=KINDS):
    order = all_units(lm.anatomy, kinds)
    return estimates[..., [order.index(unit) for unit in UNITS]]


@pytest.mark.parametrize("site", ["several", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_estimate_is_the_slope_of_the_logit_difference(family, site):
    lm, pairs = language_model(family), make_pairs(sites=SITES[site])
    found = picked(lm, attribution(lm, pairs, kinds=KINDS))
    for pair, ours in zip(pairs, found, strict=True):
        np.testing.assert_allclose(ours, slopes(lm, pair, UNITS), rtol=1e-3, atol=CLOSE)
