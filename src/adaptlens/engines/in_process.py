"""One cell after another in this process; several processes may share one run."""

from dataclasses import dataclass

from adaptlens.cells import Study
from adaptlens.engines import LoadModel, Outcome, Reporter
from adaptlens.engines.drain import drain
from adaptlens.store import Run


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
        return drain(study, run, load, reporter)
