"""How much work an adaptation is, before it is done: tokens to train on and to read, bytes to keep.

Right to within a third where training texts are counted in their own model's tokens; torch-free.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from adaptlens.adapt.steps import FOLDS
from adaptlens.models import shape
from adaptlens.prompts.sizes import (
    GROUPS,
    PromptSizes,
    common,
    prompt_sizes,
    spread,
    virtual_tokens,
)
from adaptlens.tasks.templates import Written
from adaptlens.types import CostEstimate, Example

TEMPLATES, ORDERED = 64, 24
"""A search for a prompt tries about so many templates, and so many ways with examples."""

TrainingText = Callable[[Written, Example], str]


def of_tuning(how: Any, sizes: PromptSizes, write: TrainingText, *, full: bool) -> CostEstimate:
    """Return the work of tuning on a draw's examples.

    Args:
        how: the arguments, `adapt.settings.Tuning`.
        sizes: of the prompts; its ways are those that training texts are written in.
        write: writes the training text of an example.
        full: whether all weights are trained.
    """
    rows = how.num_rows
    checkpoints = getattr(how, "checkpoint_steps", ())
    steps = [checkpoints[-1]] if checkpoints else _several(how.max_steps)
    steps = steps or [how.usual_steps]
    rates = len(_several(how.learning_rate)) or len(_several(how.lr_multipliers)) or 1
    all_steps, read = _steps(how, rates, steps, sizes.family, full=full)
    mean, shared = (tokens + virtual_tokens(how) for tokens in _mean_tokens(sizes, write))
    found = _trained(how, sizes, rows, all_steps, mean, shared, full=full)
    judging = _judging(how, sizes)
    return replace(
        found,
        read_tokens=sizes.num_draws * read * judging * mean,
        disk_bytes=found.disk_bytes * max(1, len(checkpoints)),
    )


def of_mixture(how: Any, sizes: PromptSizes, write: TrainingText) -> CostEstimate:
    """Return the work of tuning on a mixture's rows, all of them; see `adapt.mixture`."""
    rows = len(sizes.task.train)
    steps = how.max_steps or how.usual_steps(rows)
    mean, shared = _mean_tokens(sizes, write)
    return _trained(how, sizes, rows, steps, mean, shared, full=False)


def _trained(
    how: Any,
    sizes: PromptSizes,
    rows: int,
    steps: float,
    mean: float,
    shared: float,
    *,
    full: bool,
) -> CostEstimate:
    """Return the work of so many steps a draw, on texts of a mean size that share a beginning."""
    batch = min(how.batch_size, rows)
    # A pass ends with a smaller batch where the rows do not divide.
    batch = rows / math.ceil(rows / batch)
    # Texts of one template share a beginning; so many templates are in a batch, on average.
    ways = getattr(how, "num_templates", None) or len(sizes.ways)
    beginnings = ways * (1 - (1 - 1 / ways) ** batch)
    tokens = batch * (mean - shared) + beginnings * shared if shared < mean else batch * mean
    if full:
        numbers = 0
    elif virtual := virtual_tokens(how):
        numbers = virtual * shape.width(sizes.model)
    else:
        numbers = shape.lora_numbers(sizes.model, how.lora_rank, how.target_modules)
    return CostEstimate(
        prompts=float(rows * sizes.num_draws * ways),
        trained_tokens=sizes.num_draws * steps * tokens,
        steps=float(sizes.num_draws * steps),
        full=full,
        disk_bytes=4.0 * sizes.num_draws * numbers,
    )


def _mean_tokens(sizes: PromptSizes, write: TrainingText) -> tuple[float, float]:
    """Return the mean size of training texts, and that of what those of a template begin with."""
    rows = spread(sizes.task.train, GROUPS)
    texts = [[write(way, row) for row in rows] for way in sizes.ways]
    flat = [text for own in texts for text in own]
    counted = shape.token_counts(sizes.model, [*flat, *map(common, texts)])
    return sum(counted[: len(flat)]) / len(flat), sum(counted[len(flat) :]) / len(sizes.ways)


def _steps(
    how: Any, rates: int, steps: Sequence[int], family: str, *, full: bool
) -> tuple[float, int]:
    """Return the steps of everything that is trained for a draw, and how often it is judged."""
    candidates = rates * len(steps)
    if candidates == 1:
        return sum(steps), 0
    # Fewer steps are a stop on the way of more.
    path = not full and how.nests_steps and len(steps) > 1
    each = max(steps) if path else sum(steps)
    if how.true_few_shot:
        folds = min(FOLDS, how.examples)
        return folds * rates * each + max(steps), candidates * folds
    return rates * each, candidates


def _judging(how: Any, sizes: PromptSizes) -> float:
    """Return how many texts choose among candidates at a time."""
    if how.true_few_shot:
        return len(sizes.ways) * how.examples / FOLDS
    return min(how.validation_examples, (len(sizes.task.validation) + 1) // 2)


def of_search(how: Any, sizes: PromptSizes) -> CostEstimate:
    """Return the work of the search for a prompt, `adapt.best_prompt.BestPrompt`."""
    task, variants, strict = sizes.task, sizes.num_draws, how.true_few_shot
    items = how.examples if strict else (len(task.validation) + 1) // 2
    searches = variants if strict else 0 if sizes.templates_known else 1
    bare = replace(how, examples=0, true_few_shot=False)
    alone = prompt_sizes(bare, task, sizes.model, num_draws=variants)
    reads = min(how.reads, TEMPLATES * items)
    found = CostEstimate(
        prompts=float(searches * (reads + TEMPLATES * (1 + items))),
        read_tokens=searches
        * (TEMPLATES * (alone.shared + alone.rest) + reads * (alone.rest + alone.options)),
    )
    if not how.examples:
        return found
    own = min(how.draw_reads, ORDERED * items)
    # One order in so many shows other examples to every item, and shares nothing.
    read = (ORDERED + own / ORDERED) * sizes.shared + own * (sizes.rest + sizes.options)
    return replace(
        found,
        prompts=found.prompts + variants * (own + ORDERED * (1 + items)),
        read_tokens=found.read_tokens + variants * read,
    )


def _several(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]
