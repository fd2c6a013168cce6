"""How often learning curves' intervals cover, and crossings are told that are not, by simulation.

    python benchmarks/curve_rates.py [--runs 200] [--only coverage|crossing|real] [--sets FILE ...]

Coverage: right-or-wrong answers of one arm at several numbers of examples, on the same queries, its
draws nested; what is predicted at 2, 4 and 8 times the largest is held against the truth. Crossing:
two such arms. Real: learning curves of two cheap learners on bags of words, multinomial naive Bayes
(Laplace's smoothing) and logistic regression (L2 penalty 1), which are no language models but learn
as real data let them. Each --sets FILE is a CSV of (text, label) as benchmarks/real_sets.py writes
it, or a TSV of (sentence, label); two thirds of its rows are to train on, the rest is the test.
"""

import argparse
import csv
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy

from adaptlens.stats.learning_curves import Curve, curve_band, gap_band
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare.arm_choice import choose
from adaptlens.studies.compare.curves import held_against

Truth = Callable[[float], float]

TRUTHS: dict[str, Truth] = {
    "power law": lambda k: 0.9 - 0.5 * k**-0.5,
    "slow power law": lambda k: 0.95 - 0.6 * k**-0.35,
    "log k": lambda k: 0.55 + 0.03 * math.log2(k),
    "k": lambda k: 0.5 + 0.0015 * k,
    "exponential to the ceiling": lambda k: 0.99 - 0.4 * math.exp(-k / 8),
    "Weibull, off the grid": lambda k: 0.9 - 0.3 * math.exp(-((k / 11) ** 0.8)),
    "at the ceiling": lambda k: 0.985,
    "flat": lambda k: 0.6,
    "slow start, half at 16": lambda k: 0.5 + 0.4 / (1 + (16 / k) ** 2),
    "up, then down from 8": lambda k: 0.6 + 0.2 * math.exp(-((math.log2(k) - 3) ** 2) / 8),
    "up, then down from 11": lambda k: 0.6 + 0.2 * math.exp(-((math.log2(k) - 3.5) ** 2) / 4.5),
    "up, then slowly down": lambda k: 0.55 + 0.3 * (1 - math.exp(-k / 4))
    - 0.12 * (1 - math.exp(-k / 24)),
    "dip at 8": lambda k: 0.85 - 0.3 * math.exp(-k / 32)
    - 0.08 * math.exp(-((math.log2(k) - 3) ** 2) / 2),
    "* starts late, half at 64": lambda k: 0.5 + 0.4 / (1 + (64 / k) ** 2),
    "* falls late, half at 48": lambda k: 0.55 + 0.3 * (1 - math.exp(-k / 8))
    - 0.2 / (1 + (48 / k) ** 2),
}  # fmt: skip
"""True scores by examples. Those with a star break what is assumed: a start or a turn that is not
over at 32 examples."""

SIZES = (2, 4, 8, 16, 32)
CHANCE = 0.5


