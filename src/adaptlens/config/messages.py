"""Errors about settings: where the value stands, what was given, what is expected."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from adaptlens.config.schema import Schema
from adaptlens.config.yaml12 import Place, read_yaml
from adaptlens.errors import UserError, one_line, unknown

Sources = Mapping[Place, str]
"""Where the value at a place was written: "study.yaml:3", "--set seed=3", or "" for none."""

_PLAIN = re.compile(r"[\w./][\w ./-]*")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def first_error(
    value: Any, errors: Sequence[Mapping[str, Any]], sources: Sources, schema: Schema[Any]
) -> UserError:
    """Return the error for the first of pydantic's findings about the settings in `value`."""
    # An unknown key goes first: it is often the reason that another one is missing.
    error = min(errors, key=lambda e: e["type"] not in _UNKNOWN)
    place = _place_in(value, error["loc"], schema)
    if error["type"] in _UNKNOWN:
        return unknown_key(place, sources, schema)
    if error["type"] == "missing":
        return UserError(
            f"{where(place[:-1], sources)}{shown(place[:-1])}: has no '{place[-1]}'; add it, for "
            f"example `{_expected(place, schema)[1]}`."
        )
    given = error["input"]
    if error["type"] == "literal_error" and isinstance(given, str):
        names = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        setting = path(place).rpartition(".")[2]
        setting = setting.removesuffix("s") if isinstance(place[-1], int) else setting
        return UserError(f"{where(place, sources)}{unknown(setting, given, names)}")
    return wrong(place, given, sources, schema)


def wrong(place: Place, given: Any, sources: Sources, schema: Schema[Any]) -> UserError:
    """Return the error for a value of the wrong type or out of range."""
    expected, example = _expected(place, schema)
    return UserError(
        f"{where(place, sources)}{shown(place)}: given {_value(given)}; expected {expected}, for "
        f"example `{example}`."
    )


def unknown_key(place: Place, sources: Sources, schema: Schema[Any]) -> UserError:
    """Return the error for a key that means nothing at its place."""
    prefix = shown(place[:-1])
    names = [f"{prefix}.{name}" if prefix else name for name in schema.known(path(place[:-1]))]
    return UserError(f"{where(place, sources)}{unknown('key', shown(place), names)}")


def where(place: Place, sources: Sources) -> str:
    """Return the source of the value at a place, or of what holds it, as a prefix for errors."""
    for end in range(len(place), -1, -1):
        if place[:end] in sources:
            source = sources[place[:end]]
            return f"{source}: " if source else ""
    return ""


def shown(place: Place) -> str:
    """Return a place as users write it, on one line: tasks.0.input."""
    return one_line(".".join(map(str, place)), 80, 30)


def path(place: Place) -> str:
    """Return a place without its list positions."""
    return ".".join(part for part in place if isinstance(part, str))


def _place_in(value: Any, loc: Sequence[str | int], schema: Schema[Any]) -> Place:
    """Return the part of pydantic's location that is in the data (the rest names types)."""
    place: list[str | int] = []
    for i, part in enumerate(loc):
        if isinstance(value, list):
            if not isinstance(part, int):
                break
            value = value[part]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        elif i < len(loc) - 1 or part not in schema.known(path(tuple(place))):
            break
        place.append(part)
    return tuple(place)


def _expected(place: Place, schema: Schema[Any]) -> tuple[str, str]:
    """Return what is expected at a place, and an example of it."""
    while place and path(place) not in schema.settings:
        place = place[:-1]
    if not place:
        return "settings", "models: [reference]"
    setting = schema.settings[path(place)]
    return setting.expected, f"{setting.name}: {flow(setting.example)}"


def flow(value: Any) -> str:
    """Return a value as YAML on one line: {path: reviews.tsv, header: false}."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{flow(key)}: {flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and read_yaml(value, "")[0] == value:
        return value
    return json.dumps(value, ensure_ascii=False)


def _value(given: Any) -> str:
    if given in ("", [], {}):
        return {"": "an empty text", "[]": "an empty list"}.get(str(given), "nothing in it")
    try:
        text = json.dumps(given, default=lambda v: f"a {type(v).__name__}", ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        text = f"a {type(given).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
