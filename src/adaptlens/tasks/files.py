"""Tables from a user's files: what stands in each row, and where it stands.

Nothing is guessed silently: whether the first line holds column names, which delimiter and which
quoting a file uses are recorded in `Table.notes`.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
MAX_FILE_BYTES = 500_000_000

# fmt: off
INPUT_NAMES = (
    "input", "text", "sentence", "question", "prompt", "query", "review", "document", "source",
    "src", "content", "utterance", "tweet", "post", "comment", "message", "headline", "passage",
    "body",
)
TARGET_NAMES = (
    "target", "label", "answer", "output", "completion", "response", "labels", "class", "category",
    "sentiment", "gold", "reference", "translation", "summary", "tgt", "intent", "rating",
    "answerkey",
)
# fmt: on
CHOICES_NAMES = ("choices", "options", "endings")
OTHER_NAMES = (*CHOICES_NAMES, "split", "instruction", "id", "idx", "index", "system")
KNOWN_NAMES = frozenset((*INPUT_NAMES, *TARGET_NAMES, *OTHER_NAMES))

_MAGIC = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "gzip-compressed; unpack it first",
    b"PAR1": "a Parquet file; give it the ending .parquet",
    b"%PDF": "a PDF document; export its table as CSV",
    b"\xff\xfe": "UTF-16 text; convert it with `iconv -f UTF-16 -t UTF-8`",
    b"\xfe\xff": "UTF-16 text; convert it with `iconv -f UTF-16 -t UTF-8`",
}


@dataclass(frozen=True)
class Table:
    """The rows of one file or dataset split, each with its place in it.

    `places[i]` is the 1-based `unit` (line, record or row) of `rows[i]`.
    """

    name: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    places: list[int]
    unit: str = "row"
    notes: tuple[str, ...] = ()


def read_tables(
    path: Path,
    *,
    header: bool | None = None,
    named: Sequence[str] = (),
    max_file_bytes: int = MAX_FILE_BYTES,
) -> dict[str, Table]:
    """Return the tables of a file, by split name ("" where the file names no split).

    Args:
        path: a .csv, .tsv, .jsonl, .json or .parquet file.
        header: whether the first line of a .csv or .tsv holds column names; None looks.
        named: columns the user named; a first line that holds one of them holds column names.
        max_file_bytes: a larger file is refused.

    Raises:
        UserError: if the file is missing, empty, too large, not text, or malformed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{path.name} ends in '{path.suffix}'; expected one of {', '.join(SUFFIXES)}, or two "
            "line-aligned files as SOURCE,REFERENCES; convert the file or rename it."
        )
    if suffix == ".parquet":
        _check_size(path, max_file_bytes)
        return {"": _parquet(path)}
    text = read_text(path, max_file_bytes)
    if suffix == ".jsonl":
        return {"": _jsonl(text, path.name)}
    if suffix == ".json":
        return _json(text, path.name)
    return {"": _delimited(text, path.name, "\t" if suffix == ".tsv" else "", header, named)}


def read_text(path: Path, max_file_bytes: int = MAX_FILE_BYTES) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises:
        UserError: if the file is missing, empty, too large, binary or in another encoding.
    """
    _check_size(path, max_file_bytes)
    data = path.read_bytes()
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise UserError(f"{path.name} is not UTF-8 text but {what}.")
    if b"\0" in data:
        raise UserError(
            f"{path.name} is a binary file (a zero byte at offset {data.index(0)}); expected UTF-8 "
            "text; export the data as CSV or JSONL."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path.name} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}, "
            f"line {line}; expected UTF-8 text; convert it, for example with "
            "`iconv -f WINDOWS-1252 -t UTF-8`."
        ) from None
    if not text.strip():
        raise UserError(f"{path.name} is blank; expected one example a line; check the file.")
    return text


def _check_size(path: Path, max_file_bytes: int) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); expected a file; check the path and its "
            "permissions."
        ) from None
    if size == 0:
        raise UserError(f"{path.name} is empty (0 bytes); expected examples; check the file.")
    if size > max_file_bytes:
        raise UserError(
            f"{path.name} has {size:,} bytes; expected at most {max_file_bytes:,}; give a sample "
            "of the file (a few thousand rows are plenty for a comparison)."
        )


def _delimited(
    text: str, name: str, delimiter: str, header: bool | None, named: Sequence[str]
) -> Table:
    notes = []
    if not delimiter:
        first = text[: text.find("\n") if "\n" in text else len(text)]
        delimiter = max(",;\t", key=lambda mark: (first.count(mark), mark == ","))
        if delimiter != ",":
            shown = "tab" if delimiter == "\t" else delimiter
            notes.append(f"{name} was read with '{shown}' between columns.")
        rows = list(_quoted(text, name, delimiter))
    else:
        rows = [
            (i, line.rstrip("\r").split(delimiter))
            for i, line in enumerate(text.split("\n"), 1)
            if line.strip()
        ]
        if _quotes_wrap_cells(rows):
            rows = list(_quoted(text, name, delimiter))
            notes.append(f'{name}: the "..." around cells was read as quoting.')
    widths = [len(cells) for _, cells in rows]
    width = max(set(widths), key=widths.count)
    ragged = [line for line, cells in rows if len(cells) != width]
    if ragged:
        raise UserError(
            f"{name}: {len(ragged)} of {len(rows)} lines do not have {width} columns "
            f"(lines {some(ragged)}); expected the same number in every line; quote cells that "
            "hold the delimiter, or give JSONL."
        )
    if header is None:
        names = {cell.strip() for cell in rows[0][1]} & {n for n in named if not n.isdecimal()}
        header = bool(names) or _has_header([cells for _, cells in rows])
    if header:
        columns = tuple(cell.strip() for cell in rows[0][1])
        if len(set(columns)) < len(columns):
            twice = next(c for c in columns if columns.count(c) > 1)
            raise UserError(
                f"{name}: the first line names column '{twice}' twice; expected distinct names; "
                "rename one."
            )
        notes.append(f"The first line of {name} was read as column names: {', '.join(columns)}.")
        rows = rows[1:]
    else:
        columns = tuple(str(i) for i in range(width))
        notes.append(f"{name} has no line of column names; columns are numbered from 0.")
    return Table(
        name,
        columns,
        [dict(zip(columns, cells, strict=True)) for _, cells in rows],
        [line for line, _ in rows],
        "line",
        tuple(notes),
    )


def _quoted(text: str, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells) of every row that is not blank, read as RFC 4180."""
    csv.field_size_limit(10_000_000)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{name}, the row that starts in line {line}: {error}; expected cells that hold the "
            'delimiter or a quote to be written "like ""this"""; correct the line.'
        ) from None


