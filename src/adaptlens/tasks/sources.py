"""Tables from a user's files: what stands in each row, and where it stands.

Nothing is guessed silently: whether the first line holds column names, which delimiter and which
quoting a file uses are recorded in `Table.notes`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError
from adaptlens.tasks.table import Table, some
from adaptlens.tasks.unpacking import COMPRESSED, MAX_FILE_BYTES, read_text, unpacked_name

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


def read_tables(
    path: Path,
    *,
    header: bool | None = None,
    named: Sequence[str] = (),
    max_file_bytes: int = MAX_FILE_BYTES,
) -> dict[str, Table]:
    """Return the tables of a file, by split name ("" where the file names no split).

    Args:
        path: a .csv, .tsv, .jsonl, .json or .parquet file, or one of them compressed (.gz, .bz2,
            .xz, .zst).
        header: whether the first line of a .csv or .tsv holds column names; None looks.
        named: columns the user named; a first line that holds one of them holds column names.
        max_file_bytes: a larger file is refused, packed or unpacked.

    Raises:
        UserError: if the file is missing, empty, too large, not text, or malformed.
    """
    suffix = unpacked_name(path).suffix.lower()
    if suffix not in SUFFIXES:
        shown = "".join(path.suffixes[-2:]) if path.suffix.lower() in COMPRESSED else path.suffix
        raise UserError(
            f"{path.name} ends in '{shown}'; expected one of {', '.join(SUFFIXES)} (or one of them "
            f"and {', '.join(COMPRESSED)}), or two line-aligned files as SOURCE,REFERENCES; "
            "convert the file or rename it."
        )
    if suffix == ".parquet":
        from adaptlens.tasks.parquet import parquet_table

        return {"": parquet_table(path, max_file_bytes)}
    text = read_text(path, max_file_bytes)
    if suffix == ".jsonl":
        return {"": _jsonl(text, path.name)}
    if suffix == ".json":
        return _json(text, path.name)
    from adaptlens.tasks.delimited import delimited_table

    delimiter = "\t" if suffix == ".tsv" else ""
    return {"": delimited_table(text, path.name, delimiter, header, named)}


def _jsonl(text: str, name: str) -> Table:
    records, places = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            records.append(_parsed(line, f"{name}, line {number}"))
            places.append(number)
    return records_table(records, places, name, "line")


def _json(text: str, name: str) -> dict[str, Table]:
    value = _parsed(text, name)
    if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        if len(value) == 1:
            (value,) = value.values()
        else:
            return {
                split: records_table(
                    rows, list(range(1, len(rows) + 1)), f"{name} [{split}]", "record"
                )
                for split, rows in value.items()
            }
    if not isinstance(value, list):
        raise UserError(
            f"{name} holds one JSON {type(value).__name__}; expected a list of records "
            '[{"input": ..., "target": ...}, ...]; for one record a line use the ending .jsonl.'
        )
    return {"": records_table(value, list(range(1, len(value) + 1)), name, "record")}


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        raise UserError(
            f"{place} is not valid JSON ({error.msg}, {where}); expected a JSON record; correct "
            "it, or use .jsonl for one record a line."
        ) from None
    except ValueError as error:
        said = str(error).partition(";")[0]
        raise UserError(
            f"{place} holds a number that cannot be read ({said}); expected numbers of at most "
            "4,300 digits; write longer ones as texts, in quotation marks."
        ) from None
    except RecursionError:
        raise UserError(
            f"{place} is nested too deeply; expected flat records such as "
            '{"input": ..., "target": ...}; flatten it.'
        ) from None


def records_table(records: list[Any], places: list[int], name: str, unit: str) -> Table:
    """Return the table of records, its columns in the order in which they first occur.

    Raises:
        UserError: there are none, or some are no records.
    """
    wrong = [p for p, record in zip(places, records, strict=True) if not isinstance(record, dict)]
    if wrong or not records:
        found = f"{len(wrong)} entries that are not records ({unit} {some(wrong)})"
        raise UserError(
            f"{name} holds {found if wrong else 'no records'}; expected records such as "
            '{"input": ..., "target": ...}; correct the file.'
        )
    columns = tuple(dict.fromkeys(str(key) for record in records for key in record))
    return Table(name, columns, records, places, unit)
