"""How often the numbers, tests and claims of circuit shift are wrong, and what they can see.

    python benchmarks/shift_rates.py [--runs 100] [--only TABLE]

Claims are judged as `study implicit` judges them, at its margin of 0.1. Effects of units are
simulated as a true profile, an effect of the query (half of it common to all conditions, which have
the same queries), an effect of the draw or seed, and noise.
"""

import argparse
from dataclasses import replace

import numpy as np

from adaptlens.circuits.distance import correlation, distance, strength
from adaptlens.circuits.nulls import exchange_test, unit_tests
from adaptlens.circuits.overlap import overlap_curve
from adaptlens.circuits.profiles import Patched
from adaptlens.circuits.shift_claims import no_shift, shift_claim
from adaptlens.circuits.transfer import transfer
from adaptlens.stats.resampling import interval, resamples
from adaptlens.studies.implicit.config import CIRCUIT
from adaptlens.types import NO_DRAWS

HEADS, QUERIES, BOOTSTRAPS, FLIPS = 32, 64, 400, 399
MARGIN: float = CIRCUIT["margin"]
UNITS = tuple(f"L{i // 8}.H{i % 8}" for i in range(HEADS)) + tuple(f"L{i}.MLP" for i in range(4))
MEMBERS = {1: 0.5, 5: 0.3, 12: 0.3, 20: -0.2, 33: 0.4, 35: 0.6}
BY_QUERY, NOISE = 0.3, 0.3
EFFECTS = {"none": 0.0, "mild": 0.05, "heavy": 0.2}
"""Standard deviation of draw effects, beside noise and query effects of 0.3 and effects of 0.4."""


def profile(place: int = 0, scale: float = 1.0) -> np.ndarray:
    """A circuit of six units; another place has other members of the same sizes."""
    found = np.zeros(len(UNITS))
    for unit, share in MEMBERS.items():
        found[(unit + place) % len(UNITS)] = scale * share
    return found


def mixed(place: int, share: float) -> np.ndarray:
    """A profile a share of the way from the first place to another."""
    return (1 - share) * profile() + share * profile(place)


def normal(rng: np.random.Generator, shape: tuple[int, ...], tails: str) -> np.ndarray:
    """Numbers of variance 1, or Student's t with 3 degrees of freedom scaled to it."""
    if tails == "heavy":
        return rng.standard_t(3, size=shape) / np.sqrt(3)
    return rng.normal(size=shape)


def simulate(
    rng: np.random.Generator, profiles: dict[str, np.ndarray], *, draws: int, effect: float,
    tails: str = "normal", one: tuple[str, ...] = (), queries: int = QUERIES,
) -> dict[str, Patched]:  # fmt: skip
    """One condition for each true profile; those in `one` have no draws, all others their own."""
    units = len(next(iter(profiles.values())))
    common = normal(rng, (1, queries, units), tails)
    out = {}
    for number, (name, true) in enumerate(profiles.items()):
        rows = 1 if name in one else draws
        by_query = BY_QUERY * (common + normal(rng, (1, queries, units), tails)) / np.sqrt(2)
        by_draw = 0.0 if name in one else effect * normal(rng, (rows, 1, units), tails)
        noise = NOISE * normal(rng, (rows, queries, units), tails)
        gap = 3 + 0.5 * normal(rng, (1, queries), tails) + 0.5 * normal(rng, (rows, queries), tails)
        corrupt = -1 + normal(rng, (rows, queries), tails)
        changes = gap[..., None] * true + 3 * (by_query + by_draw + noise)
        out[name] = Patched(
            name, UNITS[:units], corrupt[..., None] + changes, corrupt + gap, corrupt,
            np.zeros((rows, queries)),
            draws=NO_DRAWS if name in one else tuple(range(100 * number, 100 * number + rows)),
        )  # fmt: skip
    return out


def rows():
    for draws in (5, 10):
        for effects in EFFECTS:
            for tails in ("normal", "heavy"):
                yield draws, effects, tails


