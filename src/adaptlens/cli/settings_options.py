"""Options made from the settings that they give, and how they become those."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from adaptlens import registry
from adaptlens.config import described
from adaptlens.config.described import Setting
from adaptlens.config.fields import Shared, TaskSource
from adaptlens.config.reading import load_config
from adaptlens.config.schema import Schema
from adaptlens.errors import UserError
from adaptlens.formatting import listed


def options(study: str | None) -> list[click.Option]:
    """Return the options of a `cli.options.SettingsCommand`."""
    if study is None:
        return _reading_options("difficulty")
    if study:
        return _study_options(registry.resolve("settings", study))
    usable = []
    for name in registry.names("study"):
        # A package that cannot be used must not take the help of the others with it.
        with suppress(UserError):
            usable.append(registry.resolve("settings", name))
    return _study_options(*usable)


def _numbers(_: click.Context, option: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    words = [word.strip() for word in value.split(",") if word.strip()]
    try:
        return [int(word) for word in words]
    except ValueError:
        raise click.BadParameter(
            f"'{value}' is not a list of whole numbers; write for example 0,4,16.", param=option
        ) from None


def _number(
    ctx: click.Context, option: click.Parameter, value: str | None
) -> int | list[int] | None:
    """Return a number, or several where several are given: what is wrong then, the study says."""
    if value is None:
        return None
    if "," in value:
        return _numbers(ctx, option, value)
    return int(click.INT(value, option, ctx))


def task_settings() -> dict[str, Setting]:
    """Return how a task is read: the keys of a `TaskSource`, by name."""
    keys = described.keys_of(TaskSource)
    return {
        name: Setting(name, hint, MISSING, described.about(hint)) for name, hint in keys.items()
    }


def _reading_options(*further: str) -> list[click.Option]:
    """Return the options that say how a task is read, and those of further keys of it."""
    return [
        option_of(one)
        for name, one in task_settings().items()
        if one.about.option or name in further
    ]


def _study_options(*schemas: Schema[Any]) -> list[click.Option]:
    """Return the options of a command that takes the settings of one study, or of any of several.

    Those that every study has come last. Of several, the first that has a setting says what it is,
    and no defaults are shown, as they differ.
    """
    settings: dict[str, Setting] = {}
    for schema in schemas:
        for path, one in schema.settings.items():
            of_task = schema.tables.get(path.rpartition(".")[0]) is TaskSource
            if one.about.option and not of_task:
                settings.setdefault(path, one)
    made = {path: option_of(one, default=len(schemas) == 1) for path, one in settings.items()}
    what = [made.pop(name) for name in ("models", "tasks") if name in made]
    shared = [path for path in made if path.partition(".")[0] in Shared.__dataclass_fields__]
    last = [made.pop(path) for path in shared]
    return [
        click.Option(["--config", "config_file"], type=click.Path(path_type=Path), metavar="FILE",
                     help="YAML or .py file with the settings; options given here override it."),
        *what,
        *(_reading_options() if "tasks" in settings else ()),
        *made.values(),
        *last,
        click.Option(["--set", "overrides"], multiple=True, metavar="PATH=VALUE",
                     help="Any other setting, such as tune.lora_rank=16 or tune.max_steps=60; "
                     "`adaptlens settings STUDY` lists them."),
        click.Option(["--out"], type=click.Path(path_type=Path), metavar="FOLDER",
                     help="Run folder (default: one named after study, models and tasks in "
                     "runs/)."),
    ]  # fmt: skip


def option_of(setting: Setting, *, default: bool = True) -> click.Option:
    """Return the option that gives a setting, its help made of what the setting says."""
    names = _option_names(setting)
    named: dict[str, Any] = {"default": None, "help": _help(setting, default)}
    shape = next(one for one in described.shapes(setting.hint) if one is not type(None))
    if setting.about.whole:
        one = setting.name.upper().removesuffix("S")
        named |= {"multiple": True, "metavar": "NAME=PATH" if setting.is_free else one}
    elif shape is bool and setting.default is False:
        named |= {"is_flag": True}
    elif shape is bool:
        names = [f"{names[0]}/--no-{names[0][2:]}"]
    elif shape is int:
        named |= {"callback": _number, "metavar": "N"}
    elif setting.is_list:
        named |= {"metavar": ",".join(map(str, setting.example))}
        if described.shape(described.item(setting.hint)) is int:
            named |= {"callback": _numbers}
    elif not setting.choices:
        named |= {"metavar": "TASK" if setting.table else "TEXT"}
    if setting.choices:
        named |= {"type": Names(setting.choices)}
    return click.Option([*names, setting.path.replace(".", "__")], **named)


class Names(click.Choice):
    """Names that help shows and a shell completes, in a list too; settings refuse any other."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return it as it is given: where it is no such name, the settings say the nearest."""
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what may stand there: each name, or in a list each name that is not in it."""
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [
            CompletionItem(f"{before}{comma}{name}")
            for name in map(str, self.choices)
            if name.startswith(last) and name not in given
        ]


def _option_names(setting: Setting) -> list[str]:
    named = setting.about.option
    return list(named) if isinstance(named, tuple) else [f"--{setting.name.replace('_', '-')}"]


def _help(setting: Setting, with_default: bool) -> str:
    """Return what a setting is, the names it takes, and what it is where it is not given."""
    # Of a single name the option itself shows which there are.
    more = [listed(setting.choices, "or")] if setting.choices and setting.is_list else []
    value = setting.default
    if with_default and value not in (MISSING, None, False, (), ""):
        every = setting.choices and [*value] == setting.choices if setting.is_list else False
        text = ",".join(map(str, value)) if setting.is_list else str(value)
        if setting.is_list and isinstance(value[0], dict):
            text = ", ".join(one["path"] for one in value)
        more.append(f"default: {'all' if every else str(text).lower()}")
    repeatable = " Repeatable." if setting.about.whole else ""
    return f"{setting.about.description}{repeatable}" + (f" [{'; '.join(more)}]" if more else "")


def reading(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that say how to read a task that were given."""
    keys = [name for name, one in task_settings().items() if one.about.option]
    found = {name: given[name] for name in keys if given.get(name) not in (None, ())}
    if "templates" in found:
        found["templates"] = list(found["templates"])
    if "fields" in found:
        found["fields"] = [word.strip() for word in found["fields"].split(",")]
    return found


