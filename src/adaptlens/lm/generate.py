"""Greedy decoding: shared prefixes read once, then all rows of a batch token by token."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.cache_utils import Cache, DynamicLayer

from adaptlens.lm.finite import check_finite
from adaptlens.lm.load import LM
from adaptlens.lm.memory import default_budget, halving
from adaptlens.lm.prefix.boundaries import Request
from adaptlens.lm.prefix.cache import RowsLayer
from adaptlens.lm.prefix.forward import Progress
from adaptlens.lm.prefix.trie import pack
from adaptlens.lm.prefix.walk import (
    ForwardStats,
    acting_at,
    check_lengths,
    in_place,
    parted,
    routed,
    virtual_ids,
    walk,
)
from adaptlens.lm.unembedding import logits
from adaptlens.types import Weights

# Prompts are not packed: each has a row, of about so many tokens after what it shares.
_PROMPT_TOKENS = 32
_MOST_ROWS = 512
# On a processor, rows beyond what this many bytes of keys and values hold gain nothing.
_PROCESSOR_ROWS, _PROCESSOR_BYTES = 64, 2**28
# Rows that have ended run along, unread, until this share of a batch has: dropping them moves the
# keys and values of all others.
_ENDED_SHARE = 1 / 8


@torch.inference_mode()
def generate(
    lm: LM,
    requests: Sequence[Request],
    max_new_tokens: int,
    stop: Sequence[str] = (),
    weights: Weights | None = None,
    *,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
    work: ForwardStats | None = None,
) -> list[str]:
    """Return the greedy continuation of every prompt, cut before the first stop text.

    Token by token what `model.generate(do_sample=False)` gives without the penalties and the like
    that a generation_config.json may ask for: the likeliest token is taken. A continuation ends at
    an EOS token, once it contains a stop text, or after `max_new_tokens`.

    Args:
        lm: the model.
        requests: prompts; their answers are not read.
        max_new_tokens: the most tokens a continuation has.
        stop: texts that end a continuation.
        weights: weight changes, `request.variant` says which; None generates by the base model.
        budget_bytes: memory for keys and values; None plans for what is free.
        progress: called with (prompts done, all).
        work: counters to add to.

    Raises:
        UserError: a prompt and its continuation do not fit the context, or the memory, or the
            logits are not finite.
    """
    work = work if work is not None else ForwardStats()
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    owner = [
        numbers.setdefault((r.variant if weights else 0, r.prompt_ids), len(numbers))
        for r in requests
    ]
    before = virtual_ids(weights)
    prompts = [(*before, *ids) for _, ids in numbers]
    check_lengths(lm, [len(ids) + max_new_tokens for ids in prompts])
    work.tokens_given += sum(map(len, prompts))
    writer = _Writer(
        lm, prompts, [variant for variant, _ in numbers], weights, max_new_tokens, stop,
        budget_bytes or default_budget(lm.device), progress, work,
    )  # fmt: skip
    lengths = [len(ids) + max_new_tokens for ids in prompts]
    together, alone = parted(lm, lengths, writer.variants)
    last = [len(ids) - 1 for ids in prompts]
    walk(lm, prompts, last, together, weights, work, writer.leaf, _PROMPT_TOKENS)
    writer.alone([n for numbers in alone.values() for n in numbers])
    return [writer.texts[n] for n in owner]


@contextlib.contextmanager
def _without_defaults(model: Any) -> Iterator[None]:
    """Let `model.generate` fill nothing in from the model's generation_config.json."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


