"""The figures of tuned against in-context performance, point by point."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import counted, estimate, parameters
from adaptlens.report.charts import (
    INK,
    MUTED,
    NARROW,
    PAPER,
    WIDE,
    chart_of,
    domain,
    figure,
    finite,
    panel,
)
from adaptlens.report.facets import facets, layer
from adaptlens.report.theme import Style
from adaptlens.studies.limits.contrasts import paired

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

PALETTE = (
    ("#9a7400", "square"),
    ("#b3305e", "circle"),
    ("#2f7fe0", "triangle-up"),
    ("#146033", "diamond"),
    ("#6b2a85", "cross"),
    ("#3f5a6b", "triangle-down"),
    ("#d9480f", "triangle-right"),
    ("#928d83", "triangle-left"),
)
"""Color and shape of clusters and of families, in their order; after eight they come again."""

MANY = 600
"""More points are drawn smaller."""

SAME_SIZE = 1.5
"""Sizes that differ by less, each from the next, share a panel."""


def points(scores: "pd.DataFrame") -> "pd.DataFrame":
    """Return one row per tuned model and task: zero-shot ability beside its base's in context.

    Columns: model (the base), family, size, exposure, mixture, seed, task, cluster, seen, scoring,
    tuned, icl, difference. Empty where either was not read.
    """
    found = paired(scores, "regular", "gold")
    names = {"ability_left": "tuned", "ability_right": "icl"}
    kept = ["model", "family", "size", "exposure", "mixture", "seed", "task", "cluster", "seen",
            "scoring", "tuned", "icl", "difference"]  # fmt: skip
    return found.rename(columns=names)[kept]


def size_classes(sizes: Iterable[float]) -> dict[float, str]:
    """Return each size with the range of those near it, the smallest first."""
    ranges: list[list[float]] = []
    for size in sorted(set(sizes)):
        if ranges and size < SAME_SIZE * ranges[-1][-1]:
            ranges[-1].append(size)
        else:
            ranges.append([size])
    found: dict[float, str] = {}
    for own in ranges:
        low, high = parameters(own[0]), parameters(own[-1])
        found |= dict.fromkeys(own, low if low == high else f"{low} to {high}")
    return found


def styles_of(names: Iterable[str]) -> dict[str, Style]:
    """Return a color and a shape for each name, in the order of the names."""
    found = {}
    for place, name in enumerate(names):
        color, shape = PALETTE[place % len(PALETTE)]
        found[str(name)] = Style(str(name), "", color, color, shape)
    return found


def color_and_shape(
    styles: dict[str, Style], column: str, width: int
) -> tuple["alt.Color", "alt.Shape"]:
    """Return the encodings of a column by color and shape, with one legend for both."""
    import altair as alt

    shown = None
    if len(styles) > 1:
        shown = alt.Legend(symbolOpacity=1, symbolFillColor=PAPER, symbolStrokeWidth=1.75)
        if width <= NARROW:
            shown.columns = 3
    names = [*styles]
    color = alt.Color(f"{column}:N", title=None, legend=shown).scale(
        domain=names, range=[one.light for one in styles.values()]
    )
    shape = alt.Shape(f"{column}:N", title=None, legend=shown).scale(
        domain=names, range=[one.shape for one in styles.values()]
    )
    return color, shape


def following(points: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return tuned ability against the base's in context, one point per tuned model and task.

    Filled: the task is in the mixture; hollow: it is not. On the diagonal both are the same.
    """
    rows = points.dropna(subset=["tuned", "icl"])
    if rows.empty:
        return figure([], 1)
    size = min(width - 50, 360)
    dots = [{**_dot(row), "label": _said(row)} for row in rows.to_dict("records")]
    ends = domain([*rows["tuned"], *rows["icl"]], zero=False)
    color, shape = color_and_shape(styles_of(sorted(set(rows["cluster"]))), "cluster", width)
    x, y = _axes(ends, 6)
    base = chart_of(dots)
    area = 26 if width > NARROW else 12
    layers = [
        chart_of([{"x": end, "y": end} for end in ends])
        .mark_line(color=MUTED, strokeDash=[4, 4], aria=False)
        .encode(x=x, y=y),
        base.transform_filter("!datum.seen")
        .mark_point(size=area, strokeWidth=1, opacity=0.75)
        .encode(x=x, y=y, color=color, shape=shape, description="label:N"),
        base.transform_filter("datum.seen")
        .mark_point(size=area, filled=True, opacity=0.75)
        .encode(x=x, y=y, color=color, shape=shape, description="label:N"),
    ]
    return figure([panel(layers, "", size, size)], 1)


