"""How often the convergence study's tests and claims are wrong, and what they can see.

    python benchmarks/claim_rates.py [--runs 200] [--only answers]

Similarities are simulated as a mean, an effect of the query (half of it common to all pairs of
conditions), an effect of the draw and noise, each correlated over the layers; where it says
states, hidden states are simulated and their centered cosine taken. Where it says answers, states
have a strong part that is the answer given, and the claim is judged with it and without it.
"""

import argparse

import numpy as np

from adaptlens.metrics.answer_out import answers_projected_out, steered, within_answers
from adaptlens.metrics.similarity import MEASURES
from adaptlens.stats import hypotheses, layerwise, trends
from adaptlens.stats.hypotheses import Hypothesis, implicit_tuning, judged
from adaptlens.stats.layerwise import Similarity

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
ANSWERS = (
    ("nothing but the answer", (), 0.0, False),
    ("the same, surer in some queries", (), 0.0, True),
    ("ICL, IT and SL, all", ("icl", "it", "sl"), 1.0, False),
    ("the same, surer in some queries", ("icl", "it", "sl"), 1.0, True),
    ("ICL and IT, a tenth", ("icl", "it"), 0.1, False),
    ("ICL and IT, a fifth", ("icl", "it"), 0.2, False),
    ("ICL and IT, all", ("icl", "it"), 1.0, False),
    ("the same, surer in some queries", ("icl", "it"), 1.0, True),
)
"""Who is alike within an answer, in how much of it, and whether the answer's part differs."""

CLASSES, ANSWER_SIZE, GUESSED, ANSWER_LAYERS = 2, 12.0, 0.05, 3
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


def similarities(rng, means, draws: int, effect: float) -> list[Similarity]:
    """The five similarities of the claim, with the true means given."""
    common = table(rng, draws, effect)
    values = [m + (common + table(rng, draws, effect)) / np.sqrt(2) for m in means]
    baseline = np.zeros((LAYERS, draws, QUERIES))
    return [likeness(one, baseline) for one in values]


def likeness(values: np.ndarray, baseline: np.ndarray) -> Similarity:
    """With a layer after the final norm, which no claim is about."""
    values, baseline = (np.concatenate([x, x[-1:]]) for x in (values, baseline))
    return Similarity(values, baseline, tuple(range(values.shape[1])))


def states(rng: np.random.Generator, draws: int, kind: str) -> list[Similarity]:
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
        compared = [MEASURES["centered"](x, y) for x, y in zip(left, right, strict=True)]
        parts = ("matched", "mismatched")
        out.append(likeness(*(np.stack([getattr(c, p) for c in compared]) for p in parts)))
    return out


def answering(rng, draws: int, alike: tuple[str, ...], share: float, graded: bool):
    """Similarities by three measures of conditions that answer alike, and of those that do not.

    ICL, IT and SL give the right answer but to a share `GUESSED` of the queries, each to its own;
    the anchor and the control guess always. States are the query's part, of which a share is common
    to those alike and the rest each one's own; the part of the answer given, along one axis per
    answer; and noise.
    """
    queries, layers = QUERIES, ANSWER_LAYERS
    shape = (layers, draws, queries, WIDTH)
    gold = rng.integers(CLASSES, size=queries)
    axes = np.linalg.qr(rng.normal(size=(WIDTH, CLASSES)))[0].T * ANSWER_SIZE
    size = np.exp(0.5 * rng.normal(size=queries)) if graded else np.ones(queries)
    common = rng.normal(size=(layers, 1, queries, WIDTH))
    found, answers = {}, {}
    for name in ("anchor", "icl", "it", "sl", "control"):
        guesses = name in ("anchor", "control")
        given = rng.integers(CLASSES, size=(draws, queries))
        if not guesses:
            given = np.where(rng.random(given.shape) < GUESSED, given, gold)
        own = rng.normal(size=(layers, 1, queries, WIDTH))
        if name in alike:
            own = np.sqrt(share) * common + np.sqrt(1 - share) * own
        part = (0.2 if guesses else 1.0) * size[:, None] * axes[given]
        found[name] = own + part + 0.5 * rng.normal(size=shape)
        answers[name] = given
    found["anchor"], answers["anchor"] = found["anchor"][:, :1], answers["anchor"][:1]
    found["steered"] = np.stack([steered(a, t, answers["it"]) for a, t in
                                 zip(found["anchor"], found["it"], strict=True)])  # fmt: skip
    answers["steered"] = answers["it"]
    readout = {name: np.stack([axes] * len(given)) for name, given in answers.items()}

    def compared(measure: str, pair: str) -> Similarity:
        a, b = pair.split("_")
        how = {
            "centered": MEASURES["centered"],
            "within": lambda x, y: within_answers(x, y, answers[a], answers[b]),
            "projected": lambda x, y: answers_projected_out(x, y, readout[a], readout[b]),
        }[measure]
        layers = [how(x, y) for x, y in zip(found[a], found[b], strict=True)]
        return likeness(*(np.stack([getattr(one, part) for one in layers])
                          for part in ("matched", "mismatched")))  # fmt: skip

    return compared


