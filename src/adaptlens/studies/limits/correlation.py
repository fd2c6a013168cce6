"""How far tuned performance follows in-context performance, with controls and honest units.

All models tuned from one base share its in-context performance, so bases are what is resampled
and exchanged, never tuned models; tasks are the second random factor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations as all_orders

import numpy as np
import scipy

from adaptlens.formatting import counted
from adaptlens.stats.rank_correlation import CHUNK_CELLS, Kendall, pearson, ranks
from adaptlens.stats.resampling import resampled_counts
from adaptlens.studies.limits.panel import Panel

RESAMPLES = 1000
EXCHANGES = 1999
KENDALL_CELLS = 400_000_000
"""Kendall's correlation is exchanged less often where there are many cells, never below 199."""
MINIMUM_BASES = 5
"""Fewer bases support no claim about models."""
COEFFICIENTS = ("spearman", "pearson", "kendall")
CONTROLS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "difficulty": ("task",),
    "difficulty, size": ("task", "size"),
    "difficulty, family": ("task", "family"),
    "difficulty, size, family": ("task", "size", "family"),
    "difficulty, model": ("task", "model"),
}
"""What is taken out of both sides before they are correlated.

Difficulty is each task's mean; size (logarithm of parameters) and family are regressed out of
every task on its own; "model" takes each model's mean over tasks out as well, and with it all that
makes a model better everywhere: what is left is which tasks it is better at.
"""


@dataclass(frozen=True)
class Correlation:
    """A correlation between tuned and in-context performance, and what it rests on.

    Attributes:
        value: the coefficient.
        low: the lower end of the interval over bases and tasks.
        high: the upper end.
        p: two-sided, of exchanging the bases' in-context performance, whole rows at once.
        stderr: standard error of its Fisher z.
        df: degrees of freedom of that.
        ceiling: what halves of the queries say it could be at most; NaN for Kendall's.
        disattenuated: the correlation across different halves over that within sides.
        bases: units that were resampled and exchanged.
        models: tuned models.
        tasks: tasks.
        exchanges: how many exchanges stand behind p; bases! where all were tried.
        note: why it decides nothing, or "".
    """

    value: float
    low: float
    high: float
    p: float
    stderr: float
    df: float
    ceiling: float
    disattenuated: float
    bases: int
    models: int
    tasks: int
    exchanges: int
    note: str

    def above(self, bound: float) -> float:
        """Return the one-sided p-value of the correlation being no larger than a bound."""
        return self._tail(float(_z(self.value) - _z(bound)))

    def below(self, bound: float) -> float:
        """Return the one-sided p-value of the correlation being no smaller than a bound."""
        return self._tail(float(_z(bound) - _z(self.value)))

    def _tail(self, distance: float) -> float:
        if not math.isfinite(distance) or not self.stderr > 0:
            return 1.0
        return float(scipy.special.stdtr(self.df, -distance / self.stderr))


def _z(value: "float | np.ndarray") -> "float | np.ndarray":
    return np.arctanh(np.clip(value, -0.9999, 0.9999))


