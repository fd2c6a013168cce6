"""How often a gate is passed that should not be, and how often one that should, by simulation.

    python benchmarks/gate_rates.py [--runs 400]

The arm is truly as good as the gate asks for and no better, at the bound, which is where passing
is most likely to be false. Beside it, the share of passes where it is 5 points better than that.
"""

import argparse

import numpy as np

from adaptlens.stats.intervals import Scores, above

CASES = {
    "two arms as they are": {},
    "near the ceiling": {"level": 0.97},
    "answers that agree in 19 of 20": {"alike": 0.95},
    "six templates": {"templates": 6},
    "items in 12 groups": {"groups": 12},
    "five draws": {"draws": 5},
    "ten draws": {"draws": 10},
    "ten draws, one in twenty of which fails": {"draws": 10, "failing": 0.05},
}
"""What is simulated: each case says in what it differs from the first."""

BOUNDS = (-5.0, -1.0, 0.0)
BETTER = 5.0
FLIPS = 499


def scored(
    rng: np.random.Generator,
    points: float,
    *,
    queries: int,
    level: float = 0.75,
    alike: float = 0.6,
    templates: int = 1,
    groups: int = 0,
    draws: int = 0,
    failing: float = 0.0,
) -> tuple[Scores, Scores]:
    """Return two arms, the first of which is better by so many points on average.

    Args:
        rng: of everything random.
        points: how much better the first is.
        queries: how many there are.
        level: of the second, a fraction of 1.
        alike: share of the queries on which both answer from one threshold.
        templates: each shifts both arms.
        groups: clusters of queries that are easy or hard together; 0 for none.
        draws: of the first arm, each of another level; 0 where it is one as it is.
        failing: share of draws that answer by chance.
    """
    number = max(1, draws)
    group = np.arange(queries) % groups if groups else None
    easy = rng.normal(0, 0.1, groups)[group] if groups else 0.0
    shift = rng.normal(0, 0.04, (templates, 1, 1)) if templates > 1 else 0.0
    drawn = rng.normal(0, 0.04, (1, number, 1)) if draws else 0.0
    fails = rng.random((1, number, 1)) < failing
    # Of all draws together the first is as much better as was asked for.
    own = level + points / 100
    own = (own - failing * 0.5) / (1 - failing)
    first = np.where(fails, 0.5, own + drawn) + shift + easy
    second = level + shift + easy
    base = rng.random((1, 1, queries))
    other = rng.random((templates, number, queries))
    same = rng.random((1, 1, queries)) < alike
    thresholds = np.where(same, base, other)
    shape = (templates, number, queries)
    left = (thresholds < np.broadcast_to(first, shape)).astype(float)
    right = (np.broadcast_to(base, (templates, 1, queries)) < second).astype(float)
    names = tuple(f"t{n}" for n in range(templates)) if templates > 1 else ()
    arms = []
    for values, count in ((left, draws), (right, 0)):
        made = values if names else values[0]
        numbers = tuple(range(count)) if count else (-1,)
        arms.append(Scores(made, numbers, templates=names, groups=group, floor=0.5))
    return arms[0], arms[1]


def passes(points: float, bound: float, runs: int, queries: int, case: dict[str, float]) -> float:
    """Return how often the gate is passed."""
    count = 0
    for run in range(runs):
        rng = np.random.default_rng([run, queries, int(100 * (points - bound)), len(case)])
        left, right = scored(rng, points, queries=queries, **case)  # type: ignore[arg-type]
        found = above(left, right, bound / 100, seed=run, flips=FLIPS)
        count += found.supports_claims and found.p <= 0.05
    return count / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="simulations in each row")
    given = parser.parse_args()
    print("Share of gates that are passed: of arms exactly at the bound, and 5 points above it")
    print(f"{'case':<42}{'queries':>8}{'bound':>7}{'at bound':>10}{'5 above':>9}")
    for name, case in CASES.items():
        for queries in (60, 200):
            for bound in BOUNDS:
                rates = [
                    passes(bound + more, bound, given.runs, queries, case)
                    for more in (0, BETTER)
                    if case.get("level", 0.75) + (bound + more) / 100 <= 0.99
                ]
                shown = "".join(f"{rate:>10.3f}" if i == 0 else f"{rate:>9.2f}"
                                for i, rate in enumerate(rates))  # fmt: skip
                print(f"{name:<42}{queries:>8}{bound:>+7.0f}{shown}", flush=True)


if __name__ == "__main__":
    main()
