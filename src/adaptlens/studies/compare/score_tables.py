"""The tables of scores: by arm, by fixed rule, by template, and what searches found."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adaptlens.report.entries import Entry, Grid, Tables, cells_of, linked, number, row_by_row
from adaptlens.report.theme import (
    METRICS,
    ORDERS,
    RULES,
    adaptation_of,
    interval,
    main_metric,
    points,
)

if TYPE_CHECKING:
    import pandas as pd


def scores(tables: Tables) -> list[Grid]:
    """Return one table for each task and model: an arm a row, and what its score rests on.

    The score is by the rule that judges the arm, over all its templates and draws. Beside it stand
    the plain template's, the worst and the best template's, and the worst draw's.
    """
    grids: list[Grid] = []
    for task, caption, rows in _by_task(tables):
        metric = main_metric(rows["metric"])
        unit = METRICS.get(metric, metric).rpartition(", ")[2]
        headings = (
            ("arm", False), (METRICS.get(metric, metric), True),
            (f"plain template, {unit}", True), ("worst template", False), ("best template", False),
            (f"worst draw, {unit}", True), ("rule", False), ("read under", False),
            ("templates × draws × queries", True), ("cell", False),
        )  # fmt: skip
        found = [_arm(tables, row) for row in rows[rows["metric"] == metric].to_dict("records")]
        for baseline, of_baseline in _baselines(tables, task).items():
            values = {row["metric"]: points(row["metric"], row["value"]) for row in of_baseline}
            shown = number(values.get(metric, math.nan), 1, ".1f")
            found.append([Entry(baseline, baseline), shown, *[Entry("")] * (len(headings) - 2)])
        grids.append(_filled(Grid(f"scores-{len(grids)}", caption, headings, _frozen(found))))
    return grids


def by_fixed_rule(tables: Tables) -> list[Grid]:
    """Return one table for each task and model: an arm a row, each metric that does not judge it.

    Of a choice task, accuracy by scoring rules that are the same for all arms.
    """
    grids: list[Grid] = []
    for _, caption, rows in _by_task(tables):
        present = [str(metric) for metric in dict.fromkeys(rows["metric"])]
        metrics = [m for m in METRICS if m in present] + [m for m in present if m not in METRICS]
        metrics.remove(main_metric(present))
        if not metrics:
            continue
        found = []
        for _, of_arm in rows[rows["metric"].isin(metrics)].groupby("condition", sort=False):
            by_metric = {row["metric"]: row for row in of_arm.to_dict("records")}
            name, first = str(of_arm.iloc[0]["condition"]), of_arm.iloc[0]
            scored = [_score(by_metric.get(metric)) for metric in metrics]
            found.append([Entry(name, name, adaptation=first["adaptation"]), *scored])
        what = "by the same rule for all arms" if "accuracy" in metrics else "by other metrics"
        headings = (("arm", False), *((METRICS.get(metric, metric), True) for metric in metrics))
        grids.append(Grid(f"rules-{len(grids)}", f"{caption}, {what}", headings, _frozen(found)))
    return grids


def by_template(tables: Tables) -> list[Grid]:
    """Return one table for each task and model: an arm a row, a template a column."""
    grids: list[Grid] = []
    for _, caption, rows in _by_task(tables, "templates"):
        names = list(dict.fromkeys(rows["template"]))
        found = []
        for arm, of_arm in rows.groupby("condition", sort=False):
            of_template = {row["template"]: row for row in of_arm.to_dict("records")}
            first = Entry(str(arm), str(arm), adaptation=adaptation_of(str(arm)))
            found.append([first, *(_score(of_template.get(name)) for name in names)])
        headings = (("arm", False), *((str(name), True) for name in names))
        caption = f"{caption}, by template"
        grids.append(Grid(f"templates-{len(grids)}", caption, headings, _frozen(found)))
    return grids


def searches(tables: Tables) -> Grid | None:
    """Return what every search for a prompt found, and on how many prompts and items."""
    headings = (
        ("arm", False), ("draw", True), ("template", False), ("label words", False),
        ("demonstrations", False), ("rule", False), ("right on labelled items, %", True),
        ("labelled items", True), ("prompts read", True), ("tokens", True),
        ("options that give the template back", False),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        order, rule = ORDERS.get(row["order"], row["order"]), RULES.get(row["rule"], row["rule"])
        return [
            Entry(str(row["condition"]), str(row["condition"]), adaptation="best_prompt"),
            Entry("–", -1.0) if row["draw"] < 0 else number(row["draw"], 1, ",.0f"),
            *(Entry(text, text) for text in (row["template"], row["label_words"], order, rule)),
            number(row["validation_accuracy"], 100, ".1f"),
            *(number(row[name], 1, ",.0f") for name in ("items", "reads", "tokens")),
            Entry(row["options"], row["options"]),
        ]

    used = "condition draw prompt template label_words order rule validation_accuracy items reads "
    used += "tokens options sent"
    return row_by_row(tables, "searches", "All searches for a prompt", headings, entries, used)


def _arm(tables: Tables, row: Mapping[Any, Any]) -> list[Entry]:
    """Return an arm's row of the table of scores."""
    metric, name, cells = row["metric"], str(row["condition"]), cells_of(row["cell"])
    rule = ", ".join(RULES.get(one, one) for one in filter(None, str(row["rule"]).split(", ")))
    by_name = _templates_of(tables, row)
    ends = (min(by_name, key=by_name.__getitem__), max(by_name, key=by_name.__getitem__)) if (
        len(by_name) > 1
    ) else ()  # fmt: skip
    extremes = [Entry(f"{end} {by_name[end]:.1f}", by_name[end]) for end in ends]
    counts = (row["templates"], row["draws"], row["queries"])
    return [
        Entry(name, name, adaptation=row["adaptation"]),
        _score(row, cells),
        number(by_name.get("plain", math.nan), 1, ".1f"),
        *(extremes or [Entry("–"), Entry("–")]),
        number(points(metric, row["worst_draw"]), 1, ".1f"),
        Entry(rule, rule),
        Entry(read := _read_under(row, len(by_name)), read),
        Entry(" × ".join(f"{count:,.0f}" for count in counts), float(math.prod(counts))),
        linked(cells),
    ]