def following_by_kind(points: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return the same a panel for each family and for each size, one point per mixture and task.

    Seeds of a mixture are averaged.
    """
    rows = points.dropna(subset=["tuned", "icl"])
    key = ["family", "size", "exposure", "model", "mixture", "task", "cluster", "seen"]
    rows = rows.groupby(key, dropna=False)[["tuned", "icl"]].mean().reset_index()
    if rows.empty:
        return figure([], 1)
    sizes = size_classes(rows["size"])
    panels = {str(f): rows[rows["family"] == f] for f in sorted(set(rows["family"]))}
    for shown in dict.fromkeys(sizes.values()):
        panels[shown] = rows[rows["size"].map(sizes) == shown]
    dots = [
        {"panel": f"{name}: {counted(own['model'].nunique(), 'base')}", **_dot(row)}
        for name, own in panels.items()
        for row in own.to_dict("records")
    ]
    ends = domain([*rows["tuned"], *rows["icl"]], zero=False)
    narrow = width <= NARROW
    columns = 2 if narrow else 3
    size = int(width / columns - 44)
    size = size if narrow else min(size, 230)
    area = 8 if len(rows) > MANY or narrow else 18
    color, shape = color_and_shape(styles_of(sorted(set(rows["cluster"]))), "cluster", width)
    x, y = _axes(ends, 4)
    layers = [
        _diagonal(ends),
        layer(seen=False)
        .mark_point(size=area, strokeWidth=0.75, opacity=0.7, aria=False)
        .encode(x=x, y=y, color=color, shape=shape),
        layer(seen=True)
        .mark_point(size=area, filled=True, opacity=0.7, aria=False)
        .encode(x=x, y=y, color=color, shape=shape),
    ]
    return facets(layers, dots, columns, (size, size), (78, 48))


def following_by_task(
    points: "pd.DataFrame", per_task: "pd.DataFrame | None" = None, *, width: int = WIDE
) -> "alt.ConcatChart":
    """Return tuned ability against the base's in context for each task, one point per base.

    The line ends at the lowest and the highest of the models tuned from the base. Beside the name
    of a task stands Spearman's correlation with nothing controlled.
    """
    rows = points.dropna(subset=["tuned", "icl"])
    if rows.empty:
        return figure([], 1)
    by_base = rows.groupby(["cluster", "task", "family", "model"])
    found = by_base["tuned"].agg(["mean", "min", "max", "size"]).join(by_base["icl"].mean())
    rho = _spearman(per_task)
    dots = [
        {
            "panel": str(row["task"])
            + (f", {estimate(rho[row['task']], digits=2)}" if row["task"] in rho else ""),
            "family": str(row["family"]),
            "x": row["icl"], "y": row["mean"], "low": row["min"], "high": row["max"],
            "label": f"{row['task']} ({row['cluster']}), {row['model']}: tuned "
            f"{estimate(row['mean'])}, from {estimate(row['min'])} to "
            f"{estimate(row['max'])} of {counted(row['size'], 'model')}; in context "
            f"{estimate(row['icl'])}",
        }
        for row in found.reset_index().to_dict("records")
    ]  # fmt: skip
    ends = domain([*rows["tuned"], *rows["icl"]], zero=False)
    import altair as alt

    columns = 2 if width <= NARROW else 6
    size = int(width / columns - 50)
    styles = styles_of(sorted({dot["family"] for dot in dots}))
    color, shape = color_and_shape(styles, "family", width)
    x, y = _axes(ends, 3)
    layers = [
        _diagonal(ends),
        layer().mark_rule(strokeWidth=1.25, opacity=0.6, aria=False).encode(
            x=x, y=alt.Y("low:Q", title="tuned"), y2="high:Q", color=color
        ),
        layer().mark_point(size=30, filled=True, opacity=1).encode(
            x=x, y=y, color=color, shape=shape, description="label:N"
        ),
    ]  # fmt: skip
    return facets(layers, dots, columns, (size, size), (70, 50))


def _spearman(per_task: "pd.DataFrame | None") -> dict[Any, float]:
    """Return each task's correlation with nothing controlled, where it is defined."""
    if per_task is None or per_task.empty:
        return {}
    own = per_task[(per_task["coefficient"] == "spearman") & (per_task["given"] == "nothing")]
    pairs = zip(own["task"], own["value"], strict=True)
    return {task: value for task, value in pairs if math.isfinite(value)}


def _dot(row: dict[Any, Any]) -> dict[str, Any]:
    return {
        "x": finite(round(row["icl"], 4)),
        "y": finite(round(row["tuned"], 4)),
        "cluster": str(row["cluster"]),
        "seen": bool(row["seen"]),
    }


def _said(row: dict[Any, Any]) -> str:
    mixture = f"{row['mixture']}, {'has' if row['seen'] else 'without'} the task"
    return (
        f"{row['model']}, {mixture}, seed {row['seed']}; {row['task']} ({row['cluster']}): tuned "
        f"{estimate(row['tuned'])}, in context {estimate(row['icl'])}"
    )


def _axes(ends: Sequence[float], ticks: int) -> tuple["alt.X", "alt.Y"]:
    """Return two axes with the same ends: the base in context, and tuned."""
    import altair as alt

    x = alt.X("x:Q", title="in context").scale(domain=ends, nice=False, zero=False)
    y = alt.Y("y:Q", title="tuned").scale(domain=ends, nice=False, zero=False)
    y = y.axis(tickCount=ticks, titleColor=INK)
    return x.axis(tickCount=ticks, grid=False, titleColor=INK), y


def _diagonal(ends: Sequence[float]) -> "alt.Chart":
    """Return the line on which both are the same, once in every panel."""
    import altair as alt

    low, high = (str(end) for end in ends)
    x = alt.X("low:Q", title="in context").scale(domain=ends, nice=False, zero=False)
    y = alt.Y("low:Q", title="tuned").scale(domain=ends, nice=False, zero=False)
    return (
        layer()
        .transform_aggregate(count="count()")
        .transform_calculate(low=low, high=high)
        .mark_rule(color=MUTED, strokeDash=[4, 4], aria=False)
        .encode(x=x, x2="high:Q", y=y, y2="high:Q")
    )
