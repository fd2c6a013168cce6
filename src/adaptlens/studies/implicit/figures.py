"""The figures of behavior: accuracy, use of a hidden shortcut, samples needed, transfer."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate, fixed
from adaptlens.report.charts import (
    INK,
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
from adaptlens.report.theme import ADAPTATIONS, Style, in_order, style_of
from adaptlens.studies.implicit.learned import adaptation_of

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

DRAWN = ("pattern", "misleading", "plain")
"""The conditions of the figures; the others stand in the tables."""

METHODS = {"zero_shot": "zero-shot", "icl": "ICL", "it": "IT", "sl": "SL", "full": "full"}
"""What a way of adapting is called in figures."""

FILLS = {"pattern": 0.85, "misleading": 0.48, "plain": 0.11}
"""How full a bar is, so that conditions are told apart without color."""


def learning(curves: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return accuracy by number of samples, a row for each family, a panel for each condition.

    Demonstrations and training examples share the axis; zero-shot stands apart at 0 and runs
    through as a dotted line. A ring marks the number chosen on validation items. What was tuned on
    all families together is hollow.
    """
    import altair as alt

    curves = _by_family(curves)
    counted = curves[curves["samples"] > 0]
    if counted.empty:
        return figure([], 1)
    present = in_order(adaptation_of(m) for m in counted["method"])
    color, shape = method_color(present), method_shape(present)
    samples = sorted({int(n) for n in counted["samples"]})
    zero = samples[0] / 4
    ends = _tens(curves)
    names = [name for name in DRAWN if name in set(curves["condition"])]
    columns = 1 if width <= NARROW else max(len(names), 2)
    size = int(width / columns - 48)
    x = (
        alt.X("x:Q", title="samples")
        .scale(type="log", domain=[zero / 1.25, samples[-1] * 2.2], nice=False)
        .axis(values=[zero, *samples], grid=False, labelOverlap=True,
              labelExpr=f"datum.value < {samples[0] / 2} ? '0' : format(datum.value, ',d')")
    )  # fmt: skip
    y = alt.Y("value:Q", title=None).scale(domain=ends, nice=False).axis(tickCount=6)
    dots: list[dict[str, Any]] = []
    for family, title, group in groups(curves):
        for condition in names:
            rows = group[group["condition"] == condition].dropna(subset=["value"])
            if rows.empty:
                continue
            about = {"panel": f"{title}, {condition}"}
            anchor = group[(group["samples"] == 0) & (group["read"] == rows["read"].iloc[0])]
            dots += [
                {**_counted(row, f"{family}, {row['read']} items"), **about, "x": zero,
                 "role": "anchor"}
                for row in anchor.to_dict("records")
            ]  # fmt: skip
            dots += [
                {**_counted(row, f"{family}, {condition}"), **about, "role": str(row["tuned_on"])}
                for row in rows.to_dict("records")
            ]
    start, single, mixed = (layer(role=role) for role in ("anchor", "single", "mixed"))
    gray = ADAPTATIONS["zero_shot"]
    low = alt.Y("low:Q")
    layers: list[Any] = [
        start.mark_rule(strokeDash=[2, 3], color=gray.light, aria=False).encode(y=y),
        start.mark_rule(strokeWidth=1.5, color=gray.light, aria=False).encode(
            x=x, y=low, y2="high:Q"
        ),
        start.mark_point(filled=True, size=60, shape=gray.shape, color=gray.light, opacity=1)
        .encode(x=x, y=y, description="label:N"),
        single.mark_area(opacity=0.14, aria=False).encode(x=x, y=low, y2="high:Q", color=color),
        single.mark_line(strokeWidth=1.75, aria=False).encode(x=x, y=y, color=color),
        layer(chosen=True)
        .mark_point(size=170, color=INK, strokeWidth=1.25, fill=None, aria=False)
        .encode(x=x, y=y),
        single.mark_point(filled=True, size=46, opacity=1).encode(
            x=x, y=y, color=color, shape=shape, description="label:N"
        ),
        mixed.mark_point(size=46, fill=PAPER, strokeWidth=1.75, opacity=1).encode(
            x=x, y=y, color=color, shape=shape, description="label:N"
        ),
    ]  # fmt: skip
    return facets(layers, dots, columns, (size, 150), (76, 46))


