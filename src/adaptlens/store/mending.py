"""What is damaged is set aside, so that the command that made it makes it anew."""

import os
import time
from contextlib import suppress
from pathlib import Path

from adaptlens.store.atomic import remove, writing
from adaptlens.store.claim import CLAIM, leftovers, remove_leftovers
from adaptlens.store.events import LOG, read_events
from adaptlens.store.layout import (
    LOCK,
    cell_folders,
    damaged_files,
    misplaced,
    set_aside,
    stale_temporaries,
)
from adaptlens.store.owners import live_owner, locked
from adaptlens.store.problems import cell_damage, cell_problems
from adaptlens.store.sealed import Damaged


def mend(run: Path, *, thorough: bool = False) -> list[str]:
    """Clear what dead processes left in a run, and set aside what is damaged, under `damaged/`.

    Cells that a live process holds are left alone. What is set aside no longer counts: whoever
    wants such a cell makes it anew.

    Args:
        run: the folder of the run.
        thorough: compare every byte with its digest, where else sizes and results are looked at.

    Returns:
        a sentence for each thing that was set aside.

    Raises:
        UserError: the disk refuses, or a link is in the run.
    """
    said = []
    with writing(run):
        for path in misplaced(run):
            if path.name == LOCK:
                said.append(_sentence(run, path, "is no file", set_aside(run, path)))
        with locked(run / LOCK) as now:
            for path in misplaced(run):
                said.append(_sentence(run, path, "is out of place", set_aside(run, path)))
            for damage in damaged_files(run):
                if os.path.lexists(damage.path):
                    where = set_aside(run, damage.path)
                    said.append(_sentence(run, damage.path, damage.reason, where))
            for path in stale_temporaries(run, now):
                remove(path)
        for folder in cell_folders(run):
            # Another command may set the same cell aside.
            with suppress(FileNotFoundError):
                said += _mend_cell(run, folder, thorough=thorough)
    return said


def _mend_cell(run: Path, folder: Path, *, thorough: bool) -> list[str]:
    stamp = _stamp(folder)
    damage, torn = _damage(folder, thorough=thorough), _torn_log(folder)
    if not (damage or torn or leftovers(folder, done=bool(stamp), now=time.time())):
        return []
    with locked(run / LOCK) as now:
        # Under the lock nobody takes or gives back the cell; until it was had, somebody may have.
        if live_owner(folder / CLAIM, now) is not None or _stamp(folder) != stamp:
            return []
        if damage is not None and (stamp or _damage(folder, thorough=False)):
            return [_sentence(run, damage.path, damage.reason, set_aside(run, folder))]
        if torn is not None and (folder / LOG).exists():
            return [_sentence(run, torn.path, torn.reason, set_aside(run, folder / LOG))]
        if folder.exists():
            remove_leftovers(folder, done=bool(stamp), now=now)
    return []


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Return what tells a cell's result from another one in its place; None where there is none."""
    try:
        status = os.lstat(folder / "result.json")
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _damage(folder: Path, *, thorough: bool) -> Damaged | None:
    done = _stamp(folder) is not None
    if not done and not os.path.lexists(folder / "spec.json"):
        return None
    damage = cell_damage(folder, done=done)
    if damage is None and done and thorough:
        for problem in cell_problems(folder, held=False, now=time.time()):
            if not problem.is_harmless:
                return Damaged(folder / problem.file, problem.message)
    return damage


def _torn_log(folder: Path) -> Damaged | None:
    try:
        read_events(folder)
    except Damaged as damage:
        return damage
    return None


def _sentence(run: Path, path: Path, reason: str, where: str) -> str:
    name = path.relative_to(run).as_posix()
    return f"'{run}': {name} {reason}; set aside as '{where}', and made anew where it is needed"
