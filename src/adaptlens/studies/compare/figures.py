"""The figures of a comparison. Scores are drawn in points, 0-100."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import equals, estimate, fixed, percent
from adaptlens.report.charts import (
    INK,
    LINE,
    MUTED,
    NARROW,
    PAPER,
    WIDE,
    chart_of,
    figure,
    finite,
    groups,
    panel,
)
from adaptlens.report.labels import Labels, Shown
from adaptlens.report.theme import (
    ADAPTATIONS,
    CHOSEN,
    METRICS,
    in_order,
    main_metric,
    points,
    style_of,
)

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

COSTS = {
    "FLOP": ("training_flops", {"uncached": "query_flops", "cached": "query_flops_cached"}),
    "seconds": ("training_seconds_amortized", {"uncached": "query_seconds"}),
}
"""For each unit, the column of the training cost and those of a query's cost by serving."""

RINGED = {"FLOP": ("plain PEFT", "one run"), "seconds": ("adaptlens", "one run")}
"""For each unit, the trainer and the way of counting whose break-even is on the drawn lines."""


def accuracy_by_examples(
    accuracy: "pd.DataFrame",
    baselines: "pd.DataFrame | None" = None,
    *,
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return the main score of every adaptation against its number of examples, with intervals.

    One panel for each task and model. The zero-shot score runs through as a dotted line, the
    baselines as dashed ones; a tuned model at its chosen template is dashed, too. The axis is
    logarithmic in 1 + examples; points that share a number of examples are set slightly apart.
    """
    import altair as alt

    panels: list[Any] = []
    columns, size = _layout(accuracy, width)
    for task, title, group in groups(accuracy):
        metric = main_metric(group["metric"])
        rows = group[group["metric"] == metric].dropna(subset=["value"])
        if rows.empty:
            continue
        reach = math.log1p(max(rows["examples"].max(), 1))
        present = in_order(rows["adaptation"])
        moving = [name for name in present if name != "zero_shot"]
        dots: list[dict[str, Any]] = []
        for row in rows.to_dict("records"):
            name = row["adaptation"]
            apart = moving.index(name) - (len(moving) - 1) / 2 if name in moving else 0.0
            value, low, high = (points(metric, row[c]) for c in ("value", "low", "high"))
            dots.append(
                {
                    "x": math.expm1(math.log1p(row["examples"]) + apart * reach * 0.018),
                    "value": value,
                    "low": finite(low),
                    "high": finite(high),
                    "adaptation": style_of(name).label,
                    "label": f"{row['condition']} on {task}: "
                    f"{estimate(value, low, high, digits=1)}, {row['queries']} queries × "
                    f"{row['draws']} draws",
                }
            )
        floors = _floors(baselines, task, metric)
        seen = [d[c] for d in dots for c in ("low", "high", "value") if d[c] is not None]
        seen += [floor["value"] for floor in floors]
        bottom = max(0, 10 * math.floor((min(seen) - 3) / 10))
        top = max(min(100, 10 * math.ceil((max(seen) + 2) / 10)), bottom + 10)
        x = (
            alt.X("x:Q", title="examples")
            .scale(
                type="symlog",
                constant=1,
                nice=False,
                domain=[math.expm1(-0.06 * reach), math.expm1(1.06 * reach)],
            )
            .axis(values=sorted(set(rows["examples"].tolist())), grid=False, labelOverlap=True)
        )
        y = alt.Y("value:Q", title=None).scale(domain=[bottom, top], nice=False).axis(tickCount=6)
        color, base = _color(present, width), chart_of(dots)
        line = chart_of(floors)
        layers: list[Any] = [
            line.mark_rule(strokeDash=[5, 4], color=MUTED).encode(y=y, description="label:N"),
            base.transform_filter(alt.datum.adaptation == ADAPTATIONS["zero_shot"].label)
            .mark_rule(strokeDash=[1, 3], aria=False)
            .encode(y=y, color=color),
            base.mark_line(strokeWidth=1.75, aria=False).encode(
                x=x, y=y, color=color, strokeDash=_dashed(present)
            ),
            base.mark_rule(strokeWidth=1.5, aria=False).encode(
                x=x, y=alt.Y("low:Q", title=None), y2="high:Q", color=color
            ),
            base.mark_point(filled=True, size=55, opacity=1).encode(
                x=x, y=y, color=color, shape=_shape(present), description="label:N"
            ),
        ]
        for floor in floors:
            words = (
                chart_of([floor])
                .mark_text(align="right", dx=-3, dy=floor["dy"], fontSize=10, aria=False)
                .encode(x=alt.value(size), y=y, text="name:N")
            )
            halo = alt.value(PAPER)
            layers.append(words.encode(stroke=halo, color=halo, strokeWidth=alt.value(3)))
            layers.append(words.encode(color=alt.value(MUTED)))
        panels.append(panel(layers, f"{title} · {METRICS.get(metric, metric)}", size, 230))
    return figure(panels, columns)


def paired_differences(
    differences: "pd.DataFrame", labels: Labels, *, width: int = WIDE
) -> "alt.ConcatChart":
    """Return the paired difference of every two conditions, left minus right, as a forest plot.

    A difference that is clear after Holm's correction (p < 0.05, and enough draws where the table
    says so in `supports_claims`) is filled and has the color of the better side; the others are
    hollow and gray. The pale band is the smallest difference this
    many queries and draws could have detected.
    """
    import altair as alt

    panels: list[Any] = []
    spoken = 190 if width > NARROW else 0
    size = width - 120 - spoken
    for task, title, group in groups(differences):
        metric = main_metric(group["metric"])
        rows = group[group["metric"] == metric].dropna(subset=["difference"])
        if rows.empty:
            continue
        bars: list[dict[str, Any]] = []
        for row in rows.to_dict("records"):
            clear = bool(row["p_holm"] < 0.05 and row.get("supports_claims", True))
            better = row["left"] if row["difference"] > 0 else row["right"]
            difference, low, high, detectable = (
                points(metric, row[c]) for c in ("difference", "low", "high", "detectable")
            )
            said = estimate(difference, low, high, sign=True, digits=1)
            bars.append(
                {
                    "pair": f"{row['left']} − {row['right']}",
                    "difference": difference,
                    "low": finite(low),
                    "high": finite(high),
                    "blind_low": finite(-detectable),
                    "blind_high": finite(detectable),
                    "side": labels[better].style.label if clear else "not clear",
                    "clear": clear,
                    "said": said,
                    "p": f"p {equals(row['p_holm'])}",
                    "label": f"{row['left']} minus {row['right']} on {task}: {said} points, "
                    f"p(Holm) {equals(row['p_holm'])}",
                }
            )
        present = in_order(labels[arm].look for arm in (*rows["left"], *rows["right"]))
        color = alt.Color("side:N", legend=None).scale(
            domain=[*(style_of(name).label for name in present), "not clear"],
            range=[*(style_of(name).light for name in present), MUTED],
        )
        bounds = [
            bar[c]
            for bar in bars
            for c in ("low", "high", "difference", "blind_low", "blind_high")
            if bar[c] is not None
        ]
        ends = [min(0, *bounds), max(0, *bounds)]
        room = 0.04 * max(ends[1] - ends[0], 1)
        base = chart_of(bars)
        x = (
            alt.X("difference:Q", title="left minus right, points")
            .scale(domain=[ends[0] - room, ends[1] + room], nice=False)
            .axis(tickCount=8 if spoken else 5)
        )
        y = alt.Y("pair:N", sort=None, title=None).axis(grid=False, domain=False, ticks=False)
        layers: list[Any] = [
            base.mark_bar(color=LINE, opacity=0.55, height=14, aria=False).encode(
                x=alt.X("blind_low:Q").title("left minus right, points"), x2="blind_high:Q", y=y
            ),
            chart_of([{"zero": 0}]).mark_rule(color=MUTED, aria=False).encode(x="zero:Q"),
            base.mark_rule(strokeWidth=2, aria=False).encode(
                x=alt.X("low:Q"), x2="high:Q", y=y, color=color
            ),
            base.transform_filter("!datum.clear")
            .mark_point(size=55, fill=PAPER, opacity=1)
            .encode(x=x, y=y, color=color, description="label:N"),
            base.transform_filter("datum.clear")
            .mark_point(size=60, filled=True, opacity=1)
            .encode(x=x, y=y, color=color, description="label:N"),
        ]
        if spoken:
            words = base.mark_text(align="left", color=INK, fontSize=11, aria=False)
            layers += [
                words.encode(x=alt.value(size + 12), y=y, text="said:N"),
                words.encode(x=alt.value(size + 128), y=y, text="p:N"),
            ]
        panels.append(panel(layers, f"{title} · {METRICS.get(metric, metric)}", size, alt.Step(24)))
    return figure(panels, 1)


def reliability(bins: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> "alt.ConcatChart":
    """Return how often answers given with some confidence are right: on the diagonal, calibrated.

    Of each adaptation the condition with most examples is drawn; the area of a point grows with
    the number of answers in its bin.
    """
    import altair as alt

    panels: list[Any] = []
    columns, size = _layout(bins, width)
    side = min(size, 270)
    for task, title, group in groups(bins):
        rows = largest(group[group["count"] > 0], labels)
        if rows.empty:
            continue
        present = in_order(labels[one].look for one in rows["condition"])
        dots = [
            {
                "confidence": 100 * row["bin_confidence"],
                "accuracy": 100 * row["bin_accuracy"],
                "count": int(row["count"]),
                "adaptation": labels[row["condition"]].style.label,
                "label": f"{row['condition']} on {task}: of {row['count']} answers given with "
                f"confidence near {percent(row['bin_confidence'], 0)}, "
                f"{percent(row['bin_accuracy'])} are right",
            }
            for row in rows.to_dict("records")
        ]
        diagonal = chart_of([{"at": 0}, {"at": 100}])
        base, color = chart_of(dots), _color(present, width)
        scale = alt.Scale(domain=[0, 100], nice=False)
        x = alt.X("confidence:Q", title="confidence, %", scale=scale).axis(tickCount=5)
        y = alt.Y("accuracy:Q", title="right, %", scale=scale).axis(tickCount=5)
        layers = [
            diagonal.mark_line(color=MUTED, strokeDash=[5, 4], aria=False).encode(
                x=alt.X("at:Q", scale=scale), y=alt.Y("at:Q", scale=scale)
            ),
            base.mark_line(strokeWidth=1.5, aria=False).encode(
                x=x, y=y, color=color, order="confidence:Q"
            ),
            base.mark_point(filled=True, opacity=1).encode(
                x=x,
                y=y,
                color=color,
                shape=_shape(present),
                size=alt.Size("count:Q", legend=None).scale(range=[15, 90]),
                description="label:N",
            ),
        ]
        panels.append(panel(layers, title, side, side))
    return figure(panels, columns)


def cost_by_queries(
    cost: "pd.DataFrame",
    labels: Labels,
    break_even: "pd.DataFrame | None" = None,
    *,
    unit: str = "FLOP",
    width: int = WIDE,
) -> "alt.ConcatChart":
    """Return what each adaptation has cost in all, training included, after a number of queries.

    Of each adaptation the condition with most examples is drawn, unless its cost is not known
    (training costs 0 where nothing is trained). `unit` is "FLOP" or "seconds"; without and
    with prompt caching are two panels on one scale. A ring marks the break-even of two drawn
    conditions; both axes are logarithmic.
    """
    import altair as alt

    panels: list[Any] = []
    training, known = COSTS[unit]
    servings = {serving: column for serving, column in known.items() if column in cost.columns}
    columns, size = _layout(cost, width, times=len(servings))
    for _, title, group in groups(_once(cost, labels, break_even)):
        drawn: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
        for serving, per_query in servings.items():
            rows = largest(group.dropna(subset=[training, per_query]), labels)
            rows = rows[rows[per_query] > 0]
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
                alt.Y("cost:Q", title=None)
                .scale(type="log", domain=[10.0 ** span[0], 10.0 ** span[-1]])
                .axis(values=_decades(span), format="~s" if unit == "FLOP" else "~g")
            )
            present = in_order(line["name"] for line in lines)
            dash = alt.StrokeDash("adaptation:N", title=None).scale(
                domain=[style_of(name).label for name in present],
                range=[list(style_of(name).dash) for name in present],
            )
            dots = chart_of(rings).encode(x=x, y=y)
            layers = [
                chart_of(lines)
                .mark_line(strokeWidth=2, aria=False)
                .encode(x=x, y=y, color=_color(present, width), strokeDash=dash),
                dots.mark_point(size=90, color=INK, fill=PAPER, opacity=1, strokeWidth=1.75).encode(
                    description="label:N"
                ),
                dots.mark_text(
                    align="right", dx=-8, dy=-9, color=INK, fontSize=11, aria=False
                ).encode(text="said:N"),
            ]
            kind = {"uncached": ", prompt not cached", "cached": ", prompt cached"}[serving]
            name = f"{title} · {unit}{kind if len(servings) > 1 else ''}"
            panels.append(panel(layers, name, size, 230))
    return figure(panels, columns)


def largest(rows: "pd.DataFrame", labels: Labels) -> "pd.DataFrame":
    """Return the rows of the condition with most examples, of each adaptation."""
    most: dict[str, Shown] = {}
    for one in (labels[label] for label in dict.fromkeys(rows["condition"])):
        if one.examples > most.setdefault(one.look, one).examples:
            most[one.look] = one
    return rows[rows["condition"].isin([one.label for one in most.values()])]


def _once(
    cost: "pd.DataFrame", labels: Labels, break_even: "pd.DataFrame | None"
) -> "pd.DataFrame":
    """Return the costs without a tuned model's second row, that of its chosen template.

    Both cost the same; the second stays, and the first goes, where a break-even names it.
    """
    ringed = set() if break_even is None or break_even.empty else {*break_even["tuned_condition"]}
    present = set(cost["condition"])
    chosen = (one for label in present if (one := labels[label]).is_chosen)
    double = {
        one.condition if one.label in ringed else one.label
        for one in chosen
        if one.condition in present
    }
    return cost[~cost["condition"].isin(double)]


def _layout(table: "pd.DataFrame", width: int, times: int = 1) -> tuple[int, int]:
    """Return the number of columns and the width of one panel's plot, axis left out."""
    num_panels = table.groupby(["task", "model"]).ngroups * times
    columns = 1 if width <= NARROW else max(2, min(num_panels, 2 if times > 1 else 3))
    return columns, int(width / columns - (48 if columns > 1 else 44))


