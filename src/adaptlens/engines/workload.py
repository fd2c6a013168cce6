"""How much work a cell is, before it is done: tokens to read, to write and to train on, and bytes.

Counted from a few prompts as the cell will write them, in the tokens of its own model; what
measurements do with them is known from how they work. Torch-free, and meant to be right to within
a third, not exactly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from adaptlens.adapt.steps import usual_steps
from adaptlens.cells import Cell
from adaptlens.models import shape
from adaptlens.prompts import render, selection, system_prompts
from adaptlens.tasks import templates
from adaptlens.tasks.templates import Written
from adaptlens.types import METRICS, Example, Task

_GROUPS = 8
"""Groups of items that are looked at, two items each."""
_STOP_TOKENS = 2
"""Written at the end of an answer, about: a line break or what ends the text."""
_CELL_BYTES = 8_000
"""Of a cell's spec, log, result and prompts shown, about."""

LORA = ("it", "sl", "it_path", "regular_tuned", "samplegen_tuned")
TUNED = (*LORA, "full")
TEMPLATED = ("zero_shot", "icl", "it", "sl", "full")

# A search for a prompt (adapt.best_prompt): about so many templates, so many ways with examples,
# and parts of the examples where no validation split judges.
_TEMPLATES, _ORDERED, _FOLDS = 64, 24, 4


@dataclass(frozen=True)
class Work:
    """What there is to do, all draws of a cell together.

    Attributes:
        prompts: texts to write down and cut into tokens.
        read_tokens: go through the model forwards; shared ones once.
        single_tokens: likewise, but one prompt at a time.
        written_tokens: generated.
        trained_tokens: go forwards and backwards.
        steps: optimiser steps, of every variant.
        full: whether all weights are trained.
        disk_bytes: of the cell's files.
    """

    prompts: float = 0.0
    read_tokens: float = 0.0
    single_tokens: float = 0.0
    written_tokens: float = 0.0
    trained_tokens: float = 0.0
    steps: float = 0.0
    full: bool = False
    disk_bytes: float = _CELL_BYTES


@dataclass(frozen=True)
class _Texts:
    """Mean tokens of the prompts of a cell.

    Attributes:
        shared: of what the prompts of a group begin with.
        rest: of each prompt after that.
        groups: of items.
        options: all answers to be scored, but their last tokens, which are never read.
        choices: answers to be scored.
        answer: of the right answer.
        longest: of the longest right answer that was looked at.
        written: of what a samplegen model writes; 0 for others.
    """

    shared: float
    rest: float
    groups: int
    options: float
    choices: float
    answer: float
    longest: float
    written: float

    def read(self, queries: float, after: float = 0.0) -> float:
        """Return the tokens read for so many queries, with so many after each prompt."""
        groups = min(self.groups, queries)
        return groups * self.shared + queries * (self.rest + after)


def of_cell(cell: Cell, task: Task, model: str, *, searched: bool = False) -> Work:
    """Return the work of a cell.

    Args:
        cell: the cell.
        task: it is of.
        model: the name that the cell's base model is found by.
        searched: whether a cell before it has searched the templates of this model and task.
    """
    texts = _texts(cell, task, model)
    if cell.adaptation.name == "best_prompt":
        found = _searched(cell, task, model, texts, templates_known=searched)
    else:
        found = _trained(cell, task, model)
    doses = len(cell.adaptation.arguments.get("doses", (0,)))
    for measurement in cell.measurements:
        arguments = measurement.arguments
        more = _MEASURED[measurement.name](texts, cell, task, arguments, model)
        found = replace(
            found,
            prompts=found.prompts + doses * more.prompts,
            read_tokens=found.read_tokens + doses * more.read_tokens,
            single_tokens=found.single_tokens + more.single_tokens,
            written_tokens=found.written_tokens + doses * more.written_tokens,
            disk_bytes=found.disk_bytes + doses * (more.disk_bytes - _CELL_BYTES),
        )
    return found


