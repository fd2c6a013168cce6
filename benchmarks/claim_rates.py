"""How often the convergence study's tests and claims are wrong, and what they can see.

    python benchmarks/claim_rates.py [--runs 200]

Similarities are simulated as a mean, an effect of the query (half of it common to all pairs of
conditions), an effect of the draw and noise, each correlated over the layers; where it says
states, hidden states are simulated and their centred cosine taken.
"""

import argparse

import numpy as np

from adaptlens import claims, layered, trends
from adaptlens.claims import Statement, implicit_tuning, judged
from adaptlens.layered import Likeness
from adaptlens.similarity import MEASURES

LAYERS, QUERIES, WIDTH, FLIPS, MARGIN = 5, 40, 64, 499, 0.05
NOISE, BY_QUERY, CARRY = 0.1, 0.1, 0.8
EFFECTS = {"none": 0.0, "mild": 0.03, "heavy": 0.1}
"""Standard deviation of draw effects, beside noise and query effects of 0.1."""

STATES = {
    "shuffled": ("states: queries shuffled between conditions", "either"),
    "no tuning": ("states: tuning changes nothing", "either"),
    "each its own way": ("states: each moves its own way", "supported"),
    "all the same way": ("states: ICL, IT and control move alike", "supported"),
    "the same": ("states: ICL and IT do the same", "refuted"),
}
PAIRS = ("icl_it", "anchor_icl", "anchor_it", "icl_control", "anchor_control")
FALSE = {
    "IT is no nearer than the control's tuning": ((0.6, 0.3, 0.3, 0.6, 0.3), "supported"),
    "as near as the anchor, control far": ((0.4, 0.4, 0.2, 0.1, 0.2), "supported"),
    "at the margin over the anchor ~ ICL": ((0.45, 0.4, 0.1, 0.1, 0.1), "either"),
    "at the margin over both anchors": ((0.45, 0.4, 0.4, 0.1, 0.1), "either"),
    "at the margin over the control": ((0.65, 0.3, 0.3, 0.6, 0.3), "either"),
    "at the margin over all four": ((0.45, 0.4, 0.4, 0.4, 0.4), "either"),
    "well above the margin": ((0.7, 0.4, 0.3, 0.4, 0.4), "refuted"),
}


def along_layers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers [layers, ...], each layer like the one before."""
    out = rng.normal(size=(LAYERS, *shape))
    for layer in range(1, LAYERS):
        out[layer] = CARRY * out[layer - 1] + np.sqrt(1 - CARRY**2) * out[layer]
    return out


def table(rng: np.random.Generator, draws: int, effect: float) -> np.ndarray:
    """Values [layers, draws, queries] around 0."""
    by_query = BY_QUERY * along_layers(rng, (1, QUERIES))
    by_draw = effect * along_layers(rng, (draws, 1))
    return by_query + by_draw + NOISE * along_layers(rng, (draws, QUERIES))


def similarities(rng, means, draws: int, effect: float) -> list[Likeness]:
    """The five similarities of the claim, with the true means given."""
    common = table(rng, draws, effect)
    values = [m + (common + table(rng, draws, effect)) / np.sqrt(2) for m in means]
    baseline = np.zeros((LAYERS, draws, QUERIES))
    return [likeness(one, baseline) for one in values]


def likeness(values: np.ndarray, baseline: np.ndarray) -> Likeness:
    """With a layer after the final norm, which no claim is about."""
    values, baseline = (np.concatenate([x, x[-1:]]) for x in (values, baseline))
    return Likeness(values, baseline, tuple(range(values.shape[1])))


def states(rng: np.random.Generator, draws: int, kind: str) -> list[Likeness]:
    """The five similarities of simulated states, every state its anchor's plus what moved it."""
    shape, of_query = (LAYERS, draws, QUERIES, WIDTH), (LAYERS, 1, QUERIES, WIDTH)
    anchor = np.broadcast_to(rng.normal(size=of_query), shape)
    common = 2 * rng.normal(size=of_query)
    own = {name: 2 * rng.normal(size=of_query) for name in ("icl", "it", "control")}
    moves = {
        "the same": (common, common, own["control"]),
        "shuffled": (common, common, own["control"]),
        "no tuning": (common, None, own["control"]),
        "each its own way": (own["icl"], own["it"], own["control"]),
        "all the same way": (common, common, common),
    }[kind]
    found = {"anchor": anchor}
    for name, move in zip(own, moves, strict=True):
        found[name] = anchor if move is None else anchor + move + rng.normal(size=shape)
    if kind == "shuffled":
        found = {name: one[:, :, rng.permutation(QUERIES)] for name, one in found.items()}
    out = []
    for pair in PAIRS:
        left, right = (found[name] for name in pair.split("_"))
        compared = [MEASURES["centred"](x, y) for x, y in zip(left, right, strict=True)]
        parts = ("matched", "mismatched")
        out.append(likeness(*(np.stack([getattr(c, p) for c in compared]) for p in parts)))
    return out


def claim_shares(rng, runs: int, simulate) -> dict[str, float]:
    """Share of each answer to the claim."""
    answers = [
        implicit_tuning(*simulate(rng), margin=MARGIN, flips=FLIPS, seed=run).state
        for run in range(runs)
    ]
    return {state: answers.count(state) / runs for state in ("supported", "refuted", "not decided")}


