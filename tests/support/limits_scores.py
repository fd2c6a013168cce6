"""Simulated tables of scores of the limits study, in which what is true is known."""

import numpy as np
import pandas as pd

EXPOSURES = ("none", "little", "much")


def abilities_of(
    rng,
    *,
    bases=11,
    tasks=16,
    related=0.0,
    base=0.5,
    profile=0.5,
    difficulty=1.0,
    family=0.0,
    size=0.0,
):
    """In-context and tuned abilities [bases, tasks] that share difficulty, family and size alone.

    Beyond these, what a base does everywhere (`base`) and on one task (`profile`) correlates by
    `related`.
    """
    of_family, log_size = np.arange(bases) % 3, (np.arange(bases) // 3) % 3 - 1.0
    shared = difficulty * rng.normal(size=(1, tasks))
    shared = shared + family * rng.normal(size=(3, tasks))[of_family] + size * log_size[:, None]
    sides = []
    first = None
    for _ in range(2):
        own = base * rng.normal(size=(bases, 1)), profile * rng.normal(size=(bases, tasks))
        if first is not None:
            own = tuple(
                related * one + np.sqrt(1 - related**2) * other
                for one, other in zip(first, own, strict=True)
            )
        first = first or own
        sides.append(shared + own[0] + own[1])
    return sides[0], sides[1], of_family, log_size


def scores(
    icl,
    tuned,
    of_family,
    log_size,
    rng,
    *,
    models=4,
    noise=0.1,
    measured=0.03,
    scale=0.08,
    exposures=None,
    seen=None,
    variations=("",),
    by_variation=0.0,
    queries=100,
):
    """The long table: gold and regular rows of abilities around 0.5, chance 0.

    Args:
        icl: [bases, tasks], in units of `scale`.
        tuned: likewise, before noise of the tuned model on the task.
        of_family: [bases].
        log_size: [bases].
        rng: of all noise.
        models: tuned from each base.
        noise: of a tuned model on a task, in the same units.
        measured: standard deviation of the error of a half of the queries, a fraction of 1.
        scale: what a unit is, a fraction of 1.
        exposures: of the bases.
        seen: [models, tasks].
        variations: of the prompt.
        by_variation: standard deviation of their effects, in units.
        queries: behind each score.
    """
    bases, tasks = icl.shape
    rows = []

    def add(base, task, system, value, mixture="", seed=-1, variation="", is_seen=False):
        halves = np.clip(value + measured * rng.normal(size=2), 0, 1)
        rows.append({
            "model": f"base-{base}", "family": f"family-{of_family[base]}",
            "size": 1e6 * 4.0 ** log_size[base],
            "exposure": exposures[base] if exposures else "", "mixture": mixture, "seed": seed,
            "draw": 0, "system": system, "variation": variation, "task": f"task-{task:02}",
            "cluster": f"cluster-{task % 4}", "seen": is_seen, "scoring": "choice",
            "value": halves.mean(), "chance": 0.0, "floor": 0.0, "queries": queries,
            "unparsed": 0.0, "half_a": halves[0], "half_b": halves[1],
        })  # fmt: skip

    effects = by_variation * rng.normal(size=len(variations)) * (np.arange(len(variations)) > 0)
    for base in range(bases):
        for task in range(tasks):
            add(base, task, "gold", np.clip(0.5 + scale * icl[base, task], 0, 1))
            for model in range(models):
                own = tuned[base, task] + noise * rng.normal()
                for variation, effect in zip(variations, effects, strict=True):
                    value = np.clip(0.5 + scale * (own + effect), 0, 1)
                    is_seen = bool(seen[model, task]) if seen is not None else False
                    add(base, task, "regular", value, f"mixture-{model % 3}", model // 3,
                        variation, is_seen)  # fmt: skip
    return pd.DataFrame(rows)
