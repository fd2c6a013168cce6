"""What choosing the number of demonstrations does to the implicit study, and how often it errs.

    python benchmarks/implicit_rates.py [--runs 200] [--only TABLE]

Answers are simulated as in error_rates.py: a hidden sum of an item's ease (shared), the condition's
own ease on that item, the quality of its draw (the same on validation and test items), and noise,
right where it is above a threshold. In-context learning is read at six numbers of shots, of which
validation chooses; tuning is judged at its largest size, which nobody chose.
"""

import argparse
import math
from statistics import NormalDist

import numpy as np

from adaptlens.stats.hypotheses import Hypothesis, judged
from adaptlens.studies.implicit.samples_needed import Answered, difference, points
from adaptlens.studies.implicit.shortcut_use import ICL, ZERO, Behaved
from adaptlens.tasks.shortcuts import PATTERN
from adaptlens.types import NO_DRAWS

ITEMS, VALIDATION = 100, 40
SHOTS = (1, 2, 4, 8, 16, 32)
SIZES = (32, 128, 512, 1024)
DRAWS = (5, 10)
EFFECTS = {"mild": 0.3, "heavy": 1.0}
BETTER = "reads pattern items better"


class Simulated:
    """Answers of one model: the items' ease is common to all its conditions."""

    def __init__(self, rng: np.random.Generator, draws: int, effect: float) -> None:
        self.rng, self.draws, self.effect = rng, draws, effect
        self.ease = rng.normal(size=ITEMS + VALIDATION)

    def condition(self, accuracy: float, *, drawn: bool = True) -> tuple[Answered, Answered]:
        """Return what a condition of this true accuracy answers on test and validation items."""
        rows = self.draws if drawn else 1
        effect = self.effect if drawn else 0.0
        hidden = self.ease + 0.5 * self.rng.normal(size=self.ease.size)
        hidden = hidden + effect * self.rng.normal(size=(rows, 1))
        hidden = hidden + self.rng.normal(size=(rows, self.ease.size))
        scale = math.sqrt(1 + 0.25 + effect**2 + 1)
        right = (hidden / scale + NormalDist().inv_cdf(accuracy) > 0).astype(float)
        names = tuple(range(rows)) if drawn else NO_DRAWS
        return Answered(right[:, :ITEMS], names), Answered(right[:, ITEMS:], names)


def model(rng, draws: int, effect: float, icl: float, curve: dict[int, float], zero: float):
    """A model whose in-context accuracy is the same at every number of shots."""
    simulated = Simulated(rng, draws, effect)
    accuracies = {(PATTERN, ICL, shots, PATTERN): icl for shots in SHOTS}
    accuracies |= {(PATTERN, "it", size, PATTERN): value for size, value in curve.items()}
    answers = {key: simulated.condition(value) for key, value in accuracies.items()}
    answers[PATTERN, ZERO, 0, PATTERN] = simulated.condition(zero, drawn=False)
    test, validation = ({key: both[i] for key, both in answers.items()} for i in (0, 1))
    return Behaved("simulated", "code", test, validation, seed=0)


def choice_table(runs: int) -> None:
    print(
        "\nIn-context learning at any number of shots and tuning are equally good: mean difference"
    )
    print("in points (error of the mean), and share of runs with p <= 0.05 for either; before: the")
    print("number of shots chosen by all draws, which also judge it; now: as the study judges")
    print(f"{'draws':>5} {'effects':>7} {'accuracy':>8} {'before':>12} {'for ICL':>8} "
          f"{'tuning':>7} {'now':>12} {'for ICL':>8} {'tuning':>7} {'false':>6}")  # fmt: skip
    for draws in DRAWS:
        for name, effect in EFFECTS.items():
            for accuracy in (0.5, 0.84):
                rng = np.random.default_rng(7)
                found = [one_choice(rng, draws, effect, accuracy) for _ in range(runs)]
                means = np.mean(found, 0)
                errors = np.std(found, 0) / math.sqrt(runs)
                print(f"{draws:5} {name:>7} {accuracy:8.2f}", end="")
                for at in (0, 3):
                    print(f" {means[at]:+6.1f} ({errors[at]:.1f})"
                          f" {means[at + 1]:8.3f} {means[at + 2]:7.3f}", end="")  # fmt: skip
                print(f" {means[4] + means[5]:6.3f}", flush=True)


def one_choice(rng, draws: int, effect: float, accuracy: float) -> list[float]:
    """Mean difference, p <= 0.05 for ICL, and for tuning: by all draws, and as the study judges."""
    one = model(rng, draws, effect, accuracy, {SIZES[-1]: accuracy}, zero=0.3)
    before = difference(
        one.test[PATTERN, ICL, one.chosen(ICL, PATTERN).overall, PATTERN],
        one.test[PATTERN, "it", SIZES[-1], PATTERN],
    )
    (now,) = (said.mean for said in one.hypotheses() if BETTER in said.claim)
    row = []
    for mean, scale in ((before, 100.0), (now, 1.0)):
        is_there = mean.p <= 0.05
        row += [scale * mean.value, is_there and mean.value > 0, is_there and mean.value < 0]
    return row


