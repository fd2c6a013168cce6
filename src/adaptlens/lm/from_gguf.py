"""What reading a GGUF file through transformers needs to become a model like any other."""

import contextlib
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from adaptlens.models import gguf_file

_SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell")


def notes(path: Path, dtype: str) -> tuple[str, ...]:
    """Return a note that names how the weights were quantised; none where they were not."""
    types = gguf_file.read(path).types
    quantised = [kind for kind in types if kind not in gguf_file.UNQUANTIZED]
    if not quantised:
        return ()
    beside = [kind for kind in types if kind != quantised[0]]
    with_others = f", with {' and '.join(beside)} for some" if beside else ""
    return (
        f"Its weights were stored quantised ({quantised[0]}{with_others}) and are used "
        f"dequantised, in {dtype}: they are not exactly those of the model before quantisation.",
    )


def forget_quantizer(model: Any) -> None:
    """Let a dequantised model pass for what it is: one with plain weights.

    Transformers goes on calling it quantised, and then refuses to save it and has PEFT refuse to
    tune it.
    """
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def split_digits(tokenizer: Any, path: Path) -> None:
    """Let the tokenizer cut numbers into digits where the model's own does.

    Transformers 5.23 reads these pre-tokenizers as GPT-2's. Numbers come out alike, as no merge
    joins digits, but the white space before one does not: of two line breaks before a digit GPT-2's
    makes two tokens, the model's own makes one. Source: llama.cpp, src/llama-vocab.cpp, which
    splits at every digit before GPT-2's pattern for these.
    """
    if gguf_file.read(path).metadata.get("tokenizer.ggml.pre") not in _SINGLE_DIGITS:
        return
    backend = tokenizer.backend_tokenizer
    if "Digits" not in repr(backend.pre_tokenizer):
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
        )


@contextlib.contextmanager
def without_bar() -> Iterator[None]:
    """Keep away the progress bar that transformers draws for GGUF tensors, terminal or not."""
    module: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    bar = getattr(module, "tqdm", None)
    if bar is None:
        yield
        return
    module.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        module.tqdm = bar