def answer_table(rng, runs: int) -> None:
    agreeing = 1 - GUESSED + GUESSED**2 / 2
    print(
        f"\nConditions that agree on {agreeing:.0%} of answers: share of runs with each answer to "
        "the claim, judged\nwith the answer in and no other route to it (centered), and with it out"
    )
    print(
        f"{'alike within an answer':33} {'draws':>5} {'centered':>9} {'within':>17} "
        f"{'projected':>17}"
    )
    print(f"{'':39} {'supported':>9} {'supported refuted':>17} {'supported refuted':>17}")
    draws = hypotheses.MINIMUM_DRAWS  # With more, errors are known better.
    for name, *truth in ANSWERS:
        found = {measure: [] for measure in ("centered", "within", "projected")}
        for run in range(runs):
            compared = answering(rng, draws, *truth)
            for measure, states in found.items():
                pairs = [compared(measure, pair) for pair in PAIRS]
                routes = (
                    {}
                    if measure == "centered"
                    else {route: compared(measure, f"icl_{route}") for route in ("sl", "steered")}
                )
                states.append(
                    implicit_tuning(
                        *pairs, routes=routes, margin=MARGIN, flips=FLIPS, seed=run
                    ).state
                )
        share = {
            measure: [states.count(x) / runs for x in ("supported", "refuted")]
            for measure, states in found.items()
        }
        print(f"{name:33} {draws:5} {share['centered'][0]:9.3f} "
              + " ".join(f"{share[m][0]:9.3f} {share[m][1]:7.3f}"
                         for m in ("within", "projected")), flush=True)  # fmt: skip


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
    print("\nTwelve hypotheses at once: share of runs with any false verdict")
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
                        Hypothesis(1, "", sign, layerwise.mean(
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
    names = ("clusters", "upper", "slope", "alone", "together", "within", "mean", "bins")
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
    # The null of a U that is easiest to mistake: its upper side rises, as much as a control's.
    rise = np.array([1.0, 0, 0, 0, 1.0])[:, None, None]
    upper, control = (layerwise.outer_less_middle(one + rise)[1]
                      for one in (values, table(rng.spawn(1)[0], draws, effect)))  # fmt: skip
    sides = [layerwise.mean(one, True).at_least() for one in (upper, upper - control)]
    y, x, other = (table(rng, draws, effect)[0] for _ in range(3))
    other = 0.6 * x + 0.8 * other
    alone, _ = trends.regression(y, {"x": x, "other": other})
    within, _ = trends.regression(y, {"x": x, "other": other}, within_queries=True)
    mean = layerwise.mean(values[0], True)
    runs = layerwise.clusters(values, True, flips=FLIPS, seed=seed)
    return {
        "clusters": min((one.p for one in runs), default=1.0) <= 0.05,
        "upper": max(sides) <= 0.05,
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
    parser.add_argument("--only", choices=("answers", "similarities"))
    given = parser.parse_args()
    print(f"{given.runs} runs a row (simulation error of a share of 5%: "
          f"{2 * np.sqrt(0.05 * 0.95 / given.runs):.3f}), {QUERIES} queries, {LAYERS} layers, "
          f"at least {hypotheses.MINIMUM_DRAWS} draws")  # fmt: skip
    if given.only != "answers":
        rng = np.random.default_rng(given.seed)
        for part in (test_table, claim_table, power_table, statement_table):
            part(rng, given.runs)
    if given.only != "similarities":
        answer_table(np.random.default_rng([given.seed, 2]), given.runs)


if __name__ == "__main__":
    main()
