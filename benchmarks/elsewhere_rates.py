"""How often something is said to change elsewhere that does not, and that does, by simulation.

    python benchmarks/elsewhere_rates.py [--runs 300]

Two tuned arms are read on three sets of items beside zero-shot: six tests, corrected together. In
the first column nothing changes on any of them; draws still differ, and some fail. In the second
one arm loses 15 points on one set.
"""

import argparse

import numpy as np

from adaptlens.stats.intervals import difference, holm
from adaptlens.studies.compare.side_effects import ALPHA
from gate_rates import FLIPS, scored

CASES = {
    "five draws": {"draws": 5},
    "ten draws": {"draws": 10},
    "two draws": {"draws": 2},
    "ten draws, near the ceiling": {"draws": 10, "level": 0.95},
    "ten draws, at chance": {"draws": 10, "level": 0.5},
    "ten draws, six templates": {"draws": 10, "templates": 6},
    "ten draws, items in 12 groups": {"draws": 10, "groups": 12},
    "ten draws, one in twenty fails": {"draws": 10, "failing": 0.05},
    "an arm without draws": {},
}
"""What is simulated: each case says in what it differs from the defaults of `gate_rates.scored`."""

ARMS, SETS, LOSS = 2, 3, 15.0


def told(runs: int, queries: int, case: dict[str, float], loss: float = 0.0) -> float:
    """Return the share of runs in which a change is told of: the one there is, or any.

    Args:
        runs: how many.
        queries: items of each set.
        case: see `CASES`.
        loss: of the first arm on the first set, in points; 0 for no change anywhere.
    """
    count = 0
    for run in range(runs):
        rng = np.random.default_rng([run, queries, int(loss), len(case)])
        tests = []
        for place in range(ARMS * SETS):
            points = -loss if place == 0 else 0.0
            sides = scored(rng, points, queries=queries, **case)  # type: ignore[arg-type]
            tests.append(difference(*sides, seed=run, flips=FLIPS))
        adjusted = holm([test.p for test in tests])
        real = [
            p <= ALPHA and test.supports_claims for p, test in zip(adjusted, tests, strict=True)
        ]
        count += real[0] if loss else any(real)
    return count / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="simulations in each row")
    given = parser.parse_args()
    print(f"Share of runs in which a change is told of: none there is, {LOSS:g} points on one set")
    print(f"{'case':<34}{'queries':>8}{'none':>8}{'one':>7}")
    for name, case in CASES.items():
        for queries in (60, 200):
            rates = [told(given.runs, queries, case, loss) for loss in (0.0, LOSS)]
            print(f"{name:<34}{queries:>8}{rates[0]:>8.3f}{rates[1]:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
