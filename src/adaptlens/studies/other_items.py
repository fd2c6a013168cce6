"""What adapted models are read on besides their task: other domains, other tasks, plain text."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptlens import tasks, telling
from adaptlens.errors import UserError, listed
from adaptlens.tasks import flan, unpacking
from adaptlens.types import Elsewhere, Example, Task

MOST_CHARACTERS = 1000
"""Of a line of plain text that are read."""
MOST_TEXTS = 200
"""Lines of plain text that are read, where the number of queries is not given."""


def with_others(
    task: Task,
    *,
    also: Sequence[Mapping[str, Any]],
    ood: Mapping[str, Mapping[str, Any]],
    queries: int | None,
    seed: int,
) -> Task:
    """Return a task with what adaptations to it are also read on.

    Args:
        task: that is adapted to.
        also: other tasks, as `tasks.load` takes them; a `.txt` file is plain text, a line each.
        ood: files with items of other domains and the task's own answers, by the domain's name.
        queries: most items of each; None for all (of plain text, `MOST_TEXTS` lines).
        seed: of splits that have to be made.

    Raises:
        UserError: one cannot be read, holds no items, or has other answers than the task.
    """
    found = [_other(source, queries, seed) for source in also]
    found += [_domain(name, source, task, queries, seed) for name, source in ood.items()]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1 or name == task.name:
            raise UserError(
                f"'{name}' is the name of more than one set of items that task '{task.name}' would "
                "be compared on; rename one of the files, or name it: --ood NAME=FILE."
            )
    return replace(task, elsewhere=tuple(found))


def _other(source: Mapping[str, Any], queries: int | None, seed: int) -> Elsewhere:
    path = Path(str(source["path"]))
    if path.suffix == ".txt":
        return Elsewhere(path.stem, "text", _texts(path, queries or MOST_TEXTS))
    task = _read(source, seed)
    template = task.templates[0] if task.templates else task.template
    own = replace(task, template=template, templates=(), elsewhere=())
    return Elsewhere(task.name, "also", _only(own, queries))


def _domain(
    name: str, source: Mapping[str, Any], task: Task, queries: int | None, seed: int
) -> Elsewhere:
    other = _only(_read_domain(source, seed), None)
    if {*other.choices} != {*task.choices} or other.kind != task.kind:
        raise UserError(
            f"--ood {name}: its answers are {_answers(other)}; expected those of task "
            f"'{task.name}', {_answers(task)}: rename its labels, or give it with --also."
        )
    trained = {example.input for example in task.train}
    fresh = [item for item in other.test if item.input not in trained]
    if not fresh:
        raise UserError(
            f"--ood {name}: all of its {len(other.test)} items are training items of task "
            f"'{task.name}'; give a file of another domain."
        )
    own = replace(
        other,
        test=tuple(replace(item, id=f"{name}:{item.id}") for item in fresh[:queries]),
        choices=task.choices,
        instruction=task.instruction,
        template=task.template,
        templates=(),
        stop=task.stop,
        max_new_tokens=task.max_new_tokens,
    )
    return Elsewhere(name, "ood", own)


def _read_domain(source: Mapping[str, Any], seed: int) -> Task:
    """Return the items of a domain, whose answers may be the task's raw ones or its words for them.

    Raises:
        UserError: what is wrong with the file if its answers are raw.
    """
    words = ("label_words", "choices")
    try:
        return _read(source, seed)
    except UserError:
        plain = {key: value for key, value in source.items() if key not in words}
        if len(plain) == len(source):
            raise
        with suppress(UserError):
            return _read(plain, seed)
        raise


def _read(source: Mapping[str, Any], seed: int) -> Task:
    given = dict(source)
    path = str(given.pop("path"))
    given.pop("cluster", None)
    if flan.is_named(path) and len(flan.named(path)) > 1:
        raise UserError(f"'{path}' is several tasks; name the one to read.")
    with telling.slow(f"reading task '{path}'"):
        return tasks.load(path, seed=seed, **given)


def _only(task: Task, queries: int | None) -> Task:
    """Return a task of test items alone, the test split's first: nothing is learned from any."""
    items = (*task.test, *task.validation, *task.train)[:queries]
    return replace(task, train=(), validation=(), test=items, unrelated=(), pool=())


def _answers(task: Task) -> str:
    if task.kind == "generation":
        return "texts"
    return listed(map(repr, task.choices)) if task.choices else "the options of each item"


def _texts(path: Path, most: int) -> Task:
    """Return the lines of a file as targets of empty inputs; those of a single word are left out.

    Raises:
        UserError: the file cannot be read, or no line has two words.
    """
    lines = unpacking.read_text(path, tasks.Settings().max_file_bytes).splitlines()
    kept = [line.strip()[:MOST_CHARACTERS] for line in lines if len(line.split()) > 1][:most]
    if not kept:
        raise UserError(
            f"{path.name} has no line of two words or more; expected plain text, a piece of it in "
            "each line."
        )
    items = tuple(Example(f"line-{i}", "", text) for i, text in enumerate(kept))
    return Task(path.stem, "generation", (), (), items)
