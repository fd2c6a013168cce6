"""A worker that knows a run's folder and nothing else: it reads the plan there and drains it.

Workers of this machine, of a Ray cluster and of a batch system are all this one.
"""

from pathlib import Path
from typing import Any

from adaptlens.cells import STUDY_FILE, Cell, Study, planned
from adaptlens.engines import LoadModel, Outcome, Reporter
from adaptlens.engines.drain import drain
from adaptlens.errors import UserError
from adaptlens.lm.load import load
from adaptlens.models import identity
from adaptlens.store import Run

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
    if (study := planned(run)) is None:
        raise _unplanned(run)
    load_model = loader(run, device)
    brought = run.need_json(LOADING_FILE).get("brought", {})
    return drain(study.finding(brought), run, load_model, reporter)


def loading(study: Study, config: Any) -> dict[str, Any]:
    """Return what `LOADING_FILE` holds: where models and brought arms are, and how to load.

    Paths are written as absolute ones, so that a worker may run anywhere on the same disks.
    """
    return {
        "models": {name: identity.absolute(source) for name, source in study.sources.items()},
        "brought": study.brought,
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
            stored["models"][cell.model.name],
            dtype=cell.model.dtype,
            device=device or stored["device"],
            chat=stored["chat"],
            quantize=stored["quantize"],
        )
        if lm.digest != cell.model.digest:
            raise UserError(
                f"model '{cell.model.name}' is not the one the run was planned with: its files "
                "have changed, or differ on this machine; run the study's command again."
            )
        return lm

    return load_model


def _unplanned(run: Run) -> UserError:
    return UserError(
        f"run '{run.folder}' holds no plan to work on (no {STUDY_FILE} or {LOADING_FILE}); start "
        f"its study first: adaptlens compare --out {run.folder}, or adaptlens study NAME."
    )
