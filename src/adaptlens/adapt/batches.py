"""Training batches: the examples of many variants laid out as few, even blocks of token rows.

A block is a rectangle in which every variant has equally many rows. Examples of one variant that
begin alike (with the same instruction) lie in a tree and share those tokens, through which
gradients flow as if each example had been run alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from adaptlens.lm.hooks import attention_shown
from adaptlens.lm.load import LM
from adaptlens.lm.prefix import trie
from adaptlens.lm.prefix.walk import last_mlp_at
from adaptlens.lm.unembedding import TellsApart, by_owner

PLAIN = 1
"""The row width that puts one example in each row, whatever its length."""

_WIDTHS = (64, 96, 128, 192, 256, 384, 512, 1024, 2048)

_ATTENTION = 6.0
"""Cost of a query-key pair per unit of head width, in parameters applied to a token.

2 by count of operations (scores and weighted values against one multiply-add a parameter), three
times that because softmax and mask are bound by memory. It only steers the choice of a layout.
"""

_KEPT_MASK_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """A text to train on, in tokens: the loss is taken from number `prompt_tokens` (>= 1) on.

    Its labels count `weight` times, beside others that count 1 on average. One that is `joined`
    belongs to the one before it: they come in the same steps, and count once in a batch's size.

    Where it has `activations` [labels, layers, width], no label is learned but what attention is to
    put out at the token that predicts it, in each layer and after the projection.
    """

    ids: tuple[int, ...]
    prompt_tokens: int
    weight: float = 1.0
    joined: bool = False
    activations: np.ndarray | None = field(default=None, compare=False)

    @property
    def num_labels(self) -> int:
        """How many tokens the loss is taken on."""
        return len(self.ids) - self.prompt_tokens


class Counts(NamedTuple):
    """How much was read in training, for operations to be counted from.

    Attributes:
        tokens_given: tokens of the examples, each read by itself and whole, without padding.
        pairs_given: query-key pairs that see each other in these.
        tokens_computed: tokens run, shared ones once, padding included.
        pairs_computed: query-key pairs that see each other, as run.
        labels: tokens whose logits the loss was taken on.
        without_logits: tokens of the examples of which it needs no logits.
    """

    tokens_given: float = 0.0
    pairs_given: float = 0.0
    tokens_computed: float = 0.0
    pairs_computed: float = 0.0
    labels: float = 0.0
    without_logits: float = 0.0


def counts_of(
    batches: Sequence[Sequence[TokenizedExample]], blocks: Sequence["Block"]
) -> Float64[np.ndarray, "variants counts"]:
    """Return the `Counts` of each variant; a block's variants share it evenly.

    Args:
        batches: the examples, one batch per variant.
        blocks: as they were laid out.
    """
    found = np.zeros((len(batches), len(Counts._fields)))
    for own, batch in zip(found, batches, strict=True):
        sizes = [len(example.ids) for example in batch]
        own[0] = sum(sizes)
        own[1] = sum(size * (size + 1) // 2 for size in sizes)
        own[4] = sum(example.num_labels for example in batch if example.activations is None)
        own[5] = sum(len(example.ids) for example in batch if example.activations is not None)
    for block in blocks:
        rows = found[block.first : block.last]
        rows[:, 2] += block.tokens_computed / len(rows)
        rows[:, 3] += block.pairs_computed / len(rows)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows of the variants first to last - 1, equally many each, and the labels in them.

    Attributes:
        ids: the tokens.
        positions: place of each token in its example.
        ends: as in `trie.Packed`; None where no row branches, so that ordinary
            causal attention is the same.
        places: index into batch x seq of the token that predicts each label.
        targets: the labels.
        owners: the variant each belongs to, counted from `first`.
        weights: that of its example over the number of labels of its variant in the whole batch.
        activations: what attention is to put out at these places; None where labels are learned.
        tokens_computed: batch x seq.
        pairs_computed: query-key pairs that see each other, padding included.
    """

    first: int
    last: int
    ids: Int64[Tensor, "batch seq"]
    positions: Int64[Tensor, "batch seq"]
    ends: Int64[Tensor, "batch seq"] | None
    places: Int64[Tensor, " labels"]
    targets: Int64[Tensor, " labels"]
    owners: Int64[Tensor, " labels"]
    weights: Float32[Tensor, " labels"]
    activations: Float32[Tensor, "labels layers width"] | None
    tokens_computed: int
    pairs_computed: int
    kept_mask: list[Tensor | dict[str, Tensor]] = field(default_factory=list)

    def losses(self, lm: LM, weights: TellsApart | None = None) -> Float32[Tensor, " labels"]:
        """Return each label's loss times its weight.

        `weights` are those installed, if any: variants `first` to `last - 1`, in even runs of rows.

        Of labels, the loss is their negative log-likelihood. Added up per variant this is the mean
        over the variant's labels in the batch, which is what Hugging Face models return for one
        padded batch whose other labels are ignored. Of `activations`, it is the mean squared
        difference over the width, added up over the layers.
        """
        if self.activations is not None:
            gap = self._attention(lm, weights) - self.activations
            return gap.square().mean(-1).sum(-1) * self.weights
        nll = torch.nn.functional.cross_entropy(
            self._logits(lm, weights).to(self.targets.device).float(),
            self.targets,
            reduction="none",
        )
        return nll * self.weights

    def per_variant(
        self, losses: Float32[Tensor, " labels"]
    ) -> Float32[Tensor, " {self.last-self.first}"]:
        """Return the sum of `losses` for each variant."""
        sums = torch.zeros(self.last - self.first, device=losses.device)
        return sums.index_add_(0, self.owners, losses.detach())

    def _logits(self, lm: LM, weights: TellsApart | None) -> Float[Tensor, "labels vocab"]:
        """Return the logits where they are wanted, and nowhere else."""
        if lm.architecture is None:
            logits = lm.model(input_ids=self.ids, use_cache=False).logits
            return logits.flatten(0, 1)[self.places]
        with last_mlp_at(lm.architecture, self.places.unique(), weights):
            output = lm.architecture.backbone(use_cache=False, **self._rows(lm))
        final = output.last_hidden_state.to(self.ids.device).flatten(0, 1)[self.places]
        if weights is not None and weights.adapts(lm.architecture.unembed):
            return by_owner(lm.architecture, final, self.owners, self.last - self.first)
        return lm.architecture.logits(final)

    def _attention(
        self, lm: LM, weights: TellsApart | None
    ) -> Float32[Tensor, "labels layers width"]:
        """Return what attention puts out in every layer at the places where labels are predicted.

        The hooks keep whole tensors: under gradient checkpointing, layers are computed again
        without them.
        """
        assert lm.architecture is not None
        outputs: dict[int, Tensor] = {}
        nowhere = self.places[:0]
        with (
            attention_shown(lm.architecture, outputs.__setitem__),
            last_mlp_at(lm.architecture, nowhere, weights),
        ):
            lm.architecture.backbone(use_cache=False, **self._rows(lm))
        layers = [outputs[layer].to(self.ids.device) for layer in range(len(outputs))]
        return torch.stack([own.flatten(0, 1)[self.places].float() for own in layers], dim=1)

    def _rows(self, lm: LM) -> dict[str, Any]:
        """Return what the backbone takes for these rows."""
        if self.ends is None:
            return {"input_ids": self.ids}
        mask = self._mask(lm, self.ends)
        return {"input_ids": self.ids, "position_ids": self.positions, "attention_mask": mask}

    def _mask(self, lm: LM, ends: Int64[Tensor, "batch seq"]) -> Tensor | dict[str, Tensor]:
        """Return the tree mask, kept for the next step on this batch where it is small."""
        assert lm.architecture is not None
        if self.kept_mask:
            return self.kept_mask[0]
        order = torch.arange(ends.shape[1], device=ends.device)
        seen = (order[None, :] <= order[:, None]) & (order[:, None] < ends[:, None, :])
        mask = lm.architecture.masks(seen, self.positions, self.positions)
        if 4 * seen.numel() <= _KEPT_MASK_BYTES:
            self.kept_mask.append(mask)
        return mask


