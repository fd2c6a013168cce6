"""How long the prompts of a cell are, in the tokens of its own model, before that is loaded.

A few of them are written as the cell will write them; their mean sizes are what cost estimates
are made from. Torch-free, and meant to be right to within a third, not exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adaptlens.models import shape
from adaptlens.prompts import render
from adaptlens.tasks import templates
from adaptlens.tasks.templates import Written
from adaptlens.types import Example, Task

GROUPS = 8
"""Groups of items that are looked at, two items each."""
STOP_TOKENS = 2
"""Written at the end of an answer, about: a line break or what ends the text."""


@dataclass(frozen=True, kw_only=True)
class PromptSizes:
    """What an adaptation reads of a task, and the mean sizes of it, in tokens.

    Attributes:
        task: the task.
        model: the name that the base model is found by.
        num_draws: draws of the cell.
        ways: the task as each template writes it that prompts are read, and training texts made,
            under.
        family: of the adaptation: "none", "prompt" or "tune".
        templates_known: whether a cell before it has searched the templates of model and task.
        shared: of what the prompts of a group begin with.
        rest: of each prompt after that.
        groups: of items.
        options: all answers to be scored, but their last tokens, which are never read.
        choices: answers to be scored.
        answer: of the right answer.
        longest: of the longest right answer that was looked at.
        written: of a longer text that the adaptation makes a model write; 0 for others.
    """

    task: Task
    model: str
    num_draws: int
    ways: tuple[Written, ...]
    family: str
    templates_known: bool
    shared: float
    rest: float
    groups: int
    options: float
    choices: float
    answer: float
    longest: float
    written: float

    def read(self, queries: float, after: float = 0.0, *, groups: int | None = None) -> float:
        """Return the tokens read for so many queries, with so many after each prompt."""
        groups = self.groups if groups is None else groups
        return min(groups, queries) * self.shared + queries * (self.rest + after)

    def items_of(self, group: str) -> int:
        """Return how many test items a group has; all of them where it has no name."""
        return sum(not group or query.group == group for query in self.task.test)


def prompt_sizes(
    adaptation: Any, task: Task, model: str, *, num_draws: int, templates_known: bool = False
) -> PromptSizes:
    """Return the mean sizes over pairs of items of a few groups.

    Args:
        adaptation: writes its prompts by `sketch(task, query, way)`, where it has that; else they
            are the instruction and the query. `every_template` says whether each of the task's
            templates is read, and `response(task, query)` is a text it makes the model write.
        task: the task.
        model: the name that the base model is found by.
        num_draws: draws of the cell.
        templates_known: see `PromptSizes`.
    """
    by_group: dict[str, list[Example]] = {}
    for query in task.test:
        # Rows that belong together have no prompt in common for it.
        by_group.setdefault("" if task.clustered_by else query.group, []).append(query)
    ways = ways_of(adaptation, task)
    pairs = [
        (way, own[:2])
        for way in ways
        for own in spread(list(by_group.values()), max(1, GROUPS // len(ways)))
    ]
    asked = [[sketch(adaptation, task, query, way) for query in pair] for way, pair in pairs]
    queries = [query for _, pair in pairs for query in pair]
    response = getattr(adaptation, "response", None)
    written = [response(task, query) for query in queries] if response else []
    options = [query.choices or task.choices for query in queries]
    flat = [render.answer(task, option) for own in options for option in own]
    sizes = iter(
        shape.token_counts(
            model,
            [
                *(text for pair in asked for text in pair),
                *(common(pair) if len(pair) > 1 else "" for pair in asked),
                *(render.answer(task, query.target) for query in queries),
                *flat,
                *written,
            ],
        )
    )
    whole = [next(sizes) for _ in queries]
    shared = [next(sizes) for _ in pairs]
    answers = [next(sizes) for _ in queries]
    scored = [next(sizes) - 1 for _ in flat]
    texts = [next(sizes) for _ in written]
    mean_shared = sum(shared) / len(shared)
    virtual = virtual_tokens(adaptation)
    return PromptSizes(
        task=task,
        model=model,
        num_draws=num_draws,
        ways=ways,
        family=adaptation.family,
        templates_known=templates_known,
        shared=mean_shared + virtual,
        rest=sum(whole) / len(whole) - mean_shared,
        groups=len(by_group),
        options=sum(scored) / len(queries),
        choices=len(flat) / len(queries),
        answer=sum(answers) / len(answers),
        longest=max(answers),
        written=sum(texts) / len(texts) if texts else 0.0,
    )


def virtual_tokens(adaptation: Any) -> int:
    """Return how many trained tokens an adaptation reads before every text."""
    return int(getattr(adaptation, "num_virtual_tokens", 0))


def ways_of(adaptation: Any, task: Task) -> tuple[Written, ...]:
    """Return the task as every template writes it that an adaptation reads or tunes under."""
    if getattr(adaptation, "every_template", False):
        return templates.ways(task)
    return (templates.written(task),)


def sketch(adaptation: Any, task: Task, query: Example, way: Written | None = None) -> str:
    """Return a prompt of the first draw, as the task's first template writes it, or another."""
    way = way or ways_of(adaptation, task)[0]
    if own := getattr(adaptation, "sketch", None):
        return own(task, query, way)
    return render.render(way.task, (), way.example(query)).text


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most so many items, evenly from all of them."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def common(texts: Sequence[str]) -> str:
    """Return what all texts begin with."""
    low, high = min(texts), max(texts)
    size = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:size]
