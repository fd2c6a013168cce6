"""Gradient estimates of single edges: what one unit hands to one reader of the residual stream."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from adaptlens.errors import UserError
from adaptlens.lm.architecture import Architecture
from adaptlens.lm.load import LM
from adaptlens.lm.memory import default_budget
from adaptlens.lm.patching.gradients import Batch, Method, check_method, each_batch
from adaptlens.lm.patching.patch import check_pairs
from adaptlens.lm.prefix.forward import Progress
from adaptlens.lm.units import Direction, Pair, UnitKind
from adaptlens.types import Weights


class Node(NamedTuple):
    """One end of an edge.

    Sources: "embed", what enters layer 0; "head" and "mlp", what these add to the residual stream.
    Destinations: "q" of a head, "k" and "v" of a head of keys and values, of which there are fewer
    under grouped queries; "mlp"; "final", the last norm.
    """

    kind: Literal["embed", "head", "mlp", "q", "k", "v", "final"]
    layer: int = 0
    head: int = 0

    def __str__(self) -> str:
        """Return its usual name: embed, L3.H5, L3.MLP, L3.Q5, L3.K1, final."""
        letter = {"head": "H"}.get(self.kind, self.kind.upper())
        if self.kind in ("embed", "final"):
            return self.kind
        return f"L{self.layer}.MLP" if self.kind == "mlp" else f"L{self.layer}.{letter}{self.head}"


@dataclass(frozen=True, eq=False)
class Edges:
    """Estimates for all edges of a model.

    Attributes:
        sources: in the order in which they write.
        destinations: in the order in which they read.
        scores: 0 where there is no edge.
        there: whether the source writes before the destination reads.
    """

    sources: tuple[Node, ...]
    destinations: tuple[Node, ...]
    scores: Float32[np.ndarray, "pairs sources destinations"]
    there: Bool[np.ndarray, "sources destinations"]


@dataclass(frozen=True, slots=True)
class _Block:
    """Names within a layer: the norms before its two parts, and what makes q, k and v."""

    attention_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"
    projections: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")


# Families whose every layer adds attention(norm(x)) and then mlp(norm(x)) to the stream x, no more.
_PLAIN = {
    "llama": _Block(),
    "mistral": _Block(),
    "qwen2": _Block(),
    "qwen3": _Block(),
    "phi3": _Block(projections=("qkv_proj",)),
    "gpt2": _Block("ln_1", "ln_2", ("c_attn",)),
}


def edge_attribution(
    lm: LM,
    pairs: Sequence[Pair],
    *,
    direction: Direction = "denoise",
    method: Method = "gradient",
    steps: int = 5,
    weights: Weights | None = None,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
) -> Edges:
    """Return, to first order, what patching each edge changes in the logit difference.

    That is (what the source adds to the residual stream in the other run, minus what it adds in
    the run patched) times the gradient of the logit difference with respect to what the
    destination alone reads, before its norm; summed over all places, whatever the pairs' sites
    are. Edge attribution patching (Syed et al. 2023, arXiv 2310.10348), with "integrated" EAP-IG
    (Hanna et al. 2024, arXiv 2403.17806), by the midpoint rule as `attribution.attribution`. Norms
    are part of their destinations, so that a source also counts for what it does to their scale.

    As every read of the stream is a destination, a source's scores add up to its `attribution` by
    the same method, with the site of all places.

    Args:
        lm: the model.
        pairs: the prompts.
        direction: which run is patched, as of `attribution.attribution`.
        method: how gradients are taken.
        steps: how many gradients "integrated" averages.
        weights: weight changes; `pair.variant` says which reads the pair.
        budget_bytes: memory for the passes, and again for products; None plans for what is free.
        progress: called with (pairs done, all).

    Raises:
        UserError: as `attribution.attribution`; or the family's layers are not plain sums.
    """
    check_method(method, steps)
    check_pairs(lm, pairs, weights)
    parts = lm.architecture
    assert parts is not None
    if parts.family not in _PLAIN:
        raise UserError(
            f"edges were asked for in a model of family '{parts.family}'; they are known where "
            "each layer adds attention, then a feed-forward part, each after its norm: "
            f"{', '.join(sorted(_PLAIN))}; use one of these, or attribution.attribution of units."
        )
    budget = budget_bytes or default_budget(lm.device)
    sources, destinations = _sources(parts), _destinations(parts)
    scores = np.zeros((len(pairs), len(sources), len(destinations)), np.float32)

    def take(batch: Batch) -> None:
        scores[list(batch.numbers)] = _scores(batch, method, steps, budget).cpu().numpy()

    each_batch(lm, pairs, direction, weights, budget_bytes, progress, take, whole=True)
    there = np.zeros(scores.shape[1:], bool)
    for d, node in enumerate(destinations):
        there[: _num_before(parts, node), d] = True
    return Edges(sources, destinations, scores, there)


def _sources(parts: Architecture) -> tuple[Node, ...]:
    found = [Node("embed")]
    for layer in range(parts.num_layers):
        found += [Node("head", layer, head) for head in range(parts.num_heads)]
        found.append(Node("mlp", layer))
    return tuple(found)


def _destinations(parts: Architecture) -> tuple[Node, ...]:
    found = []
    for layer in range(parts.num_layers):
        found += [Node("q", layer, head) for head in range(parts.num_heads)]
        found += [Node("k", layer, head) for head in range(parts.num_kv_heads)]
        found += [Node("v", layer, head) for head in range(parts.num_kv_heads)]
        found.append(Node("mlp", layer))
    return (*found, Node("final"))


def _num_before(parts: Architecture, destination: Node) -> int:
    """Return how many of the sources have written when a destination reads."""
    if destination.kind == "final":
        return 1 + parts.num_layers * (parts.num_heads + 1)
    own = parts.num_heads if destination.kind == "mlp" else 0
    return 1 + destination.layer * (parts.num_heads + 1) + own


@dataclass(frozen=True, eq=False)
class _Reader:
    """Destinations that read the stream through one norm.

    Attributes:
        norm: the norm.
        states: what it reads.
        gradients: one or more, of the logit difference.
        maps: None where the gradients are those of the norm's output; else, for each, the linear
            map that made the features of it, and how many heads they are of.
        nodes: the destinations.
    """

    norm: nn.Module
    states: Float[Tensor, "pairs seq width"]
    gradients: Sequence[Float[Tensor, "pairs seq _"]]
    maps: Sequence[tuple[Float[Tensor, "width _"], int]] | None
    nodes: Sequence[Node]

    def pulled_back(self, places: slice) -> Float32[Tensor, "nodes pairs places width"]:
        """Return the gradient through each destination alone."""
        if self.maps is None:
            found = [gradient[:, places][None] for gradient in self.gradients]
        else:
            found = [
                torch.einsum(
                    "bthf,whf->hbtw",
                    gradient[:, places].unflatten(-1, (heads, -1)),
                    matrix.unflatten(-1, (heads, -1)),
                )
                for gradient, (matrix, heads) in zip(self.gradients, self.maps, strict=True)
            ]
        outward = torch.cat(found)
        read = self.states[:, places].expand(len(outward), -1, -1, -1).clone().requires_grad_()
        return torch.autograd.grad(self.norm(read), read, outward.to(read.dtype))[0].float()


def _scores(
    batch: Batch, method: Method, steps: int, budget_bytes: int
) -> Float32[Tensor, "pairs sources destinations"]:
    """Return the scores of a batch."""
    parts = batch.parts
    kinds: tuple[UnitKind, ...] = ("head", "mlp")
    where = [(kind, layer) for layer in range(parts.num_layers) for kind in kinds]
    own, other = batch.outputs(batch.base, where), batch.outputs(batch.other, where)
    changes = {key: other[key].float() - own[key].float() for key in where}
    del own, other
    embeddings = batch.embeddings()
    embedded = embeddings[1].float() - embeddings[0].float()
    outward = [
        _as_run(parts.o_proj(n), parts.head_width * parts.num_heads)
        for n in range(parts.num_layers)
    ]
    nodes = _destinations(parts)
    pairs, seq = batch.base.shape
    scores = torch.zeros(pairs, 1 + len(parts.layers) * (parts.num_heads + 1), len(nodes))
    scores = scores.to(embedded.device)
    widest = parts.num_heads + 2 * parts.num_kv_heads
    a_place = 4 * pairs * parts.width * (scores.shape[1] + 6 * widest)
    several = int(max(budget_bytes // a_place, 1))
    inputs = batch.inputs(method, steps)
    for given in inputs:
        readers = _read(batch, given)
        for low in range(0, seq, several):
            places = slice(low, low + several)
            added = [embedded[:, places, None]]
            for layer in range(parts.num_layers):
                heads = changes["head", layer][:, places].unflatten(-1, (parts.num_heads, -1))
                matrix = outward[layer].float().unflatten(0, (parts.num_heads, -1))
                added.append(torch.einsum("bthf,hfw->bthw", heads, matrix))
                added.append(changes["mlp", layer][:, places, None])
            written = torch.cat(added, dim=2)
            del added
            column = 0
            for reader in readers:
                before = _num_before(parts, reader.nodes[0])
                through = reader.pulled_back(places)
                found = torch.einsum("btsw,dbtw->bsd", written[:, :, :before], through)
                columns = slice(column, column + len(reader.nodes))
                scores[:, :before, columns] += found / len(inputs)
                column = columns.stop
    return scores


def _read(batch: Batch, given: Float[Tensor, "pairs seq width"]) -> list[_Reader]:
    """Run the batch on these embeddings and return who reads the stream, and with what gradient."""
    parts, block = batch.parts, _PLAIN[batch.parts.family]
    assert parts.final_norm is not None
    norms, maps = [], []
    for layer in range(parts.num_layers):
        module = parts.layers[layer]
        norms += [module.get_submodule(block.attention_norm), module.get_submodule(block.mlp_norm)]
        maps += [parts.attention(layer).get_submodule(name) for name in block.projections]
    norms.append(parts.final_norm)
    with _watched([*norms, *maps]) as seen:
        difference = batch.run(given)
    wanted = [*maps, *norms[1::2], parts.final_norm]
    outputs = [seen[module][1] for module in wanted]
    gradients = dict(zip(wanted, torch.autograd.grad(difference, outputs), strict=True))
    states = {norm: seen[norm][0].detach() for norm in norms}
    counts = {"q": parts.num_heads, "k": parts.num_kv_heads, "v": parts.num_kv_heads}
    sizes = [heads * parts.head_width for heads in counts.values()]
    readers, nodes = [], iter(_destinations(parts))
    for layer in range(parts.num_layers):
        first, second = norms[2 * layer : 2 * layer + 2]
        projections = [parts.attention(layer).get_submodule(name) for name in block.projections]
        features = torch.cat([gradients[module] for module in projections], dim=-1)
        matrix = torch.cat([_as_run(module, parts.width) for module in projections], dim=-1)
        cut = zip(matrix.split(sizes, dim=-1), counts.values(), strict=True)
        own = [next(nodes) for _ in range(sum(counts.values()))]
        split = features.split(sizes, dim=-1)
        readers.append(_Reader(first, states[first], split, list(cut), own))
        readers.append(_Reader(second, states[second], [gradients[second]], None, [next(nodes)]))
    last = parts.final_norm
    readers.append(_Reader(last, states[last], [gradients[last]], None, [next(nodes)]))
    return readers


@contextlib.contextmanager
def _watched(modules: Sequence[nn.Module]) -> Iterator[dict[nn.Module, tuple[Tensor, Tensor]]]:
    """Keep what enters and what leaves each module."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        seen[module] = args[0], out

    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _as_run(module: nn.Module, width: int) -> Float[Tensor, "{width} out"]:
    """Return the matrix by which a linear map multiplies, adapters on it included."""
    weight = next(module.parameters())
    dtype = weight.dtype if weight.is_floating_point() else torch.float32
    eye = torch.eye(width, device=weight.device, dtype=dtype)[None]
    return (module(eye) - module(torch.zeros_like(eye[:, :1])))[0]
