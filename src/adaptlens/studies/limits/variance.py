"""What tuned performance is made of: shares of its variance, and a mixed-effects model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from adaptlens.errors import UserError
from adaptlens.stats.mixed_model import mixed
from adaptlens.stats.resampling import resampled_counts
from adaptlens.studies.limits.panel import FIRST, abilities, panel, scoring_by_task

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = list[dict[str, Any]]

RESAMPLES = 1000
PREDICTORS = ("base ICL", "size", "family", "exposure", "seen", "prompt variation")
TOGETHER = "all together"
_RIDGE = 1e-9


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums of squares and products of predictors and outcome, cell by cell.

    Attributes:
        cells: [bases, tasks, columns, columns]; the first column is the constant, the last the
            outcome.
        columns: predictor to its columns; empty where it does not vary.
        between: how many columns differ between bases only.
        points: how many observations.
    """

    cells: np.ndarray
    columns: Mapping[str, tuple[int, ...]]
    between: int
    points: int


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares of variance by Shapley values: what each predictor adds, over all orders.

    Attributes:
        values: predictor to its share, and "all together" to the sum of these, R squared.
        errors: standard error of each over bases and tasks.
        df: degrees of freedom of these.
        bases: units.
        tasks: units.
    """

    values: Mapping[str, float]
    errors: Mapping[str, float]
    df: float
    bases: int
    tasks: int

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Return the interval of a share, within 0 to 1.

        Student's, of the logarithm of what is not explained: large shares have small errors.
        """
        rest = 1 - self.values[name]
        if rest <= 0:
            return 1.0, 1.0
        critical = -float(scipy.special.stdtrit(self.df, (1 - level) / 2))
        reach = critical * self.errors[name] / rest
        return max(0.0, 1 - rest * math.exp(min(reach, 700.0))), 1 - rest * math.exp(-reach)

    def above(self, name: str, bound: float) -> float:
        """Return the one-sided p-value of a share being no larger than a bound below 1."""
        rest, error = 1 - self.values[name], self.errors[name]
        if rest <= 0 or error <= 0:
            return 0.0 if self.values[name] > bound else 1.0
        scaled = math.log((1 - bound) / rest) / (error / rest)
        return float(scipy.special.stdtr(self.df, -scaled))

    def below(self, name: str, bound: float) -> float:
        """Return the one-sided p-value of a share being no smaller than a bound below 1."""
        return 1 - self.above(name, bound)


def shares(
    moments: Moments, *, within_tasks: bool = False, resamples: int = RESAMPLES, seed: int = 0
) -> Shares:
    """Return how the variance of the outcome divides over the predictors.

    The share of a predictor is what it adds to R squared, averaged over all orders in which
    predictors can enter (Lindeman, Merenda and Gold 1980; Shapley's value). Errors are the larger
    ones of a bootstrap of bases and tasks and of a jackknife that leaves one base or one task out:
    resamples of few bases, with the same base twice, fit too well. Degrees of freedom are those of
    the fewer of bases, without what predictors take that differ between bases only, and tasks.

    Args:
        moments: what was observed.
        within_tasks: take each task's mean out of everything, so that difficulty explains nothing.
        resamples: of bases and tasks, drawn independently.
        seed: of the resamples.
    """
    bases, tasks = moments.cells.shape[:2]
    rng = np.random.default_rng(seed)
    of_bases, of_tasks = (resampled_counts(rng, count, resamples) for count in (bases, tasks))
    of_bases = np.concatenate([np.ones((1, bases)), 1 - np.eye(bases), np.ones((tasks, bases)),
                               of_bases])  # fmt: skip
    of_tasks = np.concatenate([np.ones((1 + bases, tasks)), 1 - np.eye(tasks), of_tasks])
    explained = _shapley(_spread(moments.cells, of_bases, of_tasks, within_tasks), moments.columns)
    whole, rest = explained[0], explained[1:]
    left_out, again = rest[: bases + tasks], rest[bases + tasks :]
    squares = np.square(left_out - whole)
    variance = (bases - 1) / bases * squares[:bases].sum(0)
    variance = variance + (tasks - 1) / tasks * squares[bases:].sum(0)
    if resamples > 1:
        variance = np.maximum(variance, again.var(0, ddof=1))
    names = (*moments.columns, TOGETHER)
    return Shares(
        dict(zip(names, whole.tolist(), strict=True)),
        dict(zip(names, np.sqrt(variance).tolist(), strict=True)),
        float(max(min(bases - 1 - moments.between, tasks - 1), 1)),
        bases,
        tasks,
    )


