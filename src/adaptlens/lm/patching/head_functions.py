"""What each attention head looks at, and what its mean output does to prompts without examples."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from adaptlens.errors import UserError
from adaptlens.lm.architecture import Architecture
from adaptlens.lm.load import LM
from adaptlens.lm.memory import default_budget, halving, pass_tokens
from adaptlens.lm.patching.effects import Means
from adaptlens.lm.patching.patch import sweep, unit_means
from adaptlens.lm.patching.whole import read_whole
from adaptlens.lm.prefix.forward import Progress
from adaptlens.lm.prefix.walk import check_lengths, in_place, routed
from adaptlens.lm.spread import check_whole
from adaptlens.lm.units import Pair, Unit
from adaptlens.types import METRICS, Weights

Shares = Float[Tensor, "batch heads seq keys"]
"""How much of its attention each token gives to each."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt, and places in it.

    Attributes:
        ids: the prompt's tokens.
        places: sets of places, any of them empty.
        answer: the token that should follow.
        variant: the variant of the weights that reads it.
    """

    ids: tuple[int, ...]
    places: tuple[tuple[int, ...], ...] = ()
    answer: int = 0
    variant: int = 0


@contextlib.contextmanager
def attending(parts: Architecture, see: Callable[[int, Shares], None]) -> Iterator[None]:
    """Show `see` what every layer attends to, in passes with the model's own written-out attention.

    Fused attention never holds these numbers, so that meanwhile another implementation of
    Transformers runs; the model's own is put back afterwards.

    Args:
        parts: the model.
        see: called with a layer and its shares; a row sums to one, but under attention sinks.
    """
    config: Any = parts.backbone.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    hooks = [
        parts.attention(layer).register_forward_hook(
            lambda _, __, out, layer=layer: see(layer, out[1])
        )
        for layer in range(parts.num_layers)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        config._attn_implementation = before


def last_attention(
    lm: LM,
    readings: Sequence[Reading],
    weights: Weights | None = None,
    *,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
) -> Float32[np.ndarray, "queries sets layers heads"]:
    """Return how much of its attention the last token of each prompt gives to each set of places.

    Args:
        lm: the model.
        readings: the prompts, all with equally many sets.
        weights: weight changes; `reading.variant` says which reads it.
        budget_bytes: memory for the passes; None plans for what is free.
        progress: called with (prompts done, all).

    Returns:
        sums of shares, 0 for an empty set.

    Raises:
        UserError: the model's inside is not known, a prompt does not fit, or a place is not in it.
    """
    _inside(lm)
    num_sets = len(readings[0].places) if readings else 0
    for n, reading in enumerate(readings):
        seq, places = len(reading.ids), [p for some in reading.places for p in some]
        if len(reading.places) != num_sets or (
            places and not 0 <= min(places) <= max(places) < seq
        ):
            raise UserError(
                f"reading {n} has {len(reading.places)} sets of places in {seq} tokens "
                f"({sorted(places)}); expected {num_sets} sets of places from 0 to {seq - 1}."
            )

    def summed(numbers: Sequence[int], shares: Shares) -> Float32[Tensor, "batch sets heads"]:
        at = torch.zeros(len(numbers), num_sets, shares.shape[-1], device=shares.device)
        for row, n in enumerate(numbers):
            for some, places in enumerate(readings[n].places):
                at[row, some, list(places)] = 1
        return torch.einsum("bsk,bhk->bsh", at, shares[:, :, -1].float())

    return _read(lm, readings, num_sets, weights, budget_bytes, summed, progress)


def induction_scores(
    lm: LM,
    weights: Weights | None = None,
    *,
    sequences: int = 8,
    tokens: int = 32,
    seed: int = 0,
    budget_bytes: int | None = None,
) -> Float32[np.ndarray, "variants layers heads"]:
    """Return how far each head looks from a token to what followed the same token before.

    Random sequences of different tokens are read twice in a row, after the tokens the tokenizer
    begins a text with. The score is the mean, over the tokens of the second copy, of the share of
    attention given to the token right after the first occurrence of theirs (Olsson et al. 2022,
    arXiv 2209.11895, "prefix matching"): 1 for a perfect induction head.

    Args:
        lm: the model.
        weights: weight changes.
        sequences: how many sequences.
        tokens: how many tokens a sequence has.
        seed: of the sequences.
        budget_bytes: memory for the passes; None plans for what is free.

    Returns:
        of each variant; of one, the base model, without weights.

    Raises:
        UserError: the model's inside is not known, or its vocabulary or context is too small.
    """
    parts = _inside(lm)
    stem = tuple(lm.prefix_ids)
    special = {*stem, *lm.eos_ids, lm.pad_id, *(getattr(lm.tokenizer, "all_special_ids", ()))}
    usable = np.setdiff1d(np.arange(min(parts.vocab, len(lm.tokenizer))), list(special))
    if sequences < 1 or not 1 < tokens <= len(usable):
        raise UserError(
            f"{sequences} random sequences of {tokens} tokens were asked for; expected 1 at least, "
            f"of 2 to {len(usable)} different tokens."
        )
    source = np.random.default_rng([seed, 0x1D0C])
    halves = [source.choice(usable, tokens, replace=False).tolist() for _ in range(sequences)]
    variants = weights.num_variants if weights is not None else 1
    readings = [Reading((*stem, *h, *h), (), 0, v) for v in range(variants) for h in halves]
    queries = len(stem) + tokens + torch.arange(tokens)
    keys = queries - tokens + 1

    def matched(_: Sequence[int], shares: Shares) -> Float32[Tensor, "batch 1 heads"]:
        return shares[:, :, queries, keys].float().mean(-1)[:, None]

    found = _read(lm, readings, 1, weights, budget_bytes, matched, None)
    return found[:, 0].reshape(variants, sequences, *found.shape[2:]).mean(1)


@torch.inference_mode()
def _read(
    lm: LM,
    readings: Sequence[Reading],
    num_numbers: int,
    weights: Weights | None,
    budget_bytes: int | None,
    reduce: Callable[[Sequence[int], Shares], Float32[Tensor, "batch numbers heads"]],
    progress: Progress | None,
) -> Float32[np.ndarray, "{len(readings)} {num_numbers} layers heads"]:
    """Return what `reduce` makes of every layer's attention.

    Args:
        lm: the model.
        readings: the prompts.
        num_numbers: how many numbers a head comes down to.
        weights: weight changes.
        budget_bytes: memory for the passes.
        reduce: called with the numbers of some readings and their shares.
        progress: called with (prompts done, all).
    """
    parts = _inside(lm)
    check_lengths(lm, [len(reading.ids) for reading in readings])
    budget = budget_bytes or default_budget(lm.device)
    shape = (len(readings), num_numbers, parts.num_layers, parts.num_heads)
    found = np.zeros(shape, np.float32)
    groups: dict[tuple[int, int], list[int]] = {}
    for n, reading in enumerate(readings):
        variant = reading.variant if weights is not None else 0
        groups.setdefault((variant, len(reading.ids)), []).append(n)
    done = 0
    for (variant, seq), numbers in sorted(groups.items()):
        with attending(parts, lambda *_: None):
            most = pass_tokens(parts, 0, seq, budget) // seq
        what = f"a prompt of {seq} tokens and what it attends to do not fit"
        for chunk in halving(len(numbers), most, lm.device, what):
            some = numbers[chunk.low : chunk.high]

            def see(layer: int, shares: Shares, some: Sequence[int] = some) -> None:
                found[some, :, layer] = reduce(some, shares).cpu().numpy()

            with chunk, attending(parts, see):
                ids = torch.tensor([readings[n].ids for n in some], device=lm.device)
                with in_place(weights, variant), routed(weights, [variant]):
                    read_whole(parts, ids)
                done += len(some)
                if progress is not None:
                    progress(done, len(readings))
    return found


def vector_effects(
    lm: LM,
    shown: Sequence[Reading],
    asked: Sequence[Reading],
    weights: Weights | None = None,
    *,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
) -> Float32[np.ndarray, "{len(asked)} layers heads"]:
    """Return what each head's mean output, added at the last token, does to each answer.

    A head's output, before the output projection, is averaged over the last tokens of the prompts
    `shown`, those with demonstrations. The mean is added to its output at the last token of each
    prompt `asked`, those without. The effect is the change in the log-probability of the answer.
    Heads where it is large are those that carry the task from demonstrations to the answer. After
    Todd et al. 2024 (arXiv 2310.15213), who replace outputs in prompts with shuffled labels, and
    add the outputs of several heads at once to the residual stream.

    Args:
        lm: the model.
        shown: prompts to average over; answers are not read.
        asked: prompts to add to, with their answers.
        weights: weight changes; a variant's means come from the prompts shown to it.
        budget_bytes: memory for the passes; None plans for what is free.
        progress: called with (prompts asked done, all).

    Raises:
        UserError: the model's inside is not known, a prompt does not fit, or a variant that is
            asked was shown nothing.
    """
    parts, budget = _inside(lm), budget_bytes or default_budget(lm.device)
    check_lengths(lm, [len(reading.ids) for reading in asked])
    own = [reading.variant if weights is not None else 0 for reading in asked]
    if lacking := {*own} - {reading.variant if weights is not None else 0 for reading in shown}:
        raise UserError(
            f"variant {min(lacking)} is asked, but was shown no prompts with demonstrations; give "
            "some to every variant."
        )
    means = unit_means(lm, [_at_end(reading) for reading in shown], ("head",), weights=weights)
    heads = [Unit("head", n, h) for n in range(parts.num_layers) for h in range(parts.num_heads)]
    effects = np.zeros((len(asked), len(heads)), np.float32)
    metric = METRICS.index("log_probability")
    for done, reading in enumerate(asked, 1):
        pair = _at_end(reading)
        outputs = unit_means(lm, [pair], ("head",), weights=weights).arrays
        moved = Means({key: outputs[key] + means.arrays[key] for key in outputs})
        found = sweep(
            lm,
            [pair],
            units=heads,
            direction="noise",
            ablation="mean",
            means=moved,
            weights=weights,
            budget_bytes=budget,
        )
        effects[done - 1] = found.values[0, 0, :, metric] - found.clean[0, metric]
        if progress is not None:
            progress(done, len(asked))
    return effects.reshape(len(asked), parts.num_layers, parts.num_heads)


def _at_end(reading: Reading) -> Pair:
    """Return a prompt to patch at its last token, in which nothing is corrupt."""
    foil = 0 if reading.answer else 1
    last = ((len(reading.ids) - 1,),)
    return Pair(reading.ids, reading.ids, reading.answer, foil, last, reading.variant)


def _inside(lm: LM) -> Architecture:
    if lm.architecture is None:
        raise UserError(
            f"the inside of '{lm.name}' is not known, so its heads cannot be read; use a model of "
            "a supported architecture, or measure behavior only."
        )
    check_whole(lm, "reading heads")
    return lm.architecture
