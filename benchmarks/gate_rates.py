"""How often a gate is passed that should not be, and how often one that should, by simulation.

    python benchmarks/gate_rates.py [--runs 400] [--only arms|score|texts]

The arm is truly as good as the gate asks for and no better, at the bound, which is where passing
is most likely to be false. Beside it, the share of passes where it is 5 points better than that.

Held against a score, the share of passes is exact: a sum over all numbers of right answers. Of
texts, scored from 0 to 1, one arm fails now and then, and is otherwise better or worse by a little,
so that on average it is worse by the margin.
"""

import argparse

import numpy as np
import scipy

from adaptlens.stats.intervals import Scores, above, difference

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


def score_table(runs: int) -> None:
    """Print how often an arm passes that is as good as the score, exactly, and 5 points above."""
    print("\nShare of gates of a score that are passed: of arms at it, and 5 points above it")
    print(f"{'queries':>8}{'score':>7}{'at bound':>10}{'5 above':>9}")
    for queries in (30, 60, 100, 200, 500):
        for asked in (70, 80, 90, 95, 98):
            passed = [number for number in range(queries + 1) if _reaches(number, queries, asked)]
            rates = [float(scipy.stats.binom.pmf(passed, queries, level / 100).sum())
                     for level in (asked, asked + BETTER) if level <= 99]  # fmt: skip
            shown = "".join(f"{rate:>10.3f}" if i == 0 else f"{rate:>9.2f}"
                            for i, rate in enumerate(rates))  # fmt: skip
            print(f"{queries:>8}{asked:>7}{shown}", flush=True)


def _reaches(number: int, queries: int, asked: int) -> bool:
    right = Scores((np.arange(queries) < number)[None].astype(float))
    level = Scores(np.full((1, queries), asked / 100))
    return above(right, level, 0.0, flips=FLIPS).p <= 0.05


TEXTS = {
    "one in 25 loses 50 points": (0.04, 0.5, 0.02),
    "one in 25 loses 50 points, noise": (0.04, 0.5, 0.05),
    "one in 50 loses 50 points": (0.02, 0.5, 0.03),
    "one in 10 loses 30 points": (0.1, 0.3, 0.03),
    "none fails": (0.0, 0.0, 0.05),
}
"""The share of texts that fail, what that costs, and by how much others scatter."""


def texts_table(runs: int) -> None:
    """Print how often equality within 2 points, and a gate, are shown of texts."""
    print("\nTexts, 2 points worse on average: share of runs with equivalence p <= 0.05, of passes")
    print("of 'mine >= base - 2', and with p <= 0.05 of a difference; the same of texts as good")
    columns = "".join(f"{name:>8}" for name in ("equal", "passed", "differ") * 2)
    print(f"{'case':<36}{'queries':>8}{columns}")
    for name, case in TEXTS.items():
        for queries in (60, 100, 200, 500):
            shown = [
                rate for worse in (0.02, 0.0) for rate in _of_texts(worse, queries, runs, case)
            ]
            print(f"{name:<36}{queries:>8}{''.join(f'{one:>8.3f}' for one in shown)}", flush=True)


def _of_texts(
    worse: float, queries: int, runs: int, case: tuple[float, float, float]
) -> tuple[float, float, float]:
    share, loss, noise = case
    equal = passed = differ = 0
    for run in range(runs):
        rng = np.random.default_rng([run, queries])
        base = np.clip(rng.normal(0.6, 0.1, queries), 0, 1)
        fails = rng.random(queries) < share
        gain = (share * loss - worse) / (1 - share)
        other = base + np.where(fails, -loss, gain + rng.normal(0, noise, queries))
        sides = Scores(np.clip(other, 0, 1)[None]), Scores(base[None])
        found = difference(*sides, seed=run, flips=199)
        equal += found.equivalence_p <= 0.05
        differ += found.p <= 0.05
        passed += above(*sides, -0.02, seed=run, flips=199).p <= 0.05
    return equal / runs, passed / runs, differ / runs


def arms_table(runs: int) -> None:
    """Print how often an arm passes that is held against another."""
    print("Share of gates that are passed: of arms exactly at the bound, and 5 points above it")
    print(f"{'case':<42}{'queries':>8}{'bound':>7}{'at bound':>10}{'5 above':>9}")
    for name, case in CASES.items():
        for queries in (60, 200):
            for bound in BOUNDS:
                rates = [
                    passes(bound + more, bound, runs, queries, case)
                    for more in (0, BETTER)
                    if case.get("level", 0.75) + (bound + more) / 100 <= 0.99
                ]
                shown = "".join(f"{rate:>10.3f}" if i == 0 else f"{rate:>9.2f}"
                                for i, rate in enumerate(rates))  # fmt: skip
                print(f"{name:<42}{queries:>8}{bound:>+7.0f}{shown}", flush=True)


TABLES = {"arms": arms_table, "score": score_table, "texts": texts_table}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="simulations in each row")
    parser.add_argument("--only", choices=list(TABLES), help="one table; all by default")
    given = parser.parse_args()
    for name in [given.only] if given.only else TABLES:
        TABLES[name](given.runs)