def equal_table(rng, runs: int) -> None:
    print(
        "\nEqual circuits, other draws: mean of each number (error of its mean), and share of runs"
    )
    print("with p <= 0.05 or an interval without the truth; 'by flips': flips of queries alone")
    names = ("naive D", "r", "J*", "D p", "D out", "units", "by flips", "q", "strength")
    print(f"{'draws':>5} {'effects':>7} {'tails':>6} {'D_cv':>15} "
          + " ".join(f"{name:>8}" for name in names))  # fmt: skip
    for draws, effects, tails in rows():
        found = []
        for run in range(runs):
            pair = simulate(rng, {"a": profile(), "b": profile()}, draws=draws,
                            effect=EFFECTS[effects], tails=tails)  # fmt: skip
            a, b = pair["a"], pair["b"]
            shift = distance(a, b)
            mean = interval(shift, bootstraps=BOOTSTRAPS, flips=0, seed=run)
            force = interval(strength(a, b), bootstraps=BOOTSTRAPS, flips=0, seed=run)
            naive = 2 * np.square(a.effect_profile - b.effect_profile).sum()
            naive /= np.square(a.effect_profile).sum() + np.square(b.effect_profile).sum()
            curve = overlap_curve(a, b, shares=(0.15,), splits=20, seed=run)[0]
            units = unit_tests(a, b, flips=FLIPS, seed=run)
            drawless = (Patched(c.name, c.units, *(
                array.mean(0, keepdims=True) for array in (c.patched, c.clean, c.corrupt, c.floor)
            )) for c in (a, b))  # fmt: skip
            flips = unit_tests(*drawless, flips=FLIPS, seed=run)
            found.append((
                shift.value, naive, correlation(a, b).corrected, curve.corrected, mean.p <= 0.05,
                not mean.low <= 0 <= mean.high, units.p_family.min() <= 0.05,
                flips.p_family.min() <= 0.05, units.q.min() <= 0.05,
                not force.low <= 0 <= force.high,
            ))  # fmt: skip
        table = np.array(found, float)
        means, error = np.nanmean(table, 0), table[:, 0].std() / np.sqrt(runs)
        print(f"{draws:5} {effects:>7} {tails:>6} {means[0]:+7.4f}({error:.4f}) "
              + " ".join(f"{x:8.3f}" for x in means[1:]), flush=True)  # fmt: skip


def known_table(rng, runs: int) -> None:
    print("\nShifts of known size: mean of D_cv, share of 95% intervals that leave the truth out")
    print("(all, percentiles of the bootstrap alone, Student's t alone)")
    print(f"{'draws':>5} {'effects':>7} {'tails':>6} {'true D':>7} {'D_cv':>7} {'all':>6} "
          f"{'boot':>6} {'t':>6}")  # fmt: skip
    for draws, effects, tails in rows():
        for share in (0.25, 1.0):
            true = {"a": profile(), "b": mixed(3, share)}
            size = true_distance(*true.values())
            out = np.zeros(4)
            for run in range(runs):
                pair = simulate(rng, true, draws=draws, effect=EFFECTS[effects], tails=tails)
                shift = distance(pair["a"], pair["b"])
                mean = interval(shift, bootstraps=BOOTSTRAPS, flips=0, seed=run)
                plain = interval(shift, bootstraps=0, flips=0, seed=run)
                weights = resamples(
                    tuple(shift.influence), QUERIES, bootstraps=BOOTSTRAPS, seed=run
                )
                low, high = np.nanquantile(shift.resampled(weights), (0.025, 0.975))
                out += (shift.value, not mean.low <= size <= mean.high, not low <= size <= high,
                        not plain.low <= size <= plain.high)  # fmt: skip
            out /= runs
            print(f"{draws:5} {effects:>7} {tails:>6} {size:7.3f} {out[0]:7.3f} "
                  + " ".join(f"{x:6.3f}" for x in out[1:]), flush=True)  # fmt: skip


def true_distance(p: np.ndarray, q: np.ndarray) -> float:
    return float(2 * np.square(p - q).sum() / (np.square(p).sum() + np.square(q).sum()))


FARTHER = {
    "neither shifts": (profile(), profile()),
    "both to one place": (profile(3), profile(3)),
    "as far, to other places": (profile(3), profile(9)),
    "as far, half of the way": (mixed(3, 0.5), mixed(9, 0.5)),
    "ICL half of the way, tuning stays": (mixed(3, 0.5), profile()),
    "ICL all the way, tuning stays": (profile(3), profile()),
    "tuning all the way, ICL stays": (profile(), profile(3)),
}


