"""Which heads and MLPs carry a task in one condition: profile, gate, reliability, circuit.

Everything here is made from the patched runs of one condition; `shift` compares two. Our own
operationalization; formulas, sources and error rates: docs/methods.md.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from adaptlens.errors import UserError, unknown
from adaptlens.formatting import in_sentence, percent
from adaptlens.stats import intervals, layerwise
from adaptlens.types import NO_DRAWS

Direction = Literal["denoise", "noise"]
Named = str | tuple[str, int, int]

KINDS = {"H": "head", "MLP": "mlp", "OUT": "residual", "N": "neuron"}
_NAME = re.compile(r"L(\d+)\.(MLP|OUT|H|N)(\d*)")


@dataclass(frozen=True, eq=False)
class Patched:
    """What replacing each unit did to a metric, query by query, in one condition.

    The metric is higher the better the answer (give minus the divergence for "kl"). Two
    conditions with equal `draws` were made from the same training examples: they are resampled
    together. Conditions that are compared have the same queries in the same order.

    Attributes:
        name: of the condition.
        units: their names ("L3.H5", "L3.MLP"); (kind, layer, index) is taken for its name.
        patched: the metric with one unit replaced.
        clean: the metric on the clean prompt, nothing replaced.
        corrupt: on the corrupt prompt.
        floor: what rounding alone does; smaller changes count as none.
        direction: "denoise" puts a unit's clean output into the corrupt run, "noise" the reverse.
        draws: the draw or seed behind each repeat; `NO_DRAWS` where the condition has none.
        queries: a number for each query; 0, 1, 2, ... unless given.
    """

    name: str
    units: tuple[str, ...]
    patched: Float[np.ndarray, "repeats queries units"]
    clean: Float[np.ndarray, "repeats queries"]
    corrupt: Float[np.ndarray, "repeats queries"]
    floor: Float[np.ndarray, "repeats queries"]
    direction: Direction = "denoise"
    draws: tuple[int, ...] = NO_DRAWS
    queries: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the shapes, and give queries their numbers.

        Raises:
            UserError: Shapes that do not fit, a number that is not finite, or fewer than 2 queries.
        """
        object.__setattr__(self, "units", tuple(named(unit) for unit in self.units))
        object.__setattr__(self, "draws", tuple(int(draw) for draw in self.draws))
        if not self.queries:
            object.__setattr__(self, "queries", tuple(range(np.shape(self.clean)[-1])))
        wanted = (len(self.draws), len(self.queries), len(self.units))
        for name in ("patched", "clean", "corrupt", "floor"):
            array = np.asarray(getattr(self, name), float)
            if array.shape != (wanted if name == "patched" else wanted[:2]):
                raise UserError(
                    f"'{name}' of {self.name} has shape {list(array.shape)}; expected "
                    f"{list(wanted if name == 'patched' else wanted[:2])} for its draws, queries "
                    "and units; give one row a draw, also where there is but one."
                )
            if not np.isfinite(array).all():
                raise UserError(
                    f"'{name}' of {self.name} has values that are not finite; leave a query that "
                    "cannot be patched out of all conditions."
                )
            object.__setattr__(self, name, array)
        if self.direction not in ("denoise", "noise"):
            raise unknown("direction", self.direction, ("denoise", "noise"))
        for what, given in (("draws", self.draws), ("units", self.units)):
            if len(set(given)) != len(given):
                raise UserError(f"the {what} of {self.name} repeat; give each of them once.")
        if wanted[1] < 2 or not wanted[2]:
            raise UserError(f"{self.name} has {wanted[1]} queries and {wanted[2]} units; a "
                            "profile needs 2 queries and a unit at least.")  # fmt: skip

    @property
    def drawn(self) -> bool:
        """Whether another draw would have given other values."""
        return self.draws != NO_DRAWS

    @cached_property
    def changes(self) -> Float[np.ndarray, "repeats queries units"]:
        """What each patch changed; 0 where it is below the floor."""
        if self.direction == "denoise":
            found = self.patched - self.corrupt[..., None]
        else:
            found = self.clean[..., None] - self.patched
        return np.where(np.abs(found) < self.floor[..., None], 0.0, found)

    @property
    def clean_corrupt_gap(self) -> Float[np.ndarray, "repeats queries"]:
        """How much better the clean prompt is answered than the corrupt one."""
        return self.clean - self.corrupt

    @cached_property
    def effect_profile(self) -> Float[np.ndarray, " units"]:
        """The share of the gap that each unit carries: mean change over mean gap."""
        return self.shares.mean((0, 1))

    @cached_property
    def shares(self) -> Float[np.ndarray, "repeats queries units"]:
        """What each query adds to the profile; their mean is the profile.

        The ratio of means, linearized: profile + (change - profile * gap) / mean gap. A mean of
        shares over some draws and queries is the profile of these, to first order.
        """
        total = float(self.clean_corrupt_gap.mean())
        if total == 0:
            raise UserError(f"{self.name} answers the clean and the corrupt prompts equally well; "
                            "without a gap there is no profile: ask `gate` first.")  # fmt: skip
        profile = self.changes.mean((0, 1)) / total
        return profile + (self.changes - profile * self.clean_corrupt_gap[..., None]) / total

    def only(self, *kinds: str) -> "Patched":
        """Return the condition with the units of some kinds ("head", "mlp") and no others.

        Raises:
            UserError: There is no such unit.
        """
        kept = [i for i, unit in enumerate(self.units) if kind_of(unit) in kinds]
        if not kept:
            raise unknown(
                "kind of unit", " or ".join(kinds), {kind_of(unit) for unit in self.units}
            )
        units = tuple(self.units[i] for i in kept)
        return replace(self, units=units, patched=self.patched[..., kept])

    def on(self, queries: Sequence[int] | Int[np.ndarray, " kept"]) -> "Patched":
        """Return the condition on some queries, given by their places."""
        kept = np.asarray(queries, int)
        arrays = {name: getattr(self, name)[:, kept]
                  for name in ("patched", "clean", "corrupt", "floor")}  # fmt: skip
        return replace(self, queries=tuple(self.queries[i] for i in kept), **arrays)


