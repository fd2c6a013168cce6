"""Hidden states over the prefix tree are those of separate passes, the last before the norm."""

import dataclasses

import numpy as np
import pytest
import torch

import tiny
from adaptlens.errors import UserError
from adaptlens.lm.load import assemble
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.score import Request
from adaptlens.lm.states import Place, states_at
from tests.lm.test_score import Shifted, forest

CLOSE = 2e-5


def hugging_face(lm, prompt):
    """Return the last token's `hidden_states`, [layers + 1, width]; the last is after the norm."""
    with torch.no_grad():
        out = lm.model(input_ids=torch.tensor([prompt]), output_hidden_states=True)
    return np.stack([state[0, -1].numpy() for state in out.hidden_states])


def last_tokens(requests):
    return [Place(request.prompt_ids, variant=request.variant) for request in requests]


@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_states_are_hugging_faces_with_the_last_one_before_the_norm(arch):
    lm, requests = tiny.tiny_lm(arch), forest(queries=30)
    found = states_at(lm, last_tokens(requests))
    assert found.residual.shape == (
        len(requests),
        lm.architecture.num_layers + 1,
        lm.architecture.width,
    )
    for i in (0, 7, len(requests) - 2, len(requests) - 1):
        wanted = hugging_face(lm, requests[i].prompt_ids)
        np.testing.assert_allclose(found.residual[i, :-1], wanted[:-1], atol=CLOSE, rtol=0)
        np.testing.assert_allclose(found.final[i], wanted[-1], atol=CLOSE, rtol=0)
    with torch.no_grad():
        normed = lm.architecture.final_norm(torch.from_numpy(found.residual[:, -1]))
    np.testing.assert_allclose(normed.numpy(), found.final, atol=CLOSE, rtol=0)


def test_states_without_shared_prefixes_are_the_same():
    lm, requests, work = tiny.tiny_lm("gemma3"), forest(queries=4), ForwardStats()
    alone = dataclasses.replace(lm, shares_prefix=False)
    places = last_tokens(requests)
    shared, own = states_at(lm, places), states_at(alone, places, work=work)
    np.testing.assert_allclose(shared.residual, own.residual, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(shared.final, own.final, atol=CLOSE, rtol=0)
    assert work.unshared == len(requests)


@pytest.mark.parametrize("mixes_rows", [True, False])
def test_each_prompt_is_read_by_its_variant(mixes_rows):
    lm = tiny.tiny_lm("llama")
    prompts = [(5, 6, 7), (5, 6, 8)]
    requests = [Request(prompt, (), variant) for variant in (2, 0) for prompt in prompts]
    found = states_at(lm, last_tokens(requests), Shifted(lm, mixes_rows))
    embedded = lm.model.get_input_embeddings().weight
    for request, residual in zip(requests, found.residual, strict=True):
        wanted = embedded[request.prompt_ids[-1]] + request.variant
        np.testing.assert_allclose(residual[0], wanted.numpy(), atol=1e-6)


def test_the_same_prompt_is_read_once():
    lm, work = tiny.tiny_lm("llama"), ForwardStats()
    found = states_at(lm, [Place((5, 6, 7))] * 4, work=work)
    assert work.tokens_computed == 3
    assert (found.residual[0] == found.residual[3]).all()


@pytest.mark.parametrize("arch", ["gpt2", "opt"])
def test_rows_wider_than_a_learned_table_of_positions_are_read(arch):
    model = tiny.tiny_model(arch, max_position_embeddings=24)
    lm = assemble(model, tiny.tiny_tokenizer(), name="short", digest="")
    shared = tuple(range(5, 15))
    prompts = [(*shared, 20 + i % 50, 80 + i // 50, *([7] * (i % 3))) for i in range(90)]
    found = states_at(lm, [Place(ids) for ids in prompts])
    for i in (0, 44, 89):
        np.testing.assert_allclose(
            found.final[i], hugging_face(lm, prompts[i])[-1], atol=CLOSE, rtol=0
        )


def test_a_model_whose_inside_is_not_known_is_refused():
    lm = dataclasses.replace(tiny.tiny_lm("llama"), architecture=None, shares_prefix=False)
    with pytest.raises(UserError, match="its hidden states cannot be read"):
        states_at(lm, [Place((5, 6, 7))])