def claim_table(rng, runs: int) -> None:
    print(f"\nThe claim, margin {MARGIN}: share of runs with each answer")
    print(f"{'truth':43} {'draws':>5} {'effects':>7} {'supported':>9} {'refuted':>8} {'false':>6}")

    def row(name, draws, effects, simulate, false) -> None:
        found = claim_shares(rng, runs, simulate)
        wrong = {"supported": found["supported"], "refuted": found["refuted"]}
        share = sum(wrong.values()) if false == "either" else wrong[false]
        print(f"{name:43} {draws:5} {effects:>7} {found['supported']:9.3f} "
              f"{found['refuted']:8.3f} {share:6.3f}", flush=True)  # fmt: skip

    for draws in (5, 10):
        for kind, (name, false) in STATES.items():
            row(name, draws, "-", lambda r, d=draws, k=kind: states(r, d, k), false)
        for name, (means, false) in FALSE.items():
            for effects in ("mild", "heavy"):
                row(name, draws, effects,
                    lambda r, m=means, d=draws, e=effects: similarities(r, m, d, EFFECTS[e]),
                    false)  # fmt: skip


def power_table(rng, runs: int) -> None:
    print("\nPower: share supported, by the true least excess")
    excesses = (0.1, 0.15, 0.2, 0.3)
    print(f"{'draws':>5} {'effects':>7} " + " ".join(f"{x:>6}" for x in excesses))
    for draws in (5, 10, 30):
        for effects in ("mild", "heavy"):
            shares = [
                claim_shares(
                    rng,
                    runs,
                    lambda r, x=x, d=draws, e=effects: similarities(
                        r, (0.3 + x, 0.3, 0.3, 0.2, 0.3), d, EFFECTS[e]
                    ),
                )["supported"]
                for x in excesses
            ]
            print(f"{draws:5} {effects:>7} " + " ".join(f"{x:6.3f}" for x in shares), flush=True)


def statement_table(rng, runs: int) -> None:
    print("\nTwelve statements at once: share of runs with any false verdict")
    print(f"{'truth':43} {'draws':>5} {'effects':>7} {'any false':>9} {'decided':>8}")
    truths = {
        "no effects, effects are claimed": (0.0, 1, "supported"),
        "effects at the margin, effects are claimed": (MARGIN, 1, "refuted"),
        "effects at the margin, none is claimed": (MARGIN, 0, "supported"),
        "no effects, none is claimed": (0.0, 0, "refuted"),
    }
    for draws in (5, 10):
        for name, (truth, sign, false) in truths.items():
            for effects in ("mild", "heavy"):
                wrong = decided = 0.0
                for _ in range(runs):
                    rows = [
                        Statement(1, "", sign, layered.mean(
                            truth + table(rng, draws, EFFECTS[effects])[0], True))
                        for _ in range(12)
                    ]  # fmt: skip
                    found = [one.state for one in judged(rows, margin=MARGIN)]
                    wrong += false in found
                    decided += np.mean([state != "not decided" for state in found])
                print(f"{name:43} {draws:5} {effects:>7} {wrong / runs:9.3f} "
                      f"{decided / runs:8.3f}", flush=True)  # fmt: skip


def test_table(rng, runs: int) -> None:
    print("\nNo effect: share with p <= 0.05; share of 95% intervals of means and bins that cover")
    names = ("clusters", "U", "slope", "alone", "together", "within", "mean", "bins")
    print(f"{'draws':>5} {'effects':>7} " + " ".join(f"{name:>8}" for name in names))
    for draws in (5, 10):
        for effects, size in EFFECTS.items():
            found = dict.fromkeys(names, 0.0)
            for run in range(runs):
                for name, value in one_run(rng, draws, size, run).items():
                    found[name] += value / runs
            print(f"{draws:5} {effects:>7} "
                  + " ".join(f"{found[name]:8.3f}" for name in names), flush=True)  # fmt: skip


def one_run(rng, draws: int, effect: float, seed: int) -> dict[str, float]:
    values = table(rng, draws, effect)
    # The null of a U that is easiest to mistake: one side is up, the other level with the middle.
    one_sided = values + np.array([1.0, 0, 0, 0, 0])[:, None, None]
    y, x, other = (table(rng, draws, effect)[0] for _ in range(3))
    other = 0.6 * x + 0.8 * other
    alone, _ = trends.regression(y, {"x": x, "other": other})
    within, _ = trends.regression(y, {"x": x, "other": other}, within_queries=True)
    mean = layered.mean(values[0], True)
    runs = layered.clusters(values, True, flips=FLIPS, seed=seed)
    return {
        "clusters": min((one.p for one in runs), default=1.0) <= 0.05,
        "U": layered.u_shape(one_sided, True).is_u,
        "slope": trends.slope(values, range(LAYERS)).p <= 0.05,
        "alone": alone.alone.p <= 0.05,
        "together": alone.together.p <= 0.05,
        "within": within.together.p <= 0.05,
        "mean": mean.low <= 0 <= mean.high,
        "bins": float(np.mean([b.low <= 0.5 * b.x <= b.high
                               for b in trends.bins(y + 0.5 * x, x, 5)])),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print(f"{given.runs} runs a row (simulation error of a share of 5%: "
          f"{2 * np.sqrt(0.05 * 0.95 / given.runs):.3f}), {QUERIES} queries, {LAYERS} layers, "
          f"at least {claims.MINIMUM_DRAWS} draws")  # fmt: skip
    for part in (test_table, claim_table, power_table, statement_table):
        part(rng, given.runs)


if __name__ == "__main__":
    main()
