"""The figures of how far circuits hold: alone, under other specifications, over items and draws."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate, percent
from adaptlens.report.charts import (
    INK,
    MUTED,
    NARROW,
    OPPOSITE,
    PAPER,
    SHADE,
    WIDE,
    chart_of,
    domain,
    figure,
    finite,
    groups,
    panel,
)
from adaptlens.report.labels import Labels, Shown, pair_of
from adaptlens.report.theme import CLAIMED
from adaptlens.studies.implicit.columns import SHIFT
from adaptlens.studies.implicit.figures_units import condition_color, condition_shape, named

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

CHOICES = ("metric", "direction", "ablation", "corruption")
"""What a specification chooses."""

SHADES = {"item": 0.6, "draw": 0.38, "seed": 0.38, "specification": 0.2}
"""How full the parts of the variance are; what no factor explains is hollow."""


def alone(faithfulness: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> "alt.ConcatChart":
    """Return what circuits do alone, and what is done without them, a panel for each family.

    Filled: the circuit alone. Hollow: everything but the circuit. Tick: random units of the same
    layers and kinds alone.
    """
    import altair as alt

    rows = faithfulness.assign(task=faithfulness["family"]).dropna(subset=["faithfulness"])
    if rows.empty:
        return figure([], 1)
    names = named(rows["condition"], labels)
    columns, room = (1, 118) if width <= NARROW else (3, 118)
    size = int((width - columns * room - (columns - 1) * 14) / columns)
    seen = [rows[c] for c in ("faithfulness", "low", "high", "completeness", "random") if c in rows]
    ends = domain([*(float(v) for column in seen for v in column), 1.0])
    panels: list[Any] = []
    for family, title, group in groups(rows):
        dots = [
            {
                "row": f"{names[row['condition']]}, {row['size']:.0f}",
                "look": row["condition"],
                **{c: finite(row[c]) for c in ("faithfulness", "low", "high")},
                **{c: finite(row.get(c, math.nan)) for c in ("completeness", "random")},
                "label": f"{family}, {row['condition']}, {row['size']:.0f} units: alone "
                f"{estimate(row['faithfulness'], row['low'], row['high'])} of the gap, without "
                f"them {estimate(row.get('completeness', math.nan))}, random units "
                f"{estimate(row.get('random', math.nan))}",
            }
            for row in group.to_dict("records")
        ]
        x = alt.X("faithfulness:Q", title="share of the gap").scale(domain=ends, nice=False)
        y = alt.Y("row:N", sort=[dot["row"] for dot in dots], title=None).axis(
            labelColor=INK, ticks=False, domain=False, grid=False, labelLimit=room - 4,
            labelPadding=6,
        )  # fmt: skip
        color, shape = (
            condition_color(group["condition"], labels),
            condition_shape(group["condition"], labels),
        )
        base = chart_of(dots).encode(y=y)
        layers: list[Any] = [
            chart_of([{"zero": 0}]).mark_rule(color=MUTED, aria=False).encode(x="zero:Q"),
            chart_of([{"one": 1}])
            .mark_rule(color=MUTED, strokeDash=[2, 3], aria=False)
            .encode(x="one:Q"),
            base.mark_tick(color=INK, size=11, thickness=1.5, aria=False).encode(x="random:Q"),
            base.mark_rule(strokeWidth=2, aria=False).encode(
                x=alt.X("low:Q"), x2="high:Q", color=color
            ),
            base.mark_point(size=42, fill=PAPER, strokeWidth=1.5, opacity=1, aria=False).encode(
                x=alt.X("completeness:Q"), color=color, shape=shape
            ),
            base.mark_point(filled=True, size=52, opacity=1).encode(
                x=x.axis(tickCount=5), color=color, shape=shape, description="label:N"
            ),
        ]
        panels.append(panel(layers, title, size, alt.Step(17)))
    drawn = figure(panels, columns, room + 14)
    drawn.spacing = {"row": 84, "column": room + 14}
    return drawn


def compared(specifications: "pd.DataFrame", labels: Labels) -> "pd.DataFrame":
    """Return the comparison of a family that is drawn: the claim's, or ICL against IT, or any."""
    rows = specifications.dropna(subset=["value"])
    first = rows.drop_duplicates("name").to_dict("records")
    claimed = [row for row in first if row["name"] == SHIFT]
    claimed += [row for row in first if pair_of(*_sides(row, labels)) == CLAIMED]
    names = [row["name"] for row in (*claimed, *first)]
    return rows[rows["name"] == names[0]] if names else rows


