"""Weights and tokenizer off the disk, through transformers; what is missing is never made up."""

import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from adaptlens.errors import UserError, unknown
from adaptlens.lm import from_gguf
from adaptlens.lm import spread as spreading
from adaptlens.lm.architecture import attention_implementation
from adaptlens.models import identity

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_QUANTIZE = ("8bit", "4bit")
_LONGEST = 300


@dataclass(frozen=True)
class Source:
    """A model's files, and how transformers is to read them.

    Attributes:
        path: the folder, or the GGUF file, as `models.identity.locate` found it.
        folder: what transformers is given: a folder of what may have a say, and nothing else.
        settings: further arguments of every `from_pretrained`.
    """

    path: Path
    folder: Path
    settings: dict[str, Any]

    @property
    def is_gguf(self) -> bool:
        """Whether it is a single GGUF file."""
        return self.path.is_file()


@contextlib.contextmanager
def opened(path: Path, *, untrained: bool = False) -> Iterator[Source]:
    """Yield a model's files as a source to read from.

    Transformers is given a folder of links to the files that the model's digest is over
    (`models.identity.files_read`), so that nothing else that lies beside them has a say: no
    adapter, no second set of weights, no Python file, nor the folder's name. The header of a GGUF
    file is parsed once for all that is read inside.

    Args:
        path: the folder, or the GGUF file.
        untrained: leave out the weights.
    """
    settings = {"trust_remote_code": False, "local_files_only": True}
    with tempfile.TemporaryDirectory() as alone:
        folder = Path(alone)
        if path.is_dir():
            files = identity.files_read(path, untrained=untrained)
            if not untrained and path / "model.safetensors" not in files:
                files.append(path / identity.INDEX)
            for file in files:
                (folder / file.name).symlink_to(file.resolve())
            yield Source(path, folder, settings)
            return
        (folder / "model.gguf").symlink_to(path.resolve())
        with from_gguf.quick():
            yield Source(path, folder, {**settings, "gguf_file": "model.gguf"})


def read(
    source: Source,
    name: str,
    dtype: str,
    device: torch.device,
    quantized: Any,
    *,
    spread: bool = False,
) -> tuple[Any, tuple[str, ...]]:
    """Return the model as transformers reads it, and notes on what was unexpected.

    The weights of a GGUF file are dequantized; weights that are not numbers are refused.

    Args:
        source: its files.
        name: what the user called it.
        dtype: one of `DTYPES`.
        device: where to put it.
        quantized: what `quantization` returned.
        spread: put it on all devices there are instead, by accelerate.
    """
    placed: dict[str, Any] = {}
    if quantized:
        placed = {"quantization_config": quantized, "device_map": {"": device}}
    if spread:
        placed |= spreading.settings()
    auto: Any = transformers.AutoModelForCausalLM
    with quiet(), loading(name, device):
        config = transformers.AutoConfig.from_pretrained(source.folder, **source.settings)
        model, report = auto.from_pretrained(
            source.folder,
            config=config,
            dtype=DTYPES[dtype],
            attn_implementation=attention_implementation(config),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **source.settings,
            **placed,
        )
        if not placed:
            model = model.to(device)
    notes = _check_report(report, name)
    check_finite(model, name)
    model.config._name_or_path = model.name_or_path = str(source.path)
    if source.is_gguf:
        from_gguf.forget_quantizer(model)
        notes = (*from_gguf.notes(source.path, dtype), *notes)
    return model, notes


def fresh(
    source: Source, name: str, dtype: str, device: torch.device
) -> tuple[Any, tuple[str, ...]]:
    """Return the model of a configuration with random weights, and a note that says so.

    They are drawn as the architecture starts its own pretraining, with one seed, on the processor,
    so that they are the same for every device. The global random state is left as it was.
    """
    auto: Any = transformers.AutoModelForCausalLM
    with quiet(), loading(name, device), torch.random.fork_rng(devices=[]):
        config = transformers.AutoConfig.from_pretrained(source.folder, **source.settings)
        torch.manual_seed(identity.UNTRAINED_SEED)
        model = auto.from_config(
            config,
            dtype=DTYPES[dtype],
            attn_implementation=attention_implementation(config),
            trust_remote_code=False,
        )
        if (source.folder / "generation_config.json").is_file():
            generation = transformers.GenerationConfig.from_pretrained(source.folder)
            model.generation_config = generation
        model = model.to(device)
    seed = identity.UNTRAINED_SEED
    return model, (f"Its weights are random (untrained, seed {seed}); only its shape is as named.",)


def skeleton(source: Source, name: str) -> Any:
    """Return the model of a configuration without numbers, to see what modules it has."""
    auto: Any = transformers.AutoModelForCausalLM
    meta = torch.device("meta")
    with quiet(), loading(name, meta), meta:
        config = transformers.AutoConfig.from_pretrained(source.folder, **source.settings)
        return auto.from_config(config, trust_remote_code=False)


def read_tokenizer(source: Source, name: str) -> Any:
    """Return the tokenizer as transformers reads it; of a GGUF file, see `from_gguf`."""
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source.folder, **source.settings)
    except Exception as error:
        # There is no error of its own for files that transformers cannot make sense of.
        raise UserError(
            f"the tokenizer of '{name}' cannot be loaded ({first_sentence(error)}); expected the "
            "files tokenizer.save_pretrained writes: save or download them again."
        ) from error
    if source.is_gguf:
        from_gguf.split_digits(tokenizer, source.path)
    elif (source.folder / "tokenizer.json").exists() and not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"the tokenizer of '{name}' is a {type(tokenizer).__name__}, which does not read the "
            "tokenizer.json in its folder; expected one that does: take that file out to read the "
            "others, or save the tokenizer again with tokenizer.save_pretrained."
        )
    tokenizer.name_or_path = str(source.path)
    return tokenizer


