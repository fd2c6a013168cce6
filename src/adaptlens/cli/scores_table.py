"""The scores of a comparison in a terminal: a table within 100 columns, and the prompts found."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from adaptlens.report.theme import METRICS, RULES, in_words, main_metric, points

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.studies.compare.page import Report

WIDTH = 100
"""The columns that a table takes at most."""

LONGEST_NAME = 10
"""Letters of a template's name that are shown."""

SHORT_RULES = {"bytes": "byte", "tokens": "token", "corrected": "prior", "calibrated": "batch"}
RULE_MEANINGS = {
    "raw": "the log-likelihood of an answer",
    "byte": "per byte",
    "token": "per token",
    "prior": "less what it is without an item",
    "batch": "calibrated over the queries (batch calibration)",
}


def scores_table(report: "Report", model: str, task: str, rows: "pd.DataFrame") -> Table:
    """Return one row per arm: its score, what that rests on, and what the arm costs.

    The score is by the rule that judges the arm, the mean over templates and draws. Beside it
    stand the worst and the best template (of a chosen one, its name) and the worst draw.
    """
    metric = main_metric(rows["metric"])
    exact = {
        row["condition"]: f"{points('exact', row['value']):.1f}"
        for row in rows[rows["metric"] == "exact"].to_dict("records")
    }
    judged = rows[rows["metric"] == metric].to_dict("records")
    has_rules = any(row["rule"] for row in judged)
    table = Table(
        title=f"{task} on {model}",
        title_justify="left",
        title_style="bold",
        caption=_caption(report, task, metric, judged),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("arm", no_wrap=True, overflow="fold")
    table.add_column(METRICS.get(metric, metric), justify="right", no_wrap=True)
    if exact:
        table.add_column("exact,\n%", justify="right")
    if has_rules:
        table.add_column("rule", overflow="fold", max_width=6)
    for heading in ("worst\ntemplate", "best\ntemplate"):
        table.add_column(heading, overflow="fold")
    counts = "templ. x\ndraws x\nqueries"
    for heading in ("worst\ndraw", counts, "prompt\ntokens", "train\nFLOPs"):
        table.add_column(heading, justify="right", overflow="fold")
    cost = of(report.tables["cost"], model, task)
    templates = of(report.tables["templates"], model, task)
    for row in judged:
        arm = str(row["condition"])
        paid: Mapping[Any, Any] = next(iter(cost[cost["condition"] == arm].to_dict("records")), {})
        table.add_row(
            arm,
            score(metric, row),
            *([exact.get(arm, "")] if exact else []),
            *([_rules(row["rule"])] if has_rules else []),
            *_extremes(metric, templates, row),
            _points(metric, row["worst_draw"]),
            f"{row['templates']}x{row['draws']}x{row['queries']}",
            f"{paid['query_tokens']:.0f}" if paid else "-",
            _flops(paid.get("training_flops", 0.0)),
        )
    return table


def _caption(report: "Report", task: str, metric: str, judged: Iterable[Mapping[Any, Any]]) -> str:
    """Return what stands under the table: the baselines, the rules, and what the names mean."""
    rows = list(judged)
    baselines = report.tables["baselines"]
    own = baselines[(baselines["task"] == task) & (baselines["metric"] == metric)]
    said = [f"{row['name']} {_points(metric, row['value'])}" for row in own.to_dict("records")]
    used = dict.fromkeys(_rules(one) for row in rows for one in row["rule"].split(", ") if one)
    lines = [f"without a model: {', '.join(said)}"] if said else []
    if used:
        meant = "; ".join(f"{name}: {RULE_MEANINGS[name]}" for name in used)
        lines.append(f"rule: what chooses an answer. {meant}")
    lines.append(in_words(row["condition"] for row in rows))
    return "\n".join(filter(None, lines))


def of(table: "pd.DataFrame", model: str, task: str) -> "pd.DataFrame":
    """Return the rows of one model and task."""
    return table[(table.model == model) & (table.task == task)]


def _rules(named: str) -> str:
    return ", ".join(SHORT_RULES.get(one, one) for one in named.split(", "))


def _extremes(metric: str, templates: "pd.DataFrame", row: Mapping[Any, Any]) -> tuple[str, str]:
    """Return an arm's worst and best template, each with its score; of one chosen, its name."""
    if row["template"]:
        return "", _shortened(str(row["template"]))
    own = templates[templates.condition == row["condition"]]
    if len(own) < 2:
        return "", ""
    ends = own.loc[own["value"].idxmin()], own.loc[own["value"].idxmax()]
    worst, best = (
        f"{_shortened(str(end['template']))} {points(metric, end['value']):.0f}" for end in ends
    )
    return worst, best


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _points(metric: str, value: float) -> str:
    return "-" if math.isnan(value) else f"{points(metric, value):.1f}"


def _flops(number: float) -> str:
    """Return "3.8e10", or "-" where nothing is trained."""
    return f"{number:.1e}".replace("e+", "e") if number > 0 else "-"


def score(metric: str, row: Mapping[Any, Any]) -> str:
    """Return "87.5 [84.1, 90.2]" in points."""
    value, low, high = (points(metric, row[name]) for name in ("value", "low", "high"))
    if math.isnan(low):
        return f"{value:.1f}"
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def prompt_lines(report: "Report", model: str, task: str) -> list[str]:
    """Return one line for each search: the prompt it found, and how to give it back.

    Where draws have prompts of their own it is the one found most often, the first of equals.
    """
    table = report.tables.get("searches")
    if table is None or table.empty:
        return []
    lines = []
    for arm, rows in of(table, model, task).groupby("condition", sort=False):
        found = rows.to_dict("records")
        names = Counter(row["prompt"] for row in found)
        name, times = names.most_common(1)[0]
        row = next(row for row in found if row["prompt"] == name)
        often = f" ({times} of {len(found)} draws)" if len(found) > 1 else ""
        words = f" {row['label_words']}" if row["label_words"] else ""
        rule = RULES.get(row["rule"], row["rule"])
        lines.append(
            f"{arm}{often}: {_shape(row['template'])}{words}, {rule}; give it back with "
            f"{row['options']}"
        )
    return lines


def _shape(template: str) -> str:
    """Return a template as it looks around an item: 'Review: ...⏎Sentiment:'."""
    shown = template.replace("\\n", "⏎").replace("\\t", " ").replace("{input}", "...")
    return f"'{shown.removesuffix('{target}').rstrip()}'"
