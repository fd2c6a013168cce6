"""lm-evaluation-harness's own tasks by name: "lm-eval:hellaswag", found and written by its library.

Its code, and that of the task, runs because the user names the task so; task files (`lm_eval.py`)
are read without any. Prompts, options and answers are those of `Task.build_all_requests` without
demonstrations. Needs the extra `lm-eval`.
"""

import contextlib
import functools
import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError, listed, one_line, unknown
from adaptlens.tasks import split
from adaptlens.tasks.assembly import Settings, assemble
from adaptlens.tasks.hub_datasets import rows_of
from adaptlens.tasks.items import Item
from adaptlens.tasks.lm_eval_acceptance import Reading, reading
from adaptlens.tasks.lm_eval_docs import Writer
from adaptlens.types import Task, Template

PREFIX = "lm-eval:"

FEW = 50
"""A few-shot split of fewer items than this is shown whole: none of it is taken for validation."""


@dataclass(frozen=True)
class Named:
    """What "lm-eval:NAME[#FILTER][,FOLDER]" says.

    Attributes:
        task: a task, a group or a tag.
        pipeline: which of the task's filters is used; empty for the first.
        folder: of further task files, lm-eval's `--include_path`; empty for none.
    """

    task: str
    pipeline: str
    folder: str

    def another(self, task: str) -> str:
        """Return the name of another task of the same folder."""
        return f"{PREFIX}{task}" + (f",{self.folder}" if self.folder else "")


def is_named(name: str) -> bool:
    """Return whether a name is that of one of lm-evaluation-harness's tasks."""
    return name.startswith(PREFIX)


def _parsed(name: str) -> Named:
    rest, _, folder = name.removeprefix(PREFIX).partition(",")
    task, _, pipeline = rest.partition("#")
    if folder and not Path(folder).expanduser().is_dir():
        raise UserError(
            f"'{name}': there is no folder '{folder}'; expected one of lm-eval's task files (its "
            "--include_path)."
        )
    return Named(task, pipeline, str(Path(folder).expanduser()) if folder else "")


def members(name: str) -> tuple[str, ...]:
    """Return the names of the tasks that a name stands for: itself, or those of a group or tag.

    Raises:
        UserError: there is no such task, or the group changes its tasks.
    """
    named = _parsed(name)
    tasks = dict.fromkeys(_members(_index(named)[1], named.task))
    if [*tasks] == [named.task]:
        return (name,)
    if named.pipeline:
        raise UserError(f"'{name}' is a group; a filter (#) goes with the name of one task.")
    return tuple(named.another(task) for task in tasks)


