"""How often intervals and claims are wrong when draws collapse, by simulation.

    python benchmarks/collapse_rates.py [--runs 1000] [--only coverage]

Right or wrong answers of two conditions. One arm answers 97% of the queries, but in some draws it
collapses to 50%, the score of guessing; the other arm is steady. The peer ("sampling") makes no
allowance for draws that were not made: what is failing is taken to be what was seen to fail.
"""

import argparse
import math
from dataclasses import replace

import numpy as np

from adaptlens.stats.intervals import difference, estimate
from adaptlens.stats.scores import Scores

FLIPS = 499
GOOD, CHANCE, MARGIN = 0.97, 0.5, 0.02
ALL_DRAWS = (5, 10, 30)
GAPS = (5, 10, 20, 30)
SIZES = f"{'200 queries':>13}{'sampling':>10}{'1000':>8}{'sampling':>10}"


def phi(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def threshold(share: float) -> float:
    """The x with phi(x) = share."""
    low, high = -8.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if phi(middle) < share else (low, middle)
    return low


def answers(rng, ease, repeats, right, spread=0.0, collapse=0.0) -> np.ndarray:
    """Right or wrong [repeats, queries]: with chance `right`, or 0.5 in a draw that collapses.

    Draws differ by `spread` on the hidden scale, on which queries differ by 1.1 and noise is 1.
    """
    shape = (repeats, ease.size)
    hidden = ease + 0.5 * rng.normal(size=ease.size) + spread * rng.normal(size=(repeats, 1))
    hidden = hidden + rng.normal(size=shape)
    found = hidden / math.sqrt(2.25 + spread**2) + threshold(right) > 0
    lost = rng.random((repeats, 1)) < collapse
    return np.where(lost, rng.random(shape) < CHANCE, found).astype(float)


def pair(rng, repeats, queries, *, left, right, spread=0.0, collapse=0.0, other=0.0):
    """The scores of two arms; `left` collapses in a share of draws, draws of `right` are steady."""
    ease, draws = rng.normal(size=queries), tuple(range(repeats))
    return (
        Scores(answers(rng, ease, repeats, left, spread, collapse), draws, floor=CHANCE),
        Scores(answers(rng, ease, repeats, right, other), draws, floor=CHANCE),
    )


def without_allowance(scores: Scores) -> Scores:
    """The same scores, of which no draw has anything to lose."""
    return replace(scores, floor=1.0)


def mean_after(collapse: float) -> float:
    return (1 - collapse) * GOOD + collapse * CHANCE


COVERAGE = {
    "1 draw in 10 collapses": {"left": GOOD, "right": 0.9, "collapse": 0.1},
    "1 draw in 20 collapses": {"left": GOOD, "right": 0.9, "collapse": 0.05},
    "draws alike, 84%": {"left": 0.84, "right": 0.84},
    "mild draw effects, 84%": {"left": 0.84, "right": 0.84, "spread": 0.3, "other": 0.3},
    "heavy draw effects, 84%": {"left": 0.84, "right": 0.84, "spread": 1.0, "other": 1.0},
    "heavy draw effects, 98%": {"left": 0.98, "right": 0.98, "spread": 1.0, "other": 1.0},
    "heavy on one side, 98%": {"left": 0.98, "right": 0.98, "spread": 1.0},
    "* 1 draw in 5 collapses": {"left": GOOD, "right": 0.9, "collapse": 0.2},
    "* 3 draws in 10 collapse": {"left": GOOD, "right": 0.9, "collapse": 0.3},
    "* 4 draws in 10 collapse": {"left": GOOD, "right": 0.9, "collapse": 0.4},
}


def coverage_table(runs: int) -> None:
    print("\nCoverage of 95% intervals: of the score of the left arm, and of the difference")
    print(f"(simulation error {1.96 * math.sqrt(0.05 * 0.95 / runs):.3f}; rows with * are at or")
    print("beyond what is assumed: at most one draw in five collapses)")
    print(
        f"{'scenario':26}{'queries':>8}{'draws':>6}{'score':>8}{'sampling':>10}"
        f"{'difference':>12}{'sampling':>10}"
    )
    for name, settings in COVERAGE.items():
        share = settings.get("collapse", 0.0)
        truth = (1 - share) * settings["left"] + share * CHANCE
        for queries in (200, 1000):
            for repeats in ALL_DRAWS:
                rng = np.random.default_rng([repeats, queries])
                counts = np.zeros(4)
                for run in range(runs):
                    left, right = pair(rng, repeats, queries, **settings)
                    bare = without_allowance(left), without_allowance(right)
                    ours = [
                        estimate(left, seed=run, flips=FLIPS),
                        difference(left, right, seed=run, flips=FLIPS),
                    ]
                    peers = [
                        estimate(bare[0], seed=run, flips=FLIPS),
                        difference(*bare, seed=run, flips=FLIPS),
                    ]
                    true = (truth, truth - settings["right"])
                    counts += [
                        one.low <= value <= one.high
                        for one, value in zip((ours[0], peers[0], ours[1], peers[1]),
                                              (true[0], true[0], true[1], true[1]), strict=True)
                    ]  # fmt: skip
                score, alone, gap, gap_alone = counts / runs
                print(
                    f"{name:26}{queries:8}{repeats:6}{score:8.3f}{alone:10.3f}"
                    f"{gap:12.3f}{gap_alone:10.3f}",
                    flush=True,
                )


def equivalence_table(runs: int) -> None:
    print("\n'No difference' (within 2 points): share of runs with equivalence p <= 0.05; one arm")
    print("collapses just often enough to make the true difference. False but in the rows of 0.")
    print(f"{'true points':>12}{'draws':>6}{SIZES}")
    for points in (0, 2, 3, 5, 10):
        share = points / 100 / (GOOD - CHANCE)
        for repeats in (*ALL_DRAWS, 100):
            rates = []
            for queries in (200, 1000):
                rng = np.random.default_rng([repeats, queries])
                counts = np.zeros(2)
                for run in range(runs):
                    ease, draws = rng.normal(size=queries), tuple(range(repeats))
                    good = answers(rng, ease, repeats, GOOD)
                    lost = rng.random((repeats, 1)) < share
                    bad = np.where(lost, rng.random(good.shape) < CHANCE, good).astype(float)
                    sides = [Scores(bad, draws, floor=CHANCE), Scores(good, draws, floor=CHANCE)]
                    bare = map(without_allowance, sides)
                    counts += (
                        difference(*sides, seed=run, flips=FLIPS).equivalence_p <= 0.05,
                        difference(*bare, seed=run, flips=FLIPS).equivalence_p <= 0.05,
                    )
                rates += list(counts / runs)
            print(
                f"{-points:12}{repeats:6}{rates[0]:13.3f}{rates[1]:10.3f}"
                f"{rates[2]:8.3f}{rates[3]:10.3f}",
                flush=True,
            )


def claim_table(runs: int) -> None:
    print(
        "\nFalse 'tune' or 'prompt': share of runs with p <= 0.05 where one arm collapses from 97%"
    )
    print("to 50% in a share of the draws, the other is steady, and their means are equal")
    print(f"{'collapse':>12}{'draws':>6}{SIZES}")
    for collapse in (0.05, 0.1, 0.2, 0.3, 0.4):
        for repeats in ALL_DRAWS:
            rates = []
            for queries in (200, 1000):
                rng = np.random.default_rng([repeats, queries])
                counts = np.zeros(2)
                for run in range(runs):
                    sides = pair(rng, repeats, queries, left=GOOD, right=mean_after(collapse),
                                 collapse=collapse)  # fmt: skip
                    bare = map(without_allowance, sides)
                    counts += (
                        difference(*sides, seed=run, flips=FLIPS).p <= 0.05,
                        difference(*bare, seed=run, flips=FLIPS).p <= 0.05,
                    )
                rates += list(counts / runs)
            print(
                f"{collapse:12.2f}{repeats:6}{rates[0]:13.3f}{rates[1]:10.3f}"
                f"{rates[2]:8.3f}{rates[3]:10.3f}",
                flush=True,
            )


def power_table(runs: int) -> None:
    print("\nPower, 200 queries: share of runs with p <= 0.05 at a true difference; the better arm")
    print("at 90%, no draw collapses, chance is 50%")
    gaps = "".join(f"{f'{gap} points':>11}{'sampling':>10}" for gap in GAPS)
    print(f"{'draw effects':14}{'draws':>6}{gaps}")
    for name, spread in (("none", 0.0), ("mild", 0.3), ("heavy", 1.0)):
        for repeats in ALL_DRAWS:
            rates = []
            for points in GAPS:
                rng = np.random.default_rng([repeats, points])
                counts = np.zeros(2)
                for run in range(runs):
                    sides = pair(rng, repeats, 200, left=0.9, right=0.9 - points / 100,
                                 spread=spread, other=spread)  # fmt: skip
                    bare = map(without_allowance, sides)
                    counts += (
                        difference(*sides, seed=run, flips=FLIPS).p <= 0.05,
                        difference(*bare, seed=run, flips=FLIPS).p <= 0.05,
                    )
                rates += list(counts / runs)
            print(
                f"{name:14}{repeats:6}"
                + "".join(f"{rates[i]:11.3f}{rates[i + 1]:10.3f}" for i in range(0, 8, 2)),
                flush=True,
            )


TABLES = {
    "coverage": coverage_table,
    "equivalence": equivalence_table,
    "claims": claim_table,
    "power": power_table,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="simulations in each row")
    parser.add_argument("--only", choices=list(TABLES), help="one table; all by default")
    given = parser.parse_args()
    for name in [given.only] if given.only else TABLES:
        TABLES[name](given.runs)
