"""What gradient checkpointing and accumulation save in training a bank of adapters, and cost.

    python benchmarks/training_memory.py [--quick] [--model smollm2] [--adapters 4] [--examples 16]
        [--tokens 64] [--parts 4] [--device cpu]

Each way trains the same adapters on the same random texts in a process of its own, after a step of
warm-up. Memory is how far the peak rises above what is held with model and adapters in place: the
resident set, or on an accelerator what is allocated. The difference is the largest between losses.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

import numpy as np
import torch

import models
from adaptlens.adapt import loop
from adaptlens.adapt.batches import TokenizedExample
from adaptlens.adapt.optimizer import TrainingConfig
from adaptlens.lm.adapters.bank import LoraBank
from machine import peak_bytes, reset_peak, seconds

STEPS = 2
WAYS = {"plain": (False, False), "checkpointing": (True, False), "accumulation": (False, True),
        "both": (True, True)}  # fmt: skip


def measure(way: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return what one way took."""
    torch.set_num_threads(given.threads)
    lm, source = models.build(given.model, device=given.device), np.random.default_rng(0)
    vocab = lm.model.get_input_embeddings().num_embeddings
    lessons = [
        [
            TokenizedExample(
                tuple(source.integers(1, vocab, given.tokens).tolist()), given.tokens - 1
            )
            for _ in range(given.examples)
        ]
        for _ in range(given.adapters)
    ]
    each = (STEPS,) * given.adapters
    checkpointing, accumulation = WAYS[way]
    recipe = TrainingConfig(
        (1e-4,) * given.adapters,
        each,
        each,
        batch_size=given.examples,
        gradient_checkpointing=checkpointing,
        gradient_accumulation_steps=given.parts if accumulation else 1,
    )
    bank = LoraBank(lm, num_variants=given.adapters)
    losses: list[list[float]] = []
    loop.train(lm, bank.pick(range(given.adapters)), [own[:1] for own in lessons], recipe)
    reset_peak(given.device)
    before = peak_bytes(given.device)
    spent = seconds(
        lambda: losses.extend(loop.train(lm, bank, lessons, recipe).losses.tolist()), given.device
    )
    rise = peak_bytes(given.device) - before
    return {"seconds": spent / STEPS, "rise_bytes": rise, "losses": losses}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the reference model, few examples")
    parser.add_argument("--model", default="smollm2", help="as `benchmarks/models.py` takes it")
    parser.add_argument("--adapters", type=int, default=4)
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--way", choices=tuple(WAYS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.model, given.adapters, given.examples, given.tokens = "reference", 2, 4, 16
    if given.way:
        print(json.dumps(measure(given.way, given)))
        return
    print("| way | s a step | memory, MB | difference |\n|---|---|---|---|")
    plain = None
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way]
        for name in ("model", "adapters", "examples", "tokens", "parts", "threads", "device"):
            command += [f"--{name}", str(getattr(given, name))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{way}: {done.stderr}")
        found = json.loads(done.stdout.splitlines()[-1])
        losses = np.array(found["losses"])
        plain = losses if plain is None else plain
        print(f"| {way} | {found['seconds']:.2f} | {found['rise_bytes'] / 1e6:.0f} | "
              f"{np.abs(losses - plain).max():.1e} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
