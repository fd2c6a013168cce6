"""The one way from what a study wants to its cells: conditions of models and tasks."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol

from adaptlens import registry, tasks, telling
from adaptlens.cells import Cell, Study, cut, resolve, task_digest
from adaptlens.errors import UserError
from adaptlens.models import identity
from adaptlens.prompts.template_turns import check_number
from adaptlens.types import ModelSpec, Task, TaskSpec

UNTRAINED = "untrained:"

Measurement = tuple[str, Mapping[str, Any]]
"""The name of a measurement, and its arguments."""


class Loading(Protocol):
    """How the models of a study are loaded."""

    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def chat(self) -> bool: ...  # noqa: D102
    @property
    def quantize(self) -> str | None: ...  # noqa: D102


class Sizes(Protocol):
    """How many items of each task a study takes; None means all."""

    @property
    def queries(self) -> int | None: ...  # noqa: D102
    @property
    def validation(self) -> int | None: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Wanted:
    """A condition that a study wants: a task, a way of adapting to it, and what is measured.

    Attributes:
        task: what is adapted to and read.
        adaptation: its registered name.
        arguments: those that are not to be its defaults.
        draws: of examples; `NO_DRAWS` where it draws none.
        measurements: made of each draw.
    """

    task: Task
    adaptation: str
    arguments: Mapping[str, Any]
    draws: tuple[int, ...]
    measurements: Sequence[Measurement]

    @property
    def label(self) -> str:
        """What tables call the condition."""
        return str(resolve("adaptation", self.adaptation, **self.arguments)[1].label)

    def cells(self, model: ModelSpec, digest: str, seed: int) -> list[Cell]:
        """Return the cells of a model that hold the condition, of all draws together.

        Args:
            model: which.
            digest: of the task.
            seed: of everything random.

        Raises:
            UserError: draws are to be tuned on more templates than the task has.
        """
        task = TaskSpec(self.task.name, digest, self.task.kind, len(self.task.test), seed)
        component, made = resolve("adaptation", self.adaptation, **self.arguments)
        check_number(self.task, component.arguments.get("num_templates"))
        if settled := getattr(made, "settled", None):
            component = replace(component, arguments=asdict(settled(self.task, model.source)))
        measured = tuple(resolve("measurement", name, **of)[0] for name, of in self.measurements)
        cell = Cell(model, task, component, made.label, measured, self.draws, seed)
        return cut(cell, made.draws_per_cell)


def study_of(
    name: str,
    config: Any,
    wanted: Iterable[tuple[ModelSpec, Iterable[Wanted]]],
    notes: Iterable[str] = (),
) -> Study:
    """Return the study that holds what is wanted of each model, in that order.

    Args:
        name: of the study.
        config: its settings, a dataclass.
        wanted: models, and the conditions of each; a model may stand there several times.
        notes: what a reader of the results needs to know.
    """
    cells: list[Cell] = []
    known: dict[int, tuple[Task, str]] = {}
    for model, conditions in wanted:
        for one in conditions:
            task = one.task
            if id(task) not in known:
                known[id(task)] = task, task_digest(task)
            cells += one.cells(model, known[id(task)][1], config.seed)
    by_digest = {digest: task for task, digest in known.values()}
    if config.dtype == "auto":
        notes = (*notes, *(f"dtype auto is {cell.model.dtype} on this machine" for cell in cells))
    return Study(name, asdict(config), tuple(cells), by_digest, tuple(dict.fromkeys(notes)))


def those_taken(adaptation: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some settings that a way of adapting has, and that are not None.

    So zero-shot takes no seed, and full tuning no rank of LoRA.
    """
    return {
        name: value
        for name, value in given.items()
        if value is not None and takes(adaptation, name)
    }


def takes(adaptation: str, argument: str) -> bool:
    """Whether a way of adapting has an argument of that name."""
    return argument in {field.name for field in fields(registry.resolve("adaptation", adaptation))}


def models_of(names: Iterable[str], config: Loading) -> dict[str, ModelSpec]:
    """Return what cells say of each model, by the name that it was given by.

    A number format that was left to the device is the one it has here.

    Raises:
        UserError: a model is not there or cannot be read; see `models.identity.locate`.
    """
    dtype = config.dtype
    if dtype == "auto":
        from adaptlens.lm.weights import find_device, find_dtype

        dtype = find_dtype(dtype, find_device(config.device))
    return {
        name: replace(
            identity.identify(name, dtype=dtype, chat=config.chat, quantize=config.quantize),
            name=shown,
        )
        for name, shown in shown_names(names).items()
    }


def shown_names(names: Iterable[str]) -> dict[str, str]:
    """Return each model's name for tables: of a path its last part, unless two would be alike."""
    names = list(names)
    shown = {name: identity.label(name) for name in names}
    alike = Counter(shown.values())
    return {name: name if alike[own] > 1 else own for name, own in shown.items()}


def load_tasks(given: Iterable[str | Mapping[str, Any]], config: Sizes) -> list[Task]:
    """Return the tasks, as `load_task` does; a name that stands for several gives them all."""
    return [load_task(one, config) for settings in given for one in _each(settings)]


def _each(settings: str | Mapping[str, Any]) -> list[dict[str, Any]]:
    own = {"path": settings} if isinstance(settings, str) else dict(settings)
    return [{**own, "path": name} for name in tasks.members(own["path"])]


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
