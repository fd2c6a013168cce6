"""What all figures share: widths, neutral colors, panels, and the house style."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from adaptlens.report.theme import Pair, style_of_pair

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

WIDE, NARROW = 920, 340
INK, MUTED, LINE, PAPER = "#211f1c", "#66615a", "#e4dfd6", "#ffffff"
"""The neutral colors of every figure; a page may restyle them by matching these values."""

SHADE, OPPOSITE = "#2f7fe0", "#d9480f"
"""The colors above and below zero; how strong they are says how far."""

FONT = "Helvetica Neue, Arial, Liberation Sans, sans-serif"


class NothingToDraw(ValueError):
    """The table has no finite number that the figure could show."""


def groups(table: "pd.DataFrame") -> "Iterator[tuple[str, str, pd.DataFrame]]":
    """Yield the task, the panel's title and the rows of every task and model."""
    several = table["model"].nunique() > 1
    for (task, model), rows in table.groupby(["task", "model"], sort=False):
        yield str(task), f"{task} · {model}" if several else str(task), rows


def finite(value: float) -> float | None:
    """Return the number, or None, which a chart leaves out, where it is undefined."""
    return value if math.isfinite(value) else None


def chart_of(values: list[dict[str, Any]]) -> "alt.Chart":
    """Return a chart of rows; a frame, unlike inline values, is not copied with every layer."""
    import altair as alt
    import pandas as pd

    return alt.Chart(pd.DataFrame(values))


def spread(num_each: int, num_groups: int, width: int) -> tuple[int, int]:
    """Return the number of columns, and the width of one panel's plot, its axis left out.

    Args:
        num_each: panels that belong together and stand side by side.
        num_groups: how many such groups there are.
        width: of the figure.
    """
    if width <= NARROW:
        return 1, width - 44
    columns = (num_each if num_each < 4 else 2 if num_each == 4 else 3) if num_each > 1 else 0
    columns = columns or max(2, min(num_groups, 3))
    return columns, int(width / columns - 48)


def pair_color(pairs: "Iterable[Pair]", width: int, *, legend: bool = True) -> "alt.Color":
    """Return the colors of pairs, with a legend that fits the width where there are several."""
    import altair as alt

    styles = [style_of_pair(pair) for pair in pairs]
    shown = alt.Legend(symbolOpacity=1, symbolStrokeWidth=0)
    if width <= NARROW:
        shown.columns = 2
    return alt.Color(
        "pair:N", title=None, legend=shown if legend and len(styles) > 1 else None
    ).scale(domain=[one.label for one in styles], range=[one.light for one in styles])


def pair_shape(pairs: "Iterable[Pair]") -> "alt.Shape":
    """Return the shapes of pairs, so that they are told apart without color."""
    import altair as alt

    styles = [style_of_pair(pair) for pair in pairs]
    return alt.Shape("pair:N", title=None, legend=None).scale(
        domain=[one.label for one in styles], range=[one.shape for one in styles]
    )


def domain(values: "Iterable[float | None]", *, zero: bool = True) -> list[float]:
    """Return the ends of an axis that shows all defined values, with a little room."""
    seen = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(seen), max(seen)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.05 * max(high - low, 1e-3)
    return [low - room if low < 0 or not zero else 0.0, high + room]


def key_of(lines: str | Sequence[str], where: str = "top") -> dict[str, Any]:
    """Return how a legend is titled with what fills, dashes and marks mean."""
    title = {"title": lines if isinstance(lines, str) else [*lines], "titleOrient": where}
    return title | {"titleFontWeight": "normal", "titleColor": MUTED, "titleLimit": 0}


BELOW: dict[str, Any] = {"yOffset": 8}
"""Where the marks of a row stand whose words are above them."""


def above_rows(base: "alt.Chart", y: "alt.Y", width: int, *columns: str) -> "list[alt.Chart]":
    """Return the words of every row above its marks, one column at the left, one at the right.

    On a narrow screen they leave the marks the whole width. A halo keeps them apart from rules.
    """
    import altair as alt

    layers = []
    left = base.mark_text(align="left", fontSize=11, dy=-7, aria=False), 0, INK
    right = base.mark_text(align="right", fontSize=11, dy=-7, aria=False), width, MUTED
    for column, (words, at, ink) in zip(columns, (left, right), strict=True):
        words = words.encode(x=alt.value(at), y=y, text=f"{column}:N")
        halo = alt.value(PAPER)
        layers += [
            words.encode(stroke=halo, color=halo, strokeWidth=alt.value(3)),
            words.encode(color=alt.value(ink)),
        ]
    return layers