def _spread(
    cells: np.ndarray, of_bases: np.ndarray, of_tasks: np.ndarray, within_tasks: bool
) -> np.ndarray:
    """Return centered sums of products [resamples, columns, columns], without the constant."""
    bases, tasks, columns, _ = cells.shape
    sums = np.zeros((len(of_bases), columns, columns))
    mean = np.zeros((len(of_bases), columns))
    for task in range(tasks):
        of_task = (of_bases @ cells[:, task].reshape(bases, -1)).reshape(sums.shape)
        weight = of_tasks[:, task, None, None]
        if within_tasks:
            count = np.maximum(of_task[:, :1, :1], 1e-300)
            of_task = of_task - of_task[:, :, :1] * of_task[:, :1, :] / count
        sums += weight * of_task
        mean += weight[:, :, 0] * of_task[:, 0]
    if not within_tasks:
        count = np.maximum(mean[:, :1], 1e-300)[:, :, None]
        sums -= mean[:, :, None] * mean[:, None, :] / count
    return sums[:, 1:, 1:]


def _shapley(spread: np.ndarray, columns: Mapping[str, Sequence[int]]) -> np.ndarray:
    """Return shares [resamples, predictors + 1] from sums of products; the last is their sum."""
    size = np.sqrt(np.maximum(np.diagonal(spread, axis1=1, axis2=2), 0))
    largest = np.maximum(size.max(1, keepdims=True), 1e-300)
    scale = np.divide(1.0, size, out=np.zeros(size.shape), where=size > 1e-9 * largest)
    correlations = spread * scale[:, :, None] * scale[:, None, :]
    groups = [[place - 1 for place in places] for places in columns.values()]
    count = len(groups)
    explained: dict[tuple[int, ...], np.ndarray] = {(): np.zeros(len(spread))}
    for many in range(1, count + 1):
        for chosen in combinations(range(count), many):
            places = [place for group in chosen for place in groups[group]]
            explained[chosen] = _r2(correlations, places)
    shares = np.zeros((len(spread), count + 1))
    for chosen, value in explained.items():
        for group in range(count):
            if group in chosen:
                continue
            weight = math.factorial(len(chosen)) * math.factorial(count - len(chosen) - 1)
            with_it = explained[tuple(sorted((*chosen, group)))]
            shares[:, group] += weight / math.factorial(count) * (with_it - value)
    shares[:, count] = explained[tuple(range(count))]
    return shares


