"""Vectors act where answers are predicted, as a hook on plain forward passes makes them act."""

import contextlib
import dataclasses
import random

import numpy as np
import pytest
import safetensors.torch
import torch

import tiny
from adaptlens.errors import UserError
from adaptlens.lm.adapters.shifts import FILE, StateShifts
from adaptlens.lm.generate import generate
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.score import Request, score
from adaptlens.lm.states import Place, states_at
from tests.lm.test_score import assert_same, forest, tokens

LAYERS = (0, 1, 1)


def shifts(lm, scale=1.0):
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(len(LAYERS), lm.architecture.width, generator=generator)
    return StateShifts(lm, LAYERS, scale * vectors)


@contextlib.contextmanager
def added(lm, weights, variant, start):
    """Add the variant's vector behind its layer, from token `start` of a plain pass on."""

    def add(_, __, out):
        states = (out[0] if isinstance(out, tuple) else out).clone()
        states[:, start:] += weights.vectors[variant]
        return (states, *out[1:]) if isinstance(out, tuple) else states

    hook = lm.architecture.layers[weights.layers[variant]].register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()


def one_by_one(lm, requests, weights):
    found = []
    for request in requests:
        start = len(request.prompt_ids) - 1
        values = []
        for answer in request.answers_ids:
            ids = torch.tensor([request.prompt_ids + answer])
            with torch.no_grad(), added(lm, weights, request.variant, start):
                logs = lm.model(input_ids=ids).logits[0].log_softmax(-1)
            values.append(sum(float(logs[start + i, t]) for i, t in enumerate(answer)))
        found.append(np.array(values))
    return found


def by_variants(requests):
    return [dataclasses.replace(r, variant=v) for r in requests for v in range(len(LAYERS))]


@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_scores_are_those_of_plain_passes_with_the_vector_added(arch):
    lm = tiny.tiny_lm(arch)
    weights, requests, work = shifts(lm), by_variants(forest(queries=12)), ForwardStats()
    found = score(lm, requests, weights, work=work)
    assert_same(found, one_by_one(lm, requests, weights), requests)
    plain = score(lm, requests)
    assert max(abs(a - b).max() for a, b in zip(found, plain, strict=True)) > 0.01
    assert work.unshared == 0


def test_many_vectors_cost_a_token_each_and_the_prompt_once():
    lm = tiny.tiny_lm("llama")
    source = random.Random(1)
    instruction = tokens(source, 30)
    prompts = [Request(instruction + tokens(source, 12), ((3,), (4,))) for _ in range(14)]
    many = shifts(lm).pick([0, 1, 2] * 20)
    requests = [dataclasses.replace(r, variant=v) for r in prompts for v in range(60)]
    plain, work = ForwardStats(), ForwardStats()
    score(lm, prompts, work=plain)
    found = score(lm, requests, many, work=work)
    again = score(lm, by_variants(prompts), shifts(lm))
    for place in range(len(prompts)):
        for variant in range(60):
            np.testing.assert_allclose(
                found[60 * place + variant], again[3 * place + variant % 3], atol=1e-5
            )
    assert work.tokens_computed < plain.tokens_computed + 60 * len(prompts) + 200


def test_a_model_that_shares_nothing_gives_the_same():
    lm = tiny.tiny_lm("llama")
    alone, requests = dataclasses.replace(lm, shares_prefix=False), by_variants(forest(queries=4))
    assert_same(
        score(alone, requests, shifts(alone)), one_by_one(lm, requests, shifts(lm)), requests
    )
    short = requests[:6]
    assert generate(alone, short, 6, weights=shifts(alone)) == generate(
        lm, short, 6, weights=shifts(lm)
    )


def test_a_prompt_that_begins_with_another_whole_prompt_is_read_on_its_own():
    lm = tiny.tiny_lm("llama")
    short = (5, 6, 7, 8, 9)
    requests = [Request(short, ((3,), (4, 5))), Request((*short, 10, 11, 12), ((3,), (4, 5)))]
    work = ForwardStats()
    found = score(lm, requests, shifts(lm), work=work)
    assert_same(found, one_by_one(lm, requests, shifts(lm)), requests)
    assert work.unshared == 2  # Both sequences of its two answers.


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_greedy_text_is_that_of_plain_passes(arch):
    lm = tiny.tiny_lm(arch)
    weights, requests = shifts(lm, 4.0), by_variants(forest(queries=3))
    found = generate(lm, requests, 6, weights=weights)
    wanted = []
    for request in requests:
        ids = torch.tensor([request.prompt_ids])
        for _ in range(6):
            with (
                torch.no_grad(),
                added(lm, weights, request.variant, len(request.prompt_ids) - 1),
            ):
                new = lm.model(input_ids=ids).logits[0, -1].argmax()
            ids = torch.cat([ids, new[None, None]], dim=1)
            if int(new) in lm.eos_ids:
                break
        written = [t for t in ids[0, len(request.prompt_ids) :].tolist() if t not in lm.eos_ids]
        wanted.append(
            lm.tokenizer.decode(
                written, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
    assert found == wanted
    assert found != generate(lm, requests, 6)


def test_states_within_the_prompt_are_the_bases_and_those_of_answers_are_not():
    lm, ids = tiny.tiny_lm("llama"), tuple(range(5, 17))
    weights = shifts(lm)
    places = [
        Place(ids[:6], (1, 2), 1, 0),
        Place(ids[:10], (1,), 1, 1),
        Place(ids, (1, 2), 1, 3),
    ]
    found, plain = states_at(lm, places, weights), states_at(lm, places)
    np.testing.assert_allclose(found.residual[0], plain.residual[0], atol=1e-5)
    moved = found.residual[1] - plain.residual[1]
    np.testing.assert_allclose(moved[:2], 0, atol=1e-5)
    np.testing.assert_allclose(moved[2], weights.vectors[1], atol=1e-5)
    with torch.no_grad(), added(lm, weights, 1, 9):
        out = lm.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    np.testing.assert_allclose(found.final[2], out.hidden_states[-1][0, -2:].mean(0), atol=2e-5)


def test_a_pass_that_is_not_told_where_fails_instead_of_guessing():
    lm = tiny.tiny_lm("llama")
    with shifts(lm).routed([0]), pytest.raises(RuntimeError, match="not told"):
        lm.model(input_ids=torch.tensor([[4, 5]]))


def test_a_model_of_unknown_inside_is_refused():
    lm = dataclasses.replace(tiny.tiny_lm("llama"), architecture=None)
    with pytest.raises(UserError, match="no vector can be added"):
        StateShifts(lm, (0,), torch.zeros(1, 8))


def test_vectors_are_written_with_their_layers(tmp_path):
    lm = tiny.tiny_lm("llama")
    weights = shifts(lm).pick([2, 0])
    weights.save(tmp_path, ["draw=0", "draw=1"])
    saved = safetensors.torch.load_file(tmp_path / "draw=1" / FILE)
    torch.testing.assert_close(saved["vector"], shifts(lm).vectors[0])
    with safetensors.safe_open(tmp_path / "draw=0" / FILE, framework="pt") as file:
        assert '"layer": "1"' in file.metadata()["adaptlens"]
