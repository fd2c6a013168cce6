"""The tables of the page of the study of implicit patterns and circuits."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adaptlens.report.entries import (
    SIGNS,
    Cells,
    Entry,
    Grid,
    Tables,
    number,
    plain,
    row_by_row,
    tone,
)
from adaptlens.report.theme import adaptation_of, interval, p_value, similarity

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

MOST = 100
"""How many units, at most, the table under a figure has; the page's last table has them all."""

SAMPLES = 3
"""The factor whose effects are ratios of numbers of samples, some beyond all that were tried."""
SIGNIFICANT = 0.05

_COUNTS = (("queries", True), ("draws", True))
_ITEMS = (("items", True), ("draws", True))


def effect(row: Mapping[Any, Any]) -> str:
    """Return the effect of a claim with its interval, in the factor's unit: points, or times."""
    ends = (_number(row["effect"]), _number(row["low"]), _number(row["high"]))
    if math.isnan(ends[0]):
        return "undefined"
    if row["factor"] == SAMPLES:
        return f"{_reached(*ends).text} times"
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


def shortcut(tables: Tables) -> Grid | None:
    """Return shortcut use and over-reliance in points, by way of adapting and samples."""
    headings = (
        ("quantity", False), ("method", False), ("samples", True), ("points", True), ("p", True),
        ("chosen", False), *_COUNTS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            _text(row["quantity"]),
            _method(row),
            number(row["samples"], 1, ",.0f"),
            _points(row, sign=True),
            _p(row["p"]),
            _text("chosen" if row["chosen"] else ""),
            *_numbers(row, "queries draws"),
        ]

    used = "quantity method samples value low high p chosen queries draws"
    caption = "Shortcut use and over-reliance, in points"
    return _grid(tables.get("shortcut"), "shortcut", caption, headings, entries, used)


def needed(tables: Tables) -> Grid | None:
    """Return how many samples tuning needs for what prompting reaches."""
    headings = (
        ("items", False), ("to reach, %", True), ("over zero-shot", True),
        ("demonstrations", True), ("method", False), ("samples needed", True),
        ("times as many", True), ("largest tried", True), *_COUNTS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            _text(row["condition"]),
            number(row["target"], 1, ".1f"),
            _points(
                {"value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}, sign=True
            ),
            number(row["icl_samples"], 1, ",.0f"),
            _method(row),
            _reached(row["samples"], row["low"], row["high"]),
            _reached(row["ratio"], row["ratio_low"], row["ratio_high"]),
            number(row["most"], 1, ",.0f"),
            *_numbers(row, "queries draws"),
        ]

    used = "condition target gain gain_low gain_high icl_samples method samples low high ratio "
    used += "ratio_low ratio_high most queries draws"
    caption = "Samples that tuning needs for what demonstrations reach"
    return _grid(tables.get("needed"), "needed", caption, headings, entries, used)


def transfer(tables: Tables) -> Grid | None:
    """Return what is learnt from one family on the items of another, over zero-shot."""
    headings = (
        ("learnt", False), ("items", False), ("method", False), ("samples", True),
        ("over zero-shot, points", True), ("p", True), *_COUNTS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(_text(row[c]) for c in ("learnt_family", "read")),
            _method(row),
            number(row["samples"], 1, ",.0f"),
            _points(row, sign=True),
            _p(row.get("p")),
            *_numbers(row, "queries draws"),
        ]

    used = "learnt_family read method samples value low high p queries draws"
    caption = "Learnt from one family, read on another"
    return _grid(tables.get("transfer"), "transfer", caption, headings, entries, used)


def gates(tables: Tables, cells: Cells) -> Grid | None:
    """Return which conditions have a circuit, and why the others have none."""
    headings = (
        ("condition", False), ("circuit", False), ("clean − corrupt", True), ("right, %", True),
        ("commonest answer, %", True), ("why none", False), *_ITEMS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            _condition(row["condition"], row, cells),
            _text("defined" if row["defined"] else "undefined"),
            _effect(row["gap"], row["low"], row["high"]),
            *(number(row[c], 1, ".1f") for c in ("accuracy", "chance")),
            _why(row["reason"]),
            *_numbers(row, "items draws"),
        ]

    used = "condition defined gap low high accuracy chance reason items draws"
    caption = "Which conditions have a circuit"
    return _grid(tables.get("gates"), "gates", caption, headings, entries, used)


def units(rows: "pd.DataFrame", name: str, caption: str, test: str) -> Grid | None:
    """Return one row per unit and one column for each `panel` of the rows, the largest first.

    Args:
        rows: of one family: model, panel, unit, layer, value, low, high, and a column of p-values.
        name: of the grid.
        caption: what the numbers are.
        test: the column of p-values; numbers whose p is below 0.05 have an asterisk.
    """
    rows = rows.dropna(subset=["value"])
    if rows.empty:
        return None
    several = rows["model"].nunique() > 1
    panels = list(dict.fromkeys(rows["panel"]))
    by_unit: dict[tuple[str, str], dict[str, Mapping[Any, Any]]] = {}
    for row in rows.to_dict("records"):
        by_unit.setdefault((row["model"], row["unit"]), {})[row["panel"]] = row
    order = sorted(by_unit, key=lambda key: -max(abs(r["value"]) for r in by_unit[key].values()))

    def entries(key: tuple[str, str]) -> tuple[Entry, ...]:
        found = []
        for panel in panels:
            row = by_unit[key].get(panel)
            entry = Entry("–")
            if row is not None:
                mark = " *" if row[test] < SIGNIFICANT else ""
                said = similarity(row["value"], row["low"], row["high"], sign=True)
                entry = Entry(said + mark, float(row["value"]))
            found.append(entry)
        return (*([_text(key[0])] if several else []), _text(key[1]), *found)

    if len(order) > MOST:
        caption = f"{caption}: the {MOST} units with the largest"
    headings = (*((("model", False),) if several else ()), ("unit", False),
                *((panel, True) for panel in panels))  # fmt: skip
    return Grid(name, caption, headings, tuple(map(entries, order[:MOST])))


def shift(tables: Tables, cells: Cells) -> Grid | None:
    """Return the measures of circuit shift of every pair, the main ones first."""
    headings = (
        ("left", False), ("right", False), ("what", False), ("measure", False), ("units", False),
        ("value", True), ("noise floor", True), ("p", True), ("why undefined", False), *_ITEMS,
    )  # fmt: skip
    roles = {"main": "conditions", "control": "control", "floor": "noise floor"}

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(_condition(row[side], row, cells) for side in ("left", "right")),
            _text(roles.get(row["role"], row["role"])),
            _text(row["measure"]),
            _text({"head": "heads", "mlp": "MLPs"}.get(row["kind"], row["kind"])),
            _effect(row["value"], row["low"], row["high"]),
            _effect(row["floor"]),
            _p(row.get("p")),
            _why(row["state"]),
            *_numbers(row, "items draws"),
        ]

    used = "left right role measure kind value low high floor p state items draws"
    caption = "Circuit shift by every measure"
    return _grid(tables.get("shift"), "shift", caption, headings, entries, used)


