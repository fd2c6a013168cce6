"""What a call from Python gives beside names: loaded models, data, and nobody to report to.

Objects get names for as long as the call runs, so that everything below reads names alone.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from adaptlens.config import described
from adaptlens.config.fields import TaskSource
from adaptlens.config.reading import load_config
from adaptlens.config.schema import Schema
from adaptlens.engines import Reporter, Silent
from adaptlens.errors import UserError
from adaptlens.models import loaded
from adaptlens.studies.python_words import in_keywords
from adaptlens.tasks import python_objects

Found = TypeVar("Found")

TASKS, DOMAINS = ("tasks", "also"), ("ood",)
"""Settings that hold tasks: in a list, and by the name of a domain."""


def carried_out(
    schema: Schema[Any],
    run_study: Callable[..., Found],
    given: Mapping[str, Any],
    *,
    tokenizer: Any,
    out: str | Path | None,
    reporter: Reporter | None,
    quiet: bool,
) -> Found:
    """Return what a study finds that a caller of Python asked for.

    Args:
        schema: of the study.
        run_study: takes its settings, `out` and `reporter`.
        given: its settings, see `settings_of`.
        tokenizer: of loaded models.
        out: the run folder.
        reporter: who is told of progress, see `told`.
        quiet: whether nobody is.

    Raises:
        UserError: anything the caller can fix.
    """
    with (
        in_keywords(schema),
        settings_of(schema, given, tokenizer) as settings,
        told(reporter, quiet) as shown,
    ):
        config = load_config(schema, settings=settings)
        return run_study(config, out=out, reporter=shown)


@contextmanager
def settings_of(
    schema: Schema[Any], given: Mapping[str, Any], tokenizer: Any = None
) -> Iterator[dict[str, Any]]:
    """Yield the settings of a call, with names for the objects in them; they hold inside alone.

    Args:
        schema: of the study.
        given: `models` (a name, a loaded model, or a list of them), `task` (a name, data, settings
            with a `path`, or a list of them), and other settings; among them how tasks are read
            (input, target, choices, instruction, ...), and the `name` of data.
        tokenizer: of the loaded models.

    Raises:
        UserError: an object is nothing that can be used, or settings do not go with it.
    """
    about = {
        key: given[key]
        for key in ("name", *described.keys_of(TaskSource))
        if key in given and key not in schema.known("")
    }
    settings = {key: value for key, value in given.items() if key not in about}
    if "task" in settings:
        if "tasks" in settings:
            raise UserError("task and tasks are one setting, and both were given; give it once.")
        settings["tasks"] = settings.pop("task")
    if "path" in about or (about and "tasks" not in settings):
        raise UserError(
            f"{next(iter(about))} says how to read a task, but no task was given; add task=."
        )
    data: dict[str, python_objects.Data] = {}
    for key in TASKS:
        if key in settings:
            own = about if key == "tasks" else {}
            settings[key] = [_source(one, own, data) for one in _several(settings[key])]
    for key in DOMAINS:
        if isinstance(settings.get(key), Mapping):
            reading = {name: value for name, value in about.items() if name != "name"}
            settings[key] = {
                domain: _source(one, {**reading, **({"name": domain} if _is(one) else {})}, data)
                for domain, one in settings[key].items()
            }
    if settings.get("unrelated") is not None:
        settings["unrelated"] = _source(settings["unrelated"], {}, data)
    with ExitStack() as stack:
        stack.enter_context(python_objects.held(data))
        if "models" in settings:
            lending = _lending(settings["models"], tokenizer, settings, stack)
            settings |= lending
        yield settings


def _is(value: Any) -> bool:
    """Return whether data are given, alone or under `path`."""
    return python_objects.is_data(
        value["path"] if isinstance(value, Mapping) and "path" in value else value
    )


def _several(value: Any) -> list[Any]:
    if isinstance(value, list | tuple) and not python_objects.is_data(value):
        return [*value]
    return [value]


def _source(
    value: Any, about: Mapping[str, Any], data: dict[str, python_objects.Data]
) -> dict[str, Any]:
    """Return where a task is and how it is read; data that are given are added to `data`."""
    named = isinstance(value, Mapping) and "path" in value
    source = {**about, **(value if named else {"path": value})}
    label = source.pop("name", "")
    if not isinstance(label, str):
        raise UserError(f"name={label!r} was given for a task; expected a text.")
    if python_objects.is_data(source["path"]):
        found = python_objects.read(source["path"], label)
        name = found.source
        if any(one.label == found.label and key != name for key, one in data.items()):
            raise UserError(
                f"two tasks would be called '{found.label}'; give each a name of its own, as "
                "{'path': DATA, 'name': 'reviews'}."
            )
        data[name] = found
        source["path"] = name
    elif label:
        raise UserError(
            f"name='{label}' was given for '{source['path']}', whose name is its own; expected it "
            "with data alone; leave it out."
        )
    elif not isinstance(source["path"], str | Path):
        raise UserError(
            f"a task is an object of type {type(source['path']).__name__}; expected a name, a "
            "file, a pandas DataFrame, a datasets.Dataset or DatasetDict, a list of dicts, or an "
            "adaptlens.Task."
        )
    return source


def _lending(
    models: Any, tokenizer: Any, settings: Mapping[str, Any], stack: ExitStack
) -> dict[str, Any]:
    """Return the names of models, and the settings that loaded ones decide.

    Raises:
        UserError: settings ask for another number format or device than a loaded model has.
    """
    every = [*models] if isinstance(models, list | tuple) else [models]
    objects = [one for one in every if not isinstance(one, str | Path)]
    if not objects:
        if tokenizer is not None:
            raise UserError(
                "tokenizer was given, but no loaded model; expected model=, as AutoModelForCausalLM"
                ".from_pretrained returns it, or no tokenizer."
            )
        return {"models": [str(one) for one in every]}
    from adaptlens.lm.lending import described as describe
    from adaptlens.lm.lending import lent

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adaptlens-")))
    found = [describe(one, tokenizer, folder / str(i)) for i, one in enumerate(objects)]
    # Checked before anything of a model is changed.
    decided = _decided(found, settings, named=len(objects) < len(every))
    for one in found:
        stack.enter_context(lent(one.model))
    stack.enter_context(loaded.held(found))
    sources = iter(one.source for one in found)
    names = [str(one) if isinstance(one, str | Path) else next(sources) for one in every]
    return {**decided, "models": names}


def _decided(
    found: Iterable[loaded.Loaded], settings: Mapping[str, Any], *, named: bool
) -> dict[str, Any]:
    """Return number format and device as the loaded models have them.

    Args:
        found: the loaded models.
        settings: those given.
        named: whether further models were given by name.
    """
    here = {one.label: (one.dtype, str(one.model.device)) for one in found}
    if settings.get("quantize"):
        raise UserError(
            f"quantize={settings['quantize']!r} was given for the loaded model {next(iter(here))}, "
            "whose weights are as they are; give its name or folder instead, or leave quantize out."
        )
    (dtype, device), *others = dict.fromkeys(here.values())
    if others:
        raise UserError(
            f"the loaded models are in {dtype} on {device} and in {others[0][0]} on "
            f"{others[0][1]}; expected one number format and one device: convert or move one."
        )
    wanted = settings.get("dtype", "float32" if named else dtype)
    if wanted != dtype:
        raise UserError(
            f"dtype is {wanted!r}, but the loaded model {next(iter(here))} is in {dtype}; give "
            f"dtype='{dtype}', or convert the model."
        )
    asked = settings.get("device", "auto")
    if asked != "auto" and asked not in (device, device.partition(":")[0]):
        raise UserError(
            f"device is {asked!r}, but the loaded model {next(iter(here))} is on {device}; leave "
            "device out, or move the model there with .to(...)."
        )
    doubled = [name for name, count in Counter(one.label for one in found).items() if count > 1]
    if doubled and len({one.source for one in found}) < len([*found]):
        raise UserError(f"the loaded model {doubled[0]} is given twice; give it once.")
    return {"dtype": dtype, "device": device}


@contextmanager
def told(reporter: Reporter | None, quiet: bool) -> Iterator[Reporter]:
    """Yield who is told of progress: the one given, or nobody where quiet is asked for.

    Else it is shown: in a notebook by a line below the cell, elsewhere on standard error.
    """
    if reporter is not None or quiet:
        yield reporter or Silent()
        return
    from adaptlens.studies import notebook

    with notebook.Line() if notebook.is_here() else _display() as shown:
        yield shown


def _display() -> Any:
    from adaptlens.studies.display import Display

    return Display()
