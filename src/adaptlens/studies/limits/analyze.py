"""From stored answers of five systems to scores, tables and claims of the study of limits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptlens import columns
from adaptlens.adapt.families import family_of
from adaptlens.conditions import Condition
from adaptlens.formatting import counted
from adaptlens.measure.arrays import Answered
from adaptlens.store import Run
from adaptlens.studies import recipe
from adaptlens.studies.limits.config import LimitsConfig
from adaptlens.studies.stored import Stored, read, task_notes
from adaptlens.tasks import mixtures
from adaptlens.types import Task

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.studies.limits.page import LimitsReport

Rows = list[dict[str, Any]]

ABOUT_FILE = "about.json"
SCORINGS = ("choice", "exact", "semantic")
SYSTEM = {
    "base": "base",
    "gold": "gold",
    "regular_tuned": "regular",
    "samplegen_tuned": "samplegen",
}
"""Way of adapting -> the system that it is."""
MIXTURES = {mixtures.task_name(name): name for name in mixtures.ABLATIONS}
"""Task -> the mixture that it is."""
SHOWN_PROMPTS = 12


def scores(
    found: Sequence[Condition],
    tasks: Mapping[str, Task],
    about: Mapping[str, Any],
    seed: int,
) -> "pd.DataFrame":
    """Return one row per model, mixture, seed, draw, system, variation, task and scoring.

    Columns: see `studies.limits.panel.COLUMNS`. `half_a` and `half_b` are accuracies on two halves
    of a task's items, the same for all models.

    Args:
        found: the run's conditions.
        tasks: digest -> the mixture.
        about: models, clusters and mixtures, as `plan.about` wrote them.
        seed: of the halves.
    """
    rows: Rows = []
    for one in found:
        groups = np.array([example.group for example in tasks[one.task_digest].test])
        halves = _halves(groups, seed)
        for answered in one.systems.readings():
            system = _system(one, answered)
            for task in dict.fromkeys(groups.tolist()):
                own = np.flatnonzero(groups == task)
                rows += [
                    {
                        **_of(one, about, system, answered.variation),
                        **_about_task(one, task, about),
                        **row,
                    }
                    for row in _scored(one, answered, own, halves)
                ]
    return columns.framed("limits", {"scores": rows})["scores"]


def _of(one: Condition, about: Mapping[str, Any], system: str, variation: str) -> dict[str, Any]:
    model = about["models"][one.model]
    return {
        "model": one.model,
        "family": model["family"],
        "size": model["parameters"],
        "exposure": model["exposure"],
        "mixture": "" if system in ("base", "gold") else MIXTURES[one.task],
        "system": system,
        "variation": variation,
    }


def _system(one: Condition, answered: Answered) -> str:
    return "pipeline" if answered.is_pipeline else SYSTEM[one.adaptation]


def _about_task(one: Condition, task: str, about: Mapping[str, Any]) -> dict[str, Any]:
    is_tuned = family_of(one.adaptation) == "tune"
    trained_on = about["trained_on"][MIXTURES[one.task]] if is_tuned else ()
    return {"task": task, "cluster": about["clusters"][task], "seen": task in trained_on}


def _scored(
    one: Condition, answered: Answered, own: np.ndarray, halves: np.ndarray
) -> Iterator[dict[str, Any]]:
    """Yield the accuracy of every draw under every scoring that the task has."""
    chance = float(answered.chance[own].mean())
    is_tuned = family_of(one.adaptation) == "tune"
    for scoring in SCORINGS:
        correct, floors = answered.correct(scoring), answered.floor(scoring)
        if correct is None or np.isnan(right := correct[:, own]).any():
            continue
        unparsed = answered.unparsed[:, own]
        for place, draw in enumerate(one.draws):
            yield {
                "seed": draw if is_tuned else -1,
                "draw": draw,
                "scoring": scoring,
                "value": float(right[place].mean()),
                "chance": 0.0 if scoring == "exact" else chance,
                "floor": chance if floors is None else float(floors[place, own].mean()),
                "queries": len(own),
                "unparsed": float(unparsed[place].mean()),
                "half_a": float(right[place, halves[own] == 0].mean()),
                "half_b": float(right[place, halves[own] == 1].mean()),
            }


def _halves(groups: np.ndarray, seed: int) -> np.ndarray:
    """Return for every item which half of its task it is in."""
    generator = np.random.default_rng([seed, 0x4A1F])
    found = np.zeros(len(groups), int)
    for group in dict.fromkeys(groups.tolist()):
        own = np.flatnonzero(groups == group)
        found[generator.permutation(own)[len(own) // 2 :]] = 1
    return found


def analyze(run: Run, overrides: Sequence[str] = ()) -> "LimitsReport":
    """Return everything the page shows of what the run holds.

    Args:
        run: the run.
        overrides: "path=value" for the settings of the analysis: the claims'.

    Raises:
        UserError: the run holds no such study, none of its cells is done, or an override would
            change what was measured.
    """
    from adaptlens.studies.limits.page import LimitsReport

    study: Stored[LimitsConfig] = read(run, "limits", overrides)
    found, tasks, config = study.found, study.tasks, study.config
    about = run.need_json(ABOUT_FILE)
    table = scores(found, tasks, about, config.seed)
    margins: dict[str, Any] = {**config.claims}
    tables, judged = tables_of(table, margins, about["exposed"], config.seed)
    notes = [*study.notes, *task_notes(tasks.values())]
    notes += [f"{one.model}: {note}" for one in found for note in one.notes]
    tuned = table[(table.mixture != "") & (table.system != "pipeline")]
    num_tuned = len(tuned.drop_duplicates(["model", "mixture", "seed", "system"]))
    return LimitsReport(
        title="Does tuned performance follow what the base model does in context? "
        f"{counted(table.model.nunique(), 'base')}, {counted(num_tuned, 'tuned model')}, "
        f"{counted(table.task.nunique(), 'task')}",
        claims=judged,
        tables=columns.framed(
            "limits",
            {"scores": table, **tables, "claims": judged, "recipes": recipe.rows(found, run)},
        ),
        prompts=_prompts(found),
        notes=list(dict.fromkeys(notes)),
        **study.about(),
    )


def tables_of(
    table: "pd.DataFrame", margins: Mapping[str, float], exposed: Sequence[str], seed: int
) -> tuple[dict[str, Rows], Rows]:
    """Return the rows of the tables made from scores, by name, and those of the claims.

    Args:
        table: the scores.
        margins: see `studies.limits.claims.Margins`.
        exposed: tasks or clusters that the models' exposure concerns; () where it does not vary.
        seed: of resamples.
    """
    from adaptlens.studies.limits import claims, contrasts, exposure, mediation, relations, variance

    present = set(table.system)
    if not {"gold", "regular"} <= present:
        return {}, []
    rows: dict[str, Rows] = {
        "relations": relations.relations(table, seed=seed),
        "per_task": relations.per_task(table, seed=seed),
        "per_model": relations.per_model(table, seed=seed),
        "attribution": variance.attribution(table, seed=seed),
        # One base has no spread among bases for a random term to describe.
        "mixed_effects": variance.mixed_effects(table) if table.model.nunique() > 1 else [],
        "exceeding": contrasts.exceeding(table),
        "systems": contrasts.systems(table),
        "variations": contrasts.variations(table),
    }
    if exposed:
        rows["exposure"] = exposure.exposure(table, exposed)
        rows["mediation"] = mediation.mediation(table, exposed, margin=margins["gain"], seed=seed)
    judged = claims.claims(table, claims.Margins(**margins), exposed=exposed, seed=seed)
    return rows, judged


def _prompts(found: Sequence[Condition]) -> Rows:
    """Return the first prompts of every system, as they were sent, with what came back."""
    shown: dict[tuple[str, str], dict[str, Any]] = {}
    for one in found:
        readings = {answered.reading: answered for answered in one.systems.readings()}
        for prompt in one.prompts:
            answered = readings[prompt["reading"]]
            shown.setdefault(
                (one.adaptation, answered.reading),
                {
                    "task": prompt["group"],
                    "model": one.model,
                    "condition": one.label,
                    "system": _system(one, answered),
                    "variation": answered.variation,
                    **prompt,
                },
            )
    return list(shown.values())[:SHOWN_PROMPTS]
