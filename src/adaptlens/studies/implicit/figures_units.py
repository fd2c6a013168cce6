"""The figures of circuits: gaps, and units by layer and head."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate, fixed, p_value
from adaptlens.report.charts import (
    INK,
    LINE,
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
from adaptlens.report.facets import facets, layer
from adaptlens.report.labels import Labels

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

SIGNIFICANT = 0.05
FAINT = 0.02
"""In models of many units, those below this share of the largest are not drawn."""
MANY = 300
"""How many units are many."""


def named(conditions: Iterable[str], labels: Labels) -> dict[str, str]:
    """Return conditions as figures name them: "it-256-shuffled" is "IT shuffled".

    Where two would have one name, all keep their labels.
    """
    shown = [labels[label] for label in dict.fromkeys(conditions)]
    names = {c.label: c.label if c.adaptation == "zero_shot" else c.short for c in shown}
    return names if len(set(names.values())) == len(names) else {c: c for c in names}


def gaps(gates: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> "alt.ConcatChart":
    """Return the clean-corrupt gap of each condition; hollow where it has no circuit."""
    import altair as alt

    panels: list[Any] = []
    rows = gates.assign(task=gates["family"])
    columns = 1 if width <= NARROW else 3
    room = 92
    size = int((width - columns * room - (columns - 1) * 12) / columns)
    names = named(rows["condition"], labels)
    for family, title, group in groups(rows.dropna(subset=["gap"])):
        dots = [
            {
                "row": names[row["condition"]],
                "look": row["condition"],
                "defined": bool(row["defined"]),
                "value": row["gap"],
                "low": finite(row["low"]),
                "high": finite(row["high"]),
                "label": f"{family}, {row['condition']}: gap "
                f"{estimate(row['gap'], row['low'], row['high'])}, "
                f"{fixed(row['accuracy'])}% right, chance {fixed(row['chance'])}%"
                + (f"; no circuit: {row['reason']}" if not row["defined"] else ""),
            }
            for row in group.to_dict("records")
        ]
        ends = domain(d[c] for d in dots for c in ("value", "low", "high"))
        x = alt.X("value:Q", title=None).scale(domain=ends, nice=False).axis(tickCount=5)
        y = alt.Y("row:N", sort=[*names.values()], title=None).axis(
            labelColor=INK, ticks=False, domain=False, grid=False, labelLimit=room, labelPadding=6
        )
        color, shape = (
            condition_color(group["condition"], labels),
            condition_shape(group["condition"], labels),
        )
        base = chart_of(dots).encode(y=y)
        layers: list[Any] = [
            chart_of([{"zero": 0}]).mark_rule(color=MUTED, aria=False).encode(x="zero:Q"),
            base.mark_rule(strokeWidth=2, aria=False).encode(
                x=alt.X("low:Q"), x2="high:Q", color=color
            ),
            base.transform_filter("datum.defined")
            .mark_point(filled=True, size=52, opacity=1)
            .encode(x=x, color=color, shape=shape, description="label:N"),
            base.transform_filter("!datum.defined")
            .mark_point(size=52, fill=PAPER, strokeWidth=1.75, opacity=1)
            .encode(x=x, color=color, shape=shape, description="label:N"),
        ]
        panels.append(panel(layers, title, size, alt.Step(20)))
    drawn = figure(panels, columns, room + 12)
    drawn.spacing = {"row": 66, "column": room + 12}
    return drawn


def profiles(profiles: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> "alt.ConcatChart":
    """Return the share of the gap that every unit carries, a panel for each condition.

    Layers upward, heads to the right, the MLP of a layer apart. Blue with no sign: for the answer;
    orange with a minus: against it. An outline: p below 0.05 over the family of units.
    """
    names = named(profiles["condition"], labels)
    rows = profiles.assign(panel=profiles["condition"].map(names), test=profiles["p"])
    return _heat(rows, width, "share of the gap")


def differences(
    differences: "pd.DataFrame", labels: Labels, *, width: int = WIDE
) -> "alt.ConcatChart":
    """Return what every unit carries in one condition less what in another, for each pair.

    Drawn as `profiles`; an outline: p below 0.05 by the largest statistic of all units.
    """
    names = named([*differences["left"], *differences["right"]], labels)
    pairs = [
        f"{names[b]} − {names[a]}"
        for a, b in zip(differences["left"], differences["right"], strict=True)
    ]
    rows = differences.assign(panel=pairs, test=differences["p_max"])
    return _heat(rows, width, "difference of shares")


def _heat(rows: "pd.DataFrame", width: int, what: str) -> "alt.ConcatChart":
    """Return the units of each `panel` by layer and head, with the p-values in `test`."""
    import altair as alt

    rows = rows.assign(task=rows["family"]).dropna(subset=["value"])
    if rows.empty:
        return figure([], 1)
    narrow = width <= NARROW
    heads = int(rows.loc[rows["kind"] == "head", "index"].max(skipna=True) or 0) + 1
    num_layers = int(rows["layer"].max()) + 1
    has_mlp = bool((rows["kind"] == "mlp").any())
    across = heads + (1.6 if has_mlp else 0.0)
    columns = (1 if heads > 8 else 2) if narrow else (3 if heads > 8 else 4)
    size = int(width / columns - 46)
    cell = size / across
    tall = max(7.0, min(24.0, cell * 0.8))
    most = float(rows["value"].abs().max()) or 1.0
    is_many = (heads + has_mlp) * num_layers > MANY
    is_written = cell >= 29
    x = (
        alt.X("x:Q", title="head")
        .scale(domain=[0, across], nice=False)
        .axis(
            values=[i + 0.5 for i in range(0, heads, max(1, math.ceil(22 / cell)))
                    if not has_mlp or (across - 0.5 - i - 0.5) * cell > 26 or heads == 1]
            + ([across - 0.5] if has_mlp else []),
            labelExpr=f"datum.value > {heads} ? 'MLP' : format(datum.value - 0.5, 'd')",
            grid=False, ticks=False, domain=False, labelPadding=3, labelOverlap=False,
        )
    )  # fmt: skip
    y = (
        alt.Y("y:Q", title="layer")
        .scale(domain=[0, num_layers], nice=False)
        .axis(
            values=[i + 0.5 for i in range(0, num_layers, max(1, math.ceil(12 / tall)))],
            labelExpr="format(datum.value - 0.5, 'd')",
            grid=False, ticks=False, domain=False, labelPadding=3,
        )
    )  # fmt: skip
    several = rows["model"].nunique() > 1
    tiles: list[dict[str, Any]] = []
    for (model, name), own in rows.groupby(["model", "panel"], sort=False):
        about = {"panel": f"{model} · {name}" if several else str(name)}
        tiles.append({**about, "role": "ground", "x": 0, "x2": heads, "y": 0, "y2": num_layers})
        if has_mlp:
            tiles.append({**tiles[-1], "x": across - 1, "x2": across})
        tiles += [
            {**_tile(row, heads, across, what), **about}
            for row in own.to_dict("records")
            if not is_many or abs(row["value"]) >= FAINT * most or row["test"] < SIGNIFICANT
        ]
    gap, line = (0.75, 1.25) if cell > 12 else (0.3, 0.9)
    units = layer(role="unit")
    layers: list[Any] = [
        layer(role="ground")
        .mark_rect(color=LINE, opacity=0.4, aria=False)
        .encode(x=x, x2="x2:Q", y=y, y2="y2:Q"),
        units.mark_rect(stroke=PAPER, strokeWidth=gap).encode(
            x=x, x2="x2:Q", y=y, y2="y2:Q", description="label:N", color=_signs(what),
            opacity=_strengths(most, 0.62 if is_written else 0.92, "" if narrow else what),
        ),
        layer(role="unit", significant=True)
        .mark_rect(fill=None, stroke=INK, strokeWidth=line, aria=False)
        .encode(x=alt.X("left:Q"), x2="right:Q", y=alt.Y("bottom:Q"), y2="top:Q"),
    ]  # fmt: skip
    middle = {"x": alt.X("middle:Q"), "y": alt.Y("center:Q")}
    below = units.transform_filter(f"datum.value < {-0.1 * most}")
    layers.append(
        units.mark_text(fontSize=9, color=INK, aria=False).encode(text="said:N", **middle)
        if is_written
        else below.mark_text(fontSize=max(6, min(11, tall)), color=INK, aria=False).encode(
            text=alt.value("−"), **middle
        )
    )
    return facets(layers, tiles, columns, (size, int(tall * num_layers)), (66, 46))


def _tile(row: dict[Any, Any], heads: int, across: float, what: str) -> dict[str, Any]:
    """Return the place of a unit, how it is filled, and what it says when pointed at."""
    left = float(row["index"]) if row["kind"] == "head" else across - 1
    significant = bool(row["test"] < SIGNIFICANT)
    return {
        "role": "unit",
        "x": left, "x2": left + 1, "y": row["layer"], "y2": row["layer"] + 1,
        "middle": left + 0.5, "center": row["layer"] + 0.5,
        "left": left + 0.04, "right": left + 0.96,
        "bottom": row["layer"] + 0.05, "top": row["layer"] + 0.95,
        "value": row["value"],
        "sign": _names(what)[row["value"] < 0],
        "strength": abs(row["value"]),
        "significant": significant,
        "said": estimate(row['value'], digits=2),
        "label": f"{row['panel']}, {row['unit']}: {what} "
        f"{estimate(row['value'], row['low'], row['high'])}, p {p_value(row['test'])}",
    }  # fmt: skip


def _signs(what: str) -> "alt.Color":
    import altair as alt

    return alt.Color("sign:N", title=None, legend=alt.Legend(symbolType="square")).scale(
        domain=_names(what), range=[SHADE, OPPOSITE]
    )


def _names(what: str) -> list[str]:
    """Return what a value above 0, and one below, is called."""
    return ["more", "less (−)"] if what.startswith("diff") else ["for the answer", "against it (−)"]


def _strengths(most: float, top: float, what: str) -> "alt.Opacity":
    """Return how strongly a unit is filled; where it has a title, with a legend in its own unit."""
    import altair as alt

    digits = max(0, 1 - math.floor(math.log10(most)))
    steps = [round(most * share, digits) for share in (0.25, 0.5, 1.0)]
    return alt.Opacity(
        "strength:Q", title=what,
        legend=None if not what else alt.Legend(
            values=steps, format=f".{digits}f", symbolType="square", symbolFillColor=INK,
            symbolStrokeColor=INK, titleFontWeight="normal", titleColor=MUTED, titleFontSize=11,
            titleOrient="left", titlePadding=8,
        ),
    ).scale(domain=[0, most], range=[0.03, top])  # fmt: skip


def condition_color(conditions: Iterable[str], labels: Labels) -> "alt.Color":
    """Return the colors of conditions by the adaptation each is of; a control has its own's."""
    import altair as alt

    names = list(dict.fromkeys(conditions))
    return alt.Color("look:N", legend=None).scale(
        domain=names, range=[labels[name].style.light for name in names]
    )


def condition_shape(conditions: Iterable[str], labels: Labels) -> "alt.Shape":
    """Return the shapes of conditions, so that they are told apart without color."""
    import altair as alt

    names = list(dict.fromkeys(conditions))
    return alt.Shape("look:N", legend=None).scale(
        domain=names, range=[labels[name].style.shape for name in names]
    )
