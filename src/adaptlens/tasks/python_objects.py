"""Data that a caller of Python holds: frames, datasets, records, tasks; named while a call runs.

A name is "data:LABEL@DIGEST". It is found where the call runs, and in no other process.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from typing import Any

from adaptlens.canonical import digest
from adaptlens.errors import UserError, listed
from adaptlens.tasks.sources import records_table
from adaptlens.tasks.table import Table
from adaptlens.types import Task

PREFIX = "data:"
UNNAMED = "data"
"""What data are called that have no name of their own, with the first digits of their digest."""

_DIGITS, _FEW_DIGITS = 12, 6
_EXPECTED = (
    "expected a pandas DataFrame, a datasets.Dataset or DatasetDict, a list of dicts, these by "
    "split, an adaptlens.Task, or the name of a task"
)


@dataclass(frozen=True, eq=False)
class Data:
    """What was given: tables by split ("" where there is but one), or a task.

    Attributes:
        label: what tables call the task.
        content: the tables, or the task.
        notes: what was left out on the way.
    """

    label: str
    content: Mapping[str, Table] | Task
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The name that it is found by."""
        return f"{PREFIX}{self.label}@{self.digest[:_DIGITS]}"

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of the content, in hex."""
        if isinstance(self.content, Task):
            content: Any = asdict(self.content)
        else:
            content = {
                split: [table.columns, [_written(list(row.values())) for row in table.rows]]
                for split, table in self.content.items()
            }
        return digest(content)


_held: ContextVar[Mapping[str, Data]] = ContextVar("data", default={})  # noqa: B039


@contextmanager
def held(data: Mapping[str, Data]) -> Iterator[None]:
    """Let data be found by their names inside this context."""
    token = _held.set({**_held.get(), **data})
    try:
        yield
    finally:
        _held.reset(token)


def named(name: str) -> Data | None:
    """Return the data of a name, or None where it is no name of data.

    Raises:
        UserError: the call that they were given to is over, or runs in another process.
    """
    if name in (known := _held.get()):
        return known[name]
    if name.startswith(PREFIX) and "@" in name:
        raise UserError(
            f"task '{name}' was given to Python as an object, and can be had only in the call that "
            "it was given to; call that again with the object, or save it as a file."
        )
    return None


def is_data(value: Any) -> bool:
    """Return whether a value is data, not the name of a task or settings with one."""
    if _kind(value) or isinstance(value, Task):
        return True
    if isinstance(value, Mapping):
        return bool(value) and "path" not in value and all(map(is_data, value.values()))
    return _are_records(value)


def _are_records(value: Any) -> bool:
    """Return whether a value is a list of dicts, none of which says where a task is."""
    if not isinstance(value, list | tuple):
        return False
    return any(isinstance(row, Mapping) and "path" not in row and not is_data(row) for row in value)


def _kind(value: Any) -> str:
    """Return which of the kinds of other packages a value is; empty for none of them."""
    for kind in type(value).__mro__:
        name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
        if name in _READ:
            return name
    return ""


def read(value: Any, label: str = "") -> Data:
    """Return data as tables.

    Args:
        value: what was given, see `is_data`.
        label: what tables are to call the task; the dataset's own name, or "data-" and the first
            digits of its digest, unless given: other data have another run.

    Raises:
        UserError: it is nothing that a task can be read from.
    """
    if isinstance(value, Task):
        _check_task(value)
        return Data(label or value.name, replace(value, name=label or value.name))
    if label := label or _name_of(value):
        return _tables(value, label)
    data = _tables(value, UNNAMED)
    return replace(data, label=f"{UNNAMED}-{data.digest[:_FEW_DIGITS]}")


def _tables(value: Any, label: str) -> Data:
    if (kind := _kind(value)) == "datasets.DatasetDict":
        from adaptlens.tasks.hub_datasets import split_tables

        tables, notes = split_tables(value, label, f"the dataset '{label}'")
        return Data(label, tables, tuple(notes))
    if not kind and isinstance(value, Mapping):
        parts = {f"{split}": _table(own, f"{label} [{split}]") for split, own in value.items()}
        return Data(label, parts)
    return Data(label, {"": _table(value, label)})


def _table(value: Any, name: str) -> Table:
    if kind := _kind(value):
        table: Table = _READ[kind](value, name)
        return table
    if not _are_records(value):
        raise UserError(f"the data '{name}' are of type {type(value).__name__}; {_EXPECTED}.")
    rows = [
        {str(key): _plain(cell) for key, cell in row.items()} if isinstance(row, Mapping) else row
        for row in value
    ]
    return records_table(rows, list(range(1, len(rows) + 1)), name, "record")


def _of_frame(frame: Any, name: str) -> Table:
    if frame.columns.nlevels > 1:
        raise UserError(
            f"the data '{name}' have columns of {frame.columns.nlevels} levels; expected one level "
            "of names: give the columns plain names."
        )
    columns = tuple(str(column) for column in frame.columns)
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise UserError(
            f"the data '{name}' have the column '{twice}' twice; expected distinct names; rename "
            "one."
        )
    if frame.empty:
        raise UserError(
            f"the data '{name}' have no rows (columns: {listed(columns) or 'none'}); expected "
            "examples."
        )
    cells = [
        [_plain(cell) for cell in frame.iloc[:, place].tolist()] for place in range(len(columns))
    ]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]
    index = [str(level) for level in frame.index.names if level is not None]
    notes = (f"The index of {name} is not read: {', '.join(map(repr, index))}.",) if index else ()
    return Table(name, columns, rows, list(range(1, len(rows) + 1)), notes=notes)


def _of_dataset(dataset: Any, name: str) -> Table:
    from adaptlens.tasks.hub_datasets import as_table

    return as_table(dataset, name)


def _streamed(value: Any, name: str) -> Table:
    raise UserError(
        f"the data '{name}' are of type {type(value).__name__}, which is read as it comes; "
        "expected all rows: load it without streaming=True, or give list(...) of the rows wanted."
    )


def _column(value: Any, name: str) -> Table:
    raise UserError(
        f"the data '{name}' are one column, a Series; expected a DataFrame with the column of the "
        "answers, too."
    )


_READ = {
    "pandas.DataFrame": _of_frame,
    "pandas.Series": _column,
    "datasets.Dataset": _of_dataset,
    "datasets.DatasetDict": _of_dataset,
    "datasets.IterableDataset": _streamed,
    "datasets.IterableDatasetDict": _streamed,
}
"""What reads a value of another package, by the package and the class."""


def _name_of(value: Any) -> str:
    """Return the name that a dataset has of its own, or a frame in its `attrs`; else nothing."""
    if isinstance(value, Mapping):
        return next(filter(None, map(_name_of, value.values())), "")
    name = getattr(getattr(value, "info", None), "dataset_name", None)
    name = name or (getattr(value, "attrs", None) or {}).get("name")
    return name if isinstance(name, str) else ""


def _plain(cell: Any) -> Any:
    """Return a cell in Python's own types; None where nothing is there."""
    package = type(cell).__module__.partition(".")[0]
    if package == "pandas" and type(cell).__name__ in ("NAType", "NaTType"):
        return None
    if package == "numpy":
        cell = cell.tolist()
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _written(cell: Any) -> Any:
    """Return a cell as the digest of data takes it: what JSON does not know, as a text."""
    if isinstance(cell, list | tuple):
        return [_written(one) for one in cell]
    if isinstance(cell, Mapping):
        return {str(key): _written(one) for key, one in cell.items()}
    if cell is None or isinstance(cell, bool | int | str):
        return cell
    return f"{type(cell).__name__} {cell!r}"


def _check_task(task: Task) -> None:
    splits: dict[str, Sequence[Any]] = {
        "train": task.train,
        "validation": task.validation,
        "test": task.test,
    }
    for split, examples in splits.items():
        ids = [example.id for example in examples]
        if len(set(ids)) < len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise UserError(
                f"task '{task.name}' has the id '{twice}' twice in its {split} split; expected an "
                "id of its own for each example."
            )
