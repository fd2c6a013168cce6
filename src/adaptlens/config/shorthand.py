"""Short forms of settings written out, and values brought to JSON's own types."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptlens.config import messages
from adaptlens.config.messages import Sources
from adaptlens.config.schema import Schema
from adaptlens.config.yaml12 import Place

_NAMES = ("models", "tasks")
"""Lists of names that may hold a comma."""

_DEEPEST = 20
_MOST_DIGITS = 300


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


def spread(value: dict[str, Any], schema: Schema[Any]) -> dict[str, Any]:
    """Return the settings with every short form written out: one item as a list, 4GiB in bytes."""
    out = dict(value)
    for name in schema.lists:
        given = out.get(name)
        if isinstance(given, str) and name not in _NAMES:
            out[name] = [_number(word.strip()) for word in given.split(",") if word.strip()]
        elif given is not None and not isinstance(given, list):
            out[name] = [given]
    for name in schema.sources:
        if isinstance(out.get(name), list):
            out[name] = [_task(task) for task in out[name]]
        elif name in out:
            out[name] = _task(out[name])
    for name in {*schema.tables, *schema.free} - {*schema.sources}:
        if name in out and out[name] is None:
            out[name] = {}
        elif isinstance(given := out.get(name), dict):
            out[name] = {k: v for k, v in given.items() if v is not None}
    if isinstance(tune := out.get("tune"), dict):
        several = ("rate", "rate_times", "steps", "targets")
        out["tune"] = {
            k: [v] if k in several and not isinstance(v, list) else v for k, v in tune.items()
        }
    return out


def _task(given: Any) -> Any:
    if isinstance(given, str):
        return {"path": given}
    if not isinstance(given, dict):
        return given
    # Labels and columns are often numbers; 0 and "0" mean the same there.
    task = {k: v for k, v in given.items() if v is not None}
    for name in ("input", "target", "group"):
        if name in task:
            given = task[name]
            task[name] = [*map(_label, given)] if isinstance(given, list) else _label(given)
    for name in ("templates", "fields"):
        if isinstance(text := task.get(name), str):
            task[name] = [text] if name == "templates" else [w.strip() for w in text.split(",")]
    if isinstance(words := task.get("label_words"), dict):
        task["label_words"] = {raw: _label(word) for raw, word in words.items()}
    if isinstance(choices := task.get("choices"), list):
        task["choices"] = [_label(choice) for choice in choices]
    if isinstance(choices, dict):
        task["choices"] = {raw: _label(word) for raw, word in choices.items()}
    return task


def _label(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) and abs(number) < 10**_MOST_DIGITS else text
    return text
