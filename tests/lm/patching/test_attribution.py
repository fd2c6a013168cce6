"""Gradient estimates equal the slope of the patched model, on every architecture."""

import numpy as np
import pytest
import torch

import tiny
from adaptlens.errors import UserError
from adaptlens.lm.adapters.bank import LoraBank
from adaptlens.lm.adapters.full_weights import FullVariants
from adaptlens.lm.load import assemble
from adaptlens.lm.patching import attribution as screen
from adaptlens.lm.patching.attribution import attribution
from adaptlens.lm.patching.patch import all_units, sweep
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
    parts, block = lm.architecture, lm.architecture.layers[unit.layer]
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
        hooks.append(lm.architecture.embed.register_forward_hook(lambda *_: embeddings[None]))
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
    order = all_units(lm.architecture, kinds)
    return estimates[..., [order.index(unit) for unit in UNITS]]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_estimate_is_the_slope_of_the_logit_difference(family):
    lm, pairs = language_model(family), make_pairs(sites=SITES["several"])
    found = picked(lm, attribution(lm, pairs, kinds=KINDS))
    for pair, ours in zip(pairs, found, strict=True):
        np.testing.assert_allclose(ours, slopes(lm, pair, UNITS), rtol=1e-3, atol=CLOSE)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "opt"])
def test_prompts_are_read_whole_where_sites_begin_at_the_first_token(family):
    lm, (pair,) = language_model(family), make_pairs(1, sites=SITES["all"])
    (found,) = picked(lm, attribution(lm, [pair], kinds=KINDS, direction="noise"))
    wanted = slopes(lm, pair, UNITS, "noise")
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=CLOSE)


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gptj"])
def test_integrated_gradients_are_the_mean_over_midpoints_of_the_embeddings(family):
    lm, (pair,) = language_model(family), make_pairs(1, sites=SITES["several"])
    ends = [lm.architecture.embed(torch.tensor(ids)) for ids in (pair.corrupt, pair.clean)]
    midpoints = [ends[0] + share * (ends[1] - ends[0]) for share in (1 / 6, 3 / 6, 5 / 6)]
    (found,) = picked(lm, attribution(lm, [pair], kinds=KINDS, method="integrated", steps=3))
    wanted = slopes(lm, pair, UNITS, inputs=midpoints)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=CLOSE)


def random_bank(lm, variants=2):
    targets = [n for n, m in lm.model.named_modules() if n.endswith(("_proj", "c_attn", "c_proj"))]
    bank = LoraBank(lm, num_variants=variants, rank=2, target_modules=targets)
    generator = torch.Generator().manual_seed(5)
    bank.master_weights.copy_(0.1 * torch.randn(bank.master_weights.shape, generator=generator))
    return bank


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_each_pair_is_read_by_its_own_adapter(family):
    lm = language_model(family)
    bank = random_bank(lm)
    pairs = make_pairs(3, variants=2)
    found = picked(lm, attribution(lm, pairs, kinds=KINDS, weights=bank))
    for pair, ours in zip(pairs, found, strict=True):
        with bank.routed([pair.variant]):
            wanted = slopes(lm, pair, UNITS)
        np.testing.assert_allclose(ours, wanted, rtol=1e-3, atol=CLOSE)


def test_fully_tuned_weights_are_put_in_place_one_variant_at_a_time():
    lm, pairs = language_model("llama"), make_pairs(3, variants=2)
    other = [p.detach() * 1.2 for p in lm.model.parameters()]
    weights = FullVariants(lm, [[p.detach().clone() for p in lm.model.parameters()], other])
    found = picked(lm, attribution(lm, pairs, kinds=KINDS, weights=weights))
    for pair, ours in zip(pairs, found, strict=True):
        with weights.routed([pair.variant]):
            wanted = slopes(lm, pair, UNITS)
        np.testing.assert_allclose(ours, wanted, rtol=1e-3, atol=CLOSE)


def test_batches_and_budget_change_nothing():
    lm = language_model("llama")
    pairs = [*make_pairs(5), *make_pairs(2, seq=11, sites=((10,),), seed=3)]
    alone = np.concatenate([attribution(lm, [pair]) for pair in pairs])
    told = []
    found = attribution(lm, pairs, budget_bytes=1, progress=lambda *done: told.append(done))
    np.testing.assert_allclose(attribution(lm, pairs), alone, atol=1e-5)
    np.testing.assert_allclose(found, alone, atol=1e-5)
    assert told == [(n, 7) for n in range(1, 8)]


def test_memory_running_out_halves_the_batch(monkeypatch):
    lm, pairs = language_model("llama"), make_pairs(5)
    wanted, true_run = attribution(lm, pairs), screen.Batch.run

    def run(batch, embeddings):
        if len(batch.numbers) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return true_run(batch, embeddings)

    monkeypatch.setattr(screen.Batch, "run", run)
    np.testing.assert_allclose(attribution(lm, pairs), wanted, atol=1e-5)


def test_nothing_differs_between_equal_prompts_and_no_gradients_stay_behind():
    lm, (pair,) = language_model("gpt2"), make_pairs(1)
    same = Pair(pair.clean, pair.clean, pair.answer, pair.foil, pair.sites)
    with torch.inference_mode():
        assert np.abs(attribution(lm, [same])).max() < 1e-5
        assert np.abs(attribution(lm, [pair])).max() > 1e-2
    assert all(p.grad is None and not p.requires_grad for p in lm.model.parameters())


def test_an_estimate_is_exact_where_all_that_follows_is_linear():
    """Without a last norm, that is so for what the last layer adds at the last token."""
    model = tiny.tiny_model("llama")
    model.model.norm = torch.nn.Identity()
    lm = assemble(model, tiny.tiny_tokenizer(), name="tiny", digest="tiny")
    pairs, units = make_pairs(), [Unit("mlp", 2), Unit("residual", 2)]
    effects = sweep(lm, pairs, units=units)
    changes = effects.values[..., 0] - effects.corrupt[:, None, None, 0]
    estimates = attribution(lm, pairs, kinds=("mlp", "residual"))[..., [2, 5]]
    np.testing.assert_allclose(estimates, changes, atol=CLOSE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "ig"}, "unknown method of attribution 'ig'"),
        ({"method": "integrated", "steps": 0}, "0 steps of integration"),
        ({"kinds": ("haed",)}, "did you mean 'head'"),
    ],
)
def test_what_cannot_be_estimated_is_said(given, message):
    with pytest.raises(UserError, match=message):
        attribution(language_model("llama"), make_pairs(1), **given)
