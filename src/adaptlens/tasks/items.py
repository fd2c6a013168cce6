"""One example as it stands in the data, and a cell of a table as text."""

import math
import re
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from adaptlens.errors import UserError, one_line


@dataclass(frozen=True, slots=True)
class Item:
    """One row as texts, and where it stands ("train.csv, line 17").

    `earlier_turns` marks a conversation whose exchanges before the last are not in `input`;
    `fields` are further columns, by name; `group` says which items belong together; `accepted` and
    `given` are those of `types.Example`.

    Until `item_options.resolved` has looked them up, `target` may point to an option: `labels` are
    what the row calls its options.
    """

    place: str
    input: str
    target: str
    instruction: str = ""
    choices: tuple[str, ...] = ()
    earlier_turns: bool = False
    fields: tuple[tuple[str, str], ...] = ()
    group: str = ""
    labels: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    given: tuple[int, ...] = ()


_TEXTS = (str, int, float, Decimal, UUID, date, time, timedelta)
"""What is written as a text; everything else has to be flattened first."""


def as_text(value: Any, column: str | None, place: str) -> str:
    """Return a cell as text without surrounding blanks; "" where it is null or NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, _TEXTS):
        raise UserError(
            f"{place}: column '{one_line(str(column), 60)}' holds a {type(value).__name__}; "
            "expected text or a number; choose other columns with --input and --target, or flatten "
            "it."
        )
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    if re.search("[\ud800-\udfff]", text):
        raise UserError(
            f"{place}: column '{column}' holds half of a surrogate pair, which is no text; "
            "expected valid Unicode; write the character itself, or its whole \\u pair."
        )
    return "" if text in ("nan", "NaN") else text
