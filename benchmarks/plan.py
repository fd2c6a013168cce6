"""What `adaptlens plan` predicts of a study, against what the study then takes.

    python benchmarks/plan.py [--study NAME] [--quick] [--json] [--model NAME] [-- OPTIONS]

A small study, on the reference model or another, with further options of the study's own; by
default a comparison, with all ways of adapting, of a choice task and a generation task. Plan and
study are processes of their own, so that memory is each one's own. Printed are the ratios of
predicted to actual seconds (of all cells, and by way of adapting), memory, and bytes of the cells.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from adaptlens.store import Run

TARGET = 2.0

WORDS = {
    "compare": "--task sentiment-novel --task translation --shots 0,4,16 --draws 4 --queries 100",
    "convergence": "--task sentiment-novel --draws 4 --queries 60 --set factor_draws=2",
    "implicit": "--families boolean --quick --draws 2 --parts behavior",
    "limits": "--mixtures default,no-coreference --draws 2 --queries 12 --variations unified "
    "--set size=300 --set gold_draws=2",
}

QUICK = "--draws 1 --queries 8"
QUICK_COMPARE = "--validation 8"


def adaptlens(*words: str) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "adaptlens", *words], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout


def actual(run: Run) -> tuple[dict[str, float], float, float]:
    """Return the seconds of every way of adapting, the most memory, and the bytes of the cells."""
    seconds: dict[str, float] = defaultdict(float)
    memory = 0.0
    for record in run.records():
        numbers = record.result["numbers"]
        seconds[kind(record.spec["adaptation"]["label"])] += numbers["cell_seconds"]
        memory = max(memory, numbers["peak_bytes"])
    size = sum(path.stat().st_size for path in run.folder.glob("cells/**/*") if path.is_file())
    return dict(seconds), memory, float(size)


def kind(label: str) -> str:
    """Return the way of adapting that a condition's label begins with."""
    return label if label == "zero-shot" else label.partition("-")[0]


def main() -> None:
    """Predict, run, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--quick", action="store_true", help="one draw, eight queries")
    parser.add_argument("--study", default="compare", choices=WORDS)
    parser.add_argument("--model", default="reference")
    parser.add_argument("options", nargs="*", help="of the study, after --")
    given = parser.parse_args()
    words = ["--model", given.model, *WORDS[given.study].split(), "--device", "cpu"]
    if given.quick:
        words += [*QUICK.split(), *(QUICK_COMPARE.split() if given.study == "compare" else ())]
    words += given.options
    verb = ["compare"] if given.study == "compare" else ["study", given.study]
    with tempfile.TemporaryDirectory() as made:
        out = Path(made) / "run"
        planned_rows = adaptlens(
            "plan", "--again", "--study", given.study, *words, "--out", str(out), "--json"
        )
        rows = json.loads(planned_rows)
        adaptlens(*verb, *words, "--out", str(out))
        seconds, memory, size = actual(Run.open(out))
    planned: dict[str, float] = defaultdict(float)
    for row in rows:
        planned[kind(row["condition"])] += row["seconds"]
    ratios = {name: planned[name] / seconds[name] for name in seconds}
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "planned_seconds": sum(planned.values()),
        "actual_seconds": sum(seconds.values()),
        "seconds_ratio": sum(planned.values()) / sum(seconds.values()),
        "memory_ratio": max(row["memory_bytes"] for row in rows) / memory,
        "disk_ratio": sum(row["disk_bytes"] for row in rows) / size,
        "target": TARGET,
        "by_way": ratios,
    }
    if given.json:
        print(json.dumps(result))
        return
    for name, ratio in ratios.items():
        print(
            f"{name:<10} planned {planned[name]:7.1f} s, took {seconds[name]:7.1f} s: {ratio:.2f}"
        )
    print(
        f"planned {result['planned_seconds']:.0f} s, took {result['actual_seconds']:.0f} s: ratio "
        f"{result['seconds_ratio']:.2f}; memory {result['memory_ratio']:.2f}; disk "
        f"{result['disk_ratio']:.2f} (target: 1/{TARGET:g} to {TARGET:g})"
    )


if __name__ == "__main__":
    main()
