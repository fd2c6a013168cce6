"""How often the verdict is wrong, what its line prints, and what it finds, by simulation.

    python benchmarks/verdict_rates.py [--runs 300]

Collapse: arms that are equally good but for draws that fail, in the small arms only; the larger
ones are then tied in most halves of the draws. Choosing: arms that are equally good, with smooth
draw effects, so that whatever is ahead is so by luck. Finding: every tuning arm is truly better.
"""

import argparse
import re
from dataclasses import replace

import numpy as np

from adaptlens.stats.intervals import Scores, difference
from adaptlens.studies.compare.verdict import verdict

QUERIES, VALIDATION = 200, 50
LEVEL = 0.6745
"""The threshold at which 75% of answers are right."""

GUESS = {"chance": np.full(QUERIES, 0.5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="simulations in each row")
    parser.add_argument("--flips", type=int, default=499)
    given = parser.parse_args()
    print("Arms of 4 examples that collapse from 97 to 50% in a share of draws, arms of 16 never:")
    print("share of runs whose line prints the named pair's own difference, that stay undecided,")
    print("that claim what is false; and how far the procedure's difference is from the pair's own")
    print(
        f"{'share':>6}{'draws':>6}{'own':>7}{'undecided':>11}{'false':>7}{'furthest, points':>18}"
    )
    for share in (0.05, 0.1, 0.2):
        for draws in (5, 10, 30):
            print(collapse(share, draws, given), flush=True)
    print("\nEqually good arms: share of runs that claim a difference, and the mean difference in")
    print("points of the pair by validation, of the procedure, and of the best test scores")
    print(
        f"{'arms':<18}{'draws':>6}{'effects':>9}{'validation':>12}{'no validation':>15}"
        f"{'uncorrected':>13}{'pair':>7}{'procedure':>11}{'best':>7}"
    )
    for prompts, tunings in ((1, 1), (3, 3), (3, 9), (1, 9)):
        for spread in (0.3, 1.0):
            for draws in (5, 10):
                print(choosing(prompts, tunings, draws, spread, given), flush=True)
    print("\nEvery tuning arm better, 3 prompt, 3 tune: share of runs that claim 'tune'")
    print(f"{'effects':>7}{'draws':>6}{'5 points':>10}{'10 points':>11}{'20 points':>11}")
    for spread in (0.0, 0.3):
        for draws in (5, 10, 30):
            print(finding(draws, spread, given), flush=True)


def collapse(share: float, draws: int, given) -> str:
    own = undecided = false = 0
    furthest = 0.0
    for run in range(given.runs):
        rng = np.random.default_rng([run, draws, int(100 * share)])
        arms = {}
        for family, name in (("prompt", "icl"), ("tune", "it")):
            for size in (4, 16):
                fails = rng.random(draws) < (share if size == 4 else 0.0)
                level = np.where(fails, 0.5, 0.97)[:, None]
                arms[f"{name}-{size}"] = scored(
                    rng.random((draws, QUERIES + VALIDATION)) < level, family, size
                )
        found = verdict(arms, baselines=GUESS, seed=run, flips=given.flips)
        gap = arms[found.tuned].values.mean() - arms[found.prompt].values.mean()
        said = float(re.search(r"(\S+) points \[", found.line)[1])
        own += abs(abs(said) - 100 * abs(gap)) < 0.051
        undecided += found.state == "undecided"
        # Of 4 and 16 examples, the larger is truly better; of equal sizes neither is.
        truth = int(found.tuned == "it-16") - int(found.prompt == "icl-16")
        false += found.state in ("tune", "prompt") and truth != 1 - 2 * (found.state == "prompt")
        if found.procedure is not None:
            furthest = max(furthest, abs(found.procedure.difference - gap))
    rates = [count / given.runs for count in (own, undecided, false)]
    return (
        f"{share:>6}{draws:>6}{rates[0]:>7.2f}{rates[1]:>11.2f}{rates[2]:>7.3f}"
        f"{100 * furthest:>18.1f}"
    )


def choosing(prompts: int, tunings: int, draws: int, spread: float, given) -> str:
    false, gaps = np.zeros(3), np.zeros(3)
    bare = prompts == tunings
    for run in range(given.runs):
        rng = np.random.default_rng([run, draws, prompts, tunings, int(10 * spread)])
        arms = field(rng, prompts, tunings, draws, spread, 0.0)
        found = verdict(arms, baselines=GUESS, seed=run, flips=given.flips)
        best = best_of(arms, "tune"), best_of(arms, "prompt")
        tested = difference(*best, seed=run, flips=given.flips)
        false[0] += found.state in ("tune", "prompt")
        if bare:
            without = {label: replace(s, validation=None) for label, s in arms.items()}
            state = verdict(without, baselines=GUESS, seed=run, flips=given.flips).state
            false[1] += state in ("tune", "prompt")
        false[2] += tested.p <= 0.05
        procedure = found.procedure or found.primary
        gaps += (found.primary.difference, procedure.difference, tested.difference)
    first, second, third = false / given.runs
    own, crossed, tested = 100 * gaps / given.runs
    middle = f"{second:>15.3f}" if bare else f"{'-':>15}"
    return (
        f"{f'{prompts} prompt, {tunings} tune':<18}{draws:>6}{spread:>9}{first:>12.3f}{middle}"
        f"{third:>13.3f}{own:>+7.1f}{crossed:>+11.1f}{tested:>+7.1f}"
    )


def finding(draws: int, spread: float, given) -> str:
    shares = []
    for gap in (0.05, 0.1, 0.2):
        hits = 0
        for run in range(given.runs):
            rng = np.random.default_rng([run, draws, int(10 * spread), int(100 * gap)])
            arms = field(rng, 3, 3, draws, spread, gap)
            state = verdict(arms, baselines=GUESS, seed=run, flips=given.flips).state
            hits += state == "tune"
        shares.append(hits / given.runs)
    return f"{spread:>7}{draws:>6}{shares[0]:>10.3f}{shares[1]:>11.3f}{shares[2]:>11.3f}"


def field(rng, prompts: int, tunings: int, draws: int, spread: float, gap: float):
    """Arms of accuracy near 75%, each with draw effects of its own; tuning arms better by `gap`."""
    ease = rng.normal(size=QUERIES + VALIDATION)
    arms = {}
    for family, count in (("prompt", prompts), ("tune", tunings)):
        for i in range(count):
            quality = spread * rng.normal(size=(draws, 1))
            hidden = ease + quality + rng.normal(size=(draws, QUERIES + VALIDATION))
            right = hidden / np.sqrt(2 + spread**2) + LEVEL > 0
            if family == "tune":
                # Of the wrong answers, a share that is `gap` of all turns right.
                right = right | (rng.random(right.shape) < gap / 0.25)
            arms[f"{family}-{i}"] = scored(right, family, i)
    return arms


def best_of(arms, family: str) -> Scores:
    return max((s for s in arms.values() if s.family == family), key=lambda s: s.values.mean())


def scored(rights: np.ndarray, family: str, examples: int) -> Scores:
    values = rights.astype(float)
    return Scores(
        values[:, :QUERIES],
        tuple(range(len(values))),
        family,
        values[:, QUERIES:],
        examples=examples,
        floor=0.5,
    )


if __name__ == "__main__":
    main()