def _trained(cell: Cell, task: Task, model: str) -> Work:
    """Return the work of the adaptation itself."""
    name, given = cell.adaptation.name, cell.adaptation.arguments
    if name not in TUNED:
        return Work()
    if "epochs" in given:
        rows = len(task.train)
        steps = [given["steps"] or max(1, math.ceil(given["epochs"] * rows / given["batch"]))]
    else:
        rows = int(given["examples"])
        steps = [given["doses"][-1]] if "doses" in given else _several(given["steps"])
        steps = steps or [usual_steps(rows, given["batch"])]
    rates = len(_several(given["rate"])) or len(_several(given.get("rate_times"))) or 1
    all_steps, read = _steps(cell, rates, steps)
    ways = _ways(cell, task)
    texts = [[_lesson(cell, way, row) for row in _spread(task.train, _GROUPS)] for way in ways]
    flat = [text for own in texts for text in own]
    sizes = shape.token_counts(model, [*flat, *map(_common, texts)])
    mean = sum(sizes[: len(flat)]) / len(flat)
    shared = sum(sizes[len(flat) :]) / len(ways)
    batch = min(given["batch"], rows)
    # A pass ends with a smaller batch where the rows do not divide.
    batch = rows / math.ceil(rows / batch)
    # Lessons of one template share a beginning; so many templates are in a batch, on average.
    beginnings = len(ways) * (1 - (1 - 1 / len(ways)) ** batch)
    tokens = batch * (mean - shared) + beginnings * shared if shared < mean else batch * mean
    variants = len(cell.draws)
    adapters = len(cell.draws) if name in LORA else 0
    numbers = shape.lora_numbers(model, int(given.get("rank", 0)), given.get("targets"))
    judging = 0 if "epochs" in given else _judging(cell, task)
    return Work(
        prompts=float(rows * variants * len(ways)),
        read_tokens=variants * read * judging * mean,
        trained_tokens=variants * all_steps * tokens,
        steps=float(variants * all_steps),
        full=name == "full",
        disk_bytes=_CELL_BYTES + 4.0 * adapters * numbers * len(given.get("doses", (0,))),
    )


def _steps(cell: Cell, rates: int, steps: Sequence[int]) -> tuple[float, int]:
    """Return the steps of everything that is trained for a draw, and how often it is judged."""
    given = cell.adaptation.arguments
    candidates = rates * len(steps)
    if candidates == 1:
        return sum(steps), 0
    path = cell.adaptation.name in LORA and given["schedule"] == "constant" and len(steps) > 1
    if given.get("true_few_shot"):
        folds = min(_FOLDS, int(given["examples"]))
        each = max(steps) if path else sum(steps)
        return folds * rates * each + max(steps), candidates * folds
    # Fewer steps are a stop on the way of more.
    return rates * (max(steps) if path else sum(steps)), candidates


