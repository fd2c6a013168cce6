"""How far an answer depends on how it was asked: specification curve and shares of variance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from adaptlens.errors import UserError, unknown


@dataclass(frozen=True, eq=False)
class Curve:
    """One answer under every specification.

    Attributes:
        median: of the values.
        same_sign: share of specifications with the sign of the median.
        off_zero: share whose interval lies wholly on that side of 0.
        opposite: share whose interval lies wholly on the other side.
        count: how many specifications have a value; others are in no share.
    """

    median: float
    same_sign: float
    off_zero: float
    opposite: float
    count: int


def specification_curve(
    table: pd.DataFrame, *, value: str = "value", low: str = "low", high: str = "high"
) -> Curve:
    """Return the curve of a table with one row a specification.

    Specifications share their data, so shares say how robust an answer is to choices and are no
    p-values.

    Args:
        table: columns value, low and high, and one for each choice (metric, direction, ...).
        value: name of the column with the number.
        low: with the lower end of its interval.
        high: with the upper end.

    Source: Simonsohn, Simmons and Nelson 2020.

    Raises:
        UserError: A column is missing, or no row has a value.
    """
    _columns(table, (value, low, high))
    found = table[np.isfinite(table[value].astype(float))]
    if found.empty:
        raise UserError(f"no specification has a finite '{value}'; there is no curve to draw.")
    numbers = found[value].to_numpy(float)
    above, below = found[low].to_numpy(float) > 0, found[high].to_numpy(float) < 0
    median = float(np.median(numbers))
    sides = (above, below) if median >= 0 else (below, above)
    return Curve(
        median,
        float((np.sign(numbers) == np.sign(median)).mean()),
        float(sides[0].mean()) if median else 0.0,
        float(sides[1].mean()) if median else float((above | below).mean()),
        len(found),
    )


@dataclass(frozen=True)
class Share:
    """How much of the variance of single values one factor makes.

    Attributes:
        factor: its name; "rest" for what no factor explains.
        levels: how many it has.
        variance: its component, as estimated; below 0 by chance where it does nothing.
        share: of the sum of all components, those below 0 counted as 0.
    """

    factor: str
    levels: int
    variance: float
    share: float


def variance_shares(
    table: pd.DataFrame, factors: Sequence[str], *, value: str = "value"
) -> list[Share]:
    """Return the shares of variance of crossed random factors, and of the rest.

    y = mean + one effect for each level of each factor + rest, all independent. Sums of squared
    totals are set equal to their expectations and solved for the variances (Henderson's method 1),
    which is the analysis of variance where every combination occurs equally often, and unbiased
    where it does not. A factor may be two columns joined by a colon ("item:draw"), for what
    their combinations do beyond each by itself. Seeds that mean nothing across conditions are
    nested: give "condition:seed" and not "seed".

    Args:
        table: one row a value: the factors' columns, and the value, in one unit throughout.
        factors: names of columns, or of several joined by colons.
        value: name of the column with the number; rows without a finite one do not count.

    Source: Henderson 1953; Searle, Casella and McCulloch 1992, section 5.3.

    Raises:
        UserError: A column is missing, a factor has one level or one for each row, or two factors
            cannot be told apart.
    """
    _columns(table, [value, *(column for factor in factors for column in factor.split(":"))])
    kept = table[np.isfinite(table[value].astype(float))]
    y, count = kept[value].to_numpy(float), len(kept)
    codes: dict[str, np.ndarray] = {}
    for factor in factors:
        codes[factor] = kept.groupby(factor.split(":"), sort=False).ngroup().to_numpy()
        levels = len(np.unique(codes[factor]))
        if not 1 < levels < count:
            raise UserError(
                f"factor '{factor}' has {levels} levels in {count} rows; expected at least 2, and "
                "some level with two rows; leave it out."
            )
    y = y - y.mean()
    names = list(factors)
    # Expected squared totals: rows are factors and the grand total, columns variances and mean^2.
    expected = np.zeros((len(names) + 2, len(names) + 2))
    totals = np.zeros(len(names) + 2)
    for i, one in enumerate([*names, None, "rows"]):
        groups = codes[one] if one in codes else (
            np.zeros(count, int) if one is None else np.arange(count)
        )  # fmt: skip
        sizes = np.bincount(groups)
        totals[i] = float((np.bincount(groups, weights=y) ** 2 / sizes).sum())
        for j, other in enumerate(names):
            expected[i, j] = _shared(groups, codes[other], sizes)
        expected[i, -2] = len(sizes)
        expected[i, -1] = count
    if np.linalg.matrix_rank(expected / np.abs(expected).max(0)) < len(expected):
        raise UserError(f"factors {', '.join(names)} cannot be told apart in this table; leave one "
                        "out.")  # fmt: skip
    variances = np.linalg.solve(expected, totals)[: len(names) + 1]
    positive = np.maximum(variances, 0)
    total = positive.sum()
    shares = positive / total if total > 0 else np.full(len(positive), math.nan)
    counts = [*(len(np.unique(codes[name])) for name in names), count]
    return [
        Share(name, many, float(variance), float(share))
        for name, many, variance, share in zip(
            [*names, "rest"], counts, variances, shares, strict=True
        )
    ]


def _shared(groups: np.ndarray, others: np.ndarray, sizes: np.ndarray) -> float:
    """Return the sum over cells of (rows in both)^2 / rows in the group."""
    width = int(others.max()) + 1
    cells, counts = np.unique(groups * width + others, return_counts=True)
    return float((counts.astype(float) ** 2 / sizes[cells // width]).sum())


def _columns(table: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.columns:
            raise unknown("column", name, map(str, table.columns))