def overlap(rows: "pd.DataFrame", name: str, caption: str) -> Grid | None:
    """Return how many of their largest units two conditions share, by size."""
    headings = (
        ("left", False), ("right", False), ("units", True), ("shared", True), ("chance", True),
        ("ceiling", True), ("of what can be seen", True), ("why undefined", False),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(_condition(row[side]) for side in ("left", "right")),
            number(row["size"], 1, ",.0f"),
            *(_effect(row[c]) for c in ("jaccard", "chance", "ceiling")),
            _effect(row["corrected"], row["low"], row["high"]),
            _why(row["state"]),
        ]

    used = "left right size share jaccard low high chance ceiling corrected state"
    return _grid(rows, name, caption, headings, entries, used)


def functional(tables: Tables) -> Grid | None:
    """Return how well a condition works on another's circuit, from 0 (random units) to 1 (own)."""
    headings = (
        ("circuit of", False), ("used by", False), ("units", True), ("value", True),
        ("why undefined", False),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(_condition(row[side]) for side in ("source", "target")),
            number(row["size"], 1, ",.0f"),
            _effect(row["value"], row["low"], row["high"]),
            _why(row["state"]),
        ]

    used = "source target size value low high state"
    caption = "Functional transfer of circuits"
    return _grid(tables.get("functional"), "functional", caption, headings, entries, used)


def faithfulness(tables: Tables) -> Grid | None:
    """Return what circuits do alone and what is done without them, as shares of the gap."""
    table = tables.get("faithfulness")
    named = {"completeness": "without the circuit", "random": "random units alone",
             "minimality": "mean that a unit adds"}  # fmt: skip
    there = [c for c in named if table is not None and c in table]
    headings = (
        ("condition", False), ("units", True), ("circuit alone", True),
        *((named[c], True) for c in there),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            _condition(row["condition"]),
            number(row["size"], 1, ",.0f"),
            _effect(row["faithfulness"], row["low"], row["high"]),
            *(_effect(row[c]) for c in there),
        ]

    used = f"condition size faithfulness low high {' '.join(there)}"
    caption = "What circuits do alone, as a share of the gap"
    return _grid(table, "faithfulness", caption, headings, entries, used)


