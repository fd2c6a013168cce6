"""What all figures share: widths, neutral colours, panels, and the house style."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

WIDE, NARROW = 920, 340
INK, MUTED, LINE, PAPER = "#211f1c", "#66615a", "#e4dfd6", "#ffffff"
"""The neutral colours of every figure; a page may restyle them by matching these values."""

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


def panel(layers: list[Any], title: str, width: int, height: Any) -> Any:
    """Return layers as one titled panel."""
    import altair as alt

    return alt.layer(*layers).properties(width=width, height=height, title=title)


def figure(panels: list[Any], columns: int) -> "alt.ConcatChart":
    """Return the panels as one figure in the house style, with one legend."""
    import altair as alt

    if not panels:
        raise NothingToDraw("the table has no finite number to draw")
    axis: dict[str, Any] = {"labelColor": MUTED, "titleColor": MUTED, "titleFontWeight": "normal"}
    axis |= {"labelFontSize": 11, "titleFontSize": 11, "titlePadding": 6}
    axis |= {"gridColor": LINE, "domainColor": MUTED, "tickColor": MUTED}
    title = {"anchor": "start", "frame": "group", "fontSize": 12, "fontWeight": 600, "offset": 10}
    scales = {"color": "shared", "shape": "shared", "x": "independent", "y": "independent"}
    return alt.concat(
        *panels,
        columns=columns,
        bounds="flush",
        spacing={"row": 84, "column": 56},
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
            | {"symbolSize": 70, "offset": 10},
        ),
    )
