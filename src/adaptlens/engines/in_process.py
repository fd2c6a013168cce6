"""One cell after another in this process; several processes may share one run."""

import time
from dataclasses import dataclass

from adaptlens.engines import LoadModel, Outcome, Reporter
from adaptlens.lm.memory import keep_freed_memory
from adaptlens.run import run_cell
from adaptlens.store import ClaimLost, Run, cell_id
from adaptlens.study import Study, by_model, missing

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class InProcess:
    """Loads a base model once, drains its cells, then takes the next.

    A cell that another process holds is left to it; when nothing else is left, this engine waits
    for it, and takes it over if that process dies.
    """

    def run(self, study: Study, run: Run, load: LoadModel, reporter: Reporter) -> Outcome:
        """Finish every cell of the study.

        Raises:
            UserError: at the first cell that fails for a reason the user can fix.
        """
        pending = missing(study.cells, (record.spec for record in run.records()))
        found_done = len(study.cells) - len(pending)
        reporter.begin(len(study.cells), found_done)
        finished = 0
        failed: list[tuple[str, str]] = []
        while pending:
            held = []
            for group in by_model(pending):
                lm = None
                for cell in group:
                    claim = run.claim(cell.spec())
                    if claim is None:
                        held.append(cell)
                        continue
                    try:
                        reporter.started(cell)
                        if lm is None:
                            lm = load(cell)
                            if lm.device.type == "cpu":
                                keep_freed_memory()
                    except BaseException:
                        claim.release()
                        raise
                    task = study.tasks[cell.task["digest"]]
                    try:
                        reason = run_cell(cell, task, lm, claim, reporter.progress)
                    except ClaimLost:
                        held.append(cell)
                        continue
                    if reason is None:
                        finished += 1
                        reporter.finished(cell)
                    else:
                        failed.append((cell_id(cell.spec()), reason))
                        reporter.failed(cell, reason)
            left = [cell for cell in held if not run.is_done(cell_id(cell.spec()))]
            found_done += len(held) - len(left)
            if left and len(left) == len(pending):
                reporter.waiting(len(left))
                time.sleep(POLL_SECONDS)
            pending = left
        return Outcome(finished, found_done, tuple(failed))