CURVES = {
    "reached at 256": ((0.3, 0.45, 0.75, 0.8), 255.0),
    "reached at 32, flat": ((0.6, 0.6, 0.6, 0.6), 32.0),
    "5 points short, flat": ((0.55, 0.55, 0.55, 0.55), math.inf),
}
"""True accuracies of tuning at `SIZES`; the size at which they reach in-context learning's 0.6."""


def needed_table(runs: int) -> None:
    print("\nSamples needed for in-context learning's 60%: median, and share of 95% intervals that")
    print("lie above the truth and below it")
    print(f"{'truth':22} {'draws':>5} {'effects':>7} {'median':>8} {'above':>6} {'below':>6} "
          f"{'no gain':>7}")  # fmt: skip
    for truth, (curve, size) in CURVES.items():
        for draws in DRAWS:
            for name, effect in EFFECTS.items():
                rng = np.random.default_rng(11)
                found = []
                for _ in range(runs):
                    one = model(rng, draws, effect, 0.6, dict(zip(SIZES, curve, strict=True)), 0.2)
                    (row,) = one.needed()
                    found.append((row["samples"], row["low"], row["high"]))
                value, low, high = np.array(found).T
                kept = ~np.isnan(value)
                count = max(1, int(kept.sum()))
                print(f"{truth:22} {draws:5} {name:>7} {np.median(value[kept]):8,.0f} "
                      f"{(low[kept] > size * (1 + 1e-9)).sum() / count:6.3f} "
                      f"{(high[kept] < size * (1 - 1e-9)).sum() / count:6.3f} "
                      f"{1 - kept.mean():7.3f}", flush=True)  # fmt: skip


def ceiling_table(runs: int) -> None:
    print("\nIn-context learning is right on all items; tuning, in every draw, on all but a share.")
    print(
        "Share of runs in which a difference is refuted (said to be within 5 points): as the study"
    )
    print("judges, and without what items of a kind that was not seen may do")
    print(f"{'items':>5} {'draws':>5} {'true points':>11} {'refuted':>8} {'without':>8} "
          f"{'supported':>9}")  # fmt: skip
    for items in (12, 20, 60, 100, 300):
        for lost in (0.0, 0.05, 0.08):
            rng = np.random.default_rng(13)
            found = []
            for _ in range(runs):
                right = np.broadcast_to(rng.random(items) >= lost, (5, items)).astype(float)
                states = []
                for span in (1.0, math.inf):
                    sides = (Answered(one, tuple(range(5)), span) for one in (right * 0 + 1, right))
                    claim = Hypothesis(1, "", 1, points(difference(*sides)))
                    states.append(judged([claim], margin=5.0)[0].state)
                found.append([state == "refuted" for state in states] + [states[0] == "supported"])
            now, without, shown = np.mean(found, 0)
            print(f"{items:5} {5:5} {100 * lost:11.0f} {now:8.3f} {without:8.3f} {shown:9.3f}",
                  flush=True)  # fmt: skip


def failing_table(runs: int) -> None:
    print("\nIn-context learning falls from 97% to chance, 50%, in a share of draws; tuning never.")
    print("Share of runs in which a difference is claimed where there is none; and in which it is")
    print("said to be within 5 points where it is 5: as the study judges, and by draws made alone")
    print(f"{'draws':>5} {'share':>6} {'claimed':>8} {'alone':>6} {'within':>8} {'alone':>6}")
    for draws in (5, 10, 30, 100):
        for share in (0.05, 0.1, 0.2):
            rng = np.random.default_rng(17)
            found = np.mean([_of_failing(rng, draws, share) for _ in range(runs)], 0)
            print(f"{draws:5} {share:6.2f} {found[0]:8.3f} {found[1]:6.3f} {found[2]:8.3f} "
                  f"{found[3]:6.3f}", flush=True)  # fmt: skip


def _of_failing(rng: np.random.Generator, draws: int, share: float) -> list[bool]:
    """Return whether there is said to be a difference of 0, and one of 5 points to be within 5."""
    fails = rng.random((draws, 1)) < share
    ease, mean = rng.random((1, ITEMS)), 0.97 - 0.47 * share
    found = []
    for truth in (0.0, 0.05):
        sides = []
        for level in (np.where(fails, 0.5, 0.97), min(1.0, mean + truth)):
            own = rng.random((draws, ITEMS))
            luck = np.where(rng.random((draws, ITEMS)) < 0.6, ease, own)
            sides.append((luck < level).astype(float))
        for floor in (0.5, None):
            left, right = (Answered(one, tuple(range(draws)), floor=floor) for one in sides)
            claim = Hypothesis(1, "", 0, points(difference(left, right)))
            state = judged([claim], margin=5.0)[0].state
            found.append(state == ("supported" if truth else "refuted"))
    return found


TABLES = {"choice": choice_table, "needed": needed_table, "ceiling": ceiling_table,
          "failing": failing_table}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="simulations in each row")
    parser.add_argument("--only", choices=TABLES)
    given = parser.parse_args()
    error = 1.96 * math.sqrt(0.05 * 0.95 / given.runs)
    print(f"{given.runs} runs a row (simulation error of a share of 5%: {error:.3f}), {ITEMS} test "
          f"and {VALIDATION} validation items")  # fmt: skip
    for name, table in TABLES.items():
        if given.only in (None, name):
            table(given.runs)


if __name__ == "__main__":
    main()
