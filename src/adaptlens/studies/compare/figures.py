"""The figures of a comparison. Scores are drawn in points, 0-100."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate, fixed, percent
from adaptlens.report.charts import (
    MUTED,
    NARROW,
    WIDE,
    chart_of,
    figure,
    finite,
    groups,
    key_of,
    panel,
)
from adaptlens.report.labels import Labels, Shown
from adaptlens.report.theme import (
    ADAPTATIONS,
    CHOSEN,
    METRICS,
    in_order,
    main_metric,
    points,
    style_of,
)

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd


KEY = (
    "upright: 95% interval",
    "dashed, in color: under a chosen template",
    "dashed, gray: baselines",
    "dotted: zero-shot",
)
"""What lines mean in the figure of scores by number of examples."""

APART = 0.018
"""The space between marks of one number of examples, as a share of the axis."""


def accuracy_by_examples(
    accuracy: "pd.DataFrame",
    baselines: "pd.DataFrame | None" = None,
    *,
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return the main score of every adaptation against its number of examples, with intervals.

    One panel for each task and model. The zero-shot score runs through as a dotted line, the
    baselines as dashed ones; a tuned model at its chosen template is dashed, too. The axis is
    logarithmic in 1 + examples; points that share a number of examples are set slightly apart.
    """
    import altair as alt

    panels: list[Any] = []
    columns, size = layout(accuracy, width)
    for task, title, group in groups(accuracy):
        metric = main_metric(group["metric"])
        rows = group[group["metric"] == metric].dropna(subset=["value"])
        if rows.empty:
            continue
        reach = math.log1p(max(rows["examples"].max(), 1))
        present = in_order(rows["adaptation"])
        moving = [name for name in present if name != "zero_shot"]
        dots: list[dict[str, Any]] = []
        for row in rows.to_dict("records"):
            name = row["adaptation"]
            apart = moving.index(name) - (len(moving) - 1) / 2 if name in moving else 0.0
            value, low, high = (points(metric, row[c]) for c in ("value", "low", "high"))
            dots.append(
                {
                    "x": math.expm1(math.log1p(row["examples"]) + apart * reach * APART),
                    "value": value,
                    "low": finite(low),
                    "high": finite(high),
                    "adaptation": style_of(name).label,
                    "label": f"{row['condition']} on {task}: "
                    f"{estimate(value, low, high, digits=1)}, {row['queries']} queries × "
                    f"{row['draws']} draws",
                }
            )
        edge = max(0.06, APART * (len(moving) - 1) / 2 + 0.03)
        floors = _floors(baselines, task, metric)
        seen = [d[c] for d in dots for c in ("low", "high", "value") if d[c] is not None]
        seen += [floor["value"] for floor in floors]
        bottom = max(0, 10 * math.floor((min(seen) - 3) / 10))
        top = max(min(100, 10 * math.ceil((max(seen) + 2) / 10)), bottom + 10)
        x = (
            alt.X("x:Q", title="examples")
            .scale(
                type="symlog",
                constant=1,
                nice=False,
                domain=[math.expm1(-edge * reach), math.expm1((1 + edge) * reach)],
            )
            .axis(values=sorted(set(rows["examples"].tolist())), grid=False, labelOverlap=True)
        )
        unit = METRICS.get(metric, metric)
        y = alt.Y("value:Q", title=unit).scale(domain=[bottom, top], nice=False).axis(tickCount=6)
        legend = _legend(width, KEY)
        color, base = _color(present, legend), chart_of(dots)
        line = chart_of(floors)
        layers: list[Any] = [
            line.mark_rule(strokeDash=[5, 4], color=MUTED).encode(y=y, description="label:N"),
            base.transform_filter(alt.datum.adaptation == ADAPTATIONS["zero_shot"].label)
            .mark_rule(strokeDash=[1, 3], aria=False)
            .encode(y=y, color=color),
            base.mark_line(strokeWidth=1.75, aria=False).encode(
                x=x, y=y, color=color, strokeDash=_dashed(present, legend)
            ),
            base.mark_rule(strokeWidth=1.5, aria=False).encode(
                x=x, y=alt.Y("low:Q", title=unit), y2="high:Q", color=color
            ),
            base.mark_point(filled=True, size=55, opacity=1).encode(
                x=x, y=y, color=color, shape=_shape(present, legend), description="label:N"
            ),
        ]
        panels.append(panel(layers, title, size, 230, _named_lines(floors)))
    return figure(panels, columns)


