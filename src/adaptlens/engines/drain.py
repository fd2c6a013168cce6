"""What every worker does, whoever started it: lease a base, drain its cells, take the next."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from adaptlens.canonical import digest
from adaptlens.engines import LoadModel, Outcome, Reporter
from adaptlens.engines.leases import failure, is_held, lease, now
from adaptlens.lm.memory import keep_freed_memory
from adaptlens.run import run_cell
from adaptlens.store import Claim, ClaimLost, Run, cell_id
from adaptlens.study import Cell, Study, by_model, missing

POLL_SECONDS = 0.5

Held = AbstractContextManager[Any]


def drain(study: Study, run: Run, load: LoadModel, reporter: Reporter) -> Outcome:
    """Finish every cell of the study, together with whoever else works on the run.

    A base nobody has is taken before one that somebody drains; when there is none left, the worker
    helps where most is left to do. Cells that other processes hold are waited for, and taken over
    if those die; cells that failed elsewhere meanwhile are not tried again.

    Raises:
        UserError: at the first cell that fails for a reason the user can fix.
    """
    pending = missing(study.cells, (record.spec for record in run.records()))
    found_done = len(study.cells) - len(pending)
    reporter.begin(len(study.cells), found_done)
    started = now()
    finished = 0
    failed: dict[str, str] = {}
    loaded: dict[str, Any] = {}
    while pending:
        free = [cell for cell in pending if not is_held(run, cell)]
        group, held = _next_base(run, free, loaded)
        worked = False
        with held:
            for cell in group:
                claim = _claimed(run, cell, started)
                if claim is None:
                    continue
                worked = True
                try:
                    reporter.started(cell)
                    if (base := _base(cell)) not in loaded:
                        loaded.clear()
                        loaded[base] = _ready(load(cell))
                except BaseException:
                    claim.release()
                    raise
                task = study.tasks[cell.task["digest"]]
                try:
                    reason = run_cell(cell, task, loaded[base], claim, reporter.progress)
                except ClaimLost:
                    continue
                if reason is None:
                    finished += 1
                    reporter.finished(cell)
                else:
                    failed[cell_id(cell.spec())] = reason
                    reporter.failed(cell, reason)
        left = []
        for cell in pending:
            name = cell_id(cell.spec())
            if name in failed or run.is_done(name):
                continue
            if reason := failure(run, cell, started):
                failed[name] = reason
            else:
                left.append(cell)
        if left and not worked:
            reporter.waiting(len(left))
            time.sleep(POLL_SECONDS)
        pending = left
    done = len(study.cells) - len(failed)
    return Outcome(finished, done - finished, tuple(failed.items()))


def _next_base(run: Run, free: Sequence[Cell], loaded: dict[str, Any]) -> tuple[list[Cell], Held]:
    """Return the free cells of the base to take next, and what holds it; none, to wait."""
    groups = {_base(group[0]): group for group in by_model(free)}
    # A base that is loaded already comes first: it costs nothing to go on with.
    for base in sorted(groups, key=lambda base: base not in loaded):
        if taken := lease(run, base):
            return groups[base], taken
    most = max(groups.values(), key=len, default=[])
    return next((groups[base] for base in groups if base in loaded), most), nullcontext()


def _claimed(run: Run, cell: Cell, started: Any) -> Claim | None:
    """Return the right to do the cell, unless it is done, held, or failed elsewhere meanwhile."""
    return None if failure(run, cell, started) else run.claim(cell.spec())


def _ready(lm: Any) -> Any:
    if lm.device.type == "cpu":
        keep_freed_memory()
    return lm


def _base(cell: Cell) -> str:
    return digest(dict(cell.model))
