"""Scoring answers: adaptlens against lm-evaluation-harness's Hugging Face backend.

    python benchmarks/scoring.py --data ../shared/data/sst2/train.tsv

Both sides score the same answers after the same prompts with the same model object, in float32,
tokenization included; the peer runs at the best of several batch sizes whose logits take at most
2 GiB, with `--peer-queries` on the first few queries only, scaled to all. Repeats alternate, and
the ratio is that of the medians. On one thread seconds are the processor's. The share is of this
machine's peak in float32 matrix products, measured in between: operations of the tokens computed,
padding, attention and unembedding left out (target: 60%). Needs the extra `bench`.
"""

import argparse
import json
import logging
import platform
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

import models
from adaptlens.lm.flops import matrix_parameters
from adaptlens.lm.load import LM
from adaptlens.lm.memory import keep_freed_memory
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.score import encode, score
from adaptlens.types import Part, Prompt
from machine import matrix_peak, seconds

ANSWERS = (" negative", " positive")
INSTRUCTION = "Decide whether the review is positive or negative.\n\n"
TARGETS = {"16 fixed demonstrations": 25.0, "0 demonstrations": 1.8, "16 drawn per query": 1.25}
SHOTS_TARGET = 1.5
_MOST_LOGITS_BYTES = 2**31


def rows(path: Path | None) -> list[tuple[str, int]]:
    """Return (text, label) pairs of a file of `text<TAB>label` lines, or made-up ones."""
    if path is not None:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [(text, int(label)) for text, label in (line.rsplit("\t", 1) for line in lines)]
    words = "a the film plot cast of with dull bright slow and story makes feels is not".split()  # noqa: SIM905
    source = random.Random(0)
    return [
        (" ".join(source.choices(words, k=source.randint(5, 35))), source.randrange(2))
        for _ in range(2000)
    ]


def item(text: str, label: int | None = None) -> str:
    """Return a demonstration, or the query where there is no label."""
    end = "" if label is None else f"{ANSWERS[label]}\n\n"
    return f"Review: {text}\nSentiment:{end}"


def ours(
    lm: LM,
    prompts: list[str],
    work: ForwardStats | None = None,
    answers: Sequence[str] = ANSWERS,
) -> np.ndarray:
    """Return the log-likelihoods [queries, choices]."""
    asked = [Prompt((Part("query", text),), tuple(answers)) for text in prompts]
    return np.stack(score(lm, encode(lm, asked, work=work), work=work))


def peer(backend: Any, prompts: list[str], answers: Sequence[str] = ANSWERS) -> np.ndarray:
    """Return the same by lm-evaluation-harness."""
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=(text, answer), idx=i)
        for text in prompts
        for i, answer in enumerate(answers)
    ]
    found = [value for value, _ in backend.loglikelihood(requests, disable_tqdm=True)]
    return np.array(found).reshape(len(prompts), len(answers))


def best_peer(
    lm: LM, prompts: list[str], trial: int, answers: Sequence[str] = ANSWERS
) -> tuple[Any, int]:
    """Return lm-evaluation-harness's backend at its best batch size, and the size.

    Args:
        lm: the model.
        prompts: what it will read; the longest bounds the batch.
        trial: the first so many are read at each size.
        answers: of every prompt.
    """
    sizes = {}
    longest = max(len(ids) for ids in lm.encode_all(prompts))
    a_row = 4 * longest * lm.model.get_output_embeddings().weight.shape[0]
    for size in (1, 2, 8, 32):
        if size > 1 and size * a_row > _MOST_LOGITS_BYTES:
            break
        backend = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=size)
        sizes[size] = seconds(lambda b=backend: peer(b, prompts[:trial], answers))
    best = min(sizes, key=sizes.__getitem__)
    return HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=best), best


