"""A request's ids are those of prompt and answer tokenized as one text."""

import dataclasses
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

import tiny
from adaptlens.errors import UserError
from adaptlens.lm.prefix import boundaries
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.score import encode
from adaptlens.types import Part, Prompt

WORDS = st.text(alphabet="Input Output:\n\n the negative positive é漢", max_size=40)


def asked(text, *answers):
    return Prompt((Part("query", text),), answers)


def assert_whole(lm, prompts, requests):
    for prompt, request in zip(prompts, requests, strict=True):
        for answer, ids in zip(prompt.answers, request.answers_ids, strict=True):
            assert list(request.prompt_ids + ids) == lm.encode(prompt.text + answer)
            assert ids


def sentencepiece_like(**settings):
    """Return a tokenizer as SentencePiece makes them: blanks as "▁", also before the text."""
    tokens = ["<unk>", *"▁abcdefgh\n.", "▁a", "▁ab", "ab", "cd", "▁cd", "abcd", "▁▁"]
    merges = [("▁", "a"), ("▁a", "b"), ("a", "b"), ("c", "d"), ("▁", "cd"), ("ab", "cd")]
    inside = Tokenizer(
        models.BPE({t: i for i, t in enumerate(tokens)}, [*merges, ("▁", "▁")], unk_token="<unk>")
    )
    inside.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inside, unk_token="<unk>", **settings)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(WORDS, st.lists(WORDS.filter(bool), min_size=1, max_size=3))), st.text())
def test_any_prompt_and_answers_join_to_the_ids_of_the_whole_text(pairs, stem):
    lm = tiny.tiny_lm("llama")
    prompts = [asked("Instruction " + stem + text, *answers) for text, answers in pairs]
    assert_whole(lm, prompts, encode(lm, prompts))


@pytest.mark.parametrize("bos", [True, False])
def test_a_clean_seam_keeps_the_prompts_own_tokens(bos):
    lm, work = tiny.tiny_lm("llama", bos=bos), ForwardStats()
    (request,) = encode(lm, [asked("Output:", " negative", " positive")], work=work)
    assert list(request.prompt_ids) == lm.encode("Output:")
    assert (request.prompt_ids[0] == 1) == bos
    assert work.seams_moved == 0


def test_a_token_across_the_seam_is_scored_for_all_answers_alike():
    lm, work = tiny.tiny_lm("llama"), ForwardStats()
    # "th" and "the" are tokens: "t" + "he" is one token, "t" + "x" two.
    prompt = asked("Output: a t", "he", "x")
    (request,) = encode(lm, [prompt], work=work)
    assert work.seams_moved == 1
    assert list(request.prompt_ids) == lm.encode("Output: a")
    assert [len(ids) for ids in request.answers_ids] == [1, 2]
    assert_whole(lm, [prompt], [request])


def test_an_answer_without_its_space_after_a_trailing_space_joins_it():
    lm, work = tiny.tiny_lm("llama"), ForwardStats()
    prompt = asked("Output: ", "the", "positive")
    (request,) = encode(lm, [prompt], work=work)
    assert list(request.prompt_ids) == lm.encode("Output:")
    assert_whole(lm, [prompt], [request])
    assert work.seams_moved == 1


def test_an_empty_prompt_begins_with_bos_or_else_eos():
    with_bos, without = tiny.tiny_lm("llama"), tiny.tiny_lm("llama", bos=False)
    assert encode(with_bos, [asked("", "Input")])[0].prompt_ids == (1,)
    assert encode(without, [asked("", "Input")])[0].prompt_ids == (2,)
    bare = dataclasses.replace(without, eos_ids=())
    with pytest.raises(UserError, match="neither a BOS nor an EOS token"):
        encode(bare, [asked("", "Input")])


def test_an_answer_without_tokens_is_refused():
    with pytest.raises(UserError, match="the answer '' adds no token"):
        encode(tiny.tiny_lm("llama"), [asked("Output:", "")])


def shared_prompts(draws=2, queries=6):
    """Return prompts of several draws of demonstrations under one instruction, all long."""
    instruction = "Say whether the Input is positive or negative.\n\n" * 6
    found = []
    for draw in range(draws):
        demos = "".join(f"Input: the {draw}{i} put it\nOutput: negative\n\n" for i in range(12))
        found += [
            asked(f"{instruction}{demos}Input: on {q} the\nOutput:", " positive", " negative")
            for q in range(queries)
        ]
    return found


def counted_tokenizer(lm, monkeypatch):
    """Return the lengths of all texts that the tokenizer is called with from now on."""
    sizes, whole = [], type(lm.tokenizer).__call__

    def counting(self, texts, **named):
        sizes.extend([len(texts)] if isinstance(texts, str) else map(len, texts))
        return whole(self, texts, **named)

    monkeypatch.setattr(type(lm.tokenizer), "__call__", counting)
    return sizes


def test_a_shared_beginning_is_tokenized_about_once(monkeypatch):
    lm, prompts = tiny.tiny_lm("llama"), shared_prompts(queries=20)
    given_characters = sum(len(p.text) * 3 for p in prompts)
    sizes = counted_tokenizer(lm, monkeypatch)
    requests = encode(lm, prompts)
    assert sum(sizes) < given_characters / 4
    assert_whole(lm, prompts, requests)


@pytest.mark.parametrize("chat", [True, False])
def test_shared_beginnings_give_the_ids_of_the_whole_text(chat):
    lm, prompts = tiny.tiny_lm("llama", chat=chat), shared_prompts()
    assert_whole(lm, prompts, encode(lm, prompts))


def test_a_tokenizer_that_marks_the_start_of_a_text_is_found_out():
    lm = dataclasses.replace(tiny.tiny_lm("llama"), tokenizer=sentencepiece_like(), prefix_ids=())
    prompts = [asked("ab cd abcd. " * 40 + text, " ab", "cd") for text in ("a", "ab", "abc", "h")]
    assert_whole(lm, prompts, encode(lm, prompts))


class Lengths:
    """A stand-in for a tokenizer whose last token is the length of the whole text."""

    is_fast = True

    def __call__(self, texts, **_):
        one = isinstance(texts, str)
        ids = [[*map(ord, t[:-1]), len(t)] for t in ([texts] if one else texts)]
        spans = [[(i, i + 1) for i in range(len(row))] for row in ids]
        return SimpleNamespace(
            input_ids=ids[0] if one else ids, offset_mapping=spans[0] if one else spans
        )


def test_where_pieces_disagree_with_the_whole_texts_are_tokenized_whole():
    lm = dataclasses.replace(tiny.tiny_lm("llama"), tokenizer=Lengths(), prefix_ids=())
    texts = ["a" * 300 + end for end in ("b", "c", "dd", "eee")]
    assert boundaries.encode_texts(lm, texts) == [[*map(ord, t[:-1]), len(t)] for t in texts]
