"""Forward passes over prefix trees: every shared token once, within a byte budget.

`run_forward` runs any number of token sequences through the model and hands out the states at the
tokens asked for; `score` and `states` are made of it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from adaptlens.errors import UserError
from adaptlens.lm.architecture import Architecture
from adaptlens.lm.hooks import Activations, attention_shown, hooked
from adaptlens.lm.load import LM
from adaptlens.lm.memory import attempt, default_budget, does_not_fit, pass_tokens
from adaptlens.lm.prefix.attention import can_split, split
from adaptlens.lm.prefix.cache import frozen
from adaptlens.lm.prefix.schedule import row_width
from adaptlens.lm.prefix.trie import Packed, pack
from adaptlens.lm.prefix.walk import (
    ForwardStats,
    acting_at,
    check_lengths,
    in_place,
    last_mlp_at,
    part_nested,
    parted,
    routed,
    virtual_ids,
    walk,
)
from adaptlens.lm.unembedding import logits
from adaptlens.lm.units import UnitKind
from adaptlens.types import ActsWhereAnswered, Weights

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class ForwardStates:
    """States found in one forward pass, a node being a token of the tree.

    Attributes:
        nodes: per sequence number, which node is each of its wanted tokens.
        num_nodes: how many nodes there are.
        logits: the logits of nodes low..high, computed when called.
        final: the states after the final norm; None where sequences ran on their own in a model
            whose inside is not known.
        residual: the residual stream into layer 0 and out of each layer, before the final norm;
            None unless asked for.
        attention: what the attention of each layer puts out, after its projection; None unless
            asked for.
        outputs: what units put out, [nodes, units of the layer x unit width] by kind and layer.
    """

    nodes: Mapping[int, Int[np.ndarray, " _"]]
    num_nodes: int
    logits: Callable[[int, int], Float[Tensor, "nodes vocab"]]
    final: Float[Tensor, "nodes width"] | None = None
    residual: Float32[Tensor, "nodes layers_and_embedding width"] | None = None
    attention: Float32[Tensor, "nodes layers width"] | None = None
    outputs: Activations = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ForwardRequest:
    """Sequences to run, and which of their states are wanted.

    Attributes:
        sequences: token ids, each at least one.
        first: per sequence, the first token whose state is wanted; those after it are, too.
        answered: per sequence, its prompt's last token, from which on weights act that act where
            answers are predicted; the length of the sequence where it ends before; `first` unless
            given.
        variants: per sequence, the variant of the weights that it is read by; 0 unless given.
        layers: also hand out every layer's residual stream.
        attention: also hand out what every layer's attention puts out.
        units: kinds and layers of units whose outputs are handed out too.
    """

    sequences: Sequence[Sequence[int]]
    first: Sequence[int]
    answered: Sequence[int] = ()
    variants: Sequence[int] = ()
    layers: bool = False
    attention: bool = False
    units: Sequence[tuple[UnitKind, int]] = ()


@torch.inference_mode()
def run_forward(
    lm: LM,
    request: ForwardRequest,
    on_states: Callable[[ForwardStates], None],
    *,
    weights: Weights | None = None,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
    work: ForwardStats | None = None,
) -> ForwardStats:
    """Run every sequence through the model and hand out the states that are wanted.

    A sequence whose prefix cannot be shared runs in a row of its own, through the model as Hugging
    Face calls it; `work.unshared` counts them.

    Args:
        lm: the model.
        request: the sequences.
        on_states: called with the states found, pass by pass.
        weights: weight changes; None reads everything by the base model. Of soft prompts, the
            virtual tokens are put before every sequence here.
        budget_bytes: memory for the passes; None takes `default_budget`.
        progress: called with (sequences done, all sequences).
        work: counters to add to.

    Returns:
        The work done.

    Raises:
        UserError: a sequence does not fit the context, or one alone does not fit the memory, or
            layers, attention or units were asked for where the model's inside is not known.
    """
    work = work if work is not None else ForwardStats()
    request = _after(virtual_ids(weights), request)
    lengths = [len(sequence) for sequence in request.sequences]
    check_lengths(lm, lengths)
    inside = request.layers or request.attention or request.units
    if inside and lm.architecture is None:
        raise UserError(
            f"the inside of '{lm.name}' is not known, so its hidden states cannot be read; use a "
            "model of a supported architecture, or measure behavior only."
        )
    if weights is None or not request.variants:
        request = replace(request, variants=[0] * len(lengths))
    request = replace(request, answered=request.answered or request.first)
    work.tokens_given += sum(lengths)
    budget = budget_bytes or default_budget(lm.device)
    passes = _Passes(lm, request, on_states, weights, budget, progress, work)
    together, alone = parted(lm, lengths, request.variants)
    first = request.first
    if isinstance(weights, ActsWhereAnswered):
        part_nested(request.sequences, request.answered, together, alone)
        first = list(map(min, request.first, request.answered))
    walk(lm, request.sequences, first, together, weights, work, passes.leaf, row_width(0))
    passes.alone(alone)
    return work


def _after(before: tuple[int, ...], request: ForwardRequest) -> ForwardRequest:
    """Return the request with these ids before each of its sequences."""
    if not before:
        return request
    return replace(
        request,
        sequences=[(*before, *sequence) for sequence in request.sequences],
        first=[len(before) + first for first in request.first],
        answered=[len(before) + place for place in request.answered],
    )


@dataclass
class _Passes:
    """The passes of one request: packs, runs, gathers; where memory runs out, again in halves."""

    lm: LM
    request: ForwardRequest
    on_states: Callable[[ForwardStates], None]
    weights: Weights | None
    budget_bytes: int
    progress: Progress | None
    work: ForwardStats
    done: int = 0

    def leaf(self, numbers: list[int], layers: list[DynamicLayer], prefix: int) -> None:
        """Read sequences packed into rows after a cached prefix."""
        assert self.lm.architecture is not None
        longest = max(len(self.request.sequences[n]) for n in numbers)
        split = bool(layers) and can_split(self.lm.architecture, longest)
        width = row_width(0 if split else prefix)
        longest -= prefix
        widest = longest + width if longest > width else width
        most = pass_tokens(self.lm.architecture, prefix, widest, self.budget_bytes)
        self.chunks(numbers, layers, prefix, width, most)

    def chunks(
        self, numbers: list[int], layers: list[DynamicLayer], prefix: int, width: int, most: int
    ) -> None:
        """Read batch by batch, each of at most `most` tokens."""
        for packed in pack(
            self.request.sequences,
            width,
            prefix=prefix,
            variants=self.request.variants,
            numbers=numbers,
            batch_tokens=most,
        ):
            found = self.attempt(partial(self.forward, packed, layers), packed.sequences)
            if found is None:
                middle = len(packed.sequences) // 2
                less = max(packed.ids.numel() // 2, 1)
                for half in (packed.sequences[:middle], packed.sequences[middle:]):
                    self.chunks(list(half), layers, prefix, width, less)
            else:
                self.hand_out(found)

    def alone(self, owners: Mapping[int, list[int]]) -> None:
        """Read every sequence in a row of its own, together with others of its length."""
        table = self.lm.model.get_input_embeddings()
        a_token = 12 * table.num_embeddings + 80 * table.embedding_dim
        most = min(self.budget_bytes // a_token, 2048)
        for variant in sorted(owners):
            numbers = sorted(owners[variant], key=lambda n: len(self.request.sequences[n]))
            self.work.unshared += len(numbers)
            with in_place(self.weights, variant):
                while numbers:
                    length = len(self.request.sequences[numbers[0]])
                    same = sum(len(self.request.sequences[n]) == length for n in numbers)
                    some = numbers[: min(same, max(most // length, 1))]
                    found = self.attempt(partial(self.forward_alone, some), some)
                    if found is None:
                        most //= 2
                        continue
                    self.hand_out(found)
                    numbers = numbers[len(some) :]

    def attempt(
        self, forward: Callable[[], ForwardStates], numbers: Sequence[int]
    ) -> ForwardStates | None:
        """Return what a pass found, or None where memory ran out.

        Raises:
            UserError: memory ran out for a single sequence.
        """
        found = attempt(forward, self.lm.device)
        if found is None:
            self.work.halvings += 1
            if len(numbers) == 1:
                tokens = len(self.request.sequences[numbers[0]])
                what = f"a single request of {tokens} tokens does not fit"
                raise does_not_fit(what, self.lm.device)
        return found

    def hand_out(self, found: ForwardStates) -> None:
        """Give the states to the caller and tell how far it is."""
        self.on_states(found)
        self.done += len(found.nodes)
        if self.progress is not None:
            self.progress(self.done, len(self.request.sequences))

    def forward(self, packed: Packed, layers: list[DynamicLayer]) -> ForwardStates:
        """Return the states of one batch of packed rows."""
        parts, device = self.lm.architecture, self.lm.device
        assert parts is not None
        packed = packed.to(device)
        ends = {n: len(self.request.sequences[n]) for n in packed.sequences}
        flat, nodes = _distinct(
            packed.sequences,
            [
                row * packed.ids.shape[1] + places[self.request.first[n] - ends[n] :]
                for n, row, places in zip(packed.sequences, packed.rows, packed.places, strict=True)
            ],
        )
        at = torch.from_numpy(flat).to(device)
        acting = [
            row * packed.ids.shape[1] + places[len(places) + self.request.answered[n] - ends[n] :]
            for n, row, places in zip(packed.sequences, packed.rows, packed.places, strict=True)
        ]
        kept = _Kept()
        with (
            routed(self.weights, packed.variants),
            acting_at(self.weights, _tokens(acting, device)),
            self.gathering(parts, at, kept),
            self.last_mlp_at(parts, at),
        ):
            hidden = self.hidden(parts, packed, layers, at)
        self.work.forwards += 1
        self.work.tokens_computed += packed.num_tokens
        self.work.tokens_padded += packed.ids.numel() - packed.num_tokens
        final = hidden.to(device).flatten(0, 1)[at]
        readers = [packed.variants[row] for row in (flat // packed.ids.shape[1]).tolist()]
        return ForwardStates(
            nodes,
            len(flat),
            lambda low, high: logits(parts, final[low:high], self.weights, readers[low:high]),
            final,
            **kept.states(),
        )

    def last_mlp_at(
        self, parts: Architecture, at: Int[Tensor, " nodes"]
    ) -> contextlib.AbstractContextManager[None]:
        """Let the last layer's feed-forward part run at the wanted tokens only, if it may."""
        if ("neuron", parts.num_layers - 1) in self.request.units:
            return contextlib.nullcontext()
        return last_mlp_at(parts, at, self.weights)

    def hidden(
        self,
        parts: Architecture,
        packed: Packed,
        layers: list[DynamicLayer],
        at: Int[Tensor, " nodes"],
    ) -> Float[Tensor, "batch seq width"]:
        """Return the final states, by the cheapest way that is exact."""
        ids, positions = packed.ids, packed.positions
        if packed.is_chain and not layers:
            return parts.backbone(input_ids=ids, use_cache=False).last_hidden_state
        longest = int(positions.max()) + 1
        if layers and can_split(parts, longest):
            with split(parts, layers, at):
                return parts.hidden(ids, positions, packed.mask())
        before = torch.arange(packed.prefix, device=ids.device).expand(len(ids), -1)
        keys = torch.cat([before, positions], dim=1)
        return parts.hidden(ids, positions, packed.mask_with_prefix(), keys, frozen(layers))

    def forward_alone(self, numbers: Sequence[int]) -> ForwardStates:
        """Return the states of whole sequences of one length, by the model's own forward."""
        device = self.lm.device
        ids = torch.tensor([list(self.request.sequences[n]) for n in numbers], device=device)
        seq = ids.shape[1]
        flat, nodes = _distinct(
            numbers,
            [b * seq + np.arange(self.request.first[n], seq) for b, n in enumerate(numbers)],
        )
        at = torch.from_numpy(flat).to(device)
        finals: list[Tensor] = []
        kept = _Kept()
        acting = [b * seq + np.arange(self.request.answered[n], seq) for b, n in enumerate(numbers)]
        with contextlib.ExitStack() as stack:
            stack.enter_context(routed(self.weights, [self.request.variants[n] for n in numbers]))
            stack.enter_context(acting_at(self.weights, _tokens(acting, device)))
            if self.lm.architecture is not None:
                stack.enter_context(self.gathering(self.lm.architecture, at, kept))
                hook = self.lm.architecture.backbone.register_forward_hook(
                    lambda _, __, out: finals.append(out[0].to(device).flatten(0, 1)[at])
                )
                stack.callback(hook.remove)
            out = self.lm.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
            at_wanted = out.logits.flatten(0, 1)[at]
        self.work.forwards += 1
        self.work.tokens_computed += ids.numel()
        return ForwardStates(
            nodes,
            len(flat),
            lambda low, high: at_wanted[low:high],
            finals[0] if finals else None,
            **kept.states(),
        )

    @contextlib.contextmanager
    def gathering(
        self, parts: Architecture, at: Int[Tensor, " nodes"], kept: "_Kept"
    ) -> Iterator[None]:
        """Keep what was asked for at the wanted tokens."""

        def keep(states: Float[Tensor, "batch seq width"]) -> None:
            kept.streams.append(states.to(at.device).flatten(0, 1)[at].float())

        def entering(_: object, given: tuple, named: dict) -> None:
            keep(given[0] if given else named["hidden_states"])

        def leaving(_: object, __: object, out: Any) -> None:
            keep(out[0] if isinstance(out, tuple) else out)

        def attended(_: int, states: Float[Tensor, "batch seq width"]) -> None:
            kept.attention.append(states.to(at.device).flatten(0, 1)[at].float())

        def put_out(kind: UnitKind, layer: int, states: Float[Tensor, "..."]) -> None:
            kept.outputs[kind, layer] = states.to(at.device).reshape(-1, states.shape[-1])[at]

        with contextlib.ExitStack() as stack:
            if self.request.layers:
                first = parts.layers[0].register_forward_pre_hook(entering, with_kwargs=True)
                stack.callback(first.remove)
                for block in parts.layers:
                    stack.callback(block.register_forward_hook(leaving).remove)
            if self.request.attention:
                stack.enter_context(attention_shown(parts, attended))
            stack.enter_context(hooked(parts, self.request.units, put_out))
            yield


