"""The settings of a study as rows of a list, as a page of the documentation, as a JSON Schema."""

from collections.abc import Mapping
from dataclasses import MISSING
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from adaptlens import registry
from adaptlens.config import described
from adaptlens.config.described import Setting, Word, about, bounds, is_table, peel, settings_of
from adaptlens.config.fields import Shared
from adaptlens.config.messages import flow
from adaptlens.config.schema import Schema

_BOUNDS = {Ge: "minimum", Gt: "exclusiveMinimum", Le: "maximum", Lt: "exclusiveMaximum"}
_LENGTHS = {(list, MinLen): "minItems", (list, MaxLen): "maxItems", (str, MinLen): "minLength"}
_COMMA: dict[str, Any] = {"type": "string", "pattern": ","}


def rows(schema: Schema[Any]) -> list[dict[str, Any]]:
    """Return a row for each setting, in order: name, expected, default, description, example.

    A setting without a default, which is only there when it is given, has no "default"; one that
    has had another name has that as "formerly".
    """
    return [_row(one) for one in schema.settings.values()]


def _row(one: Setting) -> dict[str, Any]:
    row = {"name": one.path, "expected": one.expected}
    row |= {} if one.default is MISSING else {"default": one.default}
    row |= {"description": one.about.description, "example": one.example}
    return row | ({"formerly": one.about.formerly} if one.about.formerly else {})


def cells(row: Mapping[str, Any]) -> list[str]:
    """Return a row as texts; nothing where there is no default."""
    shown = flow(row["default"]) if "default" in row else ""
    return [row["name"], row["expected"], shown, row["description"], flow(row["example"])]


HEADINGS = ("setting", "expected", "default", "what it is", "example")


def as_markdown() -> str:
    """Return the settings of all studies as docs/settings.md has them; shared ones once."""
    shared = settings_of(Shared)
    lines = [_HEAD, "## Every study", "", *_table(shared)]
    for study in registry.names("settings"):
        own = {
            path: one
            for path, one in registry.resolve("settings", study).settings.items()
            if path not in shared or cells(_row(one)) != cells(_row(shared[path]))
            if not path.startswith(("tasks.", "unrelated."))
        }
        lines += [f"## {study}", "", *_table(own)]
    return "\n".join(lines)


def _table(settings: Mapping[str, Setting]) -> list[str]:
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    for row in map(_row, settings.values()):
        name, expected, default, description, example = (
            text.replace("|", "\\|") for text in cells(row)
        )
        former = f" (was `{row['formerly']}`)" if "formerly" in row else ""
        shown = f"`{default}`" if default else ""
        lines.append(f"| `{name}`{former} | {expected} | {shown} | {description} | `{example}` |")
    return [*lines, ""]


_HEAD = """\
# Settings

Every setting of every study, as `adaptlens settings STUDY` lists them. They are given in a file
(`--config study.yaml`), by name in Python, as `--set NAME=VALUE`, and many as options of their own.
A single item may stand for a list, `0,4,16` for a list of several, a text for a task's path.
`adaptlens settings STUDY --schema` prints a JSON Schema, by which editors complete and check such
a file. This page is made from `adaptlens.config.listing.as_markdown`.
"""


def json_schema(schema: Schema[Any]) -> dict[str, Any]:
    """Return a JSON Schema (2020-12) of a study's settings, as files may write them.

    Short forms are valid in it, and former names, which are marked as deprecated.
    """
    top = {path: one for path, one in schema.settings.items() if "." not in path}
    properties = {path: _property(one.hint) for path, one in top.items()}
    for path, one in top.items():
        if one.default is not MISSING:
            properties[path]["default"] = one.default
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Settings of the study {schema.study}",
        "type": "object",
        "properties": {**properties, **_former({path: one.hint for path, one in top.items()})},
        "additionalProperties": False,
    }


def _former(hints: Mapping[str, Any]) -> dict[str, Any]:
    named = {about(hint).formerly: hint for hint in hints.values()}
    return {old: {**_property(hint), "deprecated": True} for old, hint in named.items() if old}


def _property(hint: Any) -> dict[str, Any]:
    """Return the schema of a setting: what it takes, what it is, an example."""
    alternatives, metadata = peel(hint)
    forms = [form for one in alternatives for form in _forms(one, metadata, about(hint).whole)]
    if {*map(described.shape, alternatives)} & {dict} and NoneType not in alternatives:
        forms.append({"type": "null"})
    said = about(hint)
    extra: dict[str, Any] = {"description": said.description} if said.description else {}
    extra |= {"examples": [said.example]} if said.example is not None else {}
    return {**(forms[0] if len(forms) == 1 else {"anyOf": forms}), **extra}


def _forms(hint: Any, outer: tuple[Any, ...], whole: bool) -> list[dict[str, Any]]:
    """Return the forms in which one of the alternatives of a type may be written."""
    (bare, *_), own = peel(hint)
    metadata, shape = (*outer, *own), described.shape(hint)
    lengths = {
        name: one.max_length if isinstance(one, MaxLen) else one.min_length
        for one in metadata
        if (name := _LENGTHS.get((shape, type(one))))
    }
    if get_origin(bare) is Literal:
        return [{"enum": list(get_args(bare))}]
    if shape is list:
        item = _property(described.item(bare))
        array = {"type": "array", "items": item, **lengths}
        return [array, item, *([] if whole else [_COMMA])]
    if is_table(bare):
        keys = described.keys_of(bare)
        known = {name: _property(one) for name, one in keys.items()}
        table = {
            "type": "object",
            "properties": {**known, **_former(keys)},
            "required": sorted(bare.__required_keys__),
            "additionalProperties": False,
        }
        sole = len(bare.__required_keys__) == 1
        return [table, *([{"type": "string", "minLength": 1}] if sole else [])]
    if shape is dict:
        return [{"type": "object", "additionalProperties": _property(described.item(bare))}]
    if shape is str:
        text = {"type": "string", **lengths}
        return [text, *([{"type": "integer"}] if Word in map(type, metadata) else [])]
    kind = {bool: "boolean", int: "integer", float: "number", NoneType: "null"}[shape]
    within = {_BOUNDS[one]: value for one, value in bounds(metadata).items()}
    return [{"type": kind, **(within if kind in ("integer", "number") else {})}]
