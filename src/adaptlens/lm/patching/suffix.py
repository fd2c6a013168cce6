"""Passes over the ends of prompts: many siblings after the same keys and values, never copied.

The states of a pass are [pairs, siblings x seq, width]: siblings of a pair stand side by side in
one row, each attends to what comes before all of them and to itself. Layer by layer siblings can
join, as copies of the first.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import AttentionInterface

from adaptlens.lm.architecture import Architecture

_NAME = "adaptlens_siblings"
# Scores of this many pairs of tokens are computed at a time.
_MOST_SCORES = 2**24
_current: ContextVar["SuffixPass"] = ContextVar("suffix")
# Largest difference of final states from those of whole prompts, relative to the largest.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True, eq=False)
class KVSegment:
    """Keys and values of neighboring places, of each pair or the same for all.

    Attributes:
        keys: per layer.
        values: per layer.
        start: the first of the places.
    """

    keys: Sequence[Float[Tensor, "pairs_or_1 kv_heads places head_width"]]
    values: Sequence[Float[Tensor, "pairs_or_1 kv_heads places value_width"]]
    start: int

    def until(self, place: int) -> "KVSegment":
        """Return the same up to a place, without copying."""
        stop = max(place - self.start, 0)
        return KVSegment(
            [keys[:, :, :stop] for keys in self.keys],
            [values[:, :, :stop] for values in self.values],
            self.start,
        )

    @property
    def num_places(self) -> int:
        """How many places there are."""
        return self.keys[0].shape[2]


@dataclass(eq=False)
class SuffixPass:
    """One pass over the last tokens of some prompts.

    Attributes:
        parts: the model.
        ids: the tokens of the siblings there from the start, side by side.
        first: the place of each pair's first token.
        seq: tokens of a sibling, padding at the end included.
        before: keys and values that come before, places from a pair's `first` on left out.
        growth: per layer, how many siblings there are from it on; None where none join.
        keep: the siblings whose keys and values to keep.
        kept: the keys and values kept, per layer a pair of tensors for each of `keep`.
    """

    parts: Architecture
    ids: Int[Tensor, "pairs tokens"]
    first: Int[Tensor, " pairs"]
    seq: int
    before: Sequence[KVSegment] = ()
    growth: Sequence[int] | None = None
    keep: Sequence[int] = ()
    kept: list[list[tuple[Tensor, Tensor]]] = field(default_factory=list)
    _hidden: dict[tuple[int, int | None], Tensor | None] = field(default_factory=dict)

    def run(self, last: Int[Tensor, " pairs"]) -> Float[Tensor, "pairs siblings {self.seq} width"]:
        """Return the final, normed states.

        Args:
            last: the place of each pair's last token; padding stays at it, as beyond
                it a learned table of positions may have no row.
        """
        parts, pairs = self.parts, len(self.ids)
        order = torch.arange(self.seq, device=self.ids.device)
        positions = torch.minimum(self.first[:, None] + order, last[:, None])
        starting = self.ids.shape[1] // self.seq
        seen = torch.ones(1, 1, 1, dtype=torch.bool, device=self.ids.device)
        with self._attending(), self._growing(starting, positions):
            hidden = parts.backbone(
                input_ids=self.ids,
                position_ids=positions.repeat(1, starting),
                # Attention goes by places; a mask is handed on only to be left alone.
                attention_mask=parts.masks(seen, order[None, :1], order[None, :1]),
                use_cache=False,
            ).last_hidden_state
        return hidden.reshape(pairs, -1, self.seq, hidden.shape[-1])

    def stretch(self, start: int, sibling: int = 0) -> "KVSegment":
        """Return what was kept of one sibling, whose places begin at `start`."""
        own = [layer[self.keep.index(sibling)] for layer in self.kept]
        return KVSegment([keys for keys, _ in own], [values for _, values in own], start)

    @contextlib.contextmanager
    def _attending(self) -> Iterator[None]:
        config: Any = self.parts.backbone.config
        before, given = config._attn_implementation, _current.set(self)
        config._attn_implementation = _NAME
        # GPT-J does not ask for its attention by name.
        own: list[Any] = []
        if self.parts.layout.eager:
            own = [self.parts.attention(layer) for layer in range(self.parts.num_layers)]
        for module in own:
            module._attn = partial(_attend_in_gptj, module)
        try:
            yield
        finally:
            for module in own:
                del module._attn
            config._attn_implementation = before
            _current.reset(given)

    @contextlib.contextmanager
    def _growing(self, siblings: int, positions: Tensor) -> Iterator[None]:
        """Let siblings join at the layers' doors."""
        if self.growth is None:
            yield
            return
        seq = self.seq

        def join(layer: int, _: object, args: tuple, named: dict) -> tuple[tuple, dict]:
            assert self.growth is not None
            states = args[0] if args else named["hidden_states"]
            joining = self.growth[layer] - states.shape[1] // seq
            if joining:
                copies = states[:, :seq].repeat(1, joining, 1)
                states = torch.cat([states, copies], dim=1)
            named = dict(named)
            times = self.growth[layer] // siblings
            if (angles := named.get("position_embeddings")) is not None:
                named["position_embeddings"] = tuple(a.repeat(1, times, 1) for a in angles)
            if named.get("position_ids") is not None:
                named["position_ids"] = positions.repeat(1, times)
            if args:
                return (states, *args[1:]), named
            return args, named | {"hidden_states": states}

        hooks = [
            block.register_forward_pre_hook(partial(join, layer), with_kwargs=True)
            for layer, block in enumerate(self.parts.layers)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "pairs heads tokens head_width"],
        key: Float[Tensor, "pairs kv_heads tokens head_width"],
        value: Float[Tensor, "pairs kv_heads tokens value_width"],
        scaling: float,
        softcap: float | None,
    ) -> Float[Tensor, "pairs tokens heads value_width"]:
        """Return what the tokens of all siblings, side by side, see."""
        pairs, heads, tokens, width = query.shape
        kv, seq = key.shape[1], self.seq
        siblings, groups = tokens // seq, heads // kv
        near_k, near_v = (x.reshape(pairs, kv, siblings, seq, -1) for x in (key, value))
        if self.keep:
            self.kept.append(
                [(near_k[:, :, s].contiguous(), near_v[:, :, s].contiguous()) for s in self.keep]
            )
        rows = (query * scaling).view(pairs, kv, groups, siblings, seq, width).transpose(2, 3)
        keys = sum(stretch.num_places for stretch in self.before) + seq
        room = max(_MOST_SCORES // (pairs * heads * keys), 1)
        found = rows.new_empty(pairs, siblings, seq, kv, groups, value.shape[-1])
        several = max(room // seq, 1)
        for a in range(0, siblings, several):
            for b in range(0, seq, room):
                some, queries = slice(a, a + several), slice(b, b + room)
                out = self._attend_some(
                    layer,
                    rows[:, :, some, :, queries],
                    near_k[:, :, some],
                    near_v[:, :, some],
                    b,
                    softcap,
                )
                found[:, some, queries] = out.permute(0, 2, 4, 1, 3, 5)
        return found.view(pairs, tokens, heads, -1)

    def _attend_some(
        self,
        layer: int,
        rows: Float[Tensor, "pairs kv_heads siblings groups queries head_width"],
        near_k: Float[Tensor, "pairs kv_heads siblings seq head_width"],
        near_v: Float[Tensor, "pairs kv_heads siblings seq value_width"],
        low: int,
        softcap: float | None,
    ) -> Float[Tensor, "pairs kv_heads siblings groups queries value_width"]:
        """Return what the queries see."""
        window = self.parts.window(layer)
        scores, sizes = [], []
        for s, stretch in enumerate(self.before):
            far = _times_shared(rows, stretch.keys[layer].transpose(2, 3))
            scores.append(self._hide(far, self._hidden_far(s, window), low, softcap))
            sizes.append(stretch.num_places)
        if near_k.shape[3] == 1:
            near = (rows * near_k[:, :, :, None]).sum(-1, keepdim=True)
        else:
            near = _times_own(rows, near_k.transpose(3, 4))
        scores.append(self._hide(near, self._hidden_near(window), low, softcap))
        sizes.append(near.shape[-1])
        shares = torch.cat(scores, dim=-1).softmax(-1, dtype=torch.float32).to(near_v.dtype)
        *far_shares, near_shares = shares.split(sizes, dim=-1)
        if near_v.shape[3] == 1:
            found = near_shares * near_v[:, :, :, None]
        else:
            found = _times_own(near_shares, near_v)
        for stretch, each in zip(self.before, far_shares, strict=True):
            found += _times_shared(each, stretch.values[layer])
        return found

    def _hide(
        self,
        scores: Float[Tensor, "pairs kv_heads siblings groups queries keys"],
        hidden: Bool[Tensor, "pairs_or_1 seq keys"] | None,
        low: int,
        softcap: float | None,
    ) -> Float[Tensor, "pairs kv_heads siblings groups queries keys"]:
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        if hidden is None:
            return scores
        some = hidden[:, low : low + scores.shape[-2]]
        return scores.masked_fill(some[:, None, None, None], -torch.inf)

    def _hidden_far(
        self, number: int, window: int | None
    ) -> Bool[Tensor, "pairs seq places"] | None:
        """Return which places of a stretch which token must not see."""

        def make() -> Tensor:
            stretch = self.before[number]
            places = stretch.start + torch.arange(stretch.num_places, device=self.first.device)
            hidden = (places >= self.first[:, None])[:, None].expand(-1, self.seq, -1)
            if window is not None:
                order = torch.arange(self.seq, device=self.first.device)
                age = (self.first[:, None] + order)[:, :, None] - places
                hidden = hidden | (age >= window)
            return hidden

        return self._once((number, window), make)

    def _hidden_near(self, window: int | None) -> Bool[Tensor, "1 seq seq"] | None:
        def make() -> Tensor:
            order = torch.arange(self.seq, device=self.first.device)
            age = order[:, None] - order
            return ((age < 0) | (age >= (window or self.seq)))[None]

        return self._once((-1, window), make)

    def _once(self, key: tuple[int, int | None], make: Callable[[], Tensor]) -> Tensor | None:
        """Return what `make` makes, from the second time on from memory; None if nothing hides."""
        if key not in self._hidden:
            hidden = make()
            self._hidden[key] = hidden if bool(hidden.any()) else None
        return self._hidden[key]


def is_exact(parts: Architecture) -> bool:
    """Whether passes over ends give what whole prompts give, found by trying."""
    device = next(parts.backbone.parameters()).device
    ids = torch.randint(parts.vocab, (1, 26), generator=torch.Generator().manual_seed(0)).to(device)
    wanted = parts.backbone(input_ids=ids, use_cache=False).last_hidden_state[0, -1].float()
    first, last = torch.tensor([10], device=device), torch.tensor([25], device=device)
    stem = SuffixPass(parts, ids[:, :10], first - 10, 10, keep=(0,))
    stem.run(first - 1)
    growth = [2] * parts.num_layers
    found = SuffixPass(parts, ids[:, 10:], first, 16, [stem.stretch(0)], growth).run(last)
    difference = (found[0, :, -1].float() - wanted).abs().max() / wanted.abs().max()
    return bool(difference <= _TOLERANCE.get(parts.dtype, 5e-2))


def _times_shared(
    rows: Float[Tensor, "pairs kv_heads siblings groups queries a"],
    matrix: Float[Tensor, "pairs_or_1 kv_heads a b"],
) -> Float[Tensor, "pairs kv_heads siblings groups queries b"]:
    """Return the products with a matrix that siblings share."""
    pairs, kv, *between, a = rows.shape
    if len(matrix) == pairs:
        flat = torch.bmm(rows.reshape(pairs * kv, -1, a), matrix.flatten(0, 1))
        return flat.view(pairs, kv, *between, -1)
    flat = torch.bmm(rows.transpose(0, 1).reshape(kv, -1, a), matrix[0])
    return flat.view(kv, pairs, *between, -1).transpose(0, 1)


def _times_own(
    rows: Float[Tensor, "pairs kv_heads siblings groups queries a"],
    matrix: Float[Tensor, "pairs kv_heads siblings a b"],
) -> Float[Tensor, "pairs kv_heads siblings groups queries b"]:
    """Return the products with a matrix of each sibling's own."""
    flat = torch.bmm(rows.flatten(0, 2).flatten(1, 2), matrix.flatten(0, 2))
    return flat.view(*rows.shape[:-1], -1)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    **kwargs: object,
) -> tuple[Float[Tensor, "batch seq heads head_width"], None]:
    """Return what `SuffixPass.attend` does; the signature is Transformers'."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    found = _current.get().attend(module.layer_idx, query, key, value, scale, softcap)
    return found, None


def _attend_in_gptj(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None
) -> tuple[Float[Tensor, "batch heads seq head_width"], None]:
    """Return what `SuffixPass.attend` does; scores are in float32, as in GPT-J's own code."""
    found = _current.get().attend(
        module.layer_idx,
        query.float(),
        key.float(),
        value,
        1 / float(module.scale_attn),
        None,
    )
    return found.transpose(1, 2).to(value.dtype), None


AttentionInterface.register(_NAME, _attend)
