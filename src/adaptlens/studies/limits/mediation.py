"""Whether exposure acts on tuning through in-context learning, or the other way round."""

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from adaptlens.errors import UserError
from adaptlens.stats.resampling import resampled_counts
from adaptlens.studies.limits.exposure import Rows, groups
from adaptlens.studies.limits.panel import FIRST

if TYPE_CHECKING:
    from pandas import DataFrame

RESAMPLES = 1000
RELIABLE = 0.3
"""Below this reliability what moves a mediator, beside exposure, is noise and shows no slope."""
CAVEAT = (
    "one model per exposure, trained once: what exposure does is read from the intervention; that "
    "one ability carries its effect to the other is read from how they go together over tasks, "
    "which a common cause, such as knowledge that both use, explains as well"
)


def mediation(
    scores: "DataFrame",
    exposed: Collection[str],
    *,
    margin: float = 0.05,
    scoring: str = FIRST,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Rows:
    """Return whether the effect of exposure on IT vanishes given ICL, and the other way round.

    The effect is the difference in differences between the most and the least exposure. The
    mediator's share of it is the mediator's own effect times a slope: that of the outcome on the
    mediator over levels x tasks, without the tasks' means and without what each level does to
    exposed and to unexposed tasks on average. Slope and reliability are across halves of the
    queries, so that neither errors of the mediator nor errors that both share bias it.

    Columns: family, size, outcome, mediator, more, less, total, total_low, total_high, slope,
    reliability (of what moves the mediator), through, direct (total - through), direct_low,
    direct_high, state, num_tasks, note. States: vanishes (direct lies within the margin), remains
    (it does not contain 0), "not decided", "no effect to explain" (the total contains 0),
    "undefined" (beside exposure the mediator hardly moves).

    What this cannot show is in `CAVEAT`, the note of every row.

    Args:
        scores: the long table.
        exposed: tasks, or clusters, that the exposure concerns.
        margin: the smallest direct effect that counts.
        scoring: as in `studies.limits.panel.panel`.
        resamples: of tasks.
        seed: of the resamples.

    Raises:
        UserError: see `groups`; no task is exposed, or all are.

    Source: MacKinnon, Lockwood and Williams 2004 (product of coefficients); Imai, Keele and
    Tingley 2010 on what must be assumed.
    """
    rows: Rows = []
    for group in groups(scores, exposed, scoring=scoring):
        sides = [np.flatnonzero(group.is_exposed), np.flatnonzero(~group.is_exposed)]
        if not all(len(side) for side in sides):
            raise UserError(
                f"of {len(group.tasks)} tasks {len(sides[0])} are exposed; mediation compares "
                "exposed with other tasks: name some, and not all, as exposed."
            )
        rng = np.random.default_rng(seed)
        weights = np.zeros((resamples + 1, len(group.tasks)))
        weights[0] = 1
        for side in sides:
            weights[1:, side] = resampled_counts(rng, len(side), resamples)
        with_repeats = {name: _means(group.read[name].values) for name in ("ICL", "IT")}
        for outcome, mediator in (("IT", "ICL"), ("ICL", "IT")):
            found = _mediated(with_repeats[outcome], with_repeats[mediator], weights, sides)
            df = max(min(len(side) for side in sides) - 1, 1)
            rows.append({
                "family": group.family, "size": group.size, "outcome": outcome,
                "mediator": mediator, "more": group.levels[-1], "less": group.levels[0],
                **_said(found, df, margin), "num_tasks": len(group.tasks), "note": CAVEAT,
            })  # fmt: skip
    return rows


def _means(values: np.ndarray) -> np.ndarray:
    """Return means over repeats [3, levels, tasks]; missing tasks are NaN."""
    read = np.isfinite(values)
    count = read.sum(2)
    total = np.where(read, values, 0.0).sum(2)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _mediated(
    y: np.ndarray, x: np.ndarray, weights: np.ndarray, sides: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return total effects, slope, reliability and direct effect, each [resamples]."""
    complete = np.isfinite(y).all((0, 1)) & np.isfinite(x).all((0, 1))
    weights = weights * complete
    y, x = (np.where(complete, one, 0.0) for one in (y, x))
    masks = [np.isin(np.arange(len(complete)), side) * weights for side in sides]
    counts = [mask.sum(1) for mask in masks]

    def total(values: np.ndarray) -> np.ndarray:
        step = values[0, -1] - values[0, 0]
        with np.errstate(invalid="ignore"):
            return masks[0] @ step / counts[0] - masks[1] @ step / counts[1]

    def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        left, right = left - left.mean(0), right - right.mean(0)
        found = weights @ (left * right).sum(0)
        for mask, count in zip(masks, counts, strict=True):
            found = found - ((mask @ left.T) * (mask @ right.T)).sum(1) / np.maximum(count, 1)
        return found

    across = (product(x[1], y[2]) + product(x[2], y[1])) / 2
    shared = product(x[1], x[2])
    size = (product(x[1], x[1]) + product(x[2], x[2])) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        reliability = np.where(size > 1e-15, shared / size, 0.0)
        slope = np.where(shared > 1e-15, across / shared, np.nan)
    totals = total(y), total(x)
    through = slope * totals[1]
    return {"total": totals[0], "slope": slope, "reliability": reliability, "through": through,
            "direct": totals[0] - through}  # fmt: skip


def _said(found: dict[str, np.ndarray], df: float, margin: float) -> dict[str, Any]:
    """Return the numbers of a row and its state.

    Percentiles of the resamples, around the value, are widened as Student's t is beside a normal.
    """
    wider = -float(scipy.special.stdtrit(df, 0.025)) / 1.96
    bounds = {}
    for name in ("total", "direct"):
        again = found[name][1:]
        again = again[np.isfinite(again)]
        value = float(found[name][0])
        if len(again) < len(found[name]) // 2 or not math.isfinite(value):
            bounds[name] = (math.nan, math.nan)
            continue
        low, middle, high = np.quantile(again, (0.025, 0.5, 0.975))
        bounds[name] = (value + wider * float(low - middle), value + wider * float(high - middle))
    reliability = float(found["reliability"][0])
    (total_low, total_high), (low, high) = bounds["total"], bounds["direct"]
    if reliability < RELIABLE or not math.isfinite(low):
        state = "undefined"
    elif total_low <= 0 <= total_high:
        state = "no effect to explain"
    elif max(abs(low), abs(high)) < margin:
        state = "vanishes"
    else:
        state = "not decided" if low <= 0 <= high else "remains"
    return {
        "total": float(found["total"][0]), "total_low": total_low, "total_high": total_high,
        "slope": float(found["slope"][0]), "reliability": reliability,
        "through": float(found["through"][0]), "direct": float(found["direct"][0]),
        "direct_low": low, "direct_high": high, "state": state,
    }  # fmt: skip
