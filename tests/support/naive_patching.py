"""Patching the slow way: one forward pass per patch, with plain hooks; and pairs to patch."""

from contextlib import nullcontext

import numpy as np
import torch
import transformers

import tiny
from adaptlens.lm.load import assemble
from adaptlens.lm.units import Pair

SEQ = 18
FAMILIES = (*tiny.ARCHITECTURES, "gpt_neox-serial", "opt-350m", "gemma3-vision")
# The last map of each family's feed-forward part, whose input are the neurons.
LAST_MAP = dict.fromkeys(tiny.ARCHITECTURES, "mlp.down_proj") | {
    "gpt2": "mlp.c_proj",
    "gpt_neox": "mlp.dense_4h_to_h",
    "gptj": "mlp.fc_out",
    "opt": "fc2",
}


def language_model(family, seed=0):
    arch, _, form = family.partition("-")
    changes = {
        "serial": {"use_parallel_residual": False},
        "350m": {"do_layer_norm_before": False, "word_embed_proj_dim": 16},
    }
    if form == "vision":
        model = gemma3_with_a_vision_tower()
    else:
        model = tiny.tiny_model(arch, seed, **changes.get(form, {}))
    return assemble(model, tiny.tiny_tokenizer(), name=f"tiny-{family}", digest=family)


def gemma3_with_a_vision_tower():
    text = tiny.tiny_config("gemma3", initializer_range=0.2)
    vision = transformers.SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4
    )
    transformers.set_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config)


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
    parts, hooks, seen = lm.architecture, [], {}
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


def forked_pairs(variants=1):
    """Return pairs that fork at several depths, of several lengths, with sites at all depths."""
    source = np.random.default_rng(3)
    stems = [source.integers(3, 280, 20) for _ in range(2)]
    pairs = []
    for n, (stem, more, after) in enumerate(
        [(0, 18, 3), (0, 20, 6), (0, 19, 1), (0, 0, 2), (1, 17, 4), (1, 17, 2)]
    ):
        shared = [*stems[stem], *source.integers(3, 280, more)]
        clean, corrupt = (tuple(map(int, [*shared, *source.integers(3, 280, after)])) for _ in "ab")
        last = len(clean) - 1
        sites = ((last,), (4, last), (2,), tuple(range(len(shared), last + 1)), (last - 1,))
        pairs.append(Pair(clean, corrupt, 5 + n, 99, sites, n % variants))
    return pairs