def _read_under(row: Mapping[Any, Any], num_templates: int) -> str:
    """Return which templates an arm stands for."""
    if row["template"]:
        return str(row["template"])
    if row["adaptation"] == "best_prompt":
        return "prompts found" if row["draws"] > 1 else "the prompt found"
    return f"{num_templates} templates" if num_templates > 1 else "one template"


def _templates_of(tables: Tables, row: Mapping[Any, Any]) -> dict[str, float]:
    """Return an arm's score under each template, in points, by the template's name."""
    if (table := tables.get("templates")) is None or table.empty:
        return {}
    own = (table["task"] == row["task"]) & (table["model"] == row["model"])
    rows = table[own & (table["condition"] == row["condition"])].to_dict("records")
    return {str(one["template"]): points(one["metric"], one["value"]) for one in rows}


def _by_task(tables: Tables, name: str = "accuracy") -> "Iterator[tuple[str, str, pd.DataFrame]]":
    """Yield the task, a caption and the rows of every task and model of a table."""
    if (table := tables.get(name)) is None or table.empty:
        return
    several = table["model"].nunique() > 1
    for (task, model), rows in table.groupby(["task", "model"], sort=False):
        yield str(task), f"{task} on {model}" if several else str(task), rows


def _filled(grid: Grid) -> Grid:
    """Return a table without the columns in which no row says anything."""
    kept = [
        place
        for place in range(len(grid.headings))
        if any(row[place].text not in ("", "–") for row in grid.rows)
    ]
    rows = [[row[place] for place in kept] for row in grid.rows]
    return replace(grid, headings=tuple(grid.headings[i] for i in kept), rows=_frozen(rows))


def _frozen(rows: list[list[Entry]]) -> tuple[tuple[Entry, ...], ...]:
    return tuple(tuple(row) for row in rows)


def _score(row: Mapping[Any, Any] | None, cells: tuple[str, ...] = ()) -> Entry:
    if row is None:
        return Entry("–")
    value, low, high = (points(row["metric"], row[c]) for c in ("value", "low", "high"))
    text = interval(value, low, high)
    return Entry(text, value, ((text, cells[0]),) if cells else ())


def _baselines(tables: Tables, task: str) -> dict[str, list[dict[Any, Any]]]:
    """Return the baselines of a task by name, in their order."""
    found: dict[str, list[dict[Any, Any]]] = {}
    if (table := tables.get("baselines")) is not None and not table.empty:
        for row in table[table["task"] == task].to_dict("records"):
            found.setdefault(str(row["name"]), []).append(row)
    return found