def study_config(
    study: str, config_file: Path | None, overrides: tuple[str, ...], **given: Any
) -> Any:
    """Return the settings of a study from the options that were given.

    Raises:
        UserError: a setting is wrong, or an option means nothing to this study.
    """
    schema = registry.resolve("settings", study)
    about = reading(given)
    options = {
        name.replace("__", "."): value
        for name, value in given.items()
        if name not in about and value not in (None, ())
    }
    if about and "tasks" not in options:
        option = _option_names(task_settings()[next(iter(about))])[0]
        raise UserError(f"{option} says how to read a task, but no --task was given; add --task.")
    for path in options:
        if path not in schema.settings:
            raise UserError(
                f"--{path.replace('_', '-')} means nothing to the study '{study}'; leave it out, "
                "or name another study with --study."
            )
    inner = [f"{path}={value}" for path, value in options.items() if "." in path]
    settings = {path: value for path, value in options.items() if "." not in path}
    if "tasks" in settings:
        named = [_named(name, study) for name in settings["tasks"]]
        settings["tasks"] = [{**own, **about} for own in named]
    if "models" in settings:
        settings["models"] = list(settings["models"])
    if "arms" in settings:
        settings["arms"] = _by_name("--arm", settings["arms"])
    if "also" in settings:
        settings["also"] = [{"path": path} for path in settings["also"]]
    if "ood" in settings:
        domains = _by_name("--ood", settings["ood"])
        settings["ood"] = {name: {"path": path, **about} for name, path in domains.items()}
    for name, value in settings.items():
        # An option of `plan` that some study takes a list for.
        if isinstance(value, list) and not schema.settings[name].is_list:
            settings[name] = _sole(name, value, study, schema)
    return load_config(schema, config_file, (*inner, *overrides), settings)


def _sole(name: str, value: list[Any], study: str, schema: Schema[Any]) -> Any:
    """Return the one number given to an option that takes several in other studies."""
    if len(value) == 1:
        return value[0]
    others = "; further ones are given as --counts 1,4,16" if "counts" in schema.settings else ""
    raise UserError(
        f"--{name} {','.join(map(str, value))}: the study '{study}' takes one number, for example "
        f"--{name} {schema.settings[name].example}{others}."
    )


_PATHS = {
    "--arm": "for example mine=adapters/mine: the name that tables call it, and an adapter's "
    "folder, a checkpoint, or a file with a prompt",
    "--ood": "for example tweets=tweets.tsv: the name that tables call it, and a file with the "
    "task's own answers",
}


def _by_name(option: str, given: Iterable[str]) -> dict[str, str]:
    """Return paths by name, each given as NAME=PATH.

    Raises:
        UserError: one is not, or a name is given twice.
    """
    paths: dict[str, str] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not (name and path):
            raise UserError(f"{option} {text}: expected NAME=PATH, {_PATHS[option]}.")
        if name in paths:
            raise UserError(f"{option} {name}= was given twice; give each a name of its own.")
        paths[name] = path
    return paths


def _named(task: str, study: str) -> dict[str, str]:
    """Return where a task is; that of a study of limits has its cluster before it: nli=rte.tsv."""
    cluster, equals, path = task.partition("=")
    if study == "limits" and equals and cluster and path:
        return {"path": path, "cluster": cluster}
    return {"path": task}
