"""One text for one value: canonical JSON, and digests that name cells."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: equal values give equal text, on every machine.

    Keys are sorted, there is no white space, characters outside ASCII are escaped, floats are
    written in the shortest form that reads back as the same number. A tuple is written as a list;
    `1` and `1.0` differ.

    Raises:
        TypeError: a key is not a string, or a value is not made of None, bool, int, float, str,
            list, tuple and dict. The message names the place.
        ValueError: a float is NaN or infinite, which JSON cannot say.
    """
    return _write(_checked(value, "$"))


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def tagged_json(value: Any) -> str:
    """Return canonical JSON in which NaN and the infinities are written as {"$float": "nan"}.

    Numbers of NumPy's scalar types are written as Python's. `read_tagged_json` reads it back.
    """
    return _write(_tagged(value, "$"))


def read_tagged_json(text: str | bytes) -> Any:
    """Return the value that `tagged_json` wrote; raises ValueError where it is not JSON."""
    return json.loads(text, object_hook=_untag)


def _write(value: Any) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def _checked(value: Any, place: str) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place} is {value}; a settings value must be a finite number")
        return value
    if isinstance(value, list | tuple):
        return [_checked(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(k, place): _checked(v, f"{place}.{k}") for k, v in value.items()}
    raise TypeError(f"{place} is a {type(value).__name__}, which has no canonical JSON")


def _tagged(value: Any, place: str) -> Any:
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, list | tuple):
        return [_tagged(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if set(value) == {"$float"}:
            raise ValueError(f"{place} uses the reserved key '$float'")
        return {_key(k, place): _tagged(v, f"{place}.{k}") for k, v in value.items()}
    return _checked(value, place)


def _untag(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if set(value) == {"$float"} else value


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{place} has the key {key!r}, which is not a string")
    return key
