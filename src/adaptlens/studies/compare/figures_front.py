"""The figure of several models on one task: score against the cost of a query, with the front."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate, numeral
from adaptlens.report.charts import INK, MUTED, NARROW, PAPER, WIDE, chart_of, figure, key_of, panel
from adaptlens.report.labels import Labels
from adaptlens.report.theme import METRICS, in_order, points, style_of
from adaptlens.studies.compare.front import NOT_DOMINATED, best_by_cost

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right")
"""Of models, in order of their names; more than these share."""

KEY = (
    "filled: not shown to be dominated; hollow: dominated, matched, or only held against others",
    "upright: 95% interval; sideways: to the cost with a cached prompt",
    "steps: the best score so far of what is not shown to be dominated",
)
HEIGHT = 280
UNITS = {"FLOP": "FLOP a query", "money": "price of a query"}


def score_by_cost(front: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> "alt.ConcatChart":
    """Return the score of every judged arm of every model against the cost of a query.

    One panel a task. Colors are ways of adapting, shapes are models; an arm that is shown to be
    dominated or matched is hollow. The axis of costs is logarithmic.
    """
    import altair as alt

    panels: list[Any] = []
    models = sorted(front["model"].unique())
    shapes = [SHAPES[i % len(SHAPES)] for i in range(len(models))]
    looks = in_order(labels[label].look for label in front["condition"])
    wide = width > NARROW
    key = [part for line in KEY for part in textwrap.wrap(line, 200 if wide else 52)]
    legend = alt.Legend(columns=0 if wide else 2, **key_of(key))
    if not wide:
        legend.orient = "bottom"
    color = alt.Color("arm:N", title=None, legend=alt.Legend(columns=0 if wide else 3)).scale(
        domain=[style_of(look).label for look in looks],
        range=[style_of(look).light for look in looks],
    )
    shape = alt.Shape("model:N", title=None, legend=legend).scale(domain=models, range=shapes)
    for task, rows in front.groupby("task", sort=False):
        unit, metric = rows["unit"].iloc[0], rows["metric"].iloc[0]
        rows = rows[(rows["cost"] > 0) & (rows["cost_cached"] > 0)]
        if rows.empty:
            continue
        dots = [_dot(row, labels) for row in rows.to_dict("records")]
        steps = best_by_cost([(d["cost"], d["value"]) for d in dots if d["filled"]])
        low, high = (f(d[c] for d in dots) for f, c in ((min, "low"), (max, "high")))
        costs = [d[c] for d in dots for c in ("cost", "cached")]
        x = (
            alt.X("cost:Q", title=UNITS[unit])
            .scale(type="log", domain=[min(costs) / 1.25, max(costs) * 1.7], nice=False)
            .axis(format="~s" if unit == "FLOP" else "~e", labelOverlap=True, tickCount=6)
        )
        y = (
            alt.Y("value:Q", title=METRICS.get(metric, metric))
            .scale(domain=[max(0.0, low - 2), min(100.0, high + 2)], nice=False)
            .axis(tickCount=6)
        )
        base = chart_of(dots)
        marks: dict[str, Any] = {"size": 90, "opacity": 1, "strokeWidth": 1.75}
        layers: list[Any] = []
        if steps:
            ends = [*({"cost": c, "value": v} for c, v in steps)]
            ends.append({"cost": max(costs) * 1.7, "value": steps[-1][1]})
            layers.append(
                chart_of(ends)
                .mark_line(interpolate="step-after", strokeWidth=1.25, color=MUTED, aria=False)
                .encode(x=x, y=y)
            )
        layers += [
            base.mark_rule(strokeWidth=1, strokeDash=[2, 2], color=MUTED, aria=False).encode(
                x=x, x2="cached:Q", y=y
            ),
            base.mark_rule(strokeWidth=1.5, aria=False).encode(
                x=x, y=alt.Y("low:Q", title=METRICS.get(metric, metric)), y2="high:Q", color=color
            ),
            base.transform_filter("datum.filled")
            .mark_point(filled=True, **marks)
            .encode(x=x, y=y, color=color, shape=shape, description="label:N"),
            base.transform_filter("!datum.filled")
            .mark_point(fill=PAPER, **marks)
            .encode(x=x, y=y, color=color, shape=shape, description="label:N"),
        ]
        if wide:
            words = base.mark_text(align="left", dx=8, dy=-8, fontSize=11, color=INK, aria=False)
            layers.append(words.encode(x=x, y=y, text="said:N"))
        panels.append(panel(layers, str(task), width - 70 if wide else width - 54, HEIGHT))
    return figure(panels, 1)


def _dot(row: dict[Any, Any], labels: Labels) -> dict[str, Any]:
    """Return an arm as it is drawn, and said to whoever cannot see it."""
    metric = row["metric"]
    value, low, high = (points(metric, row[c]) for c in ("value", "low", "high"))
    low, high = (value if math.isnan(end) else end for end in (low, high))
    return {
        "cost": row["cost"],
        "cached": row["cost_cached"],
        "value": value,
        "low": low,
        "high": high,
        "model": row["model"],
        "arm": style_of(labels[row["condition"]].look).label,
        "said": row["condition"],
        "filled": row["state"] in NOT_DOMINATED,
        "label": f"{row['condition']} on {row['model']}: {estimate(value, low, high, digits=1)} at "
        f"{numeral(row['cost'], '.3g')} {row['unit']} a query; {row['state']}",
    }