def panel(
    layers: list[Any], title: str, width: int, height: Any, subtitle: str | Sequence[str] = ""
) -> Any:
    """Return layers as one panel under its title, and what is drawn under that, a line each."""
    import altair as alt

    lines = subtitle if isinstance(subtitle, str) else [*subtitle]
    titled = alt.TitleParams(title, subtitle=lines) if lines else title
    return alt.layer(*layers).properties(width=width, height=height, title=titled)


def figure(panels: list[Any], columns: int, gap: int = 56, row_gap: int = 100) -> "alt.ConcatChart":
    """Return the panels as one figure in the house style, with one legend.

    `gap` is the space between columns, `row_gap` that between rows; titles and axes stand in them.
    """
    import altair as alt

    if not panels:
        raise NothingToDraw("the table has no finite number to draw")
    for channel in ("color", "shape", "strokeDash"):
        _one_scale(panels, channel)
    axis: dict[str, Any] = {"labelColor": MUTED, "titleColor": MUTED, "titleFontWeight": "normal"}
    axis |= {"labelFontSize": 11, "titleFontSize": 11, "titlePadding": 6}
    axis |= {"gridColor": LINE, "domainColor": MUTED, "tickColor": MUTED}
    title = {"anchor": "start", "frame": "group", "fontSize": 12, "fontWeight": 600, "offset": 10}
    title |= {"subtitleColor": MUTED, "subtitleFontSize": 11, "subtitlePadding": 4}
    scales = {"color": "shared", "shape": "shared", "x": "independent", "y": "independent"}
    return alt.concat(
        *panels,
        columns=columns,
        bounds="flush",
        spacing={"row": row_gap, "column": gap},
        background=PAPER,
        padding=4,
        resolve=alt.Resolve(scale=scales),
        config=alt.Config(
            font=FONT,
            view={"stroke": None},
            title=title | {"color": INK},
            axis=axis,
            axisY={"domain": False, "ticks": False},
            legend={"orient": "top", "labelColor": INK, "labelFontSize": 12}
            | {"symbolSize": 70, "offset": 10, "columnPadding": 16},
        ),
    )


def _one_scale(panels: Sequence[Any], channel: str) -> None:
    """Give the panels' scales of a channel one domain, each value the mark it was first given.

    Panels share the scale, and Vega-Lite joins their domains but takes the first one's range, so
    that what is missing in the first panel would get another's mark.
    """
    import altair as alt

    scales = [
        scale
        for one in panels
        if isinstance(one, alt.LayerChart)
        for layer in one.layer
        if (scale := _scale(layer, channel)) is not None and isinstance(scale["domain"], list)
    ]
    marks: dict[str, Any] = {}
    for scale in scales:
        for value, mark in zip(scale["domain"], scale["range"], strict=True):
            marks.setdefault(value, mark)
    for scale in scales:
        scale["domain"], scale["range"] = list(marks), list(marks.values())


def _scale(layer: Any, channel: str) -> Any:
    """Return the scale of one of a layer's channels; None where it has none of its own."""
    import altair as alt

    if layer.encoding is alt.Undefined:
        return None
    given = layer.encoding[channel]
    scale = given["scale"] if isinstance(given, alt.Color | alt.Shape | alt.StrokeDash) else None
    return None if scale in (None, alt.Undefined) else scale


def tile(value: float, most: float) -> dict[str, Any]:
    """Return a value as the sign and strength a tile is filled with, the strongest being 1."""
    return {"sign": "above" if value >= 0 else "below", "strength": min(1.0, abs(value) / most)}


def sign_color() -> "alt.Color":
    """Return the colors of tiles above and below 0."""
    import altair as alt

    return alt.Color("sign:N", legend=None, title=None).scale(
        domain=["above", "below"], range=[SHADE, OPPOSITE]
    )


def depth() -> "alt.Opacity":
    """Return how strongly tiles are filled; up to 0.62, words on them stay legible."""
    import altair as alt

    return alt.Opacity("strength:Q", legend=None).scale(domain=[0, 1], range=[0.03, 0.62])
