"""The search for a prompt: adaptlens against one lm-evaluation-harness pass per candidate.

    python benchmarks/search.py --data ../shared/data/sst2/train.tsv [--quick]

adaptlens runs the arm `best-prompt` of `compare` at its default size: templates and label words
first, then, for a draw of examples, templates and orders of demonstrations; by successive halving,
what is read together scored with shared prefixes. The peer reads every candidate that was
considered on every validation item, a pass each, at the best of several batch sizes, and none of
the prompts without content that adaptlens reads too. Its passes are timed on the first
`--peer-items` items of `--peer-candidates` candidates of each stage, the chosen one and others
drawn with a seed, and scaled by the tokens of the prompts to all of both. The ratio has two parts:
prompts that halving leaves unread ("fewer"), and seconds a prompt. Templates are searched once for
all draws of a task, so ten draws, as `compare` makes, are computed from one.

The difference is the largest between log-likelihoods that both sides have. The search is made again
on the peer's, where there are any; if it ends elsewhere, or a difference passes 1e-4, the exit code
is 1. Both sides use the same model object, in float32; on one thread seconds are the processor's.
The share is of this machine's peak in float32 matrix products, as in `scoring.py`. Needs the extra
`bench`.
"""

import argparse
import json
import logging
import platform
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import models
from adaptlens import tasks
from adaptlens.adapt import best_prompt
from adaptlens.adapt.best_prompt import DRAW_READS, READS, BestPrompt
from adaptlens.adapt.halving import Search, Tried
from adaptlens.lm import score
from adaptlens.lm.flops import matrix_parameters
from adaptlens.lm.load import LM
from adaptlens.lm.memory import keep_freed_memory
from adaptlens.types import Example, Task
from machine import clock, matrix_peak, seconds
from scoring import INSTRUCTION, best_peer, peer

STAGES = ("templates", "demonstrations")
DRAWS = 10
TARGET, TOLERANCE = 20.0, 1e-4
Logliks = dict[tuple[Any, ...], np.ndarray]
"""Log-likelihoods of answers, by the tokens of the prompt and of the answers."""


@dataclass
class Stage:
    """What one search considered, and what it took.

    Attributes:
        search: the search, which has its items and counts what it reads.
        candidates: all it was given.
        seconds: in reading and judging them.
        chosen: the one it preferred last.
    """

    search: Search
    candidates: list[Tried] = field(default_factory=list)
    seconds: float = 0.0
    chosen: Tried | None = None


def key(request: score.Request) -> tuple[Any, ...]:
    """Return what tells a prompt with its answers from others."""
    return request.prompt_ids, request.answers_ids


def searched(
    lm: LM, task: Task, how: BestPrompt, known: Logliks
) -> tuple[dict[str, Any], list[Stage], Logliks]:
    """Return what was found for the first draw, the stages, and what was read: not what is known.

    Nothing is remembered on the way, so that a prompt that is asked for twice is read twice.
    """
    stages: list[Stage] = []
    all_read: Logliks = {}
    read = score.score

    class Watched(Search):
        """The search, watched."""

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.stage = Stage(self)
            stages.append(self.stage)

        def halve(self, candidates: Sequence[Tried], *more: Any) -> list[Tried]:
            begun = clock()
            found = super().halve(candidates, *more)
            self.stage.seconds += clock() - begun
            before = set(map(id, self.stage.candidates))
            self.stage.candidates += [one for one in candidates if id(one) not in before]
            self.stage.chosen = found[0]
            return found

    def scored(
        lm: LM, requests: Sequence[score.Request], weights: Any = None, **more: Any
    ) -> list[np.ndarray]:
        new = [request for request in requests if key(request) not in known]
        own = dict(zip(map(key, new), read(lm, new, weights, **more), strict=True)) if new else {}
        all_read.update(own)
        return [known[k] if (k := key(request)) in known else own[k] for request in requests]

    with (
        mock.patch.object(best_prompt, "Search", Watched),
        mock.patch.object(score, "score", scored),
    ):
        # Templates found are kept for a model, so each search has one of its own.
        found = how.adapt(replace(lm), task, [0]).training["search"][0]
    return found, stages, all_read


def peer_passes(
    lm: LM, stage: Stage, num_candidates: int, num_items: int
) -> tuple[dict[str, Any], Logliks]:
    """Return what the peer takes to read all candidates on all items, and what it found.

    Timed on some, see the module.
    """
    assert stage.chosen is not None
    others = [one for one in stage.candidates if one is not stage.chosen]
    drawn = random.Random(0).sample(others, min(num_candidates - 1, len(others)))
    items = stage.search.items[:num_items]
    backend, size, spent = None, 0, 0.0
    known: Logliks = {}
    difference = 0.0

    def num_tokens(candidates: Sequence[Tried], items: Sequence[Example]) -> int:
        texts = [one.write(item).text for one in candidates for item in items]
        return sum(map(len, lm.encode_all(texts)))

    timed = (stage.chosen, *drawn)
    for one in timed:
        prompts = [one.write(item) for item in items]
        texts, answers = [prompt.text for prompt in prompts], prompts[0].answers
        if backend is None:
            backend, size = best_peer(lm, texts, min(4, len(texts)))
        begun = clock()
        found = peer(backend, texts, answers)
        spent += clock() - begun
        for values, own in zip(found, one.reads, strict=False):
            difference = max(difference, float(np.abs(values - own.loglik).max()))
        known.update(zip(map(key, score.encode(lm, prompts)), found, strict=True))
    share = num_tokens(timed, items) / num_tokens(stage.candidates, stage.search.items)
    return {
        "candidates": len(stage.candidates),
        "items": len(stage.search.items),
        "prompts": len(stage.candidates) * len(stage.search.items),
        "timed_on": len(timed) * len(items),
        "peer_batch_size": size,
        "peer_seconds": spent / share,
        "max_difference": difference,
    }, known


