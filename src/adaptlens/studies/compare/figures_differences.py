"""The figures of paired differences, and which of them stand first.

Pairs whose differences are of another size would squash those that the verdict is about: a tuned
arm against a prompted one, and either against the base model, never share a panel.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import equals, estimate
from adaptlens.report.charts import (
    BELOW,
    INK,
    LINE,
    MUTED,
    NARROW,
    PAPER,
    WIDE,
    above_rows,
    chart_of,
    figure,
    finite,
    groups,
    panel,
)
from adaptlens.report.labels import Labels
from adaptlens.report.theme import METRICS, in_order, main_metric, points, style_of

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

STEP, TALL_STEP = 24, 38
"""Height of a row; on a narrow screen the names and numbers stand above the marks."""

MARKS = (
    "filled: clear after Holm's correction, in the color of the better arm",
    "hollow: not clear",
    "pale band: too small to be detected here",
)
"""What fills and shapes mean."""

UNADAPTED = "against the base model"


def paired_differences(
    differences: "pd.DataFrame", labels: Labels, *, width: int = WIDE, step: int = STEP
) -> "alt.ConcatChart":
    """Return the paired difference of every two conditions, left minus right, as a forest plot.

    A difference that is clear after Holm's correction (p < 0.05, and enough draws where the table
    says so in `supports_claims`) is filled and has the color of the better side; the others are
    hollow and gray. The pale band is the smallest difference this many queries and draws could
    have detected. `pair` names a row's two sides where their labels do not.
    """
    import altair as alt

    panels: list[Any] = []
    is_wide = width > NARROW
    named, spoken = (120, 190) if is_wide else (0, 0)
    size = width - (named + spoken if is_wide else 16)
    for task, title, group in groups(differences):
        metric = main_metric(group["metric"])
        rows = group[group["metric"] == metric].dropna(subset=["difference"])
        if rows.empty:
            continue
        bars = [_bar(row, task, metric, labels) for row in rows.to_dict("records")]
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
            .axis(tickCount=8 if is_wide else 5)
        )
        y = alt.Y("pair:N", sort=None, title=None)
        y = (
            y.axis(grid=False, domain=False, ticks=False, labelLimit=180)
            if is_wide
            else y.axis(None)
        )
        down = {} if is_wide else BELOW
        layers: list[Any] = [
            base.mark_bar(color=LINE, opacity=0.55, height=14, aria=False, **down).encode(
                x=alt.X("blind_low:Q").title("left minus right, points"), x2="blind_high:Q", y=y
            ),
            chart_of([{"zero": 0}]).mark_rule(color=MUTED, aria=False).encode(x="zero:Q"),
            base.mark_rule(strokeWidth=2, aria=False, **down).encode(
                x=alt.X("low:Q"), x2="high:Q", y=y, color=color
            ),
            base.transform_filter("!datum.clear")
            .mark_point(size=55, fill=PAPER, opacity=1, **down)
            .encode(x=x, y=y, color=color, description="label:N"),
            base.transform_filter("datum.clear")
            .mark_point(size=60, filled=True, opacity=1, **down)
            .encode(x=x, y=y, color=color, description="label:N"),
        ]
        words = base.mark_text(align="left", color=INK, fontSize=11, aria=False)
        if is_wide:
            layers += [
                words.encode(x=alt.value(size + 12), y=y, text="said:N"),
                words.encode(x=alt.value(size + 128), y=y, text="p:N"),
            ]
        else:
            layers += above_rows(base, y, size, "pair", "said")
        key = () if panels else ("; ".join(MARKS),) if is_wide else _in_lines(MARKS)
        height = alt.Step(step if is_wide else TALL_STEP)
        name = f"{title} · {METRICS.get(metric, metric)}"
        panels.append(panel(layers, name, size, height, subtitle=key))
    return figure(panels, 1, row_gap=84)


def _in_lines(parts: Sequence[str], most: int = 50) -> tuple[str, ...]:
    """Return phrases in lines of at most so many characters."""
    return tuple(line for part in parts for line in textwrap.wrap(part, most))


def _bar(row: Mapping[Any, Any], task: str, metric: str, labels: Labels) -> dict[str, Any]:
    """Return what is drawn of a difference, in points."""
    clear = bool(row["p_holm"] < 0.05 and row.get("supports_claims", True))
    better = row["left"] if row["difference"] > 0 else row["right"]
    difference, low, high, detectable = (
        points(metric, row[c]) for c in ("difference", "low", "high", "detectable")
    )
    said = estimate(difference, low, high, sign=True, digits=1)
    pair = row.get("pair", f"{row['left']} − {row['right']}")
    return {
        "pair": pair,
        "difference": difference,
        "low": finite(low),
        "high": finite(high),
        "blind_low": finite(-detectable),
        "blind_high": finite(detectable),
        "side": labels[better].style.label if clear else "not clear",
        "clear": clear,
        "said": said,
        "p": f"p {equals(row['p_holm'])}",
        "label": f"{pair.replace(' − ', ' minus ')} on {task}: {said} points, "
        f"p(Holm) {equals(row['p_holm'])}",
    }


def by_kind(differences: "pd.DataFrame", labels: Labels) -> "pd.DataFrame":
    """Return differences in which those against the base model have a panel of their own."""
    unadapted = _against_base(differences, labels)
    if all(unadapted) or not any(unadapted):
        return differences
    names = [
        f"{task}, {UNADAPTED}" if base else task
        for task, base in zip(differences["task"], unadapted, strict=True)
    ]
    return differences.assign(task=names)


def shown_first(
    differences: "pd.DataFrame", labels: Labels, judged: Sequence[Mapping[str, Any]] = ()
) -> "pd.DataFrame":
    """Return the differences that answer "prompt or tune?", the verdict's own pair in front.

    Those are of a tuned and a prompted arm; of each two ways of adapting, the one with most
    examples. Where there is no such pair, all.

    Args:
        differences: of every two arms.
        labels: what the arms are.
        judged: the verdicts: task, model and, where two arms were judged, `tuned` and `prompt`.
    """
    rows = differences[[not base for base in _against_base(differences, labels)]]
    if rows.empty:
        return differences
    verdicts = {(v["task"], v["model"], v.get("tuned"), v.get("prompt")) for v in judged}
    most: dict[Any, tuple[tuple[int, int], Any]] = {}
    first = []
    for place, row in zip(rows.index, rows.to_dict("records"), strict=True):
        left, right = labels[row["left"]], labels[row["right"]]
        if (row["task"], row["model"], row["left"], row["right"]) in verdicts:
            first.append(place)
        kind = (row["task"], row["model"], left.look, left.variant, right.look, right.variant)
        examples = (left.examples, right.examples)
        if kind not in most or examples > most[kind][0]:
            most[kind] = (examples, place)
    others = sorted({place for _, place in most.values()} - {*first})
    return differences.loc[[*first, *others]]


def _against_base(differences: "pd.DataFrame", labels: Labels) -> list[bool]:
    """Return of each difference whether one of its sides is the base model as it is."""
    sides = zip(differences["left"], differences["right"], strict=True)
    return [any(labels[arm].adaptation == "zero_shot" for arm in both) for both in sides]
