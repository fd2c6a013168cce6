"""The tables of a comparison's page: differences, calibration, cost, break-even."""

import math
import re
from collections.abc import Mapping
from typing import Any

from adaptlens.report.tables import (
    NUMBERS,
    Entry,
    Table,
    Tables,
    at_cell,
    cells_of,
    counts,
    estimated,
    number,
    p_entry,
    row_by_row,
    text,
)
from adaptlens.report.theme import METRICS, adaptation_of, points


def differences(tables: Tables) -> Table | None:
    """Return every paired difference with its interval, p-values and the test behind them."""
    cells = _cells_by_condition(tables)
    margin = ["margin"] if "margin" in tables.get("differences", ()) else []
    headings = (
        ("left", False),
        ("right", False),
        ("metric", False),
        ("difference, points", True),
        ("p", True),
        ("p (Holm)", True),
        ("p (equivalence)", True),
        ("detectable, points", True),
        ("queries", True),
        ("draws", True),
        ("test", False),
        ("correction", False),
        *((("equivalence margin, points", True),) if margin else ()),
    )

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        metric = row["metric"]
        difference, low, high, least = (
            points(metric, row[c]) for c in ("difference", "low", "high", "detectable")
        )
        return [
            *(_condition(row, row[side], cells) for side in ("left", "right")),
            Entry(re.sub(", (%|0–100)$", "", METRICS.get(metric, metric)), metric),
            estimated(difference, low, high, sign=True, digits=1),
            *(p_entry(row[c]) for c in ("p", "p_holm", "equivalence_p")),
            number(least, 1, ".1f"),
            *counts(row, "queries draws"),
            *(text(row[c]) for c in ("test", "correction")),
            *(number(points(metric, row[c]), 1, ".1f") for c in margin),
        ]

    caption = "Paired differences: left minus right"
    used = "left right metric difference low high p p_holm equivalence_p detectable queries draws "
    used += "test correction margin"
    return row_by_row(tables, "differences", caption, headings, entries, used)


def break_evens(tables: Tables) -> Table | None:
    """Return after how many queries the judged tuned condition costs no more than the prompt."""
    cells = _cells_by_condition(tables)
    headings = (
        ("prompt", False),
        ("tuned", False),
        ("serving", False),
        ("counted in", False),
        ("trainer", False),
        ("counted", False),
        ("break-even, queries", True),
        ("least, single draws", True),
        ("most, single draws", True),
    )

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(_condition(row, row[f"{side}_condition"], cells) for side in ("prompt", "tuned")),
            Entry(f"prompt {row['serving'].replace('un', 'not ')}", row["serving"]),
            *(text(row[name]) for name in ("unit", "trainer", "counted")),
            *(_until(float(row[name])) for name in ("queries", "low", "high")),
        ]

    caption = "Break-even: from this many queries on, tuning costs no more"
    used = "prompt_condition tuned_condition serving unit trainer counted queries low high"
    return row_by_row(tables, "break_even", caption, headings, entries, used)


def _until(queries: float) -> Entry:
    return Entry("never", queries) if math.isinf(queries) else number(queries, 1, ",.0f")


def measured(tables: Tables, name: str, caption: str) -> Table | None:
    """Return a table of known numeric columns (calibration, reliability, cost) by condition."""
    cells = _cells_by_condition(tables)
    table = tables.get(name)
    columns = [] if table is None else [c for c in table.columns if c in NUMBERS]
    headings = (("condition", False), *((NUMBERS[column][0], True) for column in columns))

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        numbers = [number(row[c], *NUMBERS[c][1:]) for c in columns]
        return [_condition(row, row["condition"], cells), *numbers]

    return row_by_row(tables, name, caption, headings, entries, " ".join(["condition", *columns]))


def _condition(row: Mapping[Any, Any], condition: str, cells: Mapping[Any, Any]) -> Entry:
    found = cells.get((row["task"], row["model"], condition), ())
    return at_cell(Entry(condition, condition, adaptation=adaptation_of(condition)), found)


def _cells_by_condition(tables: Tables) -> dict[tuple[str, str, str], tuple[str, ...]]:
    if (table := tables.get("accuracy")) is None or table.empty:
        return {}
    return {
        (row["task"], row["model"], row["condition"]): cells_of(row["cell"])
        for row in table.to_dict("records")
    }