def specifications(
    specifications: "pd.DataFrame", labels: Labels, *, width: int = WIDE
) -> "alt.ConcatChart":
    """Return one comparison under every specification, the largest first, for each family.

    Blue: above 0; orange: below. Filled: the interval leaves out 0.
    """
    import altair as alt

    narrow = width <= NARROW
    columns, room = (1, 188) if narrow else (2, 196)
    size = int((width - columns * room - (columns - 1) * 14) / columns)
    panels: list[Any] = []
    rows = specifications.assign(task=specifications["family"])
    for family, title, group in groups(rows):
        own = compared(group, labels)
        if own.empty:
            continue
        name = str(own["name"].iloc[0])
        choices = [c for c in CHOICES if c in own and own[c].nunique() > 1] or ["metric"]
        own = own.sort_values("value", ascending=False, kind="stable")
        dots = [
            {
                "row": str(i),
                "said": " · ".join(_brief(row[c]) for c in choices),
                **{c: finite(row[c]) for c in ("value", "low", "high")},
                "sign": "above" if row["value"] >= 0 else "below",
                "off": row["low"] > 0 or row["high"] < 0,
                "label": f"{family}, {name}, "
                + ", ".join(f"{c} {row[c]}".replace("_", " ") for c in CHOICES if c in own)
                + f": {estimate(row['value'], row['low'], row['high'], sign=True)}",
            }
            for i, row in enumerate(own.to_dict("records"))
        ]
        ends = domain(d[c] for d in dots for c in ("value", "low", "high"))
        said = {dot["row"]: dot["said"] for dot in dots}
        y = alt.Y("row:N", sort=[*said], title=None).axis(
            labelColor=INK, ticks=False, domain=False, grid=False, labelLimit=room - 6,
            labelPadding=6, labelFontSize=10, labelExpr=f"{[*said.values()]!r}[+datum.value]",
        )  # fmt: skip
        x = alt.X("value:Q", title=None).scale(domain=ends, nice=False).axis(tickCount=5)
        color = alt.Color("sign:N", legend=None).scale(
            domain=["above", "below"], range=[SHADE, OPPOSITE]
        )
        base = chart_of(dots).encode(y=y)
        layers: list[Any] = [
            chart_of([{"zero": 0}]).mark_rule(color=MUTED, aria=False).encode(x="zero:Q"),
            base.mark_rule(strokeWidth=1.5, aria=False).encode(
                x=alt.X("low:Q"), x2="high:Q", color=color
            ),
            base.transform_filter("datum.off")
            .mark_point(filled=True, size=40, opacity=1)
            .encode(x=x, color=color, description="label:N"),
            base.transform_filter("!datum.off")
            .mark_point(size=36, fill=PAPER, strokeWidth=1.5, opacity=1)
            .encode(x=x, color=color, description="label:N"),
        ]
        panels.append(panel(layers, title, size, alt.Step(14), _short(own.iloc[0], labels)))
    drawn = figure(panels, columns, room + 14)
    drawn.spacing = {"row": 84, "column": room + 14}
    return drawn


def variance(variance: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return what the variance of single effects is made of, a bar for each family."""
    import altair as alt

    rows = variance.assign(task=variance["family"]).dropna(subset=["share"])
    narrow = width <= NARROW
    room = 84
    parts: list[dict[str, Any]] = []
    for family, title, group in groups(rows):
        start = 0.0
        for row in group.to_dict("records"):
            end = start + 100 * row["share"]
            name = str(row["component"])
            fits = end - start > (22 if narrow else 12)
            parts.append(
                {
                    "row": title, "start": start, "end": end, "middle": (start + end) / 2,
                    "shade": SHADES.get(name, 0.0),
                    "said": f"{name} {end - start:.0f}%" if fits
                    else f"{end - start:.0f}%" if end - start > 6 else "",
                    "label": f"{family}: {name} {percent(row['share'])}",
                }
            )  # fmt: skip
            start = end
    if not parts:
        return figure([], 1)
    order = list(dict.fromkeys(part["row"] for part in parts))
    y = alt.Y("row:N", sort=order, title=None).axis(
        labelColor=INK, ticks=False, domain=False, grid=False, labelLimit=room, labelPadding=6
    )
    x = alt.X("start:Q", title="share of the variance, %").scale(domain=[0, 100], nice=False)
    base = chart_of(parts).encode(y=y)
    layers = [
        base.mark_bar(color=SHADE, height=18, stroke=SHADE, strokeWidth=1).encode(
            x=x.axis(tickCount=5), x2="end:Q", description="label:N",
            fillOpacity=alt.FillOpacity("shade:Q", legend=None, scale=None),
        ),
        base.mark_text(fontSize=10, color=INK, aria=False).encode(
            x=alt.X("middle:Q"), text="said:N"
        ),
    ]  # fmt: skip
    size = width - room - 16
    return figure([panel(layers, "", min(size, 640), alt.Step(26))], 1)


def _brief(choice: object) -> str:
    return str(choice).replace("_difference", " diff.").replace("_probability", " prob.")


def _short(row: Mapping[Any, Any], labels: Labels) -> str:
    """Return what a comparison is called where there is little room."""
    if row["name"] == SHIFT:
        return SHIFT
    return " ~ ".join(named([row["left"], row["right"]], labels).values())


def _sides(row: Mapping[Any, Any], labels: Labels) -> tuple[Shown, Shown]:
    return labels[row["left"]], labels[row["right"]]
