"""What a finished cell holds: its spec, its result, and its arrays and texts on demand.

NumPy and safetensors are imported where they are used, so that `adaptlens status` starts at once.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.canonical import canonical_json, digest, read_tagged_json, tagged_json
from adaptlens.errors import UserError

if TYPE_CHECKING:
    import numpy as np

RESULT_FORMAT = 1


class Arrays(Mapping[str, "np.ndarray"]):
    """The arrays of a finished cell by name, each read from disk when asked for."""

    def __init__(self, cell_folder: Path, names: Sequence[str]) -> None:
        """Name the arrays; nothing is read yet."""
        self._folder = cell_folder
        self._names = tuple(names)

    def __getitem__(self, name: str) -> "np.ndarray":
        if name not in self._names:
            raise KeyError(name)
        return read_array(self._folder / "arrays" / f"{name}.safetensors", self._folder)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"Arrays({', '.join(self._names)})"


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
        found = [file for file in self.files if file.startswith("arrays/")]
        return Arrays(self.folder, [Path(f).name.removesuffix(".safetensors") for f in found])

    @cached_property
    def texts(self) -> dict[str, Any]:
        """The texts as they were given to `finish` (tuples as lists)."""
        return read_json(self.folder / "texts.json", self.folder)


def read_record(folder: Path) -> Record:
    """Return the record of a finished cell.

    Raises:
        UserError: the spec or the result is damaged or from a newer version.
    """
    content = read_result(folder / "result.json")
    spec = read_json(folder / "spec.json", folder)
    return Record(folder.name, spec, content["result"], folder, content["files"])


def result_json(cell: str, result: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Return the text of result.json: the result, the digests of all other files, and its own."""
    # Tagged first, so that the digest is of the text as it is stored.
    stored = json.loads(tagged_json(result))
    content = {"format": RESULT_FORMAT, "cell": cell, "files": files, "result": stored}
    return canonical_json({**content, "digest": digest(content)}) + "\n"


def read_result(path: Path) -> dict[str, Any]:
    """Return the content of result.json, checked against its digest.

    Raises:
        UserError: it is damaged or from a newer version.
    """
    raw = _load(path, json.loads, path.parent)
    written = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(written, int) and written > RESULT_FORMAT:
        raise UserError(
            f"'{path}' has format {written}, from a newer adaptlens; this one reads up to "
            f"{RESULT_FORMAT}; upgrade adaptlens."
        )
    if not isinstance(raw, dict) or raw.pop("digest", None) != digest(raw):
        raise damaged(path, path.parent)
    return {**raw, "result": read_tagged_json(json.dumps(raw["result"]))}


def read_json(path: Path, cell_folder: Path | None = None) -> Any:
    """Return the value in a JSON file of ours, of a cell or of the run itself.

    Raises:
        UserError: it is missing or damaged.
    """
    return _load(path, read_tagged_json, cell_folder)


def damaged(path: Path, cell_folder: Path | None) -> UserError:
    """Return the error for a file, of a cell or of the run itself, that is not what was written."""
    remedy = "restore it from a copy, or choose a new folder"
    if cell_folder is not None:
        remedy = (
            f"remove the folder '{cell_folder}' and run the command that made the run again: it "
            "does only that cell"
        )
    return UserError(f"'{path}' is missing or damaged; {remedy}.")


def _load(path: Path, parse: Callable[[bytes], Any], cell_folder: Path | None) -> Any:
    try:
        return parse(path.read_bytes())
    except PermissionError as error:
        raise UserError(f"cannot read '{path}'; change its permissions.") from error
    except (FileNotFoundError, ValueError, RecursionError):
        raise damaged(path, cell_folder) from None


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


def read_array(path: Path, cell_folder: Path | None = None) -> "np.ndarray":
    """Return the one array of a safetensors file, read-only; bfloat16 as float32.

    Raises:
        UserError: the file is missing or damaged.
    """
    import numpy as np
    import safetensors
    import safetensors.numpy

    try:
        data = path.read_bytes()
        ((name, tensor),) = safetensors.deserialize(data)
        if tensor["dtype"] == "BF16":
            bits = np.frombuffer(tensor["data"], np.uint16).astype(np.uint32)
            return (bits << 16).view(np.float32).reshape(tensor["shape"])
        return safetensors.numpy.load(data)[name]
    except (FileNotFoundError, ValueError, KeyError, safetensors.SafetensorError):
        raise damaged(path, cell_folder) from None


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
