"""How far two conditions' circuits are apart: distance, correlation of profiles, strength.

All are made of cross-validated products of profiles, in which no query and no draw meets itself,
so that noise, also noise that both conditions share, adds nothing on average. Our own
operationalization; `overlap` and `transfer` have the other two numbers. See docs/methods.md.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from adaptlens.circuits.profiles import Patched, apart, num_effective, reliability, squared_effects
from adaptlens.errors import UserError
from adaptlens.formatting import fixed
from adaptlens.stats.resampling import Draws, Quantity, Weights
from adaptlens.types import NO_DRAWS

ENOUGH = 0.5
"""A correlation is corrected only where both profiles are repeated at least so well."""


class Product:
    """The cross-validated product of two conditions' profiles, summed over units.

    Attributes:
        value: the sum.
        influence: as in `stats.resampling.Quantity`.
    """

    def __init__(
        self,
        a: Patched,
        b: Patched,
        *,
        weights: Float[np.ndarray, " units"] | None = None,
        centered: bool = False,
    ) -> None:
        """Multiply every cell of one condition with every cell of the other.

        Args:
            a: a condition.
            b: another, or the same.
            weights: of the units in the sum; 1 unless given.
            centered: take the mean over units out first.
        """
        self._draws = (a.draws, b.draws)
        self._rows, self._columns = apart(a.draws, b.draws), apart(a.queries, b.queries)
        left, right = (_cells(one, centered) for one in (a, b))
        keep = np.kron(self._rows, self._columns)
        self._products = (left * (1.0 if weights is None else weights)) @ right.T * keep
        self.value = float(self._products.sum() / keep.sum())
        shapes = [(len(one.draws), len(one.queries)) for one in (a, b)]
        self.influence: dict[Draws, np.ndarray] = {}
        for one, axis, shape in zip((a, b), (1, 0), shapes, strict=True):
            counts = np.maximum(keep.sum(axis), 1)
            by_cell = (self._products.sum(axis) / counts).reshape(shape)
            by_cell = by_cell - by_cell.mean()
            self.influence[one.draws] = self.influence.get(one.draws, 0.0) + by_cell

    def resampled(self, weights: Weights) -> Float[np.ndarray, " resamples"]:
        """Return the sum in each resample; NaN where it has no two draws that differ."""
        left, right = (weights.of(one) for one in self._draws)
        rows = (weights.draws[self._draws[0]] @ self._rows) * weights.draws[self._draws[1]]
        columns = (weights.queries @ self._columns) * weights.queries
        return self.between(left, right, rows.sum(1) * columns.sum(1))

    def between(
        self,
        left: Float[np.ndarray, "resamples left_cells"],
        right: Float[np.ndarray, "resamples right_cells"],
        count: Float[np.ndarray, " resamples"],
    ) -> Float[np.ndarray, " resamples"]:
        """Return the sum for weights of cells on either side.

        Args:
            left: weights of the first condition's cells.
            right: weights of the second's.
            count: the weight of all pairs.
        """
        total = ((left @ self._products) * right).sum(1)
        return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def distance(a: Patched, b: Patched) -> Quantity:
    """Return D_cv: the squared distance of two profiles in units of their mean power.

    0 on average where the true profiles are equal, however noisy, and then as often below 0 as
    above, roughly; about 2 where they have nothing in common. Changed by strength as well as by
    place: profiles p and c * p are 2 (1 - c)^2 / (1 + c^2) apart. NaN where the mean
    cross-validated power is not above 0: there is no profile to be far from.

    Source: peers' cross-validated distance is that of Walther et al. 2016 over two halves; all
    splits at once, draws crossed with queries, and the division by power are ours.

    Raises:
        UserError: Other units or queries.
    """
    comparable(a, b)
    return _made_of(_distance, [Product(*pair) for pair in _pairs(a, b)], is_distance=True)


def _distance(aa: np.ndarray, ab: np.ndarray, bb: np.ndarray) -> np.ndarray:
    return _nonnegative(aa + bb) * 2 * (aa + bb - 2 * ab) / (aa + bb)


def correlation_quantity(a: Patched, b: Patched) -> Quantity:
    """Return r of the true profiles over units, to be judged over draws and queries.

    NaN where either has no spread beyond noise. It may exceed 1, as any correlation that is
    corrected for noise.
    """
    comparable(a, b)
    return _made_of(_correlation, [Product(*pair, centered=True) for pair in _pairs(a, b)])


def _correlation(aa: np.ndarray, ab: np.ndarray, bb: np.ndarray) -> np.ndarray:
    return _nonnegative(aa) * _nonnegative(bb) * ab / np.sqrt(aa * bb)


def strength(a: Patched, b: Patched) -> Quantity:
    """Return the logarithm of how much larger b's total effect is than a's; 0 where it is equal.

    Total effect is the root of the cross-validated power, the length of the profile without noise.
    It separates "re-weighted" (strength alone) from "re-routed" (correlation and overlap).
    """
    comparable(a, b)
    found = [Product(one, one) for one in (a, b)]
    return _made_of(
        lambda aa, bb: np.log(_nonnegative(bb) * bb / (_nonnegative(aa) * aa)) / 2, found
    )


def spread(a: Patched, b: Patched) -> Quantity:
    """Return the logarithm of how many times more units share the work in b than in a.

    Of `circuits.profiles.num_effective`; resampled to first order. NaN where either is.
    """
    comparable(a, b)
    influence: dict[Draws, np.ndarray] = {}
    totals: list[tuple[float, Product]] = []
    value = math.log(num_effective(b) / num_effective(a))
    for one, sign in ((a, -1.0), (b, 1.0)):
        squares = squared_effects(one)
        slopes = 2 / squares.sum() - 2 * squares / np.square(squares).sum()
        product = Product(one, one, weights=sign * slopes)
        totals.append((product.value, product))
        influence[one.draws] = influence.get(one.draws, 0.0) + product.influence[one.draws]

    def resampled(weights: Weights) -> np.ndarray:
        found = np.full(len(weights.queries), value)
        for total, product in totals:
            found = found + product.resampled(weights) - total
        return found

    return Quantity(value, influence, resampled)


@dataclass(frozen=True)
class Correlation:
    """How alike two profiles are over units, whatever their strength.

    Attributes:
        corrected: r of the true profiles; NaN where it is undefined.
        reason: why it is undefined; else empty.
    """

    corrected: float
    reason: str

    @property
    def shift(self) -> float:
        """1 - r, 0 where the true profiles are alike."""
        return 1 - self.corrected


def correlation(a: Patched, b: Patched) -> Correlation:
    """Return the correlation of two profiles over units, corrected for noise.

    Divided by the root of both reliabilities, as Spearman (1904) did. *Changed*: the covariance is
    cross-validated, too, since what both conditions owe to the same queries is not likeness of
    circuits. Undefined unless both reliabilities exceed 0.5.

    Raises:
        UserError: Other units or queries.
    """
    comparable(a, b)
    reason = _unreliable((a, b), (reliability(a), reliability(b)))
    corrected = correlation_quantity(a, b).value if not reason else math.nan
    return Correlation(corrected, reason)


def _unreliable(conditions: Sequence[Patched], found: Sequence[float]) -> str:
    for one, value in zip(conditions, found, strict=True):
        if not value > ENOUGH:
            return (f"the profile of {one.name} is repeated by other draws and queries too little "
                    f"(reliability {fixed(value, 2)}; above {ENOUGH:g} is needed)")  # fmt: skip
    return ""


def repeat_products(a: Patched, b: Patched) -> Float[np.ndarray, "a_repeats b_repeats"]:
    """Return the products of profiles draw by draw.

    Cross-validated over queries alone.
    """
    keep = apart(a.queries, b.queries)
    total = a.shares.sum(1) @ b.shares.sum(1).T
    rows, columns = np.nonzero(~keep)
    total -= np.einsum("riu,siu->rs", a.shares[:, rows], b.shares[:, columns], optimize=True)
    return total / keep.sum()


def _pairs(a: Patched, b: Patched) -> list[tuple[Patched, Patched]]:
    return [(a, a), (a, b), (b, b)]


def _cells(one: Patched, centered: bool) -> np.ndarray:
    """Return the shares of all cells [repeats * queries, units]."""
    cells = one.shares.reshape(-1, one.shares.shape[2])
    return cells - cells.mean(1, keepdims=True) if centered else cells


def _made_of(
    f: Callable[..., np.ndarray], found: Sequence[Product], *, is_distance: bool = False
) -> Quantity:
    """Return a function of products, with what the cells contribute to it, to first order."""
    values = np.array([[one.value] for one in found])
    # Derivatives by a complex step, exact to rounding: Squire and Trapp 1998.
    step = 1e-20
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes = [
            float(np.imag(f(*(values + 1j * step * unit[:, None])))[0]) / step
            for unit in np.eye(len(values))
        ]
    influence: dict[Draws, np.ndarray] = {}
    for slope, one in zip(slopes, found, strict=True):
        for draws, table in one.influence.items():
            influence[draws] = influence.get(draws, 0.0) + slope * table

    def resampled(weights: Weights) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.real(f(*(one.resampled(weights) for one in found)))

    with np.errstate(invalid="ignore", divide="ignore"):
        return Quantity(float(np.real(f(*values))[0]), influence, resampled, is_distance)


def _nonnegative(power: np.ndarray) -> np.ndarray:
    """Return 1 where a power is above 0, and NaN where it is not: there is nothing to divide by."""
    return np.where(np.real(power) > 0, 1.0, np.nan)


def comparable(a: Patched, b: Patched) -> None:
    """Check that two conditions can be compared.

    Raises:
        UserError: Other units or queries, or only some of the draws in common.
    """
    if tuple(a.units) != tuple(b.units):
        raise UserError(f"{a.name} and {b.name} have other units; patch the same ones in both.")
    if a.queries != b.queries:
        raise UserError(f"{a.name} has {len(a.queries)} queries and {b.name} {len(b.queries)}, or "
                        "others; keep those that both have, in the same order.")  # fmt: skip
    shared = set(a.draws) & set(b.draws) - set(NO_DRAWS)
    if shared and a.draws != b.draws:
        raise UserError(f"{a.name} and {b.name} share some of their draws ({sorted(shared)}); give "
                        "the same ones in the same order, or none in common.")  # fmt: skip