@dataclass
class _Writer:
    """One call of `generate`."""

    lm: LM
    prompts: list[tuple[int, ...]]
    variants: list[int]
    weights: Weights | None
    max_new_tokens: int
    stop: Sequence[str]
    budget_bytes: int
    progress: Progress | None
    work: ForwardStats
    texts: dict[int, str] = field(default_factory=dict)

    def leaf(self, numbers: list[int], layers: list[DynamicLayer], prefix: int) -> None:
        """Continue prompts, one a row, after a cached prefix."""
        parts = self.lm.architecture
        assert parts is not None
        longest = max(len(self.prompts[n]) for n in numbers)
        size = next(parts.backbone.parameters()).element_size()
        a_token = 2 * parts.num_layers * parts.num_kv_heads * parts.head_width * size
        a_row = a_token * (longest + self.max_new_tokens)
        most = _MOST_ROWS
        if self.lm.device.type == "cpu":
            most = min(max(_PROCESSOR_BYTES // a_row, _PROCESSOR_ROWS), _MOST_ROWS)
        self.batches(numbers, layers, prefix, min(self.budget_bytes // a_row, most))

    def batches(
        self, numbers: list[int], layers: list[DynamicLayer], prefix: int, rows: int
    ) -> None:
        """Continue at most `rows` prompts at a time; where memory runs out, half as many."""
        numbers = sorted(numbers, key=lambda n: -len(self.prompts[n]))
        longest = max((len(self.prompts[n]) for n in numbers), default=0)
        what = f"generating after a single prompt of up to {longest} tokens does not fit"
        for chunk in halving(len(numbers), rows, self.lm.device, what):
            with chunk as (low, high):
                self.batch(numbers[low:high], layers, prefix)
            self.work.halvings += chunk.ran_out

    def batch(self, numbers: list[int], layers: list[DynamicLayer], prefix: int) -> None:
        """Continue prompts, one a row, until every one has ended."""
        parts, device = self.lm.architecture, self.lm.device
        assert parts is not None
        # Rows no wider than one token hold one prompt each; equal prompts are of other variants.
        (packed,) = pack(
            self.prompts,
            1,
            prefix=prefix,
            variants=self.variants,
            numbers=numbers,
            batch_tokens=2**62,
        )
        packed = packed.to(device)
        live = list(packed.sequences)
        seq = packed.ids.shape[1]
        most = prefix + seq + self.max_new_tokens
        cache = [RowsLayer(layers[i] if layers else None, most) for i in range(parts.num_layers)]
        before = torch.arange(prefix, device=device).expand(len(live), -1)
        places = torch.cat([before, packed.positions], dim=1)
        lengths = torch.tensor([len(self.prompts[n]) for n in live], device=device)
        seen = torch.arange(prefix + seq, device=device) < lengths[:, None]
        last = torch.arange(len(live), device=device) * seq + lengths - prefix - 1
        with (
            routed(self.weights, [self.variants[n] for n in live]),
            acting_at(self.weights, last),
        ):
            hidden = parts.hidden(
                packed.ids,
                packed.positions,
                packed.mask_with_prefix(),
                places,
                Cache(layers=[*cache]),
            )
        self.count(packed.num_tokens, packed.ids.numel() - packed.num_tokens)
        final = hidden.flatten(0, 1)[last.to(hidden.device)]
        written: dict[int, list[int]] = {n: [] for n in live}
        going = set(live)
        for step in range(self.max_new_tokens):
            readers = [self.variants[n] for n in live]
            scores = logits(parts, final, self.weights, readers).float()
            new = scores.argmax(dim=-1)
            best = scores.gather(1, new[:, None])[:, 0]
            check_finite(best, self.lm.name, "the likeliest token of a generated text")
            for n, token in zip(live, new.tolist(), strict=True):
                if n in going:
                    written[n].append(token)
                    if self.ended(written[n]):
                        going.remove(n)
            if not going or step == self.max_new_tokens - 1:
                break
            if len(going) <= (1 - _ENDED_SHARE) * len(live):
                keep = torch.tensor([i for i, n in enumerate(live) if n in going], device=device)
                for layer in cache:
                    layer.keep(keep)
                live = [n for n in live if n in going]
                new, lengths, seen, places = new[keep], lengths[keep], seen[keep], places[keep]
            seen = torch.cat([seen, seen.new_ones(len(live), 1)], dim=1)
            places = torch.cat([places, lengths[:, None]], dim=1)
            with (
                routed(self.weights, [self.variants[n] for n in live]),
                acting_at(self.weights, None),
            ):
                final = parts.hidden(
                    new[:, None], lengths[:, None], seen[:, None], places, Cache(layers=[*cache])
                )[:, 0]
            lengths = lengths + 1
            self.count(len(going), len(live) - len(going))
        for n, ids in written.items():
            self.finish(n, ids)

    def alone(self, numbers: list[int]) -> None:
        """Continue every prompt on its own by the model's `generate`."""
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=list(self.lm.eos_ids) or None,
            pad_token_id=self.lm.pad_id,
            # Looking for these, Transformers takes every id for one of the vocabulary.
            stop_strings=None if virtual_ids(self.weights) else list(self.stop) or None,
            return_dict_in_generate=True,
            output_logits=True,
        )
        self.work.unshared += len(numbers)
        for n in numbers:
            prompt = self.prompts[n]
            ids = torch.tensor([prompt], device=self.lm.device)
            variant = self.variants[n]
            with (
                in_place(self.weights, variant),
                routed(self.weights, [variant]),
                acting_at(self.weights, None),
                _without_defaults(self.lm.model),
            ):
                out = self.lm.model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=settings,
                    tokenizer=self.lm.tokenizer,
                )
            best = torch.stack([scores.float().max() for scores in out.logits])
            check_finite(best, self.lm.name, "the likeliest token of a generated text")
            self.count(out.sequences.shape[1], 0)
            self.finish(n, out.sequences[0, len(prompt) :].tolist())

    def count(self, computed: int, padded: int) -> None:
        """Add a pass to the counters."""
        self.work.forwards += 1
        self.work.tokens_computed += computed
        self.work.tokens_padded += padded

    def ended(self, ids: list[int]) -> bool:
        """Whether a continuation is complete.

        A stop text that ends here lies in the last tokens: one byte is the least a token stands
        for. Only where it does is the whole decoded.
        """
        if ids[-1] in self.lm.eos_ids:
            return True
        if not self.stop:
            return False
        most = max(len(text.encode()) for text in self.stop)
        return any(
            all(text in self.decode(part) for part in (ids[-most:], ids)) for text in self.stop
        )

    def finish(self, number: int, ids: list[int]) -> None:
        """Record a continuation, cut before EOS and before the first stop text."""
        ends = [i for i, token in enumerate(ids) if token in self.lm.eos_ids]
        text = self.decode(ids[: ends[0]] if ends else ids)
        cuts = [text.index(mark) for mark in self.stop if mark in text]
        self.texts[number] = text[: min(cuts, default=len(text))]
        if self.progress is not None:
            self.progress(len(self.texts), len(self.prompts))

    def decode(self, ids: list[int]) -> str:
        """Return the text of tokens as they are."""
        return self.lm.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
