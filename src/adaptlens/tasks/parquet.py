"""Tables of Parquet, decoded in a child process that has limits."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError, one_line
from adaptlens.tasks.table import Table
from adaptlens.tasks.unpacking import COMPRESSED, MAX_FILE_BYTES, check_size, read_bytes

BYTES_A_ROW = 100
"""A table may have one row for every so many bytes that it may have."""

_CHILD = Path(__file__).with_name("parquet_child.py")


def parquet_table(path: Path, max_file_bytes: int = MAX_FILE_BYTES) -> Table:
    """Return the table of a Parquet file.

    Rows and bytes are bounded by what the file states of itself before anything is decoded, and by
    what is decoded while it is.

    Args:
        path: the file, or one of them compressed as a whole (.parquet.gz).
        max_file_bytes: the most bytes of the file, and of its decoded columns; a row for every
            `BYTES_A_ROW` of them.

    Raises:
        UserError: the file is damaged, or larger than agreed.
    """
    import pyarrow

    stream = _decoded(path, max_file_bytes)
    try:
        table = pyarrow.ipc.open_stream(stream).read_all()
        rows = table.to_pylist()
    except (
        pyarrow.ArrowException, ArithmeticError, LookupError, OSError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise _damaged(path, str(error)) from None
    return Table(path.name, tuple(table.column_names), rows, list(range(1, len(rows) + 1)))


def check_parquet(path: Path, max_file_bytes: int = MAX_FILE_BYTES) -> None:
    """Check that a Parquet file is whole and not larger than agreed, as `parquet_table` does.

    Raises:
        UserError: it is not.
    """
    _decoded(path, max_file_bytes, measure=True)


def _decoded(path: Path, max_file_bytes: int, *, measure: bool = False) -> bytes:
    """Return the file's table as an Arrow IPC stream; nothing where it is only measured."""
    check_size(path, max_file_bytes)
    if path.suffix.lower() not in COMPRESSED:
        return _asked(path, path, max_file_bytes, measure)
    with tempfile.TemporaryDirectory(prefix="adaptlens-") as folder:
        unpacked = Path(folder) / "table.parquet"
        unpacked.write_bytes(read_bytes(path, max_file_bytes))
        return _asked(unpacked, path, max_file_bytes, measure)


def _asked(file: Path, named: Path, max_file_bytes: int, measure: bool) -> bytes:
    request = {
        "path": str(file.absolute()),
        "max_bytes": max_file_bytes,
        "max_rows": max(1, max_file_bytes // BYTES_A_ROW),
        "measure": measure,
        "sys_path": sys.path,
    }
    ran = subprocess.run(
        [sys.executable, "-B", "-I", str(_CHILD), json.dumps(request)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if ran.returncode == 0:
        return ran.stdout
    told = _last_line(ran.stderr)
    kind, said = told.get("kind"), str(told.get("said", ""))
    if kind == "twice":
        raise UserError(
            f"{named.name} names column '{one_line(said, 60)}' twice; expected distinct names; "
            "rename one."
        )
    if kind == "damaged":
        raise _damaged(named, said)
    if kind in ("size", "memory") or ran.returncode in _OUT_OF_LIMITS:
        found = said if kind == "size" else "more memory or time to decode than its limits allow"
        raise UserError(
            f"{named.name} has {found}; expected at most {request['max_rows']:,} rows and "
            f"{max_file_bytes:,} bytes decoded; give a sample of it, or raise max_file_bytes "
            "beside the task's path in --config."
        )
    raise _damaged(named, f"decoding ended with status {ran.returncode}")


_OUT_OF_LIMITS = (-9, -24, -25)
"""Killed; SIGXCPU; SIGXFSZ."""


def _last_line(stderr: bytes) -> dict[str, Any]:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    try:
        told = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _damaged(path: Path, said: str) -> UserError:
    reason = one_line(said.strip().partition("\n")[0], 120, 30) or "no reason given"
    return UserError(
        f"{path.name} cannot be read as Parquet ({reason}); expected a Parquet file; write it "
        "again."
    )
