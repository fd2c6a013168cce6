"""What the columns of tables say, and tables that have them all.

`framed` makes the tables of a report from rows, so that a table has its columns whether or not
anything was measured, and no column is in a table without its definition here. The same
definitions are docs/tables.md.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from adaptlens import registry
from adaptlens.columns.shared import PAIR, Columns

if TYPE_CHECKING:
    import pandas as pd

HALVES = re.compile("[\ud800-\udfff]")
"""Halves of a surrogate pair, which UTF-8 has no bytes for."""


def tables_of(study: str) -> Mapping[str, Columns]:
    """Return the tables of a study, each with its columns and what they say.

    Raises:
        UserError: there is no such study.
    """
    found: Mapping[str, Columns] = registry.resolve("columns", study)
    return found


def framed(
    study: str, tables: Mapping[str, "Iterable[Mapping[str, Any]] | pd.DataFrame"]
) -> dict[str, "pd.DataFrame"]:
    """Return all tables of a study, also those that were not measured, as data frames.

    A table without rows has all of its columns; one with rows has those that its rows give.

    Args:
        study: its name.
        tables: rows by table; what is missing is empty.

    Raises:
        ValueError: a table or a column that is not defined.
    """
    import pandas as pd

    known = tables_of(study)
    if strange := sorted(set(tables) - set(known)):
        raise ValueError(f"no definition of the table '{strange[0]}' of the study '{study}'")
    found = {}
    for name, columns in known.items():
        given = tables.get(name, ())
        frame = given if isinstance(given, pd.DataFrame) else frame_of(given)
        if not len(frame):
            frame = pd.DataFrame(columns=[column for column in columns if column != PAIR])
        if undefined := [c for c in frame.columns if definition(study, name, str(c)) is None]:
            raise ValueError(f"no definition of '{undefined[0]}' in the table '{study}.{name}'")
        found[name] = frame
    return found


def frame_of(rows: Iterable[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return rows as a data frame; of texts that no file can hold, the half of a pair is shown."""
    import pandas as pd

    return pd.DataFrame([{name: _storable(value) for name, value in row.items()} for row in rows])


def _storable(value: Any) -> Any:
    if not isinstance(value, str) or value.isascii():
        return value
    return HALVES.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


def definition(study: str, table: str, column: str) -> str | None:
    """Return what a column says, or None where nobody has said it."""
    columns = tables_of(study)[table]
    return columns.get(column) or (columns.get(PAIR) if " ~ " in column else None)


def as_markdown() -> str:
    """Return the definitions of all columns as docs/tables.md has them."""
    lines = [_HEAD]
    for study in registry.names("columns"):
        tables = tables_of(study)
        lines += [f"## {study}", ""]
        for name, columns in tables.items():
            lines += [f"### {study}: {name}", "", "| column | what it says |", "|---|---|"]
            lines += [f"| {_shown(column)} | {_cell(text)} |" for column, text in columns.items()]
            lines.append("")
    return "\n".join(lines)


_HEAD = """\
# The tables of a run, column by column

Every run has its tables as `tables/NAME.parquet`, and `--json` prints them. A table has all its
columns where nothing was measured for it, and no rows; with rows, it has those that were measured.
Intervals are 95% intervals. Formulas and sources: `methods.md`. This page is made from
`adaptlens.columns.as_markdown`.
"""


def _shown(column: str) -> str:
    return f"`{column}`" if column != PAIR else "one for each pair and measure"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
