"""What a GGUF file says of itself: metadata and the names, shapes and types of its tensors.

The tensors are not read. Source: the GGUF specification,
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import functools
import importlib.util
import math
import mmap
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError

MAGIC = b"GGUF"
PACKAGES = ("gguf", "accelerate")
"""What transformers needs to read a GGUF file, beside torch."""

UNQUANTIZED = ("F64", "F32", "F16", "BF16")
"""Tensor types that hold one number after the other."""

_VERSIONS = (2, 3)
_ALIGNMENT_BYTES = 32
_STRING, _ARRAY = 8, 9
# The formats, as `struct` names them, of the value types that are numbers.
_NUMBERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
# The settings of `config.json` that a study is planned with, and what llama.cpp calls them.
_CONFIGURATION = {
    "max_position_embeddings": "context_length",
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "num_attention_heads": "attention.head_count",
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a GGUF file: its name, its shape, and how its numbers are stored ("Q4_1")."""

    name: str
    shape: tuple[int, ...]
    type: str


@dataclass(frozen=True)
class Header:
    """What stands before the weights of a GGUF file.

    Attributes:
        metadata: the values by their keys; arrays as lists.
        tensors: in the order of the file.
        data_start: the first byte after the header.
    """

    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    data_start: int

    @property
    def architecture(self) -> str:
        """The family, in llama.cpp's words ("llama", "qwen2")."""
        return self.metadata["general.architecture"]

    @property
    def types(self) -> tuple[str, ...]:
        """The tensor types, from the one that holds most numbers to the one that holds fewest."""
        numbers: Counter[str] = Counter()
        for tensor in self.tensors:
            numbers[tensor.type] += math.prod(tensor.shape)
        return tuple(kind for kind, _ in numbers.most_common())

    @property
    def num_parameters(self) -> int:
        """How many numbers the tensors hold; tied ones are stored once."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def configuration(self) -> dict[str, Any]:
        """What `config.json` would say: model_type, and context, layers, width and heads if stated.

        Where heads differ by layer, the most that a layer has.
        """
        stated: dict[str, int] = {}
        for name, key in _CONFIGURATION.items():
            value = self.metadata.get(f"{self.architecture}.{key}")
            value = max(value, default=None) if isinstance(value, list) else value
            stated |= {name: int(value)} if value else {}
        return {"model_type": self.architecture, **stated}


def is_gguf(path: Path) -> bool:
    """Whether a file is one, by its name or its first bytes."""
    if not path.is_file():
        return False
    if path.suffix == ".gguf":
        return True
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path, name: str = "") -> Header:
    """Return the header of a GGUF file, after checking that all of its tensors are in the file.

    Args:
        path: of the file.
        name: what the user called the model; the path by default.

    Raises:
        UserError: the file cannot be read, is no GGUF file, is cut off, is a part of a split
            model, holds no language model, or a package that reads its types is missing.
    """
    name = name or str(path)
    _check_packages(name)
    try:
        stat = path.stat()
        return _read(path.resolve(), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise UserError(
            f"model '{name}' cannot be read ({error.strerror}); expected a readable GGUF file: "
            "check its rights."
        ) from error
    except _Unreadable as error:
        raise UserError(f"model '{name}' {error}") from error


def head(path: Path) -> bytes:
    """Return everything that stands before the weights of a GGUF file."""
    start = read(path).data_start
    with path.open("rb") as file:
        return file.read(start)


class _Unreadable(Exception):
    """Why a GGUF file cannot be used; the end of a sentence that begins with the model's name."""


def missing_packages() -> list[str]:
    """Return the packages that reading a GGUF file needs and that are not installed."""
    return [package for package in PACKAGES if not importlib.util.find_spec(package)]


def _check_packages(name: str) -> None:
    if absent := missing_packages():
        raise UserError(
            f"model '{name}' is a GGUF file, and reading one needs {' and '.join(absent)}, not "
            "installed here; install with `pip install 'adaptlens[gguf]'`."
        )