@contextlib.contextmanager
def loading(name: str, device: torch.device) -> Iterator[None]:
    """Turn what goes wrong while a model is made, and first run, into one line."""
    try:
        yield
    except UserError:
        raise
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"model '{name}' does not fit into the memory of {device}; expected enough for its "
            "weights: use --dtype bfloat16, --set quantize=4bit, or --device cpu."
        ) from error
    except Exception as error:
        # As above.
        advice = (
            f"expected a causal language model that transformers {transformers.__version__} knows"
        )
        if "trust_remote_code" in str(error):
            advice = (
                "it brings its own Python code, which is never run here; expected a model that "
                f"transformers {transformers.__version__} knows itself"
            )
        raise UserError(
            f"model '{name}' cannot be loaded ({first_sentence(error)}); {advice}."
        ) from error


def _check_report(report: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return a note on stored weights that were not used; refuse where weights are not all there.

    Transformers would fill the missing ones with random numbers and go on.
    """
    if report["mismatched_keys"]:
        key, stored, wanted = min(report["mismatched_keys"])
        raise UserError(
            f"model '{name}': the stored weight {key} has the shape {list(stored)}, but "
            f"config.json calls for {list(wanted)}; expected both of one model."
        )
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"model '{name}' lacks {len(missing)} of the weights its config.json calls for "
            f"({missing[0]}, ...); expected all: save the whole model, a causal LM, again."
        )
    unused = sorted(report["unexpected_keys"])
    return (f"{len(unused)} stored weights were not used ({unused[0]}, ...).",) if unused else ()


def check_finite(model: Any, name: str) -> None:
    """Refuse weights that are not numbers.

    A few of them need not show in the logits of any one text.

    Raises:
        UserError: names the first tensor with one, and how many it has.
    """
    for key, weight in model.named_parameters():
        # What lies elsewhere until it is used (meta) is seen by its logits alone.
        if not weight.is_floating_point() or not weight.numel() or weight.is_meta:
            continue
        if not all(bool(end.isfinite()) for end in weight.detach().aminmax()):
            count = int((~weight.detach().isfinite()).sum())
            raise UserError(
                f"model '{name}': {count} of the {weight.numel()} numbers in its weight {key} are "
                "not finite (NaN or infinite); expected numbers: use --dtype float32 or bfloat16 "
                "where they are too large for float16, or download or save the model again."
            )


@contextlib.contextmanager
def quiet(*, bars: bool = True) -> Iterator[None]:
    """Keep transformers' warnings to itself, and its progress bars where nobody would see them.

    Without `bars`, nobody is to see them.
    """
    log = transformers.utils.logging
    verbosity, shown = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    if not (bars and sys.stderr.isatty()):
        log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if shown:
            log.enable_progress_bar()


def find_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is cuda, else mps, else cpu, and "map" begins there."""
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name in ("auto", spreading.NAME):
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    kind, _, index = name.partition(":")
    if kind not in available or (index and not index.isdigit()):
        raise unknown("device", name, ("auto", *available, spreading.NAME))
    if not available[kind] or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        here = ", ".join(kind for kind, there in available.items() if there)
        raise UserError(
            f"device '{name}' is not available; this machine and this build of torch offer: {here}."
        )
    return torch.device(name)


def find_dtype(name: str, device: torch.device) -> str:
    """Return a number format by name; "auto" is bfloat16 where the device multiplies it natively.

    That is told by what the device says of itself, never by a measured time, so that it is the
    same every time: GPUs from NVIDIA's Ampere on, processors with AVX512-BF16 or AMX. Others
    compute in float32, and may take many times as long for bfloat16.

    Raises:
        UserError: there is no such format.
    """
    if name != "auto":
        if name not in DTYPES:
            raise unknown("dtype", name, ("auto", *DTYPES))
        return name
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Not public, but what PyTorch itself asks; where a release lacks them, it is float32.
        flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        asked = [getattr(torch.cpu, flag, lambda: False) for flag in flags]
        native = device.type == "cpu" and any(ask() for ask in asked)
    return "bfloat16" if native else "float32"


def quantization(quantize: str | None, dtype: str) -> Any:
    """Return the settings for reading weights in 8 or 4 bits, None for reading them as stored."""
    if quantize is None:
        return None
    if quantize not in _QUANTIZE:
        raise unknown("quantization", quantize, _QUANTIZE)
    absent = [p for p in ("bitsandbytes", "accelerate") if not importlib.util.find_spec(p)]
    if absent:
        raise UserError(
            f"quantize '{quantize}' needs {' and '.join(absent)}, not installed here; install with "
            f"`pip install {' '.join(absent)}`, or leave out quantize."
        )
    return transformers.BitsAndBytesConfig(
        load_in_8bit=quantize == "8bit",
        load_in_4bit=quantize == "4bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=DTYPES[dtype],
    )


def first_sentence(error: Exception) -> str:
    """Return the beginning of an error's text, with its kind where the text alone says little."""
    text = (str(error).strip() or "no reason given").splitlines()[0].split(". ")[0].rstrip(".")
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return text if " " in text else f"{type(error).__name__}: {text}"
