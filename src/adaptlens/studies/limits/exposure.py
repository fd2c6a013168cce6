"""What pretraining exposure does to in-context learning and to tuning, by intervention.

Models of one family and size that differ in how often pretraining showed some tasks: none, little,
much. Differences between them on those tasks are effects of exposure; on all other tasks they are
what three trainings differ by anyway.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from adaptlens.errors import unknown
from adaptlens.stats.intervals import holm
from adaptlens.stats.layerwise import Mean
from adaptlens.studies.limits.panel import FIRST, abilities, scoring_by_task

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = list[dict[str, Any]]

LEVELS = ("none", "little", "much")
STEPS = (("much", "none"), ("little", "none"), ("much", "little"))
QUANTITIES = {"ICL": "gold", "IT": "regular", "zero-shot": "base"}


@dataclass(frozen=True, eq=False)
class _Read:
    """Abilities of one quantity: [3 (all queries, halves), levels, repeats, tasks]."""

    values: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True, eq=False)
class Group:
    """Models of one family and size that differ in exposure alone.

    Attributes:
        family: of the models.
        size: their parameters.
        levels: of exposure, the least first.
        tasks: names of the tasks.
        is_exposed: whether exposure concerns the task [tasks].
        queries: of the tasks [tasks].
        read: quantity to its abilities; repeats of tuning are mixtures x seeds.
    """

    family: str
    size: float
    levels: tuple[str, ...]
    tasks: tuple[str, ...]
    is_exposed: np.ndarray
    queries: np.ndarray
    read: dict[str, _Read]


def groups(scores: "DataFrame", exposed: Collection[str], *, scoring: str = FIRST) -> list[Group]:
    """Return the groups of models in which exposure varies.

    Args:
        scores: the long table.
        exposed: tasks, or clusters, that the exposure concerns.
        scoring: as in `studies.limits.panel.panel`.

    Raises:
        UserError: see `abilities`; a name in `exposed` that is neither a task nor a cluster.
    """
    table = abilities(scores)
    table = table[(table["variation"] == "") & table["exposure"].isin(LEVELS)]
    known = {*scores["task"], *scores["cluster"]}
    for name in exposed:
        if name not in known:
            raise unknown("task or cluster", name, sorted(known))
    own, gold = (table[table["system"] == name] for name in ("regular", "gold"))
    chosen = scoring_by_task(own, gold, scoring)
    table = table[table["task"].map(chosen) == table["scoring"]]
    found = []
    for (family, size), rows in _of_one_kind(table):
        levels = tuple(level for level in LEVELS if (rows["exposure"] == level).any())
        if len(levels) < 2:
            continue
        about = rows.drop_duplicates("task").set_index("task").sort_index()
        tasks = tuple(about.index)
        is_exposed = np.array([task in exposed or about.loc[task, "cluster"] in exposed
                               for task in tasks])  # fmt: skip
        read = {name: _read(rows[rows["system"] == system], levels, tasks)
                for name, system in QUANTITIES.items()}  # fmt: skip
        queries = about["queries"].to_numpy(float)
        found.append(Group(str(family), size, levels, tasks, is_exposed, queries, read))
    return found


def _of_one_kind(table: "DataFrame") -> "list[tuple[tuple[str, float], DataFrame]]":
    keys = sorted({*table[["family", "size"]].itertuples(index=False, name=None)})
    return [((str(family), float(size)),
             table[(table["family"] == family) & (table["size"] == size)])
            for family, size in keys]  # fmt: skip


def _read(rows: "DataFrame", levels: Sequence[str], tasks: Sequence[str]) -> _Read:
    keys = sorted({*rows[["mixture", "seed"]].itertuples(index=False, name=None)})
    shape = len(levels), max(len(keys), 1), len(tasks)
    values, seen = np.full((3, *shape), np.nan), np.zeros(shape, bool)
    at = {key: place for place, key in enumerate(keys)}
    column = {task: place for place, task in enumerate(tasks)}
    wanted = ["exposure", "mixture", "seed", "task", "seen", "ability", "ability_a", "ability_b"]
    for level, mixture, seed, task, is_seen, *found in rows[wanted].itertuples(index=False):
        place = levels.index(level), at[mixture, seed], column[task]
        values[:, *place] = found
        seen[place] = is_seen
    return _Read(values, seen)


def effect(group: Group, steps: np.ndarray, tasks: str, *, of_these: bool = False) -> Mean:
    """Return the mean of differences between two exposures, over tasks x repeats of tuning.

    Args:
        group: the models.
        steps: differences [3 (all queries, halves), repeats, tasks]; NaN where one is missing.
        tasks: "exposed", "unexposed" or "exposed - unexposed".
        of_these: take the tasks as they are and only their queries as drawn, whose error halves
            show; else tasks are drawn as well.

    The variance is that over tasks (or queries) plus that over repeats, which both contain what is
    left over; and the error is never less than 1 / queries, for what unseen queries may do where
    all seen agree. `queries` of the mean is the number of tasks, `draws` that of repeats.
    """
    is_exposed = group.is_exposed
    sides = {"exposed": (is_exposed,), "unexposed": (~is_exposed,),
             "exposed - unexposed": (is_exposed, ~is_exposed)}[tasks]  # fmt: skip
    value, variances, rows, count, asked = 0.0, [], np.zeros(0), math.inf, math.inf
    repeats = steps.shape[1]
    for sign, chosen in zip((1.0, -1.0), sides, strict=False):
        read = np.isfinite(steps[0]) & chosen
        own = read.any(0)
        if not own.any():
            return _undefined(0, repeats)
        with_repeats = [np.where(read, half, 0.0).sum(0)[own] / read.sum(0)[own] for half in steps]
        by_task = with_repeats[0]
        value += sign * float(by_task.mean())
        many = len(by_task)
        count, asked = min(count, many), min(asked, float(group.queries[own].sum()))
        if of_these:
            apart = with_repeats[1] - with_repeats[2]
            variances.append((float(np.square(apart).sum()) / 4 / many**2, float(many)))
        else:
            spread = float(by_task.var(ddof=1)) / many if many > 1 else math.nan
            variances.append((spread, float(many - 1)))
        rest = np.where(read, steps[0], 0.0)[:, own] - np.where(read[:, own], by_task, 0.0)
        by_repeat = sign * rest.sum(1) / np.maximum(read[:, own].sum(1), 1)
        rows = rows + by_repeat if rows.size else by_repeat
    if repeats > 1:
        variances.append((float(np.var(rows, ddof=1)) / repeats, float(repeats - 1)))
    variance = sum(one for one, _ in variances)
    if not math.isfinite(variance):
        return _undefined(int(count), repeats, value)
    spread = sum(one**2 / degrees for one, degrees in variances if one > 0)
    df = variance**2 / spread if spread > 0 else max(count - 1.0, 1.0)
    error = max(math.sqrt(variance), 1 / asked)
    reach = -float(scipy.special.stdtrit(df, 0.025)) * error
    p = 2 * float(scipy.special.stdtr(df, -abs(value) / error))
    return Mean(value, value - reach, value + reach, p, int(count), repeats, error, df)


def _undefined(tasks: int, repeats: int, value: float = math.nan) -> Mean:
    nan = math.nan
    return Mean(value, nan, nan, nan, tasks, repeats, nan, nan)


def steps_of(group: Group, quantity: str, more: str, less: str, mixture: str = "all") -> np.ndarray:
    """Return ability under one exposure minus that under another [3, repeats, tasks].

    Args:
        group: the models.
        quantity: ICL, IT or zero-shot.
        more: an exposure.
        less: another.
        mixture: "seen" for tuned models whose mixture has the task, "unseen", or "all".

    Raises:
        UserError: an exposure that the group does not have.
    """
    read = group.read[quantity]
    for level in (more, less):
        if level not in group.levels:
            raise unknown("exposure", level, group.levels)
    upper, lower = group.levels.index(more), group.levels.index(less)
    steps = read.values[:, upper] - read.values[:, lower]
    seen = read.seen[upper] | read.seen[lower]
    if mixture == "all":
        return steps
    return np.where(seen == (mixture == "seen"), steps, np.nan)


def exposure(scores: "DataFrame", exposed: Collection[str], *, scoring: str = FIRST) -> Rows:
    """Return the effects of exposure on ICL, on IT and on reading without examples.

    Columns: family, size, quantity (ICL, IT, zero-shot), mixture (all; of IT also seen and
    unseen), tasks (exposed, unexposed, "exposed - unexposed": difference in differences), more,
    less (the exposures compared), ability_more, ability_less, value (their difference), low, high,
    p (tasks and repeats drawn), p_holm (over the rows of a choice of mixture and tasks), low_here,
    high_here, p_here (the same tasks, queries and repeats drawn), num_tasks, repeats (of tuning),
    queries, note.

    Args:
        scores: the long table.
        exposed: tasks, or clusters, that the exposure concerns.
        scoring: as in `studies.limits.panel.panel`.

    Raises:
        UserError: see `groups`.
    """
    rows: Rows = []
    for group in groups(scores, exposed, scoring=scoring):
        for quantity in QUANTITIES:
            mixtures = ("all", "seen", "unseen") if quantity == "IT" else ("all",)
            for more, less in STEPS:
                if more not in group.levels or less not in group.levels:
                    continue
                for mixture in mixtures:
                    steps = steps_of(group, quantity, more, less, mixture)
                    rows += _effects(group, quantity, more, less, mixture, steps)
    for kind in {(row["mixture"], row["tasks"]) for row in rows}:
        own = [row for row in rows if (row["mixture"], row["tasks"]) == kind]
        p_values = [row["p"] if math.isfinite(row["p"]) else 1.0 for row in own]
        for row, p in zip(own, holm(p_values), strict=True):
            row["p_holm"] = p
    return rows


def _effects(
    group: Group, quantity: str, more: str, less: str, mixture: str, steps: np.ndarray
) -> Rows:
    rows: Rows = []
    read = group.read[quantity].values[0]
    for tasks in ("exposed", "unexposed", "exposed - unexposed"):
        drawn = effect(group, steps, tasks)
        here = effect(group, steps, tasks, of_these=True)
        if not math.isfinite(drawn.value):
            continue
        chosen = np.isfinite(steps[0]) & (group.is_exposed == (tasks != "unexposed"))
        means = [float(read[group.levels.index(level)][chosen].mean()) for level in (more, less)]
        if tasks == "exposed - unexposed":
            means = [math.nan, math.nan]
        note = "one model per exposure"
        if drawn.queries < 2:
            note += "; one task says nothing about others"
        rows.append({
            "family": group.family, "size": group.size, "quantity": quantity, "mixture": mixture,
            "tasks": tasks, "more": more, "less": less, "ability_more": means[0],
            "ability_less": means[1], "value": drawn.value, "low": drawn.low, "high": drawn.high,
            "p": drawn.p, "low_here": here.low, "high_here": here.high, "p_here": here.p,
            "num_tasks": drawn.queries, "repeats": drawn.draws, "queries": int(group.queries.sum()),
            "note": note,
        })  # fmt: skip
    return rows
