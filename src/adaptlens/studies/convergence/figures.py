"""The figures of similar states: pairs in the last layer, over the layers, and layer by pair."""

from collections.abc import Collection, Sequence
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
    pair_color,
    pair_shape,
    panel,
    spread,
)
from adaptlens.report.labels import Labels, pairs_of
from adaptlens.report.theme import CLAIMED, PAIRS, SIMILARITIES, Pair, style_of_pair

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

DRAWN = [pair for pair, style in PAIRS.items() if style.meaning]
"""The pairs of the paper's figures; the others stand in the tables."""

BARS, HEAD = 210, 22
"""The height of a panel of bars, and what of it is left at the top for their numbers, in pixels."""


def of_pairs(pairs: "pd.DataFrame", labels: Labels) -> "pd.DataFrame":
    """Return the rows with the pair in the column `pair`, at the prompt's last token."""
    rows = pairs[pairs["position"] == "last"] if "position" in pairs else pairs
    return rows.assign(pair=pairs_of(rows, labels))


def last_layer(pairs: "pd.DataFrame") -> "pd.DataFrame":
    """Return the rows of each model's last layer, before the final norm."""
    rows = pairs[~pairs["is_final"].astype(bool)]
    return rows[rows["layer"] == rows.groupby("model")["layer"].transform("max")]


