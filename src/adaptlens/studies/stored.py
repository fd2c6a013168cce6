"""What a run holds of a study, read back as the types it went in as; every analysis begins here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from adaptlens import columns, registry
from adaptlens.cells import STUDY_FILE, Cell, check_format, missing, read_tasks
from adaptlens.conditions import Condition, conditions
from adaptlens.config.reading import reanalyzed
from adaptlens.errors import UserError
from adaptlens.formatting import moment
from adaptlens.report.labels import Labels
from adaptlens.report.summary import Partial
from adaptlens.store import Run, hardware, versions
from adaptlens.store.events import span
from adaptlens.studies.again import command
from adaptlens.types import NO_DRAWS, Task

Config = TypeVar("Config")


@dataclass(frozen=True)
class Stored(Generic[Config]):
    """A study as far as its run has it.

    Attributes:
        name: of the study.
        config: the settings, those of the analysis as they were asked for.
        settings: the same as the run holds them, for the page.
        found: the conditions of which anything is done.
        tasks: theirs, by digest.
        notes: what a reader has to know: the plan's notes.
        partial: how much of the run there is; None where all is.
        made: when its cells were made, and on which machines, in words.
    """

    name: str
    config: Config
    settings: Mapping[str, Any]
    found: Sequence[Condition]
    tasks: Mapping[str, Task]
    notes: Sequence[str]
    made: Mapping[str, str] = field(default_factory=dict)
    partial: Partial | None = None

    def by_task(self) -> dict[tuple[str, str, str], list[Condition]]:
        """Return the conditions of each model and task: (model, task's name, its digest)."""
        groups: dict[tuple[str, str, str], list[Condition]] = {}
        for one in self.found:
            groups.setdefault((one.model, one.task, one.task_digest), []).append(one)
        return groups

    def about(self, labels: Labels = MappingProxyType({})) -> dict[str, Any]:
        """Return what every study's page shows of how it was made, its cells, labels and gap.

        Args:
            labels: what labels other than those of the conditions stand for.
        """
        return {
            "labels": {**{one.label: one.shown for one in self.found}, **labels},
            "settings": self.settings,
            "made": self.made,
            "command": command(self.name, self.settings),
            "versions": versions.together(v for one in self.found for v in one.versions),
            "cells": columns.frame_of(cell_rows(self.found)),
            "partial": self.partial,
        }


def read(run: Run, name: str, overrides: Sequence[str] = ()) -> Stored[Any]:
    """Return what a run holds of a study.

    Args:
        run: the run.
        name: of the study.
        overrides: "path=value" for the settings of its analysis.

    Raises:
        UserError: the run holds no such study, none of its cells is done, or an override would
            change what was measured.
    """
    study = run.read_json(STUDY_FILE)
    if study is None or study["name"] != name:
        command = name if name == "compare" else f"study {name}"
        raise UserError(
            f"run '{run.folder}' holds no {name} study; run `adaptlens {command} --out "
            f"{run.folder}` first."
        )
    check_format(run, study["cells"])
    schema = registry.resolve("settings", name)
    config = reanalyzed(schema, study["settings"], overrides)
    found = conditions(run, study["cells"])
    if not found:
        raise UserError(
            f"no cell of run '{run.folder}' is done yet; the command that made it finishes them."
        )
    return Stored(
        name,
        config,
        {**study["settings"], **{one: getattr(config, one) for one in schema.analysis}},
        found,
        read_tasks(run, (one.task_digest for one in found)),
        study.get("notes", ()),
        _made(run, found),
        _partial(run, study["cells"]),
    )


def _made(run: Run, found: Sequence[Condition]) -> dict[str, str]:
    """Return when and on what the cells of some conditions were made, as the run has it."""
    cells = dict.fromkeys(cell for one in found for cell in one.cells)
    when = span(run.cell_folder(cell) for cell in cells)
    begun, ended = map(moment, when) if when else ("", "")
    return {
        "made": (f"{begun} to {ended}" if begun != ended else begun) or versions.UNKNOWN,
        "machine": hardware.in_words(one for c in found for one in c.machines or ({},)),
    }


def task_notes(tasks: Iterable[Task]) -> list[str]:
    """Return the notes of tasks, each once, after the names of those that say it."""
    said: dict[str, list[str]] = {}
    for task in tasks:
        for note in task.notes:
            said.setdefault(note, []).append(task.name)
    return [f"{', '.join(dict.fromkeys(names))}: {note}" for note, names in said.items()]


def said_once(notes: Iterable[str], tasks: Iterable[str]) -> list[str]:
    """Return notes once each; what several begin with a task's name and go on alike is one note."""
    names = {*tasks}
    found: dict[tuple[bool, str], list[str]] = {}
    for note in dict.fromkeys(notes):
        task, _, said = note.partition(": ")
        of_task = bool(said) and task in names
        found.setdefault((of_task, said if of_task else note), []).append(task)
    return [
        f"{', '.join(tasks)}: {said}" if of_task else said
        for (of_task, said), tasks in found.items()
    ]


def _partial(run: Run, specs: Sequence[Mapping[str, Any]]) -> Partial | None:
    """Return how many of the plan's cells are done in all their draws; None where all are."""
    done = (run.spec(cell) for cell in run.cells() if run.is_done(cell))
    left = missing([Cell.of(spec) for spec in specs], done)
    return Partial(len(specs) - len(left), len(specs)) if left else None


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
                if owner == cell and draw not in NO_DRAWS
            ),
        }
        for one in found
        for cell in dict.fromkeys(one.cells)
    ]