def _r2(correlations: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    if not columns:
        return np.zeros(len(correlations))
    square = correlations[:, columns][:, :, columns] + _RIDGE * np.eye(len(columns))
    right = correlations[:, columns, -1]
    return np.einsum("rk,rk->r", right, np.linalg.solve(square, right[..., None])[..., 0])


def moments(scores: "DataFrame", *, tuned: str = "regular", scoring: str = FIRST) -> Moments:
    """Return the moments of a tuned system's performance, as it is and under all variations.

    Base ICL is that of gold examples as they are; sizes enter as logarithms.

    Raises:
        UserError: see `abilities`; nothing was read in both systems.
    """
    table = abilities(scores)
    tuned_rows = table[table["system"] == tuned]
    gold = table[(table["system"] == "gold") & (table["variation"] == "")]
    chosen = scoring_by_task(tuned_rows, gold, scoring)
    tuned_rows, gold = (
        side[side["task"].map(chosen) == side["scoring"]] for side in (tuned_rows, gold)
    )
    icl = gold.groupby(["model", "task"])["ability"].mean().rename("icl").reset_index()
    points = tuned_rows.merge(icl, on=["model", "task"])
    if points.empty:
        raise UserError(
            f"a table without a task read in both '{tuned}' and 'gold' was given; expected rows of "
            "both systems."
        )
    names = {"base ICL": "icl", "size": "size", "seen": "seen"}
    levels = {"family": "family", "exposure": "exposure", "prompt variation": "variation"}
    design = [np.ones(len(points))]
    columns: dict[str, tuple[int, ...]] = {}
    for predictor in PREDICTORS:
        added = []
        if predictor in names:
            values = points[names[predictor]].to_numpy(float)
            values = np.log(values) if predictor == "size" else values
            added = [values - values.mean()] if np.ptp(values) > 1e-9 else []
        else:
            known = points[levels[predictor]].fillna("").astype(str).to_numpy()
            added = [(known == level).astype(float) for level in sorted(set(known))[1:]]
        columns[predictor] = tuple(range(len(design), len(design) + len(added)))
        design += added
    stacked = np.column_stack([*design, points["ability"].to_numpy(float)])
    by_base, by_task = (np.unique(points[name].to_numpy(str), return_inverse=True)
                        for name in ("model", "task"))  # fmt: skip
    shape = len(by_base[0]), len(by_task[0])
    cells = np.zeros((*shape, stacked.shape[1], stacked.shape[1]))
    place = by_base[1] * shape[1] + by_task[1]
    for cell in np.unique(place):
        rows = stacked[place == cell]
        cells[cell // shape[1], cell % shape[1]] = rows.T @ rows
    between = sum(len(columns[name]) for name in ("size", "family", "exposure"))
    return Moments(cells, columns, between, len(points))


def attribution(
    scores: "DataFrame",
    *,
    tuned: str = "regular",
    resamples: int = RESAMPLES,
    alpha: float = 0.05,
    seed: int = 0,
) -> Rows:
    """Return shares of the variance of tuned performance, with intervals over bases and tasks.

    Columns: system, given (nothing, or difficulty: tasks' means are taken out first), predictor
    (base ICL, size, family, exposure, seen, prompt variation, "all together"), share, low, high,
    share_of_r2, varies (false: the predictor has one value, and no share), bases, tasks, points.

    The shares of the predictors add up to the one of all together, R squared. What tuned models and
    tasks have beside these predictors, and noise, is the rest. Shares of few bases are too large:
    size, family and exposure together have nearly as many values as there are bases.
    """
    known = moments(scores, tuned=tuned)
    rows: Rows = []
    for given in ("nothing", "difficulty"):
        divided = shares(known, within_tasks=given == "difficulty", resamples=resamples, seed=seed)
        for predictor, share in divided.values.items():
            low, high = divided.interval(predictor, 1 - alpha)
            varies = predictor == TOGETHER or bool(known.columns[predictor])
            rows.append({
                "system": tuned,
                "given": given,
                "predictor": predictor,
                "share": share,
                "low": low if varies else math.nan,
                "high": high if varies else math.nan,
                "share_of_r2": share / divided.values[TOGETHER]
                if divided.values[TOGETHER] > 0 else math.nan,
                "varies": varies,
                "bases": divided.bases,
                "tasks": divided.tasks,
                "points": known.points,
            })  # fmt: skip
    return rows


def mixed_effects(scores: "DataFrame", *, alpha: float = 0.05) -> Rows:
    """Return the mixed-effects model of tuned performance as it is, without variations.

    ability = intercept + base ICL + size + family + exposure + seen, and random intercepts of the
    task, the base, the base on the task (its tuned models share one in-context performance), the
    tuned model, and the mixture on the task. Predictors without variation are left out, and those
    that the ones before determine.

    Columns: kind ("fixed" or "random"), term, value (of random terms the standard deviation),
    error, low, high, p (NaN for random terms), df, points, bases, tasks. Degrees of freedom
    are bases less what varies between bases only, for those; else the fewer of bases and tasks,
    less one. Where the former leaves none, what varies between bases only has a value and no
    error, and bases have no random intercept. Size is per tenfold of parameters.
    """
    whole = panel(scores)
    model, task = np.nonzero(np.isfinite(whole.tuned[0]) & np.isfinite(whole.icl[0][whole.of]))
    base = whole.of[model]
    between: dict[str, np.ndarray] = {"size": np.log10(whole.sizes)}
    for name, values in (("family", whole.families), ("exposure", whole.exposures)):
        levels = sorted(set(values))
        between |= {f"{name}: {level}, not {levels[0] or 'as usual'}":
                    np.array([value == level for value in values], float)
                    for level in levels[1:]}  # fmt: skip
    fixed = {"intercept": np.ones(len(model))}
    kept: list[str] = []
    candidates = {name: values[base] for name, values in between.items()}
    candidates = {"base ICL": whole.icl[0][base, task], **candidates,
                  "seen": whole.seen[model, task].astype(float)}  # fmt: skip
    for name, values in candidates.items():
        design = np.stack([*fixed.values(), values - values.mean()], axis=1)
        if np.linalg.matrix_rank(design) == design.shape[1]:
            fixed[name] = values
            kept += [name] if name in between else []
    bases, tasks = len(whole.bases), len(whole.tasks)
    few = float(max(min(bases, tasks) - 1, 1))
    df = {name: few for name in fixed}
    between_freedom = float(bases - 1 - len(kept))
    df |= dict.fromkeys((*kept, "intercept"), max(between_freedom, 1.0))
    mixtures = np.unique(np.array(whole.mixtures), return_inverse=True)[1][model]
    groups = {"task": task, "base on task": base * tasks + task}
    if between_freedom:
        groups["base"] = base
    if len(whole.of) > bases:
        groups["tuned model"] = model
    if len(set(whole.mixtures)) > 1:
        groups["mixture on task"] = mixtures * tasks + task
    groups = {name: places for name, places in groups.items()
              if 1 < len(np.unique(places)) < len(model)}  # fmt: skip
    fit = mixed(whole.tuned[0][model, task], fixed, groups, df=df, level=1 - alpha)
    about = {"points": fit.points, "bases": bases, "tasks": tasks}
    empty = dict.fromkeys(("error", "low", "high", "p", "df"), math.nan)
    unsure = () if between_freedom else ("intercept", *kept)
    rows: Rows = [
        {"kind": "fixed", "term": term.name, "value": term.value, "error": term.stderr,
         "low": term.low, "high": term.high, "p": term.p, "df": term.df,
         **(empty if term.name in unsure else {}), **about}
        for term in fit.fixed
    ]  # fmt: skip
    return [*rows, *({"kind": "random", "term": name, "value": value, **empty, **about}
                     for name, value in fit.spreads.items())]  # fmt: skip
