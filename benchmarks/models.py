"""The models that benchmarks take by name: any `adaptlens` takes, and shapes with random weights.

`gemma-like` is a small Gemma 3: a vocabulary of 262,144, heads of width 256, one head of keys and
values, an attention window of 512 in five layers of six.
"""

import functools
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Gemma3TextConfig, GPT2Config, LlamaConfig

from adaptlens.lm.load import LM, assemble, load
from adaptlens.lm.weights import DTYPES
from adaptlens.models import shipped

_NO_MARKS = {"bos_token_id": 0, "eos_token_id": 0}
_LLAMA_3: dict[str, Any] = {
    "vocab_size": 128256,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 4096,
    **_NO_MARKS,
}
SHAPES: dict[str, Any] = {
    "tiny": functools.partial(GPT2Config, n_layer=2, n_head=2, n_embd=32, **_NO_MARKS),
    "gpt2": functools.partial(GPT2Config, **_NO_MARKS),
    "llama-18m": functools.partial(
        LlamaConfig,
        vocab_size=8192,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=6,
        max_position_embeddings=8192,
        initializer_range=0.06,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
    ),
    "gemma-like": functools.partial(
        Gemma3TextConfig,
        vocab_size=262144,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=512,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        **_NO_MARKS,
        pad_token_id=0,
    ),
    "llama-miniature": functools.partial(
        LlamaConfig,
        vocab_size=2048,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        **_NO_MARKS,
    ),
    "llama-1b": functools.partial(
        LlamaConfig, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, **_LLAMA_3
    ),
    "llama-8b": functools.partial(
        LlamaConfig, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, **_LLAMA_3
    ),
}
"""Name -> what makes the configuration."""


def build(name: str, tokenizer: Any = None, *, device: str = "cpu", dtype: str = "float32") -> LM:
    """Return a model of a shape in `SHAPES` with random weights, or one that `adaptlens` loads.

    Args:
        name: of the shape, or what `--model` takes elsewhere.
        tokenizer: of a random model; None for one that writes numbers as tokens.
        device: where the weights are made.
        dtype: number format of the weights.
    """
    if name not in SHAPES:
        return load(name, device=device, dtype=dtype)
    transformers.set_seed(0)
    auto: Any = transformers.AutoModelForCausalLM
    with torch.device(device):
        made = auto.from_config(SHAPES[name](), dtype=DTYPES[dtype], attn_implementation="sdpa")
    return assemble(made, tokenizer or numbers(), name=f"random-{name}", digest="", dtype=dtype)


def numbers() -> Any:
    """Return a tokenizer for benchmarks that make token ids themselves."""
    words = Tokenizer(models.WordLevel({str(i): i for i in range(100)}, "0"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="0")


def byte_pairs(texts: list[str]) -> Any:
    """Return a byte-level BPE tokenizer of 8,192 entries trained on the texts."""
    inside = Tokenizer(models.BPE())
    inside.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inside.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,
        special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inside.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inside, eos_token="</s>")


def folder(name: str, texts: list[str], into: Path) -> Path:
    """Return a folder that Hugging Face loads the model from, written where there is none."""
    if name in shipped.names():
        return shipped.folder(name)
    lm = build(name, byte_pairs(texts) if name in SHAPES else None)
    lm.model.save_pretrained(into)
    lm.tokenizer.save_pretrained(into)
    return into
