"""Whether a cell on disk is what was written: quickly, by its result and sizes, or every byte."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptlens.store.claim import OWN_FILES, leftovers
from adaptlens.store.events import read_events, was_finished
from adaptlens.store.finished import file_digest, read_result, read_spec
from adaptlens.store.links import link_refused
from adaptlens.store.sealed import Damaged

LEFT = "left by an interrupted process; removed when the same command runs again"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something found wrong: in which cell, in which file (a path in the cell's folder), what.

    What is wrong with the run itself has no cell, and a path in the run's folder.
    """

    cell: str
    file: str
    message: str

    @property
    def is_harmless(self) -> bool:
        """Whether no result depends on it: what was left over, what is foreign, the log."""
        return self.message == LEFT or "foreign" in self.message or self.file == "log.jsonl"


def cell_damage(folder: Path, *, done: bool) -> Damaged | None:
    """Return what is wrong with a cell, as far as it shows without reading its arrays.

    Of a finished cell the result and the spec are checked, and that every file is there with its
    size; of another one the spec and the log.

    Raises:
        UserError: a link is in the cell, or a file cannot be read.
    """
    try:
        read_spec(folder)
        if done:
            _check_sizes(folder, read_result(folder / "result.json")["files"])
        else:
            read_events(folder)
            refuse_lost_result(folder)
    except Damaged as damage:
        return damage
    return None


def refuse_lost_result(folder: Path) -> None:
    """Raise Damaged where a cell has no result though its log says that it was finished."""
    result = folder / "result.json"
    # The result is written first: asked again, it cannot be one that came in between.
    if was_finished(folder) and not os.path.lexists(result):
        raise Damaged(result, "is missing, though the cell was finished")


def _check_sizes(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for inner in sorted({parent for name in files for parent in (folder / name).parents}):
        if inner.is_relative_to(folder) and inner.is_symlink():
            raise link_refused(inner)
    for name, written in files.items():
        if wrong := _wrong_size(folder / name, written):
            raise Damaged(folder / name, f"is damaged ({wrong})" if " " in wrong else "is missing")


def _wrong_size(path: Path, written: Mapping[str, Any]) -> str:
    """Return what is wrong with a file as far as its entry in its folder says it, or nothing."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    if stat.S_ISLNK(status.st_mode):
        raise link_refused(path)
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    if status.st_size != written["bytes"]:
        return f"has {status.st_size} bytes, written {written['bytes']}"
    return ""


def cell_problems(folder: Path, *, held: bool, now: float) -> list[Problem]:
    """Return what is wrong with one cell; every file is read.

    Args:
        folder: of the cell.
        held: a live process is working on it.
        now: the present time by the clock of the disk.
    """
    done = os.path.lexists(folder / "result.json")
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    if folder.is_symlink() or links:
        named = [path.relative_to(folder).as_posix() for path in links]
        message = "a link; nothing in a run is read or written through links"
        return [Problem(folder.name, name, message) for name in named or [""]]
    found = [] if held and not done else _spec_problems(folder, done=done)
    stale = [] if held else [p.name for p in leftovers(folder, done=done, now=now)]
    found += [(name, LEFT) for name in stale]
    try:
        read_events(folder)
    except Damaged as damage:
        found.append(("log.jsonl", damage.reason))
    if done:
        found += _result_problems(folder, ignored=set(stale), held=held)
    elif was_finished(folder) and not held:
        found.append(("result.json", "is missing, though the cell was finished"))
    return [Problem(folder.name, file, message) for file, message in found]


def _spec_problems(folder: Path, *, done: bool) -> list[tuple[str, str]]:
    if not done and not os.path.lexists(folder / "spec.json"):
        return [("spec.json", "is missing: the process that began this cell was interrupted")]
    try:
        read_spec(folder)
    except Damaged as damage:
        return [("spec.json", damage.reason)]
    return []


def _result_problems(folder: Path, *, ignored: set[str], held: bool) -> list[tuple[str, str]]:
    try:
        content = read_result(folder / "result.json")
    except Damaged as damage:
        return [("result.json", damage.reason)]
    found = []
    for name, written in content["files"].items():
        if wrong := _wrong_size(folder / name, written):
            found.append((name, wrong))
        elif file_digest(folder / name) != written["sha256"]:
            found.append((name, "changed since it was written (its SHA-256 differs)"))
    known = set(content["files"]) | OWN_FILES
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        top = path.relative_to(folder).parts[0]
        if not path.is_dir() and name not in known and top not in ignored and not held:
            found.append((name, "foreign: not among the files the result names"))
    return found
