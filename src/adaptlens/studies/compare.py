"""The main job: prompt or tune? A grid of adaptations over one model's and one task's draws."""

import io
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens import modelfiles, prompts, registry, tasks
from adaptlens.config import CompareConfig, compare_config
from adaptlens.engines import Outcome, Reporter
from adaptlens.errors import UserError
from adaptlens.store import Run, write_atomically
from adaptlens.studies.compare_tables import STUDY_FILE, analyse
from adaptlens.study import Cell, Component, Study, cut, group, missing, resolve, task_digest
from adaptlens.values import Task

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.report import Report

PROMPTING, TUNING = ("zero_shot", "icl"), ("it", "sl", "full")


@dataclass(frozen=True)
class Comparison:
    """What `prompt_or_tune` found: a verdict per task and model, tables, and the page."""

    report: "Report"
    outcome: Outcome
    run_folder: Path
    page: Path

    @property
    def verdicts(self) -> list[str]:
        """One line per task and model."""
        return [verdict["line"] for verdict in self.report.verdicts]

    @property
    def accuracy(self) -> "pd.DataFrame":
        """Scores of every condition with intervals, one row a number."""
        return self.report.tables["accuracy"]

    @property
    def differences(self) -> "pd.DataFrame":
        """Paired differences between conditions with tests, one row a pair."""
        return self.report.tables["differences"]

    @property
    def break_even(self) -> "pd.DataFrame":
        """From how many queries on tuning costs less than prompting."""
        return self.report.tables["break_even"]


def plan(config: CompareConfig) -> Study:
    """Return every cell the comparison needs, each with all its draws.

    Raises:
        UserError: an unknown model or task, or more examples asked for than the training split
            holds.
    """
    loaded = [load_task(settings, config) for settings in config.tasks]
    cells = []
    for name in config.models:
        model = modelfiles.identify(name, dtype=config.dtype, chat=config.chat)
        model["name"] = shown_name(name)
        for task in loaded:
            _check_sizes(task, config)
            described = {
                "name": task.name,
                "digest": task_digest(task),
                "kind": task.kind,
                "queries": len(task.test),
                "seed": config.seed,
            }
            measurements = tuple(resolve("measurement", m)[0] for m in ("behaviour", "cost"))
            for component, made in _adaptations(config):
                draws = tuple(range(config.draws)) if _uses_draws(component) else (-1,)
                cell = Cell(
                    model, described, component, made.label, measurements, draws, config.seed
                )
                cells += cut(cell, made.draws_per_cell)
    digests = {task_digest(task): task for task in loaded}
    return Study("compare", asdict(config), tuple(cells), digests)


def shown_name(name: str) -> str:
    """Return a model's name for tables: the last part of a folder's path, else as given."""
    return Path(name).expanduser().resolve().name if Path(name).expanduser().is_dir() else name


def load_task(settings: str | Mapping[str, Any], config: CompareConfig) -> Task:
    """Return the task, its test and validation splits cut to the number of queries asked for."""
    given = {"path": settings} if isinstance(settings, str) else dict(settings)
    name = given.pop("path")
    task = tasks.load(name, seed=config.seed, **given)
    if config.queries and len(task.test) > config.queries:
        note = f"the first {config.queries} of {len(task.test)} test items are used (queries)"
        task = replace(task, test=task.test[: config.queries], notes=(*task.notes, note))
    if config.validation and len(task.validation) > config.validation:
        note = (
            f"the first {config.validation} of {len(task.validation)} validation items are used "
            "(validation)"
        )
        task = replace(
            task, validation=task.validation[: config.validation], notes=(*task.notes, note)
        )
    return task


def _check_sizes(task: Task, config: CompareConfig) -> None:
    largest = max((*config.shots, *config.tuning_sizes), default=0)
    if largest > len(task.train):
        raise UserError(
            f"{largest} examples were asked for, but the training split of task '{task.name}' has "
            f"{len(task.train)}; ask for at most {len(task.train)}, or give more data."
        )


def _uses_draws(component: Component) -> bool:
    retrieved = component.arguments.get("selection") in prompts.RETRIEVED
    return component.name != "zero_shot" and not retrieved


def _adaptations(config: CompareConfig) -> list[tuple[Component, Any]]:
    """Return the grid: zero-shot, ICL at every shot count, each way of tuning at every size."""
    found = []
    for shots in config.shots:
        if shots == 0:
            found.append(resolve("adaptation", "zero_shot"))
        else:
            found.append(
                resolve(
                    "adaptation",
                    "icl",
                    examples=shots,
                    selection=config.selection,
                    seed=config.seed,
                    on_overflow=config.on_overflow,
                )
            )
    drawn = "random" if config.selection in prompts.RETRIEVED else config.selection
    for name in config.tuning:
        given = {key: value for key, value in config.tune.items() if value is not None}
        if name == "full":
            given = {
                k: v for k, v in given.items() if k not in ("rank", "alpha", "targets", "dropout")
            }
        for size in config.tuning_sizes:
            found.append(
                resolve(
                    "adaptation", name, examples=size, selection=drawn, seed=config.seed, **given
                )
            )
    return found


def write_plan(run: Run, study: Study) -> None:
    """Write down what the run is to hold, so that `status` and `report` need no model or task."""
    for digest, task in study.tasks.items():
        (run.folder / "tasks").mkdir(exist_ok=True)
        run.write_json(f"tasks/{digest[:20]}.json", asdict(task))
    run.write_json(
        STUDY_FILE,
        {
            "name": study.name,
            "settings": dict(study.settings),
            "cells": [cell.spec() for cell in study.cells],
            "versions": _versions(),
        },
    )
    for cell in missing(study.cells, (record.spec for record in run.records())):
        run.add(cell.spec())


