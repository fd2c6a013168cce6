"""What an accelerator gives: scoring, LoRA bank, states, patching and search, beside their peers.

    python benchmarks/accelerator.py [--miniature] [--models llama-1b llama-8b] [--parts bank ...]
        [--dtype bfloat16] [--device cuda] [--budget 480] [--json FILE]

One run on one GPU of 80 GB or more, within `--budget` seconds, which prints one JSON. Models have
Llama's shapes and random weights, made on the device; nothing is fetched. Every part runs our way
and a peer's side by side: plain Transformers on whole prompts at its best batch size, a loop over
PEFT's adapters (`bank.Peer`), all heads of a layer patched by hooks in one batch, and the search
without shared prefixes. Where time is left for less than a part is expected to take, it is left out
and `skipped` says so; a part that fails says why, and the others go on. Needs the extra `bench`.

`share_of_peak` is the least share of the device's matrix peak, measured in the same run, that was
reached: two operations a weight and token that had to be computed to score, four to train adapters;
attention, unembedding, padding and repeats are left out. `parity` compares the number format with
float32 on the same weights (`number_formats.py`): log-likelihoods, accuracy on a task, and each way
of attending.
"""

import argparse
import dataclasses
import gc
import json
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

import models
from accelerator_parts import (
    MINIATURE,
    SHOTS,
    Bench,
    Size,
    head_patching,
    hidden_states,
    lora_bank,
    prompt_search,
    scoring,
)
from adaptlens import tasks
from adaptlens.lm.flops import matrix_parameters
from adaptlens.lm.load import LM
from adaptlens.lm.weights import DTYPES
from adaptlens.types import Task
from adaptlens.zoo import tokenizer as zoo_tokenizer
from machine import matrix_peak, peak_bytes, reset_peak
from number_formats import Readings, compared, readings, rounded

START_SECONDS, USED_SHARE = 5.0, 0.25
"""What a part is expected to take: this long, and its peers' work at this share of the peak."""


Part = tuple[Callable[[Bench], dict[str, Any]], Callable[[Size], float]]
"""What runs it, and how many tokens both sides put through the model's matrices."""

WHOLE = SHOTS + 1
PARTS: dict[str, Part] = {
    "scoring": (
        scoring,
        lambda s: (s.repeats + 3.0) * s.item * (s.queries * (WHOLE + 1) + s.drawn * WHOLE * 2),
    ),
    "bank": (
        lora_bank,
        lambda s: 2.0 * (s.repeats + 2) * s.steps * s.examples * s.lesson * (s.adapters + s.solo),
    ),
    "states": (hidden_states, lambda s: (s.repeats + 3.0) * s.drawn * s.item * WHOLE),
    "patching": (head_patching, lambda s: (s.repeats + 1.0) * 2 * 64 * s.patched),
    "search": (prompt_search, lambda s: (s.repeats + 1.0) * 100 * sum(s.reads)),
}
# Float32 takes an accelerator's matrices up to sixteen times as long.
PARITY_TOKENS = 16 * (SHOTS + 4)


class Clock:
    """What time is left, and what was left out for want of it."""

    def __init__(self, budget_seconds: float) -> None:
        """Start."""
        self.start, self.budget = time.perf_counter(), budget_seconds
        self.skipped: list[str] = []

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def part(
        self, name: str, expected: float, run: Callable[[], dict[str, Any]], device: Any
    ) -> dict[str, Any]:
        """Return what a part found with its seconds and peak bytes, or why it found nothing."""
        if self.spent + expected > self.budget:
            left = self.budget - self.spent
            self.skipped.append(f"{name}: {expected:.0f} s expected, {left:.0f} s left")
            return {"skipped": self.skipped[-1]}
        print(f"{self.spent:6.1f} s  {name}", file=sys.stderr, flush=True)
        begun = self.spent
        reset_peak(device)
        try:
            found = run()
        except Exception:
            found = {"failed": traceback.format_exc()}
            print(found["failed"], file=sys.stderr, flush=True)
        found |= {"part_seconds": self.spent - begun, "peak_bytes": peak_bytes(device)}
        # What a peer wrapped refers to itself, and would stay beside the next part's model.
        gc.collect()
        return found


