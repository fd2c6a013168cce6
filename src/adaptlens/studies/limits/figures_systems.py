"""The figures of the five systems: abilities, paired differences, prompt variations, scorings."""

import math
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import counted, equals, estimate, percent
from adaptlens.report.charts import (
    INK,
    NARROW,
    PAPER,
    WIDE,
    chart_of,
    depth,
    figure,
    finite,
    panel,
    sign_color,
    tile,
)
from adaptlens.report.forest import forest, sides
from adaptlens.studies.limits.panel import SYSTEMS, abilities
from adaptlens.studies.limits.system_styles import NAMES, style_of_system

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

ALL = "all"
PRIMARY = ("regular ~ gold", "samplegen ~ gold", "pipeline ~ gold", "pipeline ~ samplegen")
"""The pairs that are drawn; the others stand in the table."""

_STATES = sides("better", "worse")
_EXCEEDING = sides("tuned better", "in context better")


def by_cluster(scores: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the mean ability of every system in every cluster: over models, then over tasks.

    Each task by the first of choice, exact and semantic that it has.
    """
    table = abilities(scores)
    table = table[table["variation"] == ""]
    order = {"choice": 0, "exact": 1, "semantic": 2}
    first = table.assign(rank=table["scoring"].map(order))
    first = first[first["rank"] == first.groupby("task")["rank"].transform("min")]
    by_task = first.groupby(["system", "cluster", "task"])["ability"].mean()
    means = by_task.groupby(["system", "cluster"]).agg(["mean", "size"])
    return means.reset_index().to_dict("records")


def systems(scores: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return the mean ability of each system in each cluster as dots."""
    dots: list[dict[str, Any]] = [
        {
            "panel": "Ability", "row": str(row["cluster"]), "kind": NAMES[row["system"]],
            "value": finite(row["mean"]), "place": SYSTEMS.index(row["system"]),
            "label": f"{row['cluster']}, {NAMES[row['system']]}: {estimate(row['mean'])}, "
            f"{counted(row['size'], 'task')}",
        }
        for row in by_cluster(scores)
    ]  # fmt: skip
    dots = sorted((d for d in dots if d["value"] is not None), key=lambda d: d["place"])
    present = [name for name in SYSTEMS if any(dot["kind"] == NAMES[name] for dot in dots)]
    styles = {NAMES[name]: style_of_system(name) for name in present}
    return forest(dots, width=width, room=118, styles=styles, step=26)


def differences(systems: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return paired differences between systems per cluster, a panel for each pair.

    Colored where the corrected p-value is below 0.05. Hollow: tasks that are not in the mixture.
    """
    rows = systems[systems["tasks"] == ALL].dropna(subset=["value"])
    unseen = systems[systems["tasks"] == "unseen"]
    others = {(r["left"], r["right"], r["cluster"]): r["value"]
              for r in unseen.to_dict("records")}  # fmt: skip
    pairs = [f"{a} ~ {b}" for a, b in zip(rows["left"], rows["right"], strict=True)]
    chosen = [name for name in PRIMARY if name in pairs] or list(dict.fromkeys(pairs))
    dots = [
        {
            "panel": f"{NAMES[row['left']]} − {NAMES[row['right']]}",
            "row": "all tasks" if row["cluster"] == ALL else str(row["cluster"]),
            **{name: finite(row[name]) for name in ("value", "low", "high")},
            "other": finite(others.get((row["left"], row["right"], row["cluster"]), math.nan)),
            "kind": _side(row, row["state"] == "left", row["state"] == "right", [*_STATES]),
            "label": f"{NAMES[row['left']]} less {NAMES[row['right']]}, {row['cluster']}: "
            f"{estimate(row['value'], row['low'], row['high'], sign=True)}, p(Holm) "
            f"{equals(row['p_holm'])}; {counted(row['bases'], 'base')}, "
            f"{counted(row['num_tasks'], 'task')}",
        }
        for name in chosen
        for row, pair in zip(rows.to_dict("records"), pairs, strict=True)
        if pair == name
    ]
    return forest(dots, width=width, columns=1 if width <= NARROW else 2, room=118,
                  title="difference of abilities", styles=_STATES, ends=_ends(dots))  # fmt: skip


def _side(row: dict[Any, Any], above: bool, below: bool, names: list[str]) -> str:
    """Return the style of a decided difference, else that of none."""
    return names[0] if above else names[1] if below else names[2]


def _ends(dots: list[dict[str, Any]]) -> list[float] | None:
    """Return ends that show all values, and intervals as far as they stay within 0.6 of 0."""
    numbers = [0.0]
    for dot in dots:
        numbers += [dot["value"], *(n for n in (dot.get("other"),) if n is not None)]
        numbers += [max(-0.6, min(0.6, dot[name])) for name in ("low", "high")
                    if dot[name] is not None]  # fmt: skip
    room = 0.04 * (max(numbers) - min(numbers) or 1.0)
    return [min(numbers) - room, max(numbers) + room] if dots else None


def exceeding(exceeding: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return tuned zero-shot less in context for each task, the largest first.

    Colored where it is more than noise: p(Holm) below 0.05.
    """
    rows = exceeding[(exceeding["level"] == "task")].dropna(subset=["value"])
    named = {"all": "All mixtures", "seen": "Mixtures with the task",
             "unseen": "Mixtures without it"}  # fmt: skip
    dots = [
        {
            "panel": named[tasks],
            "row": str(row["task"]),
            **{name: finite(row[name]) for name in ("value", "low", "high")},
            "kind": _side(row, row["state"] == "tuned", row["state"] == "in context",
                          [*_EXCEEDING]),
            "label": f"{row['task']} ({row['cluster']}), {named[tasks].lower()}: "
            f"{estimate(row['value'], row['low'], row['high'], sign=True)}, p(Holm) "
            f"{equals(row['p_holm'])}; {counted(row['bases'], 'base')}, "
            f"{counted(row['models'], 'model')}",
        }
        for tasks in named
        for row in rows[rows["tasks"] == tasks]
        .sort_values("value", ascending=False, kind="stable")
        .to_dict("records")
    ]  # fmt: skip
    return forest(dots, width=width, columns=1 if width <= NARROW else 3, room=118,
                  title="difference of abilities", styles=_EXCEEDING, step=16,
                  ends=_ends(dots))  # fmt: skip


def exceeding_by_base(exceeding: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return tuned zero-shot less in context for each base and task as tiles.

    Blue: tuned is better; orange with a minus: in context. Outlined: more than noise.
    """
    import altair as alt

    rows = exceeding[(exceeding["level"] == "base and task") & (exceeding["tasks"] == ALL)]
    rows = rows.dropna(subset=["value"]).sort_values(["cluster", "task", "model"])
    if rows.empty:
        return figure([], 1)
    most = float(rows["value"].abs().max()) or 1.0
    tiles = [
        {
            "base": str(row["model"]), "task": str(row["task"]), **tile(row["value"], most),
            "said": estimate(100 * row["value"], digits=0),
            "clear": bool(row["state"]),
            "label": f"{row['model']}, {row['task']}: "
            f"{estimate(row['value'], row['low'], row['high'], sign=True)}, p(Holm) "
            f"{equals(row['p_holm'])}",
        }
        for row in rows.to_dict("records")
    ]  # fmt: skip
    narrow = width <= NARROW
    bases = rows["model"].nunique()
    size = min(width - 130, 54 * bases)
    x = alt.X("base:N", title=None, sort=sorted(set(rows["model"]))).axis(
        orient="top", ticks=False, domain=False, labelColor=INK, labelLimit=110,
        labelAngle=0 if size / bases > 62 else -55,
    )  # fmt: skip
    y = alt.Y("task:N", title=None, sort=list(dict.fromkeys(rows["task"]))).axis(
        ticks=False, domain=False, labelColor=INK, labelLimit=118
    )
    base = chart_of(tiles)
    layers = [
        base.mark_rect(stroke=PAPER, strokeWidth=1.5).encode(
            x=x, y=y, color=sign_color(), opacity=depth(), description="label:N"
        ),
        base.transform_filter("datum.clear")
        .mark_rect(fill=None, stroke=INK, strokeWidth=1.25, aria=False)
        .encode(x=x, y=y),
    ]
    if size / bases > 17:
        layers.append(
            base.mark_text(fontSize=9 if narrow else 10, color=INK, aria=False).encode(
                x=x, y=y, text="said:N"
            )
        )
    return figure([panel(layers, "", size, alt.Step(19))], 1)


def variations(variations: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return what each variation of the prompt changes, a panel for each system and scoring."""
    rows = variations[variations["cluster"] == ALL].dropna(subset=["value"])
    dots = [
        {
            "panel": f"{NAMES.get(row['system'], row['system'])}, by {row['scoring']}",
            "row": str(row["variation"]),
            **{name: finite(row[name]) for name in ("value", "low", "high")},
            "kind": _side(row, row["state"] == "better", row["state"] == "worse", [*_STATES]),
            "label": f"{row['system']}, {row['variation']}, by {row['scoring']}: "
            f"{estimate(row['value'], row['low'], row['high'], sign=True)}, p(Holm) "
            f"{equals(row['p_holm'])}; {counted(row['bases'], 'base')}, "
            f"{counted(row['num_tasks'], 'task')}",
        }
        for row in rows.sort_values(["system", "scoring"], kind="stable").to_dict("records")
    ]
    return forest(dots, width=width, columns=1 if width <= NARROW else 3,
                  room=118 if width <= NARROW else 104, title="difference of abilities",
                  styles=_STATES, ends=_ends(dots))  # fmt: skip


def scorings(table: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return right answers by scoring beside the guess floor, a panel for each scoring.

    The tick is what answering with other items' outputs gives, or chance.
    """
    dots = [
        {
            "panel": f"Scored by {row['scoring']}, {counted(row['num_tasks'], 'task')}",
            "row": NAMES.get(row["system"], str(row["system"])),
            "kind": NAMES.get(row["system"], str(row["system"])),
            "value": finite(100 * row["value"]), "ceiling": finite(100 * row["floor"]),
            "label": f"{NAMES.get(row['system'], row['system'])} by {row['scoring']}: "
            f"{percent(row['value'])} right, floor {percent(row['floor'])}, chance "
            f"{percent(row['chance'])}, no answer found {percent(row['unparsed'])}",
        }
        for row in table[table["cluster"] == ALL].to_dict("records")
    ]  # fmt: skip
    present = [name for name in SYSTEMS if any(dot["kind"] == NAMES[name] for dot in dots)]
    styles = {NAMES[name]: style_of_system(name) for name in present}
    return forest(dots, width=width, columns=1 if width <= NARROW else 3, room=90,
                  title="right answers, %", styles=styles, ends=[0.0, 101.0])  # fmt: skip


def by_scoring(scores: "pd.DataFrame") -> "pd.DataFrame":
    """Return right answers by system, scoring and cluster, beside guess floor and chance.

    Columns: system, scoring, cluster ("all" or one), value, floor, chance (fractions), ability,
    unparsed, num_tasks. Means over models, then over tasks; prompts as they are.
    """
    import pandas as pd

    numbers = ["value", "floor", "chance", "ability", "unparsed"]
    table = abilities(scores)
    chance = scores.groupby(["task", "scoring"])["chance"].mean().reset_index()
    table = table[table["variation"] == ""].merge(chance, on=["task", "scoring"])
    by_task = table.groupby(["system", "scoring", "cluster", "task"])[numbers].mean()
    by_task = by_task.reset_index()
    found = []
    for name, rows in ((ALL, by_task.assign(cluster=ALL)), ("", by_task)):
        grouped = rows.groupby(["system", "scoring", "cluster"])
        means = grouped[numbers].mean().join(grouped["task"].nunique().rename("num_tasks"))
        own = means.reset_index()
        found.append(own.assign(place=0 if name else 1))
    whole = pd.concat(found, ignore_index=True)
    whole["rank"] = whole["system"].map(SYSTEMS.index)
    order = ["place", "scoring", "cluster", "rank"]
    return whole.sort_values(order, kind="stable").drop(columns=["place", "rank"])
