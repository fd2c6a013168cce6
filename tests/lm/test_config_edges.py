"""Configurations at their edges: nothing where a number is usual, keys left out, odd widths."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tiny
from adaptlens.errors import UserError
from adaptlens.lm import parity
from adaptlens.lm.architecture import architecture, attending_layers, attention_implementation
from adaptlens.lm.flops import attention_flops, matrix_parameters, not_counted
from adaptlens.lm.generate import generate
from adaptlens.lm.load import assemble, load
from adaptlens.lm.prefix.boundaries import Request
from adaptlens.lm.score import score
from adaptlens.measure.cost import query_flops

pytestmark = pytest.mark.filterwarnings("ignore")
EDGES: list[tuple[str, dict[str, Any]]] = [
    ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
    ("gemma2", {"attn_logit_softcapping": None}),
    ("gemma2", {"final_logit_softcapping": None}),
    ("gemma3", {"final_logit_softcapping": 5.0}),
    ("gemma3", {"attn_logit_softcapping": 5.0}),
    ("mistral", {"sliding_window": None}),
    ("phi3", {"sliding_window": None}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    ("llama", {"head_dim": 12}),
    ("llama", {"num_key_value_heads": None}),
    ("llama", {"num_key_value_heads": 1}),
    ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    ("llama", {"eos_token_id": None, "bos_token_id": None, "pad_token_id": None}),
    ("llama", {"eos_token_id": [2, 7]}),
    ("gpt_neox", {"use_parallel_residual": False, "attention_bias": False}),
    ("gptj", {"n_inner": 40, "tie_word_embeddings": True}),
    ("gpt2", {"n_inner": 40, "scale_attn_by_inverse_layer_idx": True}),
    ("gpt2", {"scale_attn_weights": False, "tie_word_embeddings": False}),
    ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    ("opt", {"enable_bias": False, "layer_norm_elementwise_affine": False}),
]
STEM = tuple(range(5, 25))
REQUESTS = [Request((*STEM, n), ((40,), (41, 42))) for n in (30, 31, 32)]


@pytest.mark.parametrize(("arch", "changes"), EDGES)
def test_a_model_at_an_edge_loads_and_scores_as_it_does_itself(
    arch: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    model = tiny.tiny_model(arch, **changes)
    model.save_pretrained(tmp_path)
    tiny.tiny_tokenizer().save_pretrained(tmp_path)
    lm = load(str(tmp_path), device="cpu")
    assert lm.architecture is not None
    for request, found in zip(REQUESTS, score(lm, REQUESTS), strict=True):
        for answer, value in zip(request.answers_ids, found, strict=True):
            with torch.no_grad():
                ids = torch.tensor([[*request.prompt_ids, *answer]])
                logs = model(input_ids=ids).logits[0].log_softmax(-1)
            start = len(request.prompt_ids) - 1
            wanted = sum(float(logs[start + i, token]) for i, token in enumerate(answer))
            assert value == pytest.approx(wanted, abs=1e-4)


def test_the_attention_code_is_one_that_the_family_has() -> None:
    for arch in tiny.ARCHITECTURES:
        config = tiny.tiny_config(arch)
        for key in ("attn_logit_softcapping", "final_logit_softcapping"):
            if hasattr(config, key):
                setattr(config, key, None)
        chosen = attention_implementation(config)
        made = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=chosen)
        assert made.config._attn_implementation == chosen


def test_layers_of_a_kind_whose_attention_is_not_known_leave_behavior_only(monkeypatch) -> None:
    """The gate's texts are shorter than such chunks, so it would not tell the difference."""
    model = tiny.tiny_model("llama")
    with monkeypatch.context() as patched:
        kinds = ["full_attention", "chunked_attention", "full_attention"]
        patched.setattr(type(model.config), "layer_types", kinds, raising=False)
        with pytest.raises(UserError, match="layers of type 'chunked_attention'") as caught:
            architecture(model)

    def unread(_: object) -> None:
        raise caught.value

    monkeypatch.setattr(parity, "architecture", unread)
    lm = assemble(model, tiny.tiny_tokenizer(), name="odd", digest="")
    assert (lm.architecture, lm.shares_prefix) == (None, False)
    assert "chunked_attention" in lm.notes[0] and "only its behavior" in lm.notes[0]


@pytest.mark.parametrize("shares_prefix", [True, False])
def test_penalties_of_the_generation_settings_play_no_part(shares_prefix: bool) -> None:
    lm = dataclasses.replace(tiny.tiny_lm("llama"), shares_prefix=shares_prefix)
    requests = [Request((*STEM, n)) for n in (30, 31)]
    plain = generate(lm, requests, 8)
    own = lm.model.generation_config
    own.repetition_penalty, own.no_repeat_ngram_size, own.suppress_tokens = 50.0, 1, [40, 41]
    assert generate(lm, requests, 8) == plain
    assert lm.model.generation_config is own


# Models without attention


def mamba(**changes: Any) -> Any:
    config = transformers.MambaConfig(
        vocab_size=tiny.VOCAB, hidden_size=32, num_hidden_layers=2, state_size=4, **changes
    )
    return transformers.AutoModelForCausalLM.from_config(config)


def test_layers_that_attend_are_counted() -> None:
    hybrid = transformers.RecurrentGemmaConfig(num_hidden_layers=6)
    assert attending_layers(hybrid) == 2
    assert attending_layers(mamba().config) == 0
    assert attending_layers(tiny.tiny_config("gemma2")) == 3
    assert not_counted(tiny.tiny_config("llama")) == ""
    assert "4 of its 6 layers mix tokens without attention" in not_counted(hybrid)


def test_a_model_without_attention_costs_its_matrices_and_says_what_is_left_out() -> None:
    lm = assemble(mamba(), tiny.tiny_tokenizer(), name="m", digest="")
    assert attention_flops(lm, 1000.0) == 0
    # 10 prompt and 2 answer tokens through every matrix, and 2 through the unembedding.
    assert query_flops(lm, 10, 0, 2) == 2 * matrix_parameters(lm) * 12 + 2 * 320 * 32 * 2
    assert any("2 of its 2 layers mix tokens without attention" in note for note in lm.notes)
    assert np.isfinite(score(lm, [Request((5, 6), ((7,), (8,)))])[0]).all()
