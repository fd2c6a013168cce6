"""The tables of a page: what stands in each cell, how it sorts, and where it links."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptlens.looks import METRICS, adaptation_of, interval, p_value, points

if TYPE_CHECKING:
    import pandas as pd

Tables = Mapping[str, "pd.DataFrame"]
NUMBERS: dict[str, tuple[str, float, str]] = {
    "brier": ("Brier", 1, ".3f"),
    "ece": ("ECE", 1, ".3f"),
    "ece_if_calibrated": ("ECE if calibrated", 1, ".3f"),
    "answer_loglik": ("answer log-likelihood", 1, ".3f"),
    "bin_confidence": ("confidence, %", 100, ".1f"),
    "bin_accuracy": ("right, %", 100, ".1f"),
    "count": ("answers", 1, ",.0f"),
    "training_flops": ("training, GFLOP", 1e-9, ",.3g"),
    "training_seconds": ("training, s", 1, ",.3g"),
    "query_flops": ("query, GFLOP", 1e-9, ",.3g"),
    "query_flops_cached": ("query, cached prompt, GFLOP", 1e-9, ",.3g"),
    "query_tokens": ("tokens a query", 1, ",.1f"),
    "cached_tokens": ("of these cached", 1, ",.1f"),
    "query_seconds": ("query, ms", 1e3, ",.3g"),
    "query_seconds_cached": ("query, cached prompt, ms", 1e3, ",.3g"),
    "peak_bytes": ("peak memory, MB", 1e-6, ",.0f"),
    "trainable": ("weights trained", 1, ",.0f"),
    "queries": ("queries", 1, ",.0f"),
    "draws": ("draws", 1, ",.0f"),
    "examples": ("examples", 1, ",.0f"),
}
"""For known numeric columns: the heading with its unit, the factor to that unit, the format."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One cell of a table: its text, what it sorts by, and what it points to.

    `links` are (text, cell id) and replace the text; `adaptation` puts its mark before it.
    """

    text: str
    sort: float | str = ""
    links: tuple[tuple[str, str], ...] = ()
    adaptation: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of a page.

    `headings` are (text, whether numeric); `anchors`, where given, are the ids of its rows.
    """

    name: str
    caption: str
    headings: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Entry, ...], ...]
    anchors: tuple[str, ...] = ()


def number(value: float, factor: float = 1, form: str = ",.4g") -> Entry:
    """Return a number as it is printed, with a true minus; "–" where it is undefined."""
    value = float(value)
    if math.isnan(value):
        return Entry("–")
    if math.isinf(value):
        return Entry("∞" if value > 0 else "−∞", value)
    return Entry(f"{value * factor:{form}}".replace("-", "−"), value)


def scores(tables: Tables) -> list[Grid]:
    """Return one table for each task and model: a condition a row, a metric a column."""
    if (table := tables.get("accuracy")) is None or table.empty:
        return []
    grids: list[Grid] = []
    several = table["model"].nunique() > 1
    for (task, model), rows in table.groupby(["task", "model"], sort=False):
        present = [str(metric) for metric in dict.fromkeys(rows["metric"])]
        metrics = [m for m in METRICS if m in present] + [m for m in present if m not in METRICS]
        found = []
        for name, of_condition in rows.groupby("condition", sort=False):
            first = of_condition.iloc[0]
            condition, cells = str(name), cells_of(first["cell"])
            by_metric = {row["metric"]: row for row in of_condition.to_dict("records")}
            found.append(
                (
                    Entry(condition, condition, adaptation=first["adaptation"]),
                    number(first["examples"], 1, ",.0f"),
                    *(_score(by_metric.get(metric), cells) for metric in metrics),
                    number(first["queries"], 1, ",.0f"),
                    number(first["draws"], 1, ",.0f"),
                    _linked(cells),
                )
            )
        for baseline, of_baseline in _baselines(tables, str(task)).items():
            values = {row["metric"]: points(row["metric"], row["value"]) for row in of_baseline}
            scored = [number(values.get(metric, math.nan), 1, ".1f") for metric in metrics]
            found.append(
                (Entry(baseline, baseline), Entry(""), *scored, Entry(""), Entry(""), Entry(""))
            )
        grids.append(
            Grid(
                f"scores-{len(grids)}",
                f"{task} on {model}" if several else str(task),
                (
                    ("condition", False),
                    ("examples", True),
                    *((METRICS.get(metric, metric), True) for metric in metrics),
                    ("queries", True),
                    ("draws", True),
                    ("cell", False),
                ),
                tuple(found),
            )
        )
    return grids


