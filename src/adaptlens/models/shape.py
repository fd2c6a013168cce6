"""What can be told of a model before it is loaded: its context, its states, its tokens."""

import functools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError, one_line
from adaptlens.models import gguf_file, identity, loaded, server

_CONTEXT = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
_WIDTH = ("hidden_size", "n_embd", "n_embed", "d_model")
_HEADS = ("num_attention_heads", "n_head", "num_heads")


def context_tokens(model: str) -> int | None:
    """Return how many tokens the model's configuration says it reads; None where it says nothing.

    Loading the model may find a lower limit (`lm.load`).
    """
    return _stated(_config(model), _CONTEXT)


def state_numbers(model: str) -> int:
    """Return how many numbers the states of one token are: layers + 2 vectors, the normed too.

    0 where the configuration does not say.
    """
    config = _config(model)
    layers, width = _stated(config, _LAYERS), _stated(config, _WIDTH)
    return (layers + 2) * width if layers and width else 0


def described(model: str) -> dict[str, Any]:
    """Return a model's family, parameters and exposure, as far as its files say.

    The family is the architecture's name; of a shipped model, and the exposure, what its card says.
    """
    found = identity.locate(model)
    path = found / "card.json"
    card = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    card = card if isinstance(card, dict) else {}
    return {
        "family": str(card.get("family") or _config(model).get("model_type", "")),
        "parameters": num_parameters(found),
        "exposure": str(card.get("exposure", "")),
    }


def num_parameters(path: Path) -> int:
    """Return how many numbers the weights of a folder or GGUF file are, tied ones once."""
    if path.is_file():
        return gguf_file.read(path).num_parameters
    if one := loaded.described_in(path):
        return one.num_parameters
    from safetensors import safe_open

    total = 0
    for part in identity.weight_files(path):
        with safe_open(part, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                total += math.prod(file.get_slice(name).get_shape())
    return total


def num_layers(model: str) -> int:
    """Return how many layers the model has; 0 where its configuration does not say."""
    return _stated(_config(model), _LAYERS) or 0


def num_heads(model: str) -> int:
    """Return how many attention heads a layer has; 0 where its configuration does not say."""
    return _stated(_config(model), _HEADS) or 0


def family(model: str) -> str:
    """Return the `model_type` of the model's configuration; empty where it does not say."""
    return str(_config(model).get("model_type", ""))


def width(model: str) -> int:
    """Return the width of the model's states; 0 where its configuration does not say."""
    return _stated(_config(model), _WIDTH) or 0


def lora_numbers(model: str, rank: int, targets: Sequence[str] | None = None) -> int:
    """Return about how many numbers one LoRA adapter of the model has.

    Every target is taken for a square matrix; without targets, queries and values are adapted;
    "all-linear" counts as seven, which a layer of a gated model has.
    """
    each = 7 if targets and tuple(targets) == ("all-linear",) else len(targets or "qv")
    return num_layers(model) * each * 2 * width(model) * rank


def token_counts(model: str, texts: Sequence[str]) -> list[int]:
    """Return how many tokens each text has, without special tokens.

    Where there is neither a tokenizer.json nor a byte-level vocabulary in a GGUF file, the number
    of bytes, which no text exceeds. The counts of a GGUF file may be off by a few tokens: its words
    are cut as GPT-2 cuts them, whatever it was made for.
    """
    source = identity.parse(model).source
    if server.is_named(source):
        return server.named(source).token_counts(texts)
    path = identity.locate(model)
    found = _from_gguf(path) if path.is_file() else _from_json(path / "tokenizer.json")
    if found is None:
        return [len(text.encode()) for text in texts]
    return [len(one.ids) for one in found.encode_batch(list(texts), add_special_tokens=False)]


@functools.lru_cache(maxsize=2)
def _from_json(path: Path) -> Any:
    from tokenizers import Tokenizer

    if not path.is_file():
        return None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more special
        raise UserError(
            f"{path} cannot be read as a tokenizer ({one_line(str(error), 140, 40)}); expected the "
            "file that tokenizer.save_pretrained writes; save or copy it again."
        ) from None


@functools.lru_cache(maxsize=2)
def _from_gguf(path: Path) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    metadata = gguf_file.read(path).metadata
    tokens, merges = (metadata.get(f"tokenizer.ggml.{key}") for key in ("tokens", "merges"))
    if metadata.get("tokenizer.ggml.model") != "gpt2" or not tokens or merges is None:
        return None
    pairs = [tuple(merge.split(" ")) for merge in merges]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


@functools.lru_cache(maxsize=64)
def _config(model: str) -> dict[str, Any]:
    found = identity.locate(model)
    if found.is_file():
        return gguf_file.read(found).configuration
    path = found / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    text = config.get("text_config")
    return text if isinstance(text, dict) else config


def _stated(config: dict[str, Any], names: Sequence[str]) -> int | None:
    """Return the first of these settings that is a whole number above 0."""
    stated = (config.get(name) for name in names)
    return next((size for size in stated if isinstance(size, int) and size > 0), None)
