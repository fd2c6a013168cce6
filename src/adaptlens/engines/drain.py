"""What every worker does, whoever started it: lease a base, drain its cells, take the next."""

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from adaptlens.canonical import digest
from adaptlens.cells import Cell, Study, by_model, missing
from adaptlens.engines import LoadModel, Outcome, Reporter
from adaptlens.engines.cell import run_cell
from adaptlens.lm.memory import keep_freed_memory
from adaptlens.store import ClaimLost, Run, cell_id

POLL_SECONDS = 0.5

Held = AbstractContextManager[Any]


def drain(study: Study, run: Run, load: LoadModel, reporter: Reporter) -> Outcome:
    """Finish every cell of the study, together with whoever else works on the run.

    A base nobody has is taken before one that somebody drains; when there is none left, the worker
    helps where most is left to do, from the other end: what takes longest, tuning on the most
    examples, is not left for when only one worker has anything to do. Cells that other processes
    hold are waited for, and taken over if those die; cells that failed elsewhere meanwhile are not
    tried again.

    Raises:
        UserError: at the first cell that fails for a reason the user can fix.
    """
    wanted = missing(study.cells, (record.spec for record in run.records()))
    pending = {cell_id(cell.spec()): cell for cell in wanted}
    found_done = len(study.cells) - len(pending)
    reporter.begin(len(study.cells), found_done)
    seen = {name: len(run.log(name)) for name in pending}
    finished = 0
    failed: dict[str, str] = {}
    loaded: dict[str, Any] = {}
    while pending:
        free = {name: cell for name, cell in pending.items() if not run.holder(name)}
        group, held = _next_base(run, free, loaded)
        worked = False
        with held:
            for name in group:
                cell = pending[name]
                # What failed elsewhere meanwhile is left alone.
                claim = None if run.failure(name, seen[name]) else run.claim(cell.spec())
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
                task = study.tasks[cell.task.digest]
                try:
                    reason = run_cell(cell, task, loaded[base], claim, reporter.progress)
                except ClaimLost:
                    continue
                if reason is None:
                    finished += 1
                    reporter.finished(cell)
                else:
                    failed[name] = reason
                    reporter.failed(cell, reason)
        left = {}
        for name, cell in pending.items():
            if name in failed or run.is_done(name):
                continue
            if reason := run.failure(name, seen[name]):
                failed[name] = reason
            else:
                left[name] = cell
        if left and not worked:
            reporter.waiting(len(left), _holders(run, left))
            time.sleep(POLL_SECONDS)
        pending = left
    done = len(study.cells) - len(failed)
    return Outcome(finished, done - finished, tuple(failed.items()))


def _holders(run: Run, cells: Iterable[str]) -> str:
    """Return who holds the cells, and until when they do."""
    return "; ".join(dict.fromkeys(one.said() for name in cells if (one := run.holder(name))))


def _next_base(
    run: Run, free: Mapping[str, Cell], loaded: Mapping[str, Any]
) -> tuple[list[str], Held]:
    """Return the free cells of the base to take next in their order, and what holds it."""
    names = {id(cell): name for name, cell in free.items()}
    groups = {
        _base(group[0]): [names[id(cell)] for cell in group]
        for group in by_model(list(free.values()))
    }
    # A base that is loaded already comes first: it costs nothing to go on with.
    for base in sorted(groups, key=lambda base: base not in loaded):
        if taken := run.lease_base(base):
            return groups[base], taken
    most = max(groups.values(), key=len, default=[])
    helped = next((groups[base] for base in groups if base in loaded), most)
    return helped[::-1], nullcontext()


def _ready(lm: Any) -> Any:
    if lm.device is not None and lm.device.type == "cpu":
        keep_freed_memory()
    return lm


def _base(cell: Cell) -> str:
    return digest(cell.model.stored())
