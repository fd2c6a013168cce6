"""What can be told of a model before it is loaded: its context, its states, its tokens."""

import functools
import json
from collections.abc import Sequence
from typing import Any

from adaptlens import modelfiles

_CONTEXT = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
_WIDTH = ("hidden_size", "n_embd", "d_model")


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


def token_counts(model: str, texts: Sequence[str]) -> list[int]:
    """Return how many tokens each text has, without special tokens.

    Where the model has no tokenizer.json, the number of bytes, which no text exceeds.
    """
    path = modelfiles.folder(model) / "tokenizer.json"
    if not path.is_file():
        return [len(text.encode()) for text in texts]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    found = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [len(one.ids) for one in found]


@functools.lru_cache(maxsize=64)
def _config(model: str) -> dict[str, Any]:
    path = modelfiles.folder(model) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    return config.get("text_config", config)


def _stated(config: dict[str, Any], names: Sequence[str]) -> int | None:
    return next((int(config[name]) for name in names if config.get(name)), None)
