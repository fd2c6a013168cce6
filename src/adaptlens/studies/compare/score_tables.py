"""The tables of scores: by arm, by fixed rule, by template, and what searches found."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import design, fixed
from adaptlens.report.labels import Labels, in_words
from adaptlens.report.tables import (
    NUMBERS,
    Conditions,
    Entry,
    Table,
    Tables,
    at_cell,
    cells_of,
    counts,
    estimated,
    heading_of,
    linked,
    number,
    row_by_row,
    text,
)
from adaptlens.report.theme import (
    METRICS,
    ORDERS,
    RULES,
    main_metric,
    points,
    style_of,
)

if TYPE_CHECKING:
    import pandas as pd


SHORT_RULES = {
    "raw": ("raw", "the log-likelihood of an answer"),
    "per byte": ("byte", "that per byte"),
    "per token": ("token", "that per token"),
    "prior-corrected": ("prior", "that less what it is without an item"),
    "batch-calibrated": ("batch", "that calibrated over the queries"),
    "as written": ("written", "the option that the model's text names first; none is wrong"),
}
"""Scoring rules where there is little room: in a word, and what it means."""

COUNTS = "templates × draws × queries"
COSTS = ("query_tokens", "training_flops")
"""What the table of scores has of an arm's costs."""


def scores(tables: Tables) -> list[Table]:
    """Return one table for each task and model: an arm a row, and what its score rests on.

    The score is by the rule that judges the arm, over all its templates and draws. Beside it stand
    exact match, where chrF judges; the plain template's, the worst and the best template's, and the
    worst draw's score; and what the arm costs.
    """
    made: list[Table] = []
    for (task, model), caption, rows in _by_task(tables):
        metric = main_metric(rows["metric"])
        unit = METRICS.get(metric, metric).rpartition(", ")[2]
        headings = (
            ("arm", False), (METRICS.get(metric, metric), True), (METRICS["exact"], True),
            (f"plain template, {unit}", True), ("worst template", False), ("best template", False),
            (f"worst draw, {unit}", True), ("rule", False), ("read under", False), (COUNTS, True),
            *((heading_of(name), True) for name in COSTS), ("cell", False),
        )  # fmt: skip
        exact = _by_arm(rows[rows["metric"] == "exact"] if metric != "exact" else rows[:0])
        cost = _by_arm(_of(tables.get("cost"), task, model))
        found = [
            _arm(tables, row, exact.get(row["condition"]), cost.get(row["condition"], {}))
            for row in rows[rows["metric"] == metric].to_dict("records")
        ]
        for baseline, of_baseline in _baselines(tables, task).items():
            values = {row["metric"]: points(row["metric"], row["value"]) for row in of_baseline}
            shown = number(values.get(metric, math.nan), 1, ".1f")
            found.append([text(baseline), shown, *[Entry("")] * (len(headings) - 2)])
        made.append(Table(f"scores-{len(made)}", caption, headings, _frozen(found)).filled())
    return made


def in_brief(table: Table, labels: Labels) -> Table:
    """Return the columns of a table of scores that a terminal has room for, and what they mean.

    Args:
        table: of scores.
        labels: what its arms stand for; its other rows are baselines.
    """
    names = [name for name, _ in table.headings]
    draws = [name for name in names if name.startswith("worst draw")]
    costs = [heading_of(name) for name in COSTS]
    kept = ("arm", names[1], METRICS["exact"], "worst template", "best template", *draws, "rule")
    short = table.only(*kept, COUNTS, *costs)
    note = in_words(labels[row[0].text] for row in table.rows if row[0].text in labels)
    if "rule" in names:
        place = [name for name, _ in short.headings].index("rule")
        used = dict.fromkeys(rule for row in short.rows for rule in row[place].text.split(", "))
        said = "; ".join(": ".join(SHORT_RULES[rule]) for rule in SHORT_RULES if rule in used)
        note += f"\nrule: what chooses an answer. {said}"
        rows = tuple((*row[:place], _short(row[place]), *row[place + 1 :]) for row in short.rows)
        short = replace(short, rows=rows)
    return replace(short, note=note.strip())


