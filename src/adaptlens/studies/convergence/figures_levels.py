"""The figures of the factors: similarity by number, by share, by dose, by bin and by name."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate
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
    groups,
    pair_color,
    pair_shape,
    panel,
    spread,
)
from adaptlens.report.labels import Labels, pairs_of
from adaptlens.report.theme import CLAIMED, PAIRS, SIMILARITIES, style_of_pair

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

SCALES: dict[str, tuple[str, dict[str, Any]]] = {
    "demonstrations": ("demonstrations", {"type": "log", "base": 2}),
    "wrong labels": ("wrong labels, %", {"type": "linear"}),
    "dose": ("tuning steps", {"type": "symlog", "constant": 1}),
    "resemblance": ("likeness of query and demonstrations", {"type": "linear"}),
}
"""By factor, the title of the axis and its scale."""


def of_factor(factors: "pd.DataFrame", factor: str, labels: Labels) -> "pd.DataFrame":
    """Return the rows of a factor and of its kinds: "dose" also finds "dose: x2".

    The column `pair` has the pair that each row's sides are, `kind` what kind of the factor it is.
    """
    names = factors["factor"].astype(str)
    rows = factors[(names == factor) | names.str.startswith(f"{factor}: ")]
    kinds = [str(name).partition(": ")[2] for name in rows["factor"]]
    return rows.assign(pair=pairs_of(rows, labels), kind=kinds).dropna(subset=["value"])


def curve(
    factors: "pd.DataFrame",
    factor: str,
    labels: Labels,
    *,
    measures: Sequence[str] = ("cosine", "centered"),
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return similarity against the number behind a factor, a panel for each kind and measure.

    The dashed line is ICL ~ IT with mismatched queries, the dotted one its noise floor.
    """
    import altair as alt

    panels: list[Any] = []
    rows = of_factor(factors, factor, labels)
    rows = rows[rows["measure"].isin(measures) & rows["x"].notna()]
    heading, scale = SCALES[factor]
    times = 100 if factor == "wrong labels" else 1
    each = rows.groupby(["task", "model"])[["kind", "measure"]].apply(
        lambda own: len(own.drop_duplicates())
    )
    columns, size = spread(int(each.max()) if len(each) else 1, len(each), width)
    present = [pair for pair in PAIRS if pair in set(rows["pair"])]
    color, shape = pair_color(present, width), pair_shape(present)
    for _, title, group in groups(rows):
        for (kind, measure), own in group.groupby(["kind", "measure"], sort=False):
            dots = [
                {
                    "x": times * row["x"],
                    "pair": style_of_pair(row["pair"]).label,
                    "is_claimed": row["pair"] == CLAIMED,
                    **_numbers(row),
                    "label": f"{_about(row)}, {factor} {kind or ''} {row['level']}".strip()
                    + f": {_said(row)}",
                }
                for row in own.to_dict("records")
                if row["pair"] in present
            ]
            columns_drawn = ("value", "low", "high", "baseline", "floor")
            ends = domain(d[c] for d in dots for c in columns_drawn)
            if factor == "resemblance":
                shared = group.loc[group["measure"] == measure, ["value", "low", "high"]]
                ends = domain(shared.to_numpy().ravel(), zero=False)
            values = sorted({dot["x"] for dot in dots})
            axis: dict[str, Any] = {"grid": False, "labelOverlap": True, "format": ".4~g"}
            if factor == "resemblance":
                axis |= {"tickCount": 5}
                reach = domain(values, zero=False)
            else:
                axis |= {"values": values}
                reach = _reach(values, scale["type"])
            x = alt.X("x:Q", title=heading).scale(domain=reach, nice=False, **scale).axis(**axis)
            y = alt.Y("value:Q", title=None).scale(domain=ends, nice=False, clamp=True)
            y = y.axis(tickCount=5)
            base = chart_of(dots)
            held = base.transform_filter("datum.is_claimed")
            layers: list[Any] = []
            if factor != "resemblance":
                layers = [
                    held.mark_line(color=MUTED, strokeDash=[5, 4], aria=False).encode(
                        x=x, y=alt.Y("baseline:Q")
                    ),
                    held.mark_line(color=MUTED, strokeDash=[1, 3], aria=False).encode(
                        x=x, y=alt.Y("floor:Q")
                    ),
                ]
            layers += [
                base.mark_line(strokeWidth=1.75, aria=False).encode(x=x, y=y, color=color),
                base.mark_rule(strokeWidth=1.5, aria=False).encode(
                    x=x, y=alt.Y("low:Q"), y2="high:Q", color=color
                ),
                base.mark_point(filled=True, size=50, opacity=1).encode(
                    x=x, y=y, color=color, shape=shape, description="label:N"
                ),
            ]
            panels.append(panel(layers, title, size, 200, _subtitle(measure, kind)))
    return figure(panels, columns)


