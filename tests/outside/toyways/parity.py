"""A task: is a number even or odd?"""

import random

from adaptlens.types import Example, Task


def parity(seed: int) -> Task:
    """Return 60 numbers below 1000, cut in three."""
    numbers = random.Random(seed).sample(range(1000), 60)
    items = [Example(str(n), str(n), "odd" if n % 2 else "even") for n in numbers]
    return Task(
        name="parity",
        kind="choice",
        train=tuple(items[:20]),
        validation=tuple(items[20:40]),
        test=tuple(items[40:]),
        instruction="Say whether the number is even or odd.",
        choices=("even", "odd"),
    )
