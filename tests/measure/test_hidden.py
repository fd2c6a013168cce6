"""States are read where their position says, and stored as asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from adaptlens.adapt.full_tuning import FullTuning
from adaptlens.adapt.lora import InstructionTuning
from adaptlens.adapt.prompting import InContext, ZeroShot
from adaptlens.errors import UserError
from adaptlens.lm.states import Place, lens, readout, states_at
from adaptlens.measure.hidden import POSITIONS, Hidden, _lens_tokens
from adaptlens.measure.resemblance import Resemblance
from adaptlens.prompts import render
from tests.prompts.test_controls import task


def hugging_face(lm, ids):
    with torch.no_grad():
        out = lm.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return [state[0].numpy() for state in out.hidden_states]


def tokens_within(lm, prompt, low, high):
    """Return the tokens whose last character lies in text[low:high], by growing prefixes."""
    return [
        i for i, (_, end) in enumerate(
            lm.tokenizer(prompt.text, add_special_tokens=False,
                         return_offsets_mapping=True).offset_mapping)
        if low < end <= high
    ]  # fmt: skip


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gemma3", "opt"])
def test_positions_are_means_of_hugging_faces_states_at_their_tokens(arch):
    lm = tiny.tiny_lm(arch)
    adapted = InContext(3).adapt(lm, task(), (0, 2))
    found = Hidden(positions=POSITIONS).measure(lm, task(), adapted).arrays
    before = len(lm.prefix_ids)
    for variant, q in ((0, 0), (1, 3)):
        query = task().test[q]
        prompt = adapted.write(variant, query)
        gold = render.answer(task(), query.target)
        ids = lm.encode(prompt.text)
        whole = lm.encode(prompt.text + gold)
        states = hugging_face(lm, whole)[1]
        spans = prompt.spans()
        wanted = {"last": [len(ids) - 1], "answer_first": [len(ids)],
                  "answer_mean": list(range(len(ids), len(whole)))}  # fmt: skip
        for name, role in (("instruction", "instruction"), ("labels", "demo_target")):
            wanted[name] = [
                before + i
                for own, low, high in spans if own == role
                for i in tokens_within(lm, prompt, low, high)
            ]  # fmt: skip
        start = spans[-1][1]
        wanted["separator"] = [
            before + i
            for i in tokens_within(lm, prompt, start, len(prompt.text))
            if before + i < len(ids) - 1
        ]
        for name, places in wanted.items():
            array = found[f"{name}.01"]
            own = array[variant, q if array.shape[1] > 1 else 0]
            np.testing.assert_allclose(own, states[places].mean(0), atol=2e-5, err_msg=name)


def test_what_all_queries_share_is_stored_once():
    lm = tiny.tiny_lm("llama")
    adapted = InContext(3).adapt(lm, task(), (0, 2))
    measure = Hidden(positions=("instruction", "labels", "last"))
    found = measure.measure(lm, task(), adapted).arrays
    shapes = {name: found[f"{name}.final"].shape[:2] for name in measure.positions}
    assert shapes == {"instruction": (2, 1), "labels": (2, 1), "last": (2, 6)}


def test_positions_a_prompt_does_not_have_are_left_out():
    lm = tiny.tiny_lm("llama")
    found = Hidden(positions=("labels", "last")).measure(
        lm, task(), ZeroShot().adapt(lm, task(), ())
    )
    assert not any(name.startswith("labels") for name in found.arrays)
    assert found.arrays["last.00"].shape == (1, 6, lm.architecture.width)


def test_the_lens_of_the_last_layer_is_the_models_own_next_token():
    lm = tiny.tiny_lm("gemma2")
    adapted = ZeroShot().adapt(lm, task(), ())
    found = Hidden().measure(lm, task(), adapted).arrays["lens"]
    np.testing.assert_allclose(np.exp(found).sum(-1), 1, atol=1e-5)
    cue = len(lm.encode("x\nOutput:"))
    first = {lm.encode(f"x\nOutput: {choice}")[cue] for choice in task().choices}
    assert found.shape == (1, 6, lm.architecture.num_layers + 1, len(first) + 1)
    for q, query in enumerate(task().test):
        with torch.no_grad():
            logits = lm.model(torch.tensor([lm.encode(adapted.write(0, query).text)])).logits[0, -1]
        wanted = logits.log_softmax(-1)[sorted(first)].numpy()
        np.testing.assert_allclose(found[0, q, -1, :-1], wanted, atol=2e-5)


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gemma3", "opt", "olmo2"])
def test_the_readout_is_what_tells_logits_apart_through_the_final_norm(arch):
    lm = tiny.tiny_lm(arch)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in lm.model.parameters():  # Norms at their start scale by 1 and add 0.
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
    parts, tokens = lm.architecture, [3, 7, 9]
    states = 3 * torch.randn(5, parts.width, generator=draw)
    inside, final = readout(lm, tokens)
    with torch.no_grad():
        logits, at_zero = (
            parts.unembed(parts.final_norm(x))[:, tokens].numpy() for x in (states, 0 * states)
        )
        normed = parts.final_norm(states).numpy()
    told = logits - at_zero  # Less what biases add.
    told, read = (one[:, 1:] - one[:, :1] for one in (told, states.numpy() @ inside.T))
    ratio = told / read
    assert (ratio > 0).all()
    np.testing.assert_allclose(ratio[:, 0], ratio[:, 1], rtol=1e-3)
    after = normed @ (final[1:] - final[:1]).T
    bias = parts.unembed.bias
    add = 0 if bias is None else (bias[tokens[1:]] - bias[tokens[:1]]).detach().numpy()
    np.testing.assert_allclose(after + add, logits[:, 1:] - logits[:, :1], atol=1e-4)


def test_a_fully_tuned_model_is_read_through_its_own_head():
    lm = tiny.tiny_lm("llama")
    tuned = FullTuning(2, max_steps=2, learning_rate=0.05).adapt(lm, task(), (0, 1))
    found = Hidden().measure(lm, task(), tuned).arrays
    with tuned.weights.routed([1]):
        tokens = _lens_tokens(lm, task())
        own = readout(lm, tokens)[0]
        lens_own = lens(lm, np.stack([found["last.00"][1], found["last.01"][1]], 1), tokens)
    np.testing.assert_array_equal(found["readout"][1], own)
    np.testing.assert_array_equal(found["lens"][1, :, :2], lens_own)
    assert np.abs(found["readout"][1] - readout(lm, tokens)[0]).max() > 1e-3


def test_a_lens_in_chunks_is_the_same_lens():
    lm = tiny.tiny_lm("llama")
    states = np.random.default_rng(0).normal(size=(3, 5, lm.architecture.width)).astype(np.float32)
    whole = lens(lm, states, [4, 7])
    parts = lens(lm, states, [4, 7], chunk_bytes=1)
    np.testing.assert_allclose(whole, parts, atol=1e-6)


def test_an_untrained_adapter_leaves_every_state_as_it_was():
    lm = tiny.tiny_lm("llama")
    base = Hidden().measure(lm, task(), ZeroShot().adapt(lm, task(), ())).arrays
    tuned = InstructionTuning(2, max_steps=1).adapt(lm, task(), (0, 1))
    for _, b in tuned.weights.matrices(0).values():
        b.zero_()
    same = Hidden().measure(lm, task(), tuned).arrays
    for name in base:
        np.testing.assert_allclose(same[name][0], base[name][0], atol=2e-6)


def test_places_average_over_their_tokens():
    lm = tiny.tiny_lm("qwen3")
    found = states_at(lm, [Place((5, 6, 7, 8), (3, 1)), Place((5, 6, 7, 8), (1,))])
    states = hugging_face(lm, [5, 6, 7, 8])
    np.testing.assert_allclose(found.residual[0, 1], (states[1][1] + states[1][3]) / 2, atol=2e-5)
    np.testing.assert_allclose(found.residual[1, 1], states[1][3], atol=2e-5)


def test_states_are_kept_in_half_precision_unless_too_large_for_it():
    lm = tiny.tiny_lm("llama")
    adapted = ZeroShot().adapt(lm, task(), ())
    found = Hidden(keep="float16").measure(lm, task(), adapted).arrays
    assert found["last.01"].dtype == np.float16
    with torch.no_grad():
        lm.model.get_input_embeddings().weight.mul_(1e8)
    with pytest.raises(UserError, match="does not fit float16; store states as float32"):
        Hidden(keep="float16").measure(lm, task(), adapted)


def test_resemblance_is_the_mean_over_the_draws_examples():
    lm = tiny.tiny_lm("llama")
    one = replace(task(), test=(task().train[4], *task().test))
    adapted = InContext(3).adapt(lm, one, (0, 1))
    found = Resemblance(measures=("chrf", "bm25", "embedding")).measure(lm, one, adapted).arrays
    from sacrebleu.metrics import CHRF

    chrf = CHRF()
    wanted = np.mean([chrf.sentence_score(e.input, [one.test[2].input]).score
                      for e in adapted.examples[1]])  # fmt: skip
    assert found["chrf"].shape == (2, 7)
    assert found["chrf"][1, 2] == pytest.approx(wanted)
    assert np.abs(found["embedding"]).max() <= 1