def _quotes_wrap_cells(rows: list[tuple[int, list[str]]]) -> bool:
    """Return whether every cell that begins with a quote is a well-formed quoted cell."""
    begun = [c for _, cells in rows for c in cells if c.startswith('"')]
    return bool(begun) and all(re.fullmatch(r'"(?:[^"]|"")*"', cell) for cell in begun)


def _has_header(rows: list[list[str]]) -> bool:
    """Return whether the first row names the columns.

    It does where it holds a well-known name, where a column is numeric below it only, where it
    holds the only value not repeated in a column of few values, or where single words stand above
    columns of running text.
    """
    first = [cell.strip() for cell in rows[0]]
    rest = rows[1:]
    if len(set(first)) < len(first) or not all(first) or any(_is_number(c) for c in first):
        return False
    if any(cell.casefold() in KNOWN_NAMES for cell in first):
        return True
    if not rest or any(len(cell) > 40 for cell in first):
        return False
    below = [[row[i].strip() for row in rest] for i in range(len(first))]
    if any(all(map(_is_number, column)) for column in below):
        return True
    for cell, column in zip(first, below, strict=True):
        counts = Counter(column)
        if len(counts) <= 20 and cell not in counts and min(counts.values()) > 1:
            return True
    return all(
        len(cell.split()) == 1 and sum(len(v.split()) > 1 for v in column) > 0.8 * len(column)
        for cell, column in zip(first, below, strict=True)
    )


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+([.,]\d+)?|nan)", cell.strip(), re.IGNORECASE) is not None


def _jsonl(text: str, name: str) -> Table:
    records, places = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            records.append(_parsed(line, f"{name}, line {number}"))
            places.append(number)
    return _records(records, places, name, "line")


def _json(text: str, name: str) -> dict[str, Table]:
    value = _parsed(text, name)
    if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        if len(value) == 1:
            (value,) = value.values()
        else:
            return {
                split: _records(rows, list(range(1, len(rows) + 1)), f"{name} [{split}]", "record")
                for split, rows in value.items()
            }
    if not isinstance(value, list):
        raise UserError(
            f"{name} holds one JSON {type(value).__name__}; expected a list of records "
            '[{"input": ..., "target": ...}, ...]; for one record a line use the ending .jsonl.'
        )
    return {"": _records(value, list(range(1, len(value) + 1)), name, "record")}


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        raise UserError(
            f"{place} is not valid JSON ({error.msg}, {where}); expected a JSON record; correct "
            "it, or use .jsonl for one record a line."
        ) from None
    except RecursionError:
        raise UserError(
            f"{place} is nested too deeply; expected flat records such as "
            '{"input": ..., "target": ...}; flatten it.'
        ) from None


def _records(records: list[Any], places: list[int], name: str, unit: str) -> Table:
    wrong = [p for p, record in zip(places, records, strict=True) if not isinstance(record, dict)]
    if wrong or not records:
        found = f"{len(wrong)} entries that are not records ({unit} {some(wrong)})"
        raise UserError(
            f"{name} holds {found if wrong else 'no records'}; expected records such as "
            '{"input": ..., "target": ...}; correct the file.'
        )
    columns = tuple(dict.fromkeys(str(key) for record in records for key in record))
    return Table(name, columns, records, places, unit)


def _parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise UserError(
            f"{path.name} cannot be read as Parquet ({str(error).splitlines()[0]}); expected a "
            "Parquet file; write it again."
        ) from None
    rows = table.to_pylist()
    return Table(path.name, tuple(table.column_names), rows, list(range(1, len(rows) + 1)))


def some(places: Sequence[object], at_most: int = 5) -> str:
    """Return the first few places as text, saying how many more there are."""
    more = f" and {len(places) - at_most} more" if len(places) > at_most else ""
    return ", ".join(map(str, places[:at_most])) + more
