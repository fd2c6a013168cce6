"""Gradient estimates of what patching changes, and how far they can be trusted as a screen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adaptlens.errors import UserError
from adaptlens.lm.edits import Recorded, unit_width, visiting
from adaptlens.lm.forward import Progress
from adaptlens.lm.gradients import Batch, Method, check_method, each_batch
from adaptlens.lm.load import LM
from adaptlens.lm.patch import all_units, check_pairs, sweep
from adaptlens.lm.units import METRICS, Direction, Effects, Pair, Unit, UnitKind
from adaptlens.values import Weights


def attribution(
    lm: LM,
    pairs: Sequence[Pair],
    *,
    kinds: Sequence[UnitKind] = ("head", "mlp"),
    direction: Direction = "denoise",
    method: Method = "gradient",
    steps: int = 5,
    weights: Weights | None = None,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Return, to first order, what patching each unit at each site changes in the logit difference.

    That is the sum over the site's places of the gradient of (logit of the answer minus logit of
    the foil, at the last token) with respect to the unit's output, times (its output in the other
    run minus that in the run patched). With "gradient" it is taken in the run patched: attribution
    patching (Nanda 2023; Kramár et al. 2024, arXiv 2403.00745, without the corrections of their
    AtP* for saturated attention and cancellation). With "integrated" it is the mean of the
    gradients in `steps` runs whose token embeddings lie between the two prompts', at the midpoints
    of equal parts: EAP-IG's integration over inputs (Hanna et al. 2024, arXiv 2403.17806), which
    takes the ends of the parts instead, applied to units. Weights stay frozen.

    Only an estimate: a unit whose effect is not linear on the way can be far off in size and sign.

    Args:
        lm: the model.
        pairs: the prompts, all with equally many sites.
        kinds: the kinds of units.
        direction: "denoise" patches the corrupt run with outputs of the clean one, "noise" the
            clean run with outputs of the corrupt one.
        method: how gradients are taken.
        steps: how many gradients "integrated" averages.
        weights: weight changes; `pair.variant` says which reads the pair.
        budget_bytes: memory for the passes; None plans for what is free.
        progress: called with (pairs done, all).

    Returns:
        float32 [pairs, sites, units], units as `patch.all_units` orders them.

    Raises:
        UserError: as `patch.sweep`; or an unknown method.
    """
    check_method(method, steps)
    check_pairs(lm, pairs, weights)
    parts = lm.anatomy
    assert parts is not None
    where = sorted({(unit.kind, unit.layer) for unit in all_units(parts, kinds)})
    slots: dict[tuple[UnitKind, int], list[int]] = {key: [] for key in where}
    for number, unit in enumerate(all_units(parts, kinds)):
        slots[unit.kind, unit.layer].append(number)
    num_units = sum(map(len, slots.values()))
    estimates = np.zeros((len(pairs), len(pairs[0].sites), num_units), np.float32)

    def take(batch: Batch) -> None:
        at = _places(pairs, batch)
        for key, products in _products(batch, where, method, steps).items():
            per_unit = products.unflatten(-1, (-1, unit_width(parts, key[0]))).sum(-1)
            found = torch.einsum("bsq,bqu->bsu", at, per_unit).cpu().numpy()
            estimates[np.ix_(batch.numbers, range(at.shape[1]), slots[key])] = found

    each_batch(lm, pairs, direction, weights, budget_bytes, progress, take)
    return estimates


def _places(pairs: Sequence[Pair], batch: Batch) -> Tensor:
    """Return [pairs, sites, places from the batch's start on], one where a site has the place."""
    some = [pairs[n] for n in batch.numbers]
    seq = batch.base.shape[1]
    at = torch.zeros(len(some), len(some[0].sites), seq - batch.start, device=batch.base.device)
    for row, pair in enumerate(some):
        for site, places in enumerate(pair.sites):
            at[row, site, [place - batch.start for place in places]] = 1
    return at


