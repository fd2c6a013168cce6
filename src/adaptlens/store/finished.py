"""What a finished cell holds: its spec, its result, and its arrays and texts on demand.

NumPy and safetensors are imported where they are used, so that `adaptlens status` starts at once.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from adaptlens.canonical import digest, read_tagged_json
from adaptlens.errors import UserError
from adaptlens.store.sealed import Damaged, is_sealed, load_bytes, load_json, seal

if TYPE_CHECKING:
    import numpy as np

RESULT_FORMAT = 1
ID_DIGITS = 20


class Arrays(Mapping[str, "np.ndarray"]):
    """The arrays of a finished cell by name, each read from disk when asked for.

    Every file is compared with the SHA-256 of what was written, when it is read first.
    """

    def __init__(self, cell_folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Name the arrays; nothing is read yet.

        Args:
            cell_folder: of the cell.
            files: size and SHA-256 of its files, by their paths in it.
        """
        self._folder = cell_folder
        self._files = {
            PurePosixPath(name).name.removesuffix(".safetensors"): (name, written)
            for name, written in files.items()
            if name.startswith("arrays/")
        }
        self._verified: set[str] = set()

    def __getitem__(self, name: str) -> "np.ndarray":
        file, written = self._files[name]
        if name in self._verified:
            data = load_bytes(self._folder / file)
        else:
            data = read_verified(self._folder / file, written)
            self._verified.add(name)
        try:
            return parse_array(data)
        except ValueError:
            raise Damaged(self._folder / file, "is damaged (no array)") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        return f"Arrays({', '.join(self._files)})"


@dataclass(frozen=True)
class Record:
    """A finished cell. `arrays` and `texts` are read from disk when asked for.

    `files` gives the size and SHA-256 of every other file in `folder`, by its path there.
    """

    id: str
    spec: dict[str, Any]
    result: dict[str, Any]
    folder: Path
    files: Mapping[str, Mapping[str, Any]]

    @cached_property
    def arrays(self) -> Arrays:
        """The named arrays; bfloat16 is read as float32."""
        return Arrays(self.folder, self.files)

    @cached_property
    def texts(self) -> dict[str, Any]:
        """The texts as they were given to `finish` (tuples as lists), checked."""
        path = self.folder / "texts.json"
        if "texts.json" not in self.files:
            raise Damaged(path, "is not among what the cell's result names")
        try:
            found: dict[str, Any] = read_tagged_json(read_verified(path, self.files["texts.json"]))
        except (ValueError, RecursionError):
            raise Damaged(path, "is damaged (not JSON)") from None
        return found


def read_record(folder: Path) -> Record:
    """Return the record of a finished cell; its result and spec are checked.

    Raises:
        Damaged: the spec or the result is not what was written, or of another cell.
        UserError: it is from a newer version.
    """
    content = read_result(folder / "result.json")
    return Record(folder.name, read_spec(folder), content["result"], folder, content["files"])


def read_spec(folder: Path) -> dict[str, Any]:
    """Return the spec of a cell, whose digest names its folder.

    Raises:
        Damaged: it is missing, or not this cell's.
    """
    path = folder / "spec.json"
    spec = load_json(path)
    try:
        named = digest(spec)[:ID_DIGITS]
    except (TypeError, ValueError, RecursionError):
        named = ""
    if named != folder.name or not isinstance(spec, dict):
        raise Damaged(path, "is damaged (it describes another cell than its folder's name)")
    return spec


def result_json(cell: str, result: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Return the text of result.json: the result, the digests of all other files, and its own."""
    return seal({"format": RESULT_FORMAT, "cell": cell, "files": files, "result": result})


def read_result(path: Path) -> dict[str, Any]:
    """Return the content of result.json, checked against its digest and its cell.

    Raises:
        Damaged: it is missing, damaged, or another cell's.
        UserError: it is from a newer version.
    """
    raw = load_json(path)
    written = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(written, int) and written > RESULT_FORMAT:
        raise UserError(
            f"'{path}' has format {written}, from a newer adaptlens; this one reads up to "
            f"{RESULT_FORMAT}; upgrade adaptlens."
        )
    if not isinstance(raw, dict) or not is_sealed(raw) or not _is_result(raw):
        raise Damaged(path, "is damaged (it is not what was written)")
    if raw["cell"] != path.parent.name:
        raise Damaged(path, f"belongs to the cell {raw['cell']}")
    return {**raw, "result": read_tagged_json(json.dumps(raw["result"]))}


def _is_result(raw: Mapping[str, Any]) -> bool:
    """Say whether an object has the parts of a result, and names no file outside its cell."""
    if not isinstance(raw.get("result"), dict) or not isinstance(raw.get("files"), dict):
        return False
    return all(
        isinstance(written, dict)
        and isinstance(written.get("bytes"), int)
        and isinstance(written.get("sha256"), str)
        and not PurePosixPath(name).is_absolute()
        and ".." not in PurePosixPath(name).parts
        for name, written in raw["files"].items()
    )


def read_verified(path: Path, written: Mapping[str, Any]) -> bytes:
    """Return what a file holds, compared with the size and the SHA-256 of what was written.

    Raises:
        Damaged: it is missing or changed.
    """
    data = load_bytes(path)
    if len(data) != written["bytes"]:
        raise Damaged(path, f"is damaged (it has {len(data)} bytes, written {written['bytes']})")
    if hashlib.sha256(data).hexdigest() != written["sha256"]:
        raise Damaged(path, "is damaged (its SHA-256 is not that of what was written)")
    return data


def array_bytes(name: str, array: "np.ndarray", *, bfloat16: bool = False) -> bytes:
    """Return a safetensors file with the one array under `name`.

    Args:
        name: the tensor's name in the file.
        array: of a boolean, integer or float dtype, any shape and memory layout.
        bfloat16: round float32 to bfloat16 (to nearest, ties to even; NaN stays NaN).

    Raises:
        TypeError: the dtype has no place in a safetensors file.
    """
    import numpy as np
    import safetensors.numpy

    array = np.asarray(array, order="C")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"array '{name}' has dtype {array.dtype}, which cannot be stored")
    if not bfloat16:
        return safetensors.numpy.save({name: array.astype(array.dtype.newbyteorder("="))})
    if array.dtype != np.float32:
        raise TypeError(f"array '{name}' has dtype {array.dtype}; bfloat16 is made from float32")
    # NumPy has no bfloat16, so its safetensors writer has none either: header and bits by hand.
    data = _bfloat16_bits(array).astype("<u2").tobytes()
    tensor = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": [0, len(data)]}
    header = json.dumps({name: tensor}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def parse_array(data: bytes) -> "np.ndarray":
    """Return the one array of a safetensors file, read-only; bfloat16 as float32.

    Raises:
        ValueError: these are not the bytes of such a file.
    """
    import numpy as np
    import safetensors
    import safetensors.numpy

    try:
        ((name, tensor),) = safetensors.deserialize(data)
        if tensor["dtype"] == "BF16":
            bits = np.frombuffer(tensor["data"], np.uint16).astype(np.uint32)
            return (bits << 16).view(np.float32).reshape(tensor["shape"])
        return safetensors.numpy.load(data)[name]
    except (KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ValueError(f"not one array ({error})") from None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bfloat16_bits(array: "np.ndarray") -> "np.ndarray":
    import numpy as np

    bits = array.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet_nan = (bits >> 16) | 0x40
    return np.where(np.isnan(array), quiet_nan, rounded).astype(np.uint16)
