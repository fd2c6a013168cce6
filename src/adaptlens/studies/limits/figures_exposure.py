"""The figures of pretraining exposure: abilities at each level, and differences between levels."""

from typing import TYPE_CHECKING, Any

from adaptlens.formatting import counted, estimate, parameters
from adaptlens.report.charts import INK, NARROW, WIDE, domain, figure, finite
from adaptlens.report.facets import facets, layer
from adaptlens.report.forest import forest
from adaptlens.report.theme import ADAPTATIONS, Style

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

LEVELS = ("none", "little", "much")
_WAYS = {"ICL": "icl", "IT": "it", "zero-shot": "zero_shot"}
STYLES = {
    name: Style(name, "", own.light, own.dark, own.shape, own.dash)
    for name, own in ((name, ADAPTATIONS[way]) for name, way in _WAYS.items())
}
"""ICL, IT and reading without examples look as these do everywhere."""

TASKS = {
    "exposed": "Exposed tasks", "unexposed": "Other tasks",
    "exposed - unexposed": "Exposed less other tasks",
}  # fmt: skip


def exposures(exposure: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return ability at each level of exposure, of exposed and of other tasks.

    ICL, IT and reading without examples are lines.
    """
    import altair as alt

    dots = _levels(exposure[exposure["mixture"] == "all"])
    if not dots:
        return figure([], 1)
    ends = domain([dot["y"] for dot in dots])
    present = [name for name in STYLES if any(dot["kind"] == name for dot in dots)]
    narrow = width <= NARROW
    size = (width - 50) if narrow else int(width / 2 - 50)
    size = size if narrow else min(size, 330)
    levels = [level for level in LEVELS if any(dot["x"] == level for dot in dots)]
    x = alt.X("x:N", sort=levels, title="exposure in pretraining").axis(
        labelAngle=0, labelColor=INK, titleColor=INK, grid=False
    )
    y = alt.Y("y:Q", title="ability").scale(domain=ends, nice=False).axis(tickCount=5)
    color = alt.Color("kind:N", title=None).scale(
        domain=present, range=[STYLES[name].light for name in present]
    )
    shape = alt.Shape("kind:N", title=None).scale(
        domain=present, range=[STYLES[name].shape for name in present]
    )
    layers = [
        layer().mark_line(strokeWidth=1.75, aria=False).encode(
            x=x, y=y, color=color, order=alt.Order("place:Q")
        ),
        layer().mark_point(filled=True, size=70, opacity=1).encode(
            x=x, y=y, color=color, shape=shape, description="label:N"
        ),
    ]  # fmt: skip
    return facets(layers, dots, 1 if narrow else 2, (size, 190), (78, 64))


def _levels(rows: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the ability of each quantity at each level, from the differences it is part of."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows.to_dict("records"):
        if row["tasks"] not in ("exposed", "unexposed"):
            continue
        about = f"{_group(row, rows)}{TASKS[row['tasks']]}"
        for side in ("less", "more"):
            value = finite(row[f"ability_{side}"])
            key = (about, row["quantity"], row[side])
            if value is None or key in found:
                continue
            found[key] = {
                "panel": about, "kind": row["quantity"], "x": row[side], "y": value,
                "place": LEVELS.index(row[side]) if row[side] in LEVELS else len(LEVELS),
                "label": f"{about}, {row['quantity']}, exposure {row[side]}: {estimate(value)}, "
                f"{counted(row['num_tasks'], 'task')}",
            }  # fmt: skip
    return sorted(found.values(), key=lambda dot: (dot["panel"], dot["kind"], dot["place"]))


def _group(row: dict[Any, Any], rows: "pd.DataFrame") -> str:
    """Return which models a row is about, where there are several groups of them."""
    if len(rows[["family", "size"]].drop_duplicates()) < 2:
        return ""
    return f"{row['family']} {parameters(row['size'])}: "


def effects(exposure: "pd.DataFrame", *, width: int = WIDE) -> "alt.ConcatChart":
    """Return differences between exposures with intervals: on exposed tasks, on others, and these.

    Thin: tasks drawn as well; thick: these tasks, queries and repeats of tuning drawn.
    """
    rows = exposure[exposure["mixture"] == "all"].dropna(subset=["value"])
    dots = []
    for tasks, about in TASKS.items():
        for row in rows[rows["tasks"] == tasks].to_dict("records"):
            step = f"{row['more']} − {row['less']}"
            dots.append({
                "panel": f"{_group(row, rows)}{about}",
                "row": f"{row['quantity']}, {step}",
                "kind": row["quantity"],
                **{name: finite(row[name]) for name in ("value", "low", "high")},
                "inner_low": finite(row["low_here"]), "inner_high": finite(row["high_here"]),
                "place": ([*TASKS].index(tasks), [*STYLES].index(row["quantity"])),
                "label": f"{about}, {row['quantity']}, {step}: "
                f"{estimate(row['value'], row['low'], row['high'], sign=True)}; these tasks: "
                f"[{estimate(row['low_here'])}, {estimate(row['high_here'])}]; "
                f"{counted(row['num_tasks'], 'task')}, {row['repeats']} repeats",
            })  # fmt: skip
    dots.sort(key=lambda dot: dot["place"])
    for dot in dots:
        del dot["place"]
    present = {name: one for name, one in STYLES.items() if any(d["kind"] == name for d in dots)}
    shown = [dot[name] for dot in dots for name in ("value", "inner_low", "inner_high")]
    outer = [dot[name] for dot in dots for name in ("low", "high") if dot[name] is not None]
    ends = domain([*shown, *(max(-1.0, min(1.0, one)) for one in outer), 0.0], zero=False) \
        if dots else None  # fmt: skip
    return forest(dots, width=width, columns=1 if width <= NARROW else 3,
                  room=150 if width <= NARROW else 136, title="difference of abilities",
                  styles=present, ends=ends)  # fmt: skip