def named(unit: Named) -> str:
    """Return the name of a unit, of which (kind, layer, index) may be given instead.

    Raises:
        UserError: It is neither.
    """
    if not isinstance(unit, str):
        kind, layer, index = unit
        tails = {"head": f"H{index}", "mlp": "MLP", "residual": "OUT", "neuron": f"N{index}"}
        if kind not in tails:
            raise unknown("kind of unit", kind, tails)
        return f"L{layer}.{tails[kind]}"
    if not _NAME.fullmatch(unit):
        raise UserError(f"unit '{unit}' was given; expected a name such as L3.H5 or L3.MLP.")
    return str(unit)


def kind_of(unit: str) -> str:
    """Return the kind of a named unit: head, mlp, residual or neuron."""
    found = _NAME.fullmatch(unit)
    assert found
    return KINDS[found[2]]


def layer_of(unit: str) -> int:
    """Return the layer of a named unit."""
    return int(unit[1 : unit.index(".")])


def gate(
    condition: Patched,
    *,
    correct: Shaped[np.ndarray, "repeats queries"] | None = None,
    chance: float | None = None,
    level: float = 0.95,
) -> str:
    """Return why the condition has no circuit, in words; "" where it has one.

    It has none where the model does not tell the clean from the corrupt prompt (the interval of the
    gap, over draws and queries, touches 0 or lies below it), or answers no better than chance.

    Args:
        condition: what was patched.
        correct: whether the clean prompt was answered rightly.
        chance: the accuracy of guessing.
        level: of both intervals.
    """
    gap = layerwise.mean(
        condition.clean_corrupt_gap, condition.drawn and len(condition.draws) > 1, level=level
    )
    said = in_sentence(gap.value, gap.low, gap.high)
    if not gap.low > 0:
        how = "answers the corrupt prompts better" if gap.high < 0 else "does not tell them apart"
        return f"no clean-corrupt gap: {condition.name} {how} ({said})"
    if correct is not None and chance is not None:
        scores = intervals.Scores(np.asarray(correct, float), condition.draws, floor=chance)
        found = intervals.estimate(scores, level=level, flips=0)
        if found.low <= chance:
            return (f"not above chance: {condition.name} answers {percent(found.value)} rightly "
                    f"[{percent(found.low)}, {percent(found.high)}], guessing "
                    f"{percent(chance)}")  # fmt: skip
    return ""


