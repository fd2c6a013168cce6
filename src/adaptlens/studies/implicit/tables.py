"""The tables of the page of the study of implicit patterns and circuits."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate
from adaptlens.report.tables import (
    Conditions,
    Entry,
    Table,
    Tables,
    at_cell,
    counts,
    defined,
    estimated,
    number,
    p_entry,
    plain,
    row_by_row,
    sortable,
    text,
    words,
)
from adaptlens.report.theme import style_of
from adaptlens.studies.implicit.learned import Learned, adaptation_of
from adaptlens.tasks.shortcuts import MIXED, PATTERN

if TYPE_CHECKING:
    import pandas as pd

FACTORS = {
    1: "shortcut use", 2: "over-reliance", 3: "samples needed", 4: "transfer", 5: "circuits",
    6: "circuit shift",
}  # fmt: skip
"""The factors of the study by their number."""

EVERY_FAMILY = "all families"
"""The task of claims about all families together."""

CONDITIONS = ("pattern", "misleading", "plain")

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
    ends = [defined(row[name]) for name in ("effect", "low", "high")]
    if math.isnan(ends[0]):
        return "undefined"
    if row["factor"] == SAMPLES:
        return f"{_reached(*ends).text} times"
    if row["factor"] in POINTS:
        return f"{estimate(*ends, sign=True, digits=1)} points"
    return estimate(*ends, sign=True)


def effect_entry(claim: Mapping[Any, Any]) -> Entry:
    """Return the effect of a claim with its interval, to be sorted by."""
    return Entry(effect(claim), sortable(claim["effect"]))


def chosen(tables: Tables) -> Table | None:
    """Return the accuracy of each way of adapting under each condition, at the number chosen.

    Zero-shot, which learns from nothing, is misleading and plain alike.
    """
    table = tables.get("curves")
    if table is None or table.empty:
        return None
    headings = (
        ("model", False), ("family", False), ("method", False),
        *((f"{name}, %", True) for name in CONDITIONS), ("samples", True), *_COUNTS,
    )  # fmt: skip
    own = table[(table["tuned_on"] != "mixed") & table["condition"].isin([*CONDITIONS, ""])]
    own = own[own["chosen"].astype(bool) | (own["samples"] == 0)]
    rows = []
    for (model, family, _), found in own.groupby(["model", "family", "method"], sort=False):
        first = found.iloc[0]
        by_name: dict[str, Mapping[Any, Any]] = {}
        for row in found.to_dict("records"):
            anchor = ("pattern",) if row["read"] == "pattern" else ("misleading", "plain")
            by_name |= dict.fromkeys(anchor if not row["samples"] else (row["condition"],), row)
        samples = dict.fromkeys(f"{row['samples']:,.0f}" for row in by_name.values())
        rows.append((
            text(model), text(family), _method(first),
            *(_points(by_name[n]) if n in by_name else Entry("–") for n in CONDITIONS),
            Entry(", ".join(samples), float(first["samples"])), *counts(first, "queries draws"),
        ))  # fmt: skip
    caption = "Accuracy at the number of samples chosen on validation items"
    return Table("chosen", caption, headings, tuple(rows)).without_constant("model")


def curves(tables: Tables, conditions: Conditions) -> Table | None:
    """Return accuracies with their intervals; those at a number chosen on validation are marked."""
    headings = (
        ("condition", False), ("learned", False), ("read", False), ("method", False),
        ("tuned on", False), ("samples", True), ("accuracy, %", True), ("chosen", False), *_COUNTS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(Entry(row[c] or "–", row[c]) for c in ("condition", "learned", "read")),
            _method(row),
            text(row["tuned_on"]),
            number(row["samples"], 1, ",.0f"),
            at_cell(_points(row), _cells_of(row, conditions)),
            text("chosen" if row["chosen"] else ""),
            *counts(row, "queries draws"),
        ]

    used = "learned read condition method tuned_on samples value low high queries draws chosen"
    caption = "Accuracy by condition, way of adapting and number of samples"
    return _by_family(tables.get("curves"), "curves", caption, headings, entries, used)


def _cells_of(row: Mapping[Any, Any], conditions: Conditions) -> tuple[str, ...]:
    """Return the cells of an accuracy."""
    is_mixed = row["tuned_on"] == "mixed"
    of = Learned(MIXED if is_mixed else row["task"], row["learned"] or PATTERN, is_mixed)
    own = (adaptation_of(row["method"]), row["samples"])
    for one in conditions.labels.values():
        if (one.adaptation, one.examples) == own and not one.variant:
            return conditions.cells.get((of.task, row["model"], one.label), ())
    return ()


def shortcut(tables: Tables) -> Table | None:
    """Return shortcut use and over-reliance in points, by way of adapting and samples."""
    headings = (
        ("quantity", False), ("method", False), ("samples", True), ("points", True), ("p", True),
        ("chosen", False), *_COUNTS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            text(row["quantity"]),
            _method(row),
            number(row["samples"], 1, ",.0f"),
            _points(row, sign=True),
            p_entry(row["p"]),
            text("chosen" if row["chosen"] else ""),
            *counts(row, "queries draws"),
        ]

    used = "quantity method samples value low high p chosen queries draws"
    caption = "Shortcut use and over-reliance, in points"
    return _by_family(tables.get("shortcut"), "shortcut", caption, headings, entries, used)


def needed(tables: Tables) -> Table | None:
    """Return how many samples tuning needs for what prompting reaches."""
    headings = (
        ("items", False), ("to reach, %", True), ("over zero-shot", True),
        ("demonstrations", True), ("method", False), ("samples needed", True),
        ("times as many", True), ("largest tried", True), *_COUNTS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            text(row["condition"]),
            number(row["target"], 1, ".1f"),
            _points(
                {"value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}, sign=True
            ),
            number(row["icl_samples"], 1, ",.0f"),
            _method(row),
            _reached(row["samples"], row["low"], row["high"]),
            _reached(row["ratio"], row["ratio_low"], row["ratio_high"]),
            number(row["most"], 1, ",.0f"),
            *counts(row, "queries draws"),
        ]

    used = "condition target gain gain_low gain_high icl_samples method samples low high ratio "
    used += "ratio_low ratio_high most queries draws"
    caption = "Samples that tuning needs for what demonstrations reach"
    return _by_family(tables.get("needed"), "needed", caption, headings, entries, used)


def transfer(tables: Tables) -> Table | None:
    """Return what is learned from one family on the items of another, over zero-shot."""
    headings = (
        ("learned", False), ("items", False), ("method", False), ("samples", True),
        ("over zero-shot, points", True), ("p", True), *_COUNTS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(text(row[c]) for c in ("learned_family", "read")),
            _method(row),
            number(row["samples"], 1, ",.0f"),
            _points(row, sign=True),
            p_entry(row.get("p")),
            *counts(row, "queries draws"),
        ]

    used = "learned_family read method samples value low high p queries draws"
    caption = "Learned from one family, read on another"
    return _by_family(tables.get("transfer"), "transfer", caption, headings, entries, used)


def gates(tables: Tables, conditions: Conditions) -> Table | None:
    """Return which conditions have a circuit, and why the others have none."""
    headings = (
        ("condition", False), ("circuit", False), ("clean − corrupt", True), ("right, %", True),
        ("commonest answer, %", True), ("why none", False), *_ITEMS,
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            _condition(row["condition"], row, conditions),
            text("defined" if row["defined"] else "undefined"),
            estimated(row["gap"], row["low"], row["high"]),
            *(number(row[c], 1, ".1f") for c in ("accuracy", "chance")),
            words(row["reason"]),
            *counts(row, "items draws"),
        ]

    used = "condition defined gap low high accuracy chance reason items draws"
    caption = "Which conditions have a circuit"
    return _by_family(tables.get("gates"), "gates", caption, headings, entries, used)


def units(rows: "pd.DataFrame", name: str, caption: str, test: str) -> Table | None:
    """Return one row per unit and one column for each `panel` of the rows, the largest first.

    Args:
        rows: of one family: model, panel, unit, layer, value, low, high, and a column of p-values.
        name: of the table.
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
                said = estimate(row["value"], row["low"], row["high"], sign=True)
                entry = Entry(said + mark, float(row["value"]))
            found.append(entry)
        return (*([text(key[0])] if several else []), text(key[1]), *found)

    if len(order) > MOST:
        caption = f"{caption}: the {MOST} units with the largest"
    headings = (*((("model", False),) if several else ()), ("unit", False),
                *((panel, True) for panel in panels))  # fmt: skip
    return Table(name, caption, headings, tuple(map(entries, order[:MOST])))


