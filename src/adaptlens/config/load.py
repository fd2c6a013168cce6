"""Settings from a file, from Python or from the command line, checked as one."""

import importlib.util
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adaptlens.config import wording
from adaptlens.config.settings import CompareConfig
from adaptlens.config.wording import Sources
from adaptlens.config.yaml12 import Place, read_yaml
from adaptlens.errors import UserError

MAX_CONFIG_BYTES = 1_000_000
_LISTS = ("models", "tasks", "tuning", "shots", "sizes")
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def load_config(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> CompareConfig:
    """Return the settings in a file, replaced by `settings`, then by the overrides.

    Args:
        path: a YAML file; or a .py file, which is run, and whose `study()` returns settings (a
            mapping or a `CompareConfig`); or None for the defaults.
        overrides: "path=value" texts such as "tune.rank=16"; values are read as YAML.
        settings: what is known already by name, as in `compare_config`.

    Raises:
        UserError: the file cannot be read, or a setting is unknown, mistyped or out of range; the
            message names file, line and path.
    """
    value, sources = ({}, {}) if path is None else _read(Path(path))
    for name, given in (settings or {}).items():
        value[name] = given
        sources = {p: s for p, s in sources.items() if p[:1] != (name,)}
        sources[(name,)] = ""
    value = _spread(_plain(value, (), sources))
    for override in overrides:
        _override(value, override, sources)
    return _checked(_spread(value), sources)


def compare_config(**settings: Any) -> CompareConfig:
    """Return the settings given by name, checked as those of a file are.

    Raises:
        UserError: a setting is unknown, mistyped or out of range.
    """
    return load_config(settings=settings)


def load_study(path: str | Path) -> Any:
    """Run a .py file that the user named, and return what its `study()` returns.

    Raises:
        UserError: there is no such file, it is not Python, or it defines no `study`. What the
            file itself raises is not caught.
    """
    path = Path(path)
    _text(path)
    spec = importlib.util.spec_from_file_location("adaptlens_user_study", path)
    if spec is None or spec.loader is None:
        raise UserError(f"'{path}' is not a Python file; expected a name that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        where = error.filename or path
        raise UserError(f"{where}:{error.lineno}: not Python ({error.msg}); correct it.") from None
    study = getattr(module, "study", None)
    if not callable(study):
        raise UserError(f"'{path}' defines no function study(); add one that returns the study.")
    return study()


def _read(path: Path) -> tuple[dict[str, Any], dict[Place, str]]:
    """Return the settings in a file and where each stands ("study.yaml:3")."""
    if path.suffix == ".py":
        made = load_study(path)
        if isinstance(made, CompareConfig):
            made = asdict(made)
        if not isinstance(made, Mapping):
            raise UserError(
                f"'{path}': study() returned a {type(made).__name__}; expected settings: a mapping "
                "or compare_config(...)."
            )
        return dict(made), {(): str(path)}
    if path.suffix not in (".yaml", ".yml", ".json"):
        raise UserError(f"'{path}' is not a config file; expected .yaml, .yml, .json or .py.")
    value, lines = read_yaml(_text(path), str(path))
    if value is None:
        raise UserError(f"'{path}' is empty; expected settings such as models: [reference].")
    if not isinstance(value, dict):
        raise UserError(
            f"'{path}' holds a {_kind(value)}; expected settings such as models: [reference]."
        )
    return value, {place: f"{path}:{line}" for place, line in lines.items()}


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UserError(
                f"'{path}' is larger than {MAX_CONFIG_BYTES} bytes; expected the settings of a "
                "study; check that this is the right file."
            )
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"config file '{path}' does not exist; check the name.") from None
    except IsADirectoryError:
        raise UserError(f"'{path}' is a folder; expected a config file, .yaml or .py.") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"'{path}' is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from None
    except OSError as error:
        raise UserError(f"cannot read '{path}' ({error.strerror}); check it.") from None


def _plain(value: Any, place: Place, sources: Sources) -> Any:
    """Return the value in JSON's own types, texts for paths; refuse everything else."""
    if isinstance(value, Path):
        return str(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    if isinstance(value, Mapping):
        return {str(k): _plain(v, (*place, str(k)), sources) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*place, i), sources) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise wording.wrong(place, value, sources)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise wording.wrong(place, value, sources)


def _spread(value: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with every short form written out: one item as a list, 4GiB in bytes."""
    out = dict(value)
    for name in _LISTS:
        given = out.get(name)
        if isinstance(given, str) and name not in ("models", "tasks"):
            out[name] = [_number(word.strip()) for word in given.split(",") if word.strip()]
        elif given is not None and not isinstance(given, list):
            out[name] = [given]
    if isinstance(out.get("tasks"), list):
        out["tasks"] = [_task(t) for t in out["tasks"]]
    if isinstance(out.get("tune"), dict):
        tune = {k: v for k, v in out["tune"].items() if v is not None}
        for name in ("rate", "steps", "targets"):
            if name in tune and not isinstance(tune[name], list):
                tune[name] = [tune[name]]
        out["tune"] = tune
    for name in ("tune", "prices"):
        if name in out and out[name] is None:
            out[name] = {}
    if isinstance(out.get("prices"), dict):
        out["prices"] = {k: v for k, v in out["prices"].items() if v is not None}
    if isinstance(budget := out.get("budget"), str):
        match = re.fullmatch(r"([0-9.]+)\s*([a-z]*)", budget.strip().lower())
        if match and match[2] in _UNITS and isinstance(size := _number(match[1]), int | float):
            out["budget"] = int(size * _UNITS[match[2]])
    return out


def _task(given: Any) -> Any:
    if isinstance(given, str):
        return {"path": given}
    if not isinstance(given, dict):
        return given
    # Labels and columns are often numbers; 0 and "0" mean the same there.
    task = {k: v for k, v in given.items() if v is not None}
    for name in ("input", "target"):
        if name in task:
            task[name] = _label(task[name])
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
            return kind(text)
        except ValueError:
            continue
    return text


def _override(value: dict[str, Any], override: str, sources: dict[Place, str]) -> None:
    """Put "path=value" into the settings."""
    path, equals, text = override.partition("=")
    label = f"--set {override}"
    if not equals or not path.strip():
        raise UserError(f"{label}: expected PATH=VALUE, for example --set tune.rank=16.")
    place: list[str | int] = []
    parts = path.strip().split(".")
    inside: Any = value
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if isinstance(inside, list):
            if not part.isdecimal() or int(part) >= len(inside):
                raise UserError(
                    f"{label}: {wording.shown(tuple(place))} has no item '{part}'; expected a "
                    f"number from 0 to {len(inside) - 1}."
                )
            key: str | int = int(part)
        elif isinstance(inside, dict) and wording.known(tuple(place)):
            key = part
            if part not in wording.known(tuple(place)):
                raise wording.unknown_key((*place, part), {(): label})
            if not last and part not in inside:
                inside[part] = _plain(getattr(CompareConfig(), part), (part,), {})
        else:
            raise UserError(
                f"{label}: '{wording.shown(tuple(place))}' holds no settings of its own; expected "
                "PATH=VALUE, for example --set tune.rank=16."
            )
        place.append(key)
        if last:
            new, _ = read_yaml(text, label)
            inside[key] = _plain(new, tuple(place), {(): label})
        else:
            inside = inside[key]
    for old in [p for p in sources if p[: len(place)] == tuple(place)]:
        del sources[old]
    sources[tuple(place)] = label


def _checked(value: dict[str, Any], sources: Sources) -> CompareConfig:
    import pydantic

    try:
        # As JSON, because there lists may become tuples while numbers may not become texts.
        config = pydantic.TypeAdapter(CompareConfig).validate_json(json.dumps(value))
    except pydantic.ValidationError as error:
        raise wording.first_error(value, error.errors(include_url=False), sources) from None
    for name in (*_LISTS, "tune.rate", "tune.steps"):
        top, _, inner = name.partition(".")
        items: Any = (config.tune.get(inner) if inner else getattr(config, top)) or ()
        repeated = next((x for i, x in enumerate(items) if x in items[:i]), None)
        if repeated is not None:
            shown = repeated["path"] if isinstance(repeated, dict) else repeated
            where = wording.where(tuple(name.split(".")), sources)
            raise UserError(f"{where}{name}: '{shown}' is given twice; give it once.")
    return config


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else "text" if isinstance(value, str) else "number"