def cross_validated_products(
    left: Float[np.ndarray, "left_repeats left_queries units"],
    right: Float[np.ndarray, "right_repeats right_queries units"],
    *,
    a: Patched,
    b: Patched,
) -> Float[np.ndarray, " units"]:
    """Return the cross-validated product of two profiles, unit by unit.

    The mean of share times share over all pairs of cells that have neither query nor draw in
    common, so that no noise is multiplied with itself: of one condition with itself it estimates
    the square of the true profile without bias, and may be negative. It is the mean over all
    splits into halves of the product of the halves' profiles.

    Args:
        left: shares of `a`.
        right: shares of `b`.
        a: the condition on the left, for its draws and queries.
        b: the condition on the right.

    Source: Walther et al. 2016 (cross-validated distances); leaving out pairs with a common query
    or draw is the U-statistic of Hoeffding 1948 for two crossed samples.
    """
    rows, columns = apart(a.draws, b.draws), apart(a.queries, b.queries)
    own_rows, own_columns = np.nonzero(~rows), np.nonzero(~columns)
    total = left.sum((0, 1)) * right.sum((0, 1))
    total -= (left.sum(1)[own_rows[0]] * right.sum(1)[own_rows[1]]).sum(0)
    total -= (left.sum(0)[own_columns[0]] * right.sum(0)[own_columns[1]]).sum(0)
    for r, s in zip(*own_rows, strict=True):
        total += (left[r, own_columns[0]] * right[s, own_columns[1]]).sum(0)
    return total / (rows.sum() * columns.sum())


def apart(left: Sequence[int], right: Sequence[int]) -> Bool[np.ndarray, "left right"]:
    """Return which pairs of draws, or of queries, are different ones.

    A single draw on both sides is a pair although it is one: there is no other.
    """
    found = np.asarray(left)[:, None] != np.asarray(right)
    return found if found.any() else np.ones_like(found)


def squared_effects(condition: Patched) -> Float[np.ndarray, " units"]:
    """Return the square of the true share of each unit, without bias; may be negative."""
    return cross_validated_products(condition.shares, condition.shares, a=condition, b=condition)


def reliability(condition: Patched) -> float:
    """Return the share of the profile's spread over units that other draws and queries repeat.

    1 is a profile without noise; about 0, or below, is noise alone. Without draws it is the
    correlation of profiles on two halves of the queries, stepped up to the full number by Spearman
    and Brown's formula, with covariances averaged over all splits before they are divided.
    NaN where all units have one effect.

    Source: Spearman 1910, Brown 1910; the closed form over all splits, and over draws, is ours.
    """
    centered = condition.shares - condition.shares.mean(2, keepdims=True)
    spread = float(np.square(centered.mean((0, 1))).sum())
    if spread == 0:
        return math.nan
    return (
        float(cross_validated_products(centered, centered, a=condition, b=condition).sum()) / spread
    )


def num_effective(condition: Patched) -> float:
    """Return how many units share the work: n where n units have equal effects, others none.

    The participation ratio (sum of squares)^2 / sum of fourth powers, with cross-validated squares,
    since noise in a thousand units looks like a thousand small effects. NaN where their sum is not
    above 0.
    """
    squares = squared_effects(condition)
    if squares.sum() <= 0:
        return math.nan
    return float(squares.sum() ** 2 / np.square(squares).sum())


@dataclass(frozen=True)
class Circuit:
    """The units with the largest effects, each with its sign.

    Attributes:
        condition: its name.
        members: unit to share of the gap, the largest first.
    """

    condition: str
    members: Mapping[str, float]


def circuit(condition: Patched, k: int) -> Circuit:
    """Return the k units with the largest effects; fewer where fewer have any.

    Ties go to the first in the order of units.

    Raises:
        UserError: k is below 1 or above the number of units.
    """
    if not 1 <= k <= len(condition.units):
        raise UserError(f"a circuit of {k} units was asked for, of {len(condition.units)} in all; "
                        "expected at least 1 and at most all.")  # fmt: skip
    order = np.argsort(-np.abs(condition.effect_profile), kind="stable")[:k]
    return Circuit(
        condition.name,
        {condition.units[i]: float(condition.effect_profile[i])
         for i in order if condition.effect_profile[i] != 0},
    )  # fmt: skip