def answers(
    rng: np.random.Generator,
    levels: Sequence[float],
    *,
    draws: int,
    queries: int,
    spread: float = 0.3,
    failing: float = 0.0,
    groups: int = 0,
    templates: int = 1,
    shared: dict[str, np.ndarray] | None = None,
) -> list[Scores]:
    """Return an arm at several sizes, right with the chance of each level.

    Queries differ by 1.1 on a hidden scale on which noise is 1, draws by `spread`; what both do
    changes from size to size, and is correlated between neighbours by 0.7.

    Args:
        rng: of everything random.
        levels: true scores, of draws that do not fail.
        draws: nested ones, the same at every size.
        queries: how many.
        spread: of draws.
        failing: share of draws that answer by chance at every size.
        groups: clusters of queries that are easy or hard together; 0 for none.
        templates: each shifts all sizes by 0.2 on the hidden scale.
        shared: kept between arms on the same queries; filled by the first.
    """
    kept = {} if shared is None else shared
    group = np.arange(queries) % groups if groups else None
    if "ease" not in kept:
        ease = rng.normal(size=queries)
        if group is not None:
            ease = 0.8 * rng.normal(size=groups)[group] + 0.6 * ease
        kept["ease"] = 1.1 * ease
        kept["words"] = 0.2 * rng.normal(size=(templates, 1, 1)) * (templates > 1)
    shift, own = rng.normal(size=(draws, 1)), rng.normal(size=queries)
    noise, fails = rng.normal(size=(draws, queries)), rng.random((draws, 1)) < failing
    total = math.sqrt(1.21 + 0.25 + spread**2 + 1 + 0.04 * (templates > 1))
    names = tuple(f"t{n}" for n in range(templates)) if templates > 1 else ()
    made = []
    for place, level in enumerate(levels):
        if place:
            shift = 0.7 * shift + math.sqrt(0.51) * rng.normal(size=(draws, 1))
            own = 0.7 * own + math.sqrt(0.51) * rng.normal(size=queries)
        hidden = kept["ease"] + 0.5 * own + spread * shift + kept["words"]
        hidden = hidden + 0.6 * noise + 0.8 * rng.normal(size=(templates, draws, queries))
        right = hidden / total + scipy.special.ndtri(level) > 0
        right = np.where(fails, rng.random(right.shape) < CHANCE, right).astype(float)
        values = right if names else right[0]
        drawn = tuple(range(draws))
        made.append(Scores(values, drawn, "tune", templates=names, floor=CHANCE, groups=group))
    return made


CASES: dict[str, dict[str, float]] = {
    "": {},
    "draws differ much": {"spread": 1.0},
    "one draw in ten fails": {"failing": 0.1},
    "items in 12 groups": {"groups": 12},
    "six templates": {"templates": 6},
}


def power_law(sizes: Sequence[int], means: np.ndarray, at: Sequence[int]) -> np.ndarray:
    """Return 95% intervals [2, numbers] of the usual power law with a ceiling, level - b k^-c.

    Least squares, the errors of parameters carried over by the delta method. Where it does not
    come to an end, or its covariance is not known, the interval is all there is: 0 to 1.
    """

    def law(k: np.ndarray, level: float, b: float, c: float) -> np.ndarray:
        return level - b * k ** -np.abs(c)

    known, wanted = np.array(sizes, float), np.array(at, float)
    everything = np.stack([np.zeros(len(at)), np.ones(len(at))])
    if len(sizes) < 4:
        return everything
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted, error = scipy.optimize.curve_fit(law, known, means, p0=(0.9, 0.5, 0.5))
    except RuntimeError:
        return everything
    steps = 1e-5 * np.eye(3)
    slope = np.stack([(law(wanted, *(fitted + h)) - law(wanted, *(fitted - h))) / 2e-5
                      for h in steps])  # fmt: skip
    half = scipy.special.stdtrit(len(sizes) - 3, 0.975) * np.sqrt(
        np.maximum(0.0, np.einsum("pk,pq,qk->k", slope, error, slope))
    )
    if not np.all(np.isfinite(half)):
        return everything
    middle = law(wanted, *fitted)
    return np.clip(np.stack([middle - half, middle + half]), 0.0, 1.0)