def shift(tables: Tables, conditions: Conditions) -> Table | None:
    """Return the measures of circuit shift of every pair, the main ones first."""
    headings = (
        ("left", False), ("right", False), ("what", False), ("measure", False), ("units", False),
        ("value", True), ("noise floor", True), ("p", True), ("why undefined", False), *_ITEMS,
    )  # fmt: skip
    roles = {"main": "conditions", "control": "control", "floor": "noise floor"}

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(_condition(row[side], row, conditions) for side in ("left", "right")),
            text(roles.get(row["role"], row["role"])),
            text(row["measure"]),
            text({"head": "heads", "mlp": "MLPs"}.get(row["kind"], row["kind"])),
            estimated(row["value"], row["low"], row["high"]),
            estimated(row["floor"]),
            p_entry(row.get("p")),
            words(row["state"]),
            *counts(row, "items draws"),
        ]

    used = "left right role measure kind value low high floor p state items draws"
    caption = "Circuit shift by every measure"
    return _by_family(tables.get("shift"), "shift", caption, headings, entries, used)


def overlap(rows: "pd.DataFrame", name: str, caption: str, conditions: Conditions) -> Table | None:
    """Return how many of their largest units two conditions share, by size."""
    headings = (
        ("left", False), ("right", False), ("units", True), ("shared", True), ("chance", True),
        ("ceiling", True), ("of what can be seen", True), ("why undefined", False),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(conditions.entry(row[side]) for side in ("left", "right")),
            number(row["size"], 1, ",.0f"),
            *(estimated(row[c]) for c in ("jaccard", "chance", "ceiling")),
            estimated(row["corrected"], row["low"], row["high"]),
            words(row["state"]),
        ]

    used = "left right size share jaccard low high chance ceiling corrected state"
    return _by_family(rows, name, caption, headings, entries, used)


