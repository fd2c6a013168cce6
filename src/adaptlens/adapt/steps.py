"""How many steps tuning takes where the settings do not say; free of torch, for planning."""

import math

LEAST_STEPS = 30
LEAST_PASSES = 3
PROMPT_STEPS = 3
"""So many times as many steps as LoRA's for a soft prompt, which learns slowly."""

FOLDS = 4
"""Parts in which a draw's own examples judge, where no validation split does."""


def usual_steps(examples: int, batch: int) -> int:
    """Return as many steps as make `LEAST_PASSES` passes over the examples, and `LEAST_STEPS`."""
    return max(LEAST_STEPS, math.ceil(LEAST_PASSES * examples / batch))


def usual_prompt_steps(examples: int, batch: int) -> int:
    """Return as many steps as a soft prompt takes: `PROMPT_STEPS` times as many as LoRA."""
    return PROMPT_STEPS * usual_steps(examples, batch)