def claim_table(rng, runs: int) -> None:
    print("\nICL shifts circuits more than tuning: share of runs with p <= 0.05 of the difference")
    print(
        "(all, percentiles of the bootstrap alone, exchanged repeats alone), and with each answer;"
    )
    print("'false': supported where it is not so beyond the margin, or refuted where it is")
    print(f"{'truth':34} {'draws':>5} {'effects':>7} {'all':>6} {'boot':>6} "
          f"{'deals':>6} {'supp.':>6} {'refut.':>6} {'false':>6}")  # fmt: skip
    for name, (icl, it) in FARTHER.items():
        for draws in (5, 10):
            for effects in ("mild", "heavy"):
                out = np.zeros(5)
                for run in range(runs):
                    truths = {"zero-shot": profile(), "icl": icl, "it": it}
                    found = simulate(rng, truths, draws=draws, effect=EFFECTS[effects],
                                     one=("zero-shot",))  # fmt: skip
                    claim = shift_claim(*found.values(), margin=MARGIN, bootstraps=BOOTSTRAPS,
                                        flips=FLIPS, seed=run)  # fmt: skip
                    quantity = (distance(found["zero-shot"], found["icl"])
                                - distance(found["zero-shot"], found["it"]))  # fmt: skip
                    weights = resamples(tuple(quantity.influence), QUERIES, bootstraps=BOOTSTRAPS,
                                        seed=run)  # fmt: skip
                    low, high = np.nanquantile(quantity.resampled(weights), (0.025, 0.975))
                    out += (claim.parts[0].hypothesis.mean.p <= 0.05, not low <= 0 <= high,
                            exchange_test(*found.values()) <= 0.05, claim.state == "supported",
                            claim.state == "refuted")  # fmt: skip
                out /= runs
                truth = true_distance(profile(), icl) - true_distance(profile(), it)
                false = out[4] if truth > MARGIN else out[3]
                print(f"{name:34} {draws:5} {effects:>7} "
                      + " ".join(f"{x:6.3f}" for x in (*out, false)), flush=True)  # fmt: skip


LEFT_ALONE = {
    "the same": (0.0, 0.0),
    "all at the margin": (MARGIN, 0.0),
    "all three times as far": (3 * MARGIN, 0.0),
    "a fifth of the draws elsewhere": (0.0, 0.2046),
}
"""Distance of every draw's profile from zero-shot's; share of draws with nothing in common."""


def no_shift_table(rng, runs: int) -> None:
    print(
        f"\nThe circuit is left as it is, margin {MARGIN:g}: share of runs shown to lie within the"
    )
    print(
        "margin whatever draws were not seen, and with each answer, by the true distance; 'false':"
    )
    print("supported from the margin on, or refuted where there is none")
    print(f"{'truth':31} {'draws':>5} {'effects':>7} {'true D':>7} {'within':>6} {'supp.':>6} "
          f"{'refut.':>6} {'false':>6}")  # fmt: skip
    share = np.linspace(0, 1, 2001)
    sizes = np.array([true_distance(profile(), mixed(3, s)) for s in share])
    for name, (size, elsewhere) in LEFT_ALONE.items():
        near = mixed(3, float(share[np.abs(sizes - size).argmin()]))
        true = true_distance(profile(), (1 - elsewhere) * near + elsewhere * profile(9))
        for draws in (5, 10, 20):
            for effects in ("mild", "heavy"):
                out = np.zeros(3)
                for run in range(runs):
                    zero, adapted, _ = left_alone(rng, near, elsewhere, draws, EFFECTS[effects])
                    (one,) = no_shift(zero, {"": adapted}, margin=MARGIN, bootstraps=BOOTSTRAPS,
                                      flips=FLIPS, seed=run)  # fmt: skip
                    out += (f"within {MARGIN:g} of none" in one.line, one.state == "supported",
                            one.state == "refuted")  # fmt: skip
                out /= runs
                false = out[1] if true >= 0.99 * MARGIN else out[2]
                print(f"{name:31} {draws:5} {effects:>7} {true:7.3f} "
                      + " ".join(f"{x:6.3f}" for x in (*out, false)), flush=True)  # fmt: skip


