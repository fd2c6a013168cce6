"""Figures whose panels show the same thing of several conditions, drawn once for all of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaptlens.report.charts import INK, figure

if TYPE_CHECKING:
    import altair as alt


def layer(**where: Any) -> "alt.Chart":
    """Return a chart of the figure's rows that have these values; marks are still to be chosen."""
    import altair as alt

    one: Any = alt.Chart()
    for name, value in where.items():
        one = one.transform_filter(alt.datum[name] == value)
    return one


def facets(
    layers: Sequence[Any],
    rows: list[dict[str, Any]],
    columns: int,
    size: tuple[float, Any],
    spacing: tuple[int, int],
    *,
    own_rows: bool = False,
) -> "alt.ConcatChart":
    """Return one panel for each `panel` of the rows, in their order, all on the same scales.

    Args:
        layers: charts without data, what is drawn first at the bottom.
        rows: what is drawn; each names its `panel`.
        columns: panels beside each other.
        size: width and height of a panel, its axes left out.
        spacing: between rows and between columns; titles and axes stand in it.
        own_rows: each panel has its own places on the y-axis.

    Raises:
        NothingToDraw: there is no row.
    """
    import altair as alt
    import pandas as pd

    if not rows:
        return figure([], 1)
    names = list(dict.fromkeys(row["panel"] for row in rows))
    width, height = size
    header = alt.Header(
        title=None, labelAnchor="start", labelFontSize=12, labelFontWeight=600, labelColor=INK,
        labelPadding=8, labelLimit=int(width) + spacing[1] - 8,
    )  # fmt: skip
    drawn = (
        alt.layer(*layers, data=pd.DataFrame(rows))
        .properties(width=width, height=height)
        .facet(facet=alt.Facet("panel:N", sort=names, title=None, header=header), columns=columns)
    )
    drawn = drawn.resolve_axis(x="independent", y="independent")
    if own_rows:
        drawn = drawn.resolve_scale(y="independent")
    drawn.spacing = {"row": spacing[0], "column": spacing[1]}
    drawn.bounds = "flush"
    drawn.align = "each"
    return figure([drawn], 1)
