"""What adapted models are read on besides their task: other domains, other tasks, plain text."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptlens import tasks, telling
from adaptlens.errors import UserError, listed
from adaptlens.formatting import counted
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

    Returns:
        The task, whose notes say what was left out of any.

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
    said = (f"{one.name}: {note}" for one in found for note in one.task.notes)
    return replace(task, elsewhere=tuple(found), notes=(*task.notes, *said))


def _other(source: Mapping[str, Any], queries: int | None, seed: int) -> Elsewhere:
    path = Path(str(source["path"]))
    if path.suffix == ".txt":
        return Elsewhere(path.stem, "text", _texts(path, queries or MOST_TEXTS))
    task = _read(source, seed)
    template = task.templates[0] if task.templates else task.template
    own = replace(task, template=template, templates=(), elsewhere=())
    return Elsewhere(task.name, "also", _first(_only(own), queries))


def _domain(
    name: str, source: Mapping[str, Any], task: Task, queries: int | None, seed: int
) -> Elsewhere:
    other = _only(_read_domain(source, seed))
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
    left_out = len(other.test) - len(fresh)
    note = f"{counted(left_out, 'item')} of its {len(other.test):,} left out: trained on"
    own = replace(
        other,
        notes=(note,) if left_out else (),
        test=tuple(replace(item, id=f"{name}:{item.id}") for item in fresh),
        choices=task.choices,
        instruction=task.instruction,
        template=task.template,
        templates=(),
        stop=task.stop,
        max_new_tokens=task.max_new_tokens,
    )
    return Elsewhere(name, "ood", _first(own, queries))


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


def _only(task: Task) -> Task:
    """Return a task of test items alone, the test split's first: nothing is learned from any."""
    items = (*task.test, *task.validation, *task.train)
    return replace(task, train=(), validation=(), test=items, unrelated=(), pool=(), notes=())


def _first(task: Task, queries: int | None) -> Task:
    """Return a task of at most so many items, and a note if there were more."""
    if queries is None or len(task.test) <= queries:
        return task
    note = f"the first {queries:,} of {len(task.test):,} items are read (queries)"
    return replace(task, test=task.test[:queries], notes=(*task.notes, note))


def _answers(task: Task) -> str:
    if task.kind == "generation":
        return "texts"
    return listed(map(repr, task.choices)) if task.choices else "the options of each item"


def _texts(path: Path, most: int) -> Task:
    """Return the lines of a file as targets of empty inputs; those of a single word are left out.

    Raises:
        UserError: the file cannot be read, or no line has two words.
    """
    text = unpacking.read_text(path, tasks.Settings().max_file_bytes)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [line for line in lines if len(line.split()) > 1]
    if not kept:
        raise UserError(
            f"{path.name} has no line of two words or more; expected plain text, a piece of it in "
            "each line."
        )
    notes = []
    if short := len(lines) - len(kept):
        notes.append(f"{counted(short, 'line')} of a single word left out")
    if long := sum(len(line) > MOST_CHARACTERS for line in kept[:most]):
        notes.append(f"{counted(long, 'line')} cut to {MOST_CHARACTERS:,} characters")
    items = (Example(f"line-{i}", "", line[:MOST_CHARACTERS]) for i, line in enumerate(kept))
    made = Task(path.stem, "generation", (), (), tuple(items), notes=tuple(notes))
    return _first(made, most)
