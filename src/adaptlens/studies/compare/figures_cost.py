"""The figure of what every arm has cost after a number of queries."""

import math
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptlens.report.charts import (
    INK,
    NARROW,
    PAPER,
    WIDE,
    chart_of,
    figure,
    groups,
    key_of,
    panel,
)
from adaptlens.report.labels import Labels, Shown
from adaptlens.report.theme import in_order, style_of
from adaptlens.studies.compare.figures import layout

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

COSTS = {
    "FLOP": ("training_flops", {"uncached": "query_flops", "cached": "query_flops_cached"}),
    "seconds": ("training_seconds_amortized", {"uncached": "query_seconds"}),
    "money": ("training_price", {"uncached": "query_price", "cached": "query_price_cached"}),
}
"""For each unit, the column of the training cost and those of a query's cost by serving."""

RINGED = {"FLOP": {"plain PEFT"}, "seconds": {"adaptlens"}, "money": {"plain PEFT", "adaptlens"}}
"""For each unit, the trainers whose break-even, of one run, is on the drawn lines."""

HEIGHT = 170
CHOSEN_DASH = (12, 3, 2, 3)
"""The line of an arm at its chosen template; without one it has the adaptation's."""

RING = "ring: from here on the tuned model costs no more than the prompt"


def cost_by_queries(
    cost: "pd.DataFrame",
    labels: Labels,
    break_even: "pd.DataFrame | None" = None,
    *,
    unit: str = "FLOP",
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return what each adaptation has cost in all, training included, after a number of queries.

    Of each adaptation the condition of the verdict is drawn, else the one with most examples,
    unless its cost is not known (training costs 0 where nothing is trained). `unit` is "FLOP",
    "seconds" or "money"; without and with prompt caching are two panels on one scale. A ring
    marks the break-even of two drawn conditions; both axes are logarithmic.
    """
    import altair as alt

    panels: list[Any] = []
    training, known = COSTS[unit]
    servings = {serving: column for serving, column in known.items() if column in cost.columns}
    columns, size = layout(cost, width, times=len(servings))
    for _, title, group in groups(cost):
        drawn: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
        for serving, per_query in servings.items():
            rows = group.dropna(subset=[training, per_query])
            rows = _drawn(rows[rows[per_query] > 0], labels, break_even)
            rings = _break_evens(break_even, rows, unit, serving)
            drawn[serving] = _spent(rows, labels, training, per_query, rings), rings
        costs = [math.log10(line["cost"]) for lines, _ in drawn.values() for line in lines]
        for serving, (lines, rings) in drawn.items():
            if not lines:
                continue
            decades = round(math.log10(lines[-1]["queries"]))
            span = range(math.floor(min(costs)), math.ceil(max(costs)) + 1)
            x = (
                alt.X("queries:Q", title="queries")
                .scale(type="log", domain=[1, 10**decades])
                .axis(values=_decades(range(decades + 1)), format="~s", labelOverlap=True)
            )
            y = (
                alt.Y("cost:Q", title=f"{unit} in all")
                .scale(type="log", domain=[10.0 ** span[0], 10.0 ** span[-1]])
                .axis(values=_decades(span), format={"FLOP": "~s", "money": "~e"}.get(unit, "~g"))
            )
            color, dash = _lines(lines, labels, width)
            dots = chart_of(rings).encode(x=x, y=y)
            layers = [
                chart_of(lines)
                .mark_line(strokeWidth=2, aria=False)
                .encode(x=x, y=y, color=color, strokeDash=dash),
                dots.mark_point(size=90, color=INK, fill=PAPER, opacity=1, strokeWidth=1.75).encode(
                    description="label:N"
                ),
                dots.mark_text(
                    align="right", dx=-8, dy=-9, color=INK, fontSize=11, aria=False
                ).encode(text="said:N"),
            ]
            kind = {"uncached": ", prompt not cached", "cached": ", prompt cached"}[serving]
            name = f"{title} · {unit}{kind if len(servings) > 1 else ''}"
            panels.append(panel(layers, name, size, HEIGHT))
    return figure(panels, columns, row_gap=84)


def _drawn(
    rows: "pd.DataFrame", labels: Labels, break_even: "pd.DataFrame | None"
) -> "pd.DataFrame":
    """Return the costs that are drawn of one task and model: one arm of each adaptation.

    A tuned model has two rows that cost the same, where a template was chosen for it, too; the
    second is drawn where a break-even names it, and then alone.
    """
    if rows.empty:
        return rows
    task, model = rows[["task", "model"]].iloc[0]
    ringed: set[str] = set()
    if break_even is not None and not break_even.empty:
        own = break_even[(break_even["task"] == task) & (break_even["model"] == model)]
        ringed = {*own["prompt_condition"], *own["tuned_condition"]}
    kept: dict[str, Shown] = {}
    for one in (labels[label] for label in dict.fromkeys(rows["condition"])):
        before = kept.setdefault(one.look, one)
        if (one.label in ringed, one.examples) > (before.label in ringed, before.examples):
            kept[one.look] = one
    names = {one.label for one in kept.values()}
    for one in kept.values():
        if one.is_chosen and one.condition in names:
            names.discard(one.condition if one.label in ringed else one.label)
    return rows[rows["condition"].isin(names)]


def _break_evens(
    break_even: "pd.DataFrame | None", rows: "pd.DataFrame", unit: str, serving: str
) -> list[dict[str, Any]]:
    """Return the finite break-evens between conditions of `rows`, which are of one task."""
    if break_even is None or rows.empty:
        return []
    names, wanted = set(rows["condition"]), (*rows[["task", "model"]].iloc[0], unit, serving)
    rings: list[dict[str, Any]] = []
    for row in break_even.to_dict("records"):
        pair = {row["prompt_condition"], row["tuned_condition"]}
        here = (row["task"], row["model"], row["unit"], row["serving"]) == wanted
        here &= row["trainer"] in RINGED[unit] and row["counted"] == "one run"
        if here and pair <= names and 1 <= row["queries"] < math.inf:
            said = f"{math.ceil(row['queries']):,}"
            label = (
                f"{row['tuned_condition']} costs no more than {row['prompt_condition']} on "
                f"{row['task']} from {said} queries on ({unit}, prompt {serving})"
            )
            once = "" if any(ring["said"] == said for ring in rings) else said
            rings.append(
                {"queries": row["queries"], "tuned": row["tuned_condition"], "said": once}
                | {"label": label}
            )
    return rings


def _spent(
    rows: "pd.DataFrame", labels: Labels, training: str, per_query: str, rings: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the points of every condition's line, the anchor's last; sets each ring's height.

    The lines end a decade after the last ring, and not before 100,000 queries.
    """
    decades = max([5, *(math.ceil(math.log10(ring["queries"])) + 1 for ring in rings)])
    lines: list[dict[str, Any]] = []
    for row in sorted(rows.to_dict("records"), key=lambda row: _is_anchor(row, labels)):
        arm, name = row["condition"], labels[row["condition"]].look
        for queries in (10 ** (i / 6) for i in range(6 * decades + 1)):
            spent = row[training] + row[per_query] * queries
            lines.append({"queries": queries, "cost": spent, "name": name, "arm": arm})
        for ring in rings:
            if ring["tuned"] == row["condition"]:
                ring["cost"] = row[training] + row[per_query] * ring["queries"]
    return lines


def _is_anchor(row: Mapping[Any, Any], labels: Labels) -> bool:
    return labels[row["condition"]].look == "zero_shot"


def _decades(exponents: range) -> list[float]:
    """Return powers of ten, the highest first, thinned to at most seven."""
    return [10.0**i for i in exponents[:: -max(1, math.ceil(len(exponents) / 7))]]


def _lines(
    lines: list[dict[str, Any]], labels: Labels, width: int
) -> "tuple[alt.Color, alt.StrokeDash]":
    """Return the colors and dashes of arms, with a legend that fits the width."""
    import altair as alt

    looks = {line["arm"]: line["name"] for line in lines}
    order = in_order(looks.values())
    arms = sorted(looks, key=lambda arm: order.index(looks[arm]))
    dashes = [CHOSEN_DASH if labels[arm].is_chosen else style_of(looks[arm]).dash for arm in arms]
    is_wide = width > NARROW
    legend = alt.Legend(
        columns=0 if is_wide else 3,
        symbolSize=260,
        symbolStrokeWidth=2,
        **key_of(RING if is_wide else textwrap.wrap(RING, 50)),
    )
    color = alt.Color("arm:N", legend=legend)
    dash = alt.StrokeDash("arm:N", legend=legend)
    return (
        color.scale(domain=arms, range=[style_of(looks[arm]).light for arm in arms]),
        dash.scale(domain=arms, range=[[*one] for one in dashes]),
    )
