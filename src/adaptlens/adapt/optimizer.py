"""How to move the trained numbers: configuration, schedule, and AdamW on stacked rows."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float32
from torch import Tensor

Schedule = Literal["constant", "linear", "cosine"]
SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How to train, with one entry per variant where a tuple is wanted.

    Attributes:
        learning_rates: the highest of each variant.
        max_steps: optimizer steps of each variant, never increasing along the variants.
        order_seeds: fix the order of each variant's examples (and its dropout masks). The order
            matters only where a variant has more examples than a batch.
        batch_size: examples a step; fewer examples than that are all used in every step. A pass
            over the examples ends with a smaller batch where they do not divide.
        lr_scheduler: of the learning rate, over the variant's steps, after the warm-up.
        warmup_steps: over which the rate rises linearly from 0.
        weight_decay: decoupled, times the rate.
        max_grad_norm: the most a variant's gradient norm may be; None for no limit.
        gradient_checkpointing: compute layers again in the backward pass.
        gradient_accumulation_steps: parts in which a step's examples are run, one after another.
    """

    learning_rates: tuple[float, ...]
    max_steps: tuple[int, ...]
    order_seeds: tuple[int, ...]
    batch_size: int = 32
    lr_scheduler: Schedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    gradient_checkpointing: bool = False
    gradient_accumulation_steps: int = 1


def rate_factor(schedule: str, step: int, steps: int, warmup_steps: int) -> float:
    """Return the share of the highest rate at a step, counted from 0.

    As Hugging Face's `get_constant/linear/cosine_schedule_with_warmup` define it: the first
    warm-up step has rate 0, and the rate would reach 0 one step after the last.
    """
    if step < warmup_steps:
        return step / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    if schedule == "linear":
        return 1 - done
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0


class AdamW:
    """Steps of AdamW on stacked numbers, each row with its own rate.

    The same as `torch.optim.AdamW` run for each row alone, after `clip_grad_norm_` on that row.
    """

    def __init__(self, numbers: Float32[Tensor, "variants parameters"], config: TrainingConfig):
        self.numbers, self.config = numbers, config
        self.gradients, self.first_moment, self.second_moment = (
            torch.zeros_like(numbers) for _ in range(3)
        )
        factors = [
            [
                rate * rate_factor(config.lr_scheduler, step, steps, config.warmup_steps)
                for rate, steps in zip(config.learning_rates, config.max_steps, strict=True)
            ]
            for step in range(max(config.max_steps))
        ]
        self.rates = torch.tensor(factors, device=numbers.device)[:, :, None]

    def step(self, step: int, active: int) -> None:
        """Move the first `active` rows by their gradients; `step` counts from 0."""
        config, rates = self.config, self.rates[step, :active]
        numbers, gradients = self.numbers[:active], self.gradients[:active]
        first, second = self.first_moment[:active], self.second_moment[:active]
        if config.max_grad_norm is not None:
            norms = gradients.norm(dim=1, keepdim=True)
            gradients.mul_((config.max_grad_norm / (norms + 1e-6)).clamp_(max=1.0))
        if config.weight_decay:
            numbers.mul_(1 - rates * config.weight_decay)
        first.lerp_(gradients, 1 - config.beta1)
        second.mul_(config.beta2).addcmul_(gradients, gradients, value=1 - config.beta2)
        scale = second.sqrt().div_(math.sqrt(1 - config.beta2 ** (step + 1))).add_(config.epsilon)
        update = torch.div(first, scale, out=scale)
        numbers.sub_(update.mul_(rates / (1 - config.beta1 ** (step + 1))))
