"""The held-out check of the model for tasks with a shortcut: what of them is within its reach."""

from collections.abc import Sequence
from typing import Any

import torch

from adaptlens.tasks import shortcuts
from adaptlens.tasks.shortcuts.makers import SMALL
from adaptlens.types import Task
from adaptlens.zoo.check import shown

SHOTS = (0, 8, 16)
MARGIN = 0.05
"""By how much accuracy on `broken` items must beat a constant answer at 8 shots."""
ROOM = 0.95
"""A family whose zero-shot accuracy on `pattern` items is below this has room for a shortcut."""


@torch.no_grad()
def accuracy(
    model: Any, tokenizer: Any, task: Task, shots: int, *, seed: int = 0, batch: int = 50
) -> dict[str, float]:
    """Return, for every group of test items, the share whose answer is the likeliest next token.

    Demonstrations are drawn per query; the likeliest token is taken among the whole vocabulary.
    """
    texts = shown(task, shots, seed)
    device = next(model.parameters()).device
    right: dict[str, list[bool]] = {}
    for start in range(0, len(texts), batch):
        inputs = tokenizer(
            texts[start : start + batch], padding=True, padding_side="right", return_tensors="pt"
        )
        states = model.model(input_ids=inputs["input_ids"].to(device), use_cache=False)
        ends = inputs["attention_mask"].sum(1) - 1
        last = states.last_hidden_state[torch.arange(len(ends)), ends]
        chosen = tokenizer.batch_decode(model.lm_head(last).argmax(1)[:, None])
        for query, said in zip(task.test[start : start + batch], chosen, strict=True):
            right.setdefault(query.group, []).append(said.strip() == query.target)
    return {group: sum(found) / len(found) for group, found in right.items()}


def curve(model: Any, tokenizer: Any, queries: int) -> dict[str, float]:
    """Return zero-shot accuracy on both kinds of every family: a point of the training curve."""
    found = {}
    for family in shortcuts.FAMILIES:
        task = shortcuts.task(f"{family}-broken", train=0, validation=0, test=2 * queries)
        for group, value in accuracy(model, tokenizer, task, 0).items():
            found[f"{family} {group}"] = round(value, 3)
    return found


def rows(
    model: Any,
    tokenizer: Any,
    *,
    queries: int = 200,
    seed: int = 0,
    shots: Sequence[int] = SHOTS,
) -> list[dict[str, Any]]:
    """Return one row per family, condition and number of demonstrations, with what was wanted.

    Conditions: pattern (shown pattern items, read on pattern), misleading (shown pattern, read on
    broken), plain (shown broken, read on broken). Keys as in `check.rows`; chance is what one
    constant answer reaches.
    """
    found: list[dict[str, Any]] = []
    for family in shortcuts.FAMILIES:
        chance = 1 / len(SMALL[family].answers())
        for learnt in shortcuts.KINDS:
            task = shortcuts.task(f"{family}-{learnt}", seed=seed, test=2 * queries)
            for count in shots:
                by_group = accuracy(model, tokenizer, task, count, seed=seed)
                conditions = {"pattern": "pattern", "misleading": "broken"}
                if learnt == shortcuts.BROKEN:
                    conditions = {"plain": "broken"}
                for condition, group in conditions.items():
                    value = by_group[group]
                    is_judged = condition == "plain" and count == 8
                    found.append(
                        {
                            "task": family,
                            "condition": condition,
                            "metric": "accuracy",
                            "shots": count,
                            "value": round(value, 4),
                            "chance": round(chance, 3),
                            "wanted": f">= chance + {MARGIN:.2f}" if is_judged else "",
                            "met": ("yes" if value >= chance + MARGIN else "no")
                            if is_judged
                            else "",
                        }
                    )
    return found


def passed(found: Sequence[dict[str, Any]]) -> bool:
    """Return whether the tasks are within reach, and not all so well that no shortcut can show.

    Wanted: in every family plain accuracy at 8 shots above chance; in three families zero-shot
    accuracy on pattern items below `ROOM`.
    """
    judged = [row["met"] for row in found if row["met"]]
    room = [
        row["value"] < ROOM for row in found if row["condition"] == "pattern" and row["shots"] == 0
    ]
    return bool(judged) and all(met == "yes" for met in judged) and sum(room) >= 3