def _short(rules: Entry) -> Entry:
    words = (SHORT_RULES.get(rule, (rule,))[0] for rule in rules.text.split(", "))
    return replace(rules, text=", ".join(words))


def by_fixed_rule(tables: Tables) -> list[Table]:
    """Return one table for each task and model: an arm a row, each metric that does not judge it.

    Of a choice task, accuracy by scoring rules that are the same for all arms.
    """
    made: list[Table] = []
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
            found.append([Entry(name, name, style=style_of(first["adaptation"])), *scored])
        what = "by the same rule for all arms" if "accuracy" in metrics else "by other metrics"
        headings = (("arm", False), *((METRICS.get(metric, metric), True) for metric in metrics))
        made.append(Table(f"rules-{len(made)}", f"{caption}, {what}", headings, _frozen(found)))
    return made


def by_template(tables: Tables, conditions: Conditions) -> list[Table]:
    """Return one table for each task and model: an arm a row, a template a column."""
    made: list[Table] = []
    for _, caption, rows in _by_task(tables, "templates"):
        names = list(dict.fromkeys(rows["template"]))
        found = []
        for arm, of_arm in rows.groupby("condition", sort=False):
            of_template = {row["template"]: row for row in of_arm.to_dict("records")}
            found.append(
                [conditions.entry(str(arm)), *(_score(of_template.get(name)) for name in names)]
            )
        headings = (("arm", False), *((str(name), True) for name in names))
        caption = f"{caption}, by template"
        made.append(Table(f"templates-{len(made)}", caption, headings, _frozen(found)))
    return made


def searches(tables: Tables, conditions: Conditions) -> Table | None:
    """Return what every search for a prompt found, and on how many prompts and items."""
    headings = (
        ("arm", False), ("draw", True), ("template", False), ("label words", False),
        ("demonstrations", False), ("rule", False), ("right on labeled items, %", True),
        ("labeled items", True), ("prompts read", True), ("tokens", True),
        ("options that give the template back", False),
    )  # fmt: skip

    def entries(row: Mapping[Any, Any]) -> list[Entry]:
        order, rule = ORDERS.get(row["order"], row["order"]), RULES.get(row["rule"], row["rule"])
        return [
            conditions.entry(row["condition"]),
            Entry("–", -1.0) if row["draw"] < 0 else number(row["draw"], 1, ",.0f"),
            *(text(one) for one in (row["template"], row["label_words"], order, rule)),
            number(row["validation_accuracy"], 100, ".1f"),
            *counts(row, "items reads tokens"),
            text(row["options"]),
        ]

    used = "condition draw prompt template label_words order rule validation_accuracy items reads "
    used += "tokens options sent"
    return row_by_row(tables, "searches", "All searches for a prompt", headings, entries, used)


def prompt_lines(tables: Tables) -> list[str]:
    """Return one line for each search: the prompt it found, and how to give it back.

    Where draws have prompts of their own it is the one found most often, the first of equals.
    """
    lines = []
    for (task, model), _, of_task in _by_task(tables, "searches"):
        for arm, rows in of_task.groupby("condition", sort=False):
            found = rows.to_dict("records")
            name, times = Counter(row["prompt"] for row in found).most_common(1)[0]
            row = next(row for row in found if row["prompt"] == name)
            often = f" ({times} of {len(found)} draws)" if len(found) > 1 else ""
            words = f" {row['label_words']}" if row["label_words"] else ""
            lines.append(
                f"{model}, {task}, {arm}{often}: {_shape(row['template'])}{words}, "
                f"{RULES.get(row['rule'], row['rule'])}; give it back with {row['options']}"
            )
    return lines


def _shape(template: str) -> str:
    """Return a template as it looks around an item: 'Review: ...⏎Sentiment:'."""
    shown = template.replace("\\n", "⏎").replace("\\t", " ").replace("{input}", "...")
    return f"'{shown.removesuffix('{target}').rstrip()}'"


