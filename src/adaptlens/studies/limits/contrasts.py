"""Paired differences between systems, and what varying the prompt changes."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from adaptlens.stats.intervals import holm
from adaptlens.stats.layerwise import Mean
from adaptlens.studies.limits.panel import FIRST, abilities, scoring_by_task

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = list[dict[str, Any]]

OF_BASES = ("base", "gold")
"""Systems of base models: one stands beside every model tuned from it."""
PAIRS = (
    ("regular", "gold"), ("samplegen", "gold"), ("pipeline", "gold"), ("pipeline", "samplegen"),
    ("samplegen", "regular"), ("regular", "base"), ("gold", "base"),
)  # fmt: skip
_MODEL = ["model", "mixture", "seed"]


def paired(scores: "DataFrame", left: str, right: str, *, scoring: str = FIRST) -> "DataFrame":
    """Return one row per model and task that two systems have in common, as they are.

    Columns: model, mixture, seed, task, cluster, seen, queries, difference (of abilities),
    difference_a, difference_b (of halves), ability_left, ability_right, value_left, value_right,
    floor_left, floor_right, unparsed_left, unparsed_right, is_outside (no task of the cluster is
    in the mixture).

    Args:
        scores: the long table.
        left: a system; of tuned models unless both are of base models.
        right: another.
        scoring: as in `studies.limits.panel.panel`.
    """
    table = abilities(scores)
    table = table[table["variation"] == ""]
    lefts, rights = table[table["system"] == left], table[table["system"] == right]
    chosen = scoring_by_task(lefts, rights, scoring)
    lefts, rights = (side[side["task"].map(chosen) == side["scoring"]] for side in (lefts, rights))
    key = ["model", "task"] if right in OF_BASES else [*_MODEL, "task"]
    numbers = ["ability", "ability_a", "ability_b", "value", "floor", "unparsed"]
    rights = rights.groupby(key)[numbers].mean().reset_index()
    pairs = lefts.merge(rights, on=key, suffixes=("_left", "_right"))
    for name, source in (("difference", "ability"), ("difference_a", "ability_a"),
                         ("difference_b", "ability_b")):  # fmt: skip
        pairs[name] = pairs[f"{source}_left"] - pairs[f"{source}_right"]
    pairs["seen"] = pairs["seen"].to_numpy(bool)
    rows = table[[*_MODEL, "cluster", "seen"]].itertuples(index=False, name=None)
    touched = {tuple(key) for *key, is_seen in rows if is_seen}
    keys = pairs[[*_MODEL, "cluster"]].itertuples(index=False, name=None)
    pairs["is_outside"] = np.array([key not in touched for key in keys], bool)
    return pairs


def mean_over(table: "DataFrame", *, level: float = 0.95) -> Mean:
    """Return the mean difference over bases x tasks, with their crossed error.

    Models tuned from one base are averaged on each task first. Errors are clustered by base and by
    task (Cameron, Gelbach and Miller 2011), never less than either alone; Student's t with the
    fewer of the two as degrees of freedom, less one. With one task the error is that over bases,
    and the other way round; it is never less than 1 / queries, for what unseen queries may do
    where all seen agree. `queries` of the mean is the number of tasks, `draws` that of bases.
    """
    cells = table.groupby(["model", "task"])["difference"].mean().dropna().reset_index()
    values = cells["difference"].to_numpy(float)
    by_base, by_task = (np.unique(cells[name].to_numpy(str), return_inverse=True)[1]
                        for name in ("model", "task"))  # fmt: skip
    bases, tasks = (int(places.max(initial=-1)) + 1 for places in (by_base, by_task))
    value = float(values.mean()) if len(values) else math.nan
    rest = (values - value) / max(len(values), 1)
    clustered = [(np.square(np.bincount(place, rest)).sum() * count / (count - 1), count - 1)
                 for place, count in ((by_base, bases), (by_task, tasks)) if count > 1]  # fmt: skip
    if not clustered:
        nan = math.nan
        return Mean(value, nan, nan, nan, tasks, bases, nan, nan)
    parts = [part for part, _ in clustered]
    variance = sum(parts) - (len(parts) - 1) * np.square(rest).sum()
    asked = float(table.drop_duplicates("task")["queries"].sum())
    least = 1 / asked**2
    error = math.sqrt(max(float(variance), least, *map(float, parts)))
    df = float(min(degrees for _, degrees in clustered))
    return _mean(value, error, df, tasks, bases, level)


def _mean(
    value: float, error: float, df: float, tasks: int, bases: int, level: float = 0.95
) -> Mean:
    if error <= 1e-12:
        p = 1.0 if abs(value) < 1e-12 else 0.5 ** (max(bases, tasks) - 1)
        return Mean(value, value, value, p, tasks, bases, 0.0, math.inf)
    reach = -float(scipy.special.stdtrit(df, (1 - level) / 2)) * error
    p = 2 * float(scipy.special.stdtr(df, -abs(value) / error))
    return Mean(value, value - reach, value + reach, p, tasks, bases, error, df)


def systems(scores: "DataFrame", *, scoring: str = FIRST, alpha: float = 0.05) -> Rows:
    """Return systems head to head, paired over models and tasks, per cluster.

    Columns: left, right, cluster ("all" or one), tasks (all; seen and unseen by the mixture, where
    the left system is tuned), ability_left, ability_right, value (their difference), low, high, p,
    p_holm (over all pairs and choices of tasks; clusters apart), state ("left" or "right" is
    better, or ""), unparsed_left, unparsed_right, bases, models, num_tasks.

    Args:
        scores: the long table.
        scoring: as in `studies.limits.panel.panel`.
        alpha: of the state; 1 - alpha is the level of the intervals.
    """
    present = set(scores["system"])
    rows: Rows = []
    for left, right in PAIRS:
        if not {left, right} <= present:
            continue
        table = paired(scores, left, right, scoring=scoring)
        parts = {"all": np.ones(len(table), bool)}
        if left not in OF_BASES:
            parts |= {"seen": table["seen"].to_numpy(), "unseen": ~table["seen"].to_numpy()}
        for cluster in ("all", *sorted(table["cluster"].unique())):
            for tasks, chosen in parts.items():
                part = table[chosen & ((table["cluster"] == cluster) | (cluster == "all"))]
                if part.empty:
                    continue
                rows.append({
                    "left": left, "right": right, "cluster": cluster, "tasks": tasks,
                    **_numbers(part, mean_over(part, level=1 - alpha)),
                    "unparsed_left": float(part["unparsed_left"].mean()),
                    "unparsed_right": float(part["unparsed_right"].mean()),
                })  # fmt: skip
    return _by_cluster(rows, alpha, ("left", "right"))


def variations(scores: "DataFrame", *, alpha: float = 0.05) -> Rows:
    """Return what each variation of the prompt changes, paired with the prompt as it is.

    Columns: system, variation, cluster ("all" or one), scoring, ability_left (varied),
    ability_right (as it is), value (their difference), low, high, p, p_holm (over all kinds;
    clusters apart), state ("better", "worse" or ""), unparsed_left, unparsed_right, bases, models,
    num_tasks.
    """
    table = abilities(scores)
    key = [*_MODEL, "system", "task", "scoring"]
    varied = table[table["variation"] != ""]
    numbers = ["ability", "unparsed"]
    as_it_is = table.loc[table["variation"] == "", [*key, *numbers]]
    both = varied.merge(as_it_is, on=key, suffixes=("_left", "_right"))
    both["difference"] = both["ability_left"] - both["ability_right"]
    rows: Rows = []
    kinds = both[["system", "variation", "scoring"]].drop_duplicates()
    for system, variation, scoring in sorted(kinds.itertuples(index=False, name=None)):
        of_kind = both[(both["system"] == system) & (both["variation"] == variation)
                       & (both["scoring"] == scoring)]  # fmt: skip
        for cluster in ("all", *sorted(of_kind["cluster"].unique())):
            part = of_kind[(of_kind["cluster"] == cluster) | (cluster == "all")]
            rows.append({
                "system": system, "variation": variation, "cluster": cluster, "scoring": scoring,
                **_numbers(part, mean_over(part, level=1 - alpha)),
                "unparsed_left": float(part["unparsed_left"].mean()),
                "unparsed_right": float(part["unparsed_right"].mean()),
            })  # fmt: skip
    return _by_cluster(rows, alpha, ("better", "worse"))


def exceeding(scores: "DataFrame", *, scoring: str = FIRST, alpha: float = 0.05) -> Rows:
    """Return where tuned zero-shot differs from its base in context by more than noise.

    Columns: level ("task", or "base and task"), tasks (all, seen, unseen: by the mixtures), model
    (the base, or "all"), task, cluster, ability_left (tuned), ability_right (in context), value
    (their difference), low, high, p, p_holm (over the rows of a level and choice of tasks), state
    ("tuned", "in context", or ""), bases, models, num_tasks, queries.

    The error of a task has two sources, added up: which bases were there, and which queries were
    asked, the same of all models. The latter is that of independent answers times a factor that
    halves of the queries show, one for all tasks. Of one base, the former is which models were
    tuned from it.

    Args:
        scores: the long table.
        scoring: as in `studies.limits.panel.panel`.
        alpha: of the state; 1 - alpha is the level of the intervals.
    """
    table = paired(scores, "regular", "gold", scoring=scoring)
    parts = {"all": np.ones(len(table), bool), "seen": table["seen"].to_numpy(),
             "unseen": ~table["seen"].to_numpy()}  # fmt: skip
    rows: Rows = []
    for level in ("task", "base and task"):
        for tasks, chosen in parts.items():
            part = table[chosen]
            if part.empty or (tasks != "all" and chosen.all()):
                continue
            differences = _exceeding(part, level, 1 - alpha)
            differences = [row | {"tasks": tasks} for row in differences]
            rows += _decided(differences, alpha, ("tuned", "in context"))
    return rows


def _exceeding(table: "DataFrame", level: str, width: float) -> Rows:
    alone = level != "task"
    table = table.assign(
        tuned=table["mixture"].astype(str) + " " + table["seed"].astype(str),
        answers=sum(
            table[f"value_{side}"] * (1 - table[f"value_{side}"])
            / (1 - table[f"floor_{side}"]) ** 2 / table["queries"]
            for side in ("left", "right")
        ),
    )  # fmt: skip
    parts = [table[table["task"] == task] for task in sorted(table["task"].unique())]
    if alone:
        parts = [part[part["model"] == model] for part in parts
                 for model in sorted(part["model"].unique())]  # fmt: skip
    apart = [float((part["difference_a"] - part["difference_b"]).mean()) for part in parts]
    answers = [float(part["answers"].mean()) for part in parts]
    factor = sum(value**2 for value in apart) / 4 / sum(answers) if sum(answers) > 0 else 0.0
    rows: Rows = []
    for part, of_queries in zip(parts, answers, strict=True):
        values = part.groupby("tuned" if alone else "model")["difference"].mean().to_numpy(float)
        sources = [(factor * of_queries, len(parts))]
        if len(values) > 1:
            sources.append((float(values.var(ddof=1)) / len(values), len(values) - 1))
        variance = sum(value for value, _ in sources)
        spread = sum(value**2 / degrees for value, degrees in sources)
        df = variance**2 / spread if spread > 0 else max(len(values) - 1.0, 1.0)
        # Unseen queries may differ where all seen agree.
        error = max(math.sqrt(variance), 1 / float(part["queries"].iloc[0]))
        mean = _mean(float(values.mean()), error, df, 1, len(values), width)
        rows.append({
            "level": level, "model": part["model"].iloc[0] if alone else "all",
            "task": part["task"].iloc[0], "cluster": part["cluster"].iloc[0],
            **_numbers(part, mean), "queries": float(part["queries"].iloc[0]),
        })  # fmt: skip
    return rows


def _numbers(table: "DataFrame", mean: Mean) -> dict[str, Any]:
    return {
        "ability_left": float(table["ability_left"].mean()),
        "ability_right": float(table["ability_right"].mean()),
        "value": mean.value,
        "low": mean.low,
        "high": mean.high,
        "p": mean.p,
        "bases": int(table["model"].nunique()),
        "models": len(table[_MODEL].drop_duplicates()),
        "num_tasks": int(table["task"].nunique()),
    }


def _by_cluster(rows: Rows, alpha: float, names: tuple[str, str]) -> Rows:
    """Return the rows decided, those of all clusters and those of single ones apart."""
    for is_all in (True, False):
        _decided([row for row in rows if (row["cluster"] == "all") is is_all], alpha, names)
    return rows


def _decided(rows: Rows, alpha: float, names: tuple[str, str]) -> Rows:
    """Return the rows with p-values corrected over all, and which side they speak for."""
    p_values = [row["p"] if math.isfinite(row["p"]) else 1.0 for row in rows]
    for row, p in zip(rows, holm(p_values), strict=True):
        row["p_holm"] = p
        row["state"] = (names[0] if row["value"] > 0 else names[1]) if p < alpha else ""
    return rows
