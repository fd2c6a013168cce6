"""A study: does saying the instruction again change what the model answers?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import MinLen

from adaptlens.cells import Study
from adaptlens.columns import framed
from adaptlens.config.described import About
from adaptlens.config.fields import Count, Shared, Tasks
from adaptlens.config.schema import Schema
from adaptlens.metrics.accuracy import correct
from adaptlens.report.study_page import StudyReport
from adaptlens.store import Run
from adaptlens.studies.definition import Definition
from adaptlens.studies.stored import read
from adaptlens.studies.wanted import Wanted, load_task, models_of, study_of
from adaptlens.types import NO_DRAWS

MEASURED = (("behavior", {}), ("words", {}))


@dataclass(frozen=True)
class RemindersConfig(Shared):
    """The settings of the study."""

    tasks: Tasks = ({"path": "parity"},)
    times: Annotated[
        tuple[Count, ...], MinLen(1), About("How often it is said again.", [1, 2], option=True)
    ] = (1, 2)
    validation: Annotated[Count | None, About("Validation items at most.", 100)] = None


def plan(config: RemindersConfig) -> Study:
    """Return zero-shot and every number of reminders, on every model and task."""
    ways = [("zero_shot", {}), *(("reminded", {"times": times}) for times in config.times)]
    wanted = [
        Wanted(load_task(source, config), way, given, NO_DRAWS, MEASURED)
        for source in config.tasks
        for way, given in ways
    ]
    models = models_of(config.models, config)
    return study_of("reminders", config, ((model, wanted) for model in models.values()))


def analyze(run: Run, overrides: Sequence[str] = ()) -> StudyReport:
    """Return accuracy and words a prompt of every condition."""
    study = read(run, "reminders", overrides)
    rows = [
        {
            "model": one.model,
            "task": one.task,
            "condition": one.label,
            "accuracy": float(correct(one.behavior).mean()),
            "words": one.numbers["words"],
        }
        for one in study.found
    ]
    return StudyReport(
        title="Does saying the instruction again change what the model answers?",
        claims=(),
        tables=framed("reminders", {"reminders": rows}),
        prompts=(),
        notes=study.notes,
        **study.about(),
    )


REMINDERS = Definition(
    settings=Schema(study="reminders", kind=RemindersConfig),
    question="Does saying the instruction again change what the model answers?",
    columns={
        "reminders": {
            "model": "the model",
            "task": "the task",
            "condition": "zero-shot, or how often the instruction is said again",
            "accuracy": "share of right answers",
            "words": "mean words a prompt",
        }
    },
    plan=plan,
    analyze=analyze,
)
