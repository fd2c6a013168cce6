"""The right of one process to do a cell, and the way its result gets on disk whole."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from adaptlens.canonical import tagged_json
from adaptlens.errors import RunIncomplete, UserError
from adaptlens.store.atomic import (
    TEMPORARY_SUFFIX,
    is_stale_temporary,
    make_folder,
    remove,
    sync_file,
    sync_folder,
    write_atomically,
    write_new,
    writing,
)
from adaptlens.store.events import append_event, cut_torn_line
from adaptlens.store.finished import array_bytes, file_digest, result_json
from adaptlens.store.lease import Lease
from adaptlens.store.links import refuse_links
from adaptlens.store.owners import locked

if TYPE_CHECKING:
    import numpy as np

CLAIM = "claim"
"""The file of a cell that says who is at it."""
STAGING_PREFIX = "partial."
OWN_FILES = frozenset({"spec.json", CLAIM, "log.jsonl", "result.json"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


class ClaimLost(RunIncomplete):
    """Another process took the cell over while this one was silent; its result counts."""


class Claim:
    """The right of this process to do one cell; `Run.claim` hands it out.

    Use it as a context manager: a block left without `finish` or `fail` gives the cell back.
    Files put into `folder` (adapters, say) are published together with the result.
    """

    def __init__(self, cell_folder: Path, lock: Path) -> None:
        """Take the cell. The caller holds the lock and has seen that the cell is free."""
        self.id = cell_folder.name
        self._cell, self._lock = cell_folder, lock
        self._lease = Lease(cell_folder / CLAIM, lock)
        owner = self._lease.owner
        self.folder = cell_folder / f"{STAGING_PREFIX}{owner.token}"
        try:
            make_folder(self.folder)
            self.log("claimed", host=owner.host, pid=owner.pid)
        except BaseException:
            self._lease.drop()
            self._remove_staged()
            raise
        self._held = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def log(self, event: str, **details: Any) -> None:
        """Append an event to the cell's log, with the time (UTC)."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = tagged_json({**details, "time": time, "event": event})
        append_event(self._cell, line)

    def finish(
        self,
        result: Mapping[str, Any],
        arrays: Mapping[str, "np.ndarray"] | None = None,
        texts: Mapping[str, Any] | None = None,
        *,
        bfloat16: Sequence[str] = (),
    ) -> None:
        """Write the cell's result; afterwards the cell is done or, on any error, given back.

        Args:
            result: numbers, texts, lists and dicts of them; NaN and infinities are kept.
            arrays: by name (letters, digits, `_`, `-`, `.`), of boolean, integer or float dtype.
            texts: JSON values by name, kept apart from the numbers.
            bfloat16: names of float32 arrays to store in half the room, rounded to bfloat16; they
                are read back as float32.

        Raises:
            UserError: the disk refused; nothing of the result is kept.
            ClaimLost: another process has taken the cell over.
            TypeError, ValueError: a value or name that the files cannot hold.
        """
        try:
            with writing(self._cell):
                self._stage(arrays or {}, texts or {}, set(bfloat16))
                self._publish(result)
        except UserError:
            # A new holder removes the claim's folder when it takes over: it looks like a bad disk.
            if not self._lease.is_ours():
                self.release()
                raise self._lost() from None
            self.release()
            raise
        except BaseException:
            self.release()
            raise
        self._end("finished")

    def fail(self, error: str) -> None:
        """Log why the cell failed and give it back; the same command tries it again."""
        self._end("failed", error=error)

    def release(self) -> None:
        """Give the cell back, if it is still held; what was staged is removed."""
        self._end("released")

    def _end(self, event: str, **details: Any) -> None:
        if not self._held:
            return
        self._held = False

        def leave(now: float) -> None:
            with suppress(UserError):
                self.log(event, **details)
            done = (self._cell / "result.json").exists()
            remove_leftovers(self._cell, done=done, now=now)

        self._lease.release(leave)
        self._remove_staged()

    def _remove_staged(self) -> None:
        with suppress(UserError, OSError):
            remove(self.folder)

    def _stage(
        self, arrays: Mapping[str, "np.ndarray"], texts: Mapping[str, Any], bfloat16: set[str]
    ) -> None:
        """Write all files of the result where nobody reads them yet."""
        if unknown := bfloat16 - set(arrays):
            raise ValueError(f"bfloat16 names no array: {', '.join(sorted(unknown))}")
        for taken in (*OWN_FILES, "arrays", "texts.json"):
            if (self.folder / taken).exists():
                raise ValueError(f"'{taken}' is a name of the store's own")
        for name in arrays:
            if not _NAME.fullmatch(name):
                raise ValueError(f"'{name}' is not a name for an array")
        make_folder(self.folder / "arrays")
        for name, array in arrays.items():
            data = array_bytes(name, array, bfloat16=name in bfloat16)
            write_new(self.folder / "arrays" / f"{name}.safetensors", data)
        write_new(self.folder / "texts.json", tagged_json(texts).encode() + b"\n")

    def _publish(self, result: Mapping[str, Any]) -> None:
        """Move the staged files into the cell and write result.json last."""
        files = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_dir():
                sync_folder(path)
                continue
            sync_file(path)
            name = path.relative_to(self.folder).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        files["spec.json"] = {
            "bytes": (self._cell / "spec.json").stat().st_size,
            "sha256": file_digest(self._cell / "spec.json"),
        }
        text = result_json(self.id, result, files)
        with locked(self._lock):
            if not self._lease.is_ours():
                raise self._lost()
            refuse_links(self.folder)
            for path in sorted(self.folder.iterdir()):
                path.rename(self._cell / path.name)
            sync_folder(self._cell)
            write_atomically(self._cell / "result.json", text)

    def _lost(self) -> ClaimLost:
        return ClaimLost(
            f"cell {self.id} was silent for too long and another process took it over; its result "
            "counts."
        )


def remove_leftovers(cell_folder: Path, *, done: bool, now: float) -> None:
    """Remove the claim and all that is not part of a finished cell; the caller has the lock.

    Raises:
        OSError: the disk refuses.
        UserError: the cell's folder, or something in it, is a link.
    """
    for path in leftovers(cell_folder, done=done, now=now):
        remove(path)
    if not done:
        cut_torn_line(cell_folder)


def leftovers(cell_folder: Path, *, done: bool, now: float) -> list[Path]:
    """Return a cell's claim, what nobody writes any more, and parts of a result that is not whole.

    Args:
        cell_folder: of the cell.
        done: it has a result.
        now: the present time by the clock of the disk.
    """
    refuse_links(cell_folder)
    kept = {"spec.json", "log.jsonl"}
    found = []
    for path in sorted(cell_folder.iterdir()):
        if path.name.endswith(TEMPORARY_SUFFIX):
            # Another process may be writing down what the cell is.
            left = is_stale_temporary(path, now)
        else:
            left = path.name == CLAIM or path.name.startswith(STAGING_PREFIX)
            left = left or (not done and path.name not in kept)
        if left:
            found.append(path)
    return found
