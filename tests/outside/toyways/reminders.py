"""A study: does saying the instruction again change what the model answers?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import MinLen

from adaptlens.cells import STUDY_FILE, Cell, Study, cut, resolve, task_digest
from adaptlens.columns import framed
from adaptlens.conditions import conditions
from adaptlens.config.fields import (
    EXPECTED,
    STRICT,
    Bits,
    Count,
    Dtype,
    Engine,
    Seed,
    TaskSource,
    Text,
)
from adaptlens.config.schema import Schema
from adaptlens.metrics.accuracy import correct
from adaptlens.models.identity import identify
from adaptlens.report.study_page import StudyReport
from adaptlens.store import Run
from adaptlens.studies.definition import Definition
from adaptlens.studies.running import load_task, shown_names

MEASURED = ("behaviour", "words")


@dataclass(frozen=True)
class RemindersConfig:
    """The settings of the study."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    models: Annotated[tuple[Text, ...], MinLen(1)] = ("reference",)
    tasks: Annotated[tuple[TaskSource, ...], MinLen(1)] = ({"path": "parity"},)
    times: Annotated[tuple[Count, ...], MinLen(1)] = (1, 2)
    queries: Count | None = None
    validation: Count | None = None
    seed: Seed = 0
    chat: bool = False
    dtype: Dtype = "float32"
    device: Text = "auto"
    quantize: Bits | None = None
    engine: Engine = field(default_factory=Engine)


def plan(config: RemindersConfig) -> Study:
    """Return zero-shot and every number of reminders, on every model and task."""
    measured = tuple(resolve("measurement", name)[0] for name in MEASURED)
    cells, tasks = [], {}
    for name, shown in shown_names(config.models).items():
        model = identify(name, dtype=config.dtype, chat=config.chat, quantize=config.quantize)
        model["name"] = shown
        for source in config.tasks:
            task = load_task(source, config)
            digest = task_digest(task)
            tasks[digest] = task
            about = {"name": task.name, "digest": digest, "kind": task.kind,
                     "queries": len(task.test), "seed": config.seed}  # fmt: skip
            for way, given in (
                ("zero_shot", {}),
                *(("reminded", {"times": t}) for t in config.times),
            ):
                component, made = resolve("adaptation", way, **given)
                cell = Cell(model, about, component, made.label, measured, (-1,), config.seed)
                cells += cut(cell, made.draws_per_cell)
    return Study("reminders", asdict(config), tuple(cells), tasks)


def analyse(run: Run, overrides: Sequence[str] = ()) -> StudyReport:
    """Return accuracy and words a prompt of every condition."""
    study = run.need_json(STUDY_FILE)
    found = conditions(run, study["cells"])
    rows = [
        {
            "model": one.model,
            "task": one.task,
            "condition": one.label,
            "accuracy": float(correct({name: one.arrays[f"behaviour.{name}"]
                                       for name in ("loglik", "gold")}).mean()),
            "words": one.numbers["words"],
        }
        for one in found
    ]  # fmt: skip
    cells = [{"cell": one.cells[0], "condition": one.label} for one in found]
    import pandas as pd

    return StudyReport(
        title="Does saying the instruction again change what the model answers?",
        claims=(),
        tables=framed("reminders", {"reminders": rows}),
        prompts=(),
        settings=study["settings"],
        versions={},
        cells=pd.DataFrame(cells),
    )


REMINDERS = Definition(
    settings=Schema(
        study="reminders",
        kind=RemindersConfig,
        expected={**EXPECTED, "times": ("whole numbers of at least 1", "times: [1, 2]")},
        lists=("models", "tasks", "times"),
        sources=("tasks",),
        tables={"tasks": TaskSource, "engine": Engine},
    ),
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
    analyse=analyse,
)
