"""Annotations of heads: what they attend to, and what their mean output carries."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

import tiny
from adaptlens.errors import UserError
from adaptlens.lm.patching import head_functions
from adaptlens.lm.patching.head_functions import (
    Reading,
    induction_scores,
    last_attention,
    vector_effects,
)
from adaptlens.lm.patching.patch import sweep
from adaptlens.lm.units import Pair
from planted import planted_lm
from tests.lm.patching.test_attribution import language_model, random_bank


def prompt(seq, seed=0):
    return tuple(np.random.default_rng(seed).integers(3, 280, seq).tolist())


def written_out(arch, ids, seed=0):
    """Return [layers, heads, seq, seq]: what Transformers says a model made for it attends to."""
    model = tiny.tiny_model(arch, seed)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        shares = model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    return torch.cat(shares).numpy()


READINGS = [
    Reading(prompt(17, 1), ((3, 4, 9), (), (0,), (16,))),
    Reading(prompt(12, 2), ((1,), (2, 3), tuple(range(12)), ())),
    Reading(prompt(17, 3), ((5,), (2,), (16,), (0,))),
]


@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_attention_is_what_transformers_says_it_is(arch):
    lm = language_model(arch)
    found = last_attention(lm, READINGS)
    assert found.shape == (3, 4, 3, 4)
    for reading, ours in zip(READINGS, found, strict=True):
        shares = written_out(arch, reading.ids)[:, :, -1]
        wanted = np.stack([shares[:, :, list(some)].sum(-1) for some in reading.places])
        np.testing.assert_allclose(ours, wanted, atol=1e-5)


@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_the_model_is_as_it_was_afterwards(arch):
    lm = language_model(arch)
    ids = torch.tensor([prompt(20, 4)])
    with torch.no_grad():
        before = lm.model(input_ids=ids).logits
        last_attention(lm, READINGS)
        with (
            pytest.raises(ValueError, match="stop"),
            head_functions.attending(lm.architecture, _stop),
        ):
            lm.model(input_ids=ids)
        after = lm.model(input_ids=ids).logits
    assert torch.equal(before, after)
    assert not any(m._forward_hooks for m in lm.model.modules())


def _stop(layer, shares):
    raise ValueError("stop")


def test_only_the_planted_head_does_induction():
    lm, planted = planted_lm()
    found = induction_scores(lm, sequences=3, tokens=40)
    assert found.shape == (1, 2, 4)
    assert found[0, 1, planted["induction"].index] > 0.999
    found[0, 1, planted["induction"].index] = 0
    assert found.max() < 0.05


def test_the_planted_model_says_what_followed_before():
    lm, _ = planted_lm()
    half = np.random.default_rng(3).permutation(np.arange(3, 300))[:50]
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([[1, *half, *half]])).logits[0]
    chances = logits.softmax(-1)
    assert logits[51:100].argmax(-1).tolist() == half[1:].tolist()
    assert chances[torch.arange(51, 100), half[1:]].min() > 0.95
    # What comes next in the first copy cannot be known.
    assert (logits[1:50].argmax(-1).numpy() == half[1:]).mean() < 0.1


def test_the_planted_heads_alone_carry_their_answers():
    """The induction head where it is read; the other one where what it writes is looked for."""
    lm, planted = planted_lm()
    clean = (1, 10, 20, 30, 40, 50, 60, 10)
    asked_another = (*clean[:-1], 30)
    swapped = (1, 30, 20, 10, 40, 50, 60, 10)
    for corrupt, site, name in ((asked_another, (7,), "induction"), (swapped, (2, 4), "previous")):
        pairs = [Pair(clean, corrupt, 20, 40, (site,))]
        found = sweep(lm, pairs, kinds=("head",), direction="noise")
        changes = (found.values[0, 0, :, 0] - found.clean[0, 0]).round(3)
        moving = [unit for unit, change in zip(found.patches, changes, strict=True) if change]
        assert moving == [planted[name]]
        assert found.values[0, 0, :, 0].min() == pytest.approx(found.corrupt[0, 0], abs=1e-2)


def test_induction_is_the_mean_along_the_line_after_the_first_copy():
    lm = language_model("qwen2")
    seen = []

    def keep(lm, readings, *rest):
        seen.extend(readings)
        return true_read(lm, readings, *rest)

    true_read = head_functions._read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_functions, "_read", keep)
        found = induction_scores(lm, sequences=2, tokens=9, seed=5)
    scores = []
    for reading in seen:
        assert reading.ids[0] == 1
        assert reading.ids[1:10] == reading.ids[10:]
        assert len(set(reading.ids[1:10]) - {0, 1, 2}) == 9
        shares = written_out("qwen2", reading.ids)
        scores.append(np.mean([shares[:, :, 10 + t, 2 + t] for t in range(9)], axis=0))
    np.testing.assert_allclose(found[0], np.mean(scores, axis=0), atol=1e-5)


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_each_adapter_attends_in_its_own_way(arch):
    lm = language_model(arch)
    bank = random_bank(lm)
    readings = [Reading(prompt(15, n), ((2, 3),), 0, n % 2) for n in range(3)]
    found = last_attention(lm, readings, bank)
    lm.model.set_attn_implementation("eager")
    for reading, ours in zip(readings, found, strict=True):
        with bank.routed([reading.variant]), torch.no_grad():
            ids = torch.tensor([reading.ids])
            shares = torch.cat(lm.model(input_ids=ids, output_attentions=True).attentions)
        np.testing.assert_allclose(ours[0], shares[:, :, -1, [2, 3]].sum(-1), atol=1e-5)
    scores = induction_scores(lm, bank, sequences=1, tokens=6)
    assert scores.shape == (2, 3, 4) and np.abs(scores[0] - scores[1]).max() > 1e-4


def test_batches_and_budget_change_nothing():
    lm = language_model("llama")
    readings = [Reading(prompt(13, n), ((1, 5),)) for n in range(5)]
    told = []
    found = last_attention(lm, readings, budget_bytes=1, progress=lambda *done: told.append(done))
    np.testing.assert_allclose(last_attention(lm, readings), found, atol=1e-6)
    assert told == [(n, 5) for n in range(1, 6)]


def hooked(lm, ids, layer=None, head=None, more=None):
    """Return the last token's log-probabilities and what enters each output projection there."""
    parts, kept, width = lm.architecture, {}, lm.architecture.head_width

    def enter(n):
        def hook(_, args):
            kept[n] = args[0].view(len(ids), -1)[-1].clone()
            if n == layer:
                changed = args[0].clone()
                changed.view(len(ids), -1)[-1, head * width : (head + 1) * width] += more
                return (changed, *args[1:])
            return None

        return hook

    hooks = [parts.o_proj(n).register_forward_pre_hook(enter(n)) for n in range(parts.num_layers)]
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([ids])).logits[0, -1]
    for hook in hooks:
        hook.remove()
    return logits.log_softmax(-1), kept


