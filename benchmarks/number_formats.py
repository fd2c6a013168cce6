"""What a number format changes: the same weights in float32 and in bfloat16 or float16.

    python benchmarks/number_formats.py [--quick] [--model NAME] [--task NAME --choices 0=a,1=b]
        [--dtype bfloat16] [--items 500] [--device cpu]

Accuracy and log-likelihoods of a task's answers, with 16 fixed demonstrations and with none; and
for random tokens, how far reading shared prefixes once is from whole prompts, in either format,
beside how far the formats are apart. Prints one JSON; `accelerator.py` has it as a part.
"""

import argparse
import copy
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from accelerator_parts import CASES, MINIATURE, SHOTS, Bench, Size, shared, unshared
from adaptlens import tasks
from adaptlens.adapt.prompting import InContext, ZeroShot
from adaptlens.lm import parity, score
from adaptlens.lm.load import LM, assemble, load
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.weights import DTYPES
from adaptlens.types import Task


@dataclass
class Readings:
    """What a model says in one number format, and by which ways.

    Attributes:
        shared: log-likelihoods [prompts, answers] by case.
        unshared: the same by whole prompts.
        ways: differences of logits by each way of attending, see `lm.parity.differences`.
        task: log-likelihoods of a task's answers, by demonstrations.
        right: which of the task's answers is right.
    """

    shared: dict[str, np.ndarray]
    unshared: dict[str, np.ndarray]
    ways: dict[str, float]
    task: dict[int, list[np.ndarray]]
    right: dict[int, list[int]]


def readings(lm: LM, size: Size, task: Task) -> Readings:
    """Return what the model says of some prompts of every case, and of a task's items."""
    bench = Bench(lm, size, 1.0, task)
    mine, theirs = {}, {}
    for case in CASES:
        prompts = bench.prompts(case)[: max(size.drawn // 4, 4)]
        mine[case] = shared(lm, prompts, ForwardStats())
        theirs[case] = unshared(lm, prompts, min(size.batches))
    assert lm.architecture is not None
    ways = parity.differences(lm.model, lm.architecture, SHOTS * size.item, size.item)
    logliks, right = {}, {}
    adapted = InContext(SHOTS).adapt(lm, task, [0])
    shown = {example.id for example in adapted.examples[0]}
    items = [e for e in (*task.test, *task.validation, *task.train) if e.id not in shown]
    for shots in (0, SHOTS):
        way = adapted if shots else ZeroShot().adapt(lm, task, [])
        prompts = [way.write(0, item) for item in items[: size.items]]
        logliks[shots] = score.score(lm, score.encode(lm, prompts))
        right[shots] = [prompt.answers.index(prompt.target) for prompt in prompts]
    return Readings(mine, theirs, ways, logliks, right)


def compared(exact: Readings, rounded: Readings) -> dict[str, Any]:
    """Return how far apart the same weights are in float32 and in another number format."""

    def largest(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
        return {case: float(np.abs(one[case] - other[case]).max()) for case in one}

    by_shots = {}
    for shots, own in exact.task.items():
        one, other = np.array(own), np.array(rounded.task[shots])
        right = np.array(exact.right[shots])
        before, after = (each.argmax(1) for each in (one, other))
        by_shots[shots] = {
            "items": len(one),
            "float32_accuracy": float((before == right).mean()),
            "accuracy": float((after == right).mean()),
            "accuracy_difference_items": int((after == right).sum() - (before == right).sum()),
            "same_choice": float((before == after).mean()),
            "loglik_difference_mean": float(np.abs(one - other).mean()),
            "loglik_difference_max": float(np.abs(one - other).max()),
            "margin_difference_mean": float(np.abs(np.diff(one) - np.diff(other)).mean()),
        }
    return {
        "float32_shared_against_unshared": largest(exact.shared, exact.unshared),
        "shared_against_unshared": largest(rounded.shared, rounded.unshared),
        "unshared_against_float32": largest(rounded.unshared, exact.unshared),
        "shared_against_float32": largest(rounded.shared, exact.shared),
        "float32_ways_of_attending": exact.ways,
        "ways_of_attending": rounded.ways,
        "task": by_shots,
    }


def rounded(lm: LM, dtype: str, *, keep: bool) -> LM:
    """Return the model in another number format; `keep` leaves the given one as it is."""
    model = (copy.deepcopy(lm.model) if keep else lm.model).to(DTYPES[dtype])
    return assemble(model, lm.tokenizer, name=lm.name, digest=lm.digest, dtype=dtype, chat=lm.chat)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the reference model, a few items")
    parser.add_argument("--model", default="reference")
    parser.add_argument("--task", default="sentiment-novel")
    parser.add_argument("--choices", help="of the task's answers, where it is a file")
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--dtype", choices=("bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    task = tasks.load(given.task, **({"choices": given.choices} if given.choices else {}))
    size = MINIATURE if given.quick else replace(MINIATURE, item=16, items=given.items)
    lm = load(given.model, device=given.device)
    exact = readings(lm, size, task)
    found = compared(exact, readings(rounded(lm, given.dtype, keep=False), size, task))
    about = {
        "model": given.model,
        "task": task.name,
        "dtype": given.dtype,
        "device": str(lm.device),
    }
    print(json.dumps(about | found, indent=1))


if __name__ == "__main__":
    main()
