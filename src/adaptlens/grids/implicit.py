"""The tables of the page of the study of implicit patterns and circuits."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adaptlens.grids.convergence import SIGNS, Cells, tone
from adaptlens.grids.entries import Entry, Grid, Tables, number, row_by_row
from adaptlens.looks import adaptation_of, interval, p_value, similarity

if TYPE_CHECKING:
    import pandas as pd

FACTORS = {
    1: "shortcut use", 2: "over-reliance", 3: "samples needed", 4: "transfer", 5: "circuits",
    6: "circuit shift",
}  # fmt: skip
"""The factors of the study by their number."""

EVERY_FAMILY = "all families"
"""The task of claims about all families together."""

POINTS = (1, 2, 4)
"""The factors whose effects are in points."""

SCORES = ("induction", "label_attention", "query_attention", "sink", "function_vector")
"""What heads are annotated with."""

_COUNTS = (("queries", True), ("draws", True))
_ITEMS = (("items", True), ("draws", True))
_UNIT = (("unit", False), ("kind", False), ("layer", True))


def effect(row: Mapping[Any, Any]) -> str:
    """Return the effect of a claim with its interval, in points where the factor has points."""
    ends = (_number(row["effect"]), _number(row["low"]), _number(row["high"]))
    if not math.isfinite(ends[0]):
        return "undefined"
    if row["factor"] in POINTS:
        return f"{interval(*ends, sign=True)} points"
    return similarity(*ends, sign=True)


def claims(rows: Sequence[Mapping[str, Any]]) -> Grid | None:
    """Return one row per claim: verdict, effect with interval, p-values and the test."""
    if not rows:
        return None
    headings = (
        ("verdict", False), ("claim", False), ("effect", True), ("p (Holm)", True),
        ("family", False), ("model", False), *_COUNTS, ("p", True), ("test", False),
        ("factor", False),
    )  # fmt: skip

    def entries(row: Mapping[str, Any]) -> tuple[Entry, ...]:
        name = f"{row['factor']} {FACTORS.get(row['factor'], '')}".strip()
        state = row["state"]
        return (
            Entry(f"{SIGNS[state]} {state}", state, tone=tone(state)),
            Entry(row["claim"], row["claim"], tone="words"),
            Entry(effect(row), _sortable(row["effect"])),
            _p(row["p_holm"]),
            *(Entry(str(row[c]), str(row[c])) for c in ("task", "model")),
            *_numbers(row, "queries draws"),
            _p(row["p"]),
            Entry(row["test"], row["test"]),
            Entry(name, name),
        )

    ordered = sorted(rows, key=lambda row: row["factor"])
    return Grid("claims", "All claims", headings, tuple(map(entries, ordered)))


def curves(tables: Tables, cells: Cells) -> Grid | None:
    """Return accuracies with their intervals; those at a number chosen on validation are marked."""
    headings = (
        ("condition", False), ("learnt", False), ("read", False), ("method", False),
        ("tuned on", False), ("samples", True), ("accuracy, %", True), ("chosen", False), *_COUNTS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(Entry(row[c] or "–", row[c]) for c in ("condition", "learnt", "read")),
            _method(row),
            *([Entry(row["tuned_on"], row["tuned_on"])]),
            number(row["samples"], 1, ",.0f"),
            _linked(_points(row), _cell_of(row, cells)),
            Entry("chosen" if row["chosen"] else "", "chosen" if row["chosen"] else ""),
            *_numbers(row, "queries draws"),
        ]

    used = "learnt read condition method tuned_on samples value low high queries draws chosen"
    caption = "Accuracy by condition, way of adapting and number of samples"
    return _grid(tables.get("curves"), "curves", caption, headings, entries, used)


def _cell_of(row: Mapping[Any, Any], cells: Cells) -> tuple[str, ...]:
    """Return the cells of an accuracy."""
    name = row["method"] if not row["samples"] else f"{row['method']}-{row['samples']:.0f}"
    learnt = row["learnt"] or "pattern"
    task = f"mixed-{learnt}-all" if row["tuned_on"] == "mixed" else f"{row['task']}-{learnt}"
    return cells.get((task, row["model"], name), ())


def _grid(
    table: "pd.DataFrame | None",
    name: str,
    caption: str,
    headings: Iterable[tuple[str, bool]],
    entries: Callable[[Mapping[Any, Any]], list[Entry]],
    used: str,
) -> Grid | None:
    """Return a table row by row, the family, and the model where there are several, in front."""
    if table is None or table.empty:
        return None
    rows = table.rename(columns={"family": "task"})
    found = row_by_row({name: rows}, name, caption, headings, entries, used)
    assert found
    return replace(found, headings=(("family", False), *found.headings[1:]))


def _method(row: Mapping[Any, Any]) -> Entry:
    return Entry(row["method"], row["method"], adaptation=adaptation_of(row["method"]))


def _linked(entry: Entry, found: tuple[str, ...]) -> Entry:
    return replace(entry, links=((entry.text, found[0]),)) if found else entry


def _points(row: Mapping[Any, Any], *, sign: bool = False) -> Entry:
    ends = (row["value"], row["low"], row["high"])
    return Entry(interval(*ends, sign=sign), _sortable(row["value"]))


def _p(value: Any) -> Entry:
    return Entry(p_value(_number(value)), _sortable(value))


def _numbers(row: Mapping[Any, Any], names: str) -> list[Entry]:
    return [number(row[c], 1, ",.0f") for c in names.split()]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _sortable(value: Any) -> float | str:
    value = _number(value)
    return "" if math.isnan(value) else value