def _floors(baselines: "pd.DataFrame | None", task: str, metric: str) -> list[dict[str, Any]]:
    """Return the baselines of one task, lowest first, the highest labeled above its line."""
    if baselines is None:
        return []
    rows = baselines[(baselines["task"] == task) & (baselines["metric"] == metric)]
    ordered = rows.dropna(subset=["value"]).sort_values("value").to_dict("records")
    return [
        {
            "value": points(metric, row["value"]),
            "name": row["name"],
            "label": f"{row['name']} on {task}: {fixed(points(metric, row['value']))}",
            "dy": -7 if i == len(ordered) - 1 else 8,
        }
        for i, row in enumerate(ordered)
    ]


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
        here &= (row["trainer"], row["counted"]) == RINGED[unit]
        if here and pair <= names and 1 <= row["queries"] < math.inf:
            said = f"{row['queries']:,.0f}"
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
        name = labels[row["condition"]].look
        for queries in (10 ** (i / 6) for i in range(6 * decades + 1)):
            spent = row[training] + row[per_query] * queries
            lines.append({"queries": queries, "cost": spent, "name": name})
            lines[-1]["adaptation"] = style_of(name).label
        for ring in rings:
            if ring["tuned"] == row["condition"]:
                ring["cost"] = row[training] + row[per_query] * ring["queries"]
    return lines