def _products(
    batch: Batch, where: Sequence[tuple[UnitKind, int]], method: Method, steps: int
) -> Recorded:
    """Return gradient times difference, float32 [pairs, places, features], by kind and layer."""
    total: Recorded = {}
    own: Recorded = {}
    inputs = batch.inputs(method, steps)
    for embeddings in inputs:
        passing: Recorded = {}

        def keep(kind: UnitKind, layer: int, states: Tensor, passing: Recorded = passing) -> None:
            if torch.is_grad_enabled():
                passing[kind, layer] = states

        with visiting(batch.parts, where, keep):
            difference = batch.run(embeddings)
        found = torch.autograd.grad(difference, list(passing.values()), materialize_grads=True)
        for (key, states), gradient in zip(passing.items(), found, strict=True):
            shape = (len(batch.numbers), -1, states.shape[-1])
            share = gradient.reshape(shape).float() / len(inputs)
            total[key] = total[key] + share if key in total else share
            own[key] = states.detach().reshape(shape)
    if method == "integrated":
        own = batch.outputs(batch.base, where)
    other = batch.outputs(batch.other, where)
    return {key: total[key] * (other[key].float() - own[key].float()) for key in where}


@dataclass(frozen=True, eq=False)
class Screened:
    """Estimates for all units, exact effects of some of them, and what the estimates missed.

    A unit is large where patching it changes the logit difference by at least `threshold`, as mean
    over pairs and sites of the size of the change. How many of the units that the screen did not
    rank at its top are large is found from a random sample of them.

    Attributes:
        units: all units.
        estimates: float32 [pairs, sites, units], see `attribution`.
        effects: the exact sweep of the units verified: first the top ones, by rank, then the
            sample.
        changes: float32 [pairs, sites, verified], what they change in the logit difference.
        num_top: how many of the units verified are top ones.
        threshold: from what size on a unit is large, in logits.
        large_top: how many top units are large.
        large_sampled: how many of the sample are.
        recall: estimated share of all large units that are top ones: large_top over itself plus
            large_sampled scaled up to all units not at the top. Nan where no large unit was seen,
            or nothing was sampled of the units there are.
        interval: what the recall is at least and at most, at the level asked for: the numbers of
            large units not at the top that the sample does not refute (exact, hypergeometric).
        slope: of the changes on the estimates, through the origin, over pairs, sites and units
            verified; 1 where estimates are right on the whole. Nan where all are zero.
        rank_correlation: Spearman's, between the verified units' mean sizes of estimate and of
            change; nan under two units.
    """

    units: tuple[Unit, ...]
    estimates: np.ndarray
    effects: Effects
    changes: np.ndarray
    num_top: int
    threshold: float
    large_top: int
    large_sampled: int
    recall: float
    interval: tuple[float, float]
    slope: float
    rank_correlation: float

    @property
    def verified(self) -> tuple[Unit, ...]:
        """The units whose effects are exact."""
        return tuple(self.effects.patches)  # type: ignore[arg-type]


