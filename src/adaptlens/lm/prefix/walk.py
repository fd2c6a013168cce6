"""Walks the plan: fills the caches of shared prefixes and hands over what to read after each."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from adaptlens.errors import UserError
from adaptlens.lm.architecture import Architecture
from adaptlens.lm.kept import keeping
from adaptlens.lm.load import LM
from adaptlens.lm.memory import halving
from adaptlens.lm.prefix.cache import copied
from adaptlens.lm.prefix.schedule import Stage, plan
from adaptlens.lm.unembedding import TellsApart
from adaptlens.types import ActsWhereAnswered, HasVirtualTokens, Weights

# A prefix longer than this goes into its cache in pieces, so that its mask stays small.
_PIECE_TOKENS = 2048

Leaf = Callable[[list[int], list[DynamicLayer], int], None]
"""Called with (numbers of sequences, keys and values of their prefix, its tokens)."""


@dataclass
class ForwardStats:
    """What was asked for and what it took.

    Attributes:
        tokens_given: length of all sequences together, as separate forward passes would read them.
        tokens_computed: tokens that went through the model, padding excluded.
        tokens_padded: padding that went through with them.
        forwards: forward passes.
        halvings: how often memory ran out and a batch was cut in two.
        unshared: sequences that ran on their own because the model's prefixes cannot be shared.
        seams_moved: prompts whose last token was not the same with the answer after it, so that
            scoring starts before the answer's first character.
    """

    tokens_given: int = 0
    tokens_computed: int = 0
    tokens_padded: int = 0
    forwards: int = 0
    halvings: int = 0
    unshared: int = 0
    seams_moved: int = 0


def check_lengths(lm: LM, lengths: Sequence[int]) -> None:
    """Raise where a sequence does not fit the context.

    Raises:
        UserError: names the longest sequence and the excess.
    """
    longest = max(lengths, default=0)
    if longest > lm.context_tokens:
        raise UserError(
            f"request {lengths.index(longest)} has {longest} tokens, {longest - lm.context_tokens} "
            f"more than the context of '{lm.name}' ({lm.context_tokens}); use fewer or shorter "
            "demonstrations."
        )


def parted(
    lm: LM, lengths: Sequence[int], variants: Sequence[int]
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return which sequences may share prefixes and which must run alone, both by variant.

    Alone run all where the model's prefixes cannot be shared, and those that are so long that the
    model turns all their positions by other angles (rope of type "longrope" and "dynamic").
    """
    limit = _same_angles_up_to(lm.model.config.get_text_config()) if lm.shares_prefix else 0
    together: dict[int, list[int]] = {}
    alone: dict[int, list[int]] = {}
    for n, (length, variant) in enumerate(zip(lengths, variants, strict=True)):
        (together if length <= limit else alone).setdefault(variant, []).append(n)
    return together, alone


