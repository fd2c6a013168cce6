"""The model that lm-evaluation-harness is given, against its own Hugging Face backend."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM

from adaptlens.errors import UserError
from adaptlens.lm.lm_eval_model import AdaptlensLM
from adaptlens.lm.load import load

CONTEXTS = ("Input: a dull film \nOutput:", "Input: the plot is  ", "", "It was", "It was a")
CONTEXT = 64
CONTINUATIONS = (" negative", " positive and bright", "negative", " a")


@pytest.fixture(scope="module")
def ours():
    return AdaptlensLM(replace(load("reference", device="cpu"), context_tokens=CONTEXT))


@pytest.fixture(scope="module")
def theirs(ours):
    return HFLM(
        pretrained=ours.lm.model, tokenizer=ours.tokenizer, batch_size=4, max_length=CONTEXT
    )


def asked(kind, *arguments):
    return [Instance(kind, {}, one, number) for number, one in enumerate(arguments)]


def test_it_is_found_by_its_name():
    assert get_model("adaptlens") is AdaptlensLM


def test_log_likelihoods_and_greediness_are_those_of_the_hf_backend(ours, theirs):
    pairs = [(context, text) for context in CONTEXTS for text in CONTINUATIONS]
    first = theirs.generate_until(asked("generate_until", ("It was", {"max_gen_toks": 2})))
    requests = asked("loglikelihood", *pairs, ("It was", first[0]))
    found = ours.loglikelihood(requests, disable_tqdm=True)
    known = theirs.loglikelihood(requests, disable_tqdm=True)
    np.testing.assert_allclose([v for v, _ in found], [v for v, _ in known], atol=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in known]
    assert found[-1][1]
    assert not found[1][1]


def test_a_context_too_long_is_cut_at_its_beginning_as_the_hf_backend_does(ours, theirs):
    request = asked("loglikelihood", ("It was a film " * 30, " negative"))
    assert len(ours.tok_encode(request[0].args[0])) > ours.max_length
    found = ours.loglikelihood(request, disable_tqdm=True)
    known = theirs.loglikelihood(request, disable_tqdm=True)
    assert found[0][0] == pytest.approx(known[0][0], abs=1e-4)


def test_texts_are_read_in_the_same_windows(ours, theirs):
    # No text that repeats itself: of windows that begin alike the hf backend gives other numbers
    # than a forward pass for each (0.4.13).
    long = " ".join(f"word{number} plot" for number in range(40))
    requests = asked("loglikelihood_rolling", ("It was a film.",), (long,))
    found = ours.loglikelihood_rolling(requests, disable_tqdm=True)
    known = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    np.testing.assert_allclose(found, known, rtol=1e-6, atol=1e-4)


def test_generated_texts_are_the_same(ours, theirs):
    requests = asked(
        "generate_until",
        ("Input: a dull film\nOutput:", {"until": ["\n\n"], "max_gen_toks": 8}),
        ("It was", {"until": "a", "max_gen_toks": 8, "do_sample": False, "temperature": 0.0}),
        ("It was a film " * 30, {"until": [], "max_gen_toks": 4}),
    )
    found = ours.generate_until(requests, disable_tqdm=True)
    assert found == theirs.generate_until(requests, disable_tqdm=True)
    assert any(found)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"do_sample": True, "temperature": 0.7}, "do_sample: true"),
        ({"num_beams": 4}, "num_beams"),
        ({"repetition_penalty": 1.2}, "repetition_penalty"),
    ],
)
def test_what_is_not_greedy_is_refused_by_name(ours, kwargs, said):
    with pytest.raises(UserError, match=said):
        ours.generate_until(asked("generate_until", ("It was", kwargs)), disable_tqdm=True)


def test_other_arguments_are_refused_by_name():
    with pytest.raises(UserError, match="'parallelize'"):
        AdaptlensLM("reference", parallelize=True)


def test_messages_are_written_by_the_chat_template(ours, theirs, monkeypatch):
    with pytest.raises(UserError, match="no chat template"):
        ours.apply_chat_template([{"role": "user", "content": "a"}])
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    monkeypatch.setattr(ours.tokenizer, "chat_template", template)
    messages = [{"role": "user", "content": "It was"}]
    text = ours.apply_chat_template(messages)
    assert text == theirs.apply_chat_template(messages) == "<user>It was<assistant>"
    assert ours.chat_template(True) == template
    assert ours.tokenizer_name == theirs.tokenizer_name


def test_responses_are_kept_where_a_cache_is_asked_for(ours, tmp_path):
    from lm_eval.api.model import CacheHook, CachingLM

    cached = CachingLM(ours, str(tmp_path / "cache.db"))
    requests = asked("loglikelihood", ("It was", " a"))
    first = cached.loglikelihood(requests)
    assert [tuple(one) for one in cached.loglikelihood(requests)] == first
    cached.dbdict.close()
    ours.set_cache_hook(CacheHook(None))


def test_the_commands_own_device_is_no_wish_for_a_gpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert AdaptlensLM("reference", device="cuda:0").lm.device.type in ("cpu", "mps")
