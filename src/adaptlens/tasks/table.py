"""A table as every kind of file becomes one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


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


def some(places: Sequence[object], at_most: int = 5) -> str:
    """Return the first few places as text, saying how many more there are."""
    more = f" and {len(places) - at_most} more" if len(places) > at_most else ""
    return ", ".join(map(str, places[:at_most])) + more