def _members(index: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield the tasks of a group or a tag, those of groups in it too."""
    entry = index.get(name)
    if entry is None:
        raise unknown("task of lm-eval", name, index)
    config = entry.cfg or {}
    if entry.kind.name == "TAG":
        for task in sorted(entry.tags):
            yield from _members(index, task)
        return
    if entry.kind.name != "GROUP":
        yield name
        return
    for member in config.get("task") or ():
        own = member if isinstance(member, Mapping) else {"task": member}
        within = own.get("task") if isinstance(own.get("task"), str) else own.get("group")
        changed = [key for key in own if key not in ("task", "group", "task_alias", "group_alias")]
        if within not in index or changed or isinstance(own.get("task"), list):
            raise UserError(
                f"lm-eval's group '{name}' defines or changes the task '{within}' itself "
                f"({listed(changed or ['a task of its own'])}); name the tasks you want instead."
            )
        yield from _members(index, str(within))


def named_task(name: str, settings: Settings) -> Task:
    """Return one of lm-evaluation-harness's tasks, its data loaded as it loads them.

    Its training split gives training items; where it has none, its few-shot split or samples do,
    which are used whole where they are few (MMLU's dev).

    Raises:
        UserError: there is no such task, it cannot be judged here (`lm_eval_acceptance`), or its
            data cannot be had.
    """
    for option in ("input", "target", "choices", "kind", "header", "answers_as", "group"):
        if getattr(settings, option) is not None:
            raise UserError(
                f"{option}={getattr(settings, option)!r} was given with '{name}', which settles it "
                "itself; leave it out."
            )
    named = _parsed(name)
    manager, index = _index(named)
    if named.task not in index:
        raise unknown("task of lm-eval", named.task, index)
    tasks = members(name)
    if tasks != (name,):
        raise UserError(
            f"'{name}' is a group of {len(tasks)} tasks ({listed(tasks, 120)}), and one task is "
            "expected here; name one of them."
        )
    how = reading(index[named.task].cfg or {}, named.task, named.pipeline)
    loaded = _loaded(manager, named.task)
    return _as_task(named.task, loaded, how, settings)


def _as_task(name: str, loaded: Any, how: Reading, settings: Settings) -> Task:
    """Return the task of a loaded `lm_eval.api.task.ConfigurableTask`."""
    writer = Writer(loaded, how.kind)
    splits, notes = _splits(loaded, writer, name)
    descriptions = {item.instruction for items in splits.values() for item in items}
    if len(descriptions) > 1:
        # What differs from item to item stands in the items, before their texts.
        splits = {
            label: [
                replace(item, input=item.instruction + item.input, instruction="") for item in items
            ]
            for label, items in splits.items()
        }
        descriptions = set()
    (description,) = descriptions or {""}
    config = loaded.config
    between = str(config.fewshot_delimiter)
    own = settings.instruction is not None
    joined = own or not description or description.endswith(between)
    shell = Task(
        name,
        how.kind,
        (),
        (),
        (),
        template=Template(
            "",
            "",
            "" if writer.several_contexts else str(config.target_delimiter),
            between,
            after_instruction=None if joined else "",
        ),
        max_new_tokens=how.max_new_tokens,
        stop=how.stop,
        description=f"lm-evaluation-harness's task '{name}'.",
        matching=how.matching,
    )
    wishes = replace(
        settings,
        kind=None if how.kind == "choice" else how.kind,
        instruction=settings.instruction if own else _bare(description, between, joined),
    )
    bare = {s: [replace(i, instruction="") for i in items] for s, items in splits.items()}
    task = assemble(name, bare, wishes, shell=shell, notes=[*how.notes, *notes])
    if writer.several_contexts and not task.templates:
        # No text can stand between a context and the rest of its sentence.
        task = replace(task, templates=(replace(task.template, name="plain"),))
    return task


def _bare(description: str, between: str, joined: bool) -> str:
    return description.removesuffix(between) if joined else description


def _splits(loaded: Any, writer: Writer, name: str) -> tuple[dict[str, list[Item]], list[str]]:
    """Return the items of the splits there are, and what was decided.

    A validation split is made here where training items are few; elsewhere `split.complete` does.
    """
    config, notes = loaded.config, []
    has_test, has_validation = config.test_split is not None, config.validation_split is not None
    if not has_test and not has_validation:
        raise UserError(f"lm-eval's task '{name}' names neither a test nor a validation split.")
    sources: dict[str, tuple[str, Any]] = {}
    shown = _fewshot_split(loaded)
    if config.training_split is not None:
        sources["train"] = str(config.training_split), loaded.training_docs()
    elif shown not in (None, config.test_split if has_test else config.validation_split):
        sources["train"] = str(shown), loaded.fewshot_docs()
    if has_validation and (config.validation_split != shown or not has_test):
        sources["validation"] = str(config.validation_split), loaded.validation_docs()
    if has_test:
        sources["test"] = str(config.test_split), loaded.test_docs()
    demonstrated = config.training_split is None or shown in (None, config.training_split)
    splits = {}
    for label, (source, docs) in sources.items():
        rows = docs if isinstance(docs, list) else rows_of(docs, f"{name} [{source}]")
        place = f"{name} [{source}]"
        splits[label], found = writer.items(rows, place, fewshot=label == "train" and demonstrated)
        notes += found
    few = config.training_split is None and len(splits.get("train", ())) < FEW
    if few and "train" in splits and has_test and "validation" not in splits:
        splits["validation"], said = _spare(loaded, writer, name, {s for s, _ in sources.values()})
        notes += said
        if not splits["validation"]:
            test = split.ordered(splits["test"], 0)
            size = len(test) // 5
            splits["validation"], splits["test"] = test[:size], test[size:]
            notes.append(
                f"The {len(splits['train'])} items of {shown} are all shown or trained on; a fifth "
                f"of the test split, {size} items, is the validation split."
            )
    return splits, notes


def _fewshot_split(loaded: Any) -> str | None:
    """Return the split that demonstrations come from; "samples" for those in the file."""
    shown = loaded.fewshot_cfg
    if shown.split is not None:
        return str(shown.split)
    return "samples" if shown.samples is not None else None


def _spare(loaded: Any, writer: Writer, name: str, used: set[str]) -> tuple[list[Item], list[str]]:
    """Return the items of a validation split that the data have and the task does not use."""
    for label in loaded.dataset if isinstance(loaded.dataset, Mapping) else ():
        if split.SPLIT_NAMES.get(label) == "validation" and label not in used:
            docs = loaded.dataset[label]
            if loaded.config.process_docs is not None:
                docs = loaded.config.process_docs(docs)
            place = f"{name} [{label}]"
            items, notes = writer.items(rows_of(docs, place), place, fewshot=False)
            return items, [
                *notes,
                f"The validation split is '{label}', which lm-eval does not use.",
            ]
    return [], []


@functools.cache
def _manager(folders: tuple[str, ...], every: bool) -> Any:
    """Return lm-evaluation-harness's task manager over these folders of task files."""
    from lm_eval.tasks import TaskManager

    with _quiet():
        return TaskManager(include_defaults=every, include_path=list(folders))


def _index(named: Named) -> tuple[Any, Mapping[str, Any]]:
    """Return a task manager that knows a task, and its index; that of all tasks takes long.

    Raises:
        UserError: lm-eval is not installed.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(
            f"'{PREFIX}{named.task}' needs the package lm-eval, which is not installed; run "
            "pip install 'adaptlens[lm-eval]', or name the task's YAML file."
        )
    own = (named.folder,) if named.folder else ()
    near = _file_of(named.task)
    for folders in filter(None, (own, (str(near.parent), *own) if near else ())):
        manager = _manager(folders, False)
        known = manager.task_index.get(named.task)
        if known is not None and known.kind.name in ("TASK", "PY_TASK"):
            return manager, manager.task_index
    manager = _manager(own, True)
    return manager, manager.task_index


@functools.cache
def _file_of(task: str) -> Path | None:
    """Return the packaged file that defines a task, looked for by the line that names it."""
    spec = importlib.util.find_spec("lm_eval.tasks")
    line = re.compile(rf"^task:\s*[\"']?{re.escape(task)}[\"']?\s*(?:#.*)?$", re.M)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).rglob("*.yaml")):
            if line.search(path.read_text("utf-8", errors="replace")):
                return path
    return None


def _loaded(manager: Any, task: str) -> Any:
    """Return a task as lm-evaluation-harness loads it, its data with it.

    Raises:
        UserError: its data cannot be had, or its code fails.
    """
    try:
        with _quiet():
            return manager.load(task)["tasks"][task]
    except Exception as error:
        # The task's own code may raise anything.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"lm-eval's task '{task}' cannot be loaded ({one_line(lines[0], 200, 60)}); check the "
            "network and what the task needs, or give a copy whose dataset_path is a local file "
            f"as {PREFIX}{task},FOLDER."
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what lm-evaluation-harness tells of every task that it finds or loads."""
    log = logging.getLogger("lm_eval")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
