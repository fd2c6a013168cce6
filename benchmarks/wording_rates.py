"""How often tuning is said to cost something in wording where it does not, and does, by simulation.

    python benchmarks/wording_rates.py [--runs 400]

Each draw is tuned on three of six templates (or as the case says) in turn, and read under all. In
the first column no template scores less for not being tuned on; templates, draws and both together
differ. In the second those not tuned on score 10 points less.
"""

import argparse
from typing import Any

import numpy as np
from scipy.special import ndtr

from adaptlens.prompts.template_turns import turn
from adaptlens.stats.scores import Scores
from adaptlens.stats.unseen_templates import unseen_less_seen
from gate_rates import FLIPS

CASES: dict[str, dict[str, Any]] = {
    "five draws": {"draws": 5},
    "six draws": {"draws": 6},
    "ten draws": {"draws": 10},
    "twenty draws": {"draws": 20},
    "two draws": {"draws": 2},
    "four draws": {"draws": 4},
    "five draws, tuned on one": {"draws": 5, "tuned_on": 1},
    "ten draws, tuned on five": {"draws": 10, "tuned_on": 5},
    "five draws, three templates": {"draws": 5, "templates": 3, "tuned_on": 2},
    "five draws, one template 30 points worse": {"draws": 5, "worse": 0.3},
    "ten draws, one template 30 points worse": {"draws": 10, "worse": 0.3},
    "five draws, near the ceiling": {"draws": 5, "level": 0.97},
    "ten draws, near the ceiling": {"draws": 10, "level": 0.97},
    "five draws, one in ten fails": {"draws": 5, "failing": 0.1},
    "ten draws, one in ten fails": {"draws": 10, "failing": 0.1},
    "five draws, one in ten fails in a template": {"draws": 5, "failing_in": 0.1},
    "ten draws, one in ten fails in a template": {"draws": 10, "failing_in": 0.1},
    "five draws, templates alike in pairs": {"draws": 5, "pairs": True, "both": 0.08},
    "ten draws, templates alike in pairs": {"draws": 10, "pairs": True, "both": 0.08},
    "five draws, gain or lose as draws": {"draws": 5, "by_draw": 0.1},
    "ten draws, gain or lose as draws": {"draws": 10, "by_draw": 0.1},
    "ten draws, gain or lose as templates": {"draws": 10, "by_template": 0.1},
    "ten draws, items in 12 groups": {"draws": 10, "groups": 12},
    "ten draws, half of the training file": {"draws": 10, "pool": 16},
}
"""What is simulated: each case says in what it differs from the defaults of `tuned`."""

LOSS = 0.1


def tuned(
    rng: np.random.Generator,
    loss: float,
    *,
    queries: int,
    draws: int,
    templates: int = 6,
    tuned_on: int = 3,
    level: float = 0.75,
    worse: float = 0.0,
    both: float = 0.04,
    failing: float = 0.0,
    failing_in: float = 0.0,
    pairs: bool = False,
    by_draw: float = 0.0,
    by_template: float = 0.0,
    groups: int = 0,
    pool: int | None = None,
) -> tuple[Scores, np.ndarray]:
    """Return right-or-wrong scores of a tuned condition, and who was tuned on which template.

    Args:
        rng: of everything random.
        loss: what a template costs that was not tuned on, a fraction of 1.
        queries: how many there are.
        draws: likewise.
        templates: likewise.
        tuned_on: on how many of them each draw is tuned.
        level: mean score before anything else.
        worse: what the first template costs everyone.
        both: standard deviation of what a draw does under one template; draws and templates alone
            have 0.05.
        failing: share of draws that answer by chance.
        failing_in: share of draws under one template that do.
        pairs: whether a draw does the same under two templates each.
        by_draw: standard deviation of the loss over draws.
        by_template: likewise over templates.
        groups: clusters of queries that are easy or hard together; 0 for none.
        pool: training examples that draws of 8 are taken from.
    """
    orders = int(rng.integers(2**31))
    seen = np.zeros((templates, draws), bool)
    for draw in range(draws):
        seen[list(turn(draw, tuned_on, templates, orders)), draw] = True
    own = rng.normal(0, both, (templates, draws))
    if pairs:
        own = own[np.arange(templates) // 2]
    cost = loss + rng.normal(0, by_draw, (1, draws)) + rng.normal(0, by_template, (templates, 1))
    mean = level + rng.normal(0, 0.05, (templates, 1)) + rng.normal(0, 0.05, (1, draws)) + own
    mean[0] -= worse
    mean = mean - cost * ~seen
    fails = (rng.random((1, draws)) < failing) | (rng.random((templates, draws)) < failing_in)
    mean = np.where(fails, 0.5, mean)
    group = np.arange(queries) % groups if groups else None
    hard = rng.normal(0, 0.3, queries) if group is None else rng.normal(0, 0.3, groups)[group]
    noise = hard + rng.normal(0, 0.15, (templates, 1, queries))
    noise = noise + rng.normal(0, 0.15, (1, draws, queries))
    noise = noise + rng.normal(0, 0.15, (templates, draws, queries))
    # Uniform again, so that the mean is the chance of a right answer.
    spread = (0.3**2 + 3 * 0.15**2) ** 0.5
    values = (ndtr(noise / spread) < mean[..., None]).astype(float)
    names = tuple(f"t{n}" for n in range(templates))
    scores = Scores(
        values, tuple(range(draws)), "tune", templates=names, groups=group, floor=0.5,
        examples=8, pool=pool,
    )  # fmt: skip
    return scores, seen


def told(runs: int, queries: int, case: dict[str, Any], loss: float = 0.0) -> float:
    """Return the share of runs in which a difference is told of."""
    count = 0
    for run in range(runs):
        rng = np.random.default_rng([run, queries, int(100 * loss), len(case)])
        scores, seen = tuned(rng, loss, queries=queries, **case)
        found = unseen_less_seen(scores, seen, seed=run, flips=FLIPS)
        count += found is not None and found.supports_claims and found.p <= 0.05
    return count / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="simulations in each row")
    given = parser.parse_args()
    print("Share of runs in which a loss in wording is told of: none there is, 10 points")
    print(f"{'case':<46}{'queries':>8}{'none':>8}{'10':>7}")
    for name, case in CASES.items():
        for queries in (60, 200):
            rates = [told(given.runs, queries, case, loss) for loss in (0.0, LOSS)]
            print(f"{name:<46}{queries:>8}{rates[0]:>8.3f}{rates[1]:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