def choose_width(lm: LM, batches: Sequence[Sequence[TokenizedExample]]) -> int:
    """Return the row width that costs least for batches like these (one batch per variant).

    The cost of a layout is that of its tokens, padding included, plus that of attention, which
    grows with the width of its rows. The first few variants stand for all.
    """
    parts = lm.architecture
    if parts is None or not lm.shares_prefix:
        return PLAIN
    sample = [trie.sort([example.ids[:-1] for example in batch]) for batch in batches[:4]]
    longest = max(int(order.lengths.max()) for order in sample) + 1
    total = max(int(order.lengths.sum()) for order in sample)
    per_token = sum(p.numel() for layer in parts.layers for p in layer.parameters())
    per_pair = _ATTENTION * parts.num_heads * parts.head_width * parts.num_layers

    def cost(width: int) -> float:
        laid = [trie.row_lengths(order, width) for order in sample]
        rows, seq = max(map(len, laid)), max(map(max, laid))
        is_chain = all(
            len(own) == len(order.numbers) for own, order in zip(laid, sample, strict=True)
        )
        return rows * seq * (per_token + per_pair * seq * (0.5 if is_chain else 1.0))

    widths = [PLAIN, longest, *(w for w in _WIDTHS if longest < w < 2 * total)]
    return min(widths, key=cost)


