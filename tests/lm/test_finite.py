"""What is no number is found where it arises, named, and nothing is kept of it."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
from tokenizers import normalizers

import tiny
from adaptlens.adapt.prompting import ZeroShot
from adaptlens.errors import UserError
from adaptlens.lm.generate import generate
from adaptlens.lm.load import LM, load
from adaptlens.lm.patching.patch import sweep
from adaptlens.lm.prefix.boundaries import Request
from adaptlens.lm.score import encode, score
from adaptlens.lm.states import Place, states_at
from adaptlens.lm.units import Pair
from adaptlens.measure.behavior import Behavior
from adaptlens.types import Part, Prompt
from tests.measure.test_behavior import CHOICE

BAD = [float("nan"), float("inf"), float("-inf")]


@contextlib.contextmanager
def spoiled(lm: LM, value: float) -> Iterator[None]:
    """Let the embedding of token 77 hold a value that is no number."""
    table = lm.model.get_input_embeddings().weight
    own = table[77, 3].clone()
    table[77, 3] = value
    try:
        yield
    finally:
        table[77, 3] = own


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_weight_that_is_no_number_is_named_at_load(
    value: float, dtype: str, tmp_path: Path
) -> None:
    """Also where only one token, which need not be in any text, would bring it out."""
    folder = tiny.tiny_folder(tmp_path, "gpt2")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["transformer.wte.weight"][319, 0] = value
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"1 of the 10240 numbers in its weight .*wte.weight are"):
        load(str(folder), dtype=dtype, device="cpu")


def test_a_weight_too_large_for_the_number_format_is_named(tmp_path: Path) -> None:
    folder = tiny.tiny_folder(tmp_path, "llama")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = 1e6
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert load(str(folder), device="cpu").notes == ()
    with pytest.raises(UserError, match=r"model.norm.weight are not finite.*float16"):
        load(str(folder), dtype="float16", device="cpu")


@pytest.mark.parametrize("shares_prefix", [True, False])
@pytest.mark.parametrize("value", BAD)
def test_a_score_that_is_no_number_names_its_query_and_answer(
    value: float, shares_prefix: bool
) -> None:
    lm = dataclasses.replace(tiny.tiny_lm("llama"), shares_prefix=shares_prefix)
    good = Request((5, 6, 7), ((8,), (9, 10)), query_id="fine")
    bad = Request((5, 6), ((8,), (77, 10)), query_id="q17")
    with spoiled(lm, value):
        score(lm, [good])
        with pytest.raises(UserError, match="answer 2 of query q17; expected a finite") as caught:
            score(lm, [good, bad])
        with pytest.raises(UserError, match="for the likeliest token of a generated text"):
            generate(lm, [Request((5, 77))], 3)
        with pytest.raises(UserError, match="for a hidden state"):
            states_at(lm, [Place((5, 77))])
        with pytest.raises(UserError, match="for the logits of the pairs"):
            sweep(lm, [Pair((5, 77, 6), (5, 7, 6), 8, 9, ((2,),))])
    assert "\n" not in str(caught.value)


def test_no_measurement_comes_of_a_score_that_is_no_number() -> None:
    lm = tiny.tiny_lm("llama")
    adapted = ZeroShot().adapt(lm, CHOICE, ())
    lm.model.lm_head.weight[40, 0] = float("nan")
    with pytest.raises(UserError, match="gives nan for the log-probability of answer"):
        Behavior().measure(lm, CHOICE, adapted)


def test_answers_that_become_the_same_tokens_are_refused() -> None:
    lm = tiny.tiny_lm("llama")
    lm.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    asked = Prompt((Part("query", "q:"),), (" yes", " no", " Yes"), "q3")
    with pytest.raises(UserError, match=r"' yes' and ' Yes' become the same tokens .*query q3"):
        encode(lm, [asked])


def test_an_answer_that_begins_another_is_no_fault() -> None:
    lm = tiny.tiny_lm("llama")
    (request,) = encode(lm, [Prompt((Part("query", "q:"),), (" a", " ab", " a"), "q3")])
    assert len(request.answers_ids) == 3
