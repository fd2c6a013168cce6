"""One plan at a time: commands with other settings keep off a run that is worked on."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adaptlens.errors import UserError
from adaptlens.store.atomic import make_folder, remove, writing
from adaptlens.store.layout import LOCK
from adaptlens.store.lease import Lease
from adaptlens.store.owners import live_owner, locked

FOLDER = "commands"
_DIGITS = 20


@contextmanager
def working(run: Path, plan: str) -> Iterator[None]:
    """Work on a run under one plan, together with others that have the same.

    Args:
        run: the folder of the run.
        plan: a digest of what the command is to do.

    Raises:
        UserError: a live process works on the run under another plan, or the disk refuses.
    """
    folder = run / FOLDER
    make_folder(folder)
    path = folder / f"{plan[:_DIGITS]}.{uuid.uuid4().hex}"
    with locked(run / LOCK) as now, writing(path):
        for name in sorted(os.listdir(folder)):
            other = live_owner(folder / name, now)
            if other is None:
                remove(folder / name)
            elif name.partition(".")[0] != plan[:_DIGITS]:
                raise UserError(
                    f"run '{run}' is being worked on with other settings by {other.said()}; wait "
                    "for it, or give this command a folder of its own (--out)."
                )
        lease = Lease(path, run / LOCK)
    with lease:
        yield