def screened(
    lm: LM,
    pairs: Sequence[Pair],
    *,
    kinds: Sequence[UnitKind] = ("head", "mlp"),
    top: int = 50,
    sample: int = 50,
    seed: int = 0,
    large: float = 0.05,
    level: float = 0.95,
    direction: Direction = "denoise",
    method: Method = "gradient",
    steps: int = 5,
    weights: Weights | None = None,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
) -> Screened:
    """Return gradient estimates for all units, proven exactly for the top ones and for a sample.

    Args:
        lm: the model.
        pairs: the prompts, all with equally many sites.
        kinds: the kinds of units.
        top: how many units to verify, those with the largest mean size of estimate.
        sample: how many of the others to verify, drawn at random without replacement.
        seed: of the draw.
        large: from what share of the mean size of the clean runs' logit difference minus the
            corrupt ones' on a unit counts as large.
        level: of the recall's interval.
        direction: as of `attribution`.
        method: as of `attribution`.
        steps: as of `attribution`.
        weights: as of `attribution`.
        budget_bytes: memory for the passes; None plans for what is free.
        progress: called by the estimates with (pairs done, all), then by the sweep with (patched
            runs done, all).

    Raises:
        UserError: as `attribution`; or no units are to be verified.
    """
    if top < 1 or sample < 0 or large <= 0:
        raise UserError(
            f"a screen of the top {top} units with a sample of {sample} and large units from "
            f"{large} on was asked for; expected at least 1, at least 0 and more than 0."
        )
    estimates = attribution(
        lm,
        pairs,
        kinds=kinds,
        direction=direction,
        method=method,
        steps=steps,
        weights=weights,
        budget_bytes=budget_bytes,
        progress=progress,
    )
    assert lm.anatomy is not None
    units = tuple(all_units(lm.anatomy, kinds))
    order = np.argsort(-np.abs(estimates).mean((0, 1)), kind="stable")
    others = np.random.default_rng([seed, 0x5C4EE]).permutation(order[top:])[:sample]
    verified = [*order[:top].tolist(), *others.tolist()]
    effects = sweep(
        lm,
        pairs,
        units=[units[n] for n in verified],
        direction=direction,
        weights=weights,
        budget_bytes=budget_bytes,
        progress=progress,
    )
    base = effects.corrupt if direction == "denoise" else effects.clean
    metric = METRICS.index("logit_difference")
    changes = effects.values[..., metric] - base[:, None, None, metric]
    gap = float(np.abs(effects.clean - effects.corrupt)[:, metric].mean())
    num_top = len(order[:top])
    is_large = np.abs(changes).mean((0, 1)) >= large * gap
    large_top, large_sampled = int(is_large[:num_top].sum()), int(is_large[num_top:].sum())
    num_others = len(units) - num_top
    low, high = _unseen(num_others, len(others), large_sampled, level)
    expected = large_sampled * num_others / len(others) if len(others) else math.nan
    return Screened(
        units,
        estimates,
        effects,
        changes,
        num_top,
        large * gap,
        large_top,
        large_sampled,
        _share(large_top, expected if num_others else 0.0),
        (_share(large_top, high), _share(large_top, low)),
        *_agreement(estimates[..., verified], changes),
    )


def _share(found: int, missed: float) -> float:
    return found / (found + missed) if found + missed else math.nan


def _unseen(total: int, drawn: int, seen: int, level: float) -> tuple[int, int]:
    """Return the least and most large units among `total` that `seen` of `drawn` do not refute."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])

    def choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
        inside = (k >= 0) & (k <= n)
        n, k = np.where(inside, n, 0), np.where(inside, k, 0)
        logs = factorials[n] - factorials[k] - factorials[n - k]
        return np.where(inside, logs, -np.inf)

    there = np.arange(seen, total - (drawn - seen) + 1)[:, None]
    counts = np.arange(drawn + 1)[None]
    both = choose(there, counts) + choose(total - there, drawn - counts)
    chances = np.exp(both - choose(np.array(total), np.array(drawn)))
    tail = (1 - level) / 2
    at_most, at_least = chances[:, : seen + 1].sum(1), chances[:, seen:].sum(1)
    return int(there[at_least > tail].min()), int(there[at_most > tail].max())


def _agreement(estimates: np.ndarray, changes: np.ndarray) -> tuple[float, float]:
    """Return the slope of changes on estimates, and the rank correlation of units by size."""
    square = float((estimates.astype(np.float64) ** 2).sum())
    slope = float((estimates * changes).sum()) / square if square else math.nan
    if changes.shape[-1] < 2:
        return slope, math.nan
    left, right = (_ranks(np.abs(values).mean((0, 1))) for values in (estimates, changes))
    if not (np.ptp(left) and np.ptp(right)):
        return slope, math.nan
    return slope, float(np.corrcoef(left, right)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 1 on, the mean of theirs for equal values."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
