"""Datasets from the Hugging Face hub, or from a folder in one of its layouts."""

from pathlib import Path
from typing import Any

from adaptlens.errors import UserError
from adaptlens.tasks.assembly import Settings, split_of, tables_task
from adaptlens.tasks.files import Table
from adaptlens.tasks.split import SPLIT_NAMES
from adaptlens.values import Task


def hub_task(name: str, settings: Settings) -> Task:
    """Return the task of `NAME[:CONFIG]`, a hub dataset or a local folder of one.

    The names of a ClassLabel column become the options. A split whose answers are all hidden
    (label -1) is left out, and said to be.

    Raises:
        UserError: if the dataset or configuration cannot be found, or needs code to be run.
    """
    path, config = (name, None) if Path(name).exists() else _parted(name)
    dataset = open_dataset(path, config)
    tables: dict[str, Table] = {}
    notes = []
    for label in dataset:
        known = SPLIT_NAMES.get(label) or split_of(label)
        if known is None or known in tables:
            notes.append(f"Split '{label}' of {name} was not used.")
            continue
        table = as_table(dataset[label], f"{Path(path).name} [{label}]")
        hidden = _hidden(table, dataset[label].features)
        if hidden:
            notes.append(
                f"Split '{label}' of {name} was not used: its column '{hidden}' is hidden (-1)."
            )
            continue
        tables[known] = table
    if not tables:
        raise UserError(
            f"hf:{name} has the splits {', '.join(dataset)}, none of them labelled train, "
            "validation or test; expected at least one; export the split you want as JSONL."
        )
    return tables_task(Path(path).name, tables, settings, notes)


def _parted(name: str) -> tuple[str, str | None]:
    path, _, config = name.partition(":")
    return path, config or None


def open_dataset(path: str, config: str | None = None, **arguments: Any) -> dict[str, Any]:
    """Return the splits of a dataset as `datasets.Dataset` by name; no remote code is run.

    Args:
        path: hub name, folder saved by `save_to_disk`, folder of data files, or the name of a
            builder ("csv", "json", "parquet") with `data_files` in `arguments`.
        config: configuration name.
        arguments: passed on to `datasets.load_dataset`.

    Raises:
        UserError: if it cannot be loaded.
    """
    import datasets

    try:
        folder = Path(path)
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            loaded = datasets.load_from_disk(path)
        else:
            loaded = datasets.load_dataset(path, config, **arguments)
    except (
        OSError,
        ValueError,
        RuntimeError,
        TypeError,
        datasets.exceptions.DatasetsError,
    ) as error:
        cause = error.__cause__ or error
        said = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        shown = path + (f":{config}" if config else "")
        raise UserError(
            f"dataset '{shown}' cannot be loaded ({said}); expected a hub dataset NAME[:CONFIG] "
            "that needs no code of its own, or a folder of data files; check the name and the "
            "network, or download it and give the folder."
        ) from None
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}


def as_table(dataset: Any, name: str) -> Table:
    """Return a split as a table, with the numbers of ClassLabel columns as their names."""
    import datasets

    rows = [dict(row) for row in dataset]
    for column, feature in dataset.features.items():
        if isinstance(feature, datasets.ClassLabel):
            for row in rows:
                number = row[column]
                row[column] = feature.names[number] if number is not None and number >= 0 else None
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
