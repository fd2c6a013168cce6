"""Circuits as graphs, layers from bottom to top, and what is known of their heads."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate
from adaptlens.report.charts import INK, LINE, MUTED, NARROW, OPPOSITE, PAPER, SHADE, WIDE, figure
from adaptlens.report.facets import facets, layer
from adaptlens.report.labels import Labels
from adaptlens.studies.implicit.figures_units import named

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

SHOWN, HEADS = 40, 8
"""How many units a graph has at most, and how many heads are described."""

SCORES = {
    "induction": "induction", "label_attention": "labels", "query_attention": "query",
    "sink": "sink", "function_vector": "vector",
}  # fmt: skip
"""What is known of heads, as figures name it."""

MARKS = {"induction": "ind", "labels": "lab", "query": "qry", "sink": "sink"}
"""How a graph says what a head is known by."""


def graph(
    circuit: "pd.DataFrame",
    labels: Labels,
    edges: "pd.DataFrame | None" = None,
    *,
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return the circuit of each condition as a graph, layers upward.

    Circles: heads, at their number; squares: MLPs, apart. Larger: more of the gap; blue: for the
    answer, orange with a minus: against it. Each is tied to the residual stream that it reads and
    adds to; units are joined only where edges were measured.
    """
    import altair as alt

    rows = circuit.dropna(subset=["value"])
    if rows.empty:
        return figure([], 1)
    names = named(rows["condition"], labels)
    several = rows["model"].nunique() > 1
    num_layers = int(rows["layer"].max()) + 1
    heads = rows[rows["kind"] == "head"]["index"]
    across = int(heads.max()) + 1 if len(heads) else 1
    stream, column = across + 0.1, across + 0.8
    most = float(rows["value"].abs().max()) or 1.0
    narrow = width <= NARROW
    columns = (1 if across > 8 else 2) if narrow else (3 if across > 8 else 4)
    size = int(width / columns - 42)
    dots: list[dict[str, Any]] = []
    for (model, condition), own in rows.groupby(["model", "condition"], sort=False):
        about = {"panel": (f"{model} · " if several else "") + names[str(condition)]}
        kept = own.sort_values("value", key=abs, ascending=False, kind="stable")[:SHOWN]
        dots.append({**about, "role": "stream", "x": stream, "y": -0.5, "y2": num_layers - 0.5})
        places: dict[str, tuple[float, float]] = {}
        for row in kept.to_dict("records"):
            x = row["index"] + 0.5 if row["kind"] == "head" else column
            places[row["unit"]] = (float(x), float(row["layer"]))
            dots.append(
                {
                    **about, "role": row["kind"], "x": float(x), "y": float(row["layer"]),
                    "x2": stream, "size": abs(row["value"]),
                    "sign": "for the answer" if row["value"] > 0 else "against it (−)",
                    "below": row["value"] < -0.2 * most,
                    "known": _known(row.get("label")),
                    "label": "; ".join(
                        filter(None, [f"{row['condition']}, {row['unit']}: share of the gap "
                                      f"{estimate(row['value'])}", row.get("label")])
                    ),
                }
            )  # fmt: skip
        dots += [{**about, **edge} for edge in _joined(edges, model, condition, places)]
    x = alt.X("x:Q", title="head").scale(domain=[-0.1, column + 0.5], nice=False)
    every = max(1, math.ceil(across * 18 / size))
    ticks = [i + 0.5 for i in range(0, across, every)]
    x = x.axis(
        values=[*(t for t in ticks if (column - t) * size / (column + 0.6) > 24), column],
        labelExpr=f"datum.value > {across} ? 'MLP' : format(datum.value - 0.5, 'd')",
        grid=False, ticks=False, domain=False, labelPadding=3, labelOverlap=False,
    )  # fmt: skip
    tall = max(9, min(30, 300 // num_layers))
    y = alt.Y("y:Q", title="layer").scale(domain=[-0.6, num_layers - 0.4], nice=False)
    y = y.axis(
        values=[*range(0, num_layers, max(1, math.ceil(12 / tall)))],
        format="d", grid=False, ticks=False, domain=False, labelPadding=3,
    )  # fmt: skip
    color = alt.Color("sign:N", title=None, legend=alt.Legend(symbolType="circle")).scale(
        domain=["for the answer", "against it (−)"], range=[SHADE, OPPOSITE]
    )
    largest = min(260.0, (0.95 * tall) ** 2, (0.95 * size / (column + 0.6)) ** 2)
    area = alt.Size("size:Q", legend=None).scale(domain=[0, most], range=[5, largest])
    units = layer().transform_filter("datum.role == 'head' || datum.role == 'mlp'")
    layers: list[Any] = [
        units.mark_rule(color=LINE, strokeWidth=1, aria=False).encode(x=x, x2="x2:Q", y=y),
        layer(role="stream")
        .mark_rule(color=MUTED, strokeWidth=1.5, aria=False)
        .encode(x=x, y=y, y2="y2:Q"),
        layer(role="edge")
        .mark_rule(aria=False, opacity=0.7)
        .encode(
            x=x, y=y, x2="x2:Q", y2="y2:Q", color=color,
            strokeWidth=alt.StrokeWidth("size:Q", legend=None).scale(range=[0.4, 3]),
        ),
    ]  # fmt: skip
    for kind, shape in (("head", "circle"), ("mlp", "square")):
        layers.append(
            layer(role=kind)
            .mark_point(shape=shape, filled=True, opacity=1, stroke=PAPER, strokeWidth=0.75)
            .encode(x=x, y=y, size=area, color=color, description="label:N")
        )
    reach = math.sqrt(largest) / 2
    small = max(7, min(9, tall * 0.5))
    written = {"x": x, "y": y}
    layers += [
        units.transform_filter("datum.below")
        .mark_text(text="−", fontSize=small, color=PAPER, fontWeight="bold", aria=False)
        .encode(**written),
        units.transform_filter("datum.known != ''")
        .mark_text(fontSize=max(8, small), color=INK, dy=-reach - 2, aria=False)
        .encode(text="known:N", **written),
    ]  # fmt: skip
    return facets(layers, dots, columns, (size, int(tall * num_layers + 0.2 * tall)), (66, 42))


def heads(annotations: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> "alt.ConcatChart":
    """Return what the heads with the largest share of the gap are known by, for each condition.

    Attention is a share of what the last token looks at; the vector's score is what its function
    vector does to the answer. A condition without a circuit has no panel.
    """
    import altair as alt

    scores = [name for name in SCORES if name in annotations]
    rows = annotations.dropna(subset=scores, how="all") if scores else annotations[:0]
    if rows.empty:
        return figure([], 1)
    names = named(rows["condition"], labels)
    several = rows["model"].nunique() > 1
    most = {name: float(rows[name].abs().max()) or 1.0 for name in scores}
    tiles: list[dict[str, Any]] = []
    for (model, condition), own in rows.groupby(["model", "condition"], sort=False):
        if own["value"].isna().all():
            continue
        kept = own.sort_values("value", key=abs, ascending=False, kind="stable")[:HEADS]
        for row in kept.to_dict("records"):
            for name in scores:
                if math.isfinite(row[name]):
                    limit = most[name] if name == "function_vector" else 1.0
                    tiles.append(
                        {
                            "panel": (f"{model} · " if several else "") + names[str(condition)],
                            "row": row["unit"], "column": SCORES[name],
                            "strength": min(1.0, abs(row[name]) / (limit or 1.0)),
                            "sign": "below" if row[name] < 0 else "above",
                            "said": estimate(row[name], digits=2),
                            "label": f"{condition}, {row['unit']} (share of the gap "
                            f"{estimate(row['value'])}): {name.replace('_', ' ')} "
                            f"{estimate(row[name])}",
                        }
                    )  # fmt: skip
    columns = 1 if width <= NARROW else 3
    size = int(width / columns - 58)
    x = alt.X("column:N", sort=[SCORES[name] for name in scores], title=None).axis(
        orient="top", labelAngle=0, ticks=False, domain=False, labelColor=MUTED, labelPadding=3
    )
    y = alt.Y("row:N", sort=None, title=None).axis(
        ticks=False, domain=False, grid=False, labelColor=INK, labelPadding=4
    )
    layers = [
        layer()
        .mark_rect(stroke=PAPER, strokeWidth=1.5)
        .encode(
            x=x, y=y, description="label:N",
            color=alt.Color("sign:N", legend=None).scale(
                domain=["above", "below"], range=[SHADE, OPPOSITE]
            ),
            opacity=alt.Opacity("strength:Q", legend=None).scale(domain=[0, 1], range=[0.03, 0.62]),
        ),
        layer()
        .mark_text(fontSize=9, color=INK, aria=False)
        .encode(x=x, y=y, text="said:N"),
    ]  # fmt: skip
    return facets(layers, tiles, columns, (size, alt.Step(19)), (50, 58), own_rows=True)


def _known(label: Any) -> str:
    names = str(label or "").split(", ")
    return " ".join(MARKS[name] for name in names if name in MARKS)


def _joined(
    edges: "pd.DataFrame | None",
    model: Any,
    condition: Any,
    places: Mapping[str, tuple[float, float]],
) -> list[dict[str, Any]]:
    """Return the edges of one condition between units that are drawn."""
    if edges is None or edges.empty:
        return []
    own = edges[(edges["model"] == model) & (edges["condition"] == condition)]
    return [
        {
            "role": "edge", "x": places[row["source"]][0], "y": places[row["source"]][1],
            "x2": places[row["target"]][0], "y2": places[row["target"]][1],
            "size": abs(row["value"]),
            "sign": "for the answer" if row["value"] >= 0 else "against it (−)",
        }
        for row in own.to_dict("records")
        if row["source"] in places and row["target"] in places and math.isfinite(row["value"])
    ]  # fmt: skip
