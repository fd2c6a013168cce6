"""Patching by running whole prompts anew: slower than the sweep, right wherever hooks are."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptlens.lm.architecture import Architecture
from adaptlens.lm.hooks import Activations, Patch, recording
from adaptlens.lm.memory import halving, pass_tokens
from adaptlens.lm.patching.effects import PatchEffects, two_runs
from adaptlens.lm.prefix.walk import routed
from adaptlens.lm.units import UnitKind


def run_whole(number: int, effects: PatchEffects) -> None:
    """Patch one pair, every site and set, many patched copies of the whole prompt at a time.

    Raises:
        UserError: two copies do not fit the memory.
    """
    request = effects.request
    pair, parts, device = request.pairs[number], request.parts, request.lm.device
    seq = len(pair.clean)
    both = torch.tensor([pair.clean, pair.corrupt], device=device)
    with routed(request.weights, [request.variant(number)]):
        where = request.where() if request.ablation == "resample" else ()
        final, recorded = read_whole(parts, both, where)
        clean_logs = effects.baselines([number], final[None])
        other = {key: states[1 - request.base] for key, states in recorded.items()}
        for site, places in enumerate(pair.sites):
            at = torch.zeros(1, seq, dtype=torch.bool, device=device)
            at[:, list(places)] = True

            def values(kind: UnitKind, layer: int, site: int = site) -> Tensor:
                if request.ablation == "resample":
                    return other[kind, layer]
                return request.constant(kind, layer, number, site)

            most = pass_tokens(parts, 0, seq, request.budget_bytes) // seq - 1
            for chunk in halving(len(request.sets), most, device, two_runs(seq)):
                with chunk as (low, high):
                    sets = [(), *request.sets[low:high]]
                    with Patch(parts, sets, at, values).installed():
                        ids = both[request.base].expand(len(sets), -1)
                        final, _ = read_whole(parts, ids)
                    effects.patched([number], site, range(low, high), final[None], clean_logs)


def read_whole(
    parts: Architecture, ids: Int[Tensor, "rows seq"], where: Iterable[tuple[UnitKind, int]] = ()
) -> tuple[Float[Tensor, "rows width"], Activations]:
    """Return the last token's final states, and what the units there put out.

    The latter is [rows, seq, features], by kind and layer.
    """
    with recording(parts, where, (len(ids), 1, ids.shape[1]), 0) as recorded:
        hidden = parts.backbone(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
        ).last_hidden_state
    return hidden[:, -1], recorded