@functools.lru_cache(maxsize=8)
def _read(path: Path, size_bytes: int, modified_ns: int) -> Header:
    """Return a file's header; size and time are there to tell when it has to be read again."""
    with path.open("rb") as file:
        if (begins := file.read(len(MAGIC))) != MAGIC:
            raise _Unreadable(
                f"is not a GGUF file (it begins with {begins!r}, not {MAGIC!r}); expected a file "
                "that llama.cpp reads: download it again, or give a folder with *.safetensors."
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            try:
                header, end = _Cursor(mapped, len(MAGIC)).header()
            except (struct.error, _Short) as error:
                raise _cut_off(size_bytes) from error
            except UnicodeDecodeError as error:
                raise _Unreadable(
                    f"has metadata that is not text ({error.reason}); expected a whole GGUF file: "
                    "download it again."
                ) from error
    if end > size_bytes:
        raise _cut_off(size_bytes, end)
    _check_content(header)
    return header


class _Short(Exception):
    """A length in the file leads beyond its end."""


class _Cursor:
    """A place in the bytes of a GGUF file, from which values are read one after the other."""

    def __init__(self, data: mmap.mmap, at: int):
        self.data, self.at = data, at

    def header(self) -> tuple[Header, int]:
        """Return the header, and the least number of bytes the whole file must have."""
        (version,) = self.numbers("I", 1)
        if version not in _VERSIONS:
            raise _Unreadable(
                f"is a GGUF file of version {version}; expected version "
                f"{' or '.join(map(str, _VERSIONS))}: convert the model again with llama.cpp."
            )
        num_tensors, num_keys = self.numbers("Q", 2)
        metadata = {}
        for _ in range(num_keys):
            key = self.string()
            metadata[key] = self.value(*self.numbers("I", 1))
        rows = [self.tensor() for _ in range(num_tensors)]
        alignment = int(metadata.get("general.alignment", _ALIGNMENT_BYTES)) or _ALIGNMENT_BYTES
        start = -(-self.at // alignment) * alignment
        ends = (offset + num_bytes for _, offset, num_bytes in rows)
        header = Header(metadata, tuple(tensor for tensor, _, _ in rows), start)
        return header, start + max(ends, default=0)

    def tensor(self) -> tuple[Tensor, int, int]:
        """Return a tensor, where it begins among the tensors, and how many bytes it has."""
        name = self.string()
        (num_dims,) = self.numbers("I", 1)
        shape = tuple(reversed(self.numbers("Q", num_dims)))
        (kind,), (offset,) = self.numbers("I", 1), self.numbers("Q", 1)
        type_name, num_bytes = _stored(kind, shape)
        return Tensor(name, shape, type_name), offset, num_bytes

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            (inner,), (count,) = self.numbers("I", 1), self.numbers("Q", 1)
            if inner in _NUMBERS:
                return list(self.numbers(_NUMBERS[inner], count))
            return [self.value(inner) for _ in range(count)]
        if kind not in _NUMBERS:
            raise _Unreadable(
                f"has metadata of the unknown type {kind}; expected a GGUF file of version "
                f"{_VERSIONS[-1]}: download or convert it again."
            )
        return self.numbers(_NUMBERS[kind], 1)[0]

    def string(self) -> str:
        (length,) = self.numbers("Q", 1)
        start, self.at = self.at, self.at + length
        if self.at > len(self.data):
            raise _Short
        return self.data[start : self.at].decode("utf-8")

    def numbers(self, code: str, count: int) -> tuple[Any, ...]:
        if self.at + count * struct.calcsize(f"<{code}") > len(self.data):
            raise _Short
        form = f"<{count}{code}"
        found = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found


def _stored(kind: int, shape: tuple[int, ...]) -> tuple[str, int]:
    """Return the name of a tensor type, and the bytes a tensor of this shape takes in it."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        known = GGMLQuantizationType(kind)
        block, block_bytes = GGML_QUANT_SIZES[known]
    except (ValueError, KeyError):
        raise _Unreadable(
            f"holds weights of the type {kind}, which the installed gguf package does not know; "
            "upgrade it with `pip install --upgrade gguf`, or give another quantization."
        ) from None
    return known.name, math.prod(shape) // block * block_bytes


def _check_content(header: Header) -> None:
    """Refuse files that hold something other than the whole of a language model."""
    metadata = header.metadata
    if not isinstance(metadata.get("general.architecture"), str):
        raise _Unreadable(
            "names no general.architecture; expected the GGUF file of a language model: convert "
            "it again with llama.cpp."
        )
    if int(metadata.get("split.count", 0)) > 1:
        raise _Unreadable(
            f"is one of {metadata['split.count']} parts; expected a single file: join them with "
            "`llama-gguf-split --merge FIRST_PART WHOLE.gguf`."
        )
    kind = metadata.get("general.type", "model")
    if kind != "model" or not header.tensors:
        raise _Unreadable(
            f"holds no weights of a language model (its type is '{kind}', {len(header.tensors)} "
            "tensors); expected the GGUF file of a model."
        )


def _cut_off(size_bytes: int, needed: int | None = None) -> _Unreadable:
    wanted = f" of {needed:,}" if needed else ""
    return _Unreadable(
        f"is cut off after {size_bytes:,}{wanted} bytes; expected the whole GGUF file: download "
        "it again."
    )
