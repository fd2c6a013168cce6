"""Hidden states of all layers: adaptlens against `output_hidden_states=True`.

    python benchmarks/states.py [--quick] [--model smollm2] [--queries 48] [--tokens 24]

Both sides read the last token's states in every layer of the same prompts, 16 demonstrations and a
query, in float32, from a model of GPT-2 small's shape with random weights if no other is named. The
peer runs whole prompts, the best of several batch sizes, and asks for the logits of the last token
only. Peak memory is the rise of the process's resident set above what it is with the weights
loaded, each side in a process of its own. The difference is the largest of a layer over the largest
state of that layer: a pretrained model has single coordinates of thousands. Repeats alternate, and
the ratio is that of the medians. On one thread seconds are the processor's.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys

import numpy as np
import torch
import transformers

import models
from adaptlens.lm.load import LM
from adaptlens.lm.memory import keep_freed_memory
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.lm.states import Place, states_at
from machine import peak_bytes, reset_peak, seconds

DEMONSTRATIONS = 16
BATCH_SIZES = (1, 4, 8, 16)
TARGETS = {"ratio": 8.0, "memory": 0.1, "difference": 1e-5}


def prompts(queries: int, tokens: int) -> list[tuple[int, ...]]:
    """Return prompts of the same demonstrations and different queries, each item `tokens` long."""
    source = np.random.default_rng(0)
    shared = source.integers(1, 49000, DEMONSTRATIONS * tokens).tolist()
    return [(*shared, *source.integers(1, 49000, tokens).tolist()) for _ in range(queries)]


def ours(lm: LM, asked: list[tuple[int, ...]], work: ForwardStats | None = None) -> np.ndarray:
    """Return the states [prompts, layers + 1, width]; the last layer's after the norm."""
    found = states_at(lm, [Place(ids) for ids in asked], work=work)
    return np.concatenate([found.residual[:, :-1], found.final[:, None]], axis=1)


@torch.inference_mode()
def peer(lm: LM, asked: list[tuple[int, ...]], batch: int) -> np.ndarray:
    """Return the same by Hugging Face's own way."""
    found = []
    for low in range(0, len(asked), batch):
        ids = torch.tensor(asked[low : low + batch], device=lm.device)
        out = lm.model(ids, output_hidden_states=True, use_cache=False, logits_to_keep=1)
        states = torch.stack([layer[:, -1] for layer in out.hidden_states], 1)
        found.append(states.float().cpu().numpy())
    return np.concatenate(found)


def rise_bytes(side: str, lm: LM, asked: list[tuple[int, ...]], batch: int) -> int:
    """Return how far the peak rises above the loaded model, for one side."""
    run = (lambda a: ours(lm, a)) if side == "ours" else (lambda a: peer(lm, a, batch))
    # Reading two short prompts first leaves out what the libraries set up once.
    run([ids[:8] for ids in asked[:2]])
    reset_peak()
    before = peak_bytes()
    run(asked)
    return peak_bytes() - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model, two items, one repeat")
    parser.add_argument("--model", default="gpt2", help="as `benchmarks/models.py` takes it")
    parser.add_argument("--queries", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=24, help="tokens of an item")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.queries, given.tokens, given.repeats, given.model = 2, 2, 1, "tiny"
    torch.set_num_threads(given.threads)
    lm, asked = models.build(given.model), prompts(given.queries, given.tokens)
    if given.side:
        print(rise_bytes(given.side, lm, asked, given.batch))
        return
    keep_freed_memory()
    some = asked[: max(BATCH_SIZES)]
    sizes = {batch: seconds(lambda b=batch: peer(lm, some, b)) for batch in BATCH_SIZES}
    best = min(sizes, key=sizes.__getitem__)
    work = ForwardStats()
    expected = peer(lm, asked, best)
    apart = np.abs(ours(lm, asked, work) - expected).max((0, 2))
    largest = np.abs(expected).max((0, 2))
    timed: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(given.repeats):
        timed["peer"].append(seconds(lambda: peer(lm, asked, best)))
        timed["ours"].append(seconds(lambda: ours(lm, asked)))
    mine, theirs = (statistics.median(timed[side]) for side in ("ours", "peer"))
    rises = {}
    for side in ("ours", "peer"):
        command = [sys.executable, __file__, "--side", side, "--batch", str(best)]
        command += ["--queries", str(given.queries), "--tokens", str(given.tokens)]
        command += ["--threads", str(given.threads), "--model", given.model]
        rises[side] = int(subprocess.run(command, check=True, capture_output=True).stdout)
    found = {
        "model": lm.name,
        "prompts": len(asked),
        "prompt_tokens": len(asked[0]),
        "peer_batch_size": best,
        "peer_seconds": theirs,
        "ours_seconds": mine,
        "ratio": theirs / mine,
        "peer_rise_bytes": rises["peer"],
        "ours_rise_bytes": rises["ours"],
        "memory": rises["ours"] / max(rises["peer"], 1),
        "difference": float((apart / largest).max()),
        "difference_absolute": float(apart.max()),
        "largest_state": float(largest.max()),
        "tokens_given": work.tokens_given,
        "tokens_computed": work.tokens_computed,
        "targets": TARGETS,
        "machine": f"{platform.machine()}, {given.threads} threads",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
