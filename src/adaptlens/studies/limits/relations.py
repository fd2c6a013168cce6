"""Tables of how tuned zero-shot performance follows its base's in-context performance."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from adaptlens.formatting import counted
from adaptlens.stats.intervals import holm
from adaptlens.stats.rank_correlation import Kendall, pearson, ranks
from adaptlens.stats.resampling import resampled_counts
from adaptlens.studies.limits.correlation import (
    COEFFICIENTS,
    CONTROLS,
    EXCHANGES,
    MINIMUM_BASES,
    RESAMPLES,
    Controlled,
    Correlation,
    correlate,
)
from adaptlens.studies.limits.panel import FIRST, Panel, panel

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = list[dict[str, Any]]

_FEW_CONTROLS = ("nothing", "difficulty", "difficulty, model")
_OF_TASKS = {"nothing": (), "size": ("task", "size"), "size, family": ("task", "size", "family")}
_OF_MODELS = {"nothing": (), "difficulty": ("task",)}


def relations(
    scores: "DataFrame",
    *,
    resamples: int = RESAMPLES,
    exchanges: int = EXCHANGES,
    alpha: float = 0.05,
    seed: int = 0,
) -> Rows:
    """Return correlations over all tuned models and tasks, before and after controls.

    One row per scoring, choice of tasks, family, control and coefficient. Columns: scoring
    ("first", or a scoring alone), tasks (all, seen, unseen: in the model's mixture or not), family
    (within one, or ""), given (the control, see `studies.limits.correlation.CONTROLS`),
    coefficient, value, low, high, p, p_holm (over the rows of a scoring and coefficient), related
    (p_holm below alpha and the interval above 0), ceiling, disattenuated, bases, models, num_tasks,
    exchanges, note.

    With nothing controlled, difficulty alone makes a high value and a narrow interval; p asks
    whether it matters whose in-context performance stands beside a model.

    Args:
        scores: the long table, see `studies.limits.panel.COLUMNS`.
        resamples: of the bootstrap over bases and tasks.
        exchanges: of the bases' in-context performance.
        alpha: of `related`; 1 - alpha is the level of the intervals.
        seed: of both.

    Raises:
        UserError: see `studies.limits.panel.panel`.
    """
    rows: Rows = []
    settings = {"resamples": resamples, "exchanges": exchanges, "level": 1 - alpha, "seed": seed}
    for scoring in _scorings(scores):
        own: Rows = []
        whole = panel(scores, scoring=scoring)
        for about, part, controls in _parts(whole, scoring == FIRST):
            for given in controls:
                found = correlate(part, CONTROLS[given], **settings)  # type: ignore[arg-type]
                key = {"scoring": scoring, **about, "given": given}
                own += [_row(key, name, one) for name, one in found.items()]
        rows += _corrected(own, alpha)
    return rows


def per_task(
    scores: "DataFrame",
    *,
    resamples: int = RESAMPLES,
    exchanges: int = EXCHANGES,
    alpha: float = 0.05,
    seed: int = 0,
) -> Rows:
    """Return, for every task alone, the correlation over tuned models.

    Columns as in `relations`, with task, cluster, given (nothing, size, "size, family"), and the
    mean abilities tuned and icl. p_holm is over the tasks of a control and coefficient; intervals
    are over bases alone.
    """
    rows: Rows = []
    whole = panel(scores)
    settings = {"resamples": resamples, "exchanges": exchanges, "level": 1 - alpha, "seed": seed}
    for name, given in _OF_TASKS.items():
        own: Rows = []
        for place, task in enumerate(whole.tasks):
            cells = np.zeros(whole.seen.shape, bool)
            cells[:, place] = True
            part = whole.only(cells)
            found = correlate(part, given, over=("bases",), **settings)  # type: ignore[arg-type]
            key = {
                "scoring": FIRST,
                "task": task,
                "cluster": whole.clusters[place],
                "given": name,
                "tuned": float(np.nanmean(part.tuned[0])),
                "icl": float(np.nanmean(part.icl[0])),
            }
            own += [_row(key, coefficient, one) for coefficient, one in found.items()]
        rows += _corrected(own, alpha)
    return rows


def per_model(
    scores: "DataFrame", *, resamples: int = RESAMPLES, alpha: float = 0.05, seed: int = 0
) -> Rows:
    """Return, for every base alone, the correlation over tasks of the models tuned from it.

    Columns as in `relations`, with model (the base), its family, size, exposure, and given (nothing
    or difficulty: the tasks' means over all bases are taken off first). Intervals are over tasks
    alone. p is the share of bases whose in-context performance fits this one's tuned models as well
    as its own does; with few bases it cannot be small, and no row is called related for it.
    """
    rows: Rows = []
    whole = panel(scores)
    flat = np.ones((1, len(whole.bases))), np.ones((1, len(whole.tasks)))
    for name, given in _OF_MODELS.items():
        one = Controlled(whole, given)
        y, x = one.left(*one.sides(), *flat)
        own: Rows = []
        for base in range(len(whole.bases)):
            key = {
                "scoring": FIRST,
                "model": whole.bases[base],
                "family": whole.families[base],
                "size": float(whole.sizes[base]),
                "exposure": whole.exposures[base],
                "given": name,
            }
            points = one.base == base
            table = x.reshape(len(whole.bases), -1)
            found = _over_tasks(y[0, points], table, base, one.task[points],
                                resamples=resamples, level=1 - alpha, seed=seed)  # fmt: skip
            own += [_row(key, coefficient, value) for coefficient, value in found.items()]
        rows += _corrected(own, alpha)
    return rows


def _over_tasks(
    y: np.ndarray,
    x: np.ndarray,
    base: int,
    task: np.ndarray,
    *,
    resamples: int,
    level: float,
    seed: int,
) -> dict[str, Correlation]:
    """Return the correlations of one base's points, and how many bases fit them as well.

    Args:
        y: tuned performance [points].
        x: in-context performance [bases, tasks].
        base: whose points they are.
        task: of the points [points].
        resamples: of tasks.
        level: of the intervals.
        seed: of the resamples.
    """
    rng = np.random.default_rng(seed)
    used, place = np.unique(task, return_inverse=True)
    x, count, models = x[:, used], len(used), int(np.bincount(task).max(initial=0))
    drawn = resampled_counts(rng, count, resamples)
    every = np.ones((1, count))
    kendall = Kendall(y, place, count)

    def coefficient(name: str, own: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if name == "kendall":
            return kendall.of(own, weights)
        points, other = weights[:, place], own[place][None]
        if name == "pearson":
            return pearson(other, y[None], points)
        return pearson(ranks(other, points), ranks(y[None], points), points)

    out = {}
    for name in COEFFICIENTS:
        fits = np.array([float(coefficient(name, own, every)[0]) for own in x])
        value = float(fits[base])
        again = coefficient(name, x[base], drawn)
        spread = np.arctanh(np.clip(again[np.isfinite(again)], -0.9999, 0.9999))
        error = float(spread.std(ddof=1)) if len(spread) > resamples // 2 else math.nan
        reach = -float(scipy.special.stdtrit(max(count - 1, 1), (1 - level) / 2)) * error
        middle = math.atanh(min(max(value, -0.9999), 0.9999)) if math.isfinite(value) else value
        p = float((~(fits < value - 1e-9)).mean()) if math.isfinite(value) else math.nan
        note = f"p is at least 1 / {counted(len(x), 'base')}"
        out[name] = Correlation(value, math.tanh(middle - reach), math.tanh(middle + reach), p,
                                error, float(count - 1), math.nan, math.nan, 1, models, count,
                                len(x), note)  # fmt: skip
    return out


def _scorings(scores: "DataFrame") -> list[str]:
    """Return "first", then the scorings under which both systems were read."""
    systems = [scores[scores["system"] == name]["scoring"].unique() for name in ("regular", "gold")]
    shared = [one for one in systems[0] if one in systems[1]]
    return [FIRST, *sorted(shared)] if len(shared) > 1 else [FIRST]


def _parts(whole: Panel, in_full: bool) -> Iterable[tuple[dict[str, str], Panel, Sequence[str]]]:
    """Yield the parts of a panel that are looked at alone, and the controls for each."""
    every = np.ones(whole.seen.shape, bool)
    yield {"tasks": "all", "family": ""}, whole, tuple(CONTROLS) if in_full else _FEW_CONTROLS
    if not in_full:
        return
    for tasks, cells in (("seen", whole.seen), ("unseen", ~whole.seen)):
        if 0 < cells.sum() < every.sum():
            yield {"tasks": tasks, "family": ""}, whole.only(cells), _FEW_CONTROLS
    families = np.array(whole.families)
    for family in sorted(set(whole.families)):
        own = families == family
        if own.sum() >= 3 and not own.all():
            part = whole.only(every & own[whole.of][:, None])
            yield {"tasks": "all", "family": family}, part, ("difficulty", "difficulty, size")


def _row(key: dict[str, Any], coefficient: str, one: Correlation) -> dict[str, Any]:
    return {
        **key,
        "coefficient": coefficient,
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "p": one.p,
        "ceiling": one.ceiling,
        "disattenuated": one.disattenuated,
        "bases": one.bases,
        "models": one.models,
        "num_tasks": one.tasks,
        "exchanges": one.exchanges,
        "note": one.note,
    }


def _corrected(rows: Rows, alpha: float) -> Rows:
    """Return the rows with p-values corrected over those of one coefficient, and `related`."""
    for coefficient in COEFFICIENTS:
        own = [row for row in rows if row["coefficient"] == coefficient]
        p_values = [row["p"] if math.isfinite(row["p"]) else 1.0 for row in own]
        for row, p in zip(own, holm(p_values), strict=True):
            row["p_holm"] = p
            enough = row["bases"] >= MINIMUM_BASES
            row["related"] = bool(enough and p < alpha and row["low"] > 0)
    return rows
