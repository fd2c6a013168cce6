"""A study is a list of cells: what they are, their identity, what is missing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from adaptlens import registry, telling
from adaptlens.canonical import digest
from adaptlens.errors import UserError
from adaptlens.store import Run
from adaptlens.types import Elsewhere, ExactMatch, Example, ModelSpec, Task, TaskSpec, Template

SPEC_FORMAT = 4
"""Raise it when what a spec or an array is called changes: older runs are then refused."""

STUDY_FILE = "study.json"
"""Where a run holds its study: name, settings and cells."""

COMPONENTS = {"tasks": 2, "prompts": 3, "lm": 4, "adapt": 5, "measure": 5}
"""Raise a component's number when its results change: cells made before are then made anew."""

SOURCE = "source"
"""An argument of this name says where files lie, whose digest is another; it decides nothing."""

ORDER = (
    "zero_shot", "icl", "best_prompt", "it", "sl", "distil", "ia2", "ia2-it", "soft-prompt",
    "vector", "it_trajectory", "full",
)  # fmt: skip


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
            "arguments": {k: v for k, v in self.arguments.items() if k != SOURCE},
            **({"package": package} if package else {}),
        }


@dataclass(frozen=True)
class Cell:
    """One unit of work: a model, a task, an adaptation over some draws, and what is measured."""

    model: ModelSpec
    task: TaskSpec
    adaptation: Component
    label: str
    measurements: tuple[Component, ...]
    draws: tuple[int, ...]
    seed: int

    def spec(self) -> dict[str, Any]:
        """Return everything that decides this cell's numbers; its digest is the cell's id."""
        return {
            "format": SPEC_FORMAT,
            "model": self.model.stored(),
            "task": asdict(self.task),
            "adaptation": {**self.adaptation.described("adaptation"), "label": self.label},
            "measurements": [one.described("measurement") for one in self.measurements],
            "draws": list(self.draws),
            "seed": self.seed,
            "components": dict(COMPONENTS),
        }

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "Cell":
        """Return the cell that a stored specification describes."""
        adaptation = spec["adaptation"]
        return cls(
            model=ModelSpec(**spec["model"]),
            task=TaskSpec(**spec["task"]),
            adaptation=_component(adaptation),
            label=adaptation["label"],
            measurements=tuple(_component(one) for one in spec["measurements"]),
            draws=tuple(spec["draws"]),
            seed=spec["seed"],
        )


@dataclass(frozen=True)
class Study:
    """Cells, the tasks they name, by digest, and sentences a reader of the results needs."""

    name: str
    settings: Mapping[str, Any]
    cells: tuple[Cell, ...]
    tasks: Mapping[str, Task]
    notes: tuple[str, ...] = ()

    @property
    def sources(self) -> dict[str, str]:
        """The name that each of its models is found by, by its name in tables."""
        return {cell.model.name: cell.model.source for cell in self.cells}

    @property
    def brought(self) -> dict[str, str]:
        """The path of each arm that was brought, by its label."""
        return {
            cell.label: cell.adaptation.arguments[SOURCE]
            for cell in self.cells
            if cell.adaptation.arguments.get(SOURCE)
        }

    def finding(self, brought: Mapping[str, str]) -> "Study":
        """Return the study with the paths of brought arms, by label, which no cell holds."""
        cells = tuple(
            replace(
                cell,
                adaptation=Component(
                    cell.adaptation.name,
                    {**cell.adaptation.arguments, SOURCE: brought[cell.label]},
                ),
            )
            if cell.label in brought
            else cell
            for cell in self.cells
        )
        return replace(self, cells=cells)

    def groups(self) -> list[str]:
        """Return the group of every cell, in order."""
        return [group(cell.spec()) for cell in self.cells]


def planned(run: Run) -> Study | None:
    """Return the study that a run's plan describes, its tasks read from beside it; None without."""
    stored = run.read_json(STUDY_FILE)
    if stored is None:
        return None
    check_format(run, stored["cells"])
    cells = tuple(Cell.of(spec) for spec in stored["cells"])
    tasks = read_tasks(run, (cell.task.digest for cell in cells))
    return Study(stored["name"], stored["settings"], cells, tasks, tuple(stored["notes"]))


def check_format(run: Run, specs: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a run whose cells are called otherwise than they are now.

    Raises:
        UserError: another version made it.
    """
    others = [spec["format"] for spec in specs if spec["format"] != SPEC_FORMAT]
    if others:
        raise UserError(
            f"run '{run.folder}' was made by another version of adaptlens: its cells have format "
            f"{others[0]}, this one reads {SPEC_FORMAT}; run the command that made it again, which "
            "makes them anew."
        )


def read_tasks(run: Run, digests: Iterable[str]) -> dict[str, Task]:
    """Return the tasks of a run, by digest, as they were planned."""
    return {digest: _task(run.need_json(task_file(digest))) for digest in dict.fromkeys(digests)}


def task_file(digest: str) -> str:
    """Return the name of the file in a run that holds a task."""
    return f"tasks/{digest[:20]}.json"


def _task(stored: Any) -> Task:
    given = _tuples(stored)
    for split in ("train", "validation", "test", "unrelated", "pool"):
        given[split] = tuple(Example(**example) for example in given[split])
    given["template"] = Template(**given["template"])
    given["templates"] = tuple(Template(**one) for one in given["templates"])
    if given.get("matching"):
        given["matching"] = ExactMatch(**given["matching"])
    given["elsewhere"] = tuple(
        Elsewhere(**{**one, "task": _task(one["task"])}) for one in given.get("elsewhere", ())
    )
    return Task(**given)


def _component(stored: Mapping[str, Any]) -> Component:
    return Component(stored["name"], _tuples(stored["arguments"]))


def _tuples(value: Any) -> Any:
    """Return a value with tuples where JSON has lists: nothing in a plan is a list."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


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
        for one in (content, *(also["task"] for also in content["elsewhere"])):
            for words in ("description", "notes"):
                one.pop(words)
            _drop_unset(one, "elsewhere", "matching")
            for template in (one["template"], *one["templates"]):
                _drop_unset(template, "after_instruction")
            for split in ("train", "validation", "test", "unrelated", "pool"):
                for example in one[split]:
                    _drop_unset(example, "accepted", "given")
        return digest(content)


def _drop_unset(content: dict[str, Any], *names: str) -> None:
    """Leave out what came later and is not set, so that the digests of before still hold."""
    for name in names:
        if content[name] is None or content[name] == ():
            content.pop(name)


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


def in_plan(specs: Iterable[Mapping[str, Any]]) -> Callable[[Mapping[str, Any]], tuple[int, int]]:
    """Return what sorts specs as the cells of a plan are done: by condition, then by draw.

    A base is drained before the next (`by_model`). What the plan does not have comes last.

    Args:
        specs: the cells of the plan, as it was written down.
    """
    cells = [cell for members in by_model([Cell.of(one) for one in specs]) for cell in members]
    places: dict[str, int] = {}
    for cell in cells:
        places.setdefault(group(cell.spec()), len(places))

    def place(spec: Mapping[str, Any]) -> tuple[int, int]:
        return places.get(group(spec), len(places)), min(spec["draws"], default=0)

    return place


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
    groups: dict[ModelSpec, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.model, []).append(cell)
    return [
        sorted(
            members,
            key=lambda c: ORDER.index(c.adaptation.name) if c.adaptation.name in ORDER else 99,
        )
        for members in groups.values()
    ]
