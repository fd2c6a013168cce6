"""Where each unit's output passes by, and how it is kept or replaced there."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from adaptlens.lm.architecture import Architecture
from adaptlens.lm.units import Unit, UnitKind

Recorded = dict[tuple[UnitKind, int], Tensor]
Values = Callable[[UnitKind, int], Tensor]
Visit = Callable[[UnitKind, int, Tensor], Tensor | None]


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
def visiting(
    parts: Architecture, where: Iterable[tuple[UnitKind, int]], visit: Visit
) -> Iterator[None]:
    """Show `visit` the outputs of all units of a kind and layer as they pass by.

    What it returns goes on in their place, unless that is None. Heads and neurons are seen as the
    input of the projection after them, so that whatever acts on that input (an adapter too) acts
    on what `visit` returned. Enter after the weights' own context: an adapter on the projection
    whose output is a unit's belongs to the unit.

    Args:
        parts: the model.
        where: kinds and layers to visit.
        visit: called with (kind, layer, states [..., units of the layer x unit width]).
    """
    hooks = []
    for kind, layer in where:

        def entering(_: object, args: tuple, kind: UnitKind = kind, layer: int = layer) -> Any:
            found = visit(kind, layer, args[0])
            return None if found is None else (found, *args[1:])

        def leaving(
            _: object, __: object, out: Any, kind: UnitKind = kind, layer: int = layer
        ) -> Any:
            found = visit(kind, layer, out[0] if isinstance(out, tuple) else out)
            if found is None:
                return None
            return (found, *out[1:]) if isinstance(out, tuple) else found

        if kind == "head":
            hooks.append(parts.o_proj(layer).register_forward_pre_hook(entering))
        elif kind == "neuron":
            hooks.append(last_projection(parts, layer).register_forward_pre_hook(entering))
        else:
            module = parts.mlp(layer) if kind == "mlp" else parts.layers[layer]
            hooks.append(module.register_forward_hook(leaving))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def recording(
    parts: Architecture,
    where: Iterable[tuple[UnitKind, int]],
    rows: tuple[int, int, int],
    sibling: int,
) -> Iterator[Recorded]:
    """Keep what units put out in one sibling of a pass: [pairs, seq, features] a kind and layer.

    Args:
        parts: the model.
        where: kinds and layers to keep.
        rows: how many pairs, siblings and tokens the pass has.
        sibling: which of the siblings to keep.
    """
    recorded: Recorded = {}

    def keep(kind: UnitKind, layer: int, states: Tensor) -> None:
        recorded[kind, layer] = states.reshape(*rows, -1)[:, sibling].clone()

    with visiting(parts, where, keep):
        yield recorded


@dataclass(frozen=True, eq=False)
class Replacement:
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

        def visit(kind: UnitKind, layer: int, states: Tensor) -> Tensor:
            return self._replace(states, index[kind, layer], self.values(kind, layer), kind)

        with visiting(self.parts, index, visit):
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
