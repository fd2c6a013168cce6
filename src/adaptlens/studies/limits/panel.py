"""What is left of scores when guessing is taken off, as tables of models x tasks.

Scores are long tables with one row per model, mixture, seed, draw, system, variation, task and
scoring (columns: `COLUMNS`); every analysis of the limits study starts here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptlens.errors import UserError, unknown

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (
    "model", "family", "size", "exposure", "mixture", "seed", "draw", "system", "variation",
    "task", "cluster", "seen", "scoring", "value", "chance", "floor", "queries", "unparsed",
    "half_a", "half_b",
)  # fmt: skip
SYSTEMS = ("base", "gold", "regular", "samplegen", "pipeline")
SCORINGS = ("choice", "exact", "semantic")
FIRST = "first"
"""Each task by the first of choice, exact and semantic that both systems compared have there."""

_KEY = ["model", "mixture", "seed", "system", "variation", "task", "scoring"]
_ABOUT = ["family", "size", "exposure", "cluster", "seen"]
_READ = ["ability", "ability_a", "ability_b", "value"]
_NUMBERS = [*_READ, "floor", "queries", "unparsed"]


def abilities(scores: "DataFrame") -> "DataFrame":
    """Return the scores with `ability`, means over draws: 0 is guessing and 1 is all right.

    `ability = (value - floor) / (1 - floor)`, and `ability_a`, `ability_b` of the two halves of the
    queries; chance stands in for a floor that was not measured. Worse than guessing is below 0.
    `draws` counts the rows behind each mean.

    Raises:
        UserError: a column is missing, a system or scoring is not known, a value is no fraction,
            or a floor leaves nothing to be had.
    """
    missing = [name for name in COLUMNS if name not in scores.columns]
    if missing:
        raise UserError(
            f"a table of scores without {', '.join(missing)} was given; expected the columns "
            f"{', '.join(COLUMNS)}."
        )
    for column, known in (("system", SYSTEMS), ("scoring", SCORINGS)):
        for name in scores[column].unique():
            if name not in known:
                raise unknown(column, str(name), known)
    found = scores[list(COLUMNS)].copy()
    floor = found["floor"].fillna(found["chance"]).to_numpy(float)
    values = found["value"].to_numpy(float)
    if len(values) and not ((values >= 0) & (values <= 1)).all():
        raise UserError(
            f"scores from {values.min():g} to {values.max():g} were given; expected fractions from "
            "0 to 1 without gaps."
        )
    if not ((floor >= 0) & (floor < 1)).all():
        raise UserError(
            f"floors from {np.min(floor):g} to {np.max(floor):g} were given; expected at least 0 "
            "and less than 1: nothing is left of a score whose floor is 1."
        )
    found["floor"] = floor
    for name, source in (("ability", "value"), ("ability_a", "half_a"), ("ability_b", "half_b")):
        found[name] = (found[source].to_numpy(float) - floor) / (1 - floor)
    grouped = found.groupby(_KEY, sort=True, dropna=False)
    table = grouped[_NUMBERS].mean().join(grouped[_ABOUT].first())
    table["draws"] = grouped.size()
    return table.reset_index()


@dataclass(frozen=True, eq=False)
class Panel:
    """Tuned models x tasks beside their bases x tasks; NaN where nothing was read.

    Attributes:
        tuned: abilities [3, models, tasks] of all queries and of two halves of them.
        icl: the same of the bases, in context [3, bases, tasks].
        of: which base each model is made of [models].
        seen: whether the task was in the mixture [models, tasks].
        scores: what the abilities were made of [2, models, tasks]: tuned, then its base in context.
        bases: their names.
        families: of the bases.
        sizes: parameters of the bases [bases].
        exposures: of the bases.
        mixtures: of the models.
        seeds: of the models.
        tasks: their names.
        clusters: of the tasks.
        queries: of the tasks [tasks].
    """

    tuned: np.ndarray
    icl: np.ndarray
    of: np.ndarray
    seen: np.ndarray
    scores: np.ndarray
    bases: tuple[str, ...]
    families: tuple[str, ...]
    sizes: np.ndarray
    exposures: tuple[str, ...]
    mixtures: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    clusters: tuple[str, ...]
    queries: np.ndarray

    def only(self, cells: np.ndarray) -> "Panel":
        """Return the panel with the cells [models, tasks] alone; what has none left is gone."""
        tuned = np.where(cells, self.tuned, np.nan)
        read = np.isfinite(tuned[0]) & np.isfinite(self.icl[0][self.of])
        models, tasks = read.any(1), read.any(0)
        kept = np.unique(self.of[models])
        order = {base: place for place, base in enumerate(kept.tolist())}

        def named(names: Sequence[Any], chosen: np.ndarray) -> tuple[Any, ...]:
            return tuple(names[place] for place in chosen.tolist())

        rows, columns = np.flatnonzero(models), np.flatnonzero(tasks)
        return replace(
            self,
            tuned=np.where(read, tuned, np.nan)[:, rows][:, :, columns],
            icl=self.icl[:, kept][:, :, columns],
            of=np.array([order[base] for base in self.of[models].tolist()], int),
            seen=self.seen[rows][:, columns],
            scores=self.scores[:, rows][:, :, columns],
            bases=named(self.bases, kept),
            families=named(self.families, kept),
            sizes=self.sizes[kept],
            exposures=named(self.exposures, kept),
            mixtures=named(self.mixtures, rows),
            seeds=named(self.seeds, rows),
            tasks=named(self.tasks, columns),
            clusters=named(self.clusters, columns),
            queries=self.queries[columns],
        )


def panel(
    scores: "DataFrame",
    *,
    tuned: str = "regular",
    reference: str = "gold",
    scoring: str = FIRST,
) -> Panel:
    """Return one system's tuned models x tasks beside what their bases do, all as they are.

    Args:
        scores: the long table.
        tuned: a system of tuned models.
        reference: a system of base models, gold or base.
        scoring: choice, exact, semantic, or "first".

    Raises:
        UserError: see `abilities`; a scoring that is not known; nothing was read in both systems.
    """
    table = abilities(scores)
    table = table[table["variation"] == ""]
    own, other = table[table["system"] == tuned], table[table["system"] == reference]
    chosen = scoring_by_task(own, other, scoring)
    own, other = (one[one["task"].map(chosen) == one["scoring"]] for one in (own, other))
    models = sorted({*own[["model", "mixture", "seed"]].itertuples(index=False, name=None)})
    bases, tasks = sorted({model for model, _, _ in models}), sorted(chosen)
    if not models:
        raise UserError(
            f"a table without a task read in both '{tuned}' and '{reference}' was given (scoring "
            f"{scoring}); expected rows of both systems."
        )
    about, of_task = (own.drop_duplicates(name).set_index(name) for name in ("model", "task"))
    shape = (len(models), len(tasks))
    cells, seen = np.full((4, *shape), np.nan), np.zeros(shape, bool)
    rows = {model: place for place, model in enumerate(models)}
    columns = {task: place for place, task in enumerate(tasks)}
    where = (
        np.array([rows[key] for key in
                  own[["model", "mixture", "seed"]].itertuples(index=False, name=None)], int),
        own["task"].map(columns).to_numpy(int),
    )  # fmt: skip
    cells[:, *where] = own[_READ].to_numpy(float).T
    seen[where] = own["seen"].to_numpy(bool)
    other = other[other["model"].isin(bases)].groupby(["model", "task"])[_READ].mean().reset_index()
    icl = np.full((4, len(bases), len(tasks)), np.nan)
    at = other["model"].map({base: place for place, base in enumerate(bases)}).to_numpy(int)
    icl[:, at, other["task"].map(columns).to_numpy(int)] = other[_READ].to_numpy(float).T
    of = np.array([bases.index(model) for model, _, _ in models], int)
    found = Panel(
        tuned=cells[:3],
        icl=icl[:3],
        of=of,
        seen=seen,
        scores=np.stack([cells[3], icl[3][of]]),
        bases=tuple(bases),
        families=tuple(about.loc[bases, "family"]),
        sizes=about.loc[bases, "size"].to_numpy(float),
        exposures=tuple(about.loc[bases, "exposure"]),
        mixtures=tuple(mixture for _, mixture, _ in models),
        seeds=tuple(int(seed) for _, _, seed in models),
        tasks=tuple(tasks),
        clusters=tuple(of_task.loc[tasks, "cluster"]),
        queries=of_task.loc[tasks, "queries"].to_numpy(float),
    )
    return found.only(np.ones(shape, bool))


def scoring_by_task(left: "DataFrame", right: "DataFrame", scoring: str) -> dict[str, str]:
    """Return task -> the scoring by which rows of two systems are compared there.

    Tasks that the two do not share under any scoring asked for are left out.

    Raises:
        UserError: a scoring that is not known.
    """
    if scoring not in (*SCORINGS, FIRST):
        raise unknown("scoring", scoring, (*SCORINGS, FIRST))
    asked = SCORINGS if scoring == FIRST else (scoring,)
    found: dict[str, str] = {}
    for one in reversed(asked):
        both = [set(rows.loc[rows["scoring"] == one, "task"]) for rows in (left, right)]
        found |= dict.fromkeys(both[0] & both[1], one)
    return found
