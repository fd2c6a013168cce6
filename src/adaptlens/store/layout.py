"""What a run's folder holds beside its cells, and what may be wrong with it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from adaptlens.store.atomic import is_stale_temporary, make_folder
from adaptlens.store.links import CELLS, MARKER, link_refused, refuse_links
from adaptlens.store.problems import LEFT
from adaptlens.store.sealed import Damaged, read_sealed

LOCK = "lock"
SEALED = ("study.json", "loading.json", "about.json", "summary.json")
"""Files that `Run.write_json` writes; so is every file in `tasks`."""
FILES = (MARKER, LOCK, *SEALED, "report.html")
FLAT = ("tasks", "leases", "commands", "workers", "tables", "figures", "circuits")
"""Folders of files."""
ASIDE = "damaged"
"""Where what is damaged is put, so that nothing is lost."""
FOLDERS = (CELLS, *FLAT, ASIDE)


def is_of_a_run(name: str) -> bool:
    """Say whether a run may hold an entry of this name."""
    return name in FILES or name in FOLDERS or name.endswith(".tmp")


def is_of_a_new_run(name: str) -> bool:
    """Say whether a folder that holds an entry of this name may still become a run."""
    return name in (MARKER, LOCK) or name.endswith(".tmp")


def set_aside(run: Path, path: Path) -> str:
    """Move something in a run into its folder `damaged`; return where it is now, in the run.

    The caller has the lock.
    """
    make_folder(run / ASIDE)
    name = path.name if path.parent.name == CELLS else path.relative_to(run).as_posix()
    name, number = name.replace("/", "-"), 0
    while os.path.lexists(target := run / ASIDE / (f"{name}.{number}" if number else name)):
        number += 1
    path.rename(target)
    return f"{ASIDE}/{target.name}"


def cell_folders(run: Path) -> list[Path]:
    """Return the folders of all cells, by id; one that was only just begun may be empty.

    Raises:
        UserError: a link is among them.
    """
    refuse_links(run / CELLS)
    folders = []
    for path in _entries(run / CELLS):
        if path.is_symlink():
            raise link_refused(path)
        if path.is_dir():
            folders.append(path)
    return folders


def misplaced(run: Path) -> list[Path]:
    """Return folders where files belong, files where folders do, and what is neither.

    Raises:
        UserError: a link is among them.
    """
    wanted = [(run / name, stat.S_ISREG) for name in FILES]
    wanted += [(run / name, stat.S_ISDIR) for name in FOLDERS]
    wanted += [(path, stat.S_ISDIR) for path in _entries(run / CELLS) if _is_cell(path.name)]
    wanted += [(path, stat.S_ISREG) for name in FLAT for path in _entries(run / name)]
    found = []
    for path, belongs in wanted:
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISLNK(mode):
            raise link_refused(path)
        if not belongs(mode):
            found.append(path)
    return found


def damaged_files(run: Path) -> list[Damaged]:
    """Return what is wrong with the plan and all that is written down beside it."""
    names = [run / name for name in SEALED]
    names += [path for path in _entries(run / "tasks") if path.suffix == ".json"]
    found = []
    for path in names:
        if os.path.lexists(path):
            try:
                read_sealed(path)
            except Damaged as damage:
                found.append(damage)
    return found


def lost_files(run: Path) -> list[tuple[Path, str]]:
    """Return parts of the plan that are not there, though others say that they were."""
    study, tasks = run / SEALED[0], list(_entries(run / "tasks"))
    if not os.path.lexists(study):
        return [(study, "is missing, though its tasks are there")] if tasks else []
    try:
        cells = read_sealed(study).get("cells", ())
    except Damaged:
        return []
    names = dict.fromkeys(f"{str(cell['task']['digest'])[:20]}.json" for cell in cells)
    wanted = [run / "tasks" / name for name in names]
    return [(path, "is missing, though the plan has it") for path in wanted if path not in tasks]


def stale_temporaries(run: Path, now: float) -> list[Path]:
    """Return the temporary files that interrupted processes left outside the cells."""
    places = (run, run / CELLS, *(run / name for name in FLAT))
    return [path for place in places for path in _entries(place) if is_stale_temporary(path, now)]


def run_problems(run: Path, now: float) -> list[tuple[str, str]]:
    """Return what is wrong with a run beside its cells: the file, and what."""
    found = [(path, "is not what belongs in its place") for path in misplaced(run)]
    found += [(damage.path, damage.reason) for damage in damaged_files(run)]
    found += lost_files(run)
    found += [(path, LEFT) for path in stale_temporaries(run, now)]
    found += [
        (path, "foreign: not a cell")
        for path in _entries(run / CELLS)
        if not path.is_dir() and not _is_cell(path.name) and not path.name.endswith(".tmp")
    ]
    return sorted({path.relative_to(run).as_posix(): what for path, what in found}.items())


def _entries(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (folder / name for name in names)


def _is_cell(name: str) -> bool:
    return len(name) == 20 and set(name) <= set("0123456789abcdef")
