"""A run: a folder of cells that several processes may work on at once."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adaptlens.canonical import canonical_json, digest, read_tagged_json, tagged_json
from adaptlens.errors import UserError
from adaptlens.store.claims import Claim, leftovers, remove_leftovers
from adaptlens.store.files import TEMPORARY_SUFFIX, sync_folder, write_atomically, writing
from adaptlens.store.owners import Owner, locked, read_owner
from adaptlens.store.problems import ID_DIGITS, Problem, cell_problems
from adaptlens.store.records import Record, read_json, read_record

FORMAT = 1

State = Literal["done", "running", "failed", "interrupted", "pending"]
STATES: tuple[State, ...] = ("done", "running", "failed", "interrupted", "pending")


@dataclass(frozen=True, slots=True)
class CellStatus:
    """Where a cell stands: `error` is set where it failed, `host` and `pid` where it is running."""

    id: str
    state: State
    host: str = ""
    pid: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Where every cell of a run stands."""

    cells: tuple[CellStatus, ...]

    @property
    def counts(self) -> dict[State, int]:
        """The number of cells in each state."""
        found = Counter(cell.state for cell in self.cells)
        return {state: found[state] for state in STATES}


def cell_id(spec: Mapping[str, Any]) -> str:
    """Return the name of the cell that a spec describes: the first 20 digits of its digest."""
    return digest(spec)[:ID_DIGITS]