def lay_out(
    batches: Sequence[Sequence[TokenizedExample]],
    width: int,
    *,
    block_tokens: int,
    device: torch.device | str = "cpu",
) -> list[Block]:
    """Return one batch per variant as blocks of about `block_tokens` tokens, padding included.

    Variants stay together as far as a block holds them; one too large for a block is spread over
    several, by rows. Rows are `width` wide, or as long as the longest example.
    """
    packed = {
        id(batch): trie.pack([example.ids[:-1] for example in batch], width)[0] for batch in batches
    }
    laid = [packed[id(batch)] for batch in batches]
    blocks, first = [], 0
    while first < len(laid):
        last, rows, seq = first + 1, *laid[first].ids.shape
        while last < len(laid):
            wider = max(rows, laid[last].ids.shape[0]), max(seq, laid[last].ids.shape[1])
            if (last + 1 - first) * wider[0] * wider[1] > block_tokens:
                break
            (rows, seq), last = wider, last + 1
        each = rows if last > first + 1 else max(block_tokens // seq, 1)
        for low in range(0, rows, each):
            blocks.append(
                _block(batches[first:last], laid[first:last], first, low, min(low + each, rows))
            )
        first = last
    return [_to(block, device) for block in blocks]


def _block(
    batches: Sequence[Sequence[TokenizedExample]],
    laid: Sequence[trie.Packed],
    first: int,
    low: int,
    high: int,
) -> Block:
    """Return rows low..high of each of these variants as one block, short ones filled up."""
    rows, seq = high - low, max(_width(packed, low, high) for packed in laid)
    shape = (len(laid), rows, seq)
    ids = np.zeros(shape, np.int64)
    # Filling sees only itself, and counts on so that plain rows have plain positions, but not past
    # the last token's, beyond which a learned table may have no row.
    last = max(int(packed.positions.max()) for packed in laid)
    positions = np.broadcast_to(np.minimum(np.arange(seq), last), shape).copy()
    ends = positions + 1
    places, targets, owners, weights, activations = [], [], [], [], []
    for v, (batch, packed) in enumerate(zip(batches, laid, strict=True)):
        own_rows, own_seq = packed.ids[low:high, :seq].shape
        ids[v, :own_rows, :own_seq] = packed.ids[low:high, :seq]
        positions[v, :own_rows, :own_seq] = packed.positions[low:high, :seq]
        ends[v, :own_rows, :own_seq] = packed.ends[low:high, :seq]
        num_labels = sum(example.num_labels for example in batch)
        for number, row, path in zip(packed.sequences, packed.rows, packed.places, strict=True):
            if not low <= row < high:
                continue
            example = batch[number]
            start = (v * rows + row - low) * seq
            places.append(start + path[example.prompt_tokens - 1 :])
            targets.append(example.ids[example.prompt_tokens :])
            owners.append(np.full(example.num_labels, v))
            each = example.weight / num_labels
            weights.append(np.full(example.num_labels, each, np.float32))
            if example.activations is not None:
                activations.append(example.activations)
    chain = all(packed.is_chain for packed in laid)
    return Block(
        first=first,
        last=first + len(laid),
        ids=torch.from_numpy(ids.reshape(-1, seq)),
        positions=torch.from_numpy(positions.reshape(-1, seq)),
        ends=None if chain else torch.from_numpy(ends.reshape(-1, seq)),
        places=torch.from_numpy(np.concatenate(places)),
        targets=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
        owners=torch.from_numpy(np.concatenate(owners)),
        weights=torch.from_numpy(np.concatenate(weights)),
        activations=torch.from_numpy(np.concatenate(activations)) if activations else None,
        tokens_computed=ids.size,
        pairs_computed=int((ends - np.arange(seq)).sum()),
    )


def _width(packed: trie.Packed, low: int, high: int) -> int:
    """Return the length of the longest of rows low..high; rows come longest first."""
    own = zip(packed.rows, packed.places, strict=True)
    return max((int(path[-1]) + 1 for row, path in own if low <= row < high), default=1)


def _to(block: Block, device: torch.device | str) -> Block:
    moved = {
        name: getattr(block, name).to(device)
        for name in ("ids", "positions", "places", "targets", "owners", "weights")
    }
    for name in ("ends", "activations"):
        own = getattr(block, name)
        moved[name] = None if own is None else own.to(device)
    return Block(
        first=block.first,
        last=block.last,
        tokens_computed=block.tokens_computed,
        pairs_computed=block.pairs_computed,
        **moved,
    )