def named(
    factors: "pd.DataFrame",
    factor: str,
    labels: Labels,
    *,
    measures: Sequence[str] = ("cosine", "centered"),
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return similarity by named level: a group of bars for each, a bar for each pair.

    The broad tick is what a pair scores with mismatched queries, the thin one its noise floor.
    """
    import altair as alt

    panels: list[Any] = []
    rows = of_factor(factors, factor, labels)
    rows = rows[rows["measure"].isin(measures)]
    rows = rows[rows.groupby(["task", "model"])["level"].transform("nunique") > 1]
    present = [pair for pair in PAIRS if pair in set(rows["pair"])]
    present += sorted(set(rows["pair"]) - set(present))
    num_groups = rows.groupby(["task", "model"]).ngroups
    columns, _ = spread(max(1, rows["measure"].nunique()), num_groups, width)
    longest = max([len(str(level)) for level in rows["level"]], default=0)
    room = min(150, 12 + 6 * longest)
    size = int((width - 8 - columns * room - (columns - 1) * 16) / columns)
    color = pair_color(present, width)
    for _, title, group in groups(rows):
        for measure in (m for m in measures if m in set(group["measure"])):
            own = group[group["measure"] == measure]
            here = [pair for pair in present if pair in set(own["pair"])]
            bars = [
                {
                    "level": str(row["level"]).replace("_", " "),
                    "pair": style_of_pair(row["pair"]).label,
                    **_numbers(row),
                    "label": f"{_about(row)}, {row['level']}: {_said(row)}",
                }
                for row in own.to_dict("records")
            ]
            ends = domain(
                row[c]
                for row in own.to_dict("records")
                for c in ("value", "low", "high", "baseline", "floor")
            )
            y = alt.Y(
                "level:N", sort=list(dict.fromkeys(str(bar["level"]) for bar in bars)), title=None
            )
            y = y.scale(paddingInner=0.28, paddingOuter=0.12).axis(
                labelColor=INK, labelLimit=room, ticks=False, domain=False, grid=False
            )
            shift = alt.YOffset("pair:N", sort=[style_of_pair(pair).label for pair in here])
            x = alt.X("value:Q", title=None).scale(domain=ends, nice=False).axis(tickCount=5)
            base = chart_of(bars).encode(y=y, yOffset=shift)
            layers: list[Any] = [
                base.mark_bar(opacity=0.3, height=10, aria=False).encode(x=x, color=color),
                base.mark_tick(
                    color=MUTED, opacity=0.55, size=13, thickness=2.5, aria=False,
                    orient="vertical",
                ).encode(x=alt.X("baseline:Q")),
                base.mark_tick(
                    color=INK, size=13, thickness=1.5, aria=False, orient="vertical"
                ).encode(x=alt.X("floor:Q")),
                base.mark_rule(strokeWidth=2, aria=False).encode(
                    x=alt.X("low:Q"), x2="high:Q", color=color
                ),
                base.mark_point(filled=True, size=40, opacity=1).encode(
                    x=x, color=color, description="label:N"
                ),
            ]  # fmt: skip
            levels = len({bar["level"] for bar in bars})
            height = levels * (15 * len(here) + 12)
            panels.append(panel(layers, title, size, height, _subtitle(measure)))
    return figure(panels, columns, room + 16)


def regression(rows: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return how similarity changes with each likeness, alone and with all in the regression.

    Filled: alone; hollow: with the others held fixed.
    """
    import altair as alt

    panels: list[Any] = []
    rows = rows.dropna(subset=["alone"])
    num_groups = rows.groupby(["task", "model"]).ngroups
    columns = 1 if width <= NARROW else min(num_groups, 2)
    room = 150
    size = int((width - 12 - columns * room - (columns - 1) * 16) / columns)
    for _, title, group in groups(rows):
        dots = [
            {
                "predictor": row["predictor"],
                "way": way,
                "value": finite(row[way]),
                "low": finite(row[f"{way}_low"]),
                "high": finite(row[f"{way}_high"]),
                "label": f"{row['predictor']}, {words}: "
                f"{estimate(row[way], row[f'{way}_low'], row[f'{way}_high'], sign=True)} per "
                "standard deviation",
            }
            for row in group.to_dict("records")
            for way, words in (("alone", "alone"), ("together", "with all in the regression"))
        ]
        ends = domain(d[c] for d in dots for c in ("value", "low", "high"))
        y = alt.Y("predictor:N", sort=None, title=None).axis(
            labelColor=INK, ticks=False, domain=False, grid=False, labelLimit=room
        )
        shift = alt.YOffset("way:N", sort=["alone", "together"]).scale(paddingOuter=0.6)
        x = alt.X("value:Q", title="change of similarity per standard deviation")
        x = x.scale(domain=ends, nice=False).axis(tickCount=6 if width > NARROW else 4)
        color = PAIRS[CLAIMED].light
        base = chart_of(dots).encode(y=y, yOffset=shift)
        layers: list[Any] = [
            chart_of([{"zero": 0}]).mark_rule(color=MUTED, aria=False).encode(x="zero:Q"),
            base.mark_rule(strokeWidth=1.75, color=color, aria=False).encode(
                x=alt.X("low:Q"), x2="high:Q"
            ),
            base.transform_filter(alt.datum.way == "alone")
            .mark_point(filled=True, size=50, color=color, opacity=1)
            .encode(x=x, description="label:N"),
            base.transform_filter(alt.datum.way == "together")
            .mark_point(size=50, color=color, fill=PAPER, opacity=1, strokeWidth=1.75)
            .encode(x=x, description="label:N"),
        ]
        panels.append(panel(layers, title, size, alt.Step(15)))
    return figure(panels, columns, room + 16)


def _numbers(row: dict[Any, Any]) -> dict[str, float | None]:
    return {c: finite(row[c]) for c in ("value", "low", "high", "baseline", "floor")}


def _about(row: dict[Any, Any]) -> str:
    measure = SIMILARITIES.get(row["measure"], row["measure"])
    return f"{row['left']} ~ {row['right']}, {measure}"


def _said(row: dict[Any, Any]) -> str:
    return (
        f"{estimate(row['value'], row['low'], row['high'])}; mismatched queries "
        f"{estimate(row['baseline'])}, noise floor {estimate(row['floor'])}; "
        f"{row['queries']:.0f} queries × {row['draws']:.0f} draws"
    )


def _subtitle(measure: Any, kind: Any = "") -> str:
    return " · ".join(filter(None, [kind, SIMILARITIES.get(measure, str(measure))]))


def _reach(values: list[float], kind: str) -> list[float]:
    """Return the ends of an axis with a little room on its own scale."""
    if kind == "log":
        ratio = (values[-1] / values[0]) ** 0.05 if values[-1] > values[0] else 2.0
        return [values[0] / ratio, values[-1] * ratio]
    if kind == "symlog":
        room = 0.05 * math.log1p(values[-1])
        return [math.expm1(math.log1p(values[0]) - room), math.expm1(math.log1p(values[-1]) + room)]
    return domain(values, zero=False)
