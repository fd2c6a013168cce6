"""The figure of learning curves: the two ways that the verdict is about, and where they cross."""

import math
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate, fixed
from adaptlens.report.charts import (
    INK,
    MUTED,
    NARROW,
    WIDE,
    chart_of,
    figure,
    groups,
    panel,
)
from adaptlens.report.theme import METRICS, in_order, points, style_of

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

HEIGHT = 250
MOST_TICKS = 12


def learning_curves(
    curves: "pd.DataFrame",
    crossings: "pd.DataFrame | None" = None,
    *,
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return scores against the number of examples, with bands, and the crossing's interval.

    A panel for each task and model: of the ways of the verdict's two arms the measured scores, the
    middle curve (dashed beyond the largest size) and the 95% band. A gray stretch, from one line to
    another, is where the two cross; examples are on an axis of doublings. Without a verdict about
    two arms nothing is drawn.
    """
    import altair as alt

    panels: list[Any] = []
    several = curves.groupby(["task", "model"]).ngroups > 1
    columns = 2 if several and width > NARROW else 1
    size = int(width / columns - (54 if columns > 1 else 50))
    for _, title, rows in groups(curves):
        found = _row(crossings, rows)
        looks = [found[side] for side in ("prompt", "tuned")] if found else []
        present = in_order(look for look in looks if look in set(rows["adaptation"]))
        if found is None or not present:
            continue
        rows = rows[rows["adaptation"].isin(present)]
        metric = str(rows["metric"].iloc[0])
        within = rows[rows["doublings"] == 0].groupby("adaptation")["examples"].max()
        lines = [_point(row, title, within[row["adaptation"]]) for row in rows.to_dict("records")]
        ends = _limits(lines)
        x_scale = alt.Scale(type="log", base=2, domain=[ends[0] / 1.1, ends[1] * 1.1], nice=False)
        x = (
            alt.X("examples:Q", title="labeled examples (an axis of doublings)", scale=x_scale)
            .axis(values=_doublings(*ends), grid=False, labelOverlap=True, format="~d")
        )  # fmt: skip
        values = [
            one[c] for one in lines for c in ("low", "high", "measured") if one[c] is not None
        ]
        bottom = max(0, 10 * math.floor((min(values) - 1) / 10))
        top = min(100, 10 * math.ceil((max(values) + 1) / 10))
        scale = alt.Scale(domain=[bottom, max(top, bottom + 10)], nice=False)
        unit = METRICS.get(metric, metric)
        y = alt.Y("value:Q", title=unit, scale=scale).axis(tickCount=6)
        names = [style_of(name).label for name in present]
        color = alt.Color(
            "way:N",
            title=None,
            legend=alt.Legend(columns=3 if width <= NARROW else 0, symbolOpacity=1),
        ).scale(domain=names, range=[style_of(name).light for name in present])
        shape = alt.Shape("way:N", title=None).scale(
            domain=names, range=[style_of(name).shape for name in present]
        )
        base = chart_of(lines)
        layers: list[Any] = [
            base.mark_area(opacity=0.16, aria=False).encode(
                x=x, y=alt.Y("low:Q", title=unit, scale=scale), y2="high:Q", color=color
            ),
            base.transform_filter("datum.within")
            .mark_line(strokeWidth=1.75, aria=False)
            .encode(x=x, y=y, color=color),
            base.transform_filter("datum.beyond")
            .mark_line(strokeWidth=1.75, strokeDash=[4, 4], aria=False)
            .encode(x=x, y=y, color=color),
            base.transform_filter("isValid(datum.measured)")
            .mark_point(filled=True, size=60, opacity=1)
            .encode(
                x=x,
                y=alt.Y("measured:Q", title=unit, scale=scale),
                color=color,
                shape=shape,
                description="label:N",
            ),
            *_held(found, x, y, ends),
            *_crossing(found, x_scale, ends),
        ]
        panels.append(panel(layers, title, size, HEIGHT, subtitle=_said(found)))
    return figure(panels, columns)


def _row(crossings: "pd.DataFrame | None", rows: "pd.DataFrame") -> "dict[str, Any] | None":
    """Return the crossing of the task and model of some rows; None where there is no verdict."""
    if crossings is None or crossings.empty:
        return None
    task, model = rows[["task", "model"]].iloc[0]
    own = crossings[(crossings["task"] == task) & (crossings["model"] == model)]
    found = [row for row in own.to_dict("records") if row["tuned"]]
    return {str(name): value for name, value in found[0].items()} if found else None


def _point(row: dict[Any, Any], title: str, last: float) -> dict[str, Any]:
    value, low, high, measured = (
        points(row["metric"], row[c]) for c in ("value", "low", "high", "measured")
    )
    way = style_of(row["adaptation"]).label
    return {
        "examples": row["examples"],
        "way": way,
        "value": value if math.isfinite(value) else None,
        "low": low,
        "high": high,
        "measured": measured if math.isfinite(measured) else None,
        "within": row["doublings"] == 0 and math.isfinite(value),
        # The dashes begin where the line ends.
        "beyond": row["examples"] >= last and math.isfinite(value),
        "label": f"{way} on {row['examples']} examples, {title}: measured {fixed(measured)}, "
        f"curve {estimate(value, low, high, digits=1)}",
    }


def _limits(lines: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the ends of the axis of examples."""
    numbers = [one["examples"] for one in lines]
    return float(min(numbers)), float(max(numbers))


def _doublings(low: float, high: float) -> list[float]:
    """Return powers of two from `low` to `high`, thinned to at most `MOST_TICKS`."""
    powers = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    return [2.0**power for power in powers[:: -(-len(powers) // MOST_TICKS)]]


def _held(found: dict[str, Any], x: Any, y: Any, ends: tuple[float, float]) -> list[Any]:
    """Return the verdict's prompt as a line from its number of examples on."""
    value = points(found["metric"], found["prompt_value"])
    if not math.isfinite(value):
        return []
    start = min(ends[1], max(ends[0], found["prompt_examples"]))
    label = f"the prompt of the verdict: {fixed(value)}"
    line = chart_of([{"examples": n, "value": value, "label": label} for n in (start, ends[1])])
    color = style_of(found["prompt"]).light
    return [line.mark_line(color=color, strokeWidth=1, strokeDash=[1, 3]).encode(x=x, y=y)]


def _crossing(found: dict[str, Any], scale: Any, ends: tuple[float, float]) -> list[Any]:
    """Return the stretch in which the curves cross, its ends marked; nothing without one."""
    import altair as alt

    if found["state"] != "crossing":
        return []
    stretch = {"low": max(ends[0], found["low"]), "high": min(ends[1], found["high"])}
    label = f"they cross between {found['low']:,.0f} and {found['high']:,.0f} examples"
    area = chart_of([stretch | {"label": label}])
    marks = chart_of([{"at": stretch["low"]}, {"at": stretch["high"]}])
    x = alt.X("low:Q", scale=scale)
    return [
        area.mark_rect(color=MUTED, opacity=0.18).encode(x=x, x2="high:Q", description="label:N"),
        marks.mark_rule(color=INK, strokeDash=[2, 2], aria=False).encode(
            x=alt.X("at:Q", scale=scale)
        ),
    ]


def _said(found: dict[str, Any]) -> str:
    if found["state"] != "crossing":
        return ""
    middle = f", middle curves at {found['middle']:,.0f}" if found["middle"] > 0 else ""
    return f"they cross between {found['low']:,.0f} and {found['high']:,.0f} examples{middle}"
