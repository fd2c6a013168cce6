"""Tiny GGUF files, as llama.cpp's converter writes a Llama; no network."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from tiny import CONTEXT_TOKENS, VOCAB, tiny_model, tiny_tokenizer

# Rows of a multiple of 32 numbers, the block of Q8_0.
SHAPE = {"intermediate_size": 64}
TYPES = gguf.GGMLQuantizationType

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def llama(seed: int = 0) -> Any:
    """Return the model that `tiny_gguf` writes."""
    return tiny_model("llama", seed, **SHAPE)


def tiny_gguf(
    path: Path,
    *,
    seed: int = 0,
    kind: Any = TYPES.F32,
    chat: bool = False,
    pre: str = "gpt-2",
    arch: str = "llama",
    **metadata: Any,
) -> Path:
    """Write the model of `llama` and the tokenizer of `tiny`; return the path.

    Args:
        path: of the file.
        seed: of the weights.
        kind: how matrices are stored; vectors are always F32.
        chat: with a chat template.
        pre: name of the pre-tokenizer.
        arch: name of the architecture.
        metadata: further keys, with __ for a dot; numbers as uint32.
    """
    model, tokenizer = llama(seed), tiny_tokenizer(chat=chat)
    writer = gguf.GGUFWriter(path, arch)
    config = model.config
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(VOCAB)
    _add_tokenizer(writer, tokenizer, pre)
    for key, value in metadata.items():
        add = writer.add_string if isinstance(value, str) else writer.add_uint32
        add(key.replace("__", "."), value)
    for name, weight in model.state_dict().items():
        own = _permuted(name, weight, config).numpy()
        stored = kind if own.ndim > 1 else TYPES.F32
        writer.add_tensor(_gguf_name(name), gguf.quants.quantize(own, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, pre: str) -> None:
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    special = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([token for token, _ in by_id])
    writer.add_token_types([3 if token in special else 1 for token, _ in by_id])
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(True)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _gguf_name(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{_NAMES[part]}.{suffix}"
    return f"{_NAMES[stem]}.{suffix}"


def _permuted(name: str, weight: torch.Tensor, config: Any) -> torch.Tensor:
    """Return queries' and keys' weights in llama.cpp's order, which interleaves rotated halves."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    part = name.split(".")[-2]
    if part not in heads:
        return weight
    halves = weight.reshape(heads[part], 2, -1, weight.shape[1])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def dequantized(weight: torch.Tensor, kind: Any) -> np.ndarray:
    """Return a matrix after a round trip through a tensor type, by gguf's own code."""
    return gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), kind), kind)
