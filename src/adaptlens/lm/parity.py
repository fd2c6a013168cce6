"""Whether our way of running a model gives what the model gives by itself, found by trying."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from jaxtyping import Bool, Float, Int
from torch import Tensor

from adaptlens.errors import UserError
from adaptlens.lm.architecture import LAYOUTS, Architecture, architecture
from adaptlens.lm.spread import input_device

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
    tree = _Tree.random(model, _STEM, _BRANCH)
    with torch.no_grad():
        wanted = tree.alone(model)
        _check(wanted, name, dtype, tolerance)
        if model.config.model_type not in LAYOUTS:
            return None, False, (_unknown_layout(model.config.model_type),)
        try:
            parts = architecture(model)
        except (UserError, AttributeError, TypeError, ValueError) as error:
            return None, False, (_unread(error),)
        plain = tree.masked(parts, wanted)
        if plain > tolerance:
            return None, False, (_differs("with an explicit mask", plain, "behavior is measured"),)
        shared = tree.shared(parts, wanted)
    notes = tuple(
        _differs(way, difference, "every prompt runs on its own")
        for way, difference in shared.items()
        if difference > tolerance
    )
    return parts, not notes, notes


@torch.no_grad()
def differences(
    model: Any, parts: Architecture, stem_tokens: int, branch_tokens: int
) -> dict[str, float]:
    """Return how far logits are from the model's own by each way `examine` tries.

    Largest absolute differences, relative to the largest logit, on two random sequences of so many
    tokens in common and so many of their own.
    """
    tree = _Tree.random(model, stem_tokens, branch_tokens)
    wanted = tree.alone(model)
    return {"with an explicit mask": tree.masked(parts, wanted)} | tree.shared(parts, wanted)


@dataclass(frozen=True)
class _Tree:
    """Two sequences that begin alike, `ids` being the stem and then both branches."""

    ids: Int[Tensor, " seq"]
    stem: int
    branch: int

    @classmethod
    def random(cls, model: Any, stem: int, branch: int) -> "_Tree":
        vocab = model.get_input_embeddings().num_embeddings
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(vocab, (stem + 2 * branch,), generator=generator)
        return cls(ids.to(input_device(model)), stem, branch)

    @property
    def sequences(self) -> list[Int[Tensor, "1 tokens"]]:
        stem, left, right = self.ids.split([self.stem, self.branch, self.branch])
        return [torch.cat([stem, own])[None] for own in (left, right)]

    def alone(self, model: Any) -> list[Float[Tensor, "tokens vocab"]]:
        """Return the logits the model itself gives, one sequence after the other."""
        return [model(input_ids=ids).logits[0] for ids in self.sequences]

    def masked(self, parts: Architecture, wanted: list[Float[Tensor, "tokens vocab"]]) -> float:
        """Return how far one sequence under an explicit causal mask is from that."""
        ids = self.sequences[0]
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        causal = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device)
        return _difference(parts.logits(parts.hidden(ids, positions, causal.tril()))[0], wanted[0])

    def shared(
        self, parts: Architecture, wanted: list[Float[Tensor, "tokens vocab"]]
    ) -> dict[str, float]:
        """Return how far from that each way of sharing the stem is."""
        truth = torch.cat([wanted[0], wanted[1][self.stem :]])
        return {
            "packed in a tree": _difference(self._packed(parts), truth),
            "after a cached prefix": _difference(self._cached(parts), truth[self.stem :]),
        }

    def _mask(self) -> tuple[Int[Tensor, "1 seq"], Bool[Tensor, "1 seq seq"]]:
        """Return positions and mask of the tree."""
        seq, second = len(self.ids), self.stem + self.branch
        positions = torch.arange(seq, device=self.ids.device)[None].clone()
        positions[:, second:] -= self.branch
        allowed = torch.ones(1, seq, seq, dtype=torch.bool, device=self.ids.device).tril()
        allowed[:, second:, self.stem : second] = False
        return positions, allowed

    def _packed(self, parts: Architecture) -> Float[Tensor, "seq vocab"]:
        return parts.logits(parts.hidden(self.ids[None], *self._mask()))[0]

    def _cached(self, parts: Architecture) -> Float[Tensor, "branches vocab"]:
        (positions, allowed), ids, stem = self._mask(), self.ids[None], self.stem
        cache = transformers.DynamicCache()
        parts.hidden(ids[:, :stem], positions[:, :stem], allowed[:, :stem, :stem], cache=cache)
        hidden = parts.hidden(
            ids[:, stem:], positions[:, stem:], allowed[:, stem:], positions, cache=cache
        )
        return parts.logits(hidden)[0]


def _difference(found: Float[Tensor, "seq vocab"], wanted: Float[Tensor, "seq vocab"]) -> float:
    """Return the largest absolute difference, relative to the largest logit."""
    wanted = wanted.float()
    return float(
        (found.to(wanted.device).float() - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30)
    )


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
