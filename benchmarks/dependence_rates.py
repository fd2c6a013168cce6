"""How often intervals are wrong when queries share a passage, and draws share a training file.

    python benchmarks/dependence_rates.py [--runs 1000] [--only groups]

Groups: right or wrong answers of two equally good conditions to questions on passages; what is
hard is correlated within a passage, about 0.3 in the answers of one condition. The peer takes the
questions for independent.

Pool: a nearest-centroid classifier is trained on R draws of k rows of one file of N rows, two
Gaussian classes in 20 dimensions. The truth is its mean accuracy over all files and draws. The
peer takes the draws for independent, as if from a file without end.

No draw has anything to lose here (the floor is 1), so that dependence alone is tested.
"""

import argparse
import math
from dataclasses import replace

import numpy as np

from adaptlens.stats.intervals import difference, estimate
from adaptlens.stats.scores import Scores
from adaptlens.types import NO_DRAWS

FLIPS = 499
WITHIN = 0.45
DIMENSIONS, APART, TEST = 20, 1.6, 200


def passages(rng, sizes, repeats: int) -> tuple[Scores, Scores]:
    """Two equally good conditions, both right on about 76% of the questions."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    draws = tuple(range(repeats)) if repeats > 1 else NO_DRAWS
    found = []
    for _ in range(2):
        passage = math.sqrt(WITHIN) * rng.normal(size=len(sizes))[groups]
        hidden = passage + math.sqrt(0.4 * (1 - WITHIN)) * rng.normal(size=groups.size)
        hidden = hidden + math.sqrt(0.6 * (1 - WITHIN)) * rng.normal(size=(repeats, groups.size))
        values = (hidden > -0.7).astype(float)
        found.append(Scores(values, draws, groups=groups, floor=1.0))
    return found[0], found[1]


SIZES = {
    "20 passages x 10": lambda rng: np.full(20, 10),
    "20 passages x 1 to 39": lambda rng: 1 + 2 * np.arange(20),
    "6 passages x 30": lambda rng: np.full(6, 30),
    "30 users, 150 / rank": lambda rng: 150 // np.arange(1, 31),
    "1 x 100, 20 x 5": lambda rng: np.repeat([100, 5], [1, 20]),
    "200 x 1": lambda rng: np.ones(200, int),
}


def groups_table(runs: int) -> None:
    print("\nQuestions on passages, no true difference: share with p <= 0.05, and coverage")
    print(f"(simulation error {1.96 * math.sqrt(0.05 * 0.95 / runs):.3f})")
    print(
        f"{'passages':24}{'draws':>6}{'ours':>8}{'questions':>11}{'covers':>8}{'questions':>11}"
        f"{'score covers':>14}"
    )
    truth = (1 + math.erf(0.7 / math.sqrt(2))) / 2
    for name, sizes in SIZES.items():
        for repeats in (1, 10):
            rng = np.random.default_rng(repeats)
            counts = np.zeros(5)
            for run in range(runs):
                sides = passages(rng, sizes(rng), repeats)
                ours = difference(*sides, seed=run, flips=FLIPS)
                bare = difference(*(replace(s, groups=None) for s in sides), seed=run, flips=FLIPS)
                score = estimate(sides[0], seed=run, flips=FLIPS)
                counts += (
                    ours.p <= 0.05,
                    bare.p <= 0.05,
                    ours.low <= 0 <= ours.high,
                    bare.low <= 0 <= bare.high,
                    score.low <= truth <= score.high,
                )
            p, p_bare, covers, covers_bare, of_score = counts / runs
            print(
                f"{name:24}{repeats if repeats > 1 else '-':>6}{p:8.3f}{p_bare:11.3f}{covers:8.3f}"
                f"{covers_bare:11.3f}{of_score:14.3f}",
                flush=True,
            )


def trained(rng, rows: int, k: int, repeats: int, test: int) -> np.ndarray:
    """Right or wrong [repeats, test] of classifiers trained on draws of k of the file's rows."""

    def sample(*shape):
        labels = rng.integers(0, 2, shape)
        x = rng.normal(size=(*shape, DIMENSIONS))
        x[..., 0] += APART * (labels - 0.5)
        return x, labels

    x, labels = sample(rows)
    queries, golds = sample(test)
    chosen = np.argsort(rng.random((repeats, rows)), axis=1)[:, :k]
    of_one = labels[chosen][..., None]
    ones, many = of_one.sum(1), k
    first = (x[chosen] * of_one).sum(1) / np.maximum(1, ones)
    other = (x[chosen] * (1 - of_one)).sum(1) / np.maximum(1, many - ones)
    scores = ((queries - (first + other)[:, None] / 2) * (first - other)[:, None]).sum(-1)
    return ((scores > 0) == golds).astype(float)


def pool_table(runs: int) -> None:
    print("\nDraws from one training file: coverage of the mean over all files, 95% intervals")
    print(f"{'rows':>6}{'examples':>10}{'draws':>6}{'covers':>8}{'draws independent':>19}")
    for k in (16, 32):
        rng = np.random.default_rng(0)
        truth = float(np.mean([trained(rng, k, k, 1, 200).mean() for _ in range(20_000)]))
        for rows in (2000, 128, 64, 32, 24):
            if rows < k:
                continue
            for repeats in (10, 30):
                rng = np.random.default_rng([rows, repeats])
                counts = np.zeros(2)
                for run in range(runs):
                    values = trained(rng, rows, k, repeats, TEST)
                    scores = Scores(values, tuple(range(repeats)), floor=1.0, examples=k, pool=rows)
                    for place, one in enumerate((scores, replace(scores, pool=None))):
                        found = estimate(one, seed=run, flips=FLIPS)
                        counts[place] += found.low <= truth <= found.high
                covers, bare = counts / runs
                said = "  this file only" if k / rows > 0.5 else ""
                print(f"{rows:6}{k:10}{repeats:6}{covers:8.3f}{bare:19.3f}{said}", flush=True)


TABLES = {"groups": groups_table, "pool": pool_table}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="simulations in each row")
    parser.add_argument("--only", choices=list(TABLES), help="one table; all by default")
    given = parser.parse_args()
    for name in [given.only] if given.only else TABLES:
        TABLES[name](given.runs)
