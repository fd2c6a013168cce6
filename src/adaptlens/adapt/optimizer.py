"""How to move the trained numbers: recipe, schedule, and AdamW on stacked rows."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float32
from torch import Tensor

Schedule = Literal["constant", "linear", "cosine"]
SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train, with one entry per variant where a tuple is wanted.

    Attributes:
        rates: the highest learning rate of each variant.
        steps: optimizer steps of each variant, never increasing along the variants.
        order_seeds: fix the order of each variant's examples (and its dropout masks). The order
            matters only where a variant has more examples than a batch.
        batch: examples a step; fewer examples than that are all used in every step. A pass over
            the examples ends with a smaller batch where they do not divide.
        schedule: of the rate, over the variant's steps, after the warm-up.
        warmup_steps: over which the rate rises linearly from 0.
        weight_decay: decoupled, times the rate.
        clip: the most a variant's gradient norm may be; None for no limit.
        gradient_checkpointing: compute layers again in the backward pass.
        gradient_accumulation_steps: parts in which a step's examples are run, one after another.
    """

    rates: tuple[float, ...]
    steps: tuple[int, ...]
    order_seeds: tuple[int, ...]
    batch: int = 32
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip: float | None = 1.0
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

    def __init__(self, numbers: Float32[Tensor, "variants parameters"], recipe: Recipe):
        self.numbers, self.recipe = numbers, recipe
        self.gradients, self.first_moment, self.second_moment = (
            torch.zeros_like(numbers) for _ in range(3)
        )
        factors = [
            [
                rate * rate_factor(recipe.schedule, step, steps, recipe.warmup_steps)
                for rate, steps in zip(recipe.rates, recipe.steps, strict=True)
            ]
            for step in range(max(recipe.steps))
        ]
        self.rates = torch.tensor(factors, device=numbers.device)[:, :, None]

    def step(self, step: int, active: int) -> None:
        """Move the first `active` rows by their gradients; `step` counts from 0."""
        recipe, rates = self.recipe, self.rates[step, :active]
        numbers, gradients = self.numbers[:active], self.gradients[:active]
        first, second = self.first_moment[:active], self.second_moment[:active]
        if recipe.clip is not None:
            norms = gradients.norm(dim=1, keepdim=True)
            gradients.mul_((recipe.clip / (norms + 1e-6)).clamp_(max=1.0))
        if recipe.weight_decay:
            numbers.mul_(1 - rates * recipe.weight_decay)
        first.lerp_(gradients, 1 - recipe.beta1)
        second.mul_(recipe.beta2).addcmul_(gradients, gradients, value=1 - recipe.beta2)
        scale = second.sqrt().div_(math.sqrt(1 - recipe.beta2 ** (step + 1))).add_(recipe.epsilon)
        update = torch.div(first, scale, out=scale)
        numbers.sub_(update.mul_(rates / (1 - recipe.beta1 ** (step + 1))))