def compare(
    lm: LM,
    name: str,
    prompts: list[str],
    repeats: int,
    peer_queries: int,
    answers: Sequence[str] = ANSWERS,
) -> dict[str, Any]:
    """Return both sides' median seconds, their ratio and the largest difference."""
    some = prompts[:peer_queries]
    scale = len(prompts) / len(some)
    backend, best = best_peer(lm, prompts, min(max(len(some) // 4, 4), len(some)), answers)
    work = ForwardStats()
    mine = ours(lm, prompts, work, answers)[: len(some)]
    difference = float(np.abs(mine - peer(backend, some, answers)).max())
    timed: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(repeats):
        timed["peer"].append(scale * seconds(lambda: peer(backend, some, answers)))
        timed["ours"].append(seconds(lambda: ours(lm, prompts, answers=answers)))
    own, theirs = (statistics.median(timed[side]) for side in ("ours", "peer"))
    return {
        "case": name,
        "queries": len(prompts),
        "peer_seconds": theirs,
        "ours_seconds": own,
        "ratio": theirs / own,
        "target": TARGETS.get(name),
        "max_difference": difference,
        "peer_batch_size": best,
        "tokens_given": work.tokens_given,
        "tokens_computed": work.tokens_computed,
        "share_of_peak": 2 * matrix_parameters(lm) * work.tokens_computed / own / matrix_peak(),
    }


def by_shots(lm: LM, shots: dict[int, list[str]], repeats: int) -> dict[str, Any]:
    """Return the seconds per query at few and at many fixed demonstrations, and their ratio."""
    timed: dict[int, list[float]] = {k: [] for k in shots}
    for _ in range(repeats + 1):
        for k, prompts in shots.items():
            timed[k].append(seconds(lambda p=prompts: ours(lm, p)))
    per_query = {k: statistics.median(timed[k][1:]) / len(shots[k]) for k in shots}
    few, many = min(shots), max(shots)
    return {
        "few": few,
        "many": many,
        "queries": len(shots[few]),
        "few_seconds_per_query": per_query[few],
        "many_seconds_per_query": per_query[many],
        "ratio": per_query[many] / per_query[few],
        "target": SHOTS_TARGET,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--quick", action="store_true", help="the reference model, four queries, one repeat"
    )
    options.add_argument("--data", type=Path, help="lines of text<TAB>0|1; default: made-up text")
    options.add_argument(
        "--model", default="llama-18m", help=f"one of {', '.join(models.SHAPES)}, or any other"
    )
    options.add_argument("--queries", type=int, default=128)
    options.add_argument("--peer-queries", type=int, help="time the peer on these, and scale")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--only", help="run the cases whose name contains this")
    options.add_argument("--json", type=Path, help="also write the result here")
    given = options.parse_args()
    if given.quick:
        given.queries, given.repeats, given.model = 4, 1, "reference"
    torch.set_num_threads(given.threads)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    pairs = rows(given.data)
    random.Random(0).shuffle(pairs)
    texts = [item(text, label) for text, label in pairs]
    keep_freed_memory()
    lm = models.build(given.model, models.byte_pairs(texts))
    demos, queries = texts[:32], [item(text) for text, _ in pairs[32:]]
    asked = queries[: given.queries]
    source = random.Random(1)
    cases = {
        "16 fixed demonstrations": [INSTRUCTION + "".join(demos[:16]) + q for q in asked],
        "0 demonstrations": [INSTRUCTION + q for q in asked],
        "0 demonstrations, no instruction": asked,
        "16 drawn per query": [
            INSTRUCTION + "".join(source.sample(texts, 16)) + q for q in asked[: given.queries // 2]
        ],
    }
    endings = tuple(f" {text}" for text, _ in pairs[:4])
    passages = "4 endings of long passages"
    cases[passages] = [
        " ".join(text for text, _ in source.sample(pairs, 16)) for _ in asked[: given.queries // 4]
    ]
    machine = f"{platform.processor() or platform.machine()}, {given.threads} threads"
    size = sum(p.numel() for p in lm.model.parameters()) / 1e6
    print(f"{lm.name} ({size:.1f}M parameters), float32, {machine}, torch {torch.__version__}")
    print(
        f"{'case':34}{'peer s':>9}{'ours s':>9}{'ratio':>8}{'target':>8}"
        f"{'max diff':>10}{'of peak':>9}"
    )
    results = []
    for name, prompts in cases.items():
        if given.only and given.only not in name:
            continue
        answers = endings if name == passages else ANSWERS
        few = given.peer_queries or len(prompts)
        r = compare(lm, name, prompts, given.repeats, few, answers)
        results.append(r)
        target = f"{r['target']:.1f}" if r["target"] else ""
        print(
            f"{r['case']:34}{r['peer_seconds']:9.2f}{r['ours_seconds']:9.2f}{r['ratio']:8.2f}"
            f"{target:>8}{r['max_difference']:10.1e}{r['share_of_peak']:9.0%}",
            flush=True,
        )
    record: dict[str, Any] = {"machine": machine, "model": lm.name, "cases": results}
    if not given.only or given.only in "shots":
        asked = queries[: given.queries * 8]
        shots = by_shots(
            lm, {k: [INSTRUCTION + "".join(demos[:k]) + q for q in asked] for k in (1, 32)},
            given.repeats,
        )  # fmt: skip
        record["shots"] = shots
        first, last = (shots[k] * 1e3 for k in ("few_seconds_per_query", "many_seconds_per_query"))
        print(
            f"adaptlens, {shots['queries']} queries: {first:.2f} ms a query at 1 shot, {last:.2f} "
            f"at 32 shots, ratio {shots['ratio']:.2f} (target at most {SHOTS_TARGET})"
        )
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
