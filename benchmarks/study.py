"""A whole study: `make demo` against the pipeline a person would write today.

    python benchmarks/study.py [--quick]

The pipeline runs one process per cell: lm-evaluation-harness for prompting; a PEFT training script
and then lm-evaluation-harness for tuning (benchmarks/pipeline_train.py). The demo's grid has 162
cells, so one cell of every kind is timed on each task and stands for all draws of its kind; ours is
timed whole, from the command line to the written page. The zero-shot score of both must agree.
Needs the extra `bench`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from adaptlens import tasks
from adaptlens.models import shipped
from adaptlens.prompts import selection
from adaptlens.types import Task

TASKS = ("sentiment-novel", "translation")
SHOTS = (4, 16)
METHODS = ("it", "sl", "full")
DRAWS = 10
TARGET = 10.0


def write_task(task: Task, folder: Path) -> None:
    """Write the task as lm-evaluation-harness reads it: a YAML beside its rows."""
    for split in ("train", "test"):
        rows = [json.dumps({"input": e.input, "target": e.target}) for e in getattr(task, split)]
        (folder / f"{task.name}-{split}.jsonl").write_text("\n".join(rows))
    files = {split: str(folder / f"{task.name}-{split}.jsonl") for split in ("train", "test")}
    choice = {
        "output_type": "multiple_choice",
        "doc_to_choice": list(task.choices),
        "metric_list": [{"metric": "acc"}],
    }
    generate = {
        "output_type": "generate_until",
        "metric_list": [{"metric": "chrf"}],
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": task.max_new_tokens},
    }
    for name, description in (("", f"{task.instruction}\n\n"), ("-bare", "")):
        config = {
            "task": task.name + name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files},
            "fewshot_split": "train",
            "test_split": "test",
            "description": description,
            "doc_to_text": "Input: {{input}}\nOutput:",
            "doc_to_target": "target",
            "target_delimiter": " ",
            "fewshot_delimiter": "\n\n",
            **(choice if task.kind == "choice" else generate),
        }
        (folder / f"{task.name}{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def timed(words: list[str]) -> float:
    """Run a process as the pipeline would, and return its seconds."""
    start = time.perf_counter()
    done = subprocess.run(
        words, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def evaluate(folder: Path, task: str, model_args: str, shots: int, out: str) -> float:
    """Time one call of lm-evaluation-harness."""
    words = f"run --model hf --tasks {task} --include_path {folder} --device cpu --batch_size 64"
    return timed(
        [
            *(sys.executable, "-m", "lm_eval", *words.split(), "--model_args", model_args),
            *("--num_fewshot", str(shots), "--output_path", str(folder / out)),
        ]
    )


def peer_cells(
    task: Task,
    folder: Path,
    model: Path,
    *,
    shots: Sequence[int],
    methods: Sequence[str],
    draws: int,
) -> list[tuple[str, int, float]]:
    """Time one cell of every kind: (condition, how many the study has, seconds)."""
    base = f"pretrained={model},dtype=float32"
    found = [("zero-shot", 1, evaluate(folder, task.name, base, 0, f"{task.name}-zero"))]
    for count in shots:
        seconds = evaluate(folder, task.name, base, count, f"{task.name}-icl-{count}")
        found.append((f"icl-{count}", draws, seconds))
        rows = [
            json.dumps({"input": e.input, "target": e.target})
            for e in selection.demonstrations(task, 0, count)
        ]
        (folder / "rows.jsonl").write_text("\n".join(rows))
        for method in methods:
            out = folder / f"{task.name}-{method}-{count}"
            words = [sys.executable, str(Path(__file__).with_name("pipeline_train.py"))]
            words += ["--model", str(model), "--rows", str(folder / "rows.jsonl")]
            words += ["--out", str(out)]
            words += [] if method == "sl" else ["--instruction", f"{task.instruction}\n\n"]
            words += ["--full", "--rate", "5e-4"] if method == "full" else []
            trained = timed(words)
            args = f"pretrained={out},dtype=float32" if method == "full" else f"{base},peft={out}"
            name = f"{task.name}-bare" if method == "sl" else task.name
            read = evaluate(folder, name, args, 0, f"{out.name}-scores")
            found.append((f"{method}-{count}", draws, trained + read))
    return found


def zero_shot(folder: Path, task: Task) -> float:
    """Return the zero-shot score the peer found, as a fraction (chrF: 0-100)."""
    results = next((folder / f"{task.name}-zero").rglob("results_*.json"))
    scores = json.loads(results.read_text())["results"][task.name]
    return scores["acc,none" if task.kind == "choice" else "chrf,none"]


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--quick", action="store_true", help="one task, two arms, two draws")
    given = parser.parse_args()
    names, shots, methods, draws = TASKS, SHOTS, METHODS, DRAWS
    if given.quick:
        names, shots, methods, draws = TASKS[:1], SHOTS[:1], METHODS[:1], 2
    model = shipped.folder("reference")
    cells = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        words = ["compare", "--model", "reference", "--draws", str(draws)]
        words += ["--shots", ",".join(map(str, (0, *shots))), "--tuning", ",".join(methods)]
        words += [word for name in names for word in ("--task", name)]
        words += ["--validation", "8"] if given.quick else []
        out = folder / "run"
        ours = timed([sys.executable, "-m", "adaptlens", *words, "--out", str(out)])
        accuracy = pd.read_parquet(out / "tables" / "accuracy.parquet")
        difference = 0.0
        for name in names:
            task = tasks.load(name)
            write_task(task, folder)
            for condition, count, seconds in peer_cells(
                task, folder, model, shots=shots, methods=methods, draws=draws
            ):
                cells.append(
                    {"task": name, "condition": condition, "cells": count, "seconds": seconds}
                )
            if task.kind == "choice":
                own = accuracy.query(
                    "task == @name and condition == 'zero-shot' and metric == 'accuracy'"
                )["value"].item()
                difference = max(difference, abs(own - zero_shot(folder, task)))
    peer = sum(cell["cells"] * cell["seconds"] for cell in cells)
    shortest = sum(cell["cells"] for cell in cells) * min(cell["seconds"] for cell in cells)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "ours_seconds": ours,
        "peer_seconds": peer,
        "peer_cells": sum(cell["cells"] for cell in cells),
        "ratio": peer / ours,
        "ratio_at_shortest_cell": shortest / ours,
        "target": TARGET,
        "zero_shot_accuracy_difference": difference,
        "cells": cells,
    }
    if given.json:
        print(json.dumps(result))
        return
    for cell in cells:
        print(
            f"{cell['task']:<16} {cell['condition']:<10} {cell['seconds']:6.1f} s x {cell['cells']}"
        )
    print(
        f"pipeline {peer:.0f} s ({result['peer_cells']} cells, one of each kind timed), "
        f"adaptlens {ours:.1f} s: ratio {peer / ours:.0f} (target {TARGET:.0f}), "
        f"{shortest / ours:.0f} if every cell took as long as the shortest; "
        f"zero-shot accuracy differs by {difference:.4f}"
    )


if __name__ == "__main__":
    main()
