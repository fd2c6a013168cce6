"""How often a design that `plan --detect` asks for finds the difference it was made for, simulated.

    python benchmarks/design_rates.py [--runs 20]

A pilot of 10 draws and 100 queries, in which the arms score alike, says how many draws find
`POINTS` with so many queries. With these draws, and as true a difference, other samples are drawn:
80 of 100 should find it. "needed" is the median over pilots; pilots that ask for more than 200
draws are counted, not run.
"""

import argparse
from statistics import median

import numpy as np

from adaptlens.stats.intervals import MINIMUM_DRAWS, difference, paired_test
from adaptlens.stats.sample_size import SampleSize
from gate_rates import FLIPS, scored

CASES = {
    "draws differ": {},
    "near the ceiling": {"level": 0.85},
    "six templates": {"templates": 6},
    "items in 25 groups": {"groups": 25},
    "one draw in twenty fails": {"failing": 0.05},
}
POINTS, MOST, EACH = 12.0, 200, 10
NAMES = ("left", "right")


def designed(runs: int, queries: int, case: dict[str, float]) -> tuple[list[int], int, float]:
    """Return the draws that pilots asked for, how many asked for too many, and the share found.

    Args:
        runs: pilots, each followed by `EACH` comparisons.
        queries: of the comparisons.
        case: see `CASES`.
    """
    asked, refused, found, tried = [], 0, 0, 0
    for run in range(runs):
        rng = np.random.default_rng([run, queries, len(case)])
        pilot = scored(rng, 0.0, queries=100, draws=10, **case)  # type: ignore[arg-type]
        _, test = paired_test(*pilot, NAMES, 0.02, 0.05, run, FLIPS)
        units = queries if "groups" not in case else int(case["groups"])
        needed = SampleSize(test).draws_to_detect(POINTS / 100, units, MINIMUM_DRAWS)
        if needed is None or needed > MOST:
            refused += 1
            continue
        asked.append(needed)
        for _ in range(EACH):
            sides = scored(rng, POINTS, queries=queries, draws=needed, **case)  # type: ignore[arg-type]
            tried += 1
            found += difference(*sides, seed=run, flips=FLIPS).p <= 0.05
    return asked, refused, found / max(1, tried)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="pilots in each row")
    given = parser.parse_args()
    print(f"Share of comparisons that find {POINTS:g} points, of draws that a pilot asks for")
    print(f"{'case':<28}{'queries':>8}{'needed':>8}{'too many':>10}{'found':>7}")
    for name, case in CASES.items():
        for queries in (100, 200, 400):
            asked, refused, share = designed(given.runs, queries, case)
            shown = f"{median(asked):>8.0f}" if asked else f"{'–':>8}"
            print(f"{name:<28}{queries:>8}{shown}{refused:>10}{share:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
