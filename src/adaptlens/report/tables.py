"""A table as every printer takes it: its headings, and of each entry the text, sort key and links.

The page prints it as HTML (`templates/parts.html`), `report.markdown` as Markdown, `report.printer`
in a terminal.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import counted, estimate, numeral, p_value
from adaptlens.report.labels import Labels
from adaptlens.report.theme import Style

if TYPE_CHECKING:
    import pandas as pd

Tables = Mapping[str, "pd.DataFrame"]

Cells = Mapping[tuple[str, str, str], tuple[str, ...]]
"""The cells of each (task, model, condition)."""

SIGNS = {"supported": "✓", "refuted": "✗", "not decided": "?"}
"""A sign for each verdict that does not depend on color."""

NUMBERS: dict[str, tuple[str, float, str]] = {
    "brier": ("Brier", 1, ".3f"),
    "ece": ("ECE", 1, ".3f"),
    "ece_if_calibrated": ("ECE if calibrated", 1, ".3g"),
    "ece_p": ("p (calibrated)", 1, ".3f"),
    "answer_loglik": ("answer log-likelihood", 1, ".3f"),
    "agreement": ("same answer as zero-shot, %", 100, ".1f"),
    "lost": ("right before, wrong now, %", 100, ".1f"),
    "gained": ("wrong before, right now, %", 100, ".1f"),
    "bin_confidence": ("confidence, %", 100, ".1f"),
    "bin_accuracy": ("right, %", 100, ".1f"),
    "count": ("answers", 1, ",.0f"),
    "training_flops": ("one PEFT run, GFLOP", 1e-9, ",.3g"),
    "training_flops_computed": ("the same run here, GFLOP", 1e-9, ",.3g"),
    "training_tried_flops": ("all PEFT runs tried, GFLOP", 1e-9, ",.3g"),
    "training_tried_flops_computed": ("all runs tried, here, GFLOP", 1e-9, ",.3g"),
    "training_seconds_amortized": ("one run, its share of those run together, s", 1, ",.3g"),
    "training_search_flops": ("search for the prompt, GFLOP", 1e-9, ",.3g"),
    "query_flops": ("query, GFLOP", 1e-9, ",.3g"),
    "query_flops_cached": ("query, cached prompt, GFLOP", 1e-9, ",.3g"),
    "query_tokens": ("tokens a query", 1, ",.1f"),
    "cached_tokens": ("of these cached", 1, ",.1f"),
    "query_seconds": ("query, ms", 1e3, ",.3g"),
    "query_seconds_cached": ("query, cached prompt, ms", 1e3, ",.3g"),
    "query_price": ("1,000 queries, price", 1e3, ",.3g"),
    "query_price_cached": ("1,000 queries, cached prompt, price", 1e3, ",.3g"),
    "training_price": ("one run, price", 1, ",.3g"),
    "storage_price": ("storage for a month, price", 1, ",.3g"),
    "training_joules": ("one PEFT run, J (estimate)", 1, ",.3g"),
    "query_joules": ("query, J (estimate)", 1, ",.3g"),
    "query_joules_cached": ("query, cached prompt, J (estimate)", 1, ",.3g"),
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

    `links` are (text, cell id) and replace the text; the mark of `style` stands before it; `tone`
    is the name of a class of the page's.
    """

    text: str
    sort: float | str = ""
    links: tuple[tuple[str, str], ...] = ()
    style: Style | None = None
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    `headings` are (text, whether numeric); `anchors`, where given, are the ids of its rows;
    `note` stands below it.
    """

    name: str
    caption: str
    headings: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Entry, ...], ...]
    anchors: tuple[str, ...] = ()
    note: str = ""

    def only(self, *headings: str) -> "Table":
        """Return the table with those of its columns that have these headings, in its order."""
        return self._kept(i for i, (text, _) in enumerate(self.headings) if text in headings)

    def filled(self) -> "Table":
        """Return the table without the columns in which no row says anything."""
        return self._kept(
            i
            for i in range(len(self.headings))
            if any(row[i].text not in ("", "–") for row in self.rows)
        )

    def first(self, number: int) -> "Table":
        """Return the table with that many rows at most, and a note on how many are left out."""
        if (rest := len(self.rows) - number) <= 0:
            return self
        note = f"{counted(rest, 'more row')}; the page and --json have them"
        return replace(self, rows=self.rows[:number], anchors=self.anchors[:number], note=note)

    def without_constant(self, heading: str) -> "Table":
        """Return the table without a column, if all its rows say the same there."""
        place = [text for text, _ in self.headings].index(heading)
        if len({row[place].text for row in self.rows}) > 1:
            return self
        return self._kept(i for i in range(len(self.headings)) if i != place)

    def _kept(self, places: Iterable[int]) -> "Table":
        kept = list(places)
        rows = tuple(tuple(row[i] for i in kept) for row in self.rows)
        return replace(self, headings=tuple(self.headings[i] for i in kept), rows=rows)


def number(value: Any, factor: float = 1, form: str = ",.4g") -> Entry:
    """Return a number as it is printed, with a true minus; "–" where it is undefined."""
    value = defined(value)
    return Entry(numeral(value, form, factor), sortable(value))


def counts(row: Mapping[Any, Any], names: str) -> list[Entry]:
    """Return the whole numbers in some columns of a row; names are separated by spaces."""
    return [number(row[name], 1, ",.0f") for name in names.split()]


def estimated(
    value: Any, low: Any = math.nan, high: Any = math.nan, *, digits: int = 3, sign: bool = False
) -> Entry:
    """Return an estimate with its interval, which is left out where it is undefined."""
    said = estimate(defined(value), defined(low), defined(high), digits=digits, sign=sign)
    return Entry(said, sortable(value))


def p_entry(value: Any) -> Entry:
    """Return a p-value."""
    return Entry(p_value(defined(value)), sortable(value))


def text(value: Any) -> Entry:
    """Return a text."""
    return Entry(str(value), str(value))


def words(value: Any) -> Entry:
    """Return a text that may be long; nothing where there is none."""
    said = value if isinstance(value, str) else ""
    return Entry(said, said, tone="words" if said else "")


def verdict(state: Any) -> Entry:
    """Return a verdict with its sign; "–" where nothing was judged."""
    known = state in SIGNS
    return Entry(f"{SIGNS[state]} {state}", state, tone=tone(state)) if known else Entry("–")


def at_cell(entry: Entry, cells: tuple[str, ...]) -> Entry:
    """Return an entry linked to the first of some cells, if there is one."""
    return replace(entry, links=((entry.text, cells[0]),)) if cells else entry


def defined(value: Any) -> float:
    """Return a number, not a number where there is none."""
    return math.nan if value is None else float(value)


def sortable(value: Any) -> float | str:
    """Return a number to sort by; what is none comes first."""
    value = defined(value)
    return "" if math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class Conditions:
    """How tables write conditions: with their marks, linked to their cells."""

    labels: Labels
    cells: Cells

    @classmethod
    def of(cls, labels: Labels, cells: "pd.DataFrame") -> "Conditions":
        """Return those of a report; of several cells, those measured first stand in front."""
        found: dict[tuple[str, str, str], tuple[str, ...]] = {}
        if {"task", "model", "condition"} <= set(cells.columns):
            for row in cells.to_dict("records"):
                key = (str(row["task"]), str(row["model"]), str(row["condition"]))
                found[key] = (*found.get(key, ()), str(row["cell"]))
        return cls(labels, found)

    def entry(self, label: str, model: str = "", *tasks: str) -> Entry:
        """Return a condition, linked to its cell of the first of the tasks that has one."""
        one = self.labels[label]
        known = (self.cells.get((task, model, one.condition), ()) for task in tasks)
        return at_cell(Entry(label, label, style=one.style), next(filter(None, known), ()))


def row_by_row(
    tables: Tables,
    name: str,
    caption: str,
    headings: Iterable[tuple[str, bool]],
    entries: Callable[[Mapping[Any, Any]], list[Entry]],
    used: str,
) -> Table | None:
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
    return Table(name, caption, headings, rows)


def plain(table: "pd.DataFrame", name: str, caption: str, anchor: str = "") -> Table:
    """Return a table as it is; the values of the column `anchor` become the ids of its rows."""
    kinds = {column: kind_of(table[column]) for column in table.columns}
    columns = [[_plain(value, kind) for value in table[c]] for c, kind in kinds.items()]
    rows = tuple(zip(*columns, strict=True)) if columns else ((),) * len(table)
    headings = tuple((heading_of(column), kind == "number") for column, kind in kinds.items())
    anchors = tuple(str(value) for value in table[anchor]) if anchor else ()
    return Table(name, caption, headings, rows, anchors)


def cells_of(value: Any) -> tuple[str, ...]:
    """Return the ids in a `cell` entry: one, several separated by commas, or a sequence."""
    listed = re.split(r"[,\s]+", value) if isinstance(value, str) else value
    return tuple(dict.fromkeys(str(cell) for cell in listed if cell))


def linked(cells: tuple[str, ...]) -> Entry:
    """Return cells' ids, each shortened and linked."""
    return Entry(" ".join(cells), " ".join(cells), tuple((cell[:8], cell) for cell in cells))


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
    return script_safe(f'{{"rows":{len(table)},"columns":[{",".join(columns)}]}}')


def script_safe(text: str) -> str:
    """Return JSON in which nothing can end the script element around it."""
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


def _plain(value: Any, kind: str) -> Entry:
    if kind == "number":
        return number(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Entry("–")
    text = ("yes" if value else "no") if kind == "flag" else str(value)
    return Entry(text, text)


def tone(state: str) -> str:
    """Return a verdict as the name of a style."""
    return state.replace(" ", "-")
