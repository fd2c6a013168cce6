"""Gradient checkpointing: layers are computed again for their backward pass, and keep nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint

from adaptlens.errors import UserError
from adaptlens.lm.load import LM


@contextmanager
def checkpointed(lm: LM) -> Iterator[None]:
    """Let each layer but the last keep its input alone between forward and backward passes inside.

    The last is where the backward pass begins: to compute it again at once would save nothing.
    Gradients are the same. Transformers' own way needs the model in training mode, in which its
    dropout would be on. Source: Chen et al. 2016 (arXiv 1604.06174), with every layer a segment.

    Raises:
        UserError: the model's layers are not known.
    """
    if lm.architecture is None:
        raise UserError(
            f"gradient checkpointing was asked for, but the layers of '{lm.name}' are not known; "
            "leave out gradient_checkpointing, or use a model of a supported architecture."
        )
    layers: list[Any] = list(lm.architecture.layers)[:-1]
    own = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        # Nothing in a layer draws from the global random state.
        layer.forward = partial(
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
        )
    try:
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward
