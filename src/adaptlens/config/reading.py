"""Settings from a file, from Python or from the command line, checked as one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptlens.config import messages
from adaptlens.config.fields import STRICT
from adaptlens.config.messages import Sources
from adaptlens.config.schema import Config, Schema
from adaptlens.config.settings_file import read_settings
from adaptlens.config.shorthand import note_former, plain, renamed, spread, twice
from adaptlens.config.yaml12 import Place, read_yaml
from adaptlens.errors import UserError, one_line


def load_config(
    schema: Schema[Config],
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    *,
    note: bool = True,
) -> Config:
    """Return the settings in a file, replaced by `settings`, then by the overrides.

    Args:
        schema: of the study they are for.
        path: a YAML file; or a .py file, which is run, and whose `study()` returns settings (a
            mapping or the dataclass); or None for the defaults.
        overrides: "path=value" texts such as "tune.lora_rank=16"; values are read as YAML.
        settings: what is known already by name, as in `compare_config`.
        note: warn of settings given by a former name.

    Raises:
        UserError: the file cannot be read, or a setting is unknown, mistyped, out of range or given
            by its former and its present name; the message names file, line and path.
    """
    value, sources = ({}, {}) if path is None else read_settings(Path(path), schema)
    for name, given in (settings or {}).items():
        value[name] = given
        sources = {p: s for p, s in sources.items() if p[:1] != (name,)}
        sources[(name,)] = ""
    value = renamed(plain(value, (), sources, schema), sources, schema, note=note)
    value = spread(value, schema)
    spelled: dict[Place, str] = {}
    for override in overrides:
        _override(value, override, sources, schema, spelled, note)
    value = renamed(value, sources, schema, note=note)
    return _checked(spread(value, schema), sources, schema)


def reanalyzed(
    schema: Schema[Config], settings: Mapping[str, Any], overrides: Sequence[str]
) -> Config:
    """Return the settings a run was made with, its analysis changed by "path=value" texts.

    Args:
        schema: of the run's study.
        settings: as the run's study.json holds them.
        overrides: of the settings in `schema.analysis`.

    Raises:
        UserError: a setting is wrong, or would change what was measured.
    """
    for override in overrides:
        name = override.partition("=")[0].strip().partition(".")[0]
        if name in schema.known("") and name not in schema.analysis:
            allowed = ", ".join(schema.analysis) or "nothing"
            raise UserError(
                f"--set {one_line(override, 120, 40)}: '{name}' decides what is measured, and this "
                f"run was measured already; its report can change {allowed}: to change {name}, run "
                "the study again."
            )
    before = load_config(schema, settings=settings, note=False)
    config = load_config(schema, overrides=overrides, settings=settings, note=False)
    for name in schema.subsets:
        held = getattr(before, name)
        if added := [item for item in getattr(config, name) if item not in held]:
            raise UserError(
                f"--set {name}: '{added[0]}' was not measured in this run, which has "
                f"{', '.join(held) or 'none'}; run the study again with it."
            )
    return config


def _override(
    value: dict[str, Any],
    override: str,
    sources: dict[Place, str],
    schema: Schema[Any],
    spelled: dict[Place, str],
    note: bool,
) -> None:
    """Put "path=value" into the settings; `spelled` holds the paths of those put there before."""
    path, equals, text = override.partition("=")
    label = f"--set {one_line(override, 120, 40)}"
    if not equals or not path.strip():
        raise UserError(f"{label}: expected PATH=VALUE, for example --set tune.lora_rank=16.")
    place: list[str | int] = []
    parts = path.strip().split(".")
    inside: Any = value
    former = False
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        at = messages.path(tuple(place))
        if isinstance(inside, list):
            if not part.isdecimal() or len(part) > 9 or int(part) >= len(inside):
                raise UserError(
                    f"{label}: {messages.shown(tuple(place))} has no item '{one_line(part, 40)}'; "
                    f"expected a number from 0 to {len(inside) - 1}."
                )
            key: str | int = int(part)
        elif isinstance(inside, dict) and (schema.is_free(at) or schema.known(at)):
            former = former or part in schema.former(at)
            key = part = schema.former(at).get(part, part)
            if not schema.is_free(at) and part not in schema.known(at):
                raise messages.unknown_key((*place, part), {(): label}, schema)
            if not last and inside.get(part) is None:
                default = None if place else getattr(schema.kind(), part)
                inside[part] = plain(default, (part,), {}, schema) or {}
        else:
            raise UserError(
                f"{label}: '{messages.shown(tuple(place))}' holds no settings of its own; expected "
                "PATH=VALUE, for example --set tune.lora_rank=16."
            )
        place.append(key)
        if last:
            new, _ = read_yaml(text, label)
            inside[key] = plain(new, tuple(place), {(): label}, schema)
        else:
            inside = inside[key]
    now, given = tuple(place), path.strip()
    if note and former:
        note_former(f"{label}: ", given, now)
    if spelled.setdefault(now, given) != given:
        raise twice("--set ", given, spelled[now])
    for old in [p for p in sources if p[: len(now)] == now]:
        del sources[old]
    sources[now] = label


def _checked(value: dict[str, Any], sources: Sources, schema: Schema[Config]) -> Config:
    import pydantic

    value = dict(schema.filled(value))
    if not hasattr(schema.kind, "__pydantic_config__"):
        # Without it, pydantic drops what it does not know, and takes "3" for 3.
        schema.kind.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    try:
        # As JSON, because there lists may become tuples while numbers may not become texts.
        config = pydantic.TypeAdapter(schema.kind).validate_json(json.dumps(value))
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False)
        raise messages.first_error(value, found, sources, schema) from None
    for name in (path for path, setting in schema.settings.items() if setting.is_list):
        top, _, inner = name.partition(".")
        given = getattr(config, top)
        items: Any = (given.get(inner) if isinstance(given, dict) else None) if inner else given
        items = items or ()
        repeated = next((x for i, x in enumerate(items) if x in items[:i]), None)
        if repeated is not None:
            shown = repeated["path"] if isinstance(repeated, dict) else repeated
            where = messages.where(tuple(name.split(".")), sources)
            raise UserError(f"{where}{name}: '{shown}' is given twice; give it once.")
    if conflict := schema.conflict(config):
        place, sentence = conflict
        raise UserError(f"{messages.where(place, sources)}{messages.shown(place)}: {sentence}")
    return config
