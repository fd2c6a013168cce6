"""The tables of the page of the study of limits."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import parameters
from adaptlens.report.tables import (
    Entry,
    Table,
    at_cell,
    defined,
    estimated,
    number,
    p_entry,
    text,
    verdict,
    words,
)
from adaptlens.studies.limits.system_styles import NAMES, SYSTEMS, style_of_system

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[Any, Any]
Column = tuple[str, bool, Callable[[Row], Entry]]
"""A heading, whether numeric, and what stands under it."""


IN_BRIEF = (
    "which tasks", "given", "correlation", "p (Holm)", "ceiling", "bases", "tuned models", "tasks",
)  # fmt: skip
"""The columns of the table of correlations that a terminal has room for."""


def claims(rows: Sequence[Row]) -> Table | None:
    """Return one row per claim: verdict, weakest number with interval, p-values and the test."""
    columns: list[Column] = [
        ("verdict", False, lambda row: verdict(row["state"])),
        ("claim", False, lambda row: words(row["claim"])),
        ("weakest number", True, lambda row: effect(row, "effect", sign=True)),
        ("p (Holm)", True, lambda row: p_entry(row["p_holm"])),
        ("p", True, lambda row: p_entry(row["p"])),
        _number("items", "queries"),
        _number("tuned models", "draws"),
        _text("test"),
        ("numbers", False, lambda row: words(row["line"])),
    ]
    ordered = sorted(rows, key=lambda row: row["factor"])
    return _of_columns(ordered, "claims", "All claims", columns)


def bases(points: "pd.DataFrame", cells: "pd.DataFrame") -> Table | None:
    """Return the means of every base and of the models tuned from it."""
    if points.empty:
        return None
    found = points.groupby(["family", "size", "exposure", "model"], dropna=False).agg(
        tuned=("tuned", "mean"), icl=("icl", "mean"), difference=("difference", "mean"),
        num_tasks=("task", "nunique"),
    )  # fmt: skip
    key = ["model", "mixture", "seed"]
    counts = points.drop_duplicates(key).groupby("model").size()
    first: dict[str, tuple[str, ...]] = {}
    if {"model", "cell"} <= set(cells.columns):
        for row in cells.to_dict("records"):
            first.setdefault(str(row["model"]), (str(row["cell"]),))
    columns: list[Column] = [
        ("base", False, lambda row: at_cell(text(row["model"]), first.get(str(row["model"]), ()))),
        _text("family"),
        _size(),
        _text("exposure"),
        *_three(),
        ("tuned models", True, lambda row: number(counts[row["model"]], 1, ",.0f")),
        _number("tasks", "num_tasks"),
    ]
    rows = found.reset_index().to_dict("records")
    return _of_columns(rows, "bases", "Means of each base and the models tuned from it", columns)


def pairs(points: "pd.DataFrame") -> Table | None:
    """Return the means of every base and task over the models tuned from the base."""
    if points.empty:
        return None
    found = points.groupby(["cluster", "task", "family", "size", "model"]).agg(
        tuned=("tuned", "mean"), low=("tuned", "min"), high=("tuned", "max"), icl=("icl", "mean"),
        difference=("difference", "mean"), models=("tuned", "size"),
    )  # fmt: skip
    columns: list[Column] = [
        _text("task"),
        _text("cluster"),
        _text("base", "model"),
        _text("family"),
        _size(),
        *_three(),
        *(_value(name, column) for name, column in (("lowest tuned", "low"),
                                                    ("highest tuned", "high"))),
        _number("tuned models", "models"),
    ]  # fmt: skip
    rows = found.reset_index().to_dict("records")
    return _of_columns(rows, "pairs", "Each task and base: tuned and in context", columns)


def relations(table: "pd.DataFrame | None") -> Table | None:
    """Return every correlation with its interval, ceiling and what it rests on."""
    columns = [
        _text("which tasks", "tasks"),
        _text("family"),
        _text("scoring"),
        _text("given"),
        *_correlation(),
    ]
    return _all(table, "relations", "Correlations before and after controls", columns)


def per_task(table: "pd.DataFrame | None") -> Table | None:
    """Return the correlations of every task over tuned models."""
    columns = [
        _text("task"),
        _text("cluster"),
        _text("given"),
        *_correlation(),
        _value("tuned", "tuned"),
        _value("in context", "icl"),
    ]
    return _all(table, "per-task", "Correlation of each task, over tuned models", columns)


def per_model(table: "pd.DataFrame | None") -> Table | None:
    """Return the correlations of every base over tasks."""
    columns = [
        _text("base", "model"),
        _text("family"),
        _size(),
        _text("exposure"),
        _text("given"),
        *_correlation(),
    ]
    return _all(table, "per-model", "Correlation of each base, over tasks", columns)


def _correlation() -> list[Column]:
    return [
        _text("coefficient"),
        ("correlation", True, effect),
        _value("ceiling", "ceiling"),
        _value("over the ceiling", "disattenuated"),
        ("p", True, lambda row: p_entry(row["p"])),
        ("p (Holm)", True, lambda row: p_entry(row["p_holm"])),
        ("related", False, lambda row: _said("yes" if row["related"] else "no")),
        _number("bases", "bases"),
        _number("tuned models", "models"),
        _number("tasks", "num_tasks"),
        _number("exchanges", "exchanges"),
        ("why undecided", False, lambda row: words(row["note"])),
    ]


def attribution(table: "pd.DataFrame | None") -> Table | None:
    """Return shares of variance with intervals."""
    columns = [
        _text("system"),
        ("taken out first", False, lambda row: _said(
            {"difficulty": "difficulty of tasks"}.get(row["given"], row["given"]))),
        _text("predictor"),
        ("share, %", True, lambda row: effect(
            {c: 100 * row[c] for c in ("share", "low", "high")}, "share", digits=1)),
        ("of what is explained, %", True, lambda row: number(row["share_of_r2"], 100, ".1f")),
        ("varies", False, lambda row: _said("yes" if row["varies"] else "no")),
        _number("bases", "bases"),
        _number("tasks", "tasks"),
        _number("points", "points"),
    ]  # fmt: skip
    return _all(table, "attribution", "Shares of the variance of tuned performance", columns)


def mixed_effects(table: "pd.DataFrame | None") -> Table | None:
    """Return the terms of the mixed-effects model."""
    columns = [
        ("kind", False, lambda row: _said(
            {"random": "random, standard deviation"}.get(row["kind"], row["kind"]))),
        _text("term"),
        ("value", True, lambda row: effect(row, sign=row["kind"] == "fixed")),
        _value("error", "error"),
        ("p", True, lambda row: p_entry(row["p"])),
        ("degrees of freedom", True, lambda row: number(row["df"], 1, ",.0f")),
        _number("points", "points"),
        _number("bases", "bases"),
        _number("tasks", "tasks"),
    ]  # fmt: skip
    return _all(table, "mixed", "Mixed-effects model of tuned ability", columns)


def exposure(table: "pd.DataFrame | None") -> Table | None:
    """Return every difference between exposures."""
    columns = [
        _text("family"),
        _size(),
        _text("quantity"),
        _text("mixture"),
        _text("which tasks", "tasks"),
        _text("more"),
        _text("less"),
        _value("ability, more", "ability_more"),
        _value("ability, less", "ability_less"),
        ("difference", True, lambda row: effect(row, sign=True)),
        ("p", True, lambda row: p_entry(row["p"])),
        ("p (Holm)", True, lambda row: p_entry(row["p_holm"])),
        ("on these tasks", True, lambda row: effect(
            row, ends=("low_here", "high_here"), sign=True)),
        ("p on these tasks", True, lambda row: p_entry(row["p_here"])),
        _number("tasks", "num_tasks"),
        _number("repeats", "repeats"),
        ("note", False, lambda row: words(row["note"])),
    ]  # fmt: skip
    return _all(table, "exposure", "Differences between exposures", columns)


def mediation(table: "pd.DataFrame | None") -> Table | None:
    """Return how much of an effect of exposure is left given the other ability."""
    columns = [
        _text("family"),
        _size(),
        _text("effect on", "outcome"),
        _text("given", "mediator"),
        ("exposures", False, lambda row: _said(f"{row['more']} − {row['less']}")),
        ("total effect", True, lambda row: effect(
            row, "total", ("total_low", "total_high"), sign=True)),
        ("left over", True, lambda row: effect(
            row, "direct", ("direct_low", "direct_high"), sign=True)),
        ("through the other", True, lambda row: effect(row, "through", (), sign=True)),
        ("what is left", False, lambda row: _said(row["state"])),
        _value("slope", "slope"),
        _value("reliability", "reliability"),
        _number("tasks", "num_tasks"),
    ]  # fmt: skip
    caption = "Effects of exposure: in total, and with the other ability given"
    return _all(table, "mediation", caption, columns)


def clusters(rows: Sequence[Row]) -> Table | None:
    """Return the mean ability of each system in each cluster."""
    columns: list[Column] = [
        _text("cluster"),
        ("system", False, lambda row: _system(row["system"])),
        _value("ability", "mean"),
        _number("tasks", "size"),
    ]
    return _of_columns(rows, "clusters", "Mean ability of each system", columns)


def systems(table: "pd.DataFrame | None") -> Table | None:
    """Return paired differences between systems."""
    columns = [
        *((name, False, lambda row, side=side: _system(row[side]))
          for name, side in (("system", "left"), ("less", "right"))),
        _text("cluster"),
        _text("which tasks", "tasks"),
        *_difference(),
        ("better", False, lambda row: _system(row[row["state"]]) if row["state"] else Entry("–")),
        *_unparsed("no answer, %", "of the other, %"),
        *_units(),
    ]  # fmt: skip
    return _all(table, "systems", "Paired differences between systems", columns)


def exceeding(table: "pd.DataFrame | None", level: str, name: str) -> Table | None:
    """Return where tuned zero-shot differs from in context by more than noise.

    Args:
        table: as `studies.limits.contrasts.exceeding` gives it.
        level: "task", or "base and task".
        name: of the table.
    """
    if table is None or table.empty:
        return None
    own = table[table["level"] == level]
    if level != "task":
        own = own[own["tasks"] == "all"]
    columns = [
        *([_text("base", "model")] if level != "task" else []),
        _text("task"),
        _text("cluster"),
        *([_text("mixtures", "tasks")] if level == "task" else []),
        *_difference(("tuned", "in context")),
        ("better", False, lambda row: _said(row["state"] or "–")),
        *_units(),
        _number("items", "queries"),
    ]
    each = "task" if level == "task" else "base and task"
    return _all(own, name, f"Tuned less in context, for each {each}", columns)


def variations(table: "pd.DataFrame | None") -> Table | None:
    """Return what each variation of the prompt changes."""
    columns = [
        ("system", False, lambda row: _system(row["system"])),
        _text("variation"),
        _text("cluster"),
        _text("scoring"),
        *_difference(("varied", "as it is")),
        ("varied is", False, lambda row: _said(row["state"] or "–")),
        *_unparsed("no answer, %", "as it is, %"),
        *_units(),
    ]
    return _all(table, "variations", "What variations of the prompt change", columns)


def scorings(table: "pd.DataFrame | None") -> Table | None:
    """Return right answers by scoring beside guess floors."""
    columns = [
        ("system", False, lambda row: _system(row["system"])),
        _text("scoring"),
        _text("cluster"),
        *((name, True, lambda row, column=column: number(row[column], 100, ".1f"))
          for name, column in (("right, %", "value"), ("guess floor, %", "floor"),
                               ("chance, %", "chance"), ("no answer found, %", "unparsed"))),
        _value("ability", "ability"),
        _number("tasks", "num_tasks"),
    ]  # fmt: skip
    return _all(table, "scorings", "Right answers by scoring, and guess floors", columns)


def everything(points: "pd.DataFrame") -> "pd.DataFrame | None":
    """Return one row per tuned model and task as the page's browsable table has them."""
    if points.empty:
        return None
    found = points.round({"tuned": 4, "icl": 4, "difference": 4})
    found = found.assign(
        seen=["tuned on" if seen else "not tuned on" for seen in found["seen"]],
        size=[parameters(size) for size in found["size"]],
    )
    names = {"model": "base", "icl": "in_context", "seen": "task_is", "size": "parameters"}
    found = found.rename(columns=names)
    order = ["base", "mixture", "seed", "task", "cluster", "task_is", "tuned", "in_context",
             "difference", "family", "parameters", "exposure", "scoring"]  # fmt: skip
    return found[[c for c in order if c != "exposure" or found[c].nunique() > 1]]