def _same_angles_up_to(config: Any) -> float:
    """Return the length up to which a token's rotary angles depend on its position alone."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(each for each in rope.values() if isinstance(each, dict))]
    return min(
        (
            kind.get("original_max_position_embeddings")
            or getattr(config, "original_max_position_embeddings", None)
            or getattr(config, "max_position_embeddings", None)
            or 0
            for kind in kinds
            if kind.get("rope_type") in ("longrope", "dynamic")
        ),
        default=math.inf,
    )


def in_place(weights: Weights | None, variant: int) -> contextlib.AbstractContextManager[None]:
    """Return the context for all passes of one variant; weights that mix rows need none."""
    if weights is None or weights.mixes_rows:
        return contextlib.nullcontext()
    return weights.routed([variant])


def routed(
    weights: Weights | None, variants: Sequence[int]
) -> contextlib.AbstractContextManager[None]:
    """Return the context of one pass; weights that do not mix rows are `in_place` already."""
    if weights is None or not weights.mixes_rows:
        return contextlib.nullcontext()
    return weights.routed(variants)


def acting_at(
    weights: Weights | None, tokens: Int[Tensor, " tokens"] | None
) -> contextlib.AbstractContextManager[None]:
    """Return the context of one pass that tells weights where to act, if they ask for that."""
    if isinstance(weights, ActsWhereAnswered):
        return weights.acting_at(tokens)
    return contextlib.nullcontext()


def virtual_ids(weights: Weights | None) -> tuple[int, ...]:
    """Return the ids that weights want before those of every text: none, but of soft prompts."""
    return weights.virtual_ids if isinstance(weights, HasVirtualTokens) else ()


def part_nested(
    sequences: Sequence[Sequence[int]],
    answered: Sequence[int],
    together: dict[int, list[int]],
    alone: dict[int, list[int]],
) -> None:
    """Move to `alone` the sequences whose prompt begins with another's whole prompt.

    In a row that they share, the other's last token would be one of theirs on the way.

    Args:
        sequences: token ids of each.
        answered: per sequence, its prompt's last token; its length where it ends before.
        together: by variant, the sequences that may share rows.
        alone: by variant, those that may not.
    """
    for variant, numbers in together.items():
        prompts = {
            tuple(sequences[n][: answered[n] + 1])
            for n in numbers
            if answered[n] < len(sequences[n])
        }
        sizes = sorted({len(prompt) for prompt in prompts})
        nested = {
            n
            for n in numbers
            for size in sizes
            if size <= answered[n] and tuple(sequences[n][:size]) in prompts
        }
        if nested:
            together[variant] = [n for n in numbers if n not in nested]
            alone.setdefault(variant, []).extend(sorted(nested))


@contextlib.contextmanager
def last_mlp_at(
    parts: Architecture, at: Int[Tensor, " tokens"], weights: TellsApart | None
) -> Iterator[None]:
    """Let the last layer's feed-forward part run at the wanted tokens only; nothing reads others.

    Not for OPT, where the part cannot be run as one module, nor where adapters are in it, which
    tell their rows by the shape of what a module is given. Gradients flow through it.

    Args:
        parts: the model.
        at: the wanted tokens of the batch, each once, counted row by row.
        weights: weight changes.
    """
    mlp: Any = parts.mlp(parts.num_layers - 1)
    adapted = weights is not None and any(map(weights.adapts, mlp.modules()))
    if adapted or isinstance(mlp, torch.nn.Linear):
        yield
        return
    whole, own = mlp.forward, mlp.__dict__.get("forward")

    def at_wanted(
        states: Float[Tensor, "batch seq width"], *rest: object
    ) -> Float[Tensor, "batch seq width"]:
        here = at.to(states.device)
        found = whole(states.flatten(0, 1)[here][None], *rest)[0]
        return (
            states.new_zeros(states.shape).flatten(0, 1).index_copy_(0, here, found).view_as(states)
        )

    mlp.forward = at_wanted
    try:
        yield
    finally:
        del mlp.forward
        if own is not None:
            mlp.forward = own


def walk(
    lm: LM,
    sequences: Sequence[Sequence[int]],
    first: Sequence[int],
    owners: Mapping[int, list[int]],
    weights: Weights | None,
    work: ForwardStats,
    leaf: Leaf,
    width: int,
) -> None:
    """Call `leaf` for every group of sequences, with the cache of the prefix they share.

    Caches belong to one variant, or to all where weights act after them. Sequences without a cache
    come in one group where rows of different variants may be mixed.

    Args:
        lm: the model.
        sequences: token ids of each.
        first: per sequence, the first token whose state is wanted; caches end before it.
        owners: per variant, the numbers of the sequences it reads; all are 0's without weights.
        weights: weight changes.
        work: counters to add to.
        leaf: reads a group.
        width: tokens a row of the group will hold; a prefix that is not cached is repeated in
            each row.
    """
    walker = _Walker(lm, sequences, weights, work, leaf, width)
    if isinstance(weights, ActsWhereAnswered):
        readers = {n: variant for variant, own in owners.items() for n in own}
        variants = [readers.get(n, 0) for n in range(len(sequences))]
        walker.walk({0: sorted(readers)}, first, variants)
        return
    if weights is None or weights.mixes_rows:
        walker.walk(owners, first)
        return
    for variant in sorted(owners):
        with in_place(weights, variant):
            walker.walk({variant: owners[variant]}, first)


@dataclass(frozen=True)
class _Walker:
    lm: LM
    sequences: Sequence[Sequence[int]]
    weights: Weights | None
    work: ForwardStats
    leaf: Leaf
    width: int

    def walk(
        self,
        owners: Mapping[int, list[int]],
        first: Sequence[int],
        variants: Sequence[int] = (),
    ) -> None:
        """Plan for each owner, read what needs no cache, then stage by stage."""
        stages = {
            owner: plan(self.sequences, first, self.width, owners[owner], variants)
            for owner in sorted(owners)
        }
        loose = [n for stage in stages.values() for n in stage.sequences]
        if loose:
            self.leaf(loose, [], 0)
        for variant, stage in stages.items():
            for deeper in stage.deeper:
                self.stage(deeper, variant, [])

    def stage(self, stage: Stage, variant: int, above: list[DynamicLayer]) -> None:
        """Cache the stage's prefix and read what hangs below it."""
        ids = self.sequences[stage.source][stage.start : stage.stop]
        layers = self.extend(ids, stage.start, variant, above)
        if stage.sequences:
            self.leaf(list(stage.sequences), layers, stage.stop)
        for deeper in stage.deeper:
            self.stage(deeper, variant, layers)

    def extend(
        self, ids: Sequence[int], start: int, variant: int, above: list[DynamicLayer]
    ) -> list[DynamicLayer]:
        """Return keys and values of the tokens so far and `ids`, per layer."""
        parts, device = self.lm.architecture, self.lm.device
        assert parts is not None
        layers = copied(above) or [DynamicLayer() for _ in parts.layers]
        nothing = torch.zeros(0, dtype=torch.long, device=device)
        what = f"a shared prefix of {start + len(ids)} tokens does not fit"
        for chunk in halving(len(ids), _PIECE_TOKENS, device, what):
            with chunk as (low, high):
                grown = copied(layers)
                with (
                    routed(self.weights, [variant]),
                    acting_at(self.weights, nothing),
                    last_mlp_at(parts, nothing, self.weights),
                ):
                    part = torch.tensor([ids[low:high]], device=device)
                    _fill(parts, part, start + low, Cache(layers=[*grown]))
                layers = grown
                self.work.forwards += 1
                self.work.tokens_computed += high - low
            self.work.halvings += chunk.ran_out
        return layers


def _fill(parts: Architecture, ids: Int[Tensor, "1 seq"], start: int, cache: Cache) -> None:
    """Add the keys and values of tokens at positions from `start` on to a cache."""
    if start == 0 and not any(parts.windows):
        # Plain causal attention, which needs no mask and skips what a mask would hide.
        parts.backbone(input_ids=ids, use_cache=True, **keeping(parts.backbone, cache))
        return
    places = torch.arange(start + ids.shape[1], device=ids.device)
    queries = places[start:]
    allowed = places[None, :] <= queries[:, None]
    parts.hidden(ids, queries[None], allowed[None], places[None], cache)