def left_alone(
    rng, near: np.ndarray, elsewhere: float, draws: int, effect: float
) -> tuple[Patched, Patched, Patched]:
    """Zero-shot; a condition of which a share of draws has another's profile; one without."""
    lost = rng.random(draws) < elsewhere
    truths = {"zero-shot": profile(), "near": near, "elsewhere": profile(9), "it": near}
    found = simulate(rng, truths, draws=draws, effect=effect, one=("zero-shot",))
    one, other = found["near"], found["elsewhere"]
    arrays = {name: np.where(lost.reshape(-1, *[1] * (getattr(one, name).ndim - 1)),
                             getattr(other, name), getattr(one, name))
              for name in ("patched", "clean", "corrupt", "floor")}  # fmt: skip
    return found["zero-shot"], replace(one, name="adapted", **arrays), found["it"]


def unseen_table(rng, runs: int) -> None:
    print(f"\nICL's circuit is elsewhere in a fifth of draws, so that it shifts by {MARGIN:g} more "
          "than")  # fmt: skip
    print("tuning: share of runs in which that is refuted; by the draws made alone, and as judged")
    print(f"{'draws':>5} {'effects':>7} {'alone':>6} {'judged':>6}")
    for draws in (5, 10, 14, 20):
        for effects in ("mild", "heavy"):
            out = np.zeros(2)
            for run in range(runs):
                found = left_alone(rng, profile(), 0.2046, draws, EFFECTS[effects])
                claim = shift_claim(*found, margin=MARGIN, bootstraps=BOOTSTRAPS, flips=FLIPS,
                                    seed=run)  # fmt: skip
                out += claim.parts[0].state == "refuted", claim.state == "refuted"
            print(f"{draws:5} {effects:>7} " + " ".join(f"{x:6.3f}" for x in out / runs),
                  flush=True)  # fmt: skip


def transfer_table(rng, runs: int) -> None:
    print("\nFunctional transfer: share of 95% intervals that leave out the true T")
    print(f"{'draws':>5} {'effects':>7} {'true T':>7} {'T':>7} {'out':>6} {'undef.':>6}")
    for draws in (5, 10):
        for effects in ("mild", "heavy"):
            for true in (0.0, 0.5, 1.0):
                found = [one_transfer(rng, true, draws, EFFECTS[effects], run)
                         for run in range(runs)]  # fmt: skip
                kept = [(one.value, not one.low <= true <= one.high)
                        for one in found if np.isfinite(one.value)]  # fmt: skip
                value, out = np.mean(kept, 0)
                print(f"{draws:5} {effects:>7} {true:7.2f} {value:7.3f} {out:6.3f} "
                      f"{1 - len(kept) / runs:6.3f}", flush=True)  # fmt: skip


def one_transfer(rng, true: float, draws: int, effect: float, seed: int):
    """Own circuits do 0.8, random ones 0.2 (each set more or less); queries are common to all."""
    common = 0.3 * rng.normal(size=(1, QUERIES))

    def table(level) -> np.ndarray:
        by_draw = effect * rng.normal(size=(draws, 1))
        return level + common + by_draw + 0.3 * rng.normal(size=(draws, QUERIES))

    random = 0.2 + 0.1 * rng.normal(size=(20, 1, 1)) + table(0.0)
    return transfer(table(0.2 + 0.6 * true), table(0.8), random, draws=tuple(range(draws)),
                    bootstraps=BOOTSTRAPS, seed=seed).found  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(PARTS), action="append")
    given = parser.parse_args()
    error = 2 * np.sqrt(0.05 * 0.95 / given.runs)
    print(f"{given.runs} runs a row (simulation error of a share of 5%: {error:.3f}), "
          f"{QUERIES} queries, {len(UNITS)} units")  # fmt: skip
    for name, part in PARTS.items():
        if given.only is None or name in given.only:
            part(np.random.default_rng(given.seed), given.runs)


PARTS = {
    "equal": equal_table,
    "known": known_table,
    "claim": claim_table,
    "no-shift": no_shift_table,
    "unseen": unseen_table,
    "transfer": transfer_table,
}


if __name__ == "__main__":
    main()
