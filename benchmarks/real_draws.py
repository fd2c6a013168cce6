"""How often intervals from a few real draws cover the mean of sixty.

    python benchmarks/real_draws.py [--quick] [--runs 200] [--folder runs/real-draws]

Sixty draws of every arm on a bundled task are run once, on the shipped model (a few minutes).
Studies of 5, 10, 20 and 30 of these draws are then taken from them, and their 95% intervals held
against the mean of all sixty on the same queries: scores of every arm by every scoring (over the
templates that were read), and the differences of all tuned and prompted arms. As the queries stay,
a sound interval covers more than 95%. The peer ("sampling") makes no allowance for draws that were
not made.
"""

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from adaptlens.adapt.families import family_of
from adaptlens.cells import STUDY_FILE
from adaptlens.metrics import accuracy
from adaptlens.stats.intervals import difference, estimate, pairs_of_interest
from adaptlens.stats.scores import Scores
from adaptlens.store import Run
from adaptlens.studies.compare.arms import Reading
from adaptlens.studies.stored import read

COMMAND = [
    *("compare", "--model", "reference", "--task", "sentiment-novel", "--draws", "60"),
    *("--shots", "0,2,4,8,16", "--tuning", "it,sl", "--no-search"),
]
QUICK = "--draws 6 --queries 8 --shots 0,2 --tuning it --set validation=8 --set tune.max_steps=2"
RULES = ("raw", "bytes", "corrected")
SIZES = (5, 10, 20, 30)
FLIPS = 499


def sixty(folder: Path, more: str = "") -> dict[tuple[str, str], Scores]:
    """All draws of every (condition, scoring rule) that draws anything."""
    if not (folder / STUDY_FILE).exists():
        subprocess.run(
            [sys.executable, "-m", "adaptlens", *COMMAND, *more.split(), "--out", str(folder)],
            check=True,
        )
    study = read(Run.open(folder), "compare")
    found = {}
    for one in study.found:
        reading = Reading(one, study.tasks[one.task_digest])
        floor = float(accuracy.chance(reading.arrays()).mean())
        for rule in RULES:
            values = reading.values("accuracy", rule).mean(0)
            family = family_of(one.adaptation)
            found[one.label, rule] = Scores(values, one.draws, family, floor=floor)
    return found


def some(scores: Scores, chosen: np.ndarray) -> Scores:
    if not scores.is_drawn:
        return scores
    return replace(scores, values=scores.values[chosen], draws=tuple(chosen.tolist()))


def without_allowance(scores: Scores) -> Scores:
    return replace(scores, floor=1.0)


def covered(arms, size: int, runs: int) -> tuple[dict, dict]:
    """How often each score and each difference is covered: [ours, sampling alone]."""
    rng = np.random.default_rng(size)
    drawn = {name: scores for name, scores in arms.items() if scores.is_drawn}
    total = len(next(iter(drawn.values())).draws)
    pairs = [
        ((left, rule), (right, rule))
        for rule in RULES
        for left, right in pairs_of_interest({k: s for (k, r), s in arms.items() if r == rule})
    ]
    truth = {name: float(scores.values.mean()) for name, scores in arms.items()}
    scored = {name: np.zeros(2) for name in drawn}
    compared = {pair: np.zeros(2) for pair in pairs}
    for run in range(runs):
        chosen = rng.choice(total, size, replace=False)
        study = {name: some(scores, chosen) for name, scores in arms.items()}
        for name, counts in scored.items():
            for place, given in enumerate((study[name], without_allowance(study[name]))):
                found = estimate(given, seed=run, flips=FLIPS)
                counts[place] += found.low <= truth[name] <= found.high
        for (left, right), counts in compared.items():
            sides = study[left], study[right]
            for place, given in enumerate((sides, tuple(map(without_allowance, sides)))):
                found = difference(*given, seed=run, flips=FLIPS)
                counts[place] += found.low <= truth[left] - truth[right] <= found.high
    return (
        {" ".join(name): counts / runs for name, counts in scored.items()},
        {f"{a} - {b} {rule}": counts / runs for ((a, rule), (b, _)), counts in compared.items()},
    )


def table(folder: Path, runs: int, quick: bool) -> None:
    arms = sixty(folder, QUICK if quick else "")
    print("Coverage of the mean of sixty real draws by 95% intervals from a few of them")
    print(f"({runs} studies of each size; 'low' counts those covered in less than 90%)")
    print(
        f"{'what':12}{'draws':>6}{'number':>8}{'mean':>8}{'lowest':>8}{'low':>6}"
        f"{'sampling':>10}{'lowest':>8}{'low':>6}  lowest of ours"
    )
    for size in SIZES[:1] if quick else SIZES:
        for what, rates in zip(("scores", "differences"), covered(arms, size, runs), strict=True):
            both = np.array(list(rates.values()))
            worst = min(rates, key=lambda name: rates[name][0])
            cells = [
                f"{both[:, i].mean():{8 + 2 * i}.3f}{both[:, i].min():8.3f}"
                f"{(both[:, i] < 0.9).sum():6}"
                for i in range(2)
            ]
            print(f"{what:12}{size:6}{len(both):8}{''.join(cells)}  {worst}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="studies of each size")
    parser.add_argument("--folder", type=Path, default=Path("runs/real-draws"))
    parser.add_argument("--quick", action="store_true", help="six draws, two studies of five")
    given = parser.parse_args()
    table(given.folder, 2 if given.quick else given.runs, given.quick)