def differences(tables: Tables) -> Grid | None:
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
            Entry(interval(difference, low, high, sign=True), difference),
            *(Entry(p_value(row[c]), row[c]) for c in ("p", "p_holm", "equivalence_p")),
            number(least, 1, ".1f"),
            number(row["queries"], 1, ",.0f"),
            number(row["draws"], 1, ",.0f"),
            Entry(str(row["test"]), str(row["test"])),
            Entry(str(row["correction"]), str(row["correction"])),
            *(number(points(metric, row[c]), 1, ".1f") for c in margin),
        ]

    caption = "Paired differences: left minus right"
    used = "left right metric difference low high p p_holm equivalence_p detectable queries draws "
    used += "test correction margin"
    return _grid(tables, "differences", caption, headings, entries, used)


def break_evens(tables: Tables) -> Grid | None:
    """Return after how many queries each tuned condition is cheaper than each prompt."""
    cells = _cells_by_condition(tables)
    headings = (
        ("prompt", False),
        ("tuned", False),
        ("serving", False),
        ("counted in", False),
        ("break-even, queries", True),
    )

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        queries = float(row["queries"])
        shown = Entry("never", queries) if math.isinf(queries) else number(queries, 1, ",.0f")
        return [
            *(_condition(row, row[f"{side}_condition"], cells) for side in ("prompt", "tuned")),
            Entry(f"prompt {row['serving'].replace('un', 'not ')}", row["serving"]),
            Entry(row["unit"], row["unit"]),
            shown,
        ]

    caption = "Break-even: from this many queries on, tuning is cheaper"
    used = "prompt_condition tuned_condition serving unit queries"
    return _grid(tables, "break_even", caption, headings, entries, used)


def measured(tables: Tables, name: str, caption: str) -> Grid | None:
    """Return a table of known numeric columns (calibration, reliability, cost) by condition."""
    cells = _cells_by_condition(tables)
    table = tables.get(name)
    columns = [] if table is None else [c for c in table.columns if c in NUMBERS]
    headings = (("condition", False), *((NUMBERS[column][0], True) for column in columns))

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        numbers = [number(row[c], *NUMBERS[c][1:]) for c in columns]
        return [_condition(row, row["condition"], cells), *numbers]

    return _grid(tables, name, caption, headings, entries, " ".join(["condition", *columns]))


def plain(table: "pd.DataFrame", name: str, caption: str, anchor: str = "") -> Grid:
    """Return a table as it is; the values of the column `anchor` become the ids of its rows."""
    kinds = {column: kind_of(table[column]) for column in table.columns}
    rows = tuple(
        tuple(_plain(row[c], kind) for c, kind in kinds.items()) for row in table.to_dict("records")
    )
    headings = tuple((heading_of(column), kind == "number") for column, kind in kinds.items())
    anchors = tuple(str(value) for value in table[anchor]) if anchor else ()
    return Grid(name, caption, headings, rows, anchors)


def cells_of(value: Any) -> tuple[str, ...]:
    """Return the ids in a `cell` entry: one, several separated by commas, or a sequence."""
    listed = re.split(r"[,\s]+", value) if isinstance(value, str) else value
    return tuple(dict.fromkeys(str(cell) for cell in listed if cell))


def heading_of(column: str) -> str:
    """Return a column's heading: its name in words, with the unit where it is known."""
    return NUMBERS[column][0] if column in NUMBERS else column.replace("_", " ")