def chosen_bars(curves: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return accuracy by condition and way of adapting, at the number chosen on validation items.

    Full: pattern; half: misleading; hollow: plain. The dark tick is zero-shot on the same items.
    """
    import altair as alt

    curves = _by_family(curves[curves["tuned_on"] != "mixed"])
    moved = chosen_rows(curves[curves["samples"] > 0], ["condition"])
    present = in_order(adaptation_of(m) for m in moved["method"])
    names = [name for name in DRAWN if name in set(moved["condition"])]
    columns = 1 if width <= NARROW else 3
    size = int(width / columns - 48)
    ends = [min(0.0, _tens(curves)[0]), _tens(curves)[1]]
    order = [METHODS.get(name, name) for name in present]
    x = alt.X("method:N", sort=order, title=None).axis(
        labelAngle=0, labelColor=INK, domain=False, ticks=False, grid=False
    )
    x = x.scale(paddingInner=0.3, paddingOuter=0.15)
    shift = alt.XOffset("condition:N", sort=names)
    y = alt.Y("value:Q", title=None).scale(domain=ends, nice=False).axis(tickCount=6)
    color = method_color(present, legend=False)
    filled = alt.FillOpacity("condition:N", legend=None).scale(
        type="ordinal", domain=names, range=[FILLS[name] for name in names]
    )
    panels: list[Any] = []
    for family, title, group in groups(curves):
        own = moved[(moved["task"] == family) & (moved["model"] == group["model"].iloc[0])]
        own = own[own["condition"].isin(names)].dropna(subset=["value"])
        if own.empty:
            continue
        anchors = group[group["samples"] == 0].groupby("read")["value"].mean()
        bars = [
            {**_counted(row, f"{family}, {row['condition']}"),
             "anchor": finite(float(anchors.get(row["read"], math.nan)))}
            for row in own.to_dict("records")
        ]  # fmt: skip
        base = chart_of(bars).encode(x=x, xOffset=shift)
        step = size / max(1, len(order)) * 0.7 / max(1, len(names))
        layers: list[Any] = [
            base.mark_bar(size=max(3, step * 0.82), stroke=None).encode(
                y=y, color=color, fillOpacity=filled, description="label:N"
            ),
            base.mark_bar(
                size=max(3, step * 0.82), filled=False, strokeWidth=1.5, aria=False
            ).encode(y=y, color=color),
            base.mark_tick(color=INK, size=step * 1.05, thickness=2, aria=False).encode(
                y=alt.Y("anchor:Q")
            ),
            base.mark_rule(color=INK, strokeWidth=1.25, aria=False).encode(
                y=alt.Y("low:Q"), y2="high:Q"
            ),
        ]
        panels.append(panel(layers, title, size, 150))
    drawn = figure(panels, columns, 40)
    drawn.spacing = {"row": 70, "column": 40}
    return drawn


def shortcuts(shortcut: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return shortcut use and over-reliance of every family by way of adapting, in points."""
    import altair as alt

    rows = chosen_rows(_by_family(shortcut), ["quantity"]).dropna(subset=["value"])
    present = in_order(adaptation_of(m) for m in rows["method"])
    panels: list[Any] = []
    for model, group in rows.groupby("model", sort=False):
        for quantity, own in group.groupby("quantity", sort=False):
            dots = [
                {**_counted(row, f"{row['task']}, {quantity}"), "row": str(row["task"])}
                for row in own.to_dict("records")
            ]
            ends = domain(d[c] for d in dots for c in ("value", "low", "high"))
            x = alt.X("value:Q", title="points").scale(domain=ends, nice=False).axis(tickCount=6)
            subtitle = str(model) if rows["model"].nunique() > 1 else ""
            drawn = _forest(dots, x, present)
            panels.append((drawn, str(quantity), subtitle, _height(dots, present)))
    return _beside(panels, width)


def needed(needed: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return how many times the samples of in-context learning tuning needs, on a log axis.

    A hollow arrow at the right edge: not reached with the largest number tried, so the ratio is
    above that. An interval that runs into the edge has no upper end. Where demonstrations gain
    nothing over zero-shot there is no ratio, and nothing is drawn.
    """
    import altair as alt

    rows = _by_family(needed).dropna(subset=["ratio"])
    rows = rows[rows["icl_samples"] > 0]
    present = in_order(adaptation_of(m) for m in rows["method"])
    panels: list[Any] = []
    tried = rows["most"] / rows["icl_samples"]
    seen = [*rows["ratio"], *rows["ratio_low"], *rows["ratio_high"], *tried]
    seen = [ratio for ratio in seen if 0 < ratio < math.inf]
    if not seen:
        return figure([], 1)
    is_whole = rows["ratio"].map(math.isfinite).all()
    ends = [min(*seen, 1.0) / 1.3, max(seen) * (1.3 if is_whole else 3.0)]
    ticks = [2.0**i for i in range(math.floor(math.log2(ends[0])) + 1, 40)]
    ticks = [tick for tick in ticks if tick <= max(seen) * 1.1]
    ticks = ticks if is_whole else [tick for tick in ticks if tick <= ends[1] / 5]
    named = f"datum.value > {max(seen) * 1.2} ? 'not reached' : format(datum.value, '~r') + '×'"
    axis: dict[str, Any] = {
        "values": ticks if is_whole else [*ticks[::2], ends[1]],
        "labelExpr": named,
    }
    for model, group in rows.groupby("model", sort=False):
        for condition in dict.fromkeys(group["condition"].astype(str)):
            own = group[group["condition"] == condition]
            dots = [_needed(row, ends) for row in own.to_dict("records")]
            x = (
                alt.X("value:Q", title="samples of tuning : demonstrations")
                .scale(type="log", base=2, domain=ends, nice=False, clamp=True)
                .axis(labelOverlap=True, labelFlush=True, **axis)
            )
            drawn = _forest(dots, x, present, zero=1.0)
            title = f"{condition} items" if condition else "all items"
            subtitle = str(model) if rows["model"].nunique() > 1 else ""
            panels.append((drawn, title, subtitle, _height(dots, present)))
    return _beside(panels, width)


def transfers(transfer: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return what learning from one family does for another, a panel for each way and kind read.

    Rows: the family learned from; columns: the family read. In points over zero-shot.
    """
    import altair as alt

    rows = transfer.dropna(subset=["value"])
    panels: list[Any] = []
    narrow = width <= NARROW
    columns = 1 if narrow else 2
    room = 84
    size = int((width - columns * room - (columns - 1) * 16) / columns)
    most = max((abs(v) for v in rows["value"]), default=1.0) or 1.0
    for (model, method, read), own in rows.groupby(["model", "method", "read"], sort=False):
        learned = list(dict.fromkeys(own["learned_family"]))
        order = [*(f for f in learned if f in set(own["family"])),
                 *(f for f in dict.fromkeys(own["family"]) if f not in learned)]  # fmt: skip
        tiles = [
            {
                "learned": row["learned_family"],
                "family": row["family"],
                **tile(row["value"], most),
                "said": estimate(row["value"], math.nan, math.nan, sign=True, digits=1),
                "own": row["learned_family"] == row["family"],
                "label": f"learned from {row['learned_family']}, read on {row['family']} "
                f"({read} items), {METHODS.get(adaptation_of(method), method)}: "
                f"{estimate(row['value'], row['low'], row['high'], sign=True, digits=1)} points "
                "over zero-shot",
            }
            for row in own.to_dict("records")
        ]
        fits = size / max(1, len(order)) > 52
        x = alt.X("family:N", sort=order, title="read").axis(
            labelAngle=0 if fits else -40, ticks=False, domain=False, labelColor=INK, orient="top"
        )
        y = alt.Y("learned:N", sort=learned, title="learned").axis(
            ticks=False, domain=False, labelColor=INK, labelLimit=room
        )
        base = chart_of(tiles)
        layers: list[Any] = [
            base.mark_rect(stroke=PAPER, strokeWidth=1.5).encode(
                x=x, y=y, color=sign_color(), opacity=depth(), description="label:N"
            ),
            base.transform_filter("datum.own")
            .mark_rect(fill=None, stroke=INK, strokeWidth=1.25, aria=False)
            .encode(x=x, y=y),
            base.mark_text(fontSize=10 if fits else 9, color=INK, aria=False).encode(
                x=x, y=y, text="said:N"
            ),
        ]
        title = f"{METHODS.get(adaptation_of(str(method)), method)}, {read} items"
        subtitle = str(model) if rows["model"].nunique() > 1 else ""
        panels.append(panel(layers, title, size, alt.Step(30), subtitle))
    drawn = figure(panels, columns, room + 16)
    drawn.spacing = {"row": 96, "column": room + 16}
    return drawn


def method_color(present: Iterable[str], *, legend: bool = True) -> "alt.Color":
    """Return the colors of ways of adapting."""
    import altair as alt

    names = [*present]
    shown = alt.Legend(symbolOpacity=1) if legend and len(names) > 1 else None
    return alt.Color("method:N", title=None, legend=shown).scale(
        domain=[METHODS.get(name, name) for name in names],
        range=[style_of(name).light for name in names],
    )


def method_shape(present: Iterable[str]) -> "alt.Shape":
    """Return the shapes of ways of adapting, so that they are told apart without color."""
    import altair as alt

    styles: list[tuple[str, Style]] = [
        (METHODS.get(name, name), style_of(name)) for name in present
    ]
    shown = alt.Legend(symbolOpacity=1) if len(styles) > 1 else None
    return alt.Shape("method:N", title=None, legend=shown).scale(
        domain=[name for name, _ in styles], range=[one.shape for _, one in styles]
    )


def chosen_rows(rows: "pd.DataFrame", by: list[str]) -> "pd.DataFrame":
    """Return the rows at the number of samples chosen on validation items.

    Where none was chosen, those at the largest number.
    """
    import pandas as pd

    found: list[Any] = []
    for _, own in rows.groupby(["model", "task", "method", *by], sort=False):
        best = own[own["chosen"].astype(bool)]
        found.append(best if len(best) else own[own["samples"] == own["samples"].max()])
    return pd.concat(found) if found else rows


def _forest(
    dots: list[dict[str, Any]], x: "alt.X", present: list[str], zero: float = 0.0
) -> list[Any]:
    """Return a mark and an interval for each way of adapting, family by family."""
    import altair as alt

    y, shift = _rows(dots, present)
    color, shape = method_color(present), method_shape(present)
    base = chart_of(dots).encode(y=y, yOffset=shift)
    return [
        chart_of([{"zero": zero}]).mark_rule(color=MUTED, aria=False).encode(x="zero:Q"),
        base.mark_rule(strokeWidth=2, aria=False).encode(
            x=alt.X("low:Q"), x2="high:Q", color=color
        ),
        base.transform_filter("datum.reached")
        .mark_point(filled=True, size=52, opacity=1)
        .encode(x=x, color=color, shape=shape, description="label:N"),
        base.transform_filter("!datum.reached")
        .mark_point(size=64, shape="triangle-right", fill=PAPER, strokeWidth=1.75, opacity=1)
        .encode(x=x, color=color, description="label:N"),
    ]


def _rows(dots: list[dict[str, Any]], present: list[str]) -> "tuple[alt.Y, alt.YOffset]":
    """Return the places of families, and within them of ways of adapting."""
    import altair as alt

    order = list(dict.fromkeys(dot["row"] for dot in dots))
    y = alt.Y("row:N", sort=order, title=None).axis(
        labelColor=INK, ticks=False, domain=False, grid=False, labelLimit=92, labelPadding=8
    )
    shift = alt.YOffset("method:N", sort=[METHODS.get(name, name) for name in present])
    return y.scale(paddingInner=0.35, paddingOuter=0.15), shift.scale(paddingOuter=0.4)


def _height(dots: list[dict[str, Any]], present: list[str]) -> int:
    return len({dot["row"] for dot in dots}) * (12 * len(present) + 12)


def _beside(panels: list[tuple[list[Any], str, str, int]], width: int) -> "alt.ConcatChart":
    """Return panels with named rows beside each other, or below on a phone."""
    columns = 1 if width <= NARROW else 2
    room = 88
    size = int((width - columns * room - (columns - 1) * 12) / columns)
    return figure(
        [panel(layers, title, size, height, under) for layers, title, under, height in panels],
        columns,
        room + 12,
    )


def _needed(row: dict[Any, Any], ends: list[float]) -> dict[str, Any]:
    """Return what is drawn of the samples needed; beyond the largest number tried, at the edge."""
    reached = math.isfinite(row["ratio"])
    name = METHODS.get(adaptation_of(row["method"]), row["method"])
    about = f"{row['task']}, {row['condition']} items, {name}"
    text = f"not reached with {row['most']:,.0f} samples"
    if reached:
        text = f"{row['samples']:,.0f} samples, {row['ratio']:.3g} times as many"
        if math.isfinite(row["ratio_low"]):
            high = f"{row['ratio_high']:.3g}" if math.isfinite(row["ratio_high"]) else "not reached"
            text += f" [{row['ratio_low']:.3g}, {high}]"
    return {
        "row": str(row["task"]),
        "method": name,
        "reached": reached,
        "value": max(row["ratio"], ends[0]) if reached else ends[1],
        "low": finite(max(row["ratio_low"], ends[0])),
        "high": row["ratio_high"] if row["ratio_high"] < ends[1] else ends[1],
        "label": f"{about}: {text}, for the {fixed(row['target'])}% that {row['icl_samples']:.0f} "
        "demonstrations reach",
    }


def _counted(row: dict[Any, Any], about: str) -> dict[str, Any]:
    """Return what is drawn of one accuracy or difference, and what it says when pointed at."""
    mixed = row.get("tuned_on") == "mixed"
    name = METHODS.get(adaptation_of(row["method"]), row["method"])
    number = f"{row['samples']:,.0f} samples" if row["samples"] else ""
    how = ", ".join(filter(None, [name, number, "tuned on all families" if mixed else ""]))
    return {
        "x": row["samples"] * (1.6 if mixed else 1.0),
        "method": name,
        "condition": row.get("condition", ""),
        "tuned_on": row.get("tuned_on", "single"),
        "chosen": bool(row["chosen"]),
        "reached": True,
        **{c: finite(row[c]) for c in ("value", "low", "high")},
        "label": f"{about}, {how}: {estimate(row['value'], row['low'], row['high'], digits=1)}; "
        f"{row['queries']:.0f} queries × {row['draws']:.0f} draws",
    }


def _by_family(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Return the rows with the family as their task, as panels are named by."""
    return rows.assign(task=rows["family"])


def _tens(rows: "pd.DataFrame") -> list[float]:
    """Return the tens of points between which all values lie."""
    values = [*rows["value"], *rows["low"], *rows["high"]]
    seen = [v for v in values if math.isfinite(v)] or [0.0, 100.0]
    low, high = 10 * math.floor(min(seen) / 10), 10 * math.ceil(max(seen) / 10)
    return [low, max(high, low + 10)]
