"""A whole comparison on a real model, against a process per cell of PEFT and lm-evaluation-harness.

    python benchmarks/real_study.py --model smollm2 --data sst2/train.tsv

adaptlens runs `compare` as a user would, from the command to the written page. The peer does the
same work by the tools there are: a PEFT training script for every rate of every draw, and a run of
lm-evaluation-harness for every set of items that is read under a template. Three ways of counting
its work:

* a process per cell, as such scripts are written: each loads the model;
* the same without ever loading a model;
* the least that answers anything: one template, one rate, no search, the test items alone, a
  process per cell. adaptlens is still charged with all that it does.

Runs of the peer are timed at two numbers of items, which parts their start from an item's seconds,
and stand for all of their kind. A prompt search counts as the prompts that ours read after halving,
which is less than a pass per candidate (`search.py` compares the two). Seconds are the
processor's, of all processes, one thread each. Zero-shot log-likelihoods of both sides are compared
in `scoring.py`, trained weights in `bank.py`. Needs the extra `bench`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import models
from adaptlens import tasks
from adaptlens.prompts import selection
from adaptlens.types import Example, Task
from study import write_task

TARGET = 8.0
BATCH, STEPS, RATES, STOPS = 8, 30, 3, 2
"""Tuning by default: texts a step, steps, rates and numbers of steps to choose from."""


@dataclass(frozen=True)
class Pace:
    """What a process takes to start, and then for each item, in seconds."""

    start: float
    item: float

    def all(self, passes: float, items: float, *, start: bool = True) -> float:
        """Return the seconds of so many processes that read so many items in all."""
        return (self.start * passes if start else 0.0) + self.item * items


def processor(words: Sequence[str]) -> float:
    """Run a process on one thread and return its processor seconds, its children's included.

    Raises:
        SystemExit: it failed; its last lines are shown.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read_pace(folder: Path, task: Task, model: Path, shots: int, few: int, many: int) -> Pace:
    """Time lm-evaluation-harness on few and on more items."""
    took = []
    for limit in (few, many):
        words = f"run --model hf --tasks {task.name} --include_path {folder} --device cpu"
        words += f" --batch_size 8 --num_fewshot {shots} --limit {limit}"
        words += f" --model_args pretrained={model},dtype=float32"
        out = ["--output_path", str(folder / f"scores-{shots}-{limit}")]
        took.append(processor([sys.executable, "-m", "lm_eval", *words.split(), *out]))
    item = max((took[1] - took[0]) / (many - few), 0.0)
    return Pace(max(took[0] - few * item, 0.0), item)


def train_pace(folder: Path, task: Task, model: Path, examples: Sequence[Example]) -> Pace:
    """Time the PEFT script at few and at more steps; an item is a step."""
    rows = [json.dumps({"input": e.input, "target": e.target}) for e in examples]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    took, few = [], 2
    for steps in (few, 4 * few):
        words = [sys.executable, str(Path(__file__).with_name("pipeline_train.py"))]
        words += ["--model", str(model), "--rows", str(folder / "rows.jsonl")]
        words += ["--instruction", f"{task.instruction}\n\n", "--steps", str(steps)]
        took.append(processor([*words, "--out", str(folder / f"adapter-{steps}")]))
    step = max((took[1] - took[0]) / (3 * few), 0.0)
    return Pace(max(took[0] - few * step, 0.0), step)


def peer(
    given: argparse.Namespace,
    searched: int,
    zero: Pace,
    icl: Pace,
    train: Pace,
    reads: tuple[float, float],
) -> dict[str, float]:
    """Return the peer's seconds by the three ways of counting.

    Args:
        given: what the comparison was asked for.
        searched: items by which arms and scoring rules are chosen: half of the validation split.
        zero: of reading without demonstrations.
        icl: of reading with them.
        train: of training, a step at a time.
        reads: prompts that the searches read: without demonstrations, and for a draw with them.
    """
    templates, draws, queries = given.templates, given.draws, given.queries
    chosen_by = searched / templates  # of choosing rates: templates take turns
    read = templates * (queries + searched)
    found = {}
    for name, start in (("a process per cell", True), ("no starts", False)):
        found[name] = sum(
            (
                zero.all(2 * templates, read, start=start),
                icl.all(2 * templates * draws, read * draws, start=start),
                zero.all(2 * templates * draws, read * draws, start=start),
                train.all(RATES * draws, RATES * STEPS * draws, start=start),
                zero.all(
                    RATES * STOPS * templates * draws,
                    RATES * STOPS * templates * chosen_by * draws,
                    start=start,
                ),
                zero.all(0, reads[0]),
                icl.all(0, reads[1] * draws),
            )
        )
    found["least"] = sum(
        (
            zero.all(1, queries),
            icl.all(draws, draws * queries),
            train.all(draws, draws * STEPS),
            zero.all(draws, draws * queries),
        )
    )
    return found


def main() -> None:
    """Time both sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--data", required=True, help="a file of labeled texts")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--validation", type=int, default=100)
    parser.add_argument("--templates", type=int, default=6, help="what `compare` reads under")
    parser.add_argument("--peer-items", type=int, nargs=2, default=(4, 12))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        model = models.folder(given.model, [], folder / "model")
        task = tasks.load(given.data, limit_test=max(given.peer_items))
        write_task(task, folder)
        out = folder / "run"
        words = ["compare", "--model", str(model), "--task", given.data, "--tuning", "it"]
        words += ["--shots", f"0,{given.shots}", "--draws", str(given.draws)]
        words += ["--queries", str(given.queries), "--validation", str(given.validation)]
        ours = processor([sys.executable, "-m", "adaptlens", *words, "--out", str(out)])
        searches = pd.read_parquet(out / "tables" / "searches.parquet")
        with_none = searches["condition"] == "best-prompt-0"
        reads = (
            float(searches.loc[with_none, "reads"].sum()),
            float(searches.loc[~with_none, "reads"].mean()),
        )
        few, many = given.peer_items
        zero = read_pace(folder, task, model, 0, few, many)
        icl = read_pace(folder, task, model, given.shots, few, many)
        examples = selection.demonstrations(task, 0, given.shots)[:BATCH]
        train = train_pace(folder, task, model, examples)
    took = peer(given, given.validation // 2, zero, icl, train, reads)
    ratios = {name: seconds / ours for name, seconds in took.items()}
    result = {"ours": ours, "peer": took, "ratios": ratios, "target": TARGET, "reads": reads}
    result |= {"paces": {"zero-shot": vars(zero), "icl": vars(icl), "train step": vars(train)}}
    if given.json:
        print(json.dumps(result))
        return
    print(f"adaptlens {ours:.0f} s, from the command to the page")
    for name, pace in result["paces"].items():
        print(f"  peer, {name}: {pace['start']:.1f} s to start, {pace['item']:.2f} s each")
    for name, seconds in took.items():
        print(f"{name:<20} {seconds:>8.0f} s  ratio {ratios[name]:.1f} (target {TARGET:.0f})")


if __name__ == "__main__":
    main()
