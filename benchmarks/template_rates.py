"""How often tests and intervals over templates x draws x queries are wrong, by simulation.

    python benchmarks/template_rates.py [--runs 1000]

Right or wrong answers of two equally good conditions on 200 queries: a hidden sum of a query's
ease, what the draw and the template do to all queries, what the template does to one query and to
one draw, and noise, right where it is above a threshold. Both conditions are read under the same
templates. Half of what a template does is common to both. No draw has anything to lose (the floor
is 1), so that sampling is tested alone. The peer averages over templates first
and takes those that were used for the only ones there are.
"""

import argparse
import math

import numpy as np

from adaptlens.stats.intervals import difference, estimate
from adaptlens.stats.scores import Scores
from adaptlens.types import NO_DRAWS

QUERIES, FLIPS = 200, 499
EFFECTS = {"none": 0.0, "mild": 0.2, "heavy": 0.6}
DRAW_EFFECT = 0.3
LEVEL = 1.0


def answers(rng, ease, common, repeats, effect, drawn) -> np.ndarray:
    """Right or wrong [templates, repeats, queries]; with chance Phi(LEVEL) over all."""
    many, draws = common.size, DRAW_EFFECT if drawn else 0.0

    def normal(*shape):
        return rng.normal(size=shape)

    template = effect * (common[:, None, None] + normal(many, 1, 1)) / math.sqrt(2)
    hidden = ease + 0.5 * normal(QUERIES) + draws * normal(repeats, 1) + template
    hidden = hidden + effect * (normal(many, 1, QUERIES) + normal(many, repeats, 1) * drawn / 2)
    hidden = hidden + normal(many, repeats, QUERIES)
    variance = 1 + 0.25 + draws**2 + effect**2 * (2 + drawn / 4) + 1
    return (hidden / math.sqrt(variance) + LEVEL > 0).astype(float)


def pair(rng, templates: int, repeats: int, effect: float) -> tuple[Scores, Scores]:
    """Two equally good conditions; without draws where `repeats` is 1."""
    ease, common, drawn = rng.normal(size=QUERIES), rng.normal(size=templates), repeats > 1
    draws = tuple(range(repeats)) if drawn else NO_DRAWS
    names = tuple(f"t{i}" for i in range(templates))
    sides = [answers(rng, ease, common, repeats, effect, drawn) for _ in range(2)]
    left, right = (Scores(side, draws, templates=names, floor=1.0) for side in sides)
    return left, right


def table(runs: int) -> None:
    print("No true difference: share of runs with p <= 0.05; coverage of 95% intervals of a")
    print(
        f"difference and of a score (simulation error {1.96 * math.sqrt(0.05 * 0.95 / runs):.3f})"
    )
    print(
        f"{'templates differ':17}{'templates':>10}{'draws':>6}{'ours':>8}{'templates fixed':>17}"
        f"{'covers':>8}{'score covers':>14}"
    )
    truth = (1 + math.erf(LEVEL / math.sqrt(2))) / 2
    for name, effect in EFFECTS.items():
        for templates in (1, 2, 3, 6):
            for repeats in (1, 5, 10):
                rng = np.random.default_rng([templates, repeats])
                counts = np.zeros(4)
                for run in range(runs):
                    sides = pair(rng, templates, repeats, effect)
                    found = difference(*sides, seed=run, flips=FLIPS)
                    fixed = [Scores(s.values.mean(0), s.draws, floor=1.0) for s in sides]
                    score = estimate(sides[0], seed=run, flips=FLIPS)
                    counts += (
                        found.p <= 0.05,
                        difference(*fixed, seed=run, flips=FLIPS).p <= 0.05,
                        found.low <= 0 <= found.high,
                        score.low <= truth <= score.high,
                    )
                ours, peer, covers, of_score = counts / runs
                print(
                    f"{name:17}{templates:10}{repeats if repeats > 1 else '-':>6}{ours:8.3f}"
                    f"{peer:17.3f}{covers:8.3f}{of_score:14.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="simulations in each row")
    table(parser.parse_args().runs)