def effect(
    row: Row,
    column: str = "value",
    ends: Sequence[str] = ("low", "high"),
    *,
    sign: bool = False,
    digits: int = 3,
) -> Entry:
    """Return a number with its interval, which is left out where it is undefined."""
    return estimated(*(row[name] for name in (column, *ends)), sign=sign, digits=digits)


def _all(table: "pd.DataFrame | None", name: str, caption: str, columns: list[Any]) -> Table | None:
    if table is None or table.empty:
        return None
    return _of_columns(table.to_dict("records"), name, caption, columns)


def _of_columns(
    rows: Sequence[Row], name: str, caption: str, columns: Sequence[Column]
) -> Table | None:
    """Return a table, without columns that say nothing in any row."""
    if not rows:
        return None
    made = tuple(tuple(entry(row) for _, _, entry in columns) for row in rows)
    return Table(name, caption, tuple(one[:2] for one in columns), made).filled()


def _text(heading: str, column: str = "") -> Column:
    return heading, False, lambda row: _said(row[column or heading])


def _value(heading: str, column: str) -> Column:
    return heading, True, lambda row: effect(row, column, ())


def _number(heading: str, column: str) -> Column:
    return heading, True, lambda row: number(row[column], 1, ",.0f")


def _size() -> Column:
    return "parameters", True, lambda row: Entry(parameters(row["size"]), float(row["size"]))


