"""One plan at a time: commands with other settings keep off a run that is worked on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adaptlens.errors import UserError
from adaptlens.store.atomic import make_folder, remove, writing
from adaptlens.store.layout import LOCK
from adaptlens.store.owners import Heartbeat, Owner, create_claim, live_owner, locked

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
    owner = Owner.this_process()
    path = folder / f"{plan[:_DIGITS]}.{owner.token}"
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
        create_claim(path, owner)
    heartbeat = Heartbeat(path)
    try:
        yield
    finally:
        heartbeat.stop()
        # A mark that the disk does not let go of ends with its process.
        with suppress(OSError, UserError):
            remove(path)
