"""What every study does with its plan: read the tasks, write it down, run it, keep the tables."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from adaptlens import registry, tasks, telling
from adaptlens.canonical import digest
from adaptlens.cells import STUDY_FILE, Cell, Study, group, missing
from adaptlens.conditions import Condition
from adaptlens.engines import Engine, Outcome, Reporter
from adaptlens.engines import Silent as Silent
from adaptlens.errors import UserError
from adaptlens.models import identity
from adaptlens.store import Run, make_folder, versions, write_atomically
from adaptlens.store.addresses import without_passwords
from adaptlens.store.atomic import writing
from adaptlens.types import Task
from adaptlens.zoo.recipes import LADDER

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.report.study_page import StudyReport

UNTRAINED = "untrained:"


class Settings(Protocol):
    """How the models of a study are loaded, and who does its cells."""

    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def chat(self) -> bool: ...  # noqa: D102
    @property
    def quantize(self) -> str | None: ...  # noqa: D102
    @property
    def engine(self) -> Mapping[str, Any]: ...  # noqa: D102


class Sizes(Protocol):
    """How many items of each task a study takes; None means all."""

    @property
    def queries(self) -> int | None: ...  # noqa: D102
    @property
    def validation(self) -> int | None: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Studied:
    """What a study found: claims with verdicts, tables, and the page."""

    report: "StudyReport"
    outcome: Outcome
    run_folder: Path
    page: Path

    @property
    def claims(self) -> "pd.DataFrame":
        """One row per claim: what was expected, what was found, and whether it holds."""
        import pandas as pd

        return pd.DataFrame(self.report.claims)


def shown_names(names: Iterable[str]) -> dict[str, str]:
    """Return each model's name for tables: of a path its last part, unless two would be alike."""
    names = list(names)
    shown = {name: identity.label(name) for name in names}
    alike = Counter(shown.values())
    return {name: name if alike[own] > 1 else own for name, own in shown.items()}


def load_task(settings: str | Mapping[str, Any], config: Sizes) -> Task:
    """Return the task, its test and validation splits cut to the number of queries asked for.

    Studies other than the comparison write it under one template, the one given.
    """
    task = _cut(settings, config)
    if not task.templates or hasattr(config, "num_templates"):
        return task
    template = task.templates[0]
    if len(task.templates) > 1 or template.item:
        raise UserError(
            f"task '{task.name}': this study takes one template over {{input}}, and "
            f"{', '.join(repr(one.name) for one in task.templates)} was given; give one, or use "
            "`adaptlens compare`, which takes several and any column."
        )
    instruction = task.instruction if template.instruction is None else template.instruction
    return replace(task, template=template, instruction=instruction, templates=())


def _cut(settings: str | Mapping[str, Any], config: Sizes) -> Task:
    given = {"path": settings} if isinstance(settings, str) else dict(settings)
    name, cluster = given.pop("path"), given.pop("cluster", "")
    with telling.slow(f"reading task '{name}'"):
        task = tasks.load(name, seed=config.seed, **given)
    task = replace(task, cluster=cluster or task.cluster)
    if config.queries and len(task.test) > config.queries:
        note = f"the first {config.queries} of {len(task.test)} test items are used (queries)"
        task = replace(task, test=task.test[: config.queries], notes=(*task.notes, note))
    if config.validation == 0:
        task = replace(task, validation=())
    elif config.validation and len(task.validation) > config.validation:
        note = (
            f"the first {config.validation} of {len(task.validation)} validation items are used "
            "(validation)"
        )
        task = replace(
            task, validation=task.validation[: config.validation], notes=(*task.notes, note)
        )
    return task


def write_plan(run: Run, study: Study) -> None:
    """Write down what the run is to hold, so that `status` and `report` need no model or task."""
    make_folder(run.folder / "tasks")
    for name, task in study.tasks.items():
        with telling.slow(f"writing down task '{task.name}'"):
            run.write_json(f"tasks/{name[:20]}.json", asdict(task))
    run.write_json(
        STUDY_FILE,
        {
            "name": study.name,
            "settings": shown_settings(study.settings),
            "cells": [cell.spec() for cell in study.cells],
            "notes": list(study.notes),
        },
    )
    for cell in missing(study.cells, (record.spec for record in run.records())):
        run.add(cell.spec())


def shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are stored and shown: no address has a password."""
    return {str(key): value for key, value in without_passwords(settings).items()}


def made_with(found: Iterable[Condition]) -> dict[str, str]:
    """Return the versions that the cells of conditions were made with, several where they differ.

    They need not be those of the command that shows them.
    """
    return versions.together(one for condition in found for one in condition.versions)


def execute(
    study: Study, run: Run, config: Settings, reporter: Reporter, models: Iterable[str]
) -> Outcome:
    """Run the study's cells, which are of these models, with the configured engine."""
    from adaptlens.engines.worker import LOADING_FILE, loading
    from adaptlens.lm.load import load

    sources = {shown: name for name, shown in shown_names(models).items()}

    def load_model(cell: Cell) -> Any:
        source = sources[cell.model["name"]]
        return load(
            source,
            dtype=config.dtype,
            device=config.device,
            chat=config.chat,
            quantize=config.quantize,
        )

    run.write_json(LOADING_FILE, loading(sources, config))
    return _engine(config.engine).run(study, run, load_model, reporter)


def _engine(given: Mapping[str, Any]) -> Engine:
    """Return the engine that the settings ask for.

    Raises:
        UserError: an address or a share of a GPU without Ray, which alone has them.
    """
    settings = dict(given)
    name = settings.pop("name", "in_process")
    if name == "ray":
        return registry.resolve("engine", "ray")(**settings)
    if others := sorted(set(settings) - {"workers"}):
        raise UserError(
            f"engine.{others[0]} was given, which the engine '{name}' does not have; add "
            "--engine ray, or leave it out."
        )
    if settings.get("workers", 1) == 1:
        return registry.resolve("engine", name)()
    return registry.resolve("engine", "processes")(**settings)


