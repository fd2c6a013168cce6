"""Settings written out: short forms, former names, values in JSON's own types."""

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_type_hints

from adaptlens.config import described, messages
from adaptlens.config.described import About, Word, about, is_table, peel
from adaptlens.config.messages import Sources
from adaptlens.config.schema import Schema
from adaptlens.config.yaml12 import Place
from adaptlens.errors import UserError

_DEEPEST = 20
_MOST_DIGITS = 300

_log = logging.getLogger(__name__)


def plain(value: Any, place: Place, sources: Sources, schema: Schema[Any]) -> Any:
    """Return the value in JSON's own types, texts for paths; refuse everything else."""
    if isinstance(value, Path):
        return str(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if len(place) > _DEEPEST:
        raise messages.wrong(place[:1], "settings nested without end", sources, schema)
    if isinstance(value, Mapping):
        return {str(k): plain(v, (*place, str(k)), sources, schema) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, (*place, i), sources, schema) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise messages.wrong(place, value, sources, schema)
    if isinstance(value, int) and abs(value) >= 10**_MOST_DIGITS:
        raise messages.wrong(place, f"a number of more than {_MOST_DIGITS} digits", sources, schema)
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise messages.wrong(place, value, sources, schema)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise messages.wrong(place, value, sources, schema)


def renamed(
    value: dict[str, Any], sources: dict[Place, str], schema: Schema[Any], *, note: bool
) -> dict[str, Any]:
    """Return the settings by their present names, and let the sources say so.

    Args:
        value: settings, some of which may have the former name.
        sources: where each was written; changed along.
        schema: of the settings.
        note: warn of each former name.

    Raises:
        UserError: a setting is given by both of its names.
    """
    out = _by_present_names(value, (), sources, schema, note)
    for name in schema.tables:
        if isinstance(table := out.get(name), dict):
            out[name] = _by_present_names(table, (name,), sources, schema, note)
    return out


def _by_present_names(
    table: dict[str, Any], at: Place, sources: dict[Place, str], schema: Schema[Any], note: bool
) -> dict[str, Any]:
    former = schema.former(messages.path(at))
    for old in former.keys() & table.keys():
        before, now = (*at, old), (*at, former[old])
        where = messages.where(before, sources)
        if former[old] in table:
            raise twice(where, messages.shown(before), messages.shown(now))
        if note:
            note_former(where, messages.shown(before), now)
        for place in [p for p in sources if p[: len(before)] == before]:
            sources[(*now, *place[len(before) :])] = sources.pop(place)
    return {former.get(key, key): item for key, item in table.items()}


def note_former(where: str, before: str, now: Place) -> None:
    """Warn that a setting was given by its former name."""
    _log.warning(
        "note: %s%s is called %s now; the former name is understood until the next release",
        where,
        before,
        messages.shown(now),
    )


def twice(where: str, one: str, other: str) -> UserError:
    """Return the error for a setting given by its former and its present name."""
    return UserError(
        f"{where}{one} and {other} are one setting by its former and its present name, and both "
        "are given; give it once."
    )


def spread(value: Mapping[str, Any], schema: Schema[Any]) -> dict[str, Any]:
    """Return the settings with every short form written out, as their types say.

    One item stands for a list of it, "0,4,16" for a list of several, a text for settings that need
    one key alone, null for no settings, and a number for a text where that is a label or a column.
    """
    hints = get_type_hints(schema.kind, include_extras=True)
    known = {one.name: hints[one.name] for one in fields(schema.kind)}
    return {
        name: _spread(item, known[name]) if name in known else item for name, item in value.items()
    }


def _spread(value: Any, hint: Any) -> Any:
    alternatives = peel(hint).alternatives
    by_shape = {described.shape(one): one for one in alternatives}
    if value is None:
        return {} if dict in by_shape and NoneType not in by_shape else None
    if not isinstance(value, list) and list in by_shape and not by_shape.keys() & {str, dict}:
        value = _several(value, by_shape[list], about(hint))
    if isinstance(value, list):
        if list not in by_shape:
            return value
        return [_spread(one, described.item(by_shape[list])) for one in value]
    if dict in by_shape:
        kind = peel(by_shape[dict]).alternatives[0]
        if is_table(kind) and isinstance(value, str) and len(kind.__required_keys__) == 1:
            value = dict.fromkeys(kind.__required_keys__, value)
        if isinstance(value, dict):
            drops = is_table(kind) or len(by_shape) == 1
            given = {key: one for key, one in value.items() if one is not None or not drops}
            return _mapping(given, by_shape[dict], kind)
    words = any(isinstance(one, Word) for part in (hint, *alternatives) for one in peel(part)[1])
    return str(value) if words and type(value) is int else value


def _mapping(value: dict[str, Any], hint: Any, kind: Any) -> dict[str, Any]:
    """Return a mapping with its values written out."""
    hints = described.keys_of(kind) if is_table(kind) else {}
    own = None if is_table(kind) else described.item(hint)
    return {
        key: _spread(one, hints.get(key, own)) if key in hints or own else one
        for key, one in value.items()
    }


def _several(value: Any, hint: Any, said: About) -> list[Any]:
    """Return the items that a value stands for where a list is expected."""
    if not isinstance(value, str) or said.whole:
        return [value]
    words = [word.strip() for word in value.split(",") if word.strip()]
    numbers = described.shape(described.item(hint)) in (int, float)
    return [_number(word) for word in words] if numbers else list(words)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) and abs(number) < 10**_MOST_DIGITS else text
    return text
