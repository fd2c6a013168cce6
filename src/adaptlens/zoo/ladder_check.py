"""The held-out check of the ladder: what each model can do of the bundled tasks, untuned."""

from collections.abc import Sequence
from typing import Any

import torch

from adaptlens.tasks import microworld
from adaptlens.types import Task
from adaptlens.zoo import check

SHOTS = (0, 8)
NOVEL = ("sentiment-novel", "topic-novel", "family-novel", "withheld-2")
"""Tasks whose labels pretraining never paired: what they mean can only be learnt in context."""
GAIN = 0.2
"""How far above chance mean accuracy on these must be at 8 shots."""
_CURVE = ("sentiment-novel", "topic-novel", "agreement", "odd-one-out", "verb-translation")


def tasks(queries: int = 200, seed: int = 0, names: Sequence[str] = ()) -> list[Task]:
    """Return the bundled tasks of the microworld, or those named."""
    chosen = names or microworld.names()
    return [microworld.task(name, seed=seed, test=queries) for name in chosen]


def chance(task: Task) -> float:
    """Return the accuracy of guessing: 0 where the answer is written out."""
    if task.kind == "generation":
        return 0.0
    return 1 / len(task.choices or task.test[0].choices)


def accuracy(model: Any, tokenizer: Any, task: Task, shots: int, *, seed: int = 0) -> float:
    """Return the share of right answers, by likelihood or, written out, by exact match.

    Demonstrations are drawn per query. The likelihood of an option is the sum over its tokens.
    """
    if task.kind == "generation":
        return _exact(model, tokenizer, task, check.shown(task, shots, seed))
    if task.choices:
        return check.accuracy(model, tokenizer, task, shots, seed=seed)
    return _likeliest(model, tokenizer, task, check.shown(task, shots, seed))


@torch.no_grad()
def _likeliest(model: Any, tokenizer: Any, task: Task, texts: list[str], batch: int = 25) -> float:
    device = next(model.parameters()).device
    right = 0
    for start in range(0, len(texts), batch):
        queries = task.test[start : start + batch]
        rows = [
            f"{text} {option}"
            for text, query in zip(texts[start : start + batch], queries, strict=True)
            for option in query.choices
        ]
        lengths = [len(tokenizer(text).input_ids) for text in texts[start : start + batch]]
        inputs = tokenizer(rows, padding=True, padding_side="right", return_tensors="pt")
        ids = inputs["input_ids"].to(device)
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        ends = inputs["attention_mask"].sum(1).tolist()
        row = 0
        for length, query in zip(lengths, queries, strict=True):
            scores: list[float] = []
            for _ in query.choices:
                span = slice(length - 1, ends[row] - 1)
                logits = model.get_output_embeddings()(states[row, span])
                wanted = ids[row, length : ends[row], None]
                scores.append(logits.log_softmax(-1).gather(1, wanted).sum().item())
                row += 1
            right += query.choices[scores.index(max(scores))] == query.target
    return right / len(texts)


@torch.no_grad()
def _exact(model: Any, tokenizer: Any, task: Task, texts: list[str], batch: int = 50) -> float:
    device = next(model.parameters()).device
    right = 0
    for start in range(0, len(texts), batch):
        inputs = tokenizer(
            texts[start : start + batch], padding=True, padding_side="left", return_tensors="pt"
        ).to(device)
        written = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=task.max_new_tokens,
            do_sample=False,
        )
        queries = task.test[start : start + batch]
        for row, query in zip(written[:, inputs["input_ids"].shape[1] :], queries, strict=True):
            text = tokenizer.decode(row, skip_special_tokens=True)
            right += text.strip().split("\n")[0].strip() == query.target
    return right / len(texts)


def curve(model: Any, tokenizer: Any, queries: int) -> dict[str, float]:
    """Return 8-shot accuracy on a few tasks: a point of the training curve."""
    return {
        task.name: round(accuracy(model, tokenizer, task, 8), 3)
        for task in tasks(queries, names=_CURVE)
    }


def rows(
    model: Any,
    tokenizer: Any,
    *,
    queries: int = 200,
    seed: int = 0,
    shots: Sequence[int] = SHOTS,
) -> list[dict[str, Any]]:
    """Return one row per task and number of demonstrations.

    Keys: task, cluster, metric, shots, value, chance, wanted, met. Nothing is wanted of single
    tasks: the models of the ladder are meant to differ.
    """
    return [
        {
            "task": task.name,
            "cluster": task.cluster,
            "metric": "accuracy" if task.kind == "choice" else "exact match",
            "shots": count,
            "value": round(accuracy(model, tokenizer, task, count, seed=seed), 4),
            "chance": round(chance(task), 3),
            "wanted": "",
            "met": "",
        }
        for task in tasks(queries, seed)
        for count in shots
    ]


def passed(found: Sequence[dict[str, Any]]) -> bool:
    """Return whether the rows show in-context learning: see `NOVEL` and `GAIN`."""
    gains = [
        row["value"] - row["chance"] for row in found if row["task"] in NOVEL and row["shots"] == 8
    ]
    return sum(gains) / len(gains) >= GAIN