def foreseen(
    study: Study,
    config: Settings,
    rows: Sequence[Mapping[str, Any]],
    progress: Callable[[str], None],
    *,
    again: bool = False,
) -> list[dict[str, Any]]:
    """Return a plan's rows with the seconds, memory and disk that each condition will take.

    Args:
        study: the plan.
        config: its settings.
        rows: one per condition, in the order of the cells, as `planned_work` gives them.
        progress: told what is done next.
        again: try out models whose pace is known from an earlier plan, too.

    Raises:
        UserError: a model cannot be loaded.
    """
    from adaptlens.engines.forecast import forecast

    found = forecast(study, _sources(study), config, progress, again=again)
    return [{**row, **own} for row, own in zip(rows, found.rows, strict=True)]


def _sources(study: Study) -> dict[str, str]:
    """Return the names that the study's models are found by, by their names in cells."""
    wanted = {str(cell.model["name"]) for cell in study.cells}
    names: list[str] = []
    for name in study.settings["models"]:
        names += list(LADDER) if name == "ladder" else [name]
    names += [UNTRAINED + name for name in names if not name.startswith(UNTRAINED)]
    return {shown: name for name, shown in shown_names(names).items() if shown in wanted}


def default_folder(study: Study) -> Path:
    """Return runs/MODELS-TASKS, so that the same command finds its run again.

    Studies other than the comparison come first in the name.
    """
    models = dict.fromkeys(str(cell.model["name"]) for cell in study.cells)
    names = dict.fromkeys(str(cell.task["name"]) for cell in study.cells)
    text = f"{_joined([*models])}-{_joined([*names])}"
    text = text if study.name == "compare" else f"{study.name}-{text}"
    return Path("runs") / "".join(c if c.isalnum() or c in "+-._" else "_" for c in text)


def _joined(names: Sequence[str]) -> str:
    """Return A+B+C; of more names, or long ones, the first, how many more, and a digest of all."""
    text = "+".join(names)
    if len(names) <= 3 and len(text) <= 60:
        return text
    more = f"+{len(names) - 1}-more" if len(names) > 1 else ""
    return f"{names[0][:40]}{more}-{digest(list(names))[:8]}"


@dataclass(frozen=True)
class Progress:
    """How far a condition of a plan is: its cells, and its draws wanted and done."""

    cells: tuple[Cell, ...]
    draws: int
    draws_done: int

    @property
    def named(self) -> dict[str, Any]:
        """The columns that say which condition it is."""
        cell = self.cells[0]
        return {
            "model": cell.model["name"],
            "task": cell.task["name"],
            "condition": cell.label,
        }

    @property
    def counted(self) -> dict[str, int]:
        """The columns that say how far it is."""
        return {"draws": self.draws, "draws_done": self.draws_done}


def is_there(folder: Path) -> bool:
    """Say whether a folder exists.

    Raises:
        UserError: its name cannot be one.
    """
    with writing(folder):
        return folder.exists()


def progress(study: Study, out: str | Path | None) -> list[Progress]:
    """Return how far each condition is, in the order of the cells, in the run that is its own.

    Args:
        study: the plan.
        out: the run folder; the study's default where it is None. It may be missing.
    """
    folder = Path(out or default_folder(study))
    done = Run.open(folder).whole_specs() if is_there(folder) else []
    left: Counter[str] = Counter()
    for cell in missing(study.cells, done):
        left[group(cell.spec())] += len(cell.draws)
    conditions: dict[str, list[Cell]] = {}
    for key, cell in zip(study.groups(), study.cells, strict=True):
        conditions.setdefault(key, []).append(cell)
    found = []
    for key, cells in conditions.items():
        draws = sum(len(cell.draws) for cell in cells)
        found.append(Progress(tuple(cells), draws, draws - left[key]))
    return found


def write_tables(run: Run, tables: "Mapping[str, pd.DataFrame]") -> None:
    """Write each table as tables/NAME.parquet."""
    folder = run.folder / "tables"
    make_folder(folder)
    for name, table in tables.items():
        content = io.BytesIO()
        table.to_parquet(content, index=False)
        write_atomically(folder / f"{name}.parquet", content.getvalue())


def task_notes(tasks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the notes of tasks as stored, each once, after the names of those that say it."""
    said: dict[str, list[str]] = {}
    for task in tasks:
        for note in task["notes"]:
            said.setdefault(note, []).append(str(task["name"]))
    return [f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in said.items()]


def unfinished(specs: Sequence[Mapping[str, Any]], found: Sequence[Condition]) -> list[str]:
    """Return a sentence when the run is not complete."""
    wanted = sum(len(spec["draws"]) for spec in specs)
    done = sum(len(one.draws) for one in found)
    if done >= wanted:
        return []
    return [
        f"{done} of {wanted} draws of all conditions are done; these results are partial, and the "
        "command that made the run finishes it"
    ]


def cell_rows(found: Sequence[Condition]) -> list[dict[str, Any]]:
    """Return one row per cell: what it is of, and its draws."""
    return [
        {
            "cell": cell,
            "model": one.model,
            "task": one.task,
            "condition": one.label,
            "draws": ", ".join(
                str(draw)
                for draw, owner in zip(one.draws, one.cells, strict=True)
                if owner == cell and draw >= 0
            ),
        }
        for one in found
        for cell in dict.fromkeys(one.cells)
    ]
