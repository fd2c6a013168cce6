"""Attention to a prefix that all rows share: one product for all rows, no copy for each.

Softmax over two sets of keys is the mean of the softmax over each, weighted by the exponentials'
sums, so attention to the prefix and to the row itself are computed apart and merged. Source:
Juravsky et al. 2024, "Hydragen" (arXiv 2402.05099), section 3.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import repeat_kv

from adaptlens.lm.architecture import Architecture

_NAME = "adaptlens_split"
_prefix: ContextVar[tuple[Sequence[DynamicLayer], Tensor]] = ContextVar("prefix")
# PyTorch's fused attention for processors, which also returns the exponentials' sum. It is not
# public; where a release lacks it, rows are given copies of the prefix.
_fused = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


def can_split(parts: Architecture, longest: int) -> bool:
    """Whether `split` gives what copies of the prefix give.

    It needs a processor, attention by PyTorch's fused kernel, and no attention window shorter
    than the sequences.
    """
    config: Any = parts.backbone.config
    return (
        _fused is not None
        and next(parts.backbone.parameters()).device.type == "cpu"
        and config._attn_implementation == "sdpa"
        and all(window is None or window >= longest for window in parts.windows)
    )


@contextlib.contextmanager
def split(
    parts: Architecture, layers: Sequence[DynamicLayer], wanted: Int[Tensor, " tokens"]
) -> Iterator[None]:
    """Let every row of the pass inside also attend to a prefix.

    Within it the model runs without a cache, with a mask of the rows alone.

    Args:
        parts: the model.
        layers: keys and values of the prefix.
        wanted: the tokens whose final states are read, counted row by row; in the last layer
            only they attend to the prefix.
    """
    config: Any = parts.backbone.config
    before = config._attn_implementation
    given = _prefix.set((layers, wanted))
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _prefix.reset(given)


def _attend(
    module: Any,
    query: Float[Tensor, "batch heads seq head_width"],
    key: Float[Tensor, "batch kv_heads seq head_width"],
    value: Float[Tensor, "batch kv_heads seq head_width"],
    attention_mask: Float[Tensor, "#batch 1 seq seq"] | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: object,
) -> tuple[Float[Tensor, "batch seq heads head_width"], None]:
    """Return what each token of the rows sees; the signature is Transformers'."""
    layers, wanted = _prefix.get()
    layer = layers[module.layer_idx]
    assert layer.keys is not None and layer.values is not None and _fused is not None
    groups = query.shape[1] // key.shape[1]
    own, own_sum = _fused(
        query,
        repeat_kv(key, groups),
        repeat_kv(value, groups),
        0.0,
        False,
        attn_mask=attention_mask,
        scale=scaling,
    )
    own, own_sum = (x.transpose(1, 2).flatten(0, 1) for x in (own, own_sum))
    tokens = query.transpose(1, 2).flatten(0, 1)
    is_last = module.layer_idx == len(layers) - 1
    if is_last:
        tokens = tokens[wanted]
    # Queries of all rows and of all heads that share keys stand in one long row.
    rows = tokens.unflatten(1, (-1, groups)).permute(1, 2, 0, 3).flatten(1, 2)[None]
    far, far_sum = (
        x[0].unflatten(1, (groups, -1)).flatten(0, 1).transpose(0, 1)
        for x in _fused(rows, layer.keys, layer.values, 0.0, False, scale=scaling)
    )
    near, near_sum = (own[wanted], own_sum[wanted]) if is_last else (own, own_sum)
    merged = torch.lerp(near, far, torch.sigmoid(far_sum - near_sum)[..., None].to(own.dtype))
    if is_last:
        merged = own.index_copy(0, wanted, merged)
    return merged.view(query.shape[0], query.shape[2], *merged.shape[1:]), None


AttentionInterface.register(_NAME, _attend)