def bars(
    pairs: "pd.DataFrame",
    labels: Labels,
    *,
    measures: Sequence[str] = ("cosine", "centered"),
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return the similarity of the main pairs in the last layer, one panel for each measure.

    The broad tick is what the pair scores with mismatched queries, the thin one its noise floor.
    """
    import altair as alt

    panels: list[Any] = []
    rows = last_layer(of_pairs(pairs[pairs["role"] == "main"], labels))
    columns, size = _measure_by_measure(rows, measures, width)
    present = [pair for pair in DRAWN if pair in set(rows["pair"])]
    color = pair_color(present, width, legend=False)
    for measure in measures:
        for _, title, group in groups(rows):
            own = group[(group["measure"] == measure) & group["pair"].isin(present)]
            if (own := own.dropna(subset=["value"])).empty:
                continue
            dots = [_dot(row) for row in own.to_dict("records")]
            ends = domain(d[c] for d in dots for c in ("value", "low", "high", "baseline", "floor"))
            ends[1] += (ends[1] - ends[0]) * HEAD / (BARS - HEAD)
            names = [style_of_pair(pair).label for pair in present]
            base = _chart_with(dots)
            x = alt.X("pair:N", sort=names, title=None).axis(
                labelExpr="split(replace(datum.label, ' ~ ', ' ~|'), '|')", labelAngle=0,
                labelColor=INK, domain=False, ticks=False, grid=False, labelPadding=6,
            )  # fmt: skip
            y = alt.Y("value:Q", title=None).scale(domain=ends, nice=False).axis(tickCount=5)
            step = size / len(present)
            words = base.mark_text(fontSize=11, aria=False).encode(
                x=x, y=alt.value(HEAD / 2 - 3), text="said:N"
            )
            halo = alt.value(PAPER)
            layers: list[Any] = [
                base.mark_bar(opacity=0.3, width=step * 0.62, aria=False).encode(
                    x=x, y=y, color=color
                ),
                base.mark_tick(
                    color=MUTED, opacity=0.55, size=step * 0.74, thickness=2.5, aria=False
                ).encode(x=x, y=alt.Y("baseline:Q")),
                base.mark_tick(color=INK, size=step * 0.74, thickness=1.5, aria=False).encode(
                    x=x, y=alt.Y("floor:Q")
                ),
                base.mark_rule(strokeWidth=2, aria=False).encode(
                    x=x, y=alt.Y("low:Q"), y2="high:Q", color=color
                ),
                base.mark_point(filled=True, size=55, opacity=1).encode(
                    x=x, y=y, color=color, description="label:N"
                ),
                words.encode(stroke=halo, color=halo, strokeWidth=alt.value(3)),
                words.encode(color=alt.value(INK)),
            ]  # fmt: skip
            panels.append(panel(layers, title, size, BARS, SIMILARITIES.get(measure, measure)))
    return figure(panels, columns)


def over_layers(
    pairs: "pd.DataFrame",
    labels: Labels,
    *,
    measures: Sequence[str] = ("cosine", "centered"),
    only: Collection[Pair] = DRAWN,
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return the similarity of the main pairs in every layer, one panel for each measure.

    Layer 0 is the embedding. The state after the final norm stands apart as a hollow point. The
    dashed line is ICL ~ IT with mismatched queries, the dotted one its noise floor.
    """
    import altair as alt

    panels: list[Any] = []
    rows = of_pairs(pairs[pairs["role"] == "main"], labels)
    columns, size = _measure_by_measure(rows, measures, width)
    present = [pair for pair in DRAWN if pair in set(rows["pair"]) and pair in only]
    color, shape = pair_color(present, width), pair_shape(present)
    for measure in measures:
        for _, title, group in groups(rows):
            own = group[(group["measure"] == measure) & group["pair"].isin(present)]
            if (own := own.dropna(subset=["value"])).empty:
                continue
            depth = int(own.loc[~own["is_final"].astype(bool), "layer"].max())
            dots = [_dot(row, final=_after(depth)) for row in own.to_dict("records")]
            inside = [dot for dot in dots if not dot["is_final"]]
            claimed = [dot for dot in inside if dot["is_claimed"]]
            ends = domain(
                [d[c] for d in dots for c in ("value", "low", "high", "baseline")]
                + [d["floor"] for d in claimed]
            )
            x = _layer_axis(depth, size, final=len(inside) < len(dots))
            y = alt.Y("value:Q", title=None).scale(domain=ends, nice=False).axis(tickCount=5)
            base, held = _chart_with(inside), _chart_with(claimed or inside[:0])
            layers: list[Any] = [
                held.mark_line(color=MUTED, strokeDash=[5, 4], aria=False).encode(
                    x=x, y=alt.Y("baseline:Q")
                ),
                held.mark_line(color=MUTED, strokeDash=[1, 3], aria=False).encode(
                    x=x, y=alt.Y("floor:Q")
                ),
                base.mark_area(opacity=0.16, aria=False).encode(
                    x=x, y=alt.Y("low:Q", title=None), y2="high:Q", color=color
                ),
                base.mark_line(strokeWidth=1.75, aria=False).encode(x=x, y=y, color=color),
                base.mark_point(filled=True, size=34, opacity=1).encode(
                    x=x, y=y, color=color, shape=shape, description="label:N"
                ),
            ]
            if after := [dot for dot in dots if dot["is_final"]]:
                layers.append(
                    _chart_with(after)
                    .mark_point(filled=False, fill=PAPER, size=38, strokeWidth=1.75, opacity=1)
                    .encode(x=x, y=y, color=color, shape=shape, description="label:N")
                )
            panels.append(panel(layers, title, size, 220, SIMILARITIES.get(measure, measure)))
    return figure(panels, columns)


def heat(
    pairs: "pd.DataFrame", labels: Labels, *, measure: str = "centered", width: int = WIDE
) -> "alt.ConcatChart":
    """Return how far every pair lies above its mismatched baseline in every layer."""
    import altair as alt

    panels: list[Any] = []
    rows = of_pairs(pairs[(pairs["measure"] == measure)], labels).dropna(subset=["above"])
    narrow = width <= NARROW
    named = 140 if narrow else 210
    for _, title, group in groups(rows):
        depth = int(group.loc[~group["is_final"].astype(bool), "layer"].max())
        size = width - named
        legible = size / (depth + 2) >= 30
        tiles: list[dict[str, Any]] = []
        for row in group.to_dict("records"):
            place = "norm" if row["is_final"] else f"{row['layer']:.0f}"
            pair = f"{labels[row['left']].short} ~ {labels[row['right']].short}"
            tiles.append(
                {
                    "pair": pair,
                    "layer": place,
                    "strength": min(abs(row["above"]), 1.0),
                    "sign": "above" if row["above"] >= 0 else "below",
                    "said": estimate(row["above"], digits=2),
                    "label": f"{pair} ({row['role']}), layer {place}: {estimate(row['above'])} "
                    f"above mismatched queries ({SIMILARITIES.get(measure, measure)})",
                }
            )
        order = [*map(str, range(depth + 1)), "norm"]
        kept = {tile["layer"] for tile in tiles}
        x = alt.X("layer:N", sort=[o for o in order if o in kept], title="layer").axis(
            labelAngle=0, ticks=False, domain=False, labelOverlap=True, orient="top"
        )
        y = alt.Y("pair:N", sort=list(dict.fromkeys(t["pair"] for t in tiles)), title=None).axis(
            ticks=False, domain=False, labelLimit=named, labelColor=INK,
            labelFontSize=9 if narrow else 11,
        )  # fmt: skip
        base = chart_of(tiles)
        layers: list[Any] = [
            base.mark_rect(stroke=PAPER, strokeWidth=1.5).encode(
                x=x, y=y, description="label:N",
                color=alt.Color("sign:N", legend=None).scale(
                    domain=["above", "below"], range=[SHADE, OPPOSITE]
                ),
                opacity=alt.Opacity("strength:Q", legend=None).scale(
                    domain=[0, 1], range=[0.03, 0.62]
                ),
            )
        ]  # fmt: skip
        if legible:
            layers.append(
                base.mark_text(fontSize=9 if narrow else 10, color=INK, aria=False).encode(
                    x=x, y=y, text="said:N"
                )
            )
        panels.append(
            panel(
                layers,
                title,
                size,
                alt.Step(18),
                f"{SIMILARITIES.get(measure, measure)}, above mismatched",
            )
        )
    return figure(panels, 1)


def lens(rows: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> "alt.ConcatChart":
    """Return, layer by layer, how far apart the answers are that the model's own head reads."""
    import altair as alt

    panels: list[Any] = []
    rows = of_pairs(rows, labels).dropna(subset=["kl"])
    columns, size = spread(1, rows.groupby(["task", "model"]).ngroups, width)
    present = [pair for pair in DRAWN if pair in set(rows["pair"])]
    color, shape = pair_color(present, width), pair_shape(present)
    for _, title, group in groups(rows):
        own = group[group["pair"].isin(present)]
        if own.empty:
            continue
        dots = [
            {
                "x": row["layer"],
                "pair": style_of_pair(row["pair"]).label,
                "value": row["kl"],
                "low": finite(row["low"]),
                "high": finite(row["high"]),
                "label": f"{row['left']} ~ {row['right']}, layer {row['layer']:.0f}: "
                f"{estimate(row['kl'], row['low'], row['high'])} nats",
            }
            for row in own.to_dict("records")
        ]
        ends = domain(d[c] for d in dots for c in ("value", "low", "high"))
        x = _layer_axis(int(own["layer"].max()), size, final=False)
        y = alt.Y("value:Q", title=None).scale(domain=ends, nice=False).axis(tickCount=5)
        base = chart_of(dots)
        layers: list[Any] = [
            base.mark_area(opacity=0.16, aria=False).encode(
                x=x, y=alt.Y("low:Q", title=None), y2="high:Q", color=color
            ),
            base.mark_line(strokeWidth=1.75, aria=False).encode(x=x, y=y, color=color),
            base.mark_point(filled=True, size=34, opacity=1).encode(
                x=x, y=y, color=color, shape=shape, description="label:N"
            ),
        ]
        panels.append(panel(layers, title, size, 200, "KL divergence, nats"))
    return figure(panels, columns)


def agreement(
    rows: "pd.DataFrame", labels: Labels, *, measure: str = "within", width: int = WIDE
) -> "alt.ConcatChart":
    """Return how alike pairs are inside against how often they answer alike.

    The main pairs have their colors; controls and noise floors are hollow.
    """
    import altair as alt

    panels: list[Any] = []
    rows = of_pairs(rows, labels).dropna(subset=["agreement"])
    name = SIMILARITIES.get(measure, measure)
    columns, size = spread(1, rows.groupby(["task", "model"]).ngroups, width)
    present = [p for p in PAIRS if p in set(rows.loc[rows["role"] == "main", "pair"])]
    color, shape = pair_color(present, width), pair_shape(present)
    for _, title, group in groups(rows):
        own = group.dropna(subset=[measure])
        if not own.empty:
            dots = [
                {
                    "x": row[measure],
                    "y": 100 * row["agreement"],
                    "pair": style_of_pair(row["pair"]).label,
                    "main": row["role"] == "main",
                    "label": f"{row['left']} ~ {row['right']} ({row['role']}): {name} "
                    f"{estimate(row[measure])}, same answer to "
                    f"{percent(row['agreement'])} of queries",
                }
                for row in own.to_dict("records")
            ]
            x = alt.X("x:Q", title=f"{name}, last layer").scale(
                domain=domain(d["x"] for d in dots), nice=False
            ).axis(tickCount=5)  # fmt: skip
            y = alt.Y("y:Q", title="same answer, %").scale(domain=[-3, 104], nice=False).axis(
                values=[0, 25, 50, 75, 100]
            )  # fmt: skip
            base = chart_of(dots)
            layers: list[Any] = [
                base.transform_filter("!datum.main")
                .mark_point(size=42, color=MUTED, fill=None, strokeWidth=1.25, opacity=0.9)
                .encode(x=x, y=y, description="label:N"),
                base.transform_filter("datum.main")
                .mark_point(filled=True, size=75, opacity=1)
                .encode(x=x, y=y, color=color, shape=shape, description="label:N"),
            ]
            panels.append(panel(layers, title, size, 220))
    return figure(panels, columns)


def _measure_by_measure(
    rows: "pd.DataFrame", measures: Sequence[str], width: int
) -> tuple[int, int]:
    """Return columns and size, see `spread`, of panels that show one measure after another.

    Several tasks and models stand beside each other, and of one the measures do.
    """
    num_groups = rows.groupby(["task", "model"]).ngroups
    return spread(1, num_groups, width) if num_groups > 1 else spread(len(measures), 1, width)


def _after(depth: int) -> float:
    """Return where the state after the final norm stands, clear of the last layer."""
    return depth + max(1.0, 0.07 * depth)


def _dot(row: dict[Any, Any], final: float = 0) -> dict[str, Any]:
    """Return what is drawn of one row, and what it says when pointed at."""
    measure = SIMILARITIES.get(row["measure"], row["measure"])
    said = estimate(row["value"], row["low"], row["high"])
    return {
        "is_claimed": row["pair"] == CLAIMED,
        "pair": style_of_pair(row["pair"]).label,
        "is_final": bool(row["is_final"]),
        "x": final if row["is_final"] else row["layer"],
        **{c: finite(row[c]) for c in ("value", "low", "high", "baseline", "floor")},
        "said": estimate(row["value"], digits=2),
        "label": f"{row['left']} ~ {row['right']}, "
        f"{'after the final norm' if row['is_final'] else 'layer {:.0f}'.format(row['layer'])}, "
        f"{measure}: {said}; mismatched queries {estimate(row['baseline'])}, noise floor "
        f"{estimate(row['floor'])}; {row['queries']:.0f} queries × {row['draws']:.0f} draws",
    }


def _layer_axis(depth: int, size: int, *, final: bool) -> "alt.X":
    """Return the axis of layers; the place after the final norm follows the last."""
    import altair as alt

    every = max(1, round((depth + 1) * 26 / size))
    values = [*range(0, depth + 1, every), *([_after(depth)] if final else [])]
    end = _after(depth) if final else depth
    return (
        alt.X("x:Q", title="layer")
        .scale(domain=[-0.03 * end, end * 1.03], nice=False)
        .axis(values=values, grid=False, labelExpr=f"datum.value > {depth} ? 'norm' : datum.label",
              labelOverlap=True, format="d")
    )  # fmt: skip


def _chart_with(dots: list[dict[str, Any]]) -> "alt.Chart":
    """Return a chart of rows whose undefined numbers are left out, also where all are."""
    import altair as alt
    import pandas as pd

    return alt.Chart(pd.DataFrame(dots, columns=None if dots else ["x", "baseline", "floor"]))
