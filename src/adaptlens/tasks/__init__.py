"""Where items come from: bundled, a user's files, the hub, lm-eval YAML.

`load` takes them all by one name:

* a bundled task, or one that another package registers (`names()`), before a file of that name;
* a file (.csv .tsv .jsonl .json .parquet, also compressed: .gz .bz2 .xz .zst), cut 60/20/20 by
  content and seed unless a `split` column says otherwise;
* a folder of train, dev (valid, validation) and test files;
* two line-aligned files for translation, as "SOURCE,REFERENCES" or with `references=`;
* "hf:NAME[:CONFIG]", a hub dataset, or "hf:FOLDER";
* "flan:NAME[,FOLDER]", one of FLAN's tasks (`flan.yaml`), from the hub or from a folder;
* data that a caller of Python holds, by the name they have while its call runs (`python_objects`);
* a task .yaml of lm-evaluation-harness (Jinja-only `multiple_choice` and `generate_until`);
* "lm-eval:NAME[#FILTER][,FOLDER]", one of its own tasks, by its library, whose code runs.
"""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from adaptlens import registry
from adaptlens.errors import UserError, listed, unknown
from adaptlens.tasks import python_objects, templates
from adaptlens.tasks.assembly import Settings
from adaptlens.types import Example, Task

__all__ = ["Settings", "describe", "load", "names", "summaries"]


def names() -> tuple[str, ...]:
    """Return the names of the bundled tasks, and of those that other packages register."""
    own = _own_names()
    return (*own, *registry.others("task", own))


def _own_names() -> tuple[str, ...]:
    from adaptlens.tasks import microworld, shortcuts

    return (*microworld.names(), *shortcuts.names())


def summaries() -> list[dict[str, str]]:
    """Return name, kind, choices and description of every bundled task."""
    found = [_bundled(name, Settings(limit_train=1)) for name in names()]
    return [
        {
            "name": task.name,
            "kind": task.kind,
            "choices": ", ".join(task.choices),
            "description": task.description,
        }
        for task in found
    ]


def load(name: str, *, references: str | None = None, **settings: Any) -> Task:
    """Return the task that `name` stands for: train, validation and test splits, cleaned.

    Args:
        name: a bundled task, a path, "SOURCE,REFERENCES", "hf:NAME[:CONFIG]",
            "flan:NAME[,FOLDER]", "lm-eval:NAME" or a task YAML.
        references: the file whose line n answers line n of `name`.
        settings: the fields of `Settings`: input and target (columns, by name or 0-based number;
            the input may be several, "title,text" or a list), choices ("a,b" or "0=a,1=b"),
            instruction, kind, max_new_tokens, seed, limit_train, limit_validation, limit_test,
            header, drop_empty, max_file_bytes, difficulty, templates (`templates.parse`),
            label_words ("0=bad,1=good"), group (a column), answers_as ("text", "from-0" or
            "from-1").

    Returns:
        The task; its `notes` say everything that was decided, cut or left out.

    Raises:
        UserError: if there is no such task, or its data cannot be used as they are.
    """
    fields = Settings.__dataclass_fields__
    for key in settings:
        if key not in fields:
            raise unknown("task setting", key, (*fields, "references"))
    wishes = Settings(**settings)
    if wishes.difficulty is not None and not _has_shortcut(name):
        raise UserError(
            f"difficulty='{wishes.difficulty}' was given for '{name}', whose items are not made "
            "here; expected it only with a bundled task with a shortcut; leave it out."
        )
    task = _loaded(name, references, wishes)
    templates.check_columns(task)
    return task


def members(name: str) -> tuple[str, ...]:
    """Return the names of the tasks that a name stands for: of a group of lm-eval's, several."""
    from adaptlens.tasks import lm_eval_by_name

    return lm_eval_by_name.members(name) if lm_eval_by_name.is_named(name) else (name,)


