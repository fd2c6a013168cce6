"""Run one cell: the only place where model, task, adaptation, measurements and store meet."""

import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext

import torch

from adaptlens.cells import Cell
from adaptlens.errors import UserError
from adaptlens.lm.asked import Asked
from adaptlens.measure import axes
from adaptlens.measure.cost import PeakMemory
from adaptlens.store import Claim, ClaimLost, versions
from adaptlens.store.addresses import without_password
from adaptlens.store.atomic import writing
from adaptlens.store.hardware import hardware
from adaptlens.types import Adapted, Task

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


def run_cell(cell: Cell, task: Task, lm: Asked, claim: Claim, progress: Progress) -> str | None:
    """Adapt, measure, and write the cell's record.

    Returns:
        None when the cell is done; otherwise the reason it failed, the traceback being in its log.

    Raises:
        UserError: what the user can fix; the claim has been released.
        ClaimLost: another process took the cell over.
    """
    try:
        _run(cell, task, lm, claim, progress)
    except ClaimLost:
        raise
    except UserError as error:
        claim.fail(without_password(str(error)))
        raise
    except Exception as error:
        claim.fail(without_password(traceback.format_exc()))
        return without_password(f"{type(error).__name__}: {error}")
    except BaseException:
        claim.release()
        raise
    return None


def _run(cell: Cell, task: Task, lm: Asked, claim: Claim, progress: Progress) -> None:
    numbers: dict[str, float] = {}
    arrays = {}
    texts: dict[str, object] = {}
    start = time.perf_counter()
    before = lm.used()
    with PeakMemory(lm.device) if lm.device is not None else nullcontext() as peak:
        adaptation = cell.adaptation.make("adaptation")
        adapted = adaptation.adapt(
            lm, task, cell.draws, progress=lambda i, n: progress("training", i, n)
        )
        claim.log("adapted", seconds=round(time.perf_counter() - start, 3))
        for component in cell.measurements:
            measurement = component.make("measurement")
            found = measurement.measure(
                lm, task, adapted, progress=lambda i, n: progress("scoring", i, n)
            )
            for name, array in found.arrays.items():
                axes.check(f"{component.name}.{name}", array)
            claim.log("measured", measurement=component.name)
            numbers.update(found.numbers)
            arrays.update({f"{component.name}.{k}": v for k, v in found.arrays.items()})
            texts.update(found.texts)
    if adapted.weights is not None:
        with writing(claim.folder):
            adapted.weights.save(claim.folder / "adapters", _names(adapted))
    numbers |= {name: value - before[name] for name, value in lm.used().items()}
    if peak is not None:
        numbers["peak_bytes"] = float(peak.peak_bytes)
    numbers["cell_seconds"] = time.perf_counter() - start
    curves = {k: v for k, v in adapted.training.items() if not isinstance(v, (int, float))}
    claim.finish(
        {
            "draws": list(dict.fromkeys(adapted.draws)),
            "numbers": numbers,
            "templates": list(adapted.templates),
            "training": curves,
            "notes": [*lm.notes, *adapted.notes],
            "versions": versions.installed(),
            "machine": {**hardware(), **_used(lm)},
        },
        arrays,
        texts,
    )


def _used(lm: Asked) -> dict[str, str | int]:
    """Return what the model ran on, and with how many threads of the processor."""
    if lm.device is None:
        return {"device": "a server"}
    device = torch.device(lm.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "threads": torch.get_num_threads()}


def _names(adapted: Adapted) -> list[str]:
    """Return what to call each set of weights: the draw, and the step where there are several."""
    names = [f"draw={draw}" for draw in adapted.draws]
    if not adapted.checkpoint_steps:
        return list(dict.fromkeys(names))
    each = len(names) // len(adapted.checkpoint_steps)
    steps = [steps for steps in adapted.checkpoint_steps for _ in range(each)]
    return [f"{name},step={step}" for name, step in zip(names, steps, strict=True)]
