"""Datasets from the Hugging Face hub, or from a folder in one of its layouts."""

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError, listed, one_line
from adaptlens.tasks.assembly import Settings, split_of, tables_task
from adaptlens.tasks.parquet import check_parquet
from adaptlens.tasks.split import SPLIT_NAMES
from adaptlens.tasks.table import Table
from adaptlens.tasks.unpacking import check_size, read_bytes, unpacked_name
from adaptlens.types import Task

LOADERS = ("csv", "json", "parquet", "arrow", "text", "cache")
"""Loaders of `datasets` that only read tables of texts and numbers (cache: those it has read)."""
_ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")


def hub_task(name: str, settings: Settings) -> Task:
    """Return the task of `NAME[:CONFIG]`, a hub dataset or a local folder of one.

    The names of a ClassLabel column become the options. A split whose answers are all hidden
    (label -1) is left out, and said to be.

    Raises:
        UserError: if the dataset or configuration cannot be found, or needs code to be run.
    """
    path, config = (name, None) if exists(name) else _parted(name)
    if exists(name):
        found = [name] if Path(name).is_file() else sorted(map(str, Path(name).rglob("*.*")))
        check_files(found, settings.max_file_bytes)
    title = Path(path).name
    tables, notes = split_tables(open_dataset(path, config), title, f"hf:{name}")
    return tables_task(title, tables, settings, notes)


def split_tables(
    dataset: Mapping[str, Any], title: str, source: str
) -> tuple[dict[str, Table], list[str]]:
    """Return the tables of a dataset's splits, as train, validation and test, and what was left.

    Args:
        dataset: `datasets.Dataset` by split.
        title: what notes call it, before the split.
        source: where it is from, for errors and notes.

    Raises:
        UserError: none of its splits is one of these, or a row cannot be read.
    """
    tables: dict[str, Table] = {}
    notes = []
    shown = source.removeprefix("hf:")
    for label in dataset:
        known = SPLIT_NAMES.get(label) or split_of(label)
        if known is None or known in tables:
            notes.append(f"Split '{label}' of {shown} was not used.")
            continue
        table = as_table(dataset[label], f"{title} [{label}]")
        hidden = _hidden(table, dataset[label].features)
        if hidden:
            notes.append(
                f"Split '{label}' of {shown} was not used: its column '{hidden}' is hidden (-1)."
            )
            continue
        tables[known] = table
    if not tables:
        raise UserError(
            f"{source} has the splits {listed(dataset)}, none of them labeled train, "
            "validation or test; expected at least one; export the split you want as JSONL."
        )
    return tables, notes


def _parted(name: str) -> tuple[str, str | None]:
    path, _, config = name.partition(":")
    return path, config or None


def open_dataset(path: str, config: str | None = None, **arguments: Any) -> dict[str, Any]:
    """Return the splits of a dataset as `datasets.Dataset` by name; no remote code is run.

    Args:
        path: hub name, folder saved by `save_to_disk`, folder of data files, or the name of a
            loader (one of `LOADERS`) with `data_files` in `arguments`.
        config: configuration name.
        arguments: passed on to `datasets.load_dataset_builder`.

    Raises:
        UserError: if it cannot be loaded.
    """
    import datasets

    try:
        folder = Path(path)
        if exists(str(folder / "dataset_dict.json")) or exists(str(folder / "state.json")):
            loaded = datasets.load_from_disk(path)
        else:
            builder = datasets.load_dataset_builder(path, config, **arguments)
            _check_loader(path, builder)
            builder.download_and_prepare()
            loaded = builder.as_dataset()
    except _FAILS as error:
        cause = error.__cause__ or error
        said = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        shown = path + (f":{config}" if config else "")
        raise UserError(
            f"dataset '{one_line(shown, 80, 30)}' cannot be loaded ({one_line(said, 140, 40)}); "
            "expected a hub dataset NAME[:CONFIG] that needs no code of its own, or a folder of "
            "data files; check the name and the network, or download it and give the folder."
        ) from None
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}


_FAILS = (
    OSError, ValueError, RuntimeError, TypeError, LookupError, ArithmeticError, AttributeError,
    ImportError, MemoryError,
)  # fmt: skip
"""What `datasets`, and the readers it calls, raise of data that are damaged or not there."""


def _check_loader(path: str, builder: Any) -> None:
    """Refuse every loader but those that are known to read data, and nothing else.

    Raises:
        UserError: the data would be read by another one, which may unpickle, or connect somewhere.
    """
    modules = [kind.__module__ for kind in type(builder).__mro__]
    loaders = [m.split(".")[2] for m in modules if m.startswith("datasets.packaged_modules.")]
    loader = loaders[0] if loaders else modules[0].rpartition(".")[2]
    if not loaders or loader not in LOADERS:
        raise UserError(
            f"dataset '{one_line(path, 80, 30)}' would be read by the loader '{loader}'; expected "
            f"{', '.join(LOADERS)}; save the data as Parquet or JSONL."
        )


def exists(path: str) -> bool:
    """Return whether there is such a file or folder; no name is too odd to ask."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def check_files(data_files: Any, max_file_bytes: int) -> None:
    """Check the size, packed and unpacked, of the local files that data_files name.

    Raises:
        UserError: a file cannot be read, or is larger than agreed.
    """
    parts = list(data_files.values()) if isinstance(data_files, Mapping) else [data_files]
    named = [one for part in parts for one in (part if isinstance(part, list) else [part])]
    for pattern in named:
        if not isinstance(pattern, str) or "://" in pattern or "::" in pattern:
            continue
        for path in [Path(pattern)] if exists(pattern) else map(Path, glob.glob(pattern)):
            if path.is_dir():
                continue
            check_size(path, max_file_bytes)
            bare = unpacked_name(path)
            if bare.suffix.lower() in _ARCHIVES:
                raise UserError(
                    f"{path.name} is an archive; expected data files; unpack it and name them."
                )
            if bare.suffix.lower() == ".parquet":
                check_parquet(path, max_file_bytes)
            elif bare != path:
                read_bytes(path, max_file_bytes)


def rows_of(dataset: Any, name: str) -> list[dict[str, Any]]:
    """Return the rows of a split.

    Raises:
        UserError: a row cannot be decoded.
    """
    try:
        return [dict(row) for row in dataset]
    except _FAILS as error:
        said = one_line(str(error).partition("\n")[0] or type(error).__name__, 140, 40)
        raise UserError(
            f"{name} cannot be read ({said}); expected rows of texts and numbers; save the data as "
            "JSONL."
        ) from None


def as_table(dataset: Any, name: str) -> Table:
    """Return a split as a table, with the numbers of ClassLabel columns as their names."""
    import datasets

    rows = rows_of(dataset, name)
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.ClassLabel):
            for row in rows:
                number = row[column]
                known = number is not None and 0 <= number < len(feature.names)
                row[column] = feature.names[number] if known else None
    return Table(name, tuple(dataset.column_names), rows, list(range(1, len(rows) + 1)))


def _hidden(table: Table, features: Any) -> str | None:
    """Return the ClassLabel column that holds no label in any row, if there is one."""
    import datasets

    for column, feature in features.items():
        if isinstance(feature, datasets.ClassLabel) and all(
            row[column] is None for row in table.rows
        ):
            return str(column)
    return None
