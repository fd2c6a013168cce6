"""How often the limits study calls what is unrelated related, and whether it recovers the truth.

    python benchmarks/relation_rates.py [--runs 200] [--only TABLE]

Abilities are simulated as the task's difficulty, what a family does on a task, size, what a base
does everywhere and what it does on one task; the last two correlate between in-context and tuned
performance by a number that is known. Every base is tuned several times, with noise of its own.
"""

import argparse
import time

import numpy as np

from adaptlens.studies.limits.correlation import CONTROLS, correlate
from adaptlens.studies.limits.exposure import Group, effect
from adaptlens.studies.limits.panel import Panel
from adaptlens.studies.limits.variance import Moments, shares

TASKS, NOISE = 16, 0.3
TRUTHS = {
    "difficulty alone": {},
    "difficulty, strong bases": {"base": 1.0, "profile": 0.2},
    "difficulty, family, size": {"family": 0.5, "size": 0.5},
    "related 0.7": {"related": 0.7},
    "related 0.7, family, size": {"related": 0.7, "family": 0.5, "size": 0.5},
}


def simulated(
    rng: np.random.Generator,
    bases: int,
    models: int,
    *,
    related: float = 0.0,
    base: float = 0.5,
    profile: float = 0.5,
    family: float = 0.0,
    size: float = 0.0,
) -> Panel:
    """A panel in which in-context and tuned performance beyond what all share is `related`."""
    of_family, log_size = np.arange(bases) % 3, (np.arange(bases) // 3) % 3 - 1.0
    shared = rng.normal(size=(1, TASKS)) + size * log_size[:, None]
    shared = shared + family * rng.normal(size=(3, TASKS))[of_family]
    first = base * rng.normal(size=(bases, 1)) + profile * rng.normal(size=(bases, TASKS))
    other = base * rng.normal(size=(bases, 1)) + profile * rng.normal(size=(bases, TASKS))
    second = related * first + np.sqrt(1 - related**2) * other
    of = np.repeat(np.arange(bases), models)
    tuned = (shared + second)[of] + NOISE * rng.normal(size=(len(of), TASKS))
    return Panel(
        tuned=np.stack([tuned] * 3),
        icl=np.stack([shared + first] * 3),
        of=of,
        seen=np.zeros(tuned.shape, bool),
        scores=np.zeros((2, *tuned.shape)),
        bases=tuple(f"base-{place:02}" for place in range(bases)),
        families=tuple(f"family-{place}" for place in of_family.tolist()),
        sizes=np.exp(log_size),
        exposures=("",) * bases,
        mixtures=("all",) * len(of),
        seeds=tuple(range(len(of))),
        tasks=tuple(f"task-{place:02}" for place in range(TASKS)),
        clusters=("one",) * TASKS,
        queries=np.full(TASKS, 100.0),
    )


def expected(kind: dict[str, float], given: str) -> float:
    """The correlation of what the controls leave, NaN where they do not leave it alone."""
    related, profile = kind.get("related", 0.0), kind.get("profile", 0.5) ** 2
    everywhere = kind.get("base", 0.5) ** 2 if "model" not in given else 0.0
    confounded = "family" in kind and given != "difficulty, size, family"
    if given == "nothing" or confounded:
        return float("nan")
    signal = everywhere + profile
    return related * np.sqrt(signal / (signal + NOISE**2))


def relation_table(rng: np.random.Generator, runs: int) -> None:
    print("\nSpearman's and Pearson's correlation over all models and tasks")
    print(f"{'truth':26} {'given':25} {'bases':>5} {'models':>6} {'p<=.05':>7} {'related':>8} "
          f"{'value':>6} {'truth':>6} {'covered':>8}")  # fmt: skip
    for bases, models in ((9, 3), (11, 10)):
        for name, kind in TRUTHS.items():
            for given in ("nothing", "difficulty", "difficulty, size, family", "difficulty, model"):
                found = []
                for run in range(runs):
                    panel = simulated(rng, bases, models, **kind)
                    found.append(correlate(panel, CONTROLS[given], resamples=300, exchanges=199,
                                           seed=run))  # fmt: skip
                ranked, linear = ([one[c] for one in found] for c in ("spearman", "pearson"))
                small = np.mean([one.p <= 0.05 for one in ranked])
                related = np.mean([one.p <= 0.05 and one.low > 0 for one in ranked])
                value = np.mean([one.value for one in linear])
                truth = expected(kind, given)
                covered = np.mean([one.low <= truth <= one.high for one in linear])
                covered = covered if np.isfinite(truth) else float("nan")
                print(f"{name:26} {given:25} {bases:5} {bases * models:6} {small:7.3f} "
                      f"{related:8.3f} {value:6.2f} {truth:6.2f} {covered:8.3f}",
                      flush=True)  # fmt: skip


def known_moments(rng: np.random.Generator, bases: int, spread: float) -> Moments:
    """Tuned performance made of base ICL, size, family, membership; three models each.

    The rest is what a base does everywhere (`spread`), on one task, and noise.
    """
    of_family, size = np.arange(bases) % 3, (np.arange(bases) // 3) % 3 - 1.0
    icl = rng.normal(size=(bases, TASKS)) + 0.5 * size[:, None]
    of_task = rng.normal(size=(1, TASKS))
    rest = spread * rng.normal(size=(bases, 1)) + 0.3 * rng.normal(size=(bases, TASKS))
    cells = np.zeros((bases, TASKS, 7, 7))
    for base in range(bases):
        for task in range(TASKS):
            seen = np.array([0.0, 1.0, 1.0])
            own = np.array([0.0, 0.3, -0.3])[of_family[base]]
            y = 0.8 * icl[base, task] + 0.4 * size[base] + own + 0.5 * seen + of_task[0, task]
            y = y + rest[base, task] + 0.4 * rng.normal(size=3)
            one = np.ones(3)
            rows = np.stack([one, icl[base, task] * one, size[base] * one,
                             (of_family[base] == 1) * one, (of_family[base] == 2) * one,
                             seen, y], axis=1)  # fmt: skip
            cells[base, task] = rows.T @ rows
    columns = {"base ICL": (1,), "size": (2,), "family": (3, 4), "seen": (5,)}
    return Moments(cells, columns, 3, bases * TASKS * 3)


def share_table(rng: np.random.Generator, runs: int) -> None:
    print("\nShares of variance within tasks: truth (2,700 bases), mean, share of 95% intervals "
          "that cover")  # fmt: skip
    names = ("base ICL", "size", "family", "seen", "all together")
    print(f"{'spread of bases':>15} {'bases':>5} " + " ".join(f"{name:>20}" for name in names))
    for spread, bases in ((0.0, 9), (0.0, 11), (0.5, 9), (0.5, 11), (0.5, 30)):
        known = shares(known_moments(rng, 2700, spread), within_tasks=True, resamples=0).values
        covered, values = dict.fromkeys(known, 0.0), dict.fromkeys(known, 0.0)
        for run in range(runs):
            found = shares(
                known_moments(rng, bases, spread), within_tasks=True, resamples=300, seed=run
            )
            for name, value in known.items():
                low, high = found.interval(name)
                covered[name] += (low <= value <= high) / runs
                values[name] += found.values[name] / runs
        said = [f"{known[n]:6.3f} {values[n]:6.3f} {covered[n]:6.3f}" for n in known]
        print(f"{spread:15.1f} {bases:5} " + " ".join(said), flush=True)


def exposure_table(rng: np.random.Generator, runs: int) -> None:
    print("\nDifference in differences of an exposure: mean, share of 95% intervals that cover, "
          "p <= .05")  # fmt: skip
    print(f"{'truth':>6} {'exposed':>8} {'tunings':>8} {'mean':>7} {'covered':>8} {'p<=.05':>7}")
    for truth in (0.0, 0.2):
        for exposed, repeats in ((3, 6), (6, 6), (6, 1)):
            is_exposed = np.arange(TASKS) < exposed
            group = Group("", 1.0, ("none", "much"), ("",) * TASKS, is_exposed,
                          np.full(TASKS, 100.0), {})  # fmt: skip
            found = []
            for _ in range(runs):
                steps = 0.05 * rng.normal(size=TASKS) + 0.03 * rng.normal(size=(repeats, 1))
                steps = steps + 0.03 * rng.normal(size=(repeats, TASKS)) + truth * is_exposed
                found.append(effect(group, np.stack([steps] * 3), "exposed - unexposed"))
            covered = np.mean([one.low <= truth <= one.high for one in found])
            small = np.mean([one.p <= 0.05 for one in found])
            print(f"{truth:6.2f} {exposed:8} {repeats:8} {np.mean([o.value for o in found]):7.3f} "
                  f"{covered:8.3f} {small:7.3f}", flush=True)  # fmt: skip


TABLES = {"relation": relation_table, "shares": share_table, "exposure": exposure_table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TABLES)
    given = parser.parse_args()
    print(f"{given.runs} runs a row (simulation error of a share of 5%: "
          f"{2 * np.sqrt(0.05 * 0.95 / given.runs):.3f}), {TASKS} tasks")  # fmt: skip
    start = time.perf_counter()
    for name, table in TABLES.items():
        if given.only in (None, name):
            table(np.random.default_rng(given.seed), given.runs)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