def run_model(
    make: Callable[[], LM], given: argparse.Namespace, size: Size, peak: float, task: Task,
    clock: Clock, name: str,
) -> dict[str, Any]:  # fmt: skip
    """Return what every part found for one model."""
    begun = clock.spent
    lm = make()
    found: dict[str, Any] = {
        "name": lm.name,
        "parameters": sum(p.numel() for p in lm.model.parameters()),
        "build_seconds": clock.spent - begun,
    }
    per_token = 2.0 * matrix_parameters(lm) / (USED_SHARE * peak)
    exact: Readings | None = None
    if "parity" in given.parts:
        whole = size.items + size.drawn // 2
        expected = START_SECONDS + per_token * PARITY_TOKENS * size.item * whole

        def read() -> dict[str, Any]:
            nonlocal exact
            exact = readings(lm, size, task)
            return {}

        found["parity"] = clock.part(f"{name} parity, float32", expected, read, given.device)
    keep = given.dtype == "float32"
    other = rounded(lm, "bfloat16" if keep else given.dtype, keep=keep)
    if exact is not None:
        before = exact
        found["parity"] = clock.part(
            f"{name} parity, {other.dtype}",
            START_SECONDS,
            lambda: compared(before, readings(other, size, task)) | {"dtype": other.dtype},
            given.device,
        )
    bench = Bench(lm if keep else other, size, peak, task)
    for part, (run, tokens) in PARTS.items():
        if part in given.parts:
            expected = START_SECONDS + per_token * tokens(size)
            found[part] = clock.part(
                f"{name} {part}", expected, lambda run=run: run(bench), given.device
            )
    return found


def goals(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was to be reached on a GPU, and what was."""
    fixed = ("scoring", "16 fixed demonstrations")
    wanted = [
        ("llama-8b", (*fixed, "share_of_peak"), 0.45),
        ("llama-8b", ("bank", "share_of_peak"), 0.45),
        ("llama-1b", (*fixed, "ratio"), 10.0),
        ("llama-8b", (*fixed, "ratio"), 10.0),
        ("llama-1b", ("bank", "ratio"), 5.0),
    ]
    rows = []
    for model, path, least in wanted:
        value: Any = found.get(model, {})
        for key in path:
            value = value.get(key, {})
        if isinstance(value, float):
            reached = {"found": value, "met": value >= least}
            rows.append({"goal": " ".join((model, *path)), "at_least": least, **reached})
    return rows


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Return everything that was found."""
    clock = Clock(given.budget)
    size = MINIATURE if given.miniature else Size()
    dtype = DTYPES["bfloat16" if given.dtype == "float32" else given.dtype]
    own = DTYPES[given.dtype]
    peaks = {
        str(kind): matrix_peak(size.matrix, device=given.device, dtype=kind)
        for kind in (own, dtype)
    }
    task, tokenizer = tasks.load("sentiment-novel"), zoo_tokenizer.build()
    found = {}
    for name in given.models:

        def make(name: str = name) -> LM:
            return models.build(name, tokenizer, device=given.device)

        found[name] = run_model(make, given, size, peaks[str(own)], task, clock, name)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    cuda = torch.device(given.device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(given.device) if cuda else platform.machine(),
        "threads": torch.get_num_threads(),
        "dtype": given.dtype,
        "peak_flops": peaks,
        "seconds": clock.spent,
        "budget_seconds": given.budget,
        "size": dataclasses.asdict(size),
        "models": found,
        "goals": goals(found) if cuda else [],
        "skipped": clock.skipped,
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, peft)},
    }


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--miniature", "--quick", action="store_true", help="the same at tiny sizes on the CPU"
    )
    parser.add_argument("--models", nargs="+", default=["llama-1b", "llama-8b"])
    every = ("parity", *PARTS)
    parser.add_argument("--parts", nargs="+", choices=every, default=every)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="bfloat16")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=480.0, help="seconds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="also write the result here")
    given = parser.parse_args(words)
    if given.miniature:
        given.models, given.device, given.dtype = ["llama-miniature"], "cpu", "float32"
    if torch.device(given.device).type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; use --miniature, or --device cpu")
    return given


def main() -> None:
    """Measure and print."""
    given = options()
    torch.set_num_threads(given.threads)
    found = measured(given)
    text = json.dumps(found, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")
    if any("failed" in part for model in found["models"].values() for part in model.values()
           if isinstance(part, dict)):  # fmt: skip
        raise SystemExit(1)


if __name__ == "__main__":
    main()
