"""The figures of correlations, and of what tuned performance varies with."""

import math
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import counted, ends, equals, estimate, percent
from adaptlens.report.charts import NARROW, WIDE, figure, finite
from adaptlens.report.forest import forest

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

COEFFICIENT = "spearman"
"""The coefficient that is drawn; the others stand in the tables."""


def correlations(relations: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return Spearman's correlation before and after controls, a panel for each choice of rows.

    Tick: the ceiling that noise leaves. Filled: related.
    """
    rows = relations[relations["coefficient"] == COEFFICIENT].dropna(subset=["value"])
    dots = [
        {
            "panel": _choice(row),
            "row": str(row["given"]),
            **{name: finite(row[name]) for name in ("value", "low", "high", "ceiling")},
            "hollow": not row["related"],
            "label": f"{_choice(row)}, given {row['given']}: "
            f"{estimate(row['value'], row['low'], row['high'])}, ceiling "
            f"{estimate(row['ceiling'])}, p(Holm) {equals(row['p_holm'])}; "
            f"{counted(row['bases'], 'base')}, {counted(row['models'], 'tuned model')}, "
            f"{counted(row['num_tasks'], 'task')}",
        }
        for row in rows.to_dict("records")
    ]
    return forest(dots, width=width, columns=1 if width <= NARROW else 2, room=150,
                  title="Spearman's correlation", ends=_ends(dots))  # fmt: skip


def _choice(row: dict[Any, Any]) -> str:
    """Return which rows a correlation is over."""
    if row["family"]:
        return f"Within {row['family']}"
    if row["scoring"] != "first":
        return f"Scored by {row['scoring']} alone"
    names = {"all": "All tasks", "seen": "Tasks tuned on", "unseen": "Tasks not tuned on"}
    return names.get(row["tasks"], str(row["tasks"]))


def _ends(dots: list[dict[str, Any]]) -> list[float] | None:
    """Return the ends of an axis of correlations: 0 to 1, or -1 where anything is below 0."""
    least = min((dot[name] for dot in dots for name in ("value", "low")
                 if dot[name] is not None), default=0.0)  # fmt: skip
    return [-1.02 if least < -0.4 else -0.42 if least < 0 else 0.0, 1.02]


def one_by_one(
    per_task: "pd.DataFrame | None", per_model: "pd.DataFrame | None", *, width: int = WIDE
) -> "alt.ConcatChart":
    """Return the correlations of each task over models, and of each base over tasks.

    Filled, with its interval: with what is left controlled for; hollow and gray: nothing.
    """
    dots = [
        *_alone(per_task, "task", "size, family", "Each task, over tuned models"),
        *_alone(per_model, "model", "difficulty", "Each base, over tasks"),
    ]
    room = 150 if width <= NARROW else 130
    return forest(dots, width=width, columns=1 if width <= NARROW else 2, room=room,
                  title="Spearman's correlation", ends=_ends(dots), step=16)  # fmt: skip


def _alone(
    table: "pd.DataFrame | None", column: str, given: str, about: str
) -> list[dict[str, Any]]:
    if table is None or table.empty:
        return []
    rows = table[table["coefficient"] == COEFFICIENT].dropna(subset=["value"])
    bare = rows[rows["given"] == "nothing"].set_index(column)["value"].to_dict()
    rows = rows[rows["given"] == given].sort_values("value", ascending=False, kind="stable")
    return [
        {
            "panel": f"{about}, given {given}",
            "row": str(row[column]),
            **{name: finite(row[name]) for name in ("value", "low", "high")},
            "other": bare.get(row[column]),
            "label": f"{row[column]}, given {given}: "
            f"{estimate(row['value'], row['low'], row['high'])}; given nothing "
            f"{estimate(bare.get(row[column], math.nan))}",
        }
        for row in rows.to_dict("records")
    ]


def shares(attribution: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return what share of the variance of tuned performance each predictor explains."""
    rows = attribution[attribution["varies"].astype(bool)].dropna(subset=["share"])
    if rows.empty:
        return figure([], 1)
    named = {"nothing": "Of all variance", "difficulty": "Of the variance within tasks"}
    several = rows["system"].nunique() > 1
    dots = [
        {
            "panel": named.get(row["given"], str(row["given"]))
            + (f", {row['system']}" if several else ""),
            "row": str(row["predictor"]),
            "value": 100 * row["share"],
            "low": finite(100 * row["low"]),
            "high": finite(100 * row["high"]),
            "label": f"{row['predictor']}, given {row['given']}: {percent(row['share'])} "
            f"{ends(100 * row['low'], 100 * row['high'])}",
        }
        for row in rows.to_dict("records")
    ]
    return forest(dots, width=width, columns=1 if width <= NARROW else 2, room=118,
                  title="share of variance, %", ends=[0.0, 101.0], step=22,
                  bars=True)  # fmt: skip
