"""The error of a mean over crossed queries, draws and templates, and its sign flips."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float

from adaptlens.stats.template_effects import TemplateEffects

Number = float | np.ndarray

ENUMERATED_BITS = 12
"""With no more signs than this to flip, every pattern is tried."""

CHUNK_CELLS = 4_000_000
"""Sign patterns are tried in chunks of about this many numbers, to bound memory."""


@dataclass(frozen=True)
class MeanSquares:
    """The mean squares of crossed random effects, each divided by its number of cells.

    Attributes:
        queries: how many.
        draws: how many, of each block.
        by_query: of what queries differ by.
        by_draw: of what the draws of each block differ by.
        by_rest: of what is left in each block.
        of_templates: what the choice of templates adds to the variance of the mean.
        templates_spread: their part of the sum in Satterthwaite's approximation.
        worth: of each query, below 1 where they are clusters of unequal size
            (`clusters.effective_clusters`).
    """

    queries: int
    draws: tuple[int, ...]
    by_query: float
    by_draw: tuple[float, ...]
    by_rest: tuple[float, ...]
    of_templates: float = 0.0
    templates_spread: float = 0.0
    worth: float = 1.0

    @property
    def effective_queries(self) -> float:
        """As many queries as tell as much about the error."""
        return self.worth * self.queries

    @property
    def variance(self) -> float:
        """The variance of the mean."""
        found = float(_variance(self.by_query, self.by_draw, self.by_rest))
        return found + self.of_templates

    @property
    def df(self) -> float:
        """The degrees of freedom of `variance`. Source: Satterthwaite 1946."""
        of_queries = max(1.0, self.effective_queries - 1)
        spread = self.by_query**2 / of_queries
        for many, draws, rest in zip(self.draws, self.by_draw, self.by_rest, strict=True):
            spread += (draws**2 + rest**2 / of_queries) / (many - 1)
        return self.variance**2 / (spread + self.templates_spread)


class Crossed:
    """The error of a mean over queries x draws, and how it varies under sign flips.

    The mean is the sum of the means of `blocks`, which share the queries and
    have their own draws. Its variance is that of crossed random effects, from mean squares; the
    flips keep each draw's effect, each query's effect and what is left, and flip their signs
    (left over: the product of the two), which is a two-way wild bootstrap with the null imposed.
    `center` takes the mean out first. Without flips, Student's t stands in for them.

    Where conditions were read under several templates, `blocks` are means over the templates and
    `templates` holds what each set of templates adds; its effects flip too.

    Where the columns are clusters of unequal size, `effective` says how many of one size they are
    worth. Degrees of freedom count those, and Student's t always has its say: flips are exact for
    columns that are alike.

    Source: Cornfield and Tukey 1956 (mean squares), Satterthwaite 1946, MacKinnon, Nielsen and
    Webb 2021 (wild bootstrap with multiway clustering).
    """

    def __init__(
        self,
        blocks: Sequence[Float[np.ndarray, "_repeats queries"]],
        drawn: bool,
        *,
        seed: int,
        flips: int,
        center: bool = False,
        templates: Sequence[TemplateEffects] = (),
        effective: float | None = None,
    ) -> None:
        self._templates = templates
        columns = np.sum([block.mean(0) for block in blocks], axis=0)
        self.effective_queries = float(columns.size) if effective is None else effective
        is_unequal = self.effective_queries < columns.size
        self.cautious = drawn or bool(templates) or is_unequal
        self.mean = float(columns.mean())
        self.queries = columns.size
        self._columns = columns - self.mean if center else columns
        self._effects = [_split(block) for block in blocks if len(block) > 1]
        squares = [_mean_squares(rows, rest) for rows, rest in self._effects]
        shape = [rest.size for _, rest in self._effects]
        by_draw = [draws / size for (draws, _), size in zip(squares, shape, strict=True)]
        by_rest = [rest / size for (_, rest), size in zip(squares, shape, strict=True)]
        by_query = float(columns.var(ddof=1)) / self.queries
        self.squares = MeanSquares(
            self.queries,
            tuple(len(rows) for rows, _ in self._effects),
            by_query,
            tuple(by_draw),
            tuple(by_rest),
            sum(one.variance for one in templates),
            sum(one.spread for one in templates),
            self.effective_queries / self.queries,
        )
        scale = max(1e-300, float(np.square(columns).mean()), *(b.max() ** 2 for b in blocks))
        variance = self.squares.variance
        self.stderr = math.sqrt(variance) if variance > 1e-24 * scale else 0.0
        self.df = self.squares.df if self.stderr > 0 else self.effective_queries - 1
        self._flip(seed, flips)

    def _flip(self, seed: int, flips: int) -> None:
        """Set the studentized mean under sign flips, as they come and by sorted absolute value.

        Two of the same shape and seed flip by the same patterns in the same order.
        """
        bits = self.queries + sum(len(rows) for rows, _ in self._effects)
        bits += sum(len(one.effects) for one in self._templates)
        self.enumerated = flips > 0 and bits <= ENUMERATED_BITS
        total = 2**bits if self.enumerated else flips
        rng = np.random.default_rng(seed)
        chunk = max(1, CHUNK_CELLS // self.queries)
        found = []
        for start in range(0, total, chunk):
            size = min(chunk, total - start)
            if self.enumerated:
                ones: np.ndarray = np.arange(start, start + size)[:, None] >> np.arange(bits) & 1
            else:
                ones = np.unpackbits(rng.integers(0, 256, (size, -(-bits // 8)), np.uint8), axis=1)
            found.append(self._studentized(2.0 * ones[:, :bits] - 1.0))
        self.signed = np.concatenate(found) if found else np.zeros(0)
        self.flipped = np.sort(np.abs(self.signed))

    def _studentized(self, signs: np.ndarray) -> np.ndarray:
        by_query, rest_of_signs = signs[:, : self.queries], signs[:, self.queries :]
        columns = by_query * self._columns
        by_draw, by_rest = [], []
        for rows, rest in self._effects:
            repeats = len(rows)
            own, rest_of_signs = rest_of_signs[:, :repeats], rest_of_signs[:, repeats:]
            inner = by_query @ rest.T
            flipped_rows = own * (rows + inner / self.queries)
            flipped_columns = (own @ rows)[:, None] / repeats + by_query * (own @ rest) / repeats
            columns = columns + flipped_columns
            grand = flipped_rows.mean(1)
            of_rows = self.queries * (flipped_rows**2).sum(1)
            of_columns = repeats * (flipped_columns**2).sum(1)
            of_all = self.queries * (rows**2).sum() + (rest**2).sum() + 2 * inner @ rows
            of_mean = rest.size * grand**2
            left_over = of_all - of_rows - of_columns + of_mean
            by_draw.append((of_rows - of_mean) / (repeats - 1) / rest.size)
            df = (repeats - 1) * (self.queries - 1)
            by_rest.append(np.maximum(0.0, left_over) / df / rest.size)
        variance = _variance(columns.var(1, ddof=1) / self.queries, by_draw, by_rest)
        mean = columns.mean(1)
        for one in self._templates:
            many = len(one.effects)
            own, rest_of_signs = rest_of_signs[:, :many], rest_of_signs[:, many:]
            shift, added = one.flipped(own)
            mean, variance = mean + shift, variance + added
        size = max(1e-150, float(np.sqrt(np.square(self._columns).mean())))
        constant = variance <= (1e-12 * size) ** 2
        unbounded = np.where(np.abs(mean) <= 1e-12 * size, 0.0, np.inf)
        return np.where(constant, unbounded, mean / np.sqrt(np.where(constant, 1.0, variance)))

    def tail(self, x: float, *, cautious: bool = False) -> float:
        """Return the chance, one-sided, of a studentized mean of at least x with no effect.

        With draws or templates, or if `cautious`, never below Student's t: flips of few draws,
        and of few queries that differ, reach few values.
        """
        if x < 0:
            return 1 - self.tail(-x, cautious=cautious)
        students = float(scipy.special.stdtr(self.df, -x))
        if not self.flipped.size:
            return students
        above = self.flipped.size - int(np.searchsorted(self.flipped, x * (1 - 1e-9), "left"))
        share = above / self.flipped.size
        if not self.enumerated:
            share = (above + 1) / (self.flipped.size + 1)
        return max(share / 2, students) if self.cautious or cautious else share / 2

    def critical(self, alpha: float, *, cautious: bool = False) -> float:
        """Return the studentized mean at or below which the two-sided p-value exceeds alpha."""
        size = self.flipped.size
        students = -float(scipy.special.stdtrit(self.df, alpha / 2))
        if not size:
            return students
        allowed = alpha * size if self.enumerated else alpha * (size + 1) - 1
        above = math.floor(allowed + 1e-9)
        if above < 0:
            return math.inf
        flipped = float(self.flipped[::-1][min(above, size - 1)])
        return max(flipped, students) if self.cautious or cautious else flipped


@dataclass(frozen=True)
class Expected:
    """What stands in for `Crossed` where a mean and its error are expected and were not seen.

    Attributes:
        mean: the mean.
        squares: its mean squares.
    """

    mean: float
    squares: MeanSquares

    @property
    def queries(self) -> int:
        """How many queries there are."""
        return self.squares.queries

    @property
    def effective_queries(self) -> float:
        """As many queries as tell as much about the error."""
        return self.squares.effective_queries

    @property
    def stderr(self) -> float:
        """The error of the mean."""
        return math.sqrt(self.squares.variance)

    @property
    def df(self) -> float:
        """The degrees of freedom of the error: those of queries where nothing varies."""
        return self.squares.df if self.squares.variance > 0 else self.effective_queries - 1.0

    def tail(self, studentized: float, *, cautious: bool = False) -> float:
        """Return the chance of a studentized mean so large; `cautious` changes nothing."""
        return float(scipy.special.stdtr(self.df, -studentized))

    def critical(self, alpha: float, *, cautious: bool = False) -> float:
        """Return Student's critical value, two-sided; `cautious` changes nothing."""
        return -float(scipy.special.stdtrit(self.df, alpha / 2))


def _split(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the effects of the rows, and what rows and columns leave [repeats, queries]."""
    rows = block.mean(1) - block.mean()
    return rows, block - block.mean(0) - rows[:, None]


def _mean_squares(rows: np.ndarray, rest: np.ndarray) -> tuple[float, float]:
    repeats, queries = rest.shape
    of_rows = queries * float(np.square(rows).sum()) / (repeats - 1)
    return of_rows, float(np.square(rest).sum()) / ((repeats - 1) * (queries - 1))


def _variance(by_query: Number, by_draw: Sequence[Number], by_rest: Sequence[Number]) -> Number:
    """Return the variance of the mean from mean squares, each divided by its number of cells.

    Queries plus draws less what both contain; no component counts as negative.
    """
    found = np.maximum(by_query, sum(by_rest))
    for draws, rest in zip(by_draw, by_rest, strict=True):
        found = found + np.maximum(0.0, draws - rest)
    return found
