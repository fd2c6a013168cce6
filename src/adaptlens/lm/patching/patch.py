"""Exact activation patching: what changes when a unit's output is replaced by another run's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch

from adaptlens.errors import UserError, unknown
from adaptlens.lm.architecture import Architecture
from adaptlens.lm.hooks import units_per_layer
from adaptlens.lm.load import LM
from adaptlens.lm.memory import default_budget
from adaptlens.lm.patching.effects import Means, PatchEffects, PatchRequest
from adaptlens.lm.patching.suffix import is_exact
from adaptlens.lm.patching.sweep import run_sweep
from adaptlens.lm.patching.whole import run_whole
from adaptlens.lm.prefix.forward import (
    ForwardRequest,
    ForwardStates,
    Progress,
    run_forward,
)
from adaptlens.lm.prefix.walk import check_lengths, in_place, parted
from adaptlens.lm.spread import check_whole
from adaptlens.lm.units import Ablation, Direction, Effects, Pair, Unit, UnitKind
from adaptlens.types import Weights

__all__ = ["Means", "Method", "all_units", "joint", "sweep", "sweeps", "unit_means"]


def all_units(parts: Architecture, kinds: Sequence[UnitKind]) -> list[Unit]:
    """Return every unit of these kinds: kind by kind, layer by layer, in order.

    Raises:
        UserError: a kind nobody knows.
    """
    for kind in kinds:
        if kind not in get_args(UnitKind):
            raise unknown("kind of unit", kind, get_args(UnitKind))
    return [
        Unit(kind, layer, index)
        for kind in kinds
        for layer in range(parts.num_layers)
        for index in range(units_per_layer(parts, kind))
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """How units are replaced.

    Attributes:
        direction: "denoise" runs the corrupt prompt and puts in the clean run's outputs; "noise"
            runs the clean prompt and takes outputs away.
        ablation: what noise puts in: the corrupt run's outputs ("resample"), `means`, or zero.
        means: what `unit_means` returned, for ablation "mean".
    """

    direction: Direction = "denoise"
    ablation: Ablation = "resample"
    means: Means | None = None


def sweep(
    lm: LM,
    pairs: Sequence[Pair],
    *,
    kinds: Sequence[UnitKind] = ("head", "mlp"),
    direction: Direction = "denoise",
    ablation: Ablation = "resample",
    means: Means | None = None,
    units: Sequence[Unit] | None = None,
    weights: Weights | None = None,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
) -> Effects:
    """Return what each unit, replaced on its own at each site of each pair, changes; exactly.

    The same numbers, up to rounding, as one forward pass per unit, site and pair. A head's output
    is its slice of what enters the output projection; a feed-forward part's is that of its module,
    before any norm the family puts after it.

    Args:
        lm: the model.
        pairs: the prompts, all with equally many sites.
        kinds: the kinds of units to patch.
        direction: as of `Method`.
        ablation: as of `Method`.
        means: as of `Method`.
        units: exactly these units, instead of all of `kinds`.
        weights: weight changes; `pair.variant` says which reads the pair.
        budget_bytes: memory for the passes; None plans for what is free.
        progress: called with (patched runs done, all).

    Returns:
        values [pairs, sites, units, metrics]. KL is the sum of p log(p / q) over the vocabulary,
        p being the clean run's distribution and q the one found.

    Raises:
        UserError: the model's inside is not known; the pairs, units or means do not fit the model
            or each other; or two runs do not fit the memory.
    """
    method = Method(direction, ablation, means)
    if units is None:
        units = all_units(_parts(lm), kinds)
    sets = [(unit,) for unit in units]
    (found,), exact = _ask(lm, pairs, sets, [method], weights, budget_bytes, progress)
    return _effects(found, exact, tuple(units))


def sweeps(
    lm: LM,
    pairs: Sequence[Pair],
    methods: Sequence[Method],
    *,
    kinds: Sequence[UnitKind] = ("head", "mlp"),
    weights: Weights | None = None,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
) -> list[Effects]:
    """Return what `sweep` returns for each method; unpatched prompts are read once for all."""
    units = all_units(_parts(lm), kinds)
    sets = [(unit,) for unit in units]
    found, exact = _ask(lm, pairs, sets, methods, weights, budget_bytes, progress)
    return [_effects(effects, exact, tuple(units)) for effects in found]


def joint(
    lm: LM,
    pairs: Sequence[Pair],
    sets: Sequence[Sequence[Unit]],
    *,
    direction: Direction = "noise",
    ablation: Ablation = "resample",
    means: Means | None = None,
    weights: Weights | None = None,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
) -> Effects:
    """Return what each set of units, all replaced at once, changes; exactly.

    As `sweep` otherwise; values [pairs, sites, sets, metrics]. An empty set changes nothing.
    """
    method = Method(direction, ablation, means)
    (found,), exact = _ask(lm, pairs, sets, [method], weights, budget_bytes, progress)
    return _effects(found, exact, tuple(tuple(units) for units in sets))


@torch.inference_mode()
def _ask(
    lm: LM,
    pairs: Sequence[Pair],
    sets: Sequence[Sequence[Unit]],
    methods: Sequence[Method],
    weights: Weights | None,
    budget_bytes: int | None,
    progress: Progress | None,
) -> tuple[list[PatchEffects], bool]:
    parts = _parts(lm)
    check_pairs(lm, pairs, weights)
    _check_units(parts, sets)
    budget = budget_bytes or default_budget(lm.device)
    wanted = len(methods) * len(pairs) * len(pairs[0].sites) * len(sets)
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, wanted)

    asked = []
    for method in methods:
        _check_method(method.direction, method.ablation)
        request = PatchRequest(
            lm, pairs, sets, method.direction, method.ablation, method.means, weights, budget
        )
        if method.ablation == "mean":
            _check_means(request)
        asked.append(PatchEffects(request, tell))
    variants = [request.variant(n) for n in range(len(pairs))]
    together, alone = parted(lm, [len(pair.clean) for pair in pairs], variants)
    exact = not alone and is_exact(parts)
    for variant in sorted({*together, *alone}):
        swept = together.get(variant, []) if exact else []
        rest = sorted({*together.get(variant, []), *alone.get(variant, [])} - {*swept})
        with in_place(weights, variant):
            run_sweep(swept, asked)
            for effects in asked:
                for n in rest:
                    run_whole(n, effects)
    return asked, exact


def _effects(
    effects: PatchEffects, exact: bool, patches: Sequence[Unit] | Sequence[Sequence[Unit]]
) -> Effects:
    found = effects.values, effects.clean, effects.corrupt, effects.floor
    return Effects(*found, patches, exact)


def _parts(lm: LM) -> Architecture:
    if lm.architecture is None:
        raise UserError(
            f"the inside of '{lm.name}' is not known, so nothing in it can be patched; use a model "
            "of a supported architecture, or measure behavior only."
        )
    check_whole(lm, "patching")
    return lm.architecture


def check_pairs(lm: LM, pairs: Sequence[Pair], weights: Weights | None = None) -> None:
    """Raise where pairs cannot be patched.

    Raises:
        UserError: names the first pair that cannot, and why.
    """
    if not pairs:
        raise UserError("no pairs of prompts were given; expected one at least to patch between.")
    check_lengths(lm, [len(pair.clean) for pair in pairs])
    vocab = _parts(lm).vocab
    variants = weights.num_variants if weights is not None else 1
    for n, pair in enumerate(pairs):
        seq = len(pair.clean)
        if seq != len(pair.corrupt) or not seq:
            raise UserError(
                f"pair {n} has {seq} clean and {len(pair.corrupt)} corrupt tokens; expected as "
                "many: corrupt a prompt by replacing tokens one for one."
            )
        if pair.answer == pair.foil:
            raise UserError(
                f"pair {n} has token {pair.answer} as answer and as foil; expected two tokens to "
                "tell apart: leave the pair out."
            )
        tokens = (*pair.clean, *pair.corrupt, pair.answer, pair.foil)
        if wrong := [token for token in tokens if not 0 <= token < vocab]:
            raise UserError(
                f"pair {n} has the token {wrong[0]}, but '{lm.name}' has {vocab}; use its own "
                "tokenizer."
            )
        if len(pair.sites) != len(pairs[0].sites) or not pair.sites or not all(pair.sites):
            raise UserError(
                f"pair {n} has {len(pair.sites)} sites, pair 0 has {len(pairs[0].sites)}; expected "
                "equally many in all pairs, one at least, none without places."
            )
        places = [place for site in pair.sites for place in site]
        if min(places) < 0 or max(places) >= seq:
            wrong_place = min(places) if min(places) < 0 else max(places)
            raise UserError(
                f"pair {n} is to be patched at place {wrong_place}; expected 0 to {seq - 1}, the "
                "places of its tokens."
            )
        if weights is not None and not 0 <= pair.variant < variants:
            raise UserError(
                f"pair {n} is to be read by variant {pair.variant}; expected 0 to {variants - 1}, "
                "the variants of its weights."
            )


def _check_units(parts: Architecture, sets: Sequence[Sequence[Unit]]) -> None:
    counts: dict[UnitKind, int] = {}
    for unit in {unit for units in sets for unit in units}:
        if unit.kind not in get_args(UnitKind):
            raise unknown("kind of unit", unit.kind, get_args(UnitKind))
        if unit.kind not in counts:
            counts[unit.kind] = units_per_layer(parts, unit.kind)
        if not (0 <= unit.layer < parts.num_layers and 0 <= unit.index < counts[unit.kind]):
            raise UserError(
                f"unit {unit} is not in the model; expected layers 0 to {parts.num_layers - 1} "
                f"with {counts[unit.kind]} units of kind '{unit.kind}' each."
            )


def _check_method(direction: Direction, ablation: Ablation) -> None:
    if direction not in get_args(Direction):
        raise unknown("direction", direction, get_args(Direction))
    if ablation not in get_args(Ablation):
        raise unknown("ablation", ablation, get_args(Ablation))
    if direction == "denoise" and ablation != "resample":
        raise UserError(
            f"ablation '{ablation}' was asked for with direction 'denoise', which puts in "
            "the clean run's outputs; use direction 'noise', or ablation 'resample'."
        )


def _check_means(request: PatchRequest) -> None:
    if request.means is None:
        raise UserError(
            "ablation 'mean' was asked for without means; expected what unit_means returns for "
            "these kinds of units and sites."
        )
    needed = (
        1 + max(request.variant(n) for n in range(len(request.pairs))),
        len(request.pairs[0].sites),
    )
    for kind, layer in request.where():
        found = request.means.arrays.get((kind, layer))
        if found is None or found.shape[0] < needed[0] or found.shape[1] != needed[1]:
            shape = (
                "none" if found is None else f"{found.shape[0]} variants, {found.shape[1]} sites"
            )
            raise UserError(
                f"means of kind '{kind}' in layer {layer} were given for {shape}; expected "
                f"{needed[0]} variants, {needed[1]} sites: call unit_means with the same pairs."
            )


def unit_means(
    lm: LM,
    pairs: Sequence[Pair],
    kinds: Sequence[UnitKind] = ("head", "mlp"),
    *,
    weights: Weights | None = None,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
) -> Means:
    """Return the mean output of every unit over the clean prompts, per variant and site.

    Every place of a site counts once, so that a long site weighs more than a short one. A variant
    that reads no pair has means of nan.

    Args:
        lm: the model.
        pairs: the prompts and sites; only the clean prompts are read.
        kinds: the kinds of units.
        weights: weight changes; `pair.variant` says which reads the pair.
        budget_bytes: memory for the passes; None plans for what is free.
        progress: called with (prompts done, all).

    Raises:
        UserError: as `sweep`.
    """
    parts = _parts(lm)
    check_pairs(lm, pairs, weights)
    where = sorted({(unit.kind, unit.layer) for unit in all_units(parts, kinds)})
    variants = weights.num_variants if weights is not None else 1
    sites = [[sorted(set(site)) for site in pair.sites] for pair in pairs]
    first = [min(map(min, own)) for own in sites]
    owners = [pair.variant if weights is not None else 0 for pair in pairs]
    sums: dict[tuple[UnitKind, int], np.ndarray] = {}
    counts = np.zeros((variants, len(sites[0]), 1))
    for owner, own in zip(owners, sites, strict=True):
        counts[owner, :, 0] += [len(site) for site in own]

    def on_states(found: ForwardStates) -> None:
        for key, outputs in found.outputs.items():
            each = outputs.double().cpu().numpy()
            total = sums.setdefault(key, np.zeros((*counts.shape[:2], each.shape[-1])))
            for n, nodes in found.nodes.items():
                for site, places in enumerate(sites[n]):
                    at = nodes[np.array(places) - first[n]]
                    total[owners[n], site] += each[at].sum(0)

    asked = ForwardRequest([pair.clean for pair in pairs], first, variants=owners, units=where)
    run_forward(lm, asked, on_states, weights=weights, budget_bytes=budget_bytes, progress=progress)
    with np.errstate(invalid="ignore"):
        return Means({key: (total / counts).astype(np.float32) for key, total in sums.items()})
