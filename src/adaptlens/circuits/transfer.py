"""Whether one condition's circuit does another's work: functional transfer, and its random sets.

Circuits of other members can be one mechanism; only what they do tells. How well a circuit works
(its faithfulness) is measured elsewhere and comes in as numbers. See docs/methods.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from adaptlens.circuits.profiles import kind_of, layer_of
from adaptlens.errors import UserError
from adaptlens.formatting import in_sentence
from adaptlens.stats import layerwise
from adaptlens.stats.layerwise import Mean
from adaptlens.stats.resampling import BOOTSTRAPS, Draws, Quantity, Weights, interval
from adaptlens.types import NO_DRAWS


@dataclass(frozen=True)
class Transfer:
    """How much of what B's own circuit does in B is done there by A's circuit.

    Attributes:
        found: 1 is as much, 0 no more than random circuits; NaN where it is undefined.
        reason: why it is undefined; else empty.
    """

    found: Mean
    reason: str = ""


def transfer(
    other: Float[np.ndarray, "repeats queries"],
    own: Float[np.ndarray, "repeats queries"],
    random: Float[np.ndarray, "sets repeats queries"],
    *,
    draws: Draws = NO_DRAWS,
    level: float = 0.95,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
) -> Transfer:
    """Return T(A to B) = (F_B(C_A) - F_B(random)) / (F_B(C_B) - F_B(random)), a ratio of means.

    Undefined where B's own circuit is not shown to do better than random ones (the interval of the
    denominator touches 0 or lies below). Not symmetric: show both directions. The error counts
    draws, queries and random sets.

    Args:
        other: F_B(C_A): how well A's circuit works in B, on queries on which
            neither circuit was chosen.
        own: F_B(C_B).
        random: F_B of random circuits matched with A's.
        draws: the draws behind the repeats.
        level: of the interval.
        bootstraps: resamples.
        seed: of the resamples.

    Raises:
        UserError: Shapes that do not fit.
    """
    arrays = [np.asarray(one, float) for one in (other, own, random)]
    other, own, random = arrays
    if other.ndim != 2 or own.shape != other.shape or random.shape[1:] != other.shape:
        raise UserError(
            f"F values of shapes {', '.join(str(list(one.shape)) for one in arrays)} were given; "
            "expected [repeats, queries] twice and [sets, repeats, queries] for the random ones."
        )
    if len(draws) != len(other):
        raise UserError(f"{len(other)} rows of F values were given for {len(draws)} draws; give "
                        "one row a draw.")  # fmt: skip
    chance = random.mean(0)
    above, below = other - chance, own - chance
    nan, queries, repeats = math.nan, other.shape[1], len(other)
    base = layerwise.mean(below, repeats > 1, level=level)
    if not base.low > 0:
        own_effect = in_sentence(base.value, base.low, base.high)
        reason = f"its own circuit does not do more than random ones: {own_effect}"
        return Transfer(Mean(nan, nan, nan, nan, queries, repeats, nan, nan), reason)
    value, total = float(above.mean() / below.mean()), float(below.mean())

    def resampled(weights: Weights) -> np.ndarray:
        cells = weights.of(draws)
        least = cells @ below.ravel()
        found = np.full(len(cells), np.nan)
        return np.divide(cells @ above.ravel(), least, out=found, where=least > 0)

    sets = random.mean((1, 2))
    by_set = float(sets.var(ddof=1)) / len(sets) if len(sets) > 1 else 0.0
    quantity = Quantity(
        value,
        {draws: (above - value * below) / total},
        resampled,
        further_variance=((value - 1) / total) ** 2 * by_set,
    )
    return Transfer(interval(quantity, level=level, bootstraps=bootstraps, seed=seed))


def matched_sets(
    members: Sequence[str] | Mapping[str, float],
    units: Sequence[str],
    count: int,
    *,
    seed: int = 0,
) -> list[tuple[str, ...]]:
    """Return random circuits without the given one's members, as many of each layer and kind.

    Where a layer has too few others of a kind (it has one MLP, which is a member), units of the
    same kind in other layers stand in; where there are none, members of that kind.

    Args:
        members: of the circuit.
        units: all that were patched.
        count: how many sets.
        seed: of the choice.

    Raises:
        UserError: A member is not among the units.
    """
    missing = sorted(set(members) - set(units))
    if missing:
        raise UserError(f"the circuit has {', '.join(missing)}, which was not patched; give all "
                        "units that were.")  # fmt: skip
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, int], list[str]] = {}
    wanted: dict[tuple[str, int], int] = {}
    for unit in units:
        groups.setdefault((kind_of(unit), layer_of(unit)), []).append(unit)
    for unit in members:
        place = (kind_of(unit), layer_of(unit))
        wanted[place] = wanted.get(place, 0) + 1
    others = {place: [unit for unit in group if unit not in members]
              for place, group in groups.items()}  # fmt: skip
    sets = []
    for _ in range(count):
        taken: list[str] = []
        left: dict[str, int] = {}
        for (kind, layer), many in wanted.items():
            pool = others[kind, layer]
            near = min(many, len(pool))
            taken += _some(rng, pool, near)
            left[kind] = left.get(kind, 0) + many - near
        for kind, many in left.items():
            pool = [unit for (k, _), group in others.items() if k == kind
                    for unit in group if unit not in taken]  # fmt: skip
            far = min(many, len(pool))
            taken += _some(rng, pool, far)
            pool = [unit for unit in members if kind_of(unit) == kind]
            taken += _some(rng, pool, many - far)
        sets.append(tuple(unit for unit in units if unit in set(taken)))
    return sets


def _some(rng: np.random.Generator, pool: Sequence[str], count: int) -> list[str]:
    return [pool[i] for i in rng.choice(len(pool), count, replace=False)] if count else []
