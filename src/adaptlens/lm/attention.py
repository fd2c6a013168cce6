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
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import repeat_kv

from adaptlens.lm.anatomy import Anatomy

_NAME = "adaptlens_split"
_prefix: ContextVar[Sequence[DynamicLayer]] = ContextVar("prefix")
# PyTorch's fused attention for processors, which also returns the exponentials' sum. It is not
# public; where a release lacks it, rows are given copies of the prefix.
_fused = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


def can_split(parts: Anatomy, longest: int) -> bool:
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
def split(parts: Anatomy, layers: Sequence[DynamicLayer]) -> Iterator[None]:
    """Let every row of the passes inside also attend to a prefix, given by its keys and values.

    Within it the model runs without a cache, with masks of the rows alone.
    """
    config: Any = parts.backbone.config
    before = config._attn_implementation
    given = _prefix.set(layers)
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _prefix.reset(given)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Return [batch, seq, heads, head_width]; the signature is Transformers'."""
    layer = _prefix.get()[module.layer_idx]
    assert layer.keys is not None and layer.values is not None and _fused is not None
    batch, heads, seq, _ = query.shape
    groups = heads // key.shape[1]
    own, own_sum = _fused(
        query,
        repeat_kv(key, groups),
        repeat_kv(value, groups),
        0.0,
        False,
        attn_mask=attention_mask,
        scale=scaling,
    )
    # Queries of all rows and of all heads that share keys stand in one long row.
    rows = query.unflatten(1, (-1, groups)).permute(1, 0, 2, 3, 4).flatten(1, 3)[None]
    far, far_sum = _fused(rows, layer.keys, layer.values, 0.0, False, scale=scaling)

    def by_row(x: Tensor) -> Tensor:
        return x[0].unflatten(1, (batch, groups, seq)).transpose(0, 1).flatten(1, 2)

    share = torch.sigmoid(by_row(far_sum) - own_sum)[..., None].to(query.dtype)
    merged = torch.lerp(own, by_row(far), share)
    return merged.transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, _attend)
