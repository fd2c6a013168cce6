"""How few items a study can do with: said before anything is loaded or tuned."""

from collections.abc import Iterable, Mapping, Sequence

from adaptlens.errors import UserError
from adaptlens.formatting import counted
from adaptlens.models import identity, shape
from adaptlens.prompts import render
from adaptlens.types import Task

TWO = 2
"""Fewer items than this have no spread, so that nothing can be said of any others."""

PAIRS = 4
"""Fewer pairs of prompts cannot be halved: one half finds a circuit, the other tests it."""

OF_MEASURE: Mapping[str, int] = {"cka": 5, "procrustes": 5, "rsa": 4}
"""Queries that a measure of shape takes with one left out; any other measure takes two."""


def check_items(task: Task, least: int = TWO, why: str = "an interval") -> None:
    """Refuse a task with fewer test items than a study can do with.

    Args:
        task: as the study reads it, its test split cut to the queries asked for.
        least: how many it takes.
        why: what takes so many.

    Raises:
        UserError: there are fewer, or they belong to one group.
    """
    have = len(task.test)
    if have < least:
        raise UserError(
            f"task '{task.name}' has {counted(have, 'test item')} to read; {why} takes at least "
            f"{least}: give more data, or raise --queries if it is set."
        )
    if task.clustered_by and len({example.group or example.id for example in task.test}) < TWO:
        raise UserError(
            f"the {counted(have, 'test item')} of task '{task.name}' belong to one group of "
            f"'{task.clustered_by}'; {why} takes at least {TWO}: give more data, or leave out "
            "--group."
        )


def check_measures(task: Task, measures: Sequence[str]) -> None:
    """Refuse a task with fewer test items than a measure of similarity takes.

    Raises:
        UserError: there are fewer; it names the measures.
    """
    most = max((OF_MEASURE.get(name, TWO) for name in measures), default=TWO)
    short = [name for name in measures if OF_MEASURE.get(name, TWO) > len(task.test)]
    if short and len(task.test) >= TWO:
        rest = ", ".join(name for name in measures if name not in short)
        raise UserError(
            f"task '{task.name}' has {counted(len(task.test), 'test item')} to read; "
            f"{', '.join(short)} take at least {most}: give more data, or leave them out with "
            f"--set 'measures=[{rest}]'."
        )
    check_items(task)


def check_pairs(task: Task, models: Iterable[str]) -> None:
    """Refuse a task of whose items too few can be patched into each other, by any model.

    Two items make a pair where their prompts have as many tokens and their answers differ.

    Raises:
        UserError: there are fewer than `PAIRS` in some model's tokens.
    """
    check_items(task, PAIRS, "patching")
    texts = [render.render(task, (), query).text for query in task.test]
    for model in models:
        if not (identity.locate(model) / "tokenizer.json").is_file():
            continue  # Its tokens are known only once it is loaded.
        alike: dict[int, list[str]] = {}
        for size, query in zip(shape.token_counts(model, texts), task.test, strict=True):
            alike.setdefault(size, []).append(query.target)
        have = sum(len(answers) for answers in alike.values() if len(set(answers)) > 1)
        if have < PAIRS:
            raise UserError(
                f"task '{task.name}' has {counted(have, 'test item')} with a partner of as many "
                f"tokens and another answer, in the tokens of '{model}'; patching takes at least "
                f"{PAIRS}: give more data, or items of like length."
            )
