"""R vectors over one base model, each added to its residual stream where answers are predicted.

Vector i is added to what leaves one layer, at a prompt's last token and those after it: a task
vector (Hendel et al. 2023, arXiv 2310.15213) or function vector (Todd et al. 2024, arXiv
2310.15916). All tokens before are the base's, so that every variant shares them.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

from adaptlens.errors import UserError
from adaptlens.lm.load import LM

FILE = "vector.safetensors"


class StateShifts:
    """R vectors, and the layer that each is added behind.

    Args:
        lm: the base model.
        layers: per variant, the layer whose output it is added to, counted from 0.
        vectors: what is added.

    Raises:
        UserError: the model's inside is not known.
    """

    mixes_rows = True

    def __init__(
        self, lm: LM, layers: Sequence[int], vectors: Float32[Tensor, "variants width"]
    ) -> None:
        if lm.architecture is None:
            raise UserError(
                f"the inside of '{lm.name}' is not known, so no vector can be added to its states; "
                "use a model of a supported architecture."
            )
        self.parts = lm.architecture
        self.base_name, self.base_digest = lm.name, lm.digest
        self.layers, self.vectors = tuple(layers), vectors.to(lm.device, torch.float32)
        self.num_variants = len(self.layers)
        self._rows: tuple[int, ...] | None = None
        self._tokens: Int[Tensor, " tokens"] | None = None
        self._told = False

    def pick(self, variants: Sequence[int]) -> "StateShifts":
        """Return copies of these variants, in this order."""
        picked = object.__new__(StateShifts)
        picked.__dict__.update(self.__dict__)
        picked.layers = tuple(self.layers[variant] for variant in variants)
        picked.vectors = self.vectors[list(variants)]
        picked.num_variants = len(picked.layers)
        return picked

    @contextmanager
    def routed(self, variants: Sequence[int]) -> Iterator[None]:
        """Run batch row b of the base model with vector `variants[b]` inside this context."""
        if self._rows is not None:
            raise RuntimeError("vectors are routed already; leave that context first")
        self._rows = tuple(variants)
        handles = [
            self.parts.layers[layer].register_forward_hook(self._hook(layer))
            for layer in sorted({self.layers[variant] for variant in variants})
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._rows = None

    @contextmanager
    def acting_at(self, tokens: Int[Tensor, " tokens"] | None) -> Iterator[None]:
        """Let the vectors act at these tokens, see `types.ActsWhereAnswered`."""
        self._tokens, self._told = tokens, True
        try:
            yield
        finally:
            self._tokens, self._told = None, False

    def adapts(self, module: nn.Module) -> bool:
        """Return False: vectors are added behind layers, and to nothing a module puts out."""
        return False

    def _hook(self, layer: int) -> Any:
        assert self._rows is not None
        own = [variant if self.layers[variant] == layer else -1 for variant in self._rows]
        which = torch.tensor(own, device=self.vectors.device)
        shift = torch.where((which >= 0)[:, None], self.vectors[which.clamp_min(0)], 0.0)

        def add(_: nn.Module, __: object, output: Any) -> Any:
            if not self._told:
                raise RuntimeError("vectors were not told at which tokens they act")
            states = output[0] if isinstance(output, tuple) else output
            moved = _moved(states, shift, self._tokens)
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        return add

    def save(self, folder: Path, names: Sequence[str]) -> None:
        """Write vector i and its layer to `folder/names[i]/vector.safetensors`."""
        for layer, vector, name in zip(self.layers, self.vectors, names, strict=True):
            to = folder / name
            to.mkdir(parents=True, exist_ok=True)
            about = {"base": self.base_name, "base_digest": self.base_digest, "layer": str(layer)}
            made = {"vector": vector.cpu().contiguous()}
            safetensors.torch.save_file(made, to / FILE, metadata={"adaptlens": json.dumps(about)})


def _moved(
    states: Float[Tensor, "batch seq width"],
    shift: Float32[Tensor, "batch width"],
    tokens: Int[Tensor, " tokens"] | None,
) -> Float[Tensor, "batch seq width"]:
    """Return the states with each row's shift added at these tokens, the last ones if None."""
    batch, seq, _ = states.shape
    if tokens is None:
        tokens = torch.arange(1, batch + 1) * seq - 1
    if not len(tokens):
        return states
    here = tokens.to(states.device)
    added = shift.to(states.device, states.dtype)[here // seq]
    return states.flatten(0, 1).index_add(0, here, added).view_as(states)
