"""Edge scores equal one backward pass per edge, and add up to the scores of units."""

import numpy as np
import pytest
import torch

from adaptlens.errors import UserError
from adaptlens.lm.adapters.full_weights import FullVariants
from adaptlens.lm.patching.attribution import attribution
from adaptlens.lm.patching.edge_attribution import edge_attribution
from adaptlens.lm.patching.patch import all_units
from adaptlens.lm.units import Unit
from tests.lm.patching.test_attribution import language_model, make_pairs, random_bank

SEQ = 8
PLAIN = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gpt2")
NORMS = dict.fromkeys(PLAIN, ("input_layernorm", "post_attention_layernorm"))
NORMS["gpt2"] = ("ln_1", "ln_2")


def pairs_everywhere(count=2, variants=1):
    return make_pairs(count, SEQ, (tuple(range(SEQ)),), variants=variants)


def added(lm, ids, source):
    """Return what a source adds to the stream, [seq, width]."""
    parts, seen = lm.architecture, {}
    if source.kind == "embed":
        return parts.embed(torch.tensor(ids))
    module = parts.mlp(source.layer) if source.kind == "mlp" else parts.o_proj(source.layer)
    hook = module.register_forward_hook(lambda _, args, out: seen.update(enters=args[0], out=out))
    with torch.no_grad():
        lm.model(input_ids=torch.tensor([ids]))
    hook.remove()
    if source.kind == "mlp":
        return seen["out"][0]
    without = seen["enters"].clone()
    low = source.head * parts.head_width
    without[..., low : low + parts.head_width] = 0
    with torch.no_grad():
        return (module(seen["enters"]) - module(without))[0]


def projection(lm, node):
    """Return the module that makes a head's queries, keys or values, and where they begin."""
    parts, attention = lm.architecture, lm.architecture.attention(node.layer)
    sizes = {"q": parts.num_heads, "k": parts.num_kv_heads, "v": parts.num_kv_heads}
    before = 0
    for name, heads in sizes.items():
        if name == node.kind:
            break
        before += heads * parts.head_width
    for name in ("c_attn", "qkv_proj"):
        if hasattr(attention, name):
            return getattr(attention, name), before + node.head * parts.head_width
    return getattr(attention, f"{node.kind}_proj"), node.head * parts.head_width


def edge_slope(lm, pair, source, destination):
    """Return d/dt of the logit difference with t times the change added for one reader alone."""
    parts = lm.architecture
    change = added(lm, pair.clean, source) - added(lm, pair.corrupt, source)
    t = torch.zeros((), requires_grad=True)
    hooks = []
    if destination.kind in ("mlp", "final"):
        norm = parts.final_norm
        if destination.kind == "mlp":
            norm = getattr(parts.layers[destination.layer], NORMS[lm.name][1])
        hooks.append(norm.register_forward_pre_hook(lambda _, args: (args[0] + t * change,)))
    else:
        norm = getattr(parts.layers[destination.layer], NORMS[lm.name][0])
        module, low = projection(lm, destination)
        stream = []

        def other(_, __, out):
            changed = module.forward(norm.forward(stream[0] + t * change))
            mixed = out.clone()
            own = slice(low, low + parts.head_width)
            mixed[..., own] = changed[..., own]
            return mixed

        hooks.append(norm.register_forward_pre_hook(lambda _, args: stream.append(args[0])))
        hooks.append(module.register_forward_hook(other))
    logits = lm.model(input_ids=torch.tensor([pair.corrupt])).logits[0, -1]
    (logits[pair.answer] - logits[pair.foil]).backward()
    for hook in hooks:
        hook.remove()
    return float(t.grad)


def named(family):
    lm = language_model(family)
    object.__setattr__(lm, "name", family)
    return lm


