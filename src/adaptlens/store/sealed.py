"""JSON files of ours that say of themselves whether they are what was written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptlens.canonical import canonical_json, digest, read_tagged_json, tagged_json
from adaptlens.errors import UserError
from adaptlens.store.atomic import read_bytes

SEAL = "digest"
"""The key under which an object holds the digest of its other keys."""


class Damaged(UserError):
    """A file of a run is missing or not what was written; the next run makes it anew.

    Attributes:
        path: the file.
        reason: what is wrong with it, to stand after its name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        """Say which file, what is wrong, and the way out."""
        self.path, self.reason = path, reason
        super().__init__(
            f"'{path}' {reason}; run the command that made the run again: it makes anew what is "
            "damaged, and nothing else."
        )


def seal(value: Mapping[str, Any]) -> str:
    """Return the JSON text of an object with its own digest, a line.

    Raises:
        TypeError, ValueError: JSON cannot hold a value, or the object has the key "digest".
    """
    if SEAL in value:
        raise ValueError(f"the key '{SEAL}' is the seal's")
    # Tagged first, so that the digest is of the text as it is stored.
    stored = json.loads(tagged_json(value))
    return canonical_json({**stored, SEAL: digest(stored)}) + "\n"


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the object that `seal` wrote, checked.

    Raises:
        Damaged: it is missing or not what was written.
        UserError: the disk refuses to read it.
    """
    stored = load_json(path)
    if not isinstance(stored, dict) or not is_sealed(stored):
        raise Damaged(path, "is damaged (it is not what was written)")
    del stored[SEAL]
    found: dict[str, Any] = read_tagged_json(json.dumps(stored))
    return found


def is_sealed(stored: Mapping[str, Any]) -> bool:
    """Say whether an object read from JSON carries the digest of its other keys."""
    rest = {key: value for key, value in stored.items() if key != SEAL}
    try:
        return bool(stored.get(SEAL) == digest(rest))
    except (TypeError, ValueError, RecursionError):
        return False


def load_json(path: Path) -> Any:
    """Return the value of a JSON file as it is stored.

    Raises:
        Damaged: the file is missing, no file, or not JSON.
        UserError: the disk refuses to read it.
    """
    try:
        return json.loads(load_bytes(path))
    except (ValueError, RecursionError):
        raise Damaged(path, "is damaged (not JSON)") from None


def load_bytes(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        Damaged: the file is missing, or something else stands in its place.
        UserError: the disk refuses to read it.
    """
    try:
        return read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged(path, "is missing") from None
    except IsADirectoryError:
        raise Damaged(path, "is a folder, where a file was written") from None
    except PermissionError as error:
        raise UserError(f"cannot read '{path}'; change its permissions.") from error
    except OSError as error:
        if path.exists() and not path.is_file():
            raise Damaged(path, "is no regular file") from None
        raise UserError(f"cannot read '{path}' ({error.strerror}); check the disk.") from error
