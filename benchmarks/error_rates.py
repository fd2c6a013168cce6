"""How often the tests and verdicts are wrong: type I error, coverage and power by simulation.

    python benchmarks/error_rates.py [--runs 1000]

Scores are simulated as right or wrong answers of two conditions on 200 queries: a hidden sum of a
query's ease (shared), the condition's own ease on that query, the quality of its draw, and noise,
right where it is above a threshold. No draw has anything to lose (the floor is 1), so that the
sampling of queries and draws is tested alone; `collapse_rates.py` tests what draws that were not
made may do. The peer is the usual practice: a sign-flip test over queries
on the means over draws, and the percentile bootstrap over queries and draws.
"""

import argparse
import math

import numpy as np

from adaptlens.stats.intervals import Scores, difference
from adaptlens.studies.compare.verdict import verdict

QUERIES, VALIDATION, FLIPS = 200, 100, 499
NULLS = {
    "no draw effects": {},
    "mild draw effects": {"left": 0.3, "right": 0.3},
    "heavy draw effects": {"left": 1.0, "right": 1.0},
    "near the ceiling (98%)": {"left": 0.3, "right": 0.3, "level": 2.0},
}


def normal_cdf(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def answers(rng, repeats, ease, spread, level) -> np.ndarray:
    """Right or wrong [repeats, queries], right with chance normal_cdf(level) over everything."""
    quality = rng.normal(size=(repeats, 1)) * spread
    hidden = ease + rng.normal(size=ease.size) * 0.5 + quality
    hidden = hidden + rng.normal(size=(repeats, ease.size))
    right = hidden / math.sqrt(1 + 0.25 + spread**2 + 1) + level > 0
    return right.astype(float)


def scores(values, family="none", validation=None) -> Scores:
    return Scores(values, tuple(range(len(values))), family, validation, floor=1.0)


def pair(rng, repeats, left=0.0, right=0.0, level=1.0, gap=0.0):
    """Scores of two conditions, the left one better by `gap` on the hidden scale."""
    ease = rng.normal(size=QUERIES)
    first = answers(rng, repeats, ease, left, level + gap)
    return scores(first, "tune"), scores(answers(rng, repeats, ease, right, level), "prompt")


def queries_only(gaps: np.ndarray, rng) -> bool:
    """Whether flipping the signs of queries alone rejects, on the means over draws."""
    means = gaps.mean(0)
    flipped = (2.0 * rng.integers(0, 2, (FLIPS, means.size), np.int8) - 1) @ means
    return (1 + np.sum(np.abs(flipped) >= abs(means.sum()) - 1e-9)) / (FLIPS + 1) <= 0.05


def _resampled(rng, count: int) -> np.ndarray:
    """Weights [resamples, count] of drawing `count` times with replacement."""
    drawn = rng.integers(0, count, (FLIPS, count)) + count * np.arange(FLIPS)[:, None]
    return np.bincount(drawn.ravel(), minlength=FLIPS * count).reshape(FLIPS, count) / count


def percentile_covers(gaps: np.ndarray, truth: float, rng) -> bool:
    """Whether the percentile bootstrap over draws and queries covers the truth."""
    repeats, queries = gaps.shape
    by_draw, by_query = _resampled(rng, repeats), _resampled(rng, queries)
    low, high = np.quantile(((by_draw @ gaps) * by_query).sum(1), [0.025, 0.975])
    return low <= truth <= high


def null_table(runs: int) -> None:
    print("\nNo true difference: share of runs with p <= 0.05, and coverage of 95% intervals")
    print(f"(simulation error {1.96 * math.sqrt(0.05 * 0.95 / runs):.3f})")
    print(
        f"{'scenario':34}{'draws':>6}{'ours':>8}{'queries only':>14}{'covers':>8}{'percentile':>12}"
    )
    for name, settings in NULLS.items():
        for repeats in (1, 3, 5, 10):
            rng = np.random.default_rng(repeats)
            counts = np.zeros(4)
            for run in range(runs):
                left, right = pair(rng, repeats, **settings)
                found = difference(left, right, seed=run, flips=FLIPS)
                gaps = left.values - right.values
                counts += (
                    found.p <= 0.05,
                    queries_only(gaps, rng),
                    found.low <= 0 <= found.high,
                    percentile_covers(gaps, 0.0, rng),
                )
            ours, peer, covers, percentile = counts / runs
            print(f"{name:34}{repeats:6}{ours:8.3f}{peer:14.3f}{covers:8.3f}{percentile:12.3f}")


def power_table(runs: int) -> None:
    print("\nPower: share of runs with p <= 0.05 at a true difference, accuracy near 84%")
    print(
        f"{'draw effects':16}{'draws':>6}{'true points':>13}{'found':>8}{'detectable (median)':>21}"
    )
    for name, spread in (("none", 0.0), ("mild", 0.3), ("heavy", 1.0)):
        for repeats in (5, 10):
            for gap in (0.1, 0.25, 0.5):
                rng = np.random.default_rng(7)
                hits, reach = 0, []
                for run in range(runs):
                    sides = pair(rng, repeats, spread, spread, 1.0 - gap, gap)
                    found = difference(*sides, seed=run, flips=FLIPS)
                    hits += found.p <= 0.05
                    reach.append(found.detectable)
                true = 100 * (normal_cdf(1.0) - normal_cdf(1.0 - gap))
                middle = 100 * float(np.median(reach))
                print(f"{name:16}{repeats:6}{true:13.1f}{hits / runs:8.3f}{middle:21.1f}")


def field(rng, repeats, spread, prompts, tunings, level=0.3, gap=0.0):
    """Conditions of a whole comparison; every tuning arm better by `gap` on the hidden scale."""
    ease = rng.normal(size=QUERIES + VALIDATION)
    found = {}
    for family, count, shift in (("prompt", prompts, 0.0), ("tune", tunings, gap)):
        for i in range(count):
            right = answers(rng, repeats, ease, spread, level + shift)
            found[f"{family}-{i}"] = scores(right[:, :QUERIES], family, right[:, QUERIES:])
    return found


def best_of(arms, split):
    """Mean test score of the arm with the best mean on a split, all draws together."""
    return max(arms, key=lambda scores: getattr(scores, split).mean()).values.mean()


def selection_table(runs: int) -> None:
    print("\nWhat choosing does: mean difference, in points, judged between equally good arms")
    print(
        f"{'arms':18}{'draws':>6}{'effects':>9}{'cross-fitted':>14}"
        f"{'validation, same draws':>24}{'test scores':>13}"
    )
    for prompts, tunings in ((3, 3), (1, 9)):
        for spread in (0.3, 1.0):
            for repeats in (5, 10):
                rng = np.random.default_rng(13)
                gaps = np.zeros(3)
                for _ in range(runs):
                    arms = field(rng, repeats, spread, prompts, tunings, level=1.0)
                    found = verdict(arms, flips=39)
                    gaps[0] += (found.procedure or found.primary).difference
                    sides = [
                        [s for s in arms.values() if s.family == family]
                        for family in ("tune", "prompt")
                    ]
                    for place, split in ((1, "validation"), (2, "values")):
                        gaps[place] += best_of(sides[0], split) - best_of(sides[1], split)
                crossed, validated, tested = 100 * gaps / runs
                print(
                    f"{f'{prompts} prompt, {tunings} tune':18}{repeats:6}{spread:9.1f}"
                    f"{crossed:+14.1f}{validated:+24.1f}{tested:+13.1f}"
                )


def equivalence_table(runs: int) -> None:
    print("\nEquivalence within 2 points: share of runs that claim it")
    print(
        f"{'queries':>8}{'draws':>6}{'answers that differ':>21}{'true 2 points':>15}{'true 0':>9}"
    )
    for queries in (200, 1000):
        for repeats in (1, 10):
            for share in (0.02, 0.1):
                rng = np.random.default_rng(5)
                counts = np.zeros(2)
                for run in range(runs):
                    for place, true in enumerate((0.02, 0.0)):
                        up = rng.random((repeats, queries))
                        left = (up > (share - true) / 2).astype(float)
                        right = (up < 1 - (share + true) / 2).astype(float)
                        found = difference(scores(left), scores(right), seed=run, flips=FLIPS)
                        counts[place] += found.equivalence_p <= 0.05
                wrong, right_claims = counts / runs
                print(f"{queries:8}{repeats:6}{share:21.2f}{wrong:15.3f}{right_claims:9.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="simulations in each row")
    runs = parser.parse_args().runs
    null_table(runs)
    power_table(runs)
    equivalence_table(runs)
    selection_table(runs)