@pytest.mark.parametrize("arch", [*tiny.ARCHITECTURES, "llama-bank"])
def test_a_heads_mean_output_is_added_at_the_last_token(arch):
    lm = language_model(arch.removesuffix("-bank"))
    bank = random_bank(lm) if arch.endswith("bank") else None
    shown = [Reading(prompt(14 + n, n), variant=n % 2) for n in range(4)]
    asked = [Reading(prompt(7 + n, 10 + n), (), 40 + n, variant=n % 2) for n in range(2)]
    found = vector_effects(lm, shown, asked, bank)
    width = lm.architecture.head_width
    for reading, ours in zip(asked, found, strict=True):
        with bank.routed([reading.variant]) if bank else nullcontext():
            own = [r for r in shown if bank is None or r.variant == reading.variant]
            outputs = [hooked(lm, r.ids)[1] for r in own]
            plain = hooked(lm, reading.ids)[0][reading.answer]
            for layer in range(3):
                mean = torch.stack([one[layer] for one in outputs]).mean(0)
                for head in range(4):
                    more = mean[head * width : (head + 1) * width]
                    logs = hooked(lm, reading.ids, layer, head, more)[0]
                    change = float(logs[reading.answer] - plain)
                    assert ours[layer, head] == pytest.approx(change, abs=1e-4)


def test_a_prompt_is_not_read_anew_for_every_head():
    lm, tokens = language_model("llama"), 0

    def count(_, args):
        nonlocal tokens
        tokens += args[0].numel()

    hook = lm.model.get_input_embeddings().register_forward_pre_hook(count)
    vector_effects(lm, [Reading(prompt(14))], [Reading(prompt(60), (), 40)])
    hook.remove()
    # Twelve heads: whole prompts would be 720 tokens.
    assert 60 <= tokens < 360


def test_a_small_budget_adds_the_same():
    lm = language_model("llama")
    shown, asked = [Reading(prompt(14))], [Reading(prompt(7), (), 40)]
    np.testing.assert_allclose(
        vector_effects(lm, shown, asked, budget_bytes=1),
        vector_effects(lm, shown, asked),
        atol=1e-5,
    )


def test_what_cannot_be_read_is_said():
    lm = language_model("llama")
    with pytest.raises(UserError, match="sets of places from 0 to 6"):
        last_attention(lm, [Reading(prompt(7), ((7,),))])
    with pytest.raises(UserError, match="2 to 284 different tokens"):
        induction_scores(lm, tokens=1000)
    with pytest.raises(UserError, match="more than the context"):
        induction_scores(lm, tokens=200)
    bank = random_bank(lm)
    with pytest.raises(UserError, match="variant 1 is asked"):
        vector_effects(lm, [Reading(prompt(7))], [Reading(prompt(7), (), 4, 1)], bank)
    assert last_attention(lm, []).shape == (0, 0, 3, 4)
