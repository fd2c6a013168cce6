"""Where each unit's output passes by, and how it is kept or replaced there."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adaptlens.lm.architecture import Architecture
from adaptlens.lm.units import Unit, UnitKind

Activations = dict[tuple[UnitKind, int], Tensor]
Values = Callable[[UnitKind, int], Tensor]
Hook = Callable[[UnitKind, int, Tensor], Tensor | None]


def last_projection(parts: Architecture, layer: int) -> nn.Module:
    """Return the linear map whose input is a layer's neurons."""
    maps = [m for m in parts.mlp(layer).modules() if getattr(m, "weight", None) is not None]
    return [m for m in maps if m.weight.ndim == 2][-1]


def unit_width(parts: Architecture, kind: UnitKind) -> int:
    """Return how many numbers one unit of this kind puts out for a token."""
    return {"head": parts.head_width, "neuron": 1}.get(kind, parts.width)


def units_per_layer(parts: Architecture, kind: UnitKind) -> int:
    """Return how many units of this kind a layer has."""
    if kind == "neuron":
        projection: Any = last_projection(parts, 0)
        return getattr(projection, "in_features", None) or projection.weight.shape[0]
    return parts.num_heads if kind == "head" else 1


@contextlib.contextmanager
def hooked(
    parts: Architecture, where: Iterable[tuple[UnitKind, int]], hook: Hook
) -> Iterator[None]:
    """Show `hook` the outputs of all units of a kind and layer as they pass by.

    What it returns goes on in their place, unless that is None. Heads and neurons are seen as the
    input of the projection after them, so that whatever acts on that input (an adapter too) acts
    on what `hook` returned. Enter after the weights' own context: an adapter on the projection
    whose output is a unit's belongs to the unit.

    Args:
        parts: the model.
        where: kinds and layers.
        hook: called with (kind, layer, states [..., units of the layer x unit width]).
    """
    with contextlib.ExitStack() as stack:
        for kind, layer in where:
            stack.callback(_register(parts, kind, layer, partial(hook, kind, layer)).remove)
        yield


@contextlib.contextmanager
def attention_shown(parts: Architecture, show: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Show what the attention of every layer puts out as it passes by, after its projection.

    Args:
        parts: the model.
        show: called with (layer, states [batch, seq, width]).
    """
    with contextlib.ExitStack() as stack:
        for layer in range(parts.num_layers):
            hook = partial(_on_output, partial(show, layer))
            stack.callback(parts.attention(layer).register_forward_hook(hook).remove)
        yield


def _register(
    parts: Architecture, kind: UnitKind, layer: int, hook: Callable[[Tensor], Tensor | None]
) -> RemovableHandle:
    """Let what a kind of units puts out in a layer go through `hook`."""
    if kind == "head":
        return parts.o_proj(layer).register_forward_pre_hook(partial(_on_input, hook))
    if kind == "neuron":
        return last_projection(parts, layer).register_forward_pre_hook(partial(_on_input, hook))
    module = parts.mlp(layer) if kind == "mlp" else parts.layers[layer]
    return module.register_forward_hook(partial(_on_output, hook))


def _on_input(hook: Callable[[Tensor], Tensor | None], _: object, args: tuple) -> Any:
    states = hook(args[0])
    return None if states is None else (states, *args[1:])


def _on_output(hook: Callable[[Tensor], Tensor | None], _: object, __: object, out: Any) -> Any:
    states = hook(out[0] if isinstance(out, tuple) else out)
    return (states, *out[1:]) if states is not None and isinstance(out, tuple) else states


@contextlib.contextmanager
def recording(
    parts: Architecture,
    where: Iterable[tuple[UnitKind, int]],
    rows: tuple[int, int, int],
    sibling: int,
) -> Iterator[Activations]:
    """Keep what units put out in one sibling of a pass: [pairs, seq, features] a kind and layer.

    Args:
        parts: the model.
        where: kinds and layers to keep.
        rows: how many pairs, siblings and tokens the pass has.
        sibling: which of the siblings to keep.
    """
    recorded: Activations = {}

    def keep(kind: UnitKind, layer: int, states: Tensor) -> None:
        recorded[kind, layer] = states.reshape(*rows, -1)[:, sibling].clone()

    with hooked(parts, where, keep):
        yield recorded


@dataclass(frozen=True, eq=False)
class Patch:
    """Other outputs for some units in some siblings of a pass.

    The states of a pass are [pairs, siblings, seq, features], however its tensors are shaped.

    Attributes:
        parts: the model.
        sets: per sibling, the units whose output is replaced in it.
        at: the tokens at which it is.
        values: gives for a kind and layer what stands there instead, broadcastable to
            [pairs, seq, features].
    """

    parts: Architecture
    sets: Sequence[Sequence[Unit]]
    at: Bool[Tensor, "pairs seq"]
    values: Values

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Let the passes inside run with the replacements made."""
        device = self.at.device
        found: dict[tuple[UnitKind, int], list[tuple[int, int]]] = {}
        for sibling, units in enumerate(self.sets):
            for unit in units:
                found.setdefault((unit.kind, unit.layer), []).append((sibling, unit.index))
        index = {key: torch.tensor(rows, device=device).T for key, rows in found.items()}

        def replaced(kind: UnitKind, layer: int, states: Tensor) -> Tensor:
            return self._replace(states, index[kind, layer], self.values(kind, layer), kind)

        with hooked(self.parts, index, replaced):
            yield

    def _replace(
        self,
        states: Float[Tensor, "..."],
        index: Int[Tensor, "2 replaced"],
        values: Float[Tensor, "..."],
        kind: UnitKind,
    ) -> Float[Tensor, "..."]:
        siblings, indices = index
        pairs, seq = self.at.shape
        width = unit_width(self.parts, kind)
        units = states.shape[-1] // width
        own = states.clone().view(pairs, -1, seq, units, width)
        other = values.expand(pairs, seq, states.shape[-1]).view(pairs, seq, units, width)
        other = other[:, :, indices].permute(2, 0, 1, 3).to(own.dtype)
        kept = own[:, siblings, :, indices]
        own[:, siblings, :, indices] = torch.where(self.at[None, :, :, None], other, kept)
        return own.view(states.shape)
