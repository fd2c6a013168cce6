"""What a model name stands for: its prefixes, its files, whether they can be used, their digest.

Free of torch and transformers, so that a study can be planned without either.
"""

import functools
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError, first_line, unknown
from adaptlens.models import gguf_file, hub_models, loaded, obtainable, server
from adaptlens.types import ModelSpec

PREFIXES = {
    "untrained": "the same architecture and tokenizer with random weights",
    "chat": "prompts written with the tokenizer's chat template",
}
"""What may stand before a model's name, with a colon, in any order."""

UNTRAINED_SEED = 0
"""Seed of the random weights of an untrained model."""

CLOCK = "2025-01-01T12:00:00"
"""The time that chat templates are told, so that a prompt is the same whenever it is written."""

_DESCRIPTIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
_TOKENIZER = "tokenizer.json"
_VOCABULARIES = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
)
_ADDED = ("special_tokens_map.json", "added_tokens.json")
INDEX = "model.safetensors.index.json"
"""Names the files of weights that come in several."""

_PREFIXED = re.compile(r"([A-Za-z_-]{2,}):.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model's name taken apart: "untrained:chat:NAME" is NAME with both properties.

    Attributes:
        source: the name without prefixes: a shipped or an obtainable model, a folder, a GGUF file,
            or a hub id.
        untrained: see `PREFIXES`.
        chat: see `PREFIXES`.
    """

    source: str
    untrained: bool = False
    chat: bool = False


def parse(name: str) -> ModelName:
    """Return a model's name taken apart; a folder whose name looks prefixed is given as ./NAME.

    Raises:
        UserError: a prefix is given twice, or no name follows it.
    """
    source, found = name, set()
    while (prefix := source.partition(":")[0]) in PREFIXES and ":" in source:
        if prefix in found:
            raise UserError(f"model '{name}' has the prefix '{prefix}:' twice; write it once.")
        found.add(prefix)
        source = source.removeprefix(f"{prefix}:")
    if found and not source:
        raise UserError(
            f"model '{name}' names no model after its prefix; expected for example {name}reference."
        )
    return ModelName(source, "untrained" in found, "chat" in found)


def identify(
    name: str, *, dtype: str = "float32", chat: bool = False, quantize: str | None = None
) -> ModelSpec:
    """Return what a cell says of its model; the `clock` where its chat template reads one.

    Of a served model, what its server says of it stands for its files.

    Raises:
        UserError: see `locate`; or `quantize` is asked for of a GGUF file, or a number format or
            random weights of a model that is served.
    """
    asked = parse(name)
    if server.is_named(asked.source):
        at = server.named(asked.source)
        if asked.untrained or quantize or dtype != "float32":
            raise server.needs_weights(asked.source, "setting untrained:, dtype or quantize")
        return at.spec(name, chat or asked.chat)
    check_quantize(name, quantize)
    path = locate(name)
    return ModelSpec(
        name,
        digest(path, untrained=asked.untrained),
        dtype,
        chat or asked.chat,
        quantize or None,
        CLOCK if reads_clock(chat_template(path)) else None,
        source=name,
    )


def locate(name: str) -> Path:
    """Return where a model's files are, after checking that they can be used: a folder, or a file.

    A file is a GGUF file, which holds weights, configuration and tokenizer.

    Args:
        name: a shipped model ("reference"), an obtainable one ("smollm2"), a local folder, a GGUF
            file, or a hub id, in this order, with any `PREFIXES`. A hub id is downloaded into the
            hub's cache, or found there; an untrained model needs no weights. Of a model that a
            caller of Python has loaded, the folder holds all but the weights.

    Raises:
        UserError: nothing answers to the name, or what does is not a model that can be read.
    """
    from adaptlens.models import shipped

    asked = parse(name)
    name = asked.source
    if server.is_named(name):
        raise server.needs_weights(name)
    if loaded.is_named(name):
        folder = loaded.named(name).folder
        _check_description(folder, loaded.label_of(name))
        return folder
    if file := _gguf(name):
        gguf_file.read(file, name)
        return file
    path = _expanded(name)
    if name in shipped.names():
        path = shipped.folder(name)
    elif os.path.isfile(path):
        raise UserError(
            f"model '{name}' is a file, but not a GGUF file; a model is a folder with config.json, "
            f"*.safetensors and the tokenizer's files: give the folder, {path.parent}."
        )
    elif not (name and os.path.isdir(path)):
        if prefixed := _PREFIXED.fullmatch(name):
            raise unknown("model prefix", prefixed[1], PREFIXES)
        path = hub_models.download(
            name,
            shipped=shipped.names(),
            weights=not asked.untrained,
        )
    _check_description(path, name)
    if not asked.untrained:
        _check_weights(path, name)
    return path


def is_local(source: str) -> bool:
    """Whether a name without prefixes stands for a folder or file of this machine by its path."""
    from adaptlens.models import shipped

    named = source in shipped.names() or source in obtainable.names()
    return not named and bool(source) and os.path.exists(_expanded(source))


def label(name: str) -> str:
    """Return a model's name for tables: of a path its last part, without .gguf; prefixes stay."""
    source = parse(name).source
    if loaded.is_named(source):
        return name.removesuffix(source) + loaded.label_of(source)
    if server.is_named(source):
        return name.removesuffix(source) + server.label_of(source)
    if not is_local(source):
        return name
    last = _expanded(source).resolve().name.removesuffix(".gguf")
    return name.removesuffix(source) + last


def absolute(name: str) -> str:
    """Return a model's name with a path made absolute; prefixes stay."""
    source = parse(name).source
    if not is_local(source):
        return name
    return name.removesuffix(source) + str(_expanded(source).resolve())


def check_quantize(name: str, quantize: str | None) -> None:
    """Refuse to quantize the weights of a GGUF file, which are dequantized as they are read.

    Raises:
        UserError: `quantize` is asked for of one.
    """
    if quantize and _gguf(parse(name).source):
        raise UserError(
            f"model '{name}' was asked for in {quantize}, but it is a GGUF file, whose weights are "
            "quantized as they are; leave out quantize, or give the original model's folder or "
            "hub id."
        )


def found_alone(name: str) -> str:
    """Return a note where a folder was named and the one GGUF file in it is read; else nothing."""
    source = parse(name).source
    file = _gguf(source)
    if not file or not is_local(source) or _expanded(source).is_file():
        return ""
    return f"Its folder holds no config.json; the one GGUF file in it is read, {file.name}."


def _gguf(source: str) -> Path | None:
    """Return the GGUF file that a name without prefixes stands for, or None.

    Raises:
        UserError: it stands for a folder with several, or for an obtainable model that is missing.
    """
    from adaptlens.models import shipped

    if source in shipped.names() or loaded.is_named(source):
        return None
    if source in obtainable.names():
        return obtainable.located(source)
    path = _expanded(source)
    if not source or not os.path.exists(path):
        return None
    if path.is_file():
        return path if gguf_file.is_gguf(path) else None
    if (path / "config.json").exists():
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise UserError(
            f"'{source}' holds {len(files)} GGUF files ({', '.join(f.name for f in files[:3])}"
            f"{', ...' if len(files) > 3 else ''}); expected one: give the file, for example "
            f"{files[0]}."
        )
    return files[0] if files else None


def _expanded(source: str) -> Path:
    return Path(os.path.expanduser(source))


def adapter_beside(path: Path) -> str:
    """Return a note where a model's folder holds an adapter, too; else nothing.

    Transformers would add it to the weights where peft is installed, and leave it out elsewhere.
    """
    if path.is_file() or not (path / "adapter_config.json").is_file():
        return ""
    return (
        "Its folder also holds a PEFT adapter (adapter_config.json), which is left out: the "
        "model's own weights are read. To study the adapter, merge it and save the result."
    )


def has_chat_template(name: str) -> bool:
    """Return whether a model's tokenizer, or its server, brings a template for chat messages."""
    source = parse(name).source
    if server.is_named(source):
        return bool(server.named(source).chat_way)
    return bool(chat_template(locate(name), name))


def chat_template(path: Path, name: str = "") -> str:
    """Return the template for chat messages that comes with a model; empty where none does.

    Where several are named, the one called "default".

    Args:
        path: what `locate` returned.
        name: what the user called it, for errors.
    """
    if path.is_file():
        found = gguf_file.read(path, name).metadata.get("tokenizer.chat_template")
        return found if isinstance(found, str) else ""
    if (path / "chat_template.jinja").is_file():
        return _text(path / "chat_template.jinja")
    settings = path / "tokenizer_config.json"
    found = _json(settings).get("chat_template") if settings.is_file() else None
    if isinstance(found, list):
        named = [one for one in found if isinstance(one, dict) and one.get("name") == "default"]
        found = named[0].get("template") if named else None
    return found if isinstance(found, str) else ""


def reads_clock(template: str) -> bool:
    """Return whether a chat template asks what time it is."""
    return "strftime_now" in template


def files_read(folder: Path, *, untrained: bool = False) -> list[Path]:
    """Return the files of a model's folder that are loaded; whatever else lies there has no say.

    A tokenizer.json is the whole vocabulary; where there is none, the older files are. The lists
    of added tokens count only where tokenizer_config.json does not hold them.

    Raises:
        UserError: a description of the model is no JSON object.
    """
    names = [*_DESCRIPTIONS]
    names += [_TOKENIZER] if (folder / _TOKENIZER).is_file() else _VOCABULARIES
    settings = folder / "tokenizer_config.json"
    if not (settings.is_file() and "added_tokens_decoder" in _json(settings)):
        names += _ADDED
    paths = [folder / name for name in names]
    if not untrained:
        paths += weight_files(folder)
    return sorted(path for path in paths if path.is_file())


def digest(path: Path, *, untrained: bool = False) -> str:
    """Return the sha256, in hex, over names and bytes of weights, configuration and tokenizer.

    They are `files_read`; of generation_config.json only what ends a text is read, and counts. Of
    a GGUF file it is over all of its bytes. For an untrained model the seed of its weights
    stands in their place; of a GGUF file, what stands before the weights is left. A model that a
    caller of Python has loaded brings its own.
    """
    if not untrained and (one := loaded.described_in(path)):
        return one.digest
    total = hashlib.sha256()
    if untrained:
        total.update(f"untrained, seed {UNTRAINED_SEED}\0".encode())
    if path.is_file():
        total.update(b"gguf\0")
        total.update(gguf_file.head(path) if untrained else _digest_of(path))
        return total.hexdigest()
    for file in files_read(path, untrained=untrained):
        total.update(file.relative_to(path).as_posix().encode() + b"\0")
        if file.name == "generation_config.json":
            ends = json.dumps(_json(file).get("eos_token_id"))
            total.update(hashlib.sha256(ends.encode()).digest())
        else:
            total.update(_digest_of(file))
    return total.hexdigest()


def _digest_of(file: Path) -> bytes:
    stat = file.stat()
    return _file_digest(file.resolve(), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _file_digest(path: Path, size_bytes: int, modified_ns: int) -> bytes:
    """Return a file's sha256; size and time are there to tell when it has to be read again."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); expected a readable file: check its rights."
        ) from error


def weight_files(folder: Path) -> list[Path]:
    """Return the files transformers reads weights from, empty where there are none.

    They are the safetensors files of a folder; a GGUF file stands for itself.
    """
    if folder.is_file():
        return [folder]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if not (folder / INDEX).is_file():
        return []
    shards = _json(folder / INDEX).get("weight_map")
    names: list[Any] = list(shards.values()) if isinstance(shards, dict) else [None]
    if wrong := [name for name in names if not _is_file_name(name)]:
        raise UserError(
            f"{folder / INDEX} names the weights file {str(wrong[0])[:80]!r}; expected a "
            "weight_map from tensors to names of files beside it, as save_pretrained writes it: "
            "download or save the model again."
        )
    return [folder / name for name in sorted(set(names))]


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not {*"/\\\0"} & {*name}


def _check_description(folder: Path, name: str) -> None:
    """Raise the error that fits where configuration or tokenizer cannot be used."""
    if not (folder / "config.json").is_file():
        raise _not_a_model(folder, name)
    config = _json(folder / "config.json")
    if not isinstance(config.get("model_type"), str) or not config["model_type"]:
        raise UserError(
            f"model '{name}': config.json names no model_type; expected the configuration of a "
            "Transformers model, as save_pretrained writes it."
        )
    if config.get("is_encoder_decoder"):
        raise UserError(
            f"model '{name}' is an encoder-decoder ({config['model_type']}); expected a causal "
            "(decoder-only) language model."
        )
    if config.get("transformers_weights"):
        raise UserError(
            f"model '{name}': config.json names its own file of weights (transformers_weights: "
            f"{str(config['transformers_weights'])[:80]}); expected model.safetensors, or the "
            f"files that {INDEX} names: rename the file and take the key out."
        )
    vocabularies = (_TOKENIZER, *(file for file in _VOCABULARIES if file != "merges.txt"))
    if not any((folder / file).is_file() for file in vocabularies):
        raise UserError(
            f"model '{name}' has no tokenizer ({folder}); expected tokenizer.json or "
            "tokenizer.model: save it there with tokenizer.save_pretrained."
        )


def _check_weights(folder: Path, name: str) -> None:
    """Raise the error that fits where the weights are missing or broken."""
    weights = weight_files(folder)
    if not weights:
        raise _no_weights(folder, name)
    for path in weights:
        _check_safetensors(path, name)


def _not_a_model(folder: Path, name: str) -> UserError:
    if (folder / "adapter_config.json").is_file():
        base = _json(folder / "adapter_config.json").get("base_model_name_or_path")
        return UserError(
            f"'{name}' holds a PEFT adapter, not a model; expected the base model"
            f"{f' ({base})' if base else ''}: give that, or merge the adapter and save the result."
        )
    return UserError(
        f"'{name}' has no config.json, so it is not a model folder ({folder}); expected "
        "config.json, *.safetensors and the tokenizer's files, as save_pretrained writes them."
    )


def _no_weights(folder: Path, name: str) -> UserError:
    if file := next(iter(sorted(folder.glob("*.gguf"))), None):
        return UserError(
            f"model '{name}' has a config.json but no *.safetensors; expected those beside it: to "
            f"read the weights of the GGUF file, give the file, {file}."
        )
    pickles = [p.name for end in ("bin", "pt", "pth", "ckpt") for p in folder.glob(f"*.{end}")]
    if pickles:
        return UserError(
            f"model '{name}' has pickled weights only ({pickles[0]}), which can run code when read "
            "and are not loaded; expected *.safetensors: where you trust the file, convert it with "
            "AutoModelForCausalLM.from_pretrained(...).save_pretrained(FOLDER)."
        )
    return UserError(
        f"model '{name}' has no weights ({folder}); expected model.safetensors, or the files that "
        f"{INDEX} names: save or download them there."
    )


def _check_safetensors(path: Path, name: str) -> None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(
            f"model '{name}': the weights file {path.name} named in {INDEX} is missing; expected "
            "every part: download the model again."
        )
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"model '{name}': {path.name} cannot be read ({first_line(error)}); expected a whole "
            "safetensors file: download or save the model again."
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)}); expected text in UTF-8: download or "
            "save the model again."
        ) from error


def _json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)}); expected JSON as save_pretrained "
            "writes it: download or save the model again."
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a JSON {type(found).__name__}; expected an object.")
    return found
