"""The figures of circuit shift: distances, overlaps, and circuits carried from one to another."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate
from adaptlens.report.charts import (
    INK,
    LINE,
    MUTED,
    NARROW,
    PAPER,
    WIDE,
    chart_of,
    depth,
    domain,
    figure,
    finite,
    groups,
    panel,
    sign_color,
    tile,
)
from adaptlens.report.facets import facets, layer
from adaptlens.report.labels import Labels, pair_of
from adaptlens.report.theme import Style, style_of_pair
from adaptlens.studies.implicit.figures_units import named

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd


CONTROL = "control"


def distances(shift: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> "alt.ConcatChart":
    """Return how far apart the circuits of each two conditions are, a panel for each family.

    Filled: main conditions. Hollow: a condition and its control. The gray bar ends where 95% of
    the halves of one condition lie.
    """
    import altair as alt

    rows = shift[(shift["measure"] == "distance") & (shift["kind"] == "all")]
    rows = rows[rows["role"] != "floor"].assign(task=rows["family"]).dropna(subset=["value"])
    if rows.empty:
        return figure([], 1)
    names = named([*rows["left"], *rows["right"]], labels)
    narrow = width <= NARROW
    columns = 1 if narrow else 2 if rows.groupby(["task", "model"]).ngroups in (1, 2, 4) else 3
    room = 142
    size = int((width - columns * room - (columns - 1) * 14) / columns)
    ends = domain([*rows["value"], *rows["low"], *rows["high"], *rows["floor"]])
    main = rows[rows["role"] == "main"]
    styles = list(dict.fromkeys(_style(row, labels) for row in main.to_dict("records")))
    color = alt.Color("pair:N", legend=None).scale(
        domain=[*(one.label for one in styles), CONTROL],
        range=[*(one.light for one in styles), MUTED],
    )
    shape = alt.Shape("pair:N", legend=None).scale(
        domain=[*(one.label for one in styles), CONTROL],
        range=[*(one.shape for one in styles), "circle"],
    )
    panels: list[Any] = []
    for family, title, group in groups(rows):
        dots = [
            {
                "row": f"{names[row['left']]} ~ {names[row['right']]}",
                "pair": _style(row, labels).label if row["role"] == "main" else CONTROL,
                "main": row["role"] == "main",
                **{c: finite(row[c]) for c in ("value", "low", "high", "floor")},
                "zero": 0,
                "label": f"{family}, {row['left']} ~ {row['right']}: distance "
                f"{estimate(row['value'], row['low'], row['high'])}, noise floor "
                f"{estimate(row['floor'])}",
            }
            for row in group.to_dict("records")
        ]
        x = alt.X("value:Q", title=None).scale(domain=ends, nice=False).axis(tickCount=5)
        y = alt.Y("row:N", sort=[dot["row"] for dot in dots], title=None).axis(
            labelColor=INK, ticks=False, domain=False, grid=False, labelLimit=room - 4,
            labelPadding=6,
        )  # fmt: skip
        base = chart_of(dots).encode(y=y)
        layers: list[Any] = [
            base.mark_bar(color=LINE, height=11, aria=False).encode(x="zero:Q", x2="floor:Q"),
            base.mark_tick(color=MUTED, size=13, thickness=1.5, aria=False).encode(x="floor:Q"),
            chart_of([{"zero": 0}]).mark_rule(color=MUTED, aria=False).encode(x="zero:Q"),
            base.mark_rule(strokeWidth=2, aria=False).encode(
                x=alt.X("low:Q"), x2="high:Q", color=color
            ),
            base.transform_filter("datum.main")
            .mark_point(filled=True, size=52, opacity=1)
            .encode(x=x, color=color, shape=shape, description="label:N"),
            base.transform_filter("!datum.main")
            .mark_point(size=46, fill=PAPER, strokeWidth=1.75, opacity=1)
            .encode(x=x, color=color, shape=shape, description="label:N"),
        ]
        panels.append(panel(layers, title, size, alt.Step(18)))
    drawn = figure(panels, columns, room + 14)
    drawn.spacing = {"row": 66, "column": room + 14}
    return drawn


def overlaps(overlap: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> "alt.ConcatChart":
    """Return how many of their largest units two conditions share, a panel for each pair.

    Dashed: the ceiling, two halves of one condition. Dotted: chance.
    """
    import altair as alt

    rows = overlap.dropna(subset=["jaccard"])
    if rows.empty:
        return figure([], 1)
    names = named([*rows["left"], *rows["right"]], labels)
    several = rows["model"].nunique() > 1
    dots = [
        {
            "panel": (f"{row['model']} · " if several else "")
            + f"{names[row['left']]} ~ {names[row['right']]}",
            "pair": _style(row, labels).label,
            "x": 100 * row["share"],
            **{c: finite(row[c]) for c in ("jaccard", "chance", "ceiling")},
            "label": f"{row['left']} ~ {row['right']}, {row['size']:.0f} units: "
            f"{estimate(row['jaccard'])} shared; ceiling {estimate(row['ceiling'])}, chance "
            f"{estimate(row['chance'])}; of what can be seen "
            + (estimate(row["corrected"], row["low"], row["high"])
               if math.isfinite(row["corrected"]) else f"undefined: {row['state']}"),
        }
        for row in rows.to_dict("records")
    ]  # fmt: skip
    shares = sorted({dot["x"] for dot in dots})
    columns = 2 if width <= NARROW else 4
    size = int(width / columns - 40)
    reach = (shares[-1] / shares[0]) ** 0.08 if len(shares) > 1 else 2.0
    x = (
        alt.X("x:Q", title="units, %")
        .scale(type="log", domain=[shares[0] / reach, shares[-1] * reach], nice=False)
        .axis(values=shares, format=".2~g", grid=False, labelOverlap=True)
    )
    y = alt.Y("jaccard:Q", title=None).scale(domain=[0, 1], nice=False).axis(tickCount=5)
    styles = list(dict.fromkeys(_style(row, labels) for row in rows.to_dict("records")))
    color = alt.Color("pair:N", legend=None).scale(
        domain=[one.label for one in styles], range=[one.light for one in styles]
    )
    shape = alt.Shape("pair:N", legend=None).scale(
        domain=[one.label for one in styles], range=[one.shape for one in styles]
    )
    layers = [
        layer().mark_line(color=MUTED, strokeDash=[5, 4], aria=False).encode(x=x, y="ceiling:Q"),
        layer().mark_line(color=MUTED, strokeDash=[1, 3], aria=False).encode(x=x, y="chance:Q"),
        layer().mark_line(strokeWidth=1.75, aria=False).encode(x=x, y=y, color=color),
        layer()
        .mark_point(filled=True, size=46, opacity=1)
        .encode(x=x, y=y, color=color, shape=shape, description="label:N"),
    ]
    return facets(layers, dots, columns, (size, 110), (78, 40))


def functional(
    functional: "pd.DataFrame", labels: Labels, *, width: int = WIDE
) -> "alt.ConcatChart":
    """Return how well each condition works on another's circuit, a panel for each family.

    1: as well as on its own; 0: as badly as on random units of the same layers and kinds. Of
    several sizes, the largest.
    """
    import altair as alt

    rows = functional.assign(task=functional["family"])
    if rows["value"].isna().all():
        return figure([], 1)
    names = named([*rows["source"], *rows["target"]], labels)
    narrow = width <= NARROW
    columns, room = (1, 76) if narrow else (3, 76)
    size = int((width - columns * room - (columns - 1) * 14) / columns)
    size = min(size, 58 * len(names))
    panels: list[Any] = []
    for family, title, group in groups(rows):
        own = group[group["size"] == group["size"].max()]
        if own["value"].isna().all():
            continue
        tiles = [
            {
                "source": names[row["source"]],
                "target": names[row["target"]],
                **tile(row["value"] if math.isfinite(row["value"]) else 0.0, 1.0),
                "said": estimate(row['value'], digits=2)
                if math.isfinite(row["value"])
                else "–",
                "label": f"{family}: {row['target']} on the circuit of {row['source']} "
                f"({row['size']:.0f} units): "
                + (estimate(row["value"], row["low"], row["high"])
                   if math.isfinite(row["value"]) else f"undefined: {row['state']}"),
            }
            for row in own.to_dict("records")
        ]  # fmt: skip
        there = {tile["source"] for tile in tiles} | {tile["target"] for tile in tiles}
        order = [name for name in names.values() if name in there]
        x = alt.X("target:N", sort=order, title="used by").axis(
            labelAngle=0 if size / len(order) > 44 else -40, orient="top", ticks=False,
            domain=False, labelColor=INK,
        )  # fmt: skip
        y = alt.Y("source:N", sort=order, title="circuit of").axis(
            ticks=False, domain=False, labelColor=INK, labelLimit=room
        )
        base = chart_of(tiles)
        layers: list[Any] = [
            base.mark_rect(stroke=PAPER, strokeWidth=1.5).encode(
                x=x, y=y, color=sign_color(), opacity=depth(), description="label:N"
            ),
            base.mark_text(fontSize=10, color=INK, aria=False).encode(x=x, y=y, text="said:N"),
        ]
        panels.append(panel(layers, title, size, alt.Step(28)))
    drawn = figure(panels, columns, room + 14)
    drawn.spacing = {"row": 92, "column": room + 14}
    return drawn


def _style(row: Mapping[Any, Any], labels: Labels) -> Style:
    """Return the style of the pair that a row is of."""
    return style_of_pair(pair_of(labels[row["left"]], labels[row["right"]]))
