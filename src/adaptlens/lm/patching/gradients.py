"""Forward passes that a logit difference can be differentiated through, with frozen weights."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from adaptlens.errors import UserError, unknown
from adaptlens.lm.architecture import Architecture
from adaptlens.lm.hooks import Activations, hooked
from adaptlens.lm.load import LM
from adaptlens.lm.memory import default_budget, halving, pass_tokens
from adaptlens.lm.prefix.forward import Progress
from adaptlens.lm.prefix.walk import in_place, parted, routed
from adaptlens.lm.units import Direction, Pair, UnitKind
from adaptlens.types import Weights

Method = Literal["gradient", "integrated"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Pairs of one length, read by one variant of the weights.

    Attributes:
        parts: the model.
        numbers: which pairs.
        base: the prompts that outputs are put into.
        other: the prompts that they come from.
        tokens: the answers and the foils.
        start: the first place that gradients are wanted at; 0 where prompts are read whole.
    """

    parts: Architecture
    numbers: Sequence[int]
    base: Int[Tensor, "pairs seq"]
    other: Int[Tensor, "pairs seq"]
    tokens: Int[Tensor, "pairs 2"]
    start: int

    def embeddings(
        self,
    ) -> tuple[Float[Tensor, "pairs seq width"], Float[Tensor, "pairs seq width"]]:
        """Return the embedded tokens of the base and the other prompts."""
        return self.parts.embed(self.base), self.parts.embed(self.other)

    def inputs(self, method: Method, steps: int) -> list[Float[Tensor, "pairs seq width"]]:
        """Return the embeddings at which gradients are taken.

        The base prompt's for "gradient"; for "integrated" those a share (k + 1/2) / steps of the
        way from it to the other prompt, k from 0 to steps - 1.
        """
        own, far = self.embeddings()
        if method == "gradient":
            return [own]
        shares = [(k + 0.5) / steps for k in range(steps)]
        return [torch.lerp(own.float(), far.float(), share).to(own.dtype) for share in shares]

    def run(self, embeddings: Float[Tensor, "pairs seq width"]) -> Float[Tensor, ""]:
        """Return the sum over pairs of logit of the answer minus logit of the foil.

        What is computed from place `start` on can be differentiated; before it, nothing that the
        gradients go through.
        """
        parts, start, (pairs, seq) = self.parts, self.start, self.base.shape
        places = torch.arange(seq, device=self.base.device).expand(pairs, -1)
        allowed = (places[:, None, :] <= places[:, :, None])[:, start:]
        late = embeddings[:, start:].detach().requires_grad_()
        if start:
            cache = Cache(layers=[DynamicLayer() for _ in parts.layers])
            early, before = self.base[:, :start], places[:, :start]
            seen = before[:, None, :] <= before[:, :, None]
            with torch.no_grad(), _embedded(parts, embeddings[:, :start]):
                parts.hidden(early, before, seen, cache=cache)
            with _embedded(parts, late):
                late_ids, queries = self.base[:, start:], places[:, start:]
                hidden = parts.hidden(late_ids, queries, allowed, places, cache)
        else:
            with _embedded(parts, late):
                hidden = parts.backbone(
                    input_ids=self.base,
                    attention_mask=torch.ones_like(self.base),
                    use_cache=False,
                ).last_hidden_state
        logits = parts.logits(hidden[:, -1]).float().gather(1, self.tokens)
        return (logits[:, 0] - logits[:, 1]).sum()

    def outputs(
        self, ids: Int[Tensor, "pairs seq"], where: Sequence[tuple[UnitKind, int]]
    ) -> Activations:
        """Return what units put out in prompts `ids`, [pairs, places from `start` on, features]."""
        found: Activations = {}

        def keep(kind: UnitKind, layer: int, states: Tensor) -> None:
            found[kind, layer] = states.reshape(*ids.shape, -1)[:, self.start :].clone()

        with torch.no_grad(), hooked(self.parts, where, keep):
            self.parts.backbone(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        return found


@contextlib.contextmanager
def _embedded(parts: Architecture, embeddings: Float[Tensor, "pairs seq width"]) -> Iterator[None]:
    """Let the pass inside read these instead of its tokens' embeddings."""
    hook = parts.embed.register_forward_hook(lambda *_: embeddings)
    try:
        yield
    finally:
        hook.remove()


def check_method(method: Method, steps: int) -> None:
    """Raise where gradients cannot be taken so.

    Raises:
        UserError: a method nobody knows, or no steps.
    """
    if method not in get_args(Method):
        raise unknown("method of attribution", method, get_args(Method))
    if steps < 1:
        raise UserError(f"{steps} steps of integration were asked for; expected 1 at least.")


def each_batch(
    lm: LM,
    pairs: Sequence[Pair],
    direction: Direction,
    weights: Weights | None,
    budget_bytes: int | None,
    progress: Progress | None,
    take: Callable[[Batch], None],
    *,
    whole: bool = False,
) -> None:
    """Call `take` with every pair once, in batches, under its weights and with gradients on.

    Args:
        lm: the model.
        pairs: checked pairs.
        direction: whether the corrupt prompts ("denoise") or the clean ones are the base.
        weights: weight changes; `pair.variant` says which reads the pair.
        budget_bytes: memory for a pass; None plans for what is free.
        progress: called with (pairs done, all).
        take: reads a batch; called anew with fewer pairs where memory runs out.
        whole: read prompts whole, whatever the sites are.

    Raises:
        UserError: one pair does not fit the memory.
    """
    parts = lm.architecture
    assert parts is not None
    budget = budget_bytes or default_budget(lm.device)
    variants = [pair.variant if weights is not None else 0 for pair in pairs]
    together, _ = parted(lm, [len(pair.clean) for pair in pairs], variants)
    shared = {n for numbers in together.values() for n in numbers}
    # Pairs whose sites begin late are kept apart from those that must be read from early on.
    groups: dict[tuple[int, int, int], list[int]] = {}
    for n, pair in enumerate(pairs):
        first = min(place for site in pair.sites for place in site)
        start = 0 if whole or n not in shared else first
        groups.setdefault((variants[n], len(pair.clean), start), []).append(n)
    done = 0
    with torch.inference_mode(False), torch.enable_grad():
        for (variant, seq, start), numbers in sorted(groups.items()):
            most = _most_pairs(parts, seq, start, budget)
            what = f"a prompt of {seq} tokens and its gradients do not fit"
            for chunk in halving(len(numbers), most, lm.device, what):
                with chunk as (low, high), in_place(weights, variant), routed(weights, [variant]):
                    take(_batch(lm, pairs, numbers[low:high], direction, start))
                    done += high - low
                    if progress is not None:
                        progress(done, len(pairs))


def _batch(
    lm: LM, pairs: Sequence[Pair], numbers: Sequence[int], direction: Direction, start: int
) -> Batch:
    assert lm.architecture is not None
    some = [pairs[n] for n in numbers]
    clean = torch.tensor([pair.clean for pair in some], device=lm.device)
    corrupt = torch.tensor([pair.corrupt for pair in some], device=lm.device)
    tokens = torch.tensor([(pair.answer, pair.foil) for pair in some], device=lm.device)
    base, other = (corrupt, clean) if direction == "denoise" else (clean, corrupt)
    return Batch(lm.architecture, numbers, base, other, tokens, start)


def _most_pairs(parts: Architecture, seq: int, start: int, budget_bytes: int) -> int:
    """Return how many pairs a pass that keeps all it computes from `start` on may hold.

    A token keeps about 30 widths in each layer (as a forward pass, and gated feed-forward parts
    keep four of their widths), its keys and values, its share of the mask, and of the scores where
    they are written out.
    """
    weight = next(parts.backbone.parameters())
    size = weight.element_size() if weight.is_floating_point() else 4
    config: Any = parts.backbone.config
    scores = 2 * parts.num_heads if config._attn_implementation == "eager" else 0
    late = size * 30 * parts.width + seq * size * scores
    both = 2 * size * parts.num_kv_heads * parts.head_width
    a_pair = parts.num_layers * ((seq - start) * late + seq * both)
    a_pair += (seq - start) * seq * (1 + size) + 12 * parts.vocab
    most = pass_tokens(parts, 0, seq, budget_bytes) // seq
    return int(max(min(budget_bytes // a_pair, most), 1))
