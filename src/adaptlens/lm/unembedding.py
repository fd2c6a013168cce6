"""From final states to logits, under the weights of whoever reads each row.

A change of weights may act on the unembedding too (LoRA on `lm_head`). So logits that are taken
after a forward pass, of states that several variants left behind, are taken here and nowhere else;
inside a pass that is one variant's own, `Architecture.logits` does.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adaptlens.lm.architecture import Architecture
from adaptlens.types import Weights


class TellsApart(Protocol):
    """Weights, trained or read, that know at which modules their variants differ."""

    def adapts(self, module: Any) -> bool:
        """Return whether rows of several variants differ in what this very module adds."""
        ...


def logits(
    parts: Architecture,
    final: Float[Tensor, "rows width"],
    weights: Weights | None,
    variants: Sequence[int],
) -> Float[Tensor, "rows vocab"]:
    """Return the logits that each row's own variant gives at its final state.

    To be called where the weights are not installed, but for those that do not mix rows, which
    are for as long as their one variant reads.

    Args:
        parts: the model.
        final: states after the final norm.
        weights: weight changes; None reads by the base model.
        variants: per row, who reads it.
    """
    if weights is None or not len(final) or not weights.adapts(parts.unembed):
        return parts.logits(final)
    distinct = sorted(set(variants))
    place = {variant: n for n, variant in enumerate(distinct)}
    owners = torch.tensor([place[variant] for variant in variants], device=final.device)
    with weights.routed(distinct):
        return by_owner(parts, final, owners, len(distinct))


def by_owner(
    parts: Architecture,
    final: Float[Tensor, "rows width"],
    owners: Int[Tensor, " rows"],
    num_owners: int,
) -> Float[Tensor, "rows vocab"]:
    """Return the logits of final states, under weights installed.

    Installed weights take a batch for even runs of rows, one run a variant. So the rows are laid
    out as [owners, rows of one, width], the shorter filled up with zeros.

    Args:
        parts: the model.
        final: states after the final norm.
        owners: which of the installed variants reads each row.
        num_owners: how many variants are installed.
    """
    counts = torch.bincount(owners, minlength=num_owners)
    order = owners.argsort(stable=True)
    place = torch.empty_like(owners)
    place[order] = (
        torch.arange(len(owners), device=owners.device)
        - ((counts.cumsum(0) - counts)[owners[order]])
    )
    laid_out = final.new_zeros(num_owners, int(counts.max()), final.shape[-1])
    laid_out = laid_out.index_put((owners, place), final)
    return parts.logits(laid_out)[owners, place]
