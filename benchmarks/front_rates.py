"""How often something false is told of several models together, and what is found, by simulation.

    python benchmarks/front_rates.py [--runs 100]

Each model has prompts, which cost more with every example, and tuned arms, which do not; each
costs more than the one before. Of every model the prompt and the tuned arm that validation chooses
are judged. Equal: all arms are equally good, so that "dominated" and "ahead" are false. Margin:
each model is better than the cheaper one by just the margin, so that "dominated" and "matched" are
false of its arms against the cheaper model's. Found: the cheapest model's tuned arms are 10 points
better than all else.
"""

import argparse

import numpy as np

from adaptlens.stats.scores import Scores
from adaptlens.studies.compare.arm_choice import choose
from adaptlens.studies.compare.front import Offer, standings

QUERIES, VALIDATION, MARGIN, FLIPS = 100, 50, 0.02, 199

CASES = {
    "two models, five draws": {"draws": 5},
    "two models, ten draws": {},
    "two models, thirty draws": {"draws": 30},
    "three models": {"models": 3},
    "nine tuned arms a model": {"tuned": 9},
    "heavy draw effects": {"spread": 0.6},
    "near the ceiling": {"level": 0.96},
    "at the ceiling: ties": {"level": 1.0, "spread": 0.0},
    "one draw in twenty fails": {"failing": 0.05},
    "no validation split": {"validation": False},
}
"""What is simulated: each case says in what it differs from the defaults of `offers`."""


def offers(
    rng: np.random.Generator,
    *,
    models: int = 2,
    tuned: int = 2,
    draws: int = 10,
    level: float = 0.75,
    spread: float = 0.2,
    failing: float = 0.0,
    step: float = 0.0,
    gain: float = 0.0,
    validation: bool = True,
) -> tuple[list[Offer], dict[str, float]]:
    """Return what can be had of every model, and how good each arm truly is, by its name.

    Args:
        rng: of everything random.
        models: how many.
        tuned: arms that are tuned, of each model.
        draws: of each arm.
        level: how good arms are.
        spread: of the draws' effects, in standard deviations of a query's difficulty.
        failing: share of draws that answer by chance, of the arms with more than one example.
        step: what each model is better by than the cheaper one.
        gain: what the first model's tuned arms are better by.
        validation: whether there is a validation split.
    """
    ease = rng.random(QUERIES + VALIDATION)
    found, truth = [], {}
    for m in range(models):
        for family, count in (("prompt", 2), ("tune", tuned)):
            arms = {}
            for i in range(count):
                good = min(1.0, level + step * m + (gain if family == "tune" and m == 0 else 0.0))
                label = f"{family}-{i}"
                # Answers to a query agree between arms; draws shift how many are right.
                shift = spread * 0.2 * rng.normal(size=(draws, 1)) if good < 1 else 0.0
                noise = (ease + 0.5 * rng.random((draws, ease.size))) % 1.0
                right = noise < np.clip(good + shift, 0, 1)
                fails = rng.random((draws, 1)) < failing
                right = np.where(fails, rng.random(right.shape) < 0.5, right)
                truth[f"{label} on m{m}"] = (1 - failing) * good + failing * 0.5
                arms[label] = Scores(
                    right[:, :QUERIES].astype(float),
                    tuple(range(draws)),
                    family,  # type: ignore[arg-type]
                    right[:, QUERIES:].astype(float) if validation else None,
                    cost=10.0 * (m + 1) * (1 + (i + 1) * (family == "prompt")),
                    floor=0.5,
                    examples=i,
                )
            if validation:
                judged = choose(arms, range(draws), MARGIN)
            else:
                judged = max(arms, key=lambda one: arms[one].values.mean())
                judged = choose({judged: arms[judged]}, range(draws), MARGIN)
            for label, scores in arms.items():
                mine = label == judged.label
                choice = judged if mine else choose({label: scores}, (), MARGIN)
                cost = scores.cost
                found.append(Offer(f"m{m}", label, label, choice, cost, cost, mine))
    return found, truth


def told(runs: int, case: dict[str, float], **more: float) -> tuple[float, float]:
    """Return the share of runs with any false claim, and that with any claim but "matched"."""
    false = claims = 0
    for run in range(runs):
        rng = np.random.default_rng([run, len(str(case)), len(more)])
        own, truth = offers(rng, **{**case, **more})  # type: ignore[arg-type]
        blind = bool(case.get("validation", True))
        wrong = claimed = False
        # Every pair counts there, and p is never below 1 / (flips + 1).
        flips = FLIPS if blind else 5 * FLIPS
        for one in standings(own, margin=MARGIN, blind=blind, seed=run, flips=flips):
            if one.against is None:
                continue
            better = truth[one.offer.name] - truth[one.against.name]
            wrong |= one.state == "dominated" and better >= -1e-9
            wrong |= one.state == "ahead" and better <= 1e-9
            wrong |= one.state == "matched" and better >= MARGIN - 1e-9
            claimed |= one.state in ("dominated", "ahead") and abs(better) > 1e-9
        false, claims = false + wrong, claims + claimed
    return false / runs, claims / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="simulations in each row")
    runs = parser.parse_args().runs
    print("Share of runs that tell anything false, of equal arms and of models a margin apart;")
    print("and that find the cheapest model's tuned arms, 10 points better than all else")
    print(f"{'case':<28}{'equal':>8}{'margin':>8}{'found':>8}")
    for name, case in CASES.items():
        rates = told(runs, case)[0], told(runs, case, step=MARGIN)[0]
        found = told(runs, case, gain=0.1)[1] if case.get("level", 0.75) <= 0.9 else np.nan
        print(f"{name:<28}{rates[0]:>8.3f}{rates[1]:>8.3f}{found:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
