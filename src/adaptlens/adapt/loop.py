"""The one training loop: R adapters at once, or all weights of the model.

AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) on the mean negative log-likelihood of the
answers' tokens, or on the distance of what attention puts out to what it is to. Each variant has
its own examples, order, rate, schedule, gradient norm and optimizer state, and the losses are added
up, so what one variant does cannot reach another.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from adaptlens.adapt import Progress
from adaptlens.adapt.batches import (
    PLAIN,
    Block,
    Counts,
    TokenizedExample,
    choose_width,
    counts_of,
    lay_out,
)
from adaptlens.adapt.optimizer import AdamW, TrainingConfig
from adaptlens.errors import UserError
from adaptlens.lm.checkpointing import checkpointed
from adaptlens.lm.load import LM
from adaptlens.lm.memory import attempt, does_not_fit
from adaptlens.types import Weights

_MOST_BLOCK_TOKENS = {"cpu": 4096}
_MOST_BLOCK_TOKENS_ACCELERATOR = 32768
_MOST_KEPT_BYTES = 2**30


class Trainable(Protocol):
    """Numbers to train, one row per variant, and the way the model runs with them."""

    master_weights: Float32[Tensor, "variants parameters"]
    dropout: float

    def training(
        self,
        first: int,
        last: int,
        gradients: Float32[Tensor, "variants parameters"],
        step: int,
        part: int,
    ) -> AbstractContextManager[None]:
        """Run even rows of variants first to last - 1; backward adds to `gradients[first:last]`.

        `step` and `part` (the block's number among those of its variants) make dropout masks
        differ.
        """
        ...

    def sync(self) -> None:
        """Make the model see what `master_weights` now hold."""
        ...

    def adapts(self, module: Any) -> bool:
        """Return whether variants trained in one pass differ in what this very module adds."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """What training did.

    Attributes:
        losses: before each step; NaN after a variant's last.
        seconds: wall time.
        counts: see `Counts`; 0 after a variant's last step.
        peak_bytes: the most memory held between a forward pass and its backward pass: allocated
            on an accelerator, resident on a CPU.
    """

    losses: Float32[np.ndarray, "steps variants"]
    seconds: float
    counts: Float64[np.ndarray, "steps variants counts"]
    peak_bytes: int

    @property
    def total(self) -> Counts:
        """What all variants read in all steps."""
        return Counts(*self.counts.sum((0, 1)))

    def of_run(self, variant: int, steps: int) -> Counts:
        """Return what one variant read in its first steps."""
        return Counts(*self.counts[:steps, variant].sum(0))


def batches_of(count: int, batch_size: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Yield for ever the numbers of the examples of each step.

    All of them, in order, where a batch holds them; else passes in a fresh seeded order.
    """
    generator = np.random.default_rng(seed)
    while True:
        order = range(count) if count <= batch_size else generator.permutation(count).tolist()
        for low in range(0, count, batch_size):
            yield tuple(order[low : low + batch_size])


def train(
    lm: LM,
    trainable: Trainable,
    examples: Sequence[Sequence[TokenizedExample]],
    config: TrainingConfig,
    *,
    names: Sequence[str] = (),
    progress: Progress | None = None,
    block_tokens: int | None = None,
    width: int | None = None,
) -> History:
    """Train every variant on its examples, in place, and return what happened.

    Args:
        lm: the model the variants belong to; its own dropout, if any, is off.
        trainable: holds the numbers; afterwards, the trained ones.
        examples: one list per variant.
        config: how to train.
        names: what to call the variants in errors; their numbers if empty.
        progress: called after every step.
        block_tokens: the most tokens, padding included, in one forward pass; None for what
            memory allows. When memory runs out it is halved and the step is done again.
        width: tokens a row, `batches.PLAIN` for one example a row; None for what costs least.

    Raises:
        UserError: the loss of a variant is not a finite number; the message names it, the step,
            and what to lower.
    """
    started = time.perf_counter()
    num_variants, num_steps = len(examples), max(config.max_steps)
    names = names or [f"adapter {variant}" for variant in range(num_variants)]
    block_tokens = block_tokens or default_block_tokens(lm)
    units = [_units(own) for own in examples]
    orders = [
        batches_of(len(own), config.batch_size, seed)
        for own, seed in zip(units, config.order_seeds, strict=True)
    ]
    optimizer = AdamW(trainable.master_weights, config)
    curve = np.full((num_steps, num_variants), np.nan, np.float32)
    counts = np.zeros((num_steps, num_variants, len(Counts._fields)))
    peak_bytes, row_width = 0, width or PLAIN
    chosen: list[tuple[int, ...]] = []
    blocks: list[Block] = []
    for step in range(num_steps):
        active = sum(steps > step for steps in config.max_steps)
        before, chosen = chosen, [next(order) for order in orders[:active]]
        batches = [[e for i in c for e in own[i]] for own, c in zip(units, chosen, strict=False)]
        if chosen != before and width is None:
            row_width = PLAIN if trainable.dropout else choose_width(lm, batches)
        lay = partial(_laid_out, lm, batches, row_width, config.gradient_accumulation_steps)
        if chosen != before:
            blocks = lay(block_tokens)
        run = partial(_backward, lm, trainable, config, gradients=optimizer.gradients, step=step)
        while (done := attempt(partial(run, blocks), lm.device)) is None:
            if block_tokens < 2:
                raise does_not_fit("training on one row at a time does not fit", lm.device)
            block_tokens //= 2
            blocks = lay(block_tokens)
        losses, held_bytes = done
        curve[step, :active] = losses.cpu().numpy()
        _check_finite(np.isfinite(curve[step, :active]), step, names, config)
        optimizer.step(step, active)
        trainable.sync()
        peak_bytes = max(peak_bytes, held_bytes)
        counts[step, :active] = counts_of(batches, blocks)
        if progress:
            progress(step + 1, num_steps)
    finite = trainable.master_weights.isfinite().all(1).cpu().numpy()
    _check_finite(finite, num_steps - 1, names, config)
    seconds = time.perf_counter() - started
    return History(curve, seconds, counts, peak_bytes)


def _units(examples: Sequence[TokenizedExample]) -> list[list[TokenizedExample]]:
    """Return the examples with those that are joined to others in one list with these."""
    units: list[list[TokenizedExample]] = []
    for example in examples:
        if example.joined:
            units[-1].append(example)
        else:
            units.append([example])
    return units


def _laid_out(
    lm: LM, batches: Sequence[Sequence[TokenizedExample]], width: int, parts: int, block_tokens: int
) -> list[Block]:
    """Return a step's blocks: at least `parts` of them, where there are so many examples.

    For that rows are narrower than `width`, if need be, until they can be told apart.
    """
    blocks = lay_out(batches, width, block_tokens=block_tokens, device=lm.device)
    tokens = sum(block.tokens_computed for block in blocks)
    most = min(block_tokens, math.ceil(tokens / parts))
    while len(blocks) < parts:
        blocks = lay_out(batches, width, block_tokens=most, device=lm.device)
        if width <= PLAIN:
            break
        width //= 2
    return blocks


def _backward(
    lm: LM,
    trainable: Trainable,
    config: TrainingConfig,
    blocks: Sequence[Block],
    gradients: Float32[Tensor, "variants parameters"],
    step: int,
) -> tuple[Float32[Tensor, " active"], int]:
    """Return each active variant's loss and the bytes held, with gradients in `gradients`."""
    gradients.zero_()
    sums = []
    held_bytes = 0
    parts: Counter[int] = Counter()
    for block in blocks:
        # Counted variant by variant, so that a variant's dropout does not hang on those before it.
        part = parts[block.first]
        parts[block.first] += 1
        with (
            torch.enable_grad(),
            checkpointed(lm) if config.gradient_checkpointing else nullcontext(),
            trainable.training(block.first, block.last, gradients, step, part),
        ):
            losses = block.losses(lm, trainable)
            held_bytes = max(held_bytes, _held_bytes(lm.device))
            losses.sum().backward()
        sums.append((block, block.per_variant(losses)))
    total = torch.zeros(blocks[-1].last, device=gradients.device)
    for block, own in sums:
        total[block.first : block.last] += own
    return total, held_bytes


def _held_bytes(device: torch.device) -> int:
    """Return the bytes allocated on an accelerator, or resident on the host."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    return psutil.Process().memory_info().rss


def _check_finite(
    finite: Bool[np.ndarray, " active"], step: int, names: Sequence[str], config: TrainingConfig
) -> None:
    if finite.all():
        return
    variant = int(np.argmin(finite))
    raise UserError(
        f"training of {names[variant]} diverged at step {step + 1} of {config.max_steps[variant]}: "
        "its loss is no longer a finite number; lower its learning rate "
        f"({config.learning_rates[variant]:g}), or add warm-up steps."
    )


def evaluate(
    lm: LM,
    weights: Weights | None,
    examples: Sequence[TokenizedExample],
    num_variants: int,
    *,
    block_tokens: int | None = None,
) -> tuple[Float64[np.ndarray, " {num_variants}"], Counts]:
    """Return the mean loss per label token of each variant on the same examples.

    And what all of them read.
    """
    block_tokens = block_tokens or default_block_tokens(lm)
    width = choose_width(lm, [examples])
    mixes = weights is None or weights.mixes_rows
    groups = [range(num_variants)] if mixes else [range(v, v + 1) for v in range(num_variants)]
    found = np.zeros(num_variants)
    counts = np.zeros(len(Counts._fields))
    for group in groups:
        blocks = lay_out(
            [examples] * len(group), width, block_tokens=block_tokens, device=lm.device
        )
        counts += counts_of([examples] * len(group), blocks).sum(0)
        for block in blocks:
            each = len(block.ids) // (block.last - block.first)
            rows = [group[v] for v in range(block.first, block.last) for _ in range(each)]
            with torch.no_grad(), weights.routed(rows) if weights else nullcontext():
                own = block.per_variant(block.losses(lm, weights))
            found[group[block.first] : group[block.last - 1] + 1] += own.cpu().numpy()
    return found, Counts(*counts)


def default_block_tokens(lm: LM) -> int:
    """Return how many tokens to train on in one pass: a power of two that fits in memory.

    Half of the memory beside the model is counted on, from the machine's size rather than from
    what happens to be free, so that the same machine always cuts alike. On a CPU, more than a few
    thousand tokens gain nothing, nor do more than `_MOST_KEPT_BYTES`.
    """
    size = sum(p.numel() * p.element_size() for p in lm.model.parameters())
    if lm.device.type == "cuda":
        memory = torch.cuda.get_device_properties(lm.device).total_memory
    else:
        memory = psutil.virtual_memory().total
    config = lm.model.config.get_text_config()
    # Backward keeps what goes into and comes out of each linear map (parameters / width), and
    # about eight more vectors a layer for norms, activations and the residual stream.
    kept = 2 * size / config.hidden_size + 4 * 8 * config.hidden_size * config.num_hidden_layers
    room = 0.5 * (memory - size)
    room = min(room, _MOST_KEPT_BYTES) if lm.device.type == "cpu" else room
    fitting = max(room / kept, 1.0)
    most = _MOST_BLOCK_TOKENS.get(lm.device.type, _MOST_BLOCK_TOKENS_ACCELERATOR)
    return min(2 ** int(math.log2(fitting)), most)
