"""Forward passes over prefix trees: every shared token once, within a byte budget.

`read` runs any number of token sequences through the model and hands out the hidden states at the
tokens asked for; `score` and `states` are made of it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer

from adaptlens.errors import UserError
from adaptlens.lm.anatomy import Anatomy
from adaptlens.lm.load import LM
from adaptlens.lm.plan import Stage, plan, row_width
from adaptlens.lm.trie import Packed, pack
from adaptlens.values import Weights

Progress = Callable[[int, int], None]

# A prefix longer than this goes into its cache in pieces, so that its mask stays small.
_PIECE_TOKENS = 1024
# More tokens a pass than this gain nothing: a processor's caches overflow, an accelerator is full.
_MOST_TOKENS = {"cpu": 2048, "cuda": 32768, "mps": 8192}
_GIB = 2**30


@dataclass
class Work:
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


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """States found in one forward pass.

    Attributes:
        hidden: [nodes, width], or [nodes, layers + 1, width] where all layers were asked for.
        final: [nodes, width], the states after the final norm (what the unembedding reads).
        nodes: per sequence number, int [tokens]: which node is each of its wanted tokens.
    """

    hidden: torch.Tensor | None
    final: torch.Tensor
    nodes: Mapping[int, np.ndarray]


class FrozenLayer(DynamicLayer):
    """Keys and values of a prefix, lent to every row of a forward pass and kept unchanged."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor):
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return prefix and new keys and values, [batch, heads, prefix + seq, head_width]."""
        assert self.keys is not None and self.values is not None
        batch = key_states.shape[0]
        keys = self.keys.expand(batch, -1, -1, -1)
        values = self.values.expand(batch, -1, -1, -1)
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


def default_budget(device: torch.device) -> int:
    """Return the bytes forward passes may use where the user names no budget.

    Half of what is free, rounded down to a power of two and at most 2 GiB (16 GiB on an
    accelerator), so that the same machine plans the same chunks.
    """
    if device.type == "cuda":
        free, most = torch.cuda.mem_get_info(device)[0], 16 * _GIB
    elif device.type == "mps":
        free, most = torch.mps.recommended_max_memory(), 4 * _GIB
    else:
        free, most = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), 2 * _GIB
    return min(1 << max(int(free // 2).bit_length() - 1, 26), most)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that an allocation failed, on whichever device."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "can't allocate memory" in text or "out of memory" in text


def check_lengths(lm: LM, lengths: Sequence[int]) -> None:
    """Raise where a sequence does not fit the context.

    Raises:
        UserError: names the longest sequence and the excess.
    """
    longest = max(lengths, default=0)
    if longest > lm.context_tokens:
        raise UserError(
            f"request {lengths.index(longest)} has {longest} tokens, {longest - lm.context_tokens} "
            f"more than the context of {lm.name} ({lm.context_tokens}); use fewer or shorter "
            "demonstrations."
        )


@torch.inference_mode()
def read(
    lm: LM,
    sequences: Sequence[Sequence[int]],
    first: Sequence[int],
    take: Callable[[Found], None],
    *,
    variants: Sequence[int] | None = None,
    weights: Weights | None = None,
    layers: bool = False,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
    work: Work | None = None,
) -> Work:
    """Run every sequence through the model and hand out the states of its tokens from `first` on.

    Args:
        lm: the model. Its prefixes must be shareable (`lm.shares_prefix`).
        sequences: token ids, each at least one.
        first: per sequence, the first token whose state is wanted.
        take: called with the states found, pass by pass; with weights that do not mix rows it
            runs while its variant is in place.
        variants: per sequence, the variant of `weights` it is read by.
        weights: weight changes; None reads everything by the base model.
        layers: also hand out every layer's residual stream.
        budget_bytes: memory for the passes; None takes `default_budget`.
        progress: called with (sequences done, all sequences).
        work: counters to add to.

    Returns:
        The work done.

    Raises:
        UserError: a sequence does not fit the context, or one alone does not fit the memory.
    """
    work = work or Work()
    check_lengths(lm, [len(s) for s in sequences])
    work.tokens_given += sum(map(len, sequences))
    reader = _Reader(lm, sequences, first, take, weights, layers, budget_bytes, progress, work)
    owners: dict[int, list[int]] = {}
    for n in range(len(sequences)):
        variant = variants[n] if weights is not None and variants is not None else 0
        owners.setdefault(variant, []).append(n)
    if weights is None or weights.mixes_rows:
        reader.run(owners)
    else:
        for variant in sorted(owners):
            with weights.routed([variant]):
                reader.run({variant: owners[variant]})
    return work


class _Reader:
    """One call of `read`: walks the plan, packs, runs, gathers."""

    def __init__(
        self,
        lm: LM,
        sequences: Sequence[Sequence[int]],
        first: Sequence[int],
        take: Callable[[Found], None],
        weights: Weights | None,
        layers: bool,
        budget_bytes: int | None,
        progress: Progress | None,
        work: Work,
    ):
        assert lm.anatomy is not None
        self.anatomy: Anatomy = lm.anatomy
        self.lm, self.sequences, self.first, self.take = lm, sequences, first, take
        self.weights = weights if weights is not None and weights.mixes_rows else None
        self.layers, self.work, self.progress = layers, work, progress
        self.budget_bytes = budget_bytes or default_budget(lm.device)
        self.variants = [0] * len(sequences)
        self.done = 0

    def run(self, owners: Mapping[int, list[int]]) -> None:
        """Read the sequences of each variant; those without a cache share batches."""
        width = row_width(0)
        stages = {v: plan(self.sequences, self.first, width, owners[v]) for v in sorted(owners)}
        for variant, numbers in owners.items():
            for n in numbers:
                self.variants[n] = variant
        loose = [n for stage in stages.values() if not stage.stop for n in stage.sequences]
        self.packed(loose, None, 0)
        for variant, stage in stages.items():
            for deeper in (stage,) if stage.stop else stage.deeper:
                self.stage(deeper, variant, [])

    def stage(self, stage: Stage, variant: int, above: list[DynamicLayer]) -> None:
        """Cache the stage's prefix and read what hangs below it."""
        ids = self.sequences[stage.source][stage.start : stage.stop]
        layers = self.extend(ids, stage.start, variant, above)
        cache = Cache(layers=[FrozenLayer(x.keys, x.values) for x in layers])
        self.packed(list(stage.sequences), cache, stage.stop)
        for deeper in stage.deeper:
            self.stage(deeper, variant, layers)

    def extend(
        self, ids: Sequence[int], start: int, variant: int, above: list[DynamicLayer]
    ) -> list[DynamicLayer]:
        """Return keys and values of the tokens so far and `ids`, per layer."""
        layers = [_copy(x) for x in above] or [DynamicLayer() for _ in self.anatomy.layers]
        piece = _PIECE_TOKENS
        done = 0
        while done < len(ids):
            part = torch.tensor([ids[done : done + piece]], device=self.lm.device)
            places = torch.arange(start + done + part.shape[1], device=self.lm.device)
            queries = places[start + done :]
            before = [_copy(x) for x in layers]
            try:
                with self.routed([variant]):
                    self.anatomy.hidden(
                        part,
                        queries[None],
                        (places[None, :] <= queries[:, None])[None],
                        places[None],
                        Cache(layers=layers),
                    )
            except RuntimeError as error:
                if not is_out_of_memory(error) or piece == 1:
                    raise
                piece, layers = piece // 2, before
                self.work.halvings += 1
                continue
            done += part.shape[1]
            self.work.forwards += 1
            self.work.tokens_computed += part.shape[1]
        return layers

    def packed(self, numbers: list[int], cache: Cache | None, prefix: int) -> None:
        """Read sequences packed into rows after a cached prefix."""
        width = row_width(prefix)
        self.chunk(numbers, cache, prefix, width, self.batch_tokens(prefix, width))

    def chunk(
        self, numbers: list[int], cache: Cache | None, prefix: int, width: int, batch_tokens: int
    ) -> None:
        """Read batch by batch; where memory runs out, the batch again in halves."""
        for packed in pack(
            self.sequences,
            width,
            prefix=prefix,
            variants=self.variants,
            numbers=numbers,
            batch_tokens=batch_tokens,
        ):
            try:
                found = self.forward(packed.to(self.lm.device), cache)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                found = None
            if found is None:
                self.halve(packed, cache, prefix, width)
                continue
            self.take(found)
            self.done += len(packed.sequences)
            if self.progress is not None:
                self.progress(self.done, len(self.sequences))

    def halve(self, packed: Packed, cache: Cache | None, prefix: int, width: int) -> None:
        """Read a batch that did not fit the memory in two halves."""
        self.work.halvings += 1
        if self.lm.device.type == "cuda":
            torch.cuda.empty_cache()
        numbers = list(packed.sequences)
        if len(numbers) == 1:
            raise UserError(
                f"a single request of {len(self.sequences[numbers[0]])} tokens does not fit the "
                f"memory of {self.lm.device}; use shorter prompts, a smaller dtype or a smaller "
                "model."
            )
        middle = len(numbers) // 2
        for half in (numbers[:middle], numbers[middle:]):
            self.chunk(half, cache, prefix, width, max(packed.ids.numel() // 2, 1))

    def forward(self, packed: Packed, cache: Cache | None) -> Found:
        """Return the states of one batch."""
        streams: list[torch.Tensor] = []
        flat, nodes = _wanted(packed, self.sequences, self.first, self.lm.device)
        with self.routed(packed.variants), self.gathering(flat, streams):
            if packed.is_chain and cache is None:
                hidden = self.anatomy.backbone(
                    input_ids=packed.ids, use_cache=False
                ).last_hidden_state
            else:
                before = torch.arange(packed.prefix, device=self.lm.device)
                keys = torch.cat([before.expand(len(packed.ids), -1), packed.positions], dim=1)
                hidden = self.anatomy.hidden(
                    packed.ids, packed.positions, packed.mask(), keys, cache
                )
        final = hidden.flatten(0, 1)[flat]
        self.work.forwards += 1
        self.work.tokens_computed += packed.num_tokens
        self.work.tokens_padded += packed.ids.numel() - packed.num_tokens
        return Found(torch.stack(streams, dim=1) if streams else None, final, nodes)

    def routed(self, variants: Sequence[int]) -> contextlib.AbstractContextManager[None]:
        """Return the context in which each row runs as its variant."""
        return self.weights.routed(variants) if self.weights else contextlib.nullcontext()

    @contextlib.contextmanager
    def gathering(self, flat: torch.Tensor, streams: list[torch.Tensor]) -> Iterator[None]:
        """Keep the residual stream at the wanted tokens: into layer 0, then out of each layer."""
        if not self.layers:
            yield
            return

        def keep(states: torch.Tensor) -> None:
            streams.append(states.flatten(0, 1)[flat].float())

        def entering(_: object, given: tuple, named: dict) -> None:
            keep(given[0] if given else named["hidden_states"])

        def leaving(_: object, __: object, out: object) -> None:
            keep(out[0] if isinstance(out, tuple) else out)

        blocks = self.anatomy.layers
        hooks = [blocks[0].register_forward_pre_hook(entering, with_kwargs=True)]
        hooks += [block.register_forward_hook(leaving) for block in blocks]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def batch_tokens(self, prefix: int, width: int) -> int:
        """Return how many tokens a pass may hold within the budget.

        A token needs its activations (about 8 widths in the residual stream and attention, and 12
        in the feed-forward part), its row of the mask (and of the scores where they are written
        out), and its share of its row's keys and values.
        """
        parts = self.anatomy
        size = torch.finfo(self.lm.model.dtype).bits // 8
        scores = 2 * parts.num_heads if parts.layout.eager or parts.final_softcap else 0
        a_token = size * 20 * parts.width + (prefix + width) * (4 + size + size * scores)
        a_row = 4 * size * parts.num_heads * parts.head_width * (prefix + width)
        tokens = self.budget_bytes // (a_token + a_row // width)
        return int(min(max(tokens, width), _MOST_TOKENS.get(self.lm.device.type, 8192)))


def _copy(layer: DynamicLayer) -> DynamicLayer:
    """Return a layer with the same keys and values; growing it leaves the other as it is."""
    grown = DynamicLayer()
    if layer.is_initialized:
        assert layer.keys is not None
        grown.lazy_initialization(layer.keys, layer.keys)
        grown.keys, grown.values = layer.keys, layer.values
    return grown


def _wanted(
    packed: Packed,
    sequences: Sequence[Sequence[int]],
    first: Sequence[int],
    device: torch.device,
) -> tuple[torch.Tensor, dict[int, np.ndarray]]:
    """Return the places (row-major) of all wanted tokens, each once, and per sequence which."""
    seq = packed.ids.shape[1]
    parts = [
        row * seq + places[first[n] - len(sequences[n]) :]
        for n, row, places in zip(packed.sequences, packed.rows, packed.places, strict=True)
    ]
    flat, which = np.unique(np.concatenate(parts), return_inverse=True)
    cuts = np.cumsum([len(part) for part in parts])[:-1]
    nodes = dict(zip(packed.sequences, np.split(which, cuts), strict=True))
    return torch.from_numpy(flat).to(device), nodes