@pytest.mark.parametrize("family", PLAIN)
def test_a_score_is_the_slope_along_one_edge_alone(family):
    lm, (pair,) = named(family), pairs_everywhere(1)
    found = edge_attribution(lm, [pair])
    edges = np.argwhere(found.there)
    if family != "gpt2":
        edges = np.random.default_rng(0).permutation(edges)[:40]
    wanted = [edge_slope(lm, pair, found.sources[s], found.destinations[d]) for s, d in edges]
    np.testing.assert_allclose(found.scores[0][tuple(edges.T)], wanted, rtol=1e-3, atol=1e-4)
    assert not found.scores[0][~found.there].any()


def test_a_source_has_edges_to_what_reads_after_it():
    lm = language_model("llama")
    found = edge_attribution(lm, pairs_everywhere(1))
    # 1 + 3 layers of 4 heads and an mlp; 3 layers of 4 q, 2 k, 2 v and an mlp, and the last norm.
    assert found.scores.shape == (1, 16, 28)
    reads = {
        str(source): {str(d) for d, there in zip(found.destinations, row, strict=True) if there}
        for source, row in zip(found.sources, found.there, strict=True)
    }
    assert reads["L2.MLP"] == {"final"}
    assert reads["L2.H3"] == {"L2.MLP", "final"}
    assert len(reads["embed"]) == 28
    last = {f"L2.Q{h}" for h in range(4)} | {f"L2.{kind}{h}" for kind in "KV" for h in range(2)}
    assert reads["L1.MLP"] == last | {"L2.MLP", "final"}


@pytest.mark.parametrize("method", ["gradient", "integrated"])
@pytest.mark.parametrize("family", PLAIN)
def test_scores_of_a_source_add_up_to_its_attribution_at_all_places(family, method):
    lm = language_model(family)
    bank = random_bank(lm)
    pairs = pairs_everywhere(3, variants=2)
    given = {"method": method, "steps": 2, "weights": bank, "direction": "noise"}
    edges, nodes = edge_attribution(lm, pairs, **given), attribution(lm, pairs, **given)
    order = all_units(lm.architecture, ("head", "mlp"))
    for number, source in enumerate(edges.sources):
        if source.kind != "embed":
            unit = order.index(Unit(source.kind, source.layer, source.head))
            total = edges.scores[:, number].sum(-1)
            np.testing.assert_allclose(total, nodes[:, 0, unit], rtol=1e-3, atol=1e-4)


def test_embeddings_add_up_to_the_gradient_at_the_tokens():
    lm, (pair,) = language_model("gpt2"), pairs_everywhere(1)
    edges = edge_attribution(lm, [pair])
    clean, corrupt = (
        lm.architecture.embed(torch.tensor(ids)) for ids in (pair.clean, pair.corrupt)
    )
    given = corrupt[None].requires_grad_()
    logits = lm.model(inputs_embeds=given).logits[0, -1]
    (logits[pair.answer] - logits[pair.foil]).backward()
    wanted = float(((clean - corrupt) * given.grad[0]).sum())
    assert edges.scores[0, 0].sum() == pytest.approx(wanted, abs=1e-4)


def test_budget_batches_and_full_weights_change_nothing():
    lm = language_model("qwen2")
    pairs = pairs_everywhere(3)
    wanted = np.concatenate([edge_attribution(lm, [pair]).scores for pair in pairs])
    np.testing.assert_allclose(edge_attribution(lm, pairs).scores, wanted, atol=1e-5)
    small = edge_attribution(lm, pairs, budget_bytes=1)
    np.testing.assert_allclose(small.scores, wanted, atol=1e-5)
    own = [[p.detach().clone() for p in lm.model.parameters()]]
    full = edge_attribution(lm, pairs, weights=FullVariants(lm, own))
    np.testing.assert_allclose(full.scores, wanted, atol=1e-5)


@pytest.mark.parametrize("family", ["gemma2", "gpt_neox", "gptj", "olmo2", "opt"])
def test_layers_that_are_not_plain_sums_are_refused(family):
    with pytest.raises(UserError, match=f"family '{family}'.*gpt2, llama"):
        edge_attribution(language_model(family), pairs_everywhere(1))
