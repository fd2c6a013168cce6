"""How often stated probabilities are said to be worse that are not, and that are, by simulation.

    python benchmarks/confidence_rates.py [--runs 400]

A tuned arm with draws is held against a prompted one with the same draws and against zero-shot:
two tests of quadratic scores, corrected together. In the first column all three state probabilities
that are worth as much; in the second the tuned one is ten times as sure of the same answers.
"""

import argparse
from typing import Any

import numpy as np
from scipy.special import expit

from adaptlens.stats.intervals import difference, holm
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare.side_effects import ALPHA
from gate_rates import FLIPS

CASES: dict[str, dict[str, Any]] = {
    "five draws": {"draws": 5},
    "ten draws": {"draws": 10},
    "two draws": {"draws": 2},
    "five draws, near the ceiling": {"draws": 5, "level": 5.0},
    "ten draws, near the ceiling": {"draws": 10, "level": 5.0},
    "ten draws, at chance": {"draws": 10, "level": 0.0},
    "five draws, all far too sure": {"draws": 5, "sure": 4.0},
    "ten draws, all far too sure": {"draws": 10, "sure": 4.0},
    "ten draws, six templates": {"draws": 10, "templates": 6},
    "five draws, heavy draw effects": {"draws": 5, "by_draw": 2.0},
    "ten draws, heavy draw effects": {"draws": 10, "by_draw": 2.0},
    "ten draws, items in 12 groups": {"draws": 10, "groups": 12},
    "ten draws, one in twenty fails": {"draws": 10, "failing": 0.05},
}
"""What is simulated: each case says in what it differs from the defaults of `stated`."""

SURER = 10.0


def stated(
    rng: np.random.Generator,
    surer: float,
    *,
    queries: int,
    draws: int,
    level: float = 1.0,
    sure: float = 1.0,
    templates: int = 1,
    by_draw: float = 0.5,
    groups: int = 0,
    failing: float = 0.0,
) -> tuple[Scores, Scores, Scores]:
    """Return the quadratic scores of a tuned arm, a prompted one and zero-shot, of two answers.

    Log-odds of the right answer are normal, with the same spread over all for each arm, so that
    their probabilities are worth as much on average.

    Args:
        rng: of everything random.
        surer: how many times as large the tuned arm's log-odds are.
        queries: how many there are.
        draws: of the first two.
        level: mean log-odds.
        sure: how many times all log-odds are taken.
        templates: each shifts all arms.
        by_draw: standard deviation between draws; 2 between queries, 1 of what is left.
        groups: clusters of queries that are easy or hard together; 0 for none.
        failing: share of draws of the first two that are sure, and right by chance.
    """
    group = np.arange(queries) % groups if groups else None
    easy = 2 * rng.normal(size=queries if group is None else groups)
    easy = easy if group is None else easy[group]
    shift = 0.5 * rng.normal(size=(templates, 1, 1)) if templates > 1 else 0.0
    names = tuple(f"t{n}" for n in range(templates)) if templates > 1 else ()
    made = []
    for number, times in ((draws, surer), (draws, 1.0), (0, 1.0)):
        rows = max(1, number)
        drawn = by_draw * rng.normal(size=(1, rows, 1 if number else queries))
        odds = level + easy + shift + drawn + rng.normal(size=(templates, rows, queries))
        fails = rng.random((1, rows, 1)) < (failing if number else 0.0)
        chance = 20.0 * rng.choice([-1, 1], size=odds.shape)
        right = expit(np.where(fails, chance, times * sure * odds))
        values = 1 - (1 - right) ** 2
        made.append(
            Scores(
                values if names else values[0],
                tuple(range(number)) if number else (-1,),
                templates=names,
                groups=group,
                floor=0.5,
            )
        )
    return made[0], made[1], made[2]


def told(runs: int, queries: int, case: dict[str, Any], surer: float = 1.0) -> float:
    """Return the share of runs in which probabilities are said to be worse, or better."""
    count = 0
    for run in range(runs):
        rng = np.random.default_rng([run, queries, int(surer), len(case)])
        tuned, prompted, plain = stated(rng, surer, queries=queries, **case)
        tests = [difference(tuned, other, seed=run, flips=FLIPS) for other in (prompted, plain)]
        adjusted = holm([test.p for test in tests])
        count += any(
            p <= ALPHA and test.supports_claims for p, test in zip(adjusted, tests, strict=True)
        )
    return count / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="simulations in each row")
    given = parser.parse_args()
    print("Share of runs in which probabilities are told to be worse or better: they are worth as")
    print(f"much; the tuned arm is {SURER:g} times as sure")
    print(f"{'case':<34}{'queries':>8}{'none':>8}{'surer':>7}")
    for name, case in CASES.items():
        for queries in (60, 200):
            rates = [told(given.runs, queries, case, surer) for surer in (1.0, SURER)]
            print(f"{name:<34}{queries:>8}{rates[0]:>8.3f}{rates[1]:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