class Run:
    """A folder of cells. Several processes, on several machines, may work on one run at once."""

    def __init__(self, folder: Path) -> None:
        """Name a run; use `Run.open`, which checks the folder."""
        self.folder = folder

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @staticmethod
    def open(folder: str | Path, create: bool = False) -> "Run":
        """Return the run in `folder`, checked to be one that this version can read.

        Args:
            folder: where the run is, or is to be.
            create: make the folder a run where it is missing or empty.

        Raises:
            UserError: the folder is not a run, is from a newer version, or cannot be written.
        """
        run = Run(Path(folder))
        marker = run.folder / "run.json"
        if create and not marker.exists():
            run._create(marker)
        if not marker.exists():
            raise UserError(
                f"'{folder}' is not a run (it has no run.json); give the folder that --out named "
                "when the run was made."
            )
        content = read_json(marker)
        run_format = content.get("format") if isinstance(content, dict) else None
        if not isinstance(run_format, int):
            raise UserError(f"'{marker}' does not state a format; restore it or use a new folder.")
        if run_format > FORMAT:
            raise UserError(
                f"run '{folder}' has format {run_format}, from a newer adaptlens; this one reads "
                f"up to {FORMAT}; upgrade adaptlens or choose a new folder."
            )
        return run

    def _create(self, marker: Path) -> None:
        ours = {"run.json", "cells", "lock"}
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in sorted(os.listdir(self.folder)):
                if name not in ours and not name.endswith(TEMPORARY_SUFFIX):
                    raise UserError(
                        f"'{self.folder}' is neither a run nor empty (it holds '{name}'); choose "
                        "a new folder."
                    )
            (self.folder / "cells").mkdir(exist_ok=True)
        write_atomically(marker, canonical_json({"format": FORMAT, "program": "adaptlens"}) + "\n")

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file beside the cells, atomically (a study's settings and plan)."""
        write_atomically(self.folder / name, tagged_json(value) + "\n")

    def read_json(self, name: str) -> Any:
        """Return what `write_json` wrote under this name, or None."""
        path = self.folder / name
        return read_json(path) if path.exists() else None

    def cell_folder(self, cell: str) -> Path:
        """Return the folder of a cell, whether or not it exists."""
        return self.folder / "cells" / cell

    def cells(self) -> list[str]:
        """Return the ids of all cells that have a spec, sorted."""
        return sorted(path.parent.name for path in self.folder.glob("cells/*/spec.json"))

    def is_done(self, cell: str) -> bool:
        """Say whether the cell has a result."""
        return (self.cell_folder(cell) / "result.json").exists()

    def add(self, spec: Mapping[str, Any]) -> str:
        """Write down a cell to be done, so that `status` counts it, and return its id."""
        cell = cell_id(spec)
        folder = self.cell_folder(cell)
        text = canonical_json(spec) + "\n"
        path = folder / "spec.json"
        if self.is_done(cell) or (path.exists() and path.read_bytes() == text.encode()):
            return cell
        try:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                sync_folder(folder.parent)
            write_atomically(path, text)
        except UserError:
            with suppress(OSError):
                folder.rmdir()
            raise
        return cell

    def claim(self, spec: Mapping[str, Any]) -> Claim | None:
        """Return the right to do this cell, or None where it is done or a live process has it.

        What a killed process left of the cell is removed first.

        Raises:
            UserError: the run cannot be written.
        """
        cell = cell_id(spec)
        folder = self.cell_folder(cell)
        if self.is_done(cell) and not leftovers(folder, done=True):
            return None
        with locked(self.folder / "lock") as now:
            if self._live_owner(cell, now) is not None:
                return None
            done = self.is_done(cell)
            self.add(spec)
            with writing(folder):
                remove_leftovers(folder, done=done)
            return None if done else Claim(folder, self.folder / "lock")

    def read(self, cell: str) -> Record:
        """Return the record of a finished cell.

        Raises:
            UserError: the cell is unknown, not done, damaged, or from a newer version.
        """
        if not self.is_done(cell):
            state = "not done yet" if self.cell_folder(cell).exists() else "not in it"
            raise UserError(
                f"run '{self.folder}', cell {cell}: {state}; `adaptlens status` lists the cells, "
                "and the command that made the run finishes them."
            )
        return read_record(self.cell_folder(cell))

    def records(self) -> Iterator[Record]:
        """Yield the records of all finished cells, by id."""
        for cell in self.cells():
            if self.is_done(cell):
                yield self.read(cell)

    def log(self, cell: str) -> list[dict[str, Any]]:
        """Return the events logged for a cell, oldest first; a torn last line is dropped."""
        path = self.cell_folder(cell) / "log.jsonl"
        if not path.exists():
            return []
        try:
            return [read_tagged_json(line) for line in path.read_bytes().split(b"\n")[:-1]]
        except ValueError:
            raise UserError(f"'{path}' is damaged; remove it, no result depends on it.") from None

    def status(self) -> Status:
        """Return where every cell stands. Only reads, so a read-only folder will do."""
        return Status(tuple(self._cell_status(cell) for cell in self.cells()))

    def check(self) -> list[Problem]:
        """Return what is wrong with the files of the run, cell by cell. Only reads.

        Found are missing, changed and foreign files, specs that describe another cell, and what
        interrupted processes left behind.
        """
        found = []
        for folder in sorted((self.folder / "cells").iterdir()):
            if folder.is_dir():
                held = self._live_owner(folder.name, time.time()) is not None
                found += cell_problems(folder, held=held)
            else:
                found.append(Problem("", f"cells/{folder.name}", "foreign: not a cell"))
        return found

    def _live_owner(self, cell: str, now: float) -> Owner | None:
        claim = self.cell_folder(cell) / "claim"
        try:
            silent_seconds = now - claim.stat().st_mtime
        except FileNotFoundError:
            return None
        owner = read_owner(claim)
        return owner if owner is not None and owner.is_live(silent_seconds) else None

    def _cell_status(self, cell: str) -> CellStatus:
        if self.is_done(cell):
            return CellStatus(cell, "done")
        owner = self._live_owner(cell, time.time())
        if owner is not None:
            return CellStatus(cell, "running", owner.host, owner.pid)
        last = next(
            (
                e
                for e in reversed(self.log(cell))
                if e["event"] in ("claimed", "failed", "released")
            ),
            None,
        )
        if last is None:
            return CellStatus(cell, "pending")
        if last["event"] == "failed":
            return CellStatus(cell, "failed", error=str(last["error"]))
        return CellStatus(cell, "interrupted")