def _is_anchor(row: Mapping[Any, Any], labels: Labels) -> bool:
    return labels[row["condition"]].look == "zero_shot"


def _decades(exponents: range) -> list[float]:
    """Return powers of ten, the highest first, thinned to at most seven."""
    return [10.0**i for i in exponents[:: -max(1, math.ceil(len(exponents) / 7))]]


def _color(present: list[str], width: int) -> "alt.Color":
    """Return the colors of adaptations, with a legend that fits the width."""
    import altair as alt

    names, colors = [style_of(n).label for n in present], [style_of(n).light for n in present]
    legend = alt.Legend(columns=3 if width <= NARROW else 0)
    return alt.Color("adaptation:N", title=None, legend=legend).scale(domain=names, range=colors)


def _dashed(present: list[str]) -> "alt.StrokeDash":
    """Return the dashes of lines: tuned models at a chosen template, which share their color."""
    import altair as alt

    names = [style_of(n).label for n in present]
    dashes = [[6, 3] if n in CHOSEN else [1, 0] for n in present]
    return alt.StrokeDash("adaptation:N", title=None).scale(domain=names, range=dashes)


def _shape(present: list[str]) -> "alt.Shape":
    import altair as alt

    names, shapes = [style_of(n).label for n in present], [style_of(n).shape for n in present]
    return alt.Shape("adaptation:N", title=None).scale(domain=names, range=shapes)