def specifications(tables: Tables) -> Grid | None:
    """Return every comparison under every specification."""
    choices = ("metric", "direction", "ablation", "corruption")
    headings = (("comparison", False), *((c, False) for c in choices), ("value", True))

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            _text(row["name"]),
            *(_text(str(row[c]).replace("_", " ")) for c in choices),
            _effect(row["value"], row["low"], row["high"]),
        ]

    used = f"name left right value low high {' '.join(choices)}"
    caption = "Comparisons under every specification"
    return _grid(tables.get("specifications"), "specifications", caption, headings, entries, used)


def variance(tables: Tables) -> Grid | None:
    """Return the shares of the variance of single effects."""
    headings = (("component", False), ("share, %", True))

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [_text(row["component"]), number(row["share"], 100, ".1f")]

    caption = "Shares of the variance of single effects"
    return _grid(tables.get("variance"), "variance", caption, headings, entries, "component share")


def listed(rows: "pd.DataFrame", name: str, caption: str) -> Grid | None:
    """Return rows about units or edges as they are, the largest of each condition first."""
    rows = rows.dropna(axis="columns", how="all")
    if rows.empty or "value" not in rows:
        return None
    left_out = [c for c in ("family", "model", "sign", "kind", "index", "layer")
                if c in rows and (c != "model" or rows["model"].nunique() == 1)]  # fmt: skip
    rows = rows.sort_values("value", key=abs, ascending=False, kind="stable")
    if len(rows) > MOST:
        caption = f"{caption}: the {MOST} largest"
    found = plain(rows.drop(columns=left_out)[:MOST], name, caption)
    shown = (("value", "share of the gap"),) if "unit" in rows else ()
    headings = tuple((dict(shown).get(text, text), numeric) for text, numeric in found.headings)
    return replace(found, headings=headings)


def everything(tables: Tables) -> "pd.DataFrame | None":
    """Return all units of all conditions and pairs as the page's browsable table has them.

    What is known of a head stands beside its share of the gap.
    """
    import pandas as pd

    keys = ["model", "family", "condition", "unit"]
    frames: list[pd.DataFrame] = []
    profiles, known = tables.get("profiles"), tables.get("annotations")
    if profiles is not None and len(profiles):
        profiles = profiles.assign(what="share of the gap")
        if known is not None and len(known):
            more = known.drop(columns=["kind", "layer", "index", "value"], errors="ignore")
            profiles = profiles.merge(more, on=keys, how="left")
        frames.append(profiles)
    changes = tables.get("differences")
    if changes is not None and len(changes):
        names = changes["right"].astype(str) + " − " + changes["left"].astype(str)
        changes = changes.assign(condition=names, what="difference").drop(columns=["left", "right"])
        frames.append(changes.rename(columns={"p_max": "p"}))
    if not frames:
        return None
    found = pd.concat(frames, ignore_index=True).round({"value": 4, "low": 4, "high": 4})
    first = ["family", "model", "what", "condition", "unit", "kind", "layer", "value", "low",
             "high", "p", "q"]  # fmt: skip
    kept = [c for c in first if c in found and (c != "model" or found["model"].nunique() > 1)]
    return found[[*kept, *(c for c in found if c not in first and c != "index")]]


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


def _why(reason: Any) -> Entry:
    text = reason if isinstance(reason, str) else ""
    return Entry(text, text, tone="words" if text else "")


def _text(value: Any) -> Entry:
    return Entry(str(value), str(value))


def _condition(
    label: Any, row: Mapping[Any, Any] | None = None, cells: Cells | None = None
) -> Entry:
    """Return a condition with its mark, linked to its cell where that is known."""
    name = str(label).partition(",")[0]
    found: tuple[str, ...] = ()
    if row is not None and cells:
        task = f"{row['task']}-pattern"
        found = cells.get((task, row["model"], name), ())
        found = found or cells.get((row["task"], row["model"], name), ())
    return replace(_linked(_text(label), found), adaptation=adaptation_of(name))


def _reached(value: Any, low: Any, high: Any) -> Entry:
    """Return a number of samples, or of times as many, that may lie beyond the largest tried."""
    ends = [f"{end:,.3g}" if math.isfinite(end) else "not reached"
            for end in (_number(value), _number(low), _number(high))]  # fmt: skip
    if math.isnan(_number(value)):
        return Entry("–")
    return Entry(f"{ends[0]} [{ends[1]}, {ends[2]}]", float(value))


def _effect(value: Any, low: Any = math.nan, high: Any = math.nan) -> Entry:
    return Entry(similarity(_number(value), _number(low), _number(high)), _sortable(value))


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