def _versions() -> dict[str, str]:
    names = ("adaptlens", "torch", "transformers", "tokenizers", "numpy", "sacrebleu")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def planned_work(study: Study, out: str | Path | None) -> list[dict[str, Any]]:
    """Return one row per condition: draws wanted and done, models to tune, prompts to read."""
    folder = Path(out or default_folder(study))
    done = [record.spec for record in Run.open(folder).records()] if folder.exists() else []
    left: dict[str, int] = {}
    for cell in missing(study.cells, done):
        key = group(cell.spec())
        left[key] = left.get(key, 0) + len(cell.draws)
    rows: dict[str, dict[str, Any]] = {}
    for cell in study.cells:
        task = study.tasks[cell.task["digest"]]
        key = group(cell.spec())
        row = rows.setdefault(
            key,
            {
                "model": cell.model["name"],
                "task": task.name,
                "condition": cell.label,
                "draws": 0,
                "draws_done": 0,
                "variants_to_tune": 0,
                "prompts": 0,
                "prompt_characters": _prompt_characters(cell, task),
            },
        )
        row["draws"] += len(cell.draws)
        row["draws_done"] = row["draws"] - left.get(key, 0)
        row["variants_to_tune"] = left.get(key, 0) if cell.adaptation.name in TUNING else 0
        row["prompts"] = left.get(key, 0) * (len(task.test) + len(task.validation))
    return list(rows.values())


def _prompt_characters(cell: Cell, task: Task) -> float:
    """Return the mean length of the first ten prompts of draw 0, in the plain layout."""
    examples = int(cell.adaptation.arguments.get("examples", 0))
    shown = examples if cell.adaptation.name == "icl" else 0
    demos = prompts.demonstrations(task, 0, shown, seed=cell.seed)
    with_instruction = cell.adaptation.name != "sl"
    sizes = [
        len(prompts.render(task, demos, query, instruction=with_instruction).text)
        for query in task.test[:10]
    ]
    return sum(sizes) / max(1, len(sizes))


def execute(study: Study, run: Run, config: CompareConfig, reporter: Reporter) -> Outcome:
    """Run the study's cells with the configured engine."""
    from adaptlens.lm.load import load

    sources = {shown_name(name): name for name in config.models}

    def load_model(cell: Cell) -> Any:
        source = sources[cell.model["name"]]
        return load(
            source,
            dtype=config.dtype,
            device=config.device,
            chat=config.chat,
            quantize=config.quantize,
        )

    engine = registry.resolve("engine", "in_process")()
    return engine.run(study, run, load_model, reporter)


def prompt_or_tune(
    model: str | list[str] = "reference",
    task: Any = "sentiment-novel",
    *,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Comparison:
    """Compare the ways of adapting a model to a task, and say whether to prompt or to tune.

    Args:
        model: hub id, local folder or zoo name; a list compares several.
        task: bundled name, path, "hf:NAME[:CONFIG]" or lm-evaluation-harness YAML; a mapping with
            "path" and further settings (input, target, choices); a list of these.
        out: the run folder; the same call continues it, a larger one extends it.
        reporter: who is told of progress; nobody by default.
        settings: everything else a config file may hold (shots, tuning, sizes, draws, queries,
            selection, seed, dtype, device, tune, prices, margin, ...).

    Raises:
        UserError: anything the caller can fix.
        RunIncomplete: some cells failed; the rest is on disk.
    """
    config = compare_config(
        models=[model] if isinstance(model, str) else list(model),
        tasks=list(task) if isinstance(task, list | tuple) else [task],
        **settings,
    )
    return compare(config, out=out, reporter=reporter or Silent())


def compare(config: CompareConfig, *, out: str | Path | None, reporter: Reporter) -> Comparison:
    """Plan, run, analyse and report one comparison."""
    study = plan(config)
    run = Run.open(out or default_folder(study), create=True)
    write_plan(run, study)
    outcome = execute(study, run, config, reporter)
    report, page = write_report(run)
    return Comparison(report, outcome, run.folder, page)


def write_report(run: Run) -> tuple["Report", Path]:
    """Analyse what is stored and write tables, figures and page; needs no model and no torch."""
    from adaptlens import report as pages

    found, answers = analyse(run)
    folder = run.folder / "tables"
    folder.mkdir(exist_ok=True)
    for name, table in {**found.tables, "answers": answers}.items():
        content = io.BytesIO()
        table.to_parquet(content, index=False)
        write_atomically(folder / f"{name}.parquet", content.getvalue())
    return found, pages.write(found, run.folder / "report.html")


def default_folder(study: Study) -> Path:
    """Return runs/MODELS-TASKS, so that the same command finds its run again."""
    models = dict.fromkeys(str(cell.model["name"]) for cell in study.cells)
    names = dict.fromkeys(str(cell.task["name"]) for cell in study.cells)
    text = "+".join(models) + "-" + "+".join(names)
    return Path("runs") / "".join(c if c.isalnum() or c in "+-._" else "_" for c in text)


class Silent:
    """A reporter that says nothing."""

    def begin(self, total: int, done: int) -> None:
        """Ignore it."""

    def started(self, cell: Cell) -> None:
        """Ignore it."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Ignore it."""

    def finished(self, cell: Cell) -> None:
        """Ignore it."""

    def failed(self, cell: Cell, message: str) -> None:
        """Ignore it."""

    def waiting(self, cells: int) -> None:
        """Ignore it."""
