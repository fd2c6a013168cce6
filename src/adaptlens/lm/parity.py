"""Whether our way of running a model gives what the model gives by itself, found by trying."""

from typing import Any

import torch
import transformers
from jaxtyping import Bool, Float, Int
from torch import Tensor

from adaptlens.errors import UserError
from adaptlens.lm.architecture import LAYOUTS, Architecture, architecture

# Largest difference of logits, relative to the largest logit.
_TOLERANCE = {"float32": 1e-5, "bfloat16": 5e-2, "float16": 5e-3}
_STEM, _BRANCH = 10, 8


def examine(
    model: Any, name: str, dtype: str, quantize: str | None = None
) -> tuple[Architecture | None, bool, tuple[str, ...]]:
    """Return the model's architecture, whether prefixes can be shared exactly, and notes on both.

    Two random sequences with a common stem are run by the model itself, one by one. Then
    `Architecture.hidden` and `Architecture.logits` run the same with an explicit causal mask;
    packed in one row under a tree mask with restarted positions; and with the stem's keys and
    values cached.
    Where the first differs the architecture is not used at all; where one of the others differs,
    prefixes are not shared.

    Raises:
        UserError: the model is not causal, or its logits are not finite in this number format.
    """
    loose = quantize or getattr(model, "is_quantized", False)
    tolerance = 5e-2 if loose else _TOLERANCE[dtype]
    vocab = model.get_input_embeddings().num_embeddings
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocab, (_STEM + 2 * _BRANCH,), generator=generator).to(model.device)
    stem, left, right = ids.split([_STEM, _BRANCH, _BRANCH])
    with torch.no_grad():
        wanted = [model(input_ids=torch.cat([stem, b])[None]).logits[0] for b in (left, right)]
        _check(wanted, name, dtype, tolerance)
        if model.config.model_type not in LAYOUTS:
            return None, False, (_unknown_layout(model.config.model_type),)
        try:
            parts = architecture(model)
        except (UserError, AttributeError, TypeError, ValueError) as error:
            return None, False, (_unread(error),)
        plain = _difference(_alone(parts, stem, left), wanted[0])
        if plain > tolerance:
            return None, False, (_differs("with an explicit mask", plain, "behavior is measured"),)
        tree = torch.cat([stem, left, right])[None]
        truth = torch.cat([wanted[0], wanted[1][_STEM:]])
        shared = {
            "packed in a tree": _difference(_packed(parts, tree), truth),
            "after a cached prefix": _difference(_cached(parts, tree), truth[_STEM:]),
        }
    notes = tuple(
        _differs(way, difference, "every prompt runs on its own")
        for way, difference in shared.items()
        if difference > tolerance
    )
    return parts, not notes, notes


def _alone(
    parts: Architecture, stem: Int[Tensor, " stem"], branch: Int[Tensor, " branch"]
) -> Float[Tensor, "stem+branch vocab"]:
    ids = torch.cat([stem, branch])[None]
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    causal = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    return parts.logits(parts.hidden(ids, positions, causal))[0]


def _tree(device: torch.device) -> tuple[Int[Tensor, "1 seq"], Bool[Tensor, "1 seq seq"]]:
    """Return positions and mask of a stem with two branches."""
    seq = _STEM + 2 * _BRANCH
    positions = torch.arange(seq, device=device)[None].clone()
    positions[:, _STEM + _BRANCH :] -= _BRANCH
    allowed = torch.ones(1, seq, seq, dtype=torch.bool, device=device).tril()
    allowed[:, _STEM + _BRANCH :, _STEM : _STEM + _BRANCH] = False
    return positions, allowed


def _packed(parts: Architecture, ids: Int[Tensor, "1 seq"]) -> Float[Tensor, "seq vocab"]:
    positions, allowed = _tree(ids.device)
    return parts.logits(parts.hidden(ids, positions, allowed))[0]


def _cached(parts: Architecture, ids: Int[Tensor, "1 seq"]) -> Float[Tensor, "branches vocab"]:
    positions, allowed = _tree(ids.device)
    cache = transformers.DynamicCache()
    parts.hidden(ids[:, :_STEM], positions[:, :_STEM], allowed[:, :_STEM, :_STEM], cache=cache)
    hidden = parts.hidden(
        ids[:, _STEM:], positions[:, _STEM:], allowed[:, _STEM:], positions, cache=cache
    )
    return parts.logits(hidden)[0]


def _difference(found: Float[Tensor, "seq vocab"], wanted: Float[Tensor, "seq vocab"]) -> float:
    """Return the largest absolute difference, relative to the largest logit."""
    wanted = wanted.float()
    return float((found.float() - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))


def _check(
    logits: list[Float[Tensor, "seq vocab"]], name: str, dtype: str, tolerance: float
) -> None:
    """Refuse logits that are not finite, and a model in which later tokens change earlier ones."""
    if not all(bool(each.isfinite().all()) for each in logits):
        raise UserError(
            f"model '{name}' gives logits that are not finite in {dtype}; expected numbers: use "
            "--dtype float32 or bfloat16, or check the weights."
        )
    if _difference(logits[0][:_STEM], logits[1][:_STEM]) > tolerance:
        raise UserError(
            f"model '{name}' lets later tokens change what it says at earlier ones; expected a "
            "causal language model, one that reads from left to right."
        )


def _unknown_layout(family: str) -> str:
    return (
        f"The architecture '{family}' is not known inside: only its behavior is measured, and "
        f"every prompt runs on its own. Known: {', '.join(sorted(LAYOUTS))}."
    )


def _unread(error: Exception) -> str:
    reason = str(error).partition(";")[0] or type(error).__name__
    return (
        f"Its inside is not read ({reason}): only its behavior is measured, and every prompt runs "
        "on its own."
    )


def _differs(way: str, difference: float, result: str) -> str:
    return (
        f"Run {way}, its logits differ from its own by {difference:.1e} of the largest: {result}, "
        "without shared prefixes."
    )