def kind_of(values: "pd.Series") -> str:
    """Return "flag" for true and false, "number" for other numbers, else "text"."""
    import pandas as pd

    defined = values.dropna()
    if pd.api.types.is_bool_dtype(values) or (
        len(defined) and all(isinstance(value, bool) for value in defined)
    ):
        return "flag"
    if pd.api.types.is_numeric_dtype(values):
        return "flag" if values.name == "correct" and set(defined) <= {0, 1} else "number"
    return "text"


def embedded(table: "pd.DataFrame") -> str:
    """Return a table as JSON that is safe inside a script element.

    Column by column: texts as their distinct `values` and one code a row, numbers to six
    significant digits (null where undefined).
    """
    columns = []
    for name in table.columns:
        kind, heading = kind_of(table[name]), heading_of(name)
        head = f'"name":{json.dumps(name)},"heading":{json.dumps(heading)},"kind":"{kind}"'
        if kind == "text":
            texts = table[name].map(lambda value: "" if value is None else str(value))
            codes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
            listed = ",".join(str(codes[text]) for text in texts)
            columns.append(f'{{{head},"values":{json.dumps(list(codes))},"codes":[{listed}]}}')
        else:
            listed = ",".join(_json_number(value) for value in table[name])
            columns.append(f'{{{head},"numbers":[{listed}]}}')
    text = f'{{"rows":{len(table)},"columns":[{",".join(columns)}]}}'
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _json_number(value: Any) -> str:
    value = math.nan if value is None else float(value)
    if math.isnan(value):
        return "null"
    if math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    return f"{value:.6g}"


def _grid(
    tables: Tables,
    name: str,
    caption: str,
    headings: Iterable[tuple[str, bool]],
    entries: Callable[[Mapping[Any, Any]], list[Entry]],
    used: str,
) -> Grid | None:
    """Return a table row by row, with the task, and the model where there are several, in front.

    Columns that are not in `used` follow as they are, so that none is lost.
    """
    table = tables.get(name)
    if table is None or table.empty:
        return None
    leading = [c for c in ("task", "model") if c == "task" or table["model"].nunique() > 1]
    others = table.drop(columns=["task", "model", *used.split()], errors="ignore")
    rest = plain(others, name, caption)
    rows = tuple(
        (*(Entry(str(row[c]), str(row[c])) for c in leading), *entries(row), *more)
        for row, more in zip(table.to_dict("records"), rest.rows, strict=True)
    )
    headings = (*((c, False) for c in leading), *headings, *rest.headings)
    return Grid(name, caption, headings, rows)


def _plain(value: Any, kind: str) -> Entry:
    if kind == "number":
        return number(value)
    text = ("yes" if value else "no") if kind == "flag" else str(value)
    return Entry(text, text)


def _score(row: Mapping[Any, Any] | None, cells: tuple[str, ...]) -> Entry:
    if row is None:
        return Entry("–")
    value, low, high = (points(row["metric"], row[c]) for c in ("value", "low", "high"))
    text = interval(value, low, high)
    return Entry(text, value, ((text, cells[0]),) if cells else ())


def _condition(row: Mapping[Any, Any], condition: str, cells: Mapping[Any, Any]) -> Entry:
    found = cells.get((row["task"], row["model"], condition), ())
    links = ((condition, found[0]),) if found else ()
    return Entry(condition, condition, links, adaptation_of(condition))


def _linked(cells: tuple[str, ...]) -> Entry:
    return Entry(" ".join(cells), " ".join(cells), tuple((cell[:8], cell) for cell in cells))


def _cells_by_condition(tables: Tables) -> dict[tuple[str, str, str], tuple[str, ...]]:
    if (table := tables.get("accuracy")) is None or table.empty:
        return {}
    return {
        (row["task"], row["model"], row["condition"]): cells_of(row["cell"])
        for row in table.to_dict("records")
    }


def _baselines(tables: Tables, task: str) -> dict[str, list[dict[Any, Any]]]:
    """Return the baselines of a task by name, in their order."""
    found: dict[str, list[dict[Any, Any]]] = {}
    if (table := tables.get("baselines")) is not None and not table.empty:
        for row in table[table["task"] == task].to_dict("records"):
            found.setdefault(str(row["name"]), []).append(row)
    return found
