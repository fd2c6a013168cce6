"""The figure of every arm's score under every template."""

from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate, fixed
from adaptlens.report.charts import (
    INK,
    MUTED,
    NARROW,
    WIDE,
    chart_of,
    figure,
    finite,
    groups,
    panel,
)
from adaptlens.report.theme import METRICS, in_order, main_metric, points, style_of

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

MARKS = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
"""The marks of templates, in their order; with more templates than marks, all are circles."""

STEP = 26


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
    spoken = 130 if width > NARROW else 0
    named = 8 + 7 * max(map(len, accuracy["condition"]), default=0)
    size = width - named - spoken
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
        x = alt.X("value:Q", title=unit, scale=scale).axis(tickCount=8 if spoken else 5)
        y = alt.Y("arm:N", sort=order, title=None).axis(
            domain=False, ticks=False, grid=False, minExtent=named
        )
        names = in_order(one["adaptation"] for one in means)
        color = alt.Color("adaptation:N", legend=None).scale(
            domain=names, range=[style_of(name).light for name in names]
        )
        base, line = chart_of(means), chart_of(floors)
        layers: list[Any] = [
            line.mark_rule(strokeDash=[5, 4], color=MUTED).encode(
                x=alt.X("value:Q", scale=scale), description="label:N"
            ),
            base.mark_rule(strokeWidth=2, opacity=0.55, aria=False).encode(
                x=alt.X("low:Q", title=unit, scale=scale), x2="high:Q", y=y, color=color
            ),
            base.mark_tick(thickness=3.5, size=18, opacity=1).encode(
                x=x, y=y, color=color, description="label:N"
            ),
            chart_of(dots)
            .mark_point(size=42, filled=False, opacity=1, strokeWidth=1.5)
            .encode(x=x, y=y, color=color, shape=_shape(dots, width), description="label:N"),
        ]
        if spoken:
            words = base.mark_text(align="left", color=INK, fontSize=11, aria=False)
            layers.append(words.encode(x=alt.value(size + 12), y=y, text="said:N"))
        panels.append(panel(layers, title, size, alt.Step(STEP), subtitle=_said(floors)))
    return figure(panels, 1)


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
                "label": f"{row['condition']} on {task}: {said}, {row['templates']} templates × "
                f"{row['draws']} draws × {row['queries']} queries",
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
    legend = alt.Legend(symbolStrokeColor=MUTED, columns=3 if width <= NARROW else 0)
    return alt.Shape("template:N", title=None, legend=legend if told else None).scale(
        domain=names, range=list(MARKS[: len(names)]) if told else ["circle"] * len(names)
    )
