"""Whether a run on disk is what was written: every file against its digest."""

import json
from dataclasses import dataclass
from pathlib import Path

from adaptlens.canonical import digest
from adaptlens.errors import UserError
from adaptlens.store.claims import OWN_FILES, leftovers
from adaptlens.store.records import file_digest, read_result

ID_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """Something found wrong: in which cell, in which file (a path in the cell's folder), what."""

    cell: str
    file: str
    message: str


def cell_problems(folder: Path, *, held: bool) -> list[Problem]:
    """Return what is wrong with one cell; `held` says that a live process is working on it."""
    done = (folder / "result.json").exists()
    found = [] if held and not done else _spec_problems(folder, done=done)
    stale = [] if held else [p.name for p in leftovers(folder, done=done)]
    found += [
        (name, "left by an interrupted process; removed when the same command runs again")
        for name in stale
    ]
    if done:
        found += _result_problems(folder, ignored=set(stale), held=held)
    return [Problem(folder.name, file, message) for file, message in found]


def _spec_problems(folder: Path, *, done: bool) -> list[tuple[str, str]]:
    try:
        spec = json.loads((folder / "spec.json").read_bytes())
        named = digest(spec)[:ID_DIGITS]
    except FileNotFoundError:
        reason = "" if done else ": the process that began this cell was interrupted"
        return [("spec.json", f"missing{reason}")]
    except (ValueError, TypeError):
        return [("spec.json", "damaged: not JSON")]
    if named != folder.name:
        return [("spec.json", f"describes the cell {named}, not this one")]
    return []


def _result_problems(folder: Path, *, ignored: set[str], held: bool) -> list[tuple[str, str]]:
    try:
        content = read_result(folder / "result.json")
    except UserError as error:
        return [("result.json", str(error))]
    found = []
    if content["cell"] != folder.name:
        found.append(("result.json", f"belongs to the cell {content['cell']}"))
    for name, expected in content["files"].items():
        path = folder / name
        if not path.is_file():
            found.append((name, "missing"))
        elif path.stat().st_size != expected["bytes"]:
            found.append((name, f"has {path.stat().st_size} bytes, written {expected['bytes']}"))
        elif file_digest(path) != expected["sha256"]:
            found.append((name, "changed since it was written (its SHA-256 differs)"))
    known = set(content["files"]) | OWN_FILES
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        top = path.relative_to(folder).parts[0]
        if path.is_file() and name not in known and top not in ignored and not held:
            found.append((name, "foreign: not among the files the result names"))
    return found