def reliability(bins: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> "alt.ConcatChart":
    """Return how often answers given with some confidence are right: on the diagonal, calibrated.

    Of each adaptation the condition with most examples is drawn; the area of a point grows with
    the number of answers in its bin.
    """
    import altair as alt

    panels: list[Any] = []
    columns, size = layout(bins, width)
    side = min(size, 270)
    for task, title, group in groups(bins):
        rows = largest(group[group["count"] > 0], labels)
        if rows.empty:
            continue
        present = in_order(labels[one].look for one in rows["condition"])
        dots = [
            {
                "confidence": 100 * row["bin_confidence"],
                "accuracy": 100 * row["bin_accuracy"],
                "count": int(row["count"]),
                "adaptation": labels[row["condition"]].style.label,
                "label": f"{row['condition']} on {task}: of {row['count']} answers given with "
                f"confidence near {percent(row['bin_confidence'], 0)}, "
                f"{percent(row['bin_accuracy'])} are right",
            }
            for row in rows.to_dict("records")
        ]
        diagonal = chart_of([{"at": 0}, {"at": 100}])
        legend = _legend(width, ())
        base, color = chart_of(dots), _color(present, legend)
        scale = alt.Scale(domain=[0, 100], nice=False)
        x = alt.X("confidence:Q", title="confidence, %", scale=scale).axis(tickCount=5)
        y = alt.Y("accuracy:Q", title="right, %", scale=scale).axis(tickCount=5)
        layers = [
            diagonal.mark_line(color=MUTED, strokeDash=[5, 4], aria=False).encode(
                x=alt.X("at:Q", scale=scale), y=alt.Y("at:Q", scale=scale)
            ),
            base.mark_line(strokeWidth=1.5, aria=False).encode(
                x=x, y=y, color=color, order="confidence:Q"
            ),
            base.mark_point(filled=True, opacity=1).encode(
                x=x,
                y=y,
                color=color,
                shape=_shape(present, legend),
                size=alt.Size("count:Q", legend=None).scale(range=[15, 90]),
                description="label:N",
            ),
        ]
        panels.append(panel(layers, title, side, side))
    return figure(panels, columns)


def largest(rows: "pd.DataFrame", labels: Labels) -> "pd.DataFrame":
    """Return the rows of the condition with most examples, of each adaptation."""
    most: dict[str, Shown] = {}
    for one in (labels[label] for label in dict.fromkeys(rows["condition"])):
        if one.examples > most.setdefault(one.look, one).examples:
            most[one.look] = one
    return rows[rows["condition"].isin([one.label for one in most.values()])]


def layout(table: "pd.DataFrame", width: int, times: int = 1) -> tuple[int, int]:
    """Return the number of columns and the width of one panel's plot, its axis left out."""
    num_panels = table.groupby(["task", "model"]).ngroups * times
    columns = 1 if width <= NARROW else max(2, min(num_panels, 2 if times > 1 else 3))
    return columns, int(width / columns - (54 if columns > 1 else 60))


def _floors(baselines: "pd.DataFrame | None", task: str, metric: str) -> list[dict[str, Any]]:
    """Return the baselines of one task, the highest first."""
    if baselines is None:
        return []
    rows = baselines[(baselines["task"] == task) & (baselines["metric"] == metric)]
    ordered = rows.dropna(subset=["value"]).sort_values("value", ascending=False)
    return [
        {
            "value": points(metric, row["value"]),
            "name": row["name"],
            "label": f"{row['name']} on {task}: {fixed(points(metric, row['value']))}",
        }
        for row in ordered.to_dict("records")
    ]


def _named_lines(floors: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which baseline each dashed line is, by where it is: no name lies over a mark."""
    return [f"dashed at {fixed(floor['value'])}: {floor['name']}" for floor in floors]


def _legend(width: int, key: Sequence[str]) -> "alt.Legend":
    """Return the legend of adaptations, which all of a figure's channels share, under its key."""
    import altair as alt

    is_wide = width > NARROW
    titled = key_of("; ".join(key) if is_wide else key) if key else {"title": None}
    return alt.Legend(columns=0 if is_wide else 3, **titled)


def _color(present: list[str], legend: "alt.Legend") -> "alt.Color":
    import altair as alt

    names, colors = [style_of(n).label for n in present], [style_of(n).light for n in present]
    return alt.Color("adaptation:N", legend=legend).scale(domain=names, range=colors)


def _dashed(present: list[str], legend: "alt.Legend") -> "alt.StrokeDash":
    """Return the dashes of lines: arms at a chosen template, which share their color."""
    import altair as alt

    names = [style_of(n).label for n in present]
    dashes = [[6, 3] if n in CHOSEN else [1, 0] for n in present]
    return alt.StrokeDash("adaptation:N", legend=legend).scale(domain=names, range=dashes)


def _shape(present: list[str], legend: "alt.Legend") -> "alt.Shape":
    import altair as alt

    names, shapes = [style_of(n).label for n in present], [style_of(n).shape for n in present]
    return alt.Shape("adaptation:N", legend=legend).scale(domain=names, range=shapes)
