"""The command that makes a run again, from the settings that the run holds."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from types import NoneType
from typing import Any

from adaptlens import registry
from adaptlens.config.described import Setting, item, shapes
from adaptlens.config.reading import load_config
from adaptlens.config.schema import Schema
from adaptlens.errors import UserError


def command(study: str, settings: Mapping[str, Any]) -> str:
    """Return the command that makes a run of these settings again.

    Models and tasks are always named; of other settings, those that would be otherwise.

    Args:
        study: the name of the study.
        settings: as the run's study.json holds them.
    """
    schema = registry.resolve("settings", study)
    words = ["adaptlens", *(("compare",) if study == "compare" else ("study", study))]
    for name, value in needed(schema, settings).items():
        words += _words(schema.settings[name], value)
    return " ".join(shlex.quote(word) for word in words)


def needed(schema: Schema[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return models and tasks, and those settings without which others would be otherwise."""
    whole = {n: _plain(settings[n]) for n in schema.kind.__dataclass_fields__ if n in settings}
    usual = _plain(asdict(schema.kind()))
    named = [name for name in ("models", "tasks") if whole.get(name)]
    given = {name: whole[name] for name in named}
    given |= {n: v for n, v in whole.items() if n not in named and v != usual.get(n)}
    for name in [name for name in given if name not in named]:
        rest = {n: v for n, v in given.items() if n != name}
        try:
            without = _plain(asdict(load_config(schema, settings=rest)))
        except UserError:
            continue
        if all(without[one] == value for one, value in whole.items()):
            given = rest
        elif isinstance(given[name], dict) and isinstance(without[name], dict):
            own = {k: v for k, v in given[name].items() if without[name].get(k, ...) != v}
            given[name] = own or given[name]
    return given


def _words(setting: Setting, value: Any) -> list[str]:
    """Return the words that give a setting: its option where it has a plain one, else --set."""
    name, option = setting.name, f"--{setting.name.replace('_', '-')}"
    if name == "models":
        return [word for one in value for word in ("--model", str(one))]
    if name == "tasks" and all([*one] == ["path"] for one in value):
        return [word for one in value for word in ("--task", str(one["path"]))]
    if setting.about.option is True and not setting.table:
        of = next(one for one in shapes(_hint(setting)) if one is not NoneType)
        if setting.is_list and value and (of is int or setting.choices):
            return [option, ",".join(map(str, value))]
        if of is int and type(value) is int:
            return [option, str(value)]
        if of is bool and value is True and setting.default is False:
            return [option]
    if isinstance(value, Mapping) and value:
        return [word for key, one in value.items() for word in _set(f"{name}.{key}", one)]
    return _set(name, value)


def _hint(setting: Setting) -> Any:
    return item(setting.hint) if setting.is_list else setting.hint


def _set(path: str, value: Any) -> list[str]:
    text = value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)
    return ["--set", f"{path}={text}"]


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it, so that lists and tuples are the same."""
    return json.loads(json.dumps(value))
