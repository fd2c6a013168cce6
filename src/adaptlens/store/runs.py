"""A run: a folder of cells that several processes may work on at once."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adaptlens.canonical import canonical_json, digest
from adaptlens.errors import UserError
from adaptlens.store.atomic import make_folder, sync_folder, write_atomically, writing
from adaptlens.store.claim import CLAIM, Claim, leftovers, remove_leftovers
from adaptlens.store.events import last_outcome, read_events
from adaptlens.store.finished import ID_DIGITS, Record, read_record, read_spec
from adaptlens.store.layout import (
    LOCK,
    cell_folders,
    is_of_a_new_run,
    is_of_a_run,
    run_problems,
    set_aside,
)
from adaptlens.store.lease import Lease
from adaptlens.store.links import CELLS, MARKER, link_refused, refuse_links
from adaptlens.store.mending import mend
from adaptlens.store.owners import Holder, live_owner, locked
from adaptlens.store.problems import Problem, cell_damage, cell_problems, refuse_lost_result
from adaptlens.store.sealed import Damaged, load_json, read_sealed, seal

FORMAT = 1
_MARKED = {"format": FORMAT, "program": "adaptlens"}
"""What the file says that makes a folder a run."""

State = Literal["done", "running", "failed", "interrupted", "pending", "damaged"]
STATES: tuple[State, ...] = ("done", "running", "failed", "interrupted", "pending", "damaged")


@dataclass(frozen=True, slots=True)
class CellStatus:
    """Where a cell stands: `host` and `pid` are set where it is running.

    `error` says why it failed, or what is damaged.
    """

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
        marker = run.folder / MARKER
        with writing(run.folder):
            if create and (not os.path.lexists(marker) or run._marker_is_damaged(marker)):
                run._create(marker)
            if not os.path.lexists(marker):
                raise UserError(
                    f"'{folder}' is not a run (it has no {MARKER}); give the folder that --out "
                    "named when the run was made."
                )
        content = load_json(marker)
        if content == _MARKED:
            return run
        run_format = content.get("format") if isinstance(content, dict) else None
        if not isinstance(run_format, int) or run_format <= FORMAT:
            raise Damaged(marker, "is damaged (it does not say what it should)")
        raise UserError(
            f"run '{folder}' has format {run_format}, from a newer adaptlens; this one reads up to "
            f"{FORMAT}; upgrade adaptlens or choose a new folder."
        )

    def _marker_is_damaged(self, marker: Path) -> bool:
        """Say whether the file that makes the folder a run is one no more; cells say their own."""
        try:
            content = load_json(marker)
        except Damaged:
            return True
        run_format = content.get("format") if isinstance(content, dict) else None
        return content != _MARKED and not (isinstance(run_format, int) and run_format > FORMAT)

    def _create(self, marker: Path) -> None:
        make_folder(self.folder)
        was_run = os.path.lexists(self.folder / CELLS)
        for name in sorted(os.listdir(self.folder)):
            if not (is_of_a_run(name) if was_run else is_of_a_new_run(name)):
                raise UserError(
                    f"'{self.folder}' is neither a run nor empty (it holds '{name}'); choose a new "
                    "folder."
                )
        if (self.folder / CELLS).is_symlink():
            raise link_refused(self.folder / CELLS)
        if os.path.lexists(self.folder / CELLS) and not (self.folder / CELLS).is_dir():
            set_aside(self.folder, self.folder / CELLS)
        make_folder(self.folder / CELLS)
        if marker.is_dir():
            set_aside(self.folder, marker)
        write_atomically(marker, canonical_json(_MARKED) + "\n")

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON object beside the cells, atomically, with its digest (settings, plan)."""
        write_atomically(self.folder / name, seal(value))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return what `write_json` wrote under this name, checked, or None where nothing is.

        Raises:
            Damaged: it is not what was written.
        """
        path = self.folder / name
        return read_sealed(path) if os.path.lexists(path) else None

    def need_json(self, name: str) -> dict[str, Any]:
        """Return what `write_json` wrote under this name, which the run's plan says is there.

        Raises:
            Damaged: it is missing, or not what was written.
        """
        return read_sealed(self.folder / name)

    def mend(self, *, thorough: bool = False) -> list[str]:
        """Set aside what is damaged and clear what dead processes left; see `mending.mend`."""
        return mend(self.folder, thorough=thorough)

    def cell_folder(self, cell: str) -> Path:
        """Return the folder of a cell, whether or not it exists."""
        return self.folder / "cells" / cell

    def cells(self) -> list[str]:
        """Return the ids of all cells that have a spec or a result, sorted.

        Raises:
            UserError: a link is among the cells.
        """
        return [
            folder.name
            for folder in cell_folders(self.folder)
            if any(os.path.lexists(folder / name) for name in ("spec.json", "result.json"))
        ]

    def spec(self, cell: str) -> dict[str, Any]:
        """Return what a cell is, checked.

        Raises:
            Damaged: its spec is missing, or not what was written.
        """
        return read_spec(self.cell_folder(cell))

    def is_done(self, cell: str) -> bool:
        """Say whether the cell has a result."""
        return (self.cell_folder(cell) / "result.json").exists()

    def add(self, spec: Mapping[str, Any]) -> str:
        """Write down a cell to be done, so that `status` counts it, and return its id."""
        cell = cell_id(spec)
        folder = self.cell_folder(cell)
        text = canonical_json(spec) + "\n"
        path = folder / "spec.json"
        refuse_links(path)
        if self.is_done(cell) or (path.is_file() and path.read_bytes() == text.encode()):
            return cell
        try:
            with writing(folder):
                make_folder(folder)
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
        if self.is_done(cell) and not leftovers(folder, done=True, now=time.time()):
            return None
        with locked(self.folder / LOCK) as now:
            if self.holder(cell, now) is not None:
                return None
            done = self.is_done(cell)
            self.add(spec)
            with writing(folder):
                remove_leftovers(folder, done=done, now=now)
            return None if done else Claim(folder, self.folder / LOCK)

    def holder(self, cell: str, now: float | None = None) -> Holder | None:
        """Return the live process that works on the cell, or None.

        Args:
            cell: the cell's id.
            now: the present time by the clock of the disk; None asks this machine's.
        """
        return live_owner(self.cell_folder(cell) / CLAIM, time.time() if now is None else now)

    def lease_base(self, base: str) -> Lease | None:
        """Return the right to drain a base model's cells, or None where a live process has it.

        A courtesy, so that two workers do not load one base while another waits; that no cell is
        done twice is what claims are for.

        Args:
            base: the digest of the model that the cells name.

        Raises:
            UserError: the run cannot be written.
        """
        path = self.folder / "leases" / base[:ID_DIGITS]
        make_folder(path.parent)
        with locked(self.folder / LOCK) as now:
            return None if live_owner(path, now) else Lease(path, self.folder / LOCK)

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
        """Yield the records of all finished cells, by id.

        Raises:
            Damaged: a result, or the spec of a finished cell, is not what was written, or lost.
        """
        for cell in self.cells():
            if not self.is_done(cell):
                refuse_lost_result(self.cell_folder(cell))
            if self.is_done(cell):
                yield self.read(cell)

    def whole_specs(self) -> list[dict[str, Any]]:
        """Return the specs of the finished cells of which nothing seems to be damaged, by id."""
        folders = [self.cell_folder(cell) for cell in self.cells() if self.is_done(cell)]
        return [read_spec(folder) for folder in folders if not cell_damage(folder, done=True)]

    def log(self, cell: str) -> list[dict[str, Any]]:
        """Return the events logged for a cell, oldest first; a torn last line is dropped.

        Raises:
            Damaged: a line is no event.
        """
        return read_events(self.cell_folder(cell))

    def failure(self, cell: str, seen: int) -> str | None:
        """Return why the cell failed, in one line, if that was its latest event.

        So workers leave alone what one of them found not to work; a later command tries it again.

        Args:
            cell: the cell's id.
            seen: so many of its events are from before, and do not count, whatever their dates.
        """
        last = last_outcome(self.log(cell)[seen:])
        if last is None or last["event"] != "failed":
            return None
        return (str(last.get("error", "")).strip().splitlines() or ["it did not say why"])[-1]

    def status(self) -> Status:
        """Return where every cell stands. Only reads, so a read-only folder will do."""
        return Status(tuple(self._cell_status(cell) for cell in self.cells()))

    def check(self) -> list[Problem]:
        """Return what is wrong with the files of the run, cell by cell. Only reads.

        Found are missing, changed and foreign files, links, specs that describe another cell, and
        what interrupted processes left behind, in the cells and beside them.
        """
        now = time.time()
        try:
            folders = cell_folders(self.folder)
            found = [Problem("", *one) for one in run_problems(self.folder, now)]
        except UserError as error:
            # A link: what lies behind it is not looked at.
            return [Problem("", str(self.folder), str(error))]
        for folder in folders:
            held = self.holder(folder.name, now) is not None
            found += cell_problems(folder, held=held, now=now)
        return found

    def _cell_status(self, cell: str) -> CellStatus:
        done = self.is_done(cell)
        owner = None if done else self.holder(cell)
        if owner is not None:
            return CellStatus(cell, "running", owner.host, owner.pid)
        damage = cell_damage(self.cell_folder(cell), done=done)
        if damage is not None:
            return CellStatus(cell, "damaged", error=str(damage))
        if done:
            return CellStatus(cell, "done")
        last = last_outcome(self.log(cell))
        if last is None:
            return CellStatus(cell, "pending")
        if last["event"] == "failed":
            return CellStatus(cell, "failed", error=str(last.get("error", "")))
        return CellStatus(cell, "interrupted")