def _arm(
    tables: Tables, row: Mapping[Any, Any], exact: Mapping[Any, Any] | None, cost: Mapping[Any, Any]
) -> list[Entry]:
    """Return an arm's row of the table of scores."""
    metric, name, cells = row["metric"], str(row["condition"]), cells_of(row["cell"])
    rule = ", ".join(RULES.get(one, one) for one in filter(None, str(row["rule"]).split(", ")))
    by_name = _templates_of(tables, row)
    ends = (min(by_name, key=by_name.__getitem__), max(by_name, key=by_name.__getitem__)) if (
        len(by_name) > 1
    ) else ()  # fmt: skip
    extremes = [Entry(f"{end} {fixed(by_name[end])}", by_name[end]) for end in ends]
    sizes = (row["templates"], row["draws"], row["queries"])
    return [
        Entry(name, name, style=style_of(row["adaptation"])),
        _score(row, cells),
        number(math.nan if exact is None else points("exact", exact["value"]), 1, ".1f"),
        number(by_name.get("plain", math.nan), 1, ".1f"),
        *(extremes or [Entry("–"), Entry("–")]),
        number(points(metric, row["worst_draw"]), 1, ".1f"),
        text(rule),
        text(_read_under(row, len(by_name))),
        Entry(design(*sizes), float(math.prod(sizes))),
        *(number(cost.get(one, math.nan), *NUMBERS[one][1:]) for one in COSTS),
        linked(cells),
    ]


def _by_arm(rows: "pd.DataFrame") -> dict[str, Mapping[Any, Any]]:
    """Return the rows of one task and model by their arm."""
    return {row["condition"]: row for row in rows.to_dict("records")}


def _of(table: "pd.DataFrame | None", task: str, model: str) -> "pd.DataFrame":
    """Return the rows of one task and model; none where the table was not measured."""
    import pandas as pd

    if table is None or table.empty:
        return pd.DataFrame()
    return table[(table["task"] == task) & (table["model"] == model)]


def _read_under(row: Mapping[Any, Any], num_templates: int) -> str:
    """Return which templates an arm stands for."""
    if row["template"]:
        return str(row["template"])
    if row["adaptation"] == "best_prompt":
        return "prompts found" if row["draws"] > 1 else "the prompt found"
    return f"{num_templates} templates" if num_templates > 1 else "one template"


def _templates_of(tables: Tables, row: Mapping[Any, Any]) -> dict[str, float]:
    """Return an arm's score under each template, in points, by the template's name."""
    rows = _of(tables.get("templates"), row["task"], row["model"]).to_dict("records")
    return {
        str(one["template"]): points(one["metric"], one["value"])
        for one in rows
        if one["condition"] == row["condition"]
    }


def _by_task(
    tables: Tables, name: str = "accuracy"
) -> "Iterator[tuple[tuple[str, str], str, pd.DataFrame]]":
    """Yield task and model, a caption and the rows of every task and model of a table."""
    if (table := tables.get(name)) is None or table.empty:
        return
    several = table["model"].nunique() > 1
    for (task, model), rows in table.groupby(["task", "model"], sort=False):
        yield (str(task), str(model)), f"{task} on {model}" if several else str(task), rows


def _frozen(rows: list[list[Entry]]) -> tuple[tuple[Entry, ...], ...]:
    return tuple(tuple(row) for row in rows)


def _score(row: Mapping[Any, Any] | None, cells: tuple[str, ...] = ()) -> Entry:
    if row is None:
        return Entry("–")
    ends = (points(row["metric"], row[c]) for c in ("value", "low", "high"))
    return at_cell(estimated(*ends, digits=1), cells)


def _baselines(tables: Tables, task: str) -> dict[str, list[dict[Any, Any]]]:
    """Return the baselines of a task by name, in their order."""
    found: dict[str, list[dict[Any, Any]]] = {}
    if (table := tables.get("baselines")) is not None and not table.empty:
        for row in table[table["task"] == task].to_dict("records"):
            found.setdefault(str(row["name"]), []).append(row)
    return found
