"""Tables of CSV and TSV: the delimiter, the quoting, and whether the first line names columns."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from adaptlens.errors import UserError, listed
from adaptlens.tasks.names import KNOWN_NAMES, folded
from adaptlens.tasks.table import Table, some

MAX_CELL_CHARACTERS = 10_000_000
_LONGEST_NAME = 40
_FEW = 20


def delimited_table(
    text: str, name: str, delimiter: str, header: bool | None = None, named: Sequence[str] = ()
) -> Table:
    """Return the table of a text with one row a line, or a quoted row over several.

    Args:
        text: of the file.
        name: of the file, for messages.
        delimiter: between columns; "" finds out.
        header: whether the first row names the columns; None looks.
        named: columns the user named; a first row that holds one of them names the columns.

    Raises:
        UserError: rows differ in length, quotes do not match, a name is given twice, or nothing
            tells whether the first row holds names.
    """
    rows, notes = _rows(text, name, delimiter)
    if not rows:
        raise UserError(f"{name} has only empty cells; expected examples; check the file.")
    rows = _equal_widths(rows, name, header)
    first = [cell.strip() for cell in rows[0][1]]
    if header is None:
        told = set(first) & {n for n in named if not n.isdecimal()}
        header = bool(told) or names_columns([cells for _, cells in rows])
    if header is None:
        raise UserError(
            f"{name}: its first line, {listed([repr(cell) for cell in first], 100)}, may be column "
            "names or an example; say --header or --no-header (in --config header: true or header: "
            "false beside the task's path)."
        )
    if header:
        columns = tuple(cell or f"Unnamed: {i}" for i, cell in enumerate(first))
        if len(set(columns)) < len(columns):
            twice = next(c for c in columns if columns.count(c) > 1)
            raise UserError(
                f"{name}: the first line names column '{twice}' twice; expected distinct names; "
                "rename one."
            )
        notes.append(f"The first line of {name} was read as column names: {listed(columns, 400)}.")
        rows = rows[1:]
    else:
        columns = tuple(str(i) for i in range(len(first)))
        notes.append(
            f"{name} has no line of column names; columns are numbered from 0, and its first line "
            "is an example."
        )
    return Table(
        name,
        columns,
        [dict(zip(columns, cells, strict=True)) for _, cells in rows],
        [line for line, _ in rows],
        "line",
        tuple(notes),
    )


Row = tuple[int, list[str]]
"""The line a row starts in, and its cells."""


def _rows(text: str, name: str, delimiter: str) -> tuple[list[Row], list[str]]:
    """Return the rows that are not blank, and what was decided about delimiter and quoting."""
    if not delimiter:
        first = text[: text.find("\n") if "\n" in text else len(text)]
        delimiter = max(",;\t", key=lambda mark: (first.count(mark), mark == ","))
        shown = "tab" if delimiter == "\t" else delimiter
        said = [] if delimiter == "," else [f"{name} was read with '{shown}' between columns."]
        return list(_quoted(text, name, delimiter)), said
    rows = [
        (i, line.rstrip("\r").split(delimiter))
        for i, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    if _quotes_wrap_cells(rows):
        quoted = list(_quoted(text, name, delimiter))
        return quoted, [f'{name}: the "..." around cells was read as quoting.']
    return rows, []


def _equal_widths(rows: list[Row], name: str, header: bool | None) -> list[Row]:
    """Return the rows, all as wide as most of them.

    A first row that is one cell short leaves the row names without a name, as R writes them.
    """
    widths = [len(cells) for _, cells in rows]
    width = max(set(widths), key=lambda w: (widths.count(w), w))
    ragged = [line for line, cells in rows if len(cells) != width]
    if ragged == [rows[0][0]] and widths[0] == width - 1 and len(rows) > 2 and header is not False:
        line, cells = rows[0]
        return [(line, ["", *cells]), *rows[1:]]
    if ragged:
        raise UserError(
            f"{name}: {len(ragged)} of {len(rows)} lines do not have {width} columns "
            f"(lines {some(ragged)}); expected the same number in every line; quote cells that "
            "hold the delimiter, or give JSONL."
        )
    return rows


def _quoted(text: str, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells) of every row that is not blank, read as RFC 4180."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
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


def names_columns(rows: list[list[str]]) -> bool | None:
    """Return whether the first row names the columns; None where nothing tells.

    It does not where a cell is a number, is long, occurs again among the few values of its column,
    or is running text itself. It does where two cells have well-known names, where a column is
    numeric below it only, or where of all columns this holds: the name is well known, or a single
    word above running text, or the only value not repeated among few. One well-known name alone
    may be an answer, and is not taken for a name.
    """
    first = [cell.strip() for cell in rows[0]]
    start = 1 if len(first) > 1 and not first[0] else 0
    below = [[row[i].strip() for row in rows[1:]] for i in range(len(first))]
    # df.to_csv() leaves the index without a name: its values are all there, and all differ.
    if start and not (all(below[0]) and len(set(below[0])) == len(below[0])):
        return False
    names, below = first[start:], below[start:]
    if len(set(names)) < len(names) or not all(names) or any(map(_is_number, names)):
        return False
    known = [folded(name) in KNOWN_NAMES for name in names]
    if len(rows) == 1:
        return any(known)
    if any(len(name) > _LONGEST_NAME for name in names):
        return False
    if any(map(_speaks_against, names, below)):
        return False
    if sum(known) > 1 or (len(names) == 1 and known[0]):
        return True
    if any(all(map(_is_number, column)) for column in below):
        return True
    above_text = [
        len(name.split()) == 1 and _is_running(column)
        for name, column in zip(names, below, strict=True)
    ]
    only = [_is_only_one(name, column) for name, column in zip(names, below, strict=True)]
    told = [a or b or c for a, b, c in zip(known, above_text, only, strict=True)]
    if all(told) and (len(names) > 1 or any(above_text)):
        return True
    return None if any(known) or any(only) else False


def _speaks_against(name: str, column: list[str]) -> bool:
    """Return whether a cell of the first row is a value like those below it."""
    values = Counter(column)
    if name in values and len(values) <= _FEW and len(values) < len(column):
        return True
    return len(name.split()) > 2 and _is_running(column) and folded(name) not in KNOWN_NAMES


def _is_running(column: list[str]) -> bool:
    return sum(len(value.split()) > 1 for value in column) > 0.8 * len(column)


def _is_only_one(name: str, column: list[str]) -> bool:
    """Return whether every value of a column of few occurs twice at least, but for the first."""
    counts = Counter(column)
    return len(counts) <= _FEW and name not in counts and min(counts.values()) > 1


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+([.,]\d+)?|nan)", cell.strip(), re.IGNORECASE) is not None