def _three() -> list[Column]:
    return [
        _value("tuned", "tuned"),
        _value("in context", "icl"),
        ("difference", True, lambda row: effect(row, "difference", (), sign=True)),
    ]


def _difference(names: tuple[str, str] = ("ability", "of the other")) -> list[Column]:
    return [
        _value(names[0], "ability_left"),
        _value(names[1], "ability_right"),
        ("difference", True, lambda row: effect(row, sign=True)),
        ("p", True, lambda row: p_entry(row["p"])),
        ("p (Holm)", True, lambda row: p_entry(row["p_holm"])),
    ]


def _unparsed(left: str, right: str) -> list[Column]:
    return [
        (left, True, lambda row: number(row["unparsed_left"], 100, ".1f")),
        (right, True, lambda row: number(row["unparsed_right"], 100, ".1f")),
    ]


def _units() -> list[Column]:
    return [
        _number("bases", "bases"),
        _number("tuned models", "models"),
        _number("tasks", "num_tasks"),
    ]


def _system(name: Any) -> Entry:
    style = style_of_system(name) if name in SYSTEMS else None
    return Entry(NAMES.get(name, str(name)), str(name), style=style)


def _said(value: Any) -> Entry:
    return text(value) if isinstance(value, str) or defined(value) == value else Entry("–", "–")
