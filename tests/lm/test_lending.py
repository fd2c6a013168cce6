"""A loaded model that is lent: what it is known by, and that it comes back as it was."""

from pathlib import Path

import pytest
import torch
import transformers

from adaptlens.errors import UserError
from adaptlens.lm.lending import described, lent
from adaptlens.lm.load import load
from adaptlens.models import identity, loaded, shape
from tiny import tiny_folder, tiny_model, tiny_tokenizer


def digest_of(model: object, folder: Path, tokenizer: object = None) -> str:
    return described(model, tokenizer or tiny_tokenizer(), folder).digest


def test_the_digest_is_of_weights_configuration_and_tokenizer_alone(tmp_path: Path):
    first = digest_of(tiny_model("llama"), tmp_path / "a")
    again = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder(tmp_path, "llama"))
    again.train()
    tokenizer = tiny_tokenizer()
    tokenizer(["one", "another text"], padding=True, truncation=True, max_length=3)
    assert digest_of(again, tmp_path / "b", tokenizer) == first

    with torch.no_grad():
        next(iter(again.parameters()))[0, 0] += 1e-3
    others = [
        digest_of(again, tmp_path / "c"),
        digest_of(tiny_model("llama", seed=1), tmp_path / "d"),
        digest_of(tiny_model("llama", rms_norm_eps=1e-3), tmp_path / "e"),
        digest_of(tiny_model("llama"), tmp_path / "f", tiny_tokenizer(chat=True)),
        digest_of(tiny_model("llama").to(torch.bfloat16), tmp_path / "g"),
    ]
    assert len({first, *others}) == 6


def test_a_lent_model_is_read_where_it_is_and_told_of_without_it(tmp_path: Path):
    model = tiny_model("llama")
    one = described(model, tiny_tokenizer(), tmp_path / "told")
    with loaded.held([one]):
        lm = load(one.source)
        fresh = load(f"untrained:{one.source}")
        assert lm.model is model
        assert fresh.model is not model
        assert lm.digest == identity.identify(one.source).digest == one.digest
        assert shape.num_parameters(identity.locate(one.source)) == sum(
            p.numel() for p in model.parameters()
        )
        assert shape.num_layers(one.source) == 3
        assert identity.label(f"untrained:{one.source}") == "untrained:LlamaForCausalLM"
        with pytest.raises(UserError, match="was asked for in bfloat16, but was given in float32"):
            load(one.source, dtype="bfloat16")
    with pytest.raises(UserError, match="can be had only in the call that it was given to"):
        load(one.source)


def test_a_model_comes_back_as_it_was_lent(tmp_path: Path):
    model = tiny_model("llama")
    model.train()
    model.lm_head.eval()
    model.set_attn_implementation("eager")
    first, *others = model.parameters()
    first.requires_grad_(True)
    first.grad = torch.ones_like(first)
    one = described(model, tiny_tokenizer(), tmp_path / "told")
    with lent(model), loaded.held([one]):
        load(one.source)
        assert not model.training
        assert first.grad is None
        assert model.config._attn_implementation == "sdpa"
    assert model.training
    assert not model.lm_head.training
    assert model.config._attn_implementation == "eager"
    assert first.requires_grad
    assert not any(parameter.requires_grad for parameter in others)
    assert torch.equal(first.grad, torch.ones_like(first))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: "no model", "an object of type str; expected a causal language model"),
        (lambda: tiny_model("llama").model, "a LlamaModel, which gives no logits of tokens"),
        (
            lambda: torch.compile(tiny_model("llama"), backend="eager"),
            "is compiled; .* before torch.compile",
        ),
        (lambda: tiny_model("llama").to("meta"), "in several places \\(meta\\)"),
        (lambda: tiny_model("llama").to(torch.float64), "has weights in float64; expected all"),
    ],
)
def test_what_cannot_be_lent_is_one_line(model, said: str, tmp_path: Path):
    with pytest.raises(UserError, match=said):
        described(model(), tiny_tokenizer(), tmp_path)


def test_an_adapter_of_peft_is_to_be_merged_or_given_as_an_arm(tmp_path: Path):
    import peft

    config = peft.LoraConfig(r=2, target_modules=["q_proj"])
    model = peft.get_peft_model(tiny_model("llama"), config)
    with pytest.raises(UserError, match=r"holds an adapter of PEFT's.*merge_and_unload"):
        described(model, tiny_tokenizer(), tmp_path)


def test_a_model_needs_its_tokenizer(tmp_path: Path):
    with pytest.raises(UserError, match="without its tokenizer; expected tokenizer="):
        described(tiny_model("llama"), None, tmp_path)
    with pytest.raises(UserError, match="tokenizer is an object of type str"):
        described(tiny_model("llama"), "gpt2", tmp_path)
