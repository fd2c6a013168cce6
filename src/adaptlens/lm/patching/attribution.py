"""Gradient estimates of what patching a unit changes."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from adaptlens.lm.hooks import Activations, hooked, unit_width
from adaptlens.lm.load import LM
from adaptlens.lm.patching.gradients import Batch, Method, check_method, each_batch
from adaptlens.lm.patching.patch import all_units, check_pairs
from adaptlens.lm.prefix.forward import Progress
from adaptlens.lm.units import Direction, Pair, UnitKind
from adaptlens.types import Weights


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
) -> Float32[np.ndarray, "pairs sites units"]:
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
        estimates, units as `patch.all_units` orders them.

    Raises:
        UserError: as `patch.sweep`; or an unknown method.
    """
    check_method(method, steps)
    check_pairs(lm, pairs, weights)
    parts = lm.architecture
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


def _places(pairs: Sequence[Pair], batch: Batch) -> Float32[Tensor, "pairs sites seq"]:
    """Return one where a site has the place, for places from the batch's start on."""
    some = [pairs[n] for n in batch.numbers]
    seq = batch.base.shape[1]
    at = torch.zeros(len(some), len(some[0].sites), seq - batch.start, device=batch.base.device)
    for row, pair in enumerate(some):
        for site, places in enumerate(pair.sites):
            at[row, site, [place - batch.start for place in places]] = 1
    return at


def _products(
    batch: Batch, where: Sequence[tuple[UnitKind, int]], method: Method, steps: int
) -> Activations:
    """Return gradient times difference, float32 [pairs, places, features], by kind and layer."""
    total: Activations = {}
    own: Activations = {}
    inputs = batch.inputs(method, steps)
    for embeddings in inputs:
        passing: Activations = {}

        def keep(
            kind: UnitKind, layer: int, states: Tensor, passing: Activations = passing
        ) -> None:
            if torch.is_grad_enabled():
                passing[kind, layer] = states

        with hooked(batch.parts, where, keep):
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