def _loaded(name: str, references: str | None, wishes: Settings) -> Task:
    from adaptlens.tasks import flan, lm_eval_by_name

    if data := python_objects.named(name):
        return _of_caller(data, references, wishes)
    if references is not None:
        return _aligned(name, references, wishes)
    if name.startswith("hf:"):
        from adaptlens.tasks.hub_datasets import hub_task

        return hub_task(name.removeprefix("hf:"), wishes)
    if name in names():
        return _bundled(name, wishes)
    if flan.is_named(name):
        _check_fixed(name, wishes)
        return _worded(flan.flan_task(name, wishes), wishes)
    if lm_eval_by_name.is_named(name):
        return lm_eval_by_name.named_task(name, wishes)
    try:
        path = Path(name).expanduser()
        there = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"'{name}' is no name of a file ({said}); expected a bundled task, a file, a folder or "
            "hf:NAME[:CONFIG]; check it."
        ) from None
    if not there:
        source, comma, rest = name.partition(",")
        if comma:
            return _aligned(source, rest, wishes)
        raise _nothing_there(name, path)
    if path.suffix.lower() in (".yaml", ".yml"):
        from adaptlens.tasks.lm_eval import yaml_task

        return yaml_task(path, wishes)
    from adaptlens.tasks.assembly import file_task, folder_task

    return folder_task(path, wishes) if path.is_dir() else file_task(path, wishes)


def _of_caller(data: python_objects.Data, references: str | None, wishes: Settings) -> Task:
    """Return the task of data that a caller of Python holds.

    Raises:
        UserError: a setting says how to read a file; or, of a task, changes its items.
    """
    from adaptlens.tasks.assembly import parted_task

    of_files = {
        "references": references,
        "header": wishes.header,
        "max_file_bytes": None
        if wishes.max_file_bytes == Settings.max_file_bytes
        else wishes.max_file_bytes,
    }
    for key, value in of_files.items():
        if value is not None:
            raise UserError(
                f"{key} was given for the data '{data.label}', which are no file; leave it out."
            )
    if not isinstance(data.content, Task):
        return parted_task(data.label, f"the data '{data.label}'", data.content, wishes, data.notes)
    _check_fixed(data.label, wishes)
    limits = {"train": wishes.limit_train, "validation": wishes.limit_validation}
    limits["test"] = wishes.limit_test
    task = data.content
    cut: dict[str, Any] = {split: getattr(task, split)[:most] for split, most in limits.items()}
    task = _worded(replace(task, **cut), wishes)
    return task if wishes.asked else replace(task, templates=data.content.templates)


def _aligned(source: str, references: str, wishes: Settings) -> Task:
    from adaptlens.tasks.aligned import aligned_task

    try:
        files = Path(source).expanduser(), Path(references).expanduser()
    except RuntimeError as error:
        raise UserError(f"'{source},{references}': {error}; check the names.") from None
    return aligned_task(*files, wishes)


def _nothing_there(name: str, path: Path) -> UserError:
    """Return the error for a name that is neither a bundled task nor a path."""
    if not path.suffix and len(path.parts) == 1:
        return unknown("task", name, names())
    if not path.parent.is_dir():
        return UserError(
            f"'{name}' does not exist, nor does its folder; expected a file, a folder, "
            f"hf:NAME[:CONFIG] or one of {listed(names(), 120)}; check the path."
        )
    nearest = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    hint = f"did you mean '{path.parent / nearest[0]}'?" if nearest else "check the path."
    return UserError(
        f"there is no file '{name}'; expected a file, a folder, hf:NAME[:CONFIG] or one of "
        f"{listed(names(), 120)}; {hint}"
    )


def _has_shortcut(name: str) -> bool:
    from adaptlens.tasks import shortcuts

    return name in shortcuts.names()


