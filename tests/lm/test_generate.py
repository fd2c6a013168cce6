"""Greedy decoding gives, token by token, what Hugging Face's `generate` gives."""

import dataclasses

import pytest
import torch

import tiny
from adaptlens.errors import UserError
from adaptlens.lm import generate as module
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.score import Request, generate
from tests.lm.test_score import Shifted, forest


def hugging_face(lm, prompt, max_new_tokens):
    out = lm.model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=lm.pad_id,
    )
    return lm.tokenizer.decode(
        out[0, len(prompt) :], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_greedy_text_is_hugging_faces(arch):
    lm, work = tiny.tiny_lm(arch), ForwardStats()
    requests = forest(queries=6)
    found = generate(lm, requests, 10, work=work)
    assert found == [hugging_face(lm, r.prompt_ids, 10) for r in requests]
    assert work.unshared == 0


def test_without_shared_prefixes_the_text_is_the_same():
    lm = tiny.tiny_lm("llama")
    alone = dataclasses.replace(lm, shares_prefix=False)
    requests = forest(queries=3)
    stop = ("a", "t")
    assert generate(lm, requests, 8, stop) == generate(alone, requests, 8, stop)


class Script:
    """A stand-in for the tokenizer that decodes token n to the n-th text of a script."""

    def __init__(self, texts):
        self.texts = texts

    def decode(self, ids, **_):
        return "".join(self.texts.get(token, "?") for token in ids)


def test_text_ends_before_the_first_stop_text_even_across_tokens():
    lm = tiny.tiny_lm("llama")
    ids = [int(t) for t in greedy_ids(lm, (5, 6, 7), 6)]
    texts = {token: f"<{place}>" for place, token in reversed(list(enumerate(ids)))}
    scripted = dataclasses.replace(lm, tokenizer=Script(texts))
    whole = scripted.tokenizer.decode(ids)
    stop = whole[4:7]
    assert generate(scripted, [Request((5, 6, 7))], 6, (stop,)) == [whole[: whole.index(stop)]]


def greedy_ids(lm, prompt, size):
    ids = torch.tensor([prompt])
    for _ in range(size):
        with torch.no_grad():
            new = lm.model(input_ids=ids).logits[0, -1].argmax()
        ids = torch.cat([ids, new[None, None]], dim=1)
    return ids[0, len(prompt) :]


def test_text_ends_before_an_eos_token():
    lm = tiny.tiny_lm("llama")
    ids = greedy_ids(lm, (5, 6, 7), 6).tolist()
    eos = ids[3]
    ending = dataclasses.replace(lm, eos_ids=(eos,))
    wanted = lm.tokenizer.decode(ids[: ids.index(eos)], clean_up_tokenization_spaces=False)
    work = ForwardStats()
    assert generate(ending, [Request((5, 6, 7))], 6, work=work) == [wanted]
    assert work.tokens_computed == 3 + ids.index(eos)


@pytest.mark.parametrize("mixes_rows", [True, False])
def test_each_prompt_is_continued_by_its_variant(mixes_rows):
    lm = tiny.tiny_lm("llama")
    prompts = [r.prompt_ids for r in forest(queries=6)]
    requests = [Request(p, (), v) for v in range(3) for p in prompts]
    found = generate(lm, requests, 6, weights=Shifted(lm, mixes_rows))
    for variant in range(3):
        with Shifted(lm, False).routed([variant]):
            wanted = [hugging_face(lm, prompt, 6) for prompt in prompts]
        assert found[variant * len(prompts) : (variant + 1) * len(prompts)] == wanted


def test_where_memory_runs_out_fewer_rows_are_continued_at_once(monkeypatch):
    lm, requests, work = tiny.tiny_lm("llama"), forest(queries=8), ForwardStats()
    wanted = generate(lm, requests, 5)
    whole = module._Writer.batch

    def cramped(self, numbers, *rest):
        if len(numbers) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, numbers, *rest)

    monkeypatch.setattr(module._Writer, "batch", cramped)
    assert generate(lm, requests, 5, work=work) == wanted
    assert work.halvings > 0


def test_a_prompt_without_room_for_the_continuation_is_refused():
    lm = tiny.tiny_lm("llama")
    with pytest.raises(UserError, match="request 0 has 260 tokens, 4 more than the context"):
        generate(lm, [Request((5,) * 250)], 10)
