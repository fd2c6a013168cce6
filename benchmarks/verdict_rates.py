"""How often the verdict is wrong, and what its line prints, where the truth is known.

    python benchmarks/verdict_rates.py --runs 200

The first table has arms that are equally good but for draws that collapse: does the line print the
named pair's own difference, how often is nothing decided, how often is a false claim made? The
second has draw effects that are smooth, and more arms on one side than on the other.
"""

import argparse

import numpy as np

from adaptlens.stats import Scores
from adaptlens.verdict import verdict

QUERIES, VALIDATION = 200, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--flips", type=int, default=499)
    given = parser.parse_args()
    print("Arms that collapse from 97 to 50% in a share of draws (sizes 4; never at 16): share of")
    print("runs in which the line's difference is the named pair's own, nothing is decided, the")
    print("claim is false; and the largest distance of the procedure's difference from the pair's")
    print(
        f"{'share':>6}{'draws':>6}{'own':>7}{'undecided':>11}{'false':>7}{'procedure, points':>19}"
    )
    for share in (0.05, 0.1, 0.2):
        for draws in (5, 10, 30):
            print(collapsing(share, draws, given), flush=True)
    print("\nEqually good arms with smooth draw effects: share of false claims (tune or prompt)")
    print(f"{'arms':<20}{'draws':>6}{'effects':>9}{'validation':>12}{'no validation':>15}")
    for prompts, tunings in ((1, 1), (3, 3), (3, 9), (1, 9)):
        for draws in (5, 10):
            for spread in (0.3, 1.0):
                print(smooth(prompts, tunings, draws, spread, given), flush=True)


def collapsing(share: float, draws: int, given) -> str:
    own = undecided = false = 0
    apart = 0.0
    for run in range(given.runs):
        rng = np.random.default_rng([run, draws, int(100 * share)])
        conditions = {}
        for family, name in (("prompt", "icl"), ("tune", "it")):
            for size in (4, 16):
                fails = rng.random(draws) < (share if size == 4 else 0.0)
                level = np.where(fails, 0.5, 0.97)[:, None]
                rights = rng.random((draws, QUERIES + VALIDATION)) < level
                conditions[f"{name}-{size}"] = scored(rights, family, size)
        found = verdict(conditions, seed=run, flips=given.flips)
        pair = (conditions[found.tuned], conditions[found.prompt])
        gap = pair[0].values.mean() - pair[1].values.mean()
        own += abs(found.primary.difference - gap) < 1e-9
        undecided += found.state == "undecided"
        false += found.state in ("tune", "prompt") and found.tuned[2:] == found.prompt[3:]
        if found.procedure is not None:
            apart = max(apart, abs(found.procedure.difference - gap))
    shares = (count / given.runs for count in (own, undecided, false))
    a, b, c = shares
    return f"{share:>6}{draws:>6}{a:>7.2f}{b:>11.2f}{c:>7.3f}{100 * apart:>19.1f}"


def smooth(prompts: int, tunings: int, draws: int, spread: float, given) -> str:
    false = {True: 0, False: 0}
    for run in range(given.runs):
        rng = np.random.default_rng([run, draws, prompts, tunings, int(10 * spread)])
        ease = rng.normal(size=QUERIES + VALIDATION)
        conditions = {}
        for family, count in (("prompt", prompts), ("tune", tunings)):
            for i in range(count):
                quality = spread * rng.normal(size=(draws, 1))
                noise = rng.normal(size=(draws, QUERIES + VALIDATION))
                conditions[f"{family}-{i}"] = scored(1.2 + ease + quality + noise > 0, family, i)
        for with_validation in (True, False) if prompts * tunings <= 9 else (True,):
            kept = conditions
            if not with_validation:
                kept = {n: Scores(s.values, s.draws, s.family, floor=0.5) for n, s in kept.items()}
            state = verdict(kept, seed=run, flips=given.flips).state
            false[with_validation] += state in ("tune", "prompt")
    known, unknown = (false[key] / given.runs for key in (True, False))
    last = f"{unknown:>15.3f}" if prompts * tunings <= 9 else f"{'-':>15}"
    return f"{f'{prompts} prompt, {tunings} tune':<20}{draws:>6}{spread:>9}{known:>12.3f}{last}"


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