def _bundled(name: str, wishes: Settings) -> Task:
    from adaptlens.tasks import microworld, shortcuts

    _check_fixed(name, wishes)
    limits = {
        "train": wishes.limit_train,
        "validation": wishes.limit_validation,
        "test": wishes.limit_test,
    }
    sizes: dict[str, Any] = {split: limit for split, limit in limits.items() if limit is not None}
    if name not in _own_names():
        task = _of_package(name, wishes.seed, sizes)
    elif _has_shortcut(name):
        difficulty = wishes.difficulty or "small"
        task = shortcuts.task(name, seed=wishes.seed, difficulty=difficulty, **sizes)
    else:
        task = microworld.task(name, seed=wishes.seed, **sizes)
    return _worded(task, wishes)


def _check_fixed(name: str, wishes: Settings) -> None:
    """Refuse what would change inputs or answers of a task that brings its own."""
    allowed = {"instruction", "seed", "limit_train", "limit_validation", "limit_test"}
    allowed |= {"templates"}
    if _has_shortcut(name):
        allowed |= {"difficulty"}
    for key, default in asdict(Settings()).items():
        if key not in allowed and getattr(wishes, key) != default:
            raise UserError(
                f"{key}={getattr(wishes, key)!r} was given for the task '{name}', whose inputs and "
                "answers are fixed; expected it only with your own data; leave it out."
            )


def _worded(task: Task, wishes: Settings) -> Task:
    """Return a task with the instruction and templates that were asked for."""
    if wishes.instruction is not None:
        task = replace(task, instruction=wishes.instruction)
    return replace(task, templates=wishes.asked)


def _of_package(name: str, seed: int, sizes: Mapping[str, int]) -> Task:
    """Return a task that another package makes, its splits cut to at most so many items."""
    task = registry.resolve("task", name)(seed=seed)
    if not isinstance(task, Task):
        raise UserError(
            f"the task '{name}' of the package '{registry.origin('task', name)}' is a "
            f"{type(task).__name__}; expected an adaptlens.types.Task; mend that package."
        )
    cut: dict[str, Any] = {split: getattr(task, split)[:size] for split, size in sizes.items()}
    return replace(task, name=name, **cut)


def describe(task: Task, num_examples: int = 3) -> str:
    """Return what a person wants to see of a task: sizes, options, examples as read, notes."""
    kind = {
        "choice": "choice (the likeliest option is the answer)",
        "generation": "generation (exact match and chrF)",
    }[task.kind]
    lines = [task.name, ""]
    if task.description:
        lines += [task.description, ""]
    lines.append(f"kind         {kind}")
    splits = {"train": task.train, "validation": task.validation, "test": task.test}
    lines.append("splits       " + ", ".join(f"{k} {len(v):,}" for k, v in splits.items()))
    if task.choices:
        lines.append("choices      " + ", ".join(map(repr, task.choices)))
        for split, examples in splits.items():
            counts = [sum(e.target == choice for e in examples) for choice in task.choices]
            lines.append(f"  in {split:<11}" + ", ".join(f"{count:,}" for count in counts))
    elif task.kind == "choice":
        lines.append("choices      each item brings its own")
    lines.append(f"instruction  {task.instruction or '(none)'}")
    if task.clustered_by:
        groups = len({example.group or example.id for example in task.test})
        lines.append(f"groups       {groups:,} in test, by '{task.clustered_by}'")
    for number, example in enumerate(task.train[:num_examples], 1):
        for way in templates.ways(task):
            named = f", template {way.task.template.name}" if task.templates else ""
            shown = _shown(way.task, way.example(example))
            lines += ["", f"train example {number} ({example.id}){named}", *shown]
    if task.notes:
        lines += ["", "notes", *(f"- {note}" for note in task.notes)]
    return "\n".join(lines)


def _shown(task: Task, example: Example) -> list[str]:
    template = task.template
    text = template.before_input + example.input + template.before_target
    answer = template.target_prefix + example.target
    shown = [f"  {example.instruction}"] if example.instruction else []
    shown += [f"  {line}" for line in (text + answer).split("\n")]
    if example.choices:
        shown.append(f"  options: {', '.join(map(repr, example.choices))}")
    return shown