def _judging(cell: Cell, task: Task) -> float:
    """Return how many texts choose among candidates at a time."""
    given = cell.adaptation.arguments
    if given.get("true_few_shot"):
        return len(_ways(cell, task)) * int(given["examples"]) / _FOLDS
    return min(given.get("validation_examples", 0), (len(task.validation) + 1) // 2)


def _searched(
    cell: Cell, task: Task, model: str, texts: "_Texts", *, templates_known: bool
) -> Work:
    """Return the work of the search for a prompt."""
    given, variants = cell.adaptation.arguments, len(cell.draws)
    shots, strict = int(given["examples"]), given["true_few_shot"]
    items = shots if strict else (len(task.validation) + 1) // 2
    searches = variants if strict else 0 if templates_known else 1
    bare = replace(cell, adaptation=replace(cell.adaptation, arguments={**given, "examples": 0}))
    alone = _texts(bare, task, model)
    reads = min(given["reads"], _TEMPLATES * items)
    work = Work(
        prompts=float(searches * (reads + _TEMPLATES * (1 + items))),
        read_tokens=searches
        * (_TEMPLATES * (alone.shared + alone.rest) + reads * (alone.rest + alone.options)),
    )
    if not shots:
        return work
    own = min(given["draw_reads"], _ORDERED * items)
    # One order in so many shows other examples to every item, and shares nothing.
    read = (_ORDERED + own / _ORDERED) * texts.shared + own * (texts.rest + texts.options)
    return replace(
        work,
        prompts=work.prompts + variants * (own + _ORDERED * (1 + items)),
        read_tokens=work.read_tokens + variants * read,
    )


def _ways(cell: Cell, task: Task) -> tuple[Written, ...]:
    """Return the task as every template writes it that a cell reads or tunes under."""
    if cell.adaptation.name in TEMPLATED:
        return templates.ways(task)
    return (templates.written(task),)


def _lesson(cell: Cell, way: Written, row: Example) -> str:
    """Return a training text."""
    name, task, row = cell.adaptation.name, way.task, way.example(row)
    if name == "regular_tuned":
        return f"{system_prompts.regular(row).text} {row.target}"
    if name == "samplegen_tuned":
        return system_prompts.samplegen(row).text + _response(task, row)
    asked = render.render(task, (), row, instruction=name != "sl").text
    return asked + render.answer(task, row.target)


def prompt_text(cell: Cell, task: Task, query: Example, way: Written | None = None) -> str:
    """Return a prompt of the first draw, as the task's first template writes it, or another."""
    name, given = cell.adaptation.name, cell.adaptation.arguments
    if name == "regular_tuned":
        return system_prompts.regular(query).text
    if name == "samplegen_tuned":
        return system_prompts.samplegen(query).text
    if name == "base":
        return system_prompts.base(query).text
    if name == "gold":
        shown = [e for e in task.pool if e.group == query.group][: int(given["examples"])]
        return system_prompts.gold(query, shown).text
    size = int(given["examples"]) if name in ("icl", "best_prompt") else 0
    way = way or _ways(cell, task)[0]
    demos = [way.example(e) for e in selection.demonstrations(task, 0, size, seed=cell.seed)]
    return render.render(way.task, demos, way.example(query), instruction=name != "sl").text


def _response(task: Task, query: Example) -> str:
    shown = [e for e in task.pool if e.group == query.group][: system_prompts.SHOWN]
    return system_prompts.response(query, shown)


def _texts(cell: Cell, task: Task, model: str) -> _Texts:
    """Return the mean sizes over pairs of items of a few groups."""
    by_group: dict[str, list[Example]] = {}
    for query in task.test:
        # Rows that belong together have no prompt in common for it.
        by_group.setdefault("" if task.clustered_by else query.group, []).append(query)
    ways = _ways(cell, task)
    pairs = [
        (way, own[:2])
        for way in ways
        for own in _spread(list(by_group.values()), max(1, _GROUPS // len(ways)))
    ]
    asked = [[prompt_text(cell, task, query, way) for query in pair] for way, pair in pairs]
    queries = [query for _, pair in pairs for query in pair]
    written = [_response(task, q) for q in queries] if _writes(cell) else []
    options = [query.choices or task.choices for query in queries]
    flat = [render.answer(task, option) for own in options for option in own]
    sizes = iter(
        shape.token_counts(
            model,
            [
                *(text for pair in asked for text in pair),
                *(_common(pair) if len(pair) > 1 else "" for pair in asked),
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
    return _Texts(
        shared=mean_shared,
        rest=sum(whole) / len(whole) - mean_shared,
        groups=len(by_group),
        options=sum(scored) / len(queries),
        choices=len(flat) / len(queries),
        answer=sum(answers) / len(answers),
        longest=max(answers),
        written=sum(texts) / len(texts) if texts else 0.0,
    )


def _writes(cell: Cell) -> bool:
    return cell.adaptation.name == "samplegen_tuned"


def _behaviour(texts: _Texts, cell: Cell, task: Task, given: Any, model: str) -> Work:
    ways, variants = len(_ways(cell, task)), len(cell.draws)
    # Test queries under every template, validation queries under one each.
    queries = ways * len(task.test) + len(task.validation)
    texts = replace(texts, groups=ways * texts.groups)
    if task.kind == "choice":
        # Read again without content, options and all, of which few prompts differ.
        return Work(
            prompts=2.0 * variants * queries,
            read_tokens=variants * texts.read(queries, texts.options),
            disk_bytes=_CELL_BYTES + 32.0 * variants * queries * texts.choices,
        )
    written = min(texts.answer + _STOP_TOKENS, task.max_new_tokens)
    # Models that were not tuned write more than was asked for.
    written = written if cell.adaptation.name in TUNED else (written + task.max_new_tokens) / 2
    return Work(
        prompts=2.0 * variants * queries,
        read_tokens=variants * (texts.read(queries, texts.answer) + texts.read(queries)),
        written_tokens=variants * queries * written,
        disk_bytes=_CELL_BYTES + variants * queries * (24.0 + 5 * written),
    )


def _cost(texts: _Texts, cell: Cell, task: Task, given: Any, model: str) -> Work:
    # Nine prompts one by one, whole and after what they share.
    return Work(prompts=9.0, single_tokens=9 * (texts.shared + 2 * texts.rest))


def _hidden(texts: _Texts, cell: Cell, task: Task, given: Any, model: str) -> Work:
    variants, queries, places = len(cell.draws), len(task.test), len(given["positions"])
    size = 4 if given["keep"] == "float32" else 2
    numbers = shape.state_numbers(model)
    return Work(
        prompts=float(variants * queries),
        read_tokens=places * variants * texts.read(queries),
        disk_bytes=_CELL_BYTES + float(variants * queries * places * numbers * size),
    )


def _circuits(texts: _Texts, cell: Cell, task: Task, given: Any, model: str) -> Work:
    items = min(given["items"], _in_group(task, given["group"]))
    layers, heads = shape.num_layers(model), shape.num_heads(model)
    units = layers * (heads + 1)
    after = {"last": 1.0, "cue": 4.0}.get(given["place"], texts.rest)
    sweeps = len(given["corruptions"]) * len(given["methods"]) * len(cell.draws)
    # A patched run goes from its layer to the last: half of them on average.
    each = 2 * texts.rest + units * after / 2
    return Work(
        prompts=2.0 * items * len(cell.draws),
        read_tokens=sweeps * (texts.shared + items * each),
        disk_bytes=_CELL_BYTES + 4.0 * sweeps * items * units * len(METRICS),
    )


def _ablated(texts: _Texts, cell: Cell, task: Task, given: Any, model: str) -> Work:
    items = min(given["items"], _in_group(task, given["group"])) - given["first"]
    runs = 2 * len(given["sets"]) + 2
    return Work(
        prompts=2.0 * items * len(cell.draws),
        read_tokens=len(cell.draws) * items * runs * (texts.shared + texts.rest),
        disk_bytes=_CELL_BYTES + 4.0 * len(cell.draws) * items * runs * len(METRICS),
    )


def _edges(texts: _Texts, cell: Cell, task: Task, given: Any, model: str) -> Work:
    items = min(given.get("items", len(task.test)), len(task.test))
    # Two forward passes and a backward pass of a pair.
    return Work(
        prompts=2.0 * items * len(cell.draws),
        read_tokens=len(cell.draws) * items * 5 * (texts.shared + texts.rest),
    )


def _heads(texts: _Texts, cell: Cell, task: Task, given: Any, model: str) -> Work:
    queries = min(given["queries"], _in_group(task, given["group"]))
    units = shape.num_layers(model) * shape.num_heads(model)
    # Attention is read off whole prompts, one by one; half of them are read again for their heads.
    each = texts.shared + texts.rest
    if cell.adaptation.name == "icl":
        each += (each + texts.rest + units / 2) / 2
    return Work(
        prompts=1.5 * queries * len(cell.draws),
        read_tokens=len(cell.draws) * queries * each,
        disk_bytes=_CELL_BYTES + 20.0 * len(cell.draws) * units,
    )


def _resemblance(texts: _Texts, cell: Cell, task: Task, given: Any, model: str) -> Work:
    return Work(disk_bytes=_CELL_BYTES + 32.0 * len(cell.draws) * len(task.test))


def _systems(texts: _Texts, cell: Cell, task: Task, given: Any, model: str) -> Work:
    variants, queries = len(cell.draws), len(task.test)
    line = (texts.answer + texts.longest) / 2 + _STOP_TOKENS
    if _writes(cell):
        told = texts.written
        read = texts.read(queries) + queries * (texts.rest + told + texts.options)
        write = queries * told
        if given["pipeline"]:
            read += queries * (2 * told + texts.options)
            write += queries * line
    else:
        read = texts.read(queries) + texts.read(queries, texts.options)
        write = queries * line
    readings = len(given["variations"])
    arrays = 8.0 * (8 + texts.choices) * (2 if _writes(cell) and given["pipeline"] else 1)
    return Work(
        prompts=2.0 * readings * variants * queries,
        read_tokens=readings * variants * read,
        written_tokens=readings * variants * write,
        disk_bytes=_CELL_BYTES + readings * variants * queries * arrays,
    )


_MEASURED = {
    "behaviour": _behaviour,
    "cost": _cost,
    "hidden": _hidden,
    "circuits": _circuits,
    "ablated": _ablated,
    "edges": _edges,
    "heads": _heads,
    "resemblance": _resemblance,
    "systems": _systems,
}


def _in_group(task: Task, group: str) -> int:
    return sum(not group or query.group == group for query in task.test)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most so many items, evenly from all of them."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def _common(texts: Sequence[str]) -> str:
    """Return what all texts begin with."""
    low, high = min(texts), max(texts)
    size = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:size]


def _several(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]
