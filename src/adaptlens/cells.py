"""A study is a list of cells: what they are, their identity, what is missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from adaptlens import registry, telling
from adaptlens.canonical import digest
from adaptlens.types import Task

SPEC_FORMAT = 1

STUDY_FILE = "study.json"
"""Where a run holds its study: name, settings and cells."""

COMPONENTS = {"tasks": 2, "prompts": 3, "lm": 4, "adapt": 5, "measure": 5}
"""Raise a component's number when its results change: cells made before are then made anew."""

ORDER = ("zero_shot", "icl", "best_prompt", "it", "sl", "it_path", "full")


@dataclass(frozen=True)
class Component:
    """A registered name and its fully resolved arguments."""

    name: str
    arguments: Mapping[str, Any]

    def make(self, kind: str) -> Any:
        """Return the object this stands for."""
        return registry.resolve(kind, self.name)(**self.arguments)

    def described(self, kind: str) -> dict[str, Any]:
        """Return what decides its numbers; of another package's, the package's version too."""
        package = registry.origin(kind, self.name)
        return {
            "name": self.name,
            "arguments": dict(self.arguments),
            **({"package": package} if package else {}),
        }


@dataclass(frozen=True)
class Cell:
    """One unit of work: a model, a task, an adaptation over some draws, and what is measured."""

    model: Mapping[str, Any]
    task: Mapping[str, Any]
    adaptation: Component
    label: str
    measurements: tuple[Component, ...]
    draws: tuple[int, ...]
    seed: int

    def spec(self) -> dict[str, Any]:
        """Return everything that decides this cell's numbers; its digest is the cell's id."""
        return {
            "format": SPEC_FORMAT,
            "model": dict(self.model),
            "task": dict(self.task),
            "adaptation": {**self.adaptation.described("adaptation"), "label": self.label},
            "measurements": [one.described("measurement") for one in self.measurements],
            "draws": list(self.draws),
            "seed": self.seed,
            "components": dict(COMPONENTS),
        }


@dataclass(frozen=True)
class Study:
    """Cells, the tasks they name, by digest, and sentences a reader of the results needs."""

    name: str
    settings: Mapping[str, Any]
    cells: tuple[Cell, ...]
    tasks: Mapping[str, Task]
    notes: tuple[str, ...] = ()

    def groups(self) -> list[str]:
        """Return the group of every cell, in order."""
        return [group(cell.spec()) for cell in self.cells]


def resolve(kind: str, name: str, **arguments: Any) -> tuple[Component, Any]:
    """Return a component with its defaults filled in, and the object made from it."""
    made = registry.resolve(kind, name)(**arguments)
    return Component(name, asdict(made)), made


def group(spec: Mapping[str, Any]) -> str:
    """Return the digest of a spec without its draws: cells of one group differ only in draws."""
    return digest({key: value for key, value in spec.items() if key != "draws"})


def task_digest(task: Task) -> str:
    """Return the digest of everything in a task that can change a number."""
    with telling.slow(f"taking the digest of task '{task.name}'"):
        content = asdict(task)
        # Columns count: a search for a prompt tries their names.
        for words in ("description", "notes"):
            content.pop(words)
        return digest(content)


def missing(cells: Sequence[Cell], done: Iterable[Mapping[str, Any]]) -> list[Cell]:
    """Return the cells still to do, without the draws that finished cells already cover.

    Args:
        cells: what the study wants, each with all its draws.
        done: the specs of finished cells.
    """
    covered: dict[str, set[int]] = {}
    for spec in done:
        covered.setdefault(group(spec), set()).update(spec["draws"])
    left = []
    for cell in cells:
        have = covered.get(group(cell.spec()), set())
        draws = tuple(draw for draw in cell.draws if draw not in have)
        if draws:
            left.append(replace(cell, draws=draws))
    return left


def cut(cell: Cell, draws_per_cell: int | None) -> list[Cell]:
    """Return the cell as several of at most `draws_per_cell` draws."""
    if draws_per_cell is None:
        return [cell]
    return [
        replace(cell, draws=cell.draws[start : start + draws_per_cell])
        for start in range(0, len(cell.draws), draws_per_cell)
    ]


def by_model(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Return the cells grouped by model, and in each group in the order that costs least.

    A base is loaded once and drained: prompting first, then banks, then full tuning, which
    changes the weights.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(digest(dict(cell.model)), []).append(cell)
    return [
        sorted(
            members,
            key=lambda c: ORDER.index(c.adaptation.name) if c.adaptation.name in ORDER else 99,
        )
        for members in groups.values()
    ]