def covered(
    truth: Truth, sizes: Sequence[int], runs: int, *, draws: int, queries: int, **case: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how often intervals at 1, 2, 4 and 8 times the largest size cover, and their width.

    Last, how often those of a power law alone cover.
    """
    at = [sizes[-1] * many for many in (1, 2, 4, 8)]
    failing = case.get("failing", 0.0)
    true = np.array([(1 - failing) * truth(k) + failing * CHANCE for k in at])
    hits, widths, peer = np.zeros(4), np.zeros(4), np.zeros(4)
    for run in range(runs):
        rng = np.random.default_rng([run, draws, queries, len(sizes)])
        levels = [truth(k) for k in sizes]
        arms = answers(rng, levels, draws=draws, queries=queries, **case)  # type: ignore[arg-type]
        band = curve_band(Curve(tuple(sizes), tuple(arms)), at)
        hits += (band.low <= true) & (true <= band.high)
        widths += band.high - band.low
        low, high = power_law(sizes, np.array([one.values.mean() for one in arms]), at)
        peer += (low <= true) & (true <= high)
    return hits / runs, 100 * widths / runs, peer / runs


def coverage_table(runs: int) -> None:
    """Print how often intervals cover."""
    error = 1.96 * math.sqrt(0.05 * 0.95 / runs)
    print("Coverage of 95% intervals at 1, 2, 4 and 8 times the largest size measured, and their")
    print(f"width in points ({runs} runs a row: simulation error {error:.3f}). Last: a power law")
    print("alone, by curve_fit; four sizes or more")
    print(f"{'truth':<28}{'case':<22}{'sizes':<15}{'draws x queries':>15}"
          f"{'covered at 1x 2x 4x 8x':>26}{'width':>21}{'power law, 1x to 8x':>25}")  # fmt: skip
    designs = [(SIZES, 5, 60), (SIZES, 10, 200), (SIZES, 20, 1000), ((4, 8, 16), 10, 200)]
    rows = [(name, "", *design) for name in TRUTHS for design in designs]
    some = ("power law", "exponential to the ceiling", "at the ceiling")
    rows += [
        (name, case, *design) for case in CASES if case for name in some for design in designs[:2]
    ]
    for name, case, sizes, draws, queries in rows:
        settings = CASES[case]
        hits, widths, peer = covered(
            TRUTHS[name], sizes, runs, draws=draws, queries=queries, **settings
        )
        alone = "".join(f"{hit:>6.2f}" for hit in peer) if len(sizes) > 3 else ""
        print(
            f"{name:<28}{case:<22}{','.join(map(str, sizes)):<15}{f'{draws} x {queries}':>15}   "
            + "".join(f"{hit:>6.2f}" for hit in hits)
            + "  "
            + "".join(f"{width:>5.0f}" for width in widths)
            + f"  {alone}",
            flush=True,
        )


PAIRS: dict[str, tuple[Truth, Truth]] = {
    "cross at 12": (lambda k: 0.95 - 0.45 * math.exp(-k / 12), lambda k: 0.67),
    "cross at 45": (lambda k: 0.95 - 0.45 * math.exp(-k / 45), lambda k: 0.78),
    "cross at 16, both rise": (lambda k: 0.95 - 0.55 * k**-0.3, lambda k: 0.7 + 0.001 * k),
    "tuning ahead by 10": (lambda k: 0.9 - 0.4 * k**-0.5, lambda k: 0.8 - 0.4 * k**-0.5),
    "prompting ahead by 10": (lambda k: 0.8 - 0.4 * k**-0.5, lambda k: 0.9 - 0.4 * k**-0.5),
    "alike": (lambda k: 0.9 - 0.5 * k**-0.5, lambda k: 0.9 - 0.5 * k**-0.5),
    "alike at the ceiling": (lambda k: 0.985, lambda k: 0.985),
    "alike, flat": (lambda k: 0.7, lambda k: 0.7),
}
"""Pairs of truths: of tuning, and of prompting."""

WAYS = 4
"""Ways of tuning that are equally good, of which validation chooses one."""


def crossings(
    name: str, runs: int, *, draws: int, queries: int, sizes: Sequence[int] = SIZES
) -> tuple[float, float, float, float]:
    """Return the shares of runs that tell something false, a crossing, no crossing, and a part.

    Of `WAYS` equally good ways of tuning the best on 100 validation items, with the same draws, is
    held against a way of prompting.
    """
    tuned, prompted = PAIRS[name]
    counts = np.zeros(4)
    for run in range(runs):
        rng = np.random.default_rng([run, draws, queries, len(sizes), 7])
        items: dict[str, np.ndarray] = {}
        settings = {"draws": draws, "queries": queries + 100, "shared": items}
        own = [[tuned(k) for k in sizes], [prompted(k) for k in sizes]]
        tried = [answers(rng, own[0], **settings) for _ in range(WAYS)]
        prompt = answers(rng, own[1], **settings)
        best = max(tried, key=lambda arms: np.mean([one.values[:, queries:] for one in arms]))
        curve, other = (
            {size: replace(one, values=one.values[:, :queries], validation=one.values[:, queries:],
                           examples=size)
             for size, one in zip(sizes, arms, strict=True)}
            for arms in (best, prompt)
        )  # fmt: skip
        held = choose({str(size): one for size, one in other.items()}, range(draws), 0.02)
        chosen = int(held.label)
        found = held_against(
            Curve(tuple(curve), tuple(curve.values())),
            Curve(tuple(other), tuple(other.values())),
            other[chosen],
            chosen,
        )
        gaps = {
            k: (tuned(k) - _prompted(prompted, k, chosen, sizes[-1]))
            * (1 if one.side == "tune" else -1)
            for one in found.ahead
            for k in (one.first, one.last)
        }
        counts[0] += any(gap <= 1e-9 for gap in gaps.values())
        for place, state in enumerate(("crossing", "none", "part"), start=1):
            counts[place] += found.state == state
    return tuple(counts / runs)


def _prompted(truth: Truth, k: int, chosen: int, largest: int) -> float:
    """Return the true score of the best prompt with k examples, as `held_against` means it."""
    own = truth(k) if k <= largest or chosen == largest else 0.0
    return max(own, truth(chosen) if k >= chosen else 0.0)


def crossing_table(runs: int) -> None:
    """Print how often crossings are told that are not, and that are."""
    print(
        f"\nShare of runs that tell what is false of who is ahead, and what is told; one of {WAYS}"
    )
    print("equally good ways of tuning is chosen on validation items, with the same draws")
    print(
        f"{'truth':<26}{'draws x queries':>15}{'false':>8}{'crossing':>10}{'none':>7}{'a part':>8}"
    )
    for name in PAIRS:
        for draws, queries in ((5, 60), (10, 200), (20, 1000)):
            rates = crossings(name, runs, draws=draws, queries=queries)
            print(
                f"{name:<26}{f'{draws} x {queries}':>15}{rates[0]:>8.3f}{rates[1]:>10.2f}"
                f"{rates[2]:>7.2f}{rates[3]:>8.2f}",
                flush=True,
            )


KNOWN, HELD_OUT, REAL_DRAWS = (4, 8, 16, 32), (64, 128, 256), 100


def rows_of(path: Path) -> list[tuple[str, str]]:
    """Return the (text, label) rows of a file."""
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return [(text, label) for text, label in list(csv.reader(file))[1:]]
        pairs = (line.rstrip("\n").split("\t") for line in file)
        return [(text, label) for text, label in pairs]


def bags(texts: Sequence[str]) -> scipy.sparse.csr_matrix:
    """Return which words each text has, 0 or 1 [texts, words]."""
    words: dict[str, int] = {}
    rows, columns = [], []
    for row, text in enumerate(texts):
        for word in sorted(set(re.findall(r"[a-z0-9']+", text.lower()))):
            rows.append(row)
            columns.append(words.setdefault(word, len(words)))
    shape = (len(texts), len(words))
    return scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def naive_bayes(seen, labels: np.ndarray, asked, classes: int) -> np.ndarray:
    """Return the labels that multinomial naive Bayes gives, with one of each word added."""
    counts = np.stack([np.asarray(seen[labels == c].sum(0)).ravel() + 1 for c in range(classes)])
    shares = counts / counts.sum(1, keepdims=True)
    prior = np.log(np.bincount(labels, minlength=classes) + 1)
    return (asked @ np.log(shares).T + prior).argmax(1)


def logistic(seen, labels: np.ndarray, asked, classes: int) -> np.ndarray:
    """Return the labels that multinomial logistic regression gives, its L2 penalty being 1."""
    kernel, wanted, many = (seen @ seen.T).toarray(), np.eye(classes)[labels], len(labels)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(many, classes)
        logits = kernel @ weights
        log_sums = scipy.special.logsumexp(logits, axis=1)
        value = (log_sums - (logits * wanted).sum(1)).sum() + (weights * logits).sum() / 2
        slope = kernel @ (np.exp(logits - log_sums[:, None]) - wanted + weights)
        return float(value), slope.ravel()

    start = np.zeros(many * classes)
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B").x
    return ((asked @ seen.T) @ found.reshape(many, classes)).argmax(1)


LEARNERS = {"naive Bayes": naive_bayes, "logistic": logistic}


def real_answers(path: Path, draws: int = REAL_DRAWS) -> tuple[dict[str, np.ndarray], float]:
    """Return whether each learner is right [sizes, draws, items], draws nested; and chance."""
    rows = rows_of(path)
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    cut = 2 * len(rows) // 3
    rows = rows[: cut + 1000]
    names = sorted({label for _, label in rows})
    labels = np.array([names.index(label) for _, label in rows])
    words = bags([text for text, _ in rows])
    sizes = (*KNOWN, *HELD_OUT)
    right = {name: np.zeros((len(sizes), draws, len(rows) - cut)) for name in LEARNERS}
    for draw in range(draws):
        order = np.random.default_rng([1, draw]).permutation(cut)
        for place, size in enumerate(sizes):
            own = order[:size]
            for name, learn in LEARNERS.items():
                given = learn(words[own], labels[own], words[cut:], len(names))
                right[name][place, draw] = given == labels[cut:]
    return right, 1 / len(names)


def real_table(paths: Sequence[Path], runs: int) -> None:
    """Print how often intervals from studies of a few draws cover means of all at larger sizes."""
    print(f"\nReal learning curves: coverage at {HELD_OUT} examples from {KNOWN}, and widths, of")
    print(f"{runs} studies of a few of {REAL_DRAWS} draws and of the test items")
    print(f"{'set':<22}{'what':<24}{'draws x queries':>15}{'covered':>18}{'width':>15}"
          f"{'true scores':>25}")  # fmt: skip
    for path in paths:
        right, chance = real_answers(path)
        means = {name: values.mean((1, 2)) for name, values in right.items()}
        for draws, queries in ((5, 60), (10, 200)):
            hits: dict[str, np.ndarray] = {}
            for run in range(runs):
                rng = np.random.default_rng([run, draws])
                chosen = rng.choice(REAL_DRAWS, draws, replace=False)
                items = rng.choice(right["logistic"].shape[2], queries, replace=False)
                curves = {
                    name: Curve(KNOWN, tuple(
                        Scores(values[place][np.ix_(chosen, items)], tuple(range(draws)),
                               floor=chance)
                        for place in range(len(KNOWN))
                    ))
                    for name, values in right.items()
                }  # fmt: skip
                bands = {name: curve_band(curve, HELD_OUT) for name, curve in curves.items()}
                bands["the difference"] = gap_band(*curves.values(), HELD_OUT)
                for name, band in bands.items():
                    true = (
                        means[name] if name in means else means["naive Bayes"] - means["logistic"]
                    )[-len(HELD_OUT) :]
                    found = [(band.low <= true) & (true <= band.high), band.high - band.low]
                    hits[name] = hits.get(name, 0) + np.array(found, float)
            for name, (covers, widths) in hits.items():
                scores = "".join(f"{100 * one:>6.1f}" for one in means[name][-4:]) \
                    if name in means else ""  # fmt: skip
                print(
                    f"{path.stem:<22}{name:<24}{f'{draws} x {queries}':>15}   "
                    + "".join(f"{one:>5.2f}" for one in covers / runs)
                    + "".join(f"{100 * one:>5.0f}" for one in widths / runs)
                    + f"   {scores}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="simulations in each row")
    parser.add_argument("--only", choices=("coverage", "crossing", "real"))
    parser.add_argument("--sets", type=Path, nargs="*", default=[], help="files of real text")
    given = parser.parse_args()
    if given.only in (None, "coverage"):
        coverage_table(given.runs)
    if given.only in (None, "crossing"):
        crossing_table(given.runs)
    if given.only in (None, "real") and given.sets:
        real_table(given.sets, given.runs)


if __name__ == "__main__":
    main()