class Controlled:
    """One panel under one set of controls: everything that its correlations need."""

    def __init__(self, panel: Panel, given: Sequence[str]) -> None:
        """Set up the controls: any of task, size, family, model (all but task need task)."""
        self.panel, self.given = panel, tuple(given)
        bases, tasks = len(panel.bases), len(panel.tasks)
        self.mask = np.isfinite(panel.tuned[0]) & np.isfinite(panel.icl[0][panel.of])
        self.model, self.task = np.nonzero(self.mask)
        self.base = panel.of[self.model]
        self.cell = self.base * tasks + self.task
        self.counts = np.bincount(self.cell, minlength=bases * tasks).reshape(bases, tasks)
        self.design = self._design()
        self.is_balanced = bool(self.mask.all())
        short = bases - self.design.shape[1] < 2 if "task" in self.given else bases < 2
        self.note = ""
        if short:
            self.note = f"{counted(bases, 'base')}: too few for these controls"
        elif bases < MINIMUM_BASES:
            self.note = f"{counted(bases, 'base')}: fewer than {MINIMUM_BASES} decide nothing"
        self.is_defined = not short

    def _design(self) -> np.ndarray:
        """Return what is regressed out of every task [bases, columns]: a constant, and more."""
        panel = self.panel
        columns = [np.ones(len(panel.bases))]
        size = np.log(panel.sizes)
        if "size" in self.given and np.ptp(size) > 1e-9:
            columns.append((size - size.mean()) / size.std())
        if "family" in self.given:
            columns += [np.array([one == family for one in panel.families], float)
                        for family in sorted(set(panel.families))[1:]]  # fmt: skip
        return np.stack(columns, axis=1)

    def left(
        self, y: np.ndarray, x: np.ndarray, bases: np.ndarray, tasks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what the controls leave of points and of cells [resamples, points or cells].

        Args:
            y: tuned performance of points [rows, points]; one row stands for all resamples.
            x: in-context performance of cells [rows, cells]; likewise.
            bases: how often each was drawn [resamples or 1, bases].
            tasks: likewise [resamples or 1, tasks].
        """
        if not self.given:
            return y, x
        y, x = self._without_task(y, x, bases)
        if "model" in self.given:
            y, x = self._without_model(y, x, tasks)
            for _ in range(0 if self.is_balanced else 20):
                y, x = self._without_task(y, x, bases)
                y, x = self._without_model(y, x, tasks)
        return y, x

    def _without_task(
        self, y: np.ndarray, x: np.ndarray, bases: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        count, design = self.counts, self.design
        wide = design.shape[1]
        outer = np.einsum("bt,bp,bq->btpq", count, design, design).reshape(len(design), -1)
        square = (bases @ outer).reshape(len(bases), count.shape[1], wide, wide)
        inverse = (
            np.linalg.pinv(square, rcond=1e-9, hermitian=True)
            if wide > 1
            else np.divide(1.0, square, out=np.zeros(square.shape), where=square > 0)
        )

        def fitted(sums: np.ndarray) -> np.ndarray:
            weighted = bases[:, :, None] * sums.reshape(-1, *count.shape)
            right = np.einsum("rbt,bp->rtp", weighted, design, optimize=True)
            solved = (inverse @ right[..., None])[..., 0]
            found = np.einsum("bp,rtp->rbt", design, solved, optimize=True)
            return found.reshape(len(found), -1)

        by_y, by_x = fitted(_sums(y, self.cell, count.size)), fitted(x * count.ravel())
        return y - by_y[:, self.cell], x - by_x

    def _without_model(
        self, y: np.ndarray, x: np.ndarray, tasks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        total = _sums(y * tasks[:, self.task], self.model, len(self.mask))
        of_models = total / np.maximum(tasks @ self.mask.T, 1e-300)
        rows = (x * self.counts.ravel()).reshape(-1, *self.counts.shape) * tasks[:, None, :]
        of_bases = rows.sum(2) / np.maximum(tasks @ self.counts.T, 1e-300)
        return y - of_models[:, self.model], x - np.repeat(of_bases, self.counts.shape[1], 1)

    def sides(self, half: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return tuned [1, points] and in-context [1, cells] performance, or of half 1 or 2."""
        return (
            self.panel.tuned[half][self.mask][None],
            np.where(self.counts > 0, self.panel.icl[half], 0.0).reshape(1, -1),
        )

    def coefficient(
        self, y: np.ndarray, x: np.ndarray, cells: np.ndarray, *, ranked: bool
    ) -> np.ndarray:
        """Return Spearman's (if ranked) or Pearson's correlation [resamples].

        Args:
            y: [rows, points].
            x: [rows, cells].
            cells: how often each cell was drawn [rows, cells].
            ranked: whether values are replaced by their ranks.
        """
        weights = cells * self.counts.ravel()
        if ranked:
            y, x = ranks(y, cells[:, self.cell]), ranks(x, weights)
        total = weights.sum(1, keepdims=True)
        sums = _sums(y, self.cell, cells.shape[1])
        y_mean = (cells * sums).sum(1, keepdims=True) / total
        x = x - (weights * x).sum(1, keepdims=True) / total
        of_y = (cells * _sums(np.square(y - y_mean), self.cell, cells.shape[1])).sum(1)
        of_x = (weights * x * x).sum(1)
        shared = (cells * x * sums).sum(1)
        size, least = of_x * of_y, 1e-20 * np.square(total[:, 0])
        return np.divide(shared, np.sqrt(size), out=np.full(len(shared), math.nan),
                         where=size > least)  # fmt: skip


def _sums(values: np.ndarray, place: np.ndarray, count: int) -> np.ndarray:
    """Return sums [rows, count] of values [rows, points] over points of the same place."""
    at = (np.arange(len(values))[:, None] * count + place).ravel()
    return np.bincount(at, values.ravel(), len(values) * count).reshape(len(values), count)


def correlate(
    panel: Panel,
    given: Sequence[str] = (),
    *,
    over: Sequence[str] = ("bases", "tasks"),
    resamples: int = RESAMPLES,
    exchanges: int = EXCHANGES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Correlation]:
    """Return Spearman's, Pearson's and Kendall's correlation of a panel's two sides.

    Every point is a tuned model on a task. Controls are estimated anew in every resample (for
    Kendall's once). The interval is Student's around Fisher's z with the bootstrap's standard
    error, bases and tasks drawn independently, and as many degrees of freedom as the fewer of the
    two, less one. For p, bases exchange their in-context rows, all tasks at once: difficulty stays
    as it is and creates nothing, and what a base does on one task may depend on another. With
    controls their residuals are exchanged and controlled again (Freedman and Lane 1983).

    Args:
        panel: tuned models and their bases.
        given: controls, any of task, size, family, model.
        over: what is drawn anew, bases and tasks or one of them.
        resamples: of the bootstrap.
        exchanges: of bases; all orders where there are no more.
        level: of the interval.
        seed: of both.

    Source: Owen 2007 (crossed bootstrap), Freedman and Lane 1983, Spearman 1910 and Brown 1910
    (ceiling).
    """
    one = Controlled(panel, given)
    bases, tasks = len(panel.bases), len(panel.tasks)
    rng = np.random.default_rng(seed)
    least = min(bases if "bases" in over else tasks, tasks if "tasks" in over else bases)
    if not one.is_defined or len(one.cell) < 3 or least < 2:
        note = one.note or "too few points"
        return {name: _nothing(panel, note) for name in COEFFICIENTS}
    by_base, by_task = (
        resampled_counts(rng, count, resamples, least_distinct=2)
        if name in over else np.ones((resamples, count))
        for name, count in (("bases", bases), ("tasks", tasks))
    )  # fmt: skip
    orders = _orders(rng, bases, exchanges)
    whole = np.ones((1, bases)), np.ones((1, tasks))
    flat = np.ones((1, bases * tasks))
    y, x = one.sides()
    y_left, x_left = one.left(y, x, *whole)
    moved = x_left.reshape(bases, tasks)[orders].reshape(len(orders), -1)
    moved = one.left(y_left, moved, *whole)[1]
    again = _again(one, y, x, by_base, by_task)
    halves = [one.left(*one.sides(half), *whole) for half in (1, 2)]
    out = {}
    for name, ranked in (("spearman", True), ("pearson", False)):
        value = one.coefficient(y_left, x_left, flat, ranked=ranked)
        ceiling = _ceiling(one, halves, flat, ranked)
        exchanged = one.coefficient(y_left, moved, flat, ranked=ranked)
        out[name] = _judged(one, value, again[name], exchanged, float(least - 1), level, *ceiling)
    kendall = Kendall(y_left[0], one.cell, bases * tasks)
    cells = (by_base[:, :, None] * by_task[:, None, :]).reshape(resamples, -1)
    most = max(199, KENDALL_CELLS // (bases * tasks) ** 2)
    out["kendall"] = _judged(one, kendall.of(x_left[0], flat), kendall.of(x_left[0], cells),
                             kendall.permuted(moved[:most]), float(least - 1), level,
                             math.nan, math.nan)  # fmt: skip
    return out


def _again(
    one: Controlled, y: np.ndarray, x: np.ndarray, by_base: np.ndarray, by_task: np.ndarray
) -> dict[str, np.ndarray]:
    """Return both coefficients in every resample, the controls estimated anew."""
    found: dict[str, list[np.ndarray]] = {"spearman": [], "pearson": []}
    step = max(1, CHUNK_CELLS // len(one.cell))
    for start in range(0, len(by_base), step):
        bases, tasks = by_base[start : start + step], by_task[start : start + step]
        cells = (bases[:, :, None] * tasks[:, None, :]).reshape(len(bases), -1)
        own, other = one.left(y, x, bases, tasks)
        for name, values in found.items():
            values.append(one.coefficient(own, other, cells, ranked=name == "spearman"))
    return {name: np.concatenate(values) for name, values in found.items()}


def _orders(rng: np.random.Generator, bases: int, exchanges: int) -> np.ndarray:
    """Return orders of the bases [exchanges, bases], the one they have first."""
    if bases <= 8 and math.factorial(bases) <= exchanges + 1:
        return np.array(list(all_orders(range(bases))), int)
    found = rng.random((exchanges, bases)).argsort(1)
    return np.concatenate([np.arange(bases)[None], found])


def _ceiling(
    one: Controlled,
    halves: Sequence[tuple[np.ndarray, np.ndarray]],
    flat: np.ndarray,
    ranked: bool,
) -> tuple[float, float]:
    """Return the ceiling of the correlation, and the correlation without errors of measurement.

    Reliabilities are those of halves of the queries, the ceiling that of all (Spearman-Brown). The
    correlation corrected for it is across halves: the same queries on both sides would share
    their errors.
    """
    (ya, xa), (yb, xb) = halves
    points = np.ones(ya.shape)
    ranked_y = [ranks(y, points) if ranked else y for y in (ya, yb)]
    by_y = float(pearson(ranked_y[0], ranked_y[1], points)[0])
    weights = one.counts.reshape(1, -1).astype(float)
    ranked_x = [ranks(x, weights) if ranked else x for x in (xa, xb)]
    by_x = float(pearson(ranked_x[0], ranked_x[1], weights)[0])
    if not (by_y > 0 and by_x > 0):
        return math.nan, math.nan
    across = [float(one.coefficient(y, x, flat, ranked=ranked)[0]) for y, x in ((ya, xb), (yb, xa))]
    ceiling = math.sqrt(4 * by_y * by_x / ((1 + by_y) * (1 + by_x)))
    return ceiling, sum(across) / 2 / math.sqrt(by_y * by_x)


def _judged(
    one: Controlled,
    found: np.ndarray,
    again: np.ndarray,
    exchanged: np.ndarray,
    df: float,
    level: float,
    ceiling: float,
    disattenuated: float,
) -> Correlation:
    value, spread = float(found[0]), _z(again[np.isfinite(again)])
    error = float(np.std(spread, ddof=1)) if np.size(spread) > len(again) // 2 else math.nan
    if error < 1e-12 and abs(value) < 0.9999:
        # Resamples of two bases and two tasks leave one that can be correlated: they tell nothing.
        error = math.nan
    reach = -float(scipy.special.stdtrit(df, (1 - level) / 2)) * error
    low, high = (float(np.tanh(_z(value) + side * reach)) for side in (-1, 1))
    # An exchange that leaves nothing to correlate counts as no less extreme.
    tails = [np.where(np.isfinite(exchanged), side * exchanged, math.inf) >= side * value - 1e-9
             for side in (1, -1)]  # fmt: skip
    p = min(1.0, 2 * min(float(tail.mean()) for tail in tails))
    panel = one.panel
    return Correlation(value, low, high, p if math.isfinite(value) else math.nan, error, df,
                       ceiling, disattenuated, len(panel.bases), len(panel.of),
                       len(panel.tasks), len(exchanged), one.note)  # fmt: skip


def _nothing(panel: Panel, note: str) -> Correlation:
    nan, models, tasks = math.nan, len(panel.of), len(panel.tasks)
    return Correlation(nan, nan, nan, nan, nan, nan, nan, nan, len(panel.bases), models, tasks, 0,
                       note)  # fmt: skip
