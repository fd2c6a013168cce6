"""The tables of a comparison's page: differences, side effects, calibration, cost, break-even."""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import numeral
from adaptlens.report.tables import (
    NUMBERS,
    Conditions,
    Entry,
    Table,
    Tables,
    counts,
    estimated,
    number,
    p_entry,
    plain,
    row_by_row,
    text,
)
from adaptlens.report.theme import METRICS, points, style_of

if TYPE_CHECKING:
    pass


def differences(tables: Tables, conditions: Conditions) -> Table | None:
    """Return every paired difference with its interval, p-values and the test behind them."""
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
            *(conditions.entry(row[side], row["model"], row["task"]) for side in ("left", "right")),
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


ROLES = {
    "ood": "another domain",
    "also": "another task",
    "text": "plain text",
    "wording": "wording",
    "confidence": "confidence",
}
"""What a side effect is seen on."""


def side_effects(tables: Tables, conditions: Conditions) -> Table | None:
    """Return what adapting changes besides the score, and against whom."""
    headings = (
        ("read on", False), ("which is", False), ("arm", False), ("against", False),
        ("metric", False), ("arm's score", True), ("the other's", True),
        ("difference, points", True), ("p", True), ("p (Holm)", True),
        ("detectable, points", True), ("queries", True), ("draws", True),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        metric = row["metric"]
        score = (points(metric, row[c]) for c in ("value", "value_low", "value_high"))
        gap = (points(metric, row[c]) for c in ("difference", "low", "high"))
        return [
            text(row["set"]),
            text(ROLES[row["role"]]),
            *(conditions.entry(row[side], row["model"], row["task"]) for side in ("left", "right")),
            Entry(METRICS.get(metric, metric).rpartition(", ")[0], metric),
            estimated(*score, digits=1),
            number(points(metric, row["value_right"]), 1, ".1f"),
            estimated(*gap, sign=True, digits=1),
            *(p_entry(row[c]) for c in ("p", "p_holm")),
            number(points(metric, row["detectable"]), 1, ".1f"),
            *counts(row, "queries draws"),
        ]

    used = "set role left right metric value value_low value_high value_right difference low high "
    used += "p p_holm equivalence_p detectable supports_claims queries draws correction"
    caption = "Side effects"
    return row_by_row(tables, "side_effects", caption, headings, entries, used)


def learned(tables: Tables) -> Table | None:
    """Return the learning curves at the numbers of examples measured and at doublings beyond."""
    curves = tables.get("curves")
    if curves is None or curves.empty:
        return None
    whole = curves["doublings"].round(9).isin([1.0, 2.0, 3.0])
    shown = curves[curves["measured"].notna() | whole]
    headings = (
        ("way", False), ("examples", True), ("measured", True), ("curve", True),
        ("forms that fit", True), ("queries", True), ("draws", True),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        metric, style = row["metric"], style_of(row["adaptation"])
        value, low, high = (points(metric, row[c]) for c in ("value", "low", "high"))
        return [
            Entry(style.label, style.label, style=style),
            *counts(row, "examples"),
            number(points(metric, row["measured"]), 1, ".1f"),
            estimated(value, low, high, digits=1),
            Entry(f"{row['forms']} of {row['all_forms']}", row["forms"]),
            *counts(row, "queries draws"),
        ]

    used = "adaptation examples metric measured value low high doublings sizes forms all_forms "
    used += "queries draws"
    caption = "Learning curves, with what is predicted for more examples"
    return row_by_row({"curves": shown}, "curves", caption, headings, entries, used)


def break_evens(tables: Tables, conditions: Conditions) -> Table | None:
    """Return after how many queries the judged tuned condition costs no more than the prompt."""
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
            *(
                conditions.entry(row[f"{side}_condition"], row["model"], row["task"])
                for side in ("prompt", "tuned")
            ),
            Entry(f"prompt {row['serving'].replace('un', 'not ')}", row["serving"]),
            *(text(row[name]) for name in ("unit", "trainer", "counted")),
            *(_until(float(row[name])) for name in ("queries", "low", "high")),
        ]

    caption = "Break-even: from this many queries on, tuning costs no more"
    used = "prompt_condition tuned_condition serving unit trainer counted queries low high"
    return row_by_row(tables, "break_even", caption, headings, entries, used)


def _until(queries: float) -> Entry:
    if math.isfinite(queries):
        return Entry(f"{math.ceil(queries):,}", queries)
    return Entry("never", queries) if math.isinf(queries) else number(queries)


STANDINGS = {
    "cheapest": "not dominated: the cheapest",
    "ahead": "not dominated: scores more",
    "open": "not shown to be dominated",
    "dominated": "dominated",
    "matched": "matched at less cost",
}
"""What the page calls where an arm stands among those of all models."""


def front(tables: Tables, conditions: Conditions) -> Table | None:
    """Return where every judged arm stands among those of all models, the cheapest first."""
    rows = tables.get("front")
    if rows is None or rows.empty:
        return None
    headings = (
        ("arm", False), ("score", True), ("a query", True), ("with a cached prompt", True),
        ("stands", False), ("held against", False), ("difference, points", True),
        ("p (Holm)", True), ("p (matched)", True), ("queries", True), ("draws", True),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        metric = row["metric"]
        score = (points(metric, row[c]) for c in ("value", "low", "high"))
        gap = (points(metric, row[f"difference{c}"]) for c in ("", "_low", "_high"))
        against = f"{row['against']} on {row['against_model']}" if row["against"] else "–"
        return [
            conditions.entry(row["condition"], row["model"], row["task"]),
            estimated(*score, digits=1),
            *(_cost(row["unit"], row[c]) for c in ("cost", "cost_cached")),
            text(STANDINGS[row["state"]]),
            text(against),
            estimated(*gap, sign=True, digits=1),
            *(p_entry(row[c]) for c in ("p_holm", "matched_p")),
            *counts(row, "queries draws"),
        ]

    used = "condition metric value low high unit cost cost_cached state against_model against "
    used += "difference difference_low difference_high p p_holm matched_p queries draws"
    caption = "Models together: score against the cost of a query"
    judged = {"front": rows[rows["state"] != "not judged"]}
    return row_by_row(judged, "front", caption, headings, entries, used)


def _cost(unit: str, cost: float) -> Entry:
    if unit == "FLOP":
        return Entry(f"{numeral(cost, '.3g', 1e-9)} GFLOP", cost)
    return Entry(f"{numeral(cost, '.3g', 1e3)} a thousand", cost)


def measured(tables: Tables, name: str, caption: str, conditions: Conditions) -> Table | None:
    """Return a table of known numeric columns (calibration, reliability, cost) by condition."""
    table = tables.get(name)
    columns = [] if table is None else [c for c in table.columns if c in NUMBERS]
    headings = (("condition", False), *((NUMBERS[column][0], True) for column in columns))

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        numbers = [number(row[c], *NUMBERS[c][1:]) for c in columns]
        return [conditions.entry(row["condition"], row["model"], row["task"]), *numbers]

    return row_by_row(tables, name, caption, headings, entries, " ".join(["condition", *columns]))


def as_it_is(tables: Tables, name: str, caption: str) -> Table | None:
    """Return a table as it is; None where it was not made."""
    table = tables.get(name)
    return None if table is None or table.empty else plain(table, name, caption)
