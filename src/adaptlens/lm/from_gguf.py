"""What reading a GGUF file through transformers needs to become a model like any other."""

import contextlib
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from adaptlens.models import gguf_file

# The names of pre-tokenizers that are GPT-2's, and of those that are so after single digits are cut
# off. Source: llama.cpp, src/llama-vocab.cpp.
_GPT2 = ("gpt-2", "phi-2", "mpt", "olmo", "jais")
_SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell")


def notes(path: Path, dtype: str) -> tuple[str, ...]:
    """Return what a reader of the results should know of how the file was read, in sentences."""
    header = gguf_file.read(path)
    return tuple(filter(None, (_quantized(header, dtype), _positions(header), _words(header))))


def _quantized(header: gguf_file.Header, dtype: str) -> str:
    quantized = [kind for kind in header.types if kind not in gguf_file.UNQUANTIZED]
    if not quantized:
        return ""
    beside = [kind for kind in header.types if kind != quantized[0]]
    with_others = f", with {' and '.join(beside)} for some" if beside else ""
    return (
        f"Its weights were stored quantized ({quantized[0]}{with_others}) and are used "
        f"dequantized, in {dtype}: they are not exactly those of the model before quantization."
    )


def _positions(header: gguf_file.Header) -> str:
    """Return a note where the file scales rotary positions, which transformers leaves out."""
    scaled = [tensor.name for tensor in header.tensors if tensor.name.startswith("rope_f")]
    key = f"{header.architecture}.rope.scaling.type"
    if header.metadata.get(key, "none") != "none":
        scaled.append(key)
    if not scaled or header.architecture == "gpt-oss":
        return ""
    return (
        f"Its file scales the rotary positions ({', '.join(scaled)}), which Transformers leaves "
        "out: its scores are not exactly those of the model as it was made; give the original."
    )


def _words(header: gguf_file.Header) -> str:
    """Return a note where transformers does not know how the tokenizer cuts text into words."""
    pre = header.metadata.get("tokenizer.ggml.pre", "none named")
    if header.metadata.get("tokenizer.ggml.model") != "gpt2" or pre in (*_GPT2, *_SINGLE_DIGITS):
        return ""
    try:
        mapping: Any = importlib.import_module(
            "transformers.integrations.gguf.gguf_tokenizer_mapping"
        )
        known = mapping.GGUF_PRE_TOKENIZER_SPLITS
    except (ImportError, AttributeError):
        known = ()
    if pre in known:
        return ""
    return (
        f"Its tokenizer's way of cutting words ({pre}) is not known to Transformers; text is cut "
        "as GPT-2's does, and numbers or white space may come out as other tokens than in training."
    )


def forget_quantizer(model: Any) -> None:
    """Let a dequantized model pass for what it is: one with plain weights.

    Transformers goes on calling it quantized, and then refuses to save it and has PEFT refuse to
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
    makes two tokens, the model's own makes one.
    """
    if gguf_file.read(path).metadata.get("tokenizer.ggml.pre") not in _SINGLE_DIGITS:
        return
    backend = tokenizer.backend_tokenizer
    if "Digits" not in repr(backend.pre_tokenizer):
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
        )


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Let transformers parse a GGUF file once inside, and draw no progress bar for its tensors.

    It parses the header three times over (configuration, weights, tokenizer), seconds each, and
    builds the table of tensor names once for every module of the model.
    """
    reading: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    package: Any = importlib.import_module("gguf")
    replaced = [
        (reading, "tqdm", functools.partial(reading.tqdm, disable=True)),
        (package, "GGUFReader", functools.lru_cache(maxsize=1)(package.GGUFReader)),
        (package, "get_tensor_name_map", functools.lru_cache()(package.get_tensor_name_map)),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    try:
        for module, name, value in replaced:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
