"""lm-evaluation-harness with `--model adaptlens` against its own `--model hf`, by its own calls.

    python benchmarks/lm_eval_backend.py --data ../shared/data/sst2/train.tsv

Both sides get the same requests and the same model object, in float32, tokenization included; the
peer runs at the best of several batch sizes (see scoring.py). Repeats alternate, and the ratio is
that of the medians. Needs the extra `bench`.
"""

import argparse
import logging
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance

import models
from adaptlens.lm.lm_eval_model import AdaptlensLM
from adaptlens.lm.memory import keep_freed_memory
from machine import seconds
from scoring import ANSWERS, INSTRUCTION, best_peer, item, rows

WRITTEN_TOKENS = 16


def requests_for(kind: str, prompts: list[str]) -> list[Instance]:
    """Return what lm-evaluation-harness asks about the prompts."""
    wishes = {"until": ["\n\n"], "max_gen_toks": WRITTEN_TOKENS, "do_sample": False}
    asked = [
        (text, more)
        for text in prompts
        for more in (ANSWERS if kind == "loglikelihood" else (wishes,))
    ]
    return [Instance(kind, {}, arguments, number) for number, arguments in enumerate(asked)]


def timed(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return each side's median seconds, taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            taken[name].append(seconds(side))
    return {name: statistics.median(own) for name, own in taken.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="the reference model, four queries")
    options.add_argument("--data", type=Path, help="lines of text<TAB>0|1; default: made-up text")
    options.add_argument("--model", default="llama-18m", help="as of scoring.py")
    options.add_argument("--queries", type=int, default=64)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--threads", type=int, default=1)
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
    ours = AdaptlensLM(lm)
    queries = [item(text) for text, _ in pairs[32:]][: given.queries]
    shown = [INSTRUCTION + "".join(texts[:16]) + query for query in queries]
    cases = {
        "16 fixed demonstrations": ("loglikelihood", shown),
        "0 demonstrations": ("loglikelihood", [INSTRUCTION + query for query in queries]),
        f"16 fixed, {WRITTEN_TOKENS} tokens written": ("generate_until", shown),
    }
    print(f"{lm.name}, float32, {given.threads} threads, torch {torch.__version__}")
    print(f"{'case':32}{'hf s':>9}{'ours s':>9}{'ratio':>8}  the same")
    for name, (kind, prompts) in cases.items():
        asked = requests_for(kind, prompts)
        backend, _ = best_peer(lm, prompts, min(max(len(prompts) // 4, 4), len(prompts)))
        sides = {
            "ours": lambda k=kind, a=asked: getattr(ours, k)(a, disable_tqdm=True),
            "hf": lambda k=kind, a=asked, b=backend: getattr(b, k)(a, disable_tqdm=True),
        }
        mine, theirs = sides["ours"](), sides["hf"]()
        if kind == "loglikelihood":
            gap = float(np.abs(np.array(mine)[:, 0] - np.array(theirs)[:, 0]).max())
            same = f"to {gap:.1e}"
        else:
            equal = sum(one == other for one, other in zip(mine, theirs, strict=True))
            same = f"{equal} of {len(mine)} texts"
        found = timed(sides, given.repeats)
        ratio = found["hf"] / found["ours"]
        print(f"{name:32}{found['hf']:9.2f}{found['ours']:9.2f}{ratio:8.2f}  {same}", flush=True)


if __name__ == "__main__":
    main()