@dataclass
class _Kept:
    """What is kept in one pass, at its wanted tokens.

    Attributes:
        streams: the residual stream into layer 0, then out of each layer.
        attention: what the attention of each layer puts out.
        outputs: what units put out.
    """

    streams: list[Float32[Tensor, "nodes width"]] = field(default_factory=list)
    attention: list[Float32[Tensor, "nodes width"]] = field(default_factory=list)
    outputs: Activations = field(default_factory=dict)

    def states(self) -> dict[str, Any]:
        """Return it as `ForwardStates` has it, layers side by side."""
        return {
            "residual": torch.stack(self.streams, dim=1) if self.streams else None,
            "attention": torch.stack(self.attention, dim=1) if self.attention else None,
            "outputs": self.outputs,
        }


def _tokens(
    places: Sequence[Int[np.ndarray, " _"]], device: torch.device
) -> Int[Tensor, " tokens"]:
    """Return all of some places, each once."""
    return torch.from_numpy(np.unique(np.concatenate(places))).to(device)


def _distinct(
    numbers: Sequence[int], wanted: list[Int[np.ndarray, " _"]]
) -> tuple[Int[np.ndarray, " nodes"], dict[int, Int[np.ndarray, " _"]]]:
    """Return all wanted places, each once, and per sequence which of them are its own."""
    flat, which = np.unique(np.concatenate(wanted), return_inverse=True)
    cuts = np.cumsum([len(part) for part in wanted])[:-1]
    return flat, dict(zip(numbers, np.split(which, cuts), strict=True))
