"""Runs whose cells hold random answers instead of a model's: any plan is finished in a moment."""

from pathlib import Path
from typing import Any

import numpy as np

from adaptlens.cells import Cell, Study
from adaptlens.store import Run
from adaptlens.studies.compare import plan as comparison
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.driver import write_plan
from adaptlens.types import Task

FEW: dict[str, Any] = {
    "models": ["reference"],
    "tasks": ["sentiment-novel"],
    "shots": [0, 2],
    "tuning": ["it"],
    "sizes": [2],
    "draws": 2,
    "queries": 6,
    "validation": 4,
    "num_templates": 2,
    "search": False,
}
PER_QUERY = ("query_flops", "query_flops_cached", "query_tokens", "cached_tokens", "answer_tokens")


def compared(folder: Path, **changes: Any) -> Run:
    """A finished comparison."""
    study = comparison.plan(compare_config(**{**FEW, **changes}))
    run = Run.open(folder, create=True)
    write_plan(run, study)
    for place, cell in enumerate(study.cells):
        fill(run, study, cell, np.random.default_rng(place))
    return run


def fill(run: Run, study: Study, cell: Cell, rng: np.random.Generator) -> None:
    """Finish a cell: answers at random, tuned models a little better, prompts a little dearer."""
    task = study.tasks[cell.task.digest]
    names = [one.name for one in task.templates]
    draws, ways = len(cell.draws), max(1, len(names))
    tuned = cell.adaptation.name in comparison.TUNING
    arrays = {
        f"behavior.{name}": array
        for prefix, rows in (("", draws * ways), ("validation_", draws))
        for name, array in answers(task, prefix, rows, rng).items()
    }
    shown = 10.0 * (1 + int(cell.adaptation.arguments.get("examples", 0)) * (not tuned))
    costs = dict.fromkeys(PER_QUERY, shown)
    arrays |= {f"cost.{name}": np.full(draws * ways, value) for name, value in costs.items()}
    numbers = {"peak_bytes": 1e6, "query_seconds": 0.01, "query_seconds_cached": 0.01, **costs}
    training: dict[str, Any] = {}
    if tuned:
        spent = ("flops", "flops_computed", "tried_flops", "tried_flops_computed", "search_flops",
                 "seconds_amortized", "trained_parameters")  # fmt: skip
        numbers |= {f"training_{name}": 1e3 for name in spent}
        training = {"runs": [{"flops": 1e3, "flops_computed": 1e3}] * draws}
    result = {"draws": list(cell.draws), "numbers": numbers, "templates": names,
              "training": training, "notes": []}  # fmt: skip
    prompts = [
        {"query_id": task.test[0].id, "template": name, "gold": task.test[0].target,
         "parts": [["query", f"{cell.label} under {name}"]], "answers": []}
        for name in names
    ]  # fmt: skip
    texts = {"prompts": prompts, "outputs": [["text"] * len(task.test)] * (draws * ways)}
    if task.kind == "choice":
        del texts["outputs"]
    with run.claim(cell.spec()) as claim:
        claim.finish(result, arrays, texts)


def answers(task: Task, prefix: str, rows: int, rng: np.random.Generator) -> dict[str, Any]:
    """The arrays of a split as `measure.behavior` stores them; none of a split without items."""
    items = task.validation if prefix else task.test
    if not items:
        return {}
    if task.kind == "choice":
        options = [item.choices or task.choices for item in items]
        shape = (rows, len(items), max(map(len, options)))
        own = {
            "loglik": rng.normal(size=shape),
            "prior_loglik": rng.normal(size=shape),
            "answer_tokens": np.ones(shape, np.int64),
            "answer_bytes": np.ones(shape, np.int64),
            "gold": np.array([o.index(i.target) for o, i in zip(options, items, strict=True)]),
        }
    else:
        shape = (rows, len(items))
        own = {
            "exact": (rng.random(shape) < 0.5).astype(float),
            "chrf": 100 * rng.random(shape),
            "target_loglik": rng.normal(size=shape),
            "target_tokens": np.ones(len(items), np.int64),
        }
    return {prefix + name: array for name, array in own.items()}
