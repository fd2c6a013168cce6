"""The figure of every arm's score under every template."""

from typing import TYPE_CHECKING, Any

from adaptlens.formatting import counted, estimate, fixed
from adaptlens.report.charts import (
    BELOW,
    INK,
    MUTED,
    NARROW,
    WIDE,
    above_rows,
    chart_of,
    figure,
    finite,
    groups,
    key_of,
    panel,
)
from adaptlens.report.theme import METRICS, in_order, main_metric, points, style_of

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

MARKS = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
"""The marks of templates, in their order; with more templates than marks, all are circles."""

STEP, TALL_STEP = 22, 36
"""Height of an arm's row; on a narrow screen its name and score stand above the marks."""

KEY = "bar: mean, with its 95% interval; hollow: under one template"
"""What bars and marks mean; the marks of single templates stand beside it."""

SPOKEN = 122
"""Room for a score in words, right of the marks."""


def scores_by_template(
    accuracy: "pd.DataFrame",
    templates: "pd.DataFrame | None" = None,
    baselines: "pd.DataFrame | None" = None,
    *,
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return every arm's score under every template, arms in the order of their means.

    An arm is a row: a hollow mark for each template, a bar for the mean, a line for the 95%
    interval of the mean. Arms with one way of asking have no marks. Baselines are dashed. A task
    and model without templates have no panel.
    """
    import altair as alt

    panels: list[Any] = []
    is_wide = width > NARROW
    columns = 2 if is_wide and accuracy.groupby(["task", "model"]).ngroups > 1 else 1
    named = 8 + 6 * max(map(len, accuracy["condition"]), default=0)
    size = int(width / columns) - named - SPOKEN - 8 * (columns - 1) if is_wide else width - 16
    for task, title, group in groups(accuracy):
        metric = main_metric(group["metric"])
        rows = group[group["metric"] == metric].dropna(subset=["value"])
        dots = _dots(templates, rows, task)
        if rows.empty or not dots:
            continue
        means = _means(rows.sort_values("value", ascending=False, kind="stable"), task)
        floors = _floors(baselines, task, metric)
        order = [one["arm"] for one in means]
        ends = [d[c] for d in means for c in ("low", "high", "value") if d[c] is not None]
        ends += [d["value"] for d in (*dots, *floors)]
        room = 0.03 * max(max(ends) - min(ends), 1)
        scale = alt.Scale(domain=[min(ends) - room, max(ends) + room], nice=False)
        unit = METRICS.get(metric, metric)
        x = alt.X("value:Q", title=unit, scale=scale).axis(tickCount=8 if size > 400 else 5)
        y = alt.Y("arm:N", sort=order, title=None)
        y = (
            y.axis(domain=False, ticks=False, grid=False, labelLimit=named, labelColor=INK)
            if is_wide
            else y.axis(None)
        )
        down = {} if is_wide else BELOW
        names = in_order(one["adaptation"] for one in means)
        color = alt.Color("adaptation:N", legend=None).scale(
            domain=names, range=[style_of(name).light for name in names]
        )
        base, line = chart_of(means), chart_of(floors)
        layers: list[Any] = [
            line.mark_rule(strokeDash=[5, 4], color=MUTED).encode(
                x=alt.X("value:Q", scale=scale), description="label:N"
            ),
            base.mark_rule(strokeWidth=2, opacity=0.55, aria=False, **down).encode(
                x=alt.X("low:Q", title=unit, scale=scale), x2="high:Q", y=y, color=color
            ),
            base.mark_tick(thickness=3.5, size=18, opacity=1, **down).encode(
                x=x, y=y, color=color, description="label:N"
            ),
            chart_of(dots)
            .mark_point(size=42, filled=False, opacity=1, strokeWidth=1.5, **down)
            .encode(x=x, y=y, color=color, shape=_shape(dots, width), description="label:N"),
        ]
        if is_wide:
            words = base.mark_text(align="left", color=INK, fontSize=11, aria=False)
            layers.append(words.encode(x=alt.value(size + 12), y=y, text="said:N"))
        else:
            layers += above_rows(base, y, size, "arm", "said")
        height = alt.Step(STEP if is_wide else TALL_STEP)
        panels.append(panel(layers, title, size, height, subtitle=_said(floors)))
    return figure(panels, columns, gap=named + SPOKEN + 16, row_gap=96)


def _means(rows: "pd.DataFrame", task: str) -> list[dict[str, Any]]:
    found = []
    for row in rows.to_dict("records"):
        value, low, high = (points(row["metric"], row[c]) for c in ("value", "low", "high"))
        said = estimate(value, low, high, digits=1)
        found.append(
            {
                "arm": row["condition"],
                "adaptation": row["adaptation"],
                "value": value,
                "low": finite(low),
                "high": finite(high),
                "said": said,
                "label": f"{row['condition']} on {task}: {said}, "
                f"{counted(row['templates'], 'template')} × {counted(row['draws'], 'draw')} × "
                f"{row['queries']} queries",
            }
        )
    return found


def _dots(
    templates: "pd.DataFrame | None", rows: "pd.DataFrame", task: str
) -> list[dict[str, Any]]:
    """Return the score of every template of the arms in `rows`."""
    if templates is None or templates.empty or rows.empty:
        return []
    adaptations = dict(zip(rows["condition"], rows["adaptation"], strict=True))
    own = (templates["task"] == task) & (templates["model"] == rows["model"].iloc[0])
    return [
        {
            "arm": row["condition"],
            "adaptation": adaptations[row["condition"]],
            "template": row["template"],
            "value": points(row["metric"], row["value"]),
            "label": f"{row['condition']} on {task}, template {row['template']}: "
            f"{fixed(points(row['metric'], row['value']))}",
        }
        for row in templates[own].dropna(subset=["value"]).to_dict("records")
    ]


def _floors(baselines: "pd.DataFrame | None", task: str, metric: str) -> list[dict[str, Any]]:
    if baselines is None or baselines.empty:
        return []
    own = baselines[(baselines["task"] == task) & (baselines["metric"] == metric)]
    return [
        {
            "name": row["name"],
            "value": points(metric, row["value"]),
            "label": f"{row['name']} on {task}: {fixed(points(metric, row['value']))}",
        }
        for row in own.dropna(subset=["value"]).to_dict("records")
    ]


def _said(floors: list[dict[str, Any]]) -> str:
    """Return the baselines in words, to stand under the title."""
    named = [f"{floor['name']} {fixed(floor['value'])}" for floor in floors]
    return f"dashed: {', '.join(named)}" if named else ""


def _shape(dots: list[dict[str, Any]], width: int) -> "alt.Shape":
    import altair as alt

    names = list(dict.fromkeys(dot["template"] for dot in dots))
    told = len(names) <= len(MARKS)
    legend = alt.Legend(
        symbolStrokeColor=MUTED,
        columns=3 if width <= NARROW else 0,
        **(key_of(KEY, "left") if width > NARROW else key_of(KEY.split("; "))),
    )
    shape = alt.Shape("template:N", title=None)
    if not told:
        return shape.scale(domain=names, range=["circle"] * len(names)).legend(None)
    return alt.Shape("template:N", legend=legend).scale(
        domain=names, range=list(MARKS[: len(names)])
    )