def compare(
    lm: LM, task: Task, how: BestPrompt, num_candidates: int, num_items: int
) -> dict[str, Any]:
    """Return both sides' seconds by stage, and whether they choose the same prompt."""
    found: tuple[dict[str, Any], list[Stage], Logliks] = ({}, [], {})

    def search() -> None:
        nonlocal found
        found = searched(lm, task, how, {})

    whole_seconds = seconds(search)
    chosen, stages, known = found
    peak = matrix_peak()
    rows = []
    for name, stage in zip(STAGES, stages, strict=True):
        row, more = peer_passes(lm, stage, num_candidates, num_items)
        known |= more
        work = {"reads": stage.search.reads, "tokens": stage.search.tokens}
        rows.append({"stage": name, **row, **work, "seconds": stage.seconds})
    summed = ("candidates", "prompts", "peer_seconds", "reads", "tokens")
    templates, demos = rows
    others = {
        "timed_on": sum(row["timed_on"] for row in rows),
        "max_difference": max(row["max_difference"] for row in rows),
    }
    for name, draws in (("one draw", 1), (f"{DRAWS} draws, computed", DRAWS)):
        whole = {column: templates[column] + draws * demos[column] for column in summed}
        taken = whole_seconds + (draws - 1) * demos["seconds"]
        rows.append({"stage": name, **others, **whole, "seconds": taken})
    for row in rows:
        row["ratio"] = row["peer_seconds"] / row["seconds"]
        row["fewer"] = row["prompts"] / row["reads"]
        row["share_of_peak"] = 2 * matrix_parameters(lm) * row["tokens"] / row["seconds"] / peak
    again, _, _ = searched(lm, task, how, known)
    names = ("prompt", "rule", "sent")
    return {
        "stages": rows,
        "chosen": {name: chosen[name] for name in (*names, "validation_accuracy", "items")},
        "same_choice": all(chosen[name] == again[name] for name in names),
        "target": TARGET,
    }


def given_task(data: Path | None, validation: int) -> Task:
    """Return the task of a file of `text<TAB>0|1` lines, or a bundled one, its validation cut."""
    task = tasks.load("sentiment-novel")
    if data is not None:
        task = tasks.load(
            str(data), choices="0=negative,1=positive", instruction=INSTRUCTION.strip()
        )
    return replace(task, validation=task.validation[:validation])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="the reference model, few reads")
    options.add_argument("--data", type=Path, help="lines of text<TAB>0|1; default: made-up text")
    options.add_argument(
        "--model", default="reference", help=f"one of {', '.join(models.SHAPES)}, or any other"
    )
    options.add_argument("--examples", type=int, default=16, help="of a draw, to be shown")
    options.add_argument("--validation", type=int, default=200, help="items to search by")
    options.add_argument("--reads", type=int, default=READS, help="in the search for a template")
    options.add_argument("--draw-reads", type=int, default=DRAW_READS, help="for each draw")
    options.add_argument("--peer-candidates", type=int, default=4, help="time the peer on these")
    options.add_argument("--peer-items", type=int, default=16, help="items of each")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--json", type=Path, help="also write the result here")
    given = options.parse_args()
    if given.quick:
        given.model, given.examples, given.validation = "reference", 4, 12
        given.reads, given.draw_reads = 120, 60
        given.peer_candidates, given.peer_items = 2, 4
    torch.set_num_threads(given.threads)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    keep_freed_memory()
    task = given_task(given.data, given.validation)
    lm = models.build(given.model, models.byte_pairs([example.input for example in task.train]))
    how = BestPrompt(given.examples, reads=given.reads, draw_reads=given.draw_reads)
    machine = f"{platform.processor() or platform.machine()}, {given.threads} threads"
    print(f"{lm.name}, {task.name}, float32, {machine}, torch {torch.__version__}")
    found = compare(lm, task, how, given.peer_candidates, given.peer_items)
    print(
        f"{'stage':20}{'candidates':>11}{'prompts':>9}{'reads':>7}{'timed on':>9}{'peer s':>9}"
        f"{'ours s':>9}{'ratio':>8}{'fewer':>7}{'max diff':>10}{'of peak':>9}"
    )
    for row in found["stages"]:
        print(
            f"{row['stage']:20}{row['candidates']:11}{row['prompts']:9}{row['reads']:7}"
            f"{row['timed_on']:9}{row['peer_seconds']:9.1f}{row['seconds']:9.1f}"
            f"{row['ratio']:8.1f}{row['fewer']:7.1f}{row['max_difference']:10.1e}"
            f"{row['share_of_peak']:9.0%}"
        )
    chosen = found["chosen"]
    print(
        f"chosen: {chosen['prompt']}, rule {chosen['rule']}, {chosen['validation_accuracy']:.2f} "
        f"of {chosen['items']} items; by the peer's numbers: "
        f"{'the same' if found['same_choice'] else 'another'} (target ratio: {TARGET:.0f})"
    )
    if given.json:
        record = {"machine": machine, "model": lm.name, **found}
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    apart = max(row["max_difference"] for row in found["stages"])
    if apart > TOLERANCE or not found["same_choice"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