def functional(tables: Tables, conditions: Conditions) -> Table | None:
    """Return how well a condition works on another's circuit, from 0 (random units) to 1 (own)."""
    headings = (
        ("circuit of", False), ("used by", False), ("units", True), ("value", True),
        ("why undefined", False),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            *(conditions.entry(row[side]) for side in ("source", "target")),
            number(row["size"], 1, ",.0f"),
            estimated(row["value"], row["low"], row["high"]),
            words(row["state"]),
        ]

    used = "source target size value low high state"
    caption = "Functional transfer of circuits"
    return _by_family(tables.get("functional"), "functional", caption, headings, entries, used)


def faithfulness(tables: Tables, conditions: Conditions) -> Table | None:
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
            conditions.entry(row["condition"]),
            number(row["size"], 1, ",.0f"),
            estimated(row["faithfulness"], row["low"], row["high"]),
            *(estimated(row[c]) for c in there),
        ]

    used = f"condition size faithfulness low high {' '.join(there)}"
    caption = "What circuits do alone, as a share of the gap"
    return _by_family(table, "faithfulness", caption, headings, entries, used)


def specifications(tables: Tables) -> Table | None:
    """Return every comparison under every specification."""
    choices = ("metric", "direction", "ablation", "corruption")
    headings = (("comparison", False), *((c, False) for c in choices), ("value", True))

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [
            text(row["name"]),
            *(text(str(row[c]).replace("_", " ")) for c in choices),
            estimated(row["value"], row["low"], row["high"]),
        ]

    used = f"name left right value low high {' '.join(choices)}"
    caption = "Comparisons under every specification"
    return _by_family(
        tables.get("specifications"), "specifications", caption, headings, entries, used
    )


def variance(tables: Tables) -> Table | None:
    """Return the shares of the variance of single effects."""
    headings = (("component", False), ("share, %", True))

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        return [text(row["component"]), number(row["share"], 100, ".1f")]

    caption = "Shares of the variance of single effects"
    return _by_family(
        tables.get("variance"), "variance", caption, headings, entries, "component share"
    )


def listed(rows: "pd.DataFrame", name: str, caption: str) -> Table | None:
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


def _by_family(
    table: "pd.DataFrame | None",
    name: str,
    caption: str,
    headings: Iterable[tuple[str, bool]],
    entries: Callable[[Mapping[Any, Any]], list[Entry]],
    used: str,
) -> Table | None:
    """Return a table row by row, the family, and the model where there are several, in front."""
    if table is None or table.empty:
        return None
    rows = table.rename(columns={"family": "task"})
    found = row_by_row({name: rows}, name, caption, headings, entries, used)
    assert found
    return replace(found, headings=(("family", False), *found.headings[1:]))


def _condition(label: str, row: Mapping[Any, Any], conditions: Conditions) -> Entry:
    """Return a condition whose circuit was measured, on a family or on a task of the user's own."""
    pattern = Learned(row["task"], PATTERN).task
    return conditions.entry(label, row["model"], pattern, row["task"])


def _reached(value: Any, low: Any, high: Any) -> Entry:
    """Return a number of samples, or of times as many, that may lie beyond the largest tried."""
    ends = [f"{end:,.3g}" if math.isfinite(end) else "not reached"
            for end in map(defined, (value, low, high))]  # fmt: skip
    if math.isnan(defined(value)):
        return Entry("–")
    return Entry(f"{ends[0]} [{ends[1]}, {ends[2]}]", float(value))


def _method(row: Mapping[Any, Any]) -> Entry:
    return Entry(row["method"], row["method"], style=style_of(adaptation_of(row["method"])))


def _points(row: Mapping[Any, Any], *, sign: bool = False) -> Entry:
    return estimated(row["value"], row["low"], row["high"], digits=1, sign=sign)
