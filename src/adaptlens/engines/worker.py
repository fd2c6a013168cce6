"""A worker that knows a run's folder and nothing else: it reads the plan there and drains it.

Workers of this machine, of a Ray cluster and of a batch system are all this one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptlens.cells import STUDY_FILE, Cell, Component, Study
from adaptlens.engines import LoadModel, Outcome, Reporter
from adaptlens.engines.drain import drain
from adaptlens.errors import UserError
from adaptlens.lm.load import load
from adaptlens.models import identity
from adaptlens.store import Run
from adaptlens.types import Example, Task, Template

LOADING_FILE = "loading.json"
"""What a worker needs to load the models of a run; beside the plan."""


def work(folder: str | Path, reporter: Reporter, *, device: str | None = None) -> Outcome:
    """Drain a run that was planned, together with whoever else works on it.

    Args:
        folder: of the run.
        reporter: who is told of progress.
        device: where to run, instead of where the plan says.

    Raises:
        UserError: there is no plan, or a cell failed for a reason the user can fix.
    """
    run = Run.open(folder)
    return drain(planned(run), run, loader(run, device), reporter)


def loading(models: Mapping[str, str], config: Any) -> dict[str, Any]:
    """Return what `LOADING_FILE` holds: each model's source by its name in cells, and how to load.

    Paths are written as absolute ones, so that a worker may run anywhere on the same disks.
    """
    return {
        "models": {shown: identity.absolute(source) for shown, source in models.items()},
        "dtype": config.dtype,
        "device": config.device,
        "chat": config.chat,
        "quantize": config.quantize,
    }


def loader(run: Run, device: str | None = None) -> LoadModel:
    """Return what loads the base of a cell as the run's plan says.

    Raises:
        UserError: the run has no `LOADING_FILE`.
    """
    stored = run.read_json(LOADING_FILE)
    if stored is None:
        raise _unplanned(run)

    def load_model(cell: Cell) -> Any:
        lm = load(
            stored["models"][cell.model["name"]],
            dtype=stored["dtype"],
            device=device or stored["device"],
            chat=stored["chat"],
            quantize=stored["quantize"],
        )
        if lm.digest != cell.model["digest"]:
            raise UserError(
                f"model '{cell.model['name']}' is not the one the run was planned with: its files "
                "have changed, or differ on this machine; run the study's command again."
            )
        return lm

    return load_model


def planned(run: Run) -> Study:
    """Return the study that a run's plan describes, its tasks read from beside it.

    Raises:
        UserError: the run holds no plan.
    """
    stored = run.read_json(STUDY_FILE)
    if stored is None:
        raise _unplanned(run)
    cells = tuple(_cell(spec) for spec in stored["cells"])
    digests = dict.fromkeys(str(cell.task["digest"]) for cell in cells)
    tasks = {digest: _task(run.need_json(f"tasks/{digest[:20]}.json")) for digest in digests}
    return Study(stored["name"], stored["settings"], cells, tasks, tuple(stored["notes"]))


def _cell(spec: Mapping[str, Any]) -> Cell:
    adaptation = spec["adaptation"]
    return Cell(
        model=spec["model"],
        task=spec["task"],
        adaptation=_component(adaptation),
        label=adaptation["label"],
        measurements=tuple(_component(one) for one in spec["measurements"]),
        draws=tuple(spec["draws"]),
        seed=spec["seed"],
    )


def _component(stored: Mapping[str, Any]) -> Component:
    return Component(stored["name"], _tuples(stored["arguments"]))


def _task(stored: Any) -> Task:
    given = _tuples(stored)
    for split in ("train", "validation", "test", "unrelated", "pool"):
        given[split] = tuple(Example(**example) for example in given[split])
    given["template"] = Template(**given["template"])
    given["templates"] = tuple(Template(**one) for one in given["templates"])
    return Task(**given)


def _tuples(value: Any) -> Any:
    """Return a value with tuples where JSON has lists: nothing in a plan is a list."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def _unplanned(run: Run) -> UserError:
    return UserError(
        f"run '{run.folder}' holds no plan to work on (no {STUDY_FILE} or {LOADING_FILE}); start "
        f"its study first: adaptlens compare --out {run.folder}, or adaptlens study NAME."
    )
