"""Figures of numbers with intervals: rows of dots in panels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptlens.report.charts import INK, MUTED, NARROW, PAPER, WIDE, domain, figure
from adaptlens.report.facets import facets, layer
from adaptlens.report.theme import Style

if TYPE_CHECKING:
    import altair as alt

PLAIN = Style("", "", "#2f7fe0", "#3d8cf7", "circle")
OPEN = "not decided"


def forest(
    dots: list[dict[str, Any]],
    *,
    width: int = WIDE,
    columns: int = 1,
    room: int = 120,
    title: str | None = None,
    styles: Mapping[str, Style] | None = None,
    step: int = 18,
    ends: Sequence[float] | None = None,
    reference: float = 0.0,
    bars: bool = False,
) -> "alt.ConcatChart":
    """Return a panel for each `panel` of the rows, in each a line of dots for each `row`.

    Args:
        dots: panel, row, value, label; where known low and high (an interval), inner_low and
            inner_high (a thick one), ceiling (a tick), other (a hollow dot), kind (a style's name)
            and hollow (not to be filled).
        width: of the figure.
        columns: panels beside each other.
        room: for the names of rows.
        title: of the x-axis.
        styles: of the kinds, by name.
        step: height of a row.
        ends: of the x-axis; else all numbers and the reference fit.
        reference: where a line runs through.
        bars: whether a bar reaches from the line to each dot.

    Raises:
        NothingToDraw: there is no row.
    """
    import altair as alt

    if not dots:
        return figure([], 1)
    styles = styles or {"": PLAIN}
    names = ("low", "high", "inner_low", "inner_high", "ceiling", "other")
    blank = {**dict.fromkeys(names), "kind": "", "hollow": False, "zero": reference}
    dots = [blank | dot for dot in dots]
    numbers = [dot[name] for dot in dots for name in ("value", *names)]
    ends = ends or domain([*numbers, reference], zero=False)
    size = int((width - columns * room - (columns - 1) * 14) / columns) - 6
    shown = None
    if len(styles) > 1:
        shown = alt.Legend(symbolOpacity=1, symbolStrokeWidth=0)
        if width <= NARROW:
            shown.columns = 3
    color = alt.Color("kind:N", title=None, legend=shown).scale(
        domain=[*styles], range=[one.light for one in styles.values()]
    )
    shape = alt.Shape("kind:N", title=None, legend=shown).scale(
        domain=[*styles], range=[one.shape for one in styles.values()]
    )
    x = alt.X("value:Q", title=title).scale(domain=ends, nice=False, clamp=True)
    x = x.axis(tickCount=max(3, min(6, size // 55)), titleColor=INK)
    y = alt.Y("row:N", sort=list(dict.fromkeys(dot["row"] for dot in dots)), title=None).axis(
        labelColor=INK, ticks=False, domain=False, grid=False, labelLimit=room - 6,
        labelPadding=6,
    )  # fmt: skip
    one = layer().encode(y=y)
    layers = [
        layer()
        .transform_aggregate(zero="mean(zero)")
        .mark_rule(color=MUTED, aria=False)
        .encode(x=alt.X("zero:Q", title=title)),
        one.mark_tick(color=INK, size=step - 6, thickness=1.5, aria=False).encode(
            x=alt.X("ceiling:Q", title=title)
        ),
        one.mark_rule(strokeWidth=1.5, aria=False).encode(
            x=alt.X("low:Q", title=title), x2="high:Q", color=color
        ),
        one.mark_rule(strokeWidth=4.5, opacity=0.45, aria=False).encode(
            x=alt.X("inner_low:Q", title=title), x2="inner_high:Q", color=color
        ),
        one.mark_point(size=34, fill=PAPER, strokeWidth=1.25, color=MUTED, aria=False).encode(
            x=alt.X("other:Q", title=title)
        ),
        one.transform_filter("!datum.hollow")
        .mark_point(filled=True, size=50, opacity=1)
        .encode(x=x, color=color, shape=shape, description="label:N"),
        one.transform_filter("datum.hollow")
        .mark_point(size=44, fill=PAPER, strokeWidth=1.6, opacity=1)
        .encode(x=x, color=color, shape=shape, description="label:N"),
    ]
    if bars:
        bar = one.mark_bar(opacity=0.28, height=step - 8, aria=False)
        layers.insert(0, bar.encode(x=alt.X("zero:Q", title=title), x2="value:Q", color=color))
    return facets(layers, dots, columns, (size, alt.Step(step)), (70, room + 14), own_rows=True)


def sides(above: str, below: str) -> dict[str, Style]:
    """Return styles for above 0, below 0 and neither, by what the sides are called."""
    return {
        above: Style(above, "", "#2f7fe0", "#3d8cf7", "triangle-right"),
        below: Style(below, "", "#d9480f", "#ee8440", "triangle-left"),
        OPEN: Style(OPEN, "", MUTED, MUTED, "circle"),
    }
