"""Draws from one training file: they overlap, and share the luck of which examples it holds."""

import math

import numpy as np
from jaxtyping import Float

MOST_OF_POOL = 0.5
"""Of a draw that holds more of the file than this, nothing is learned about other files."""


def inflation(share: float, repeats: int) -> float:
    """Return how much larger the variance of a mean over draws is for new files than for this one.

    To first order a score is the mean of what each of its k examples contributes, of variance
    s^2 / k over all examples there are. R draws of k from a file of N differ by s^2 / k (1 - f),
    f = k / N, and the mean over all draws of the file itself varies by s^2 / N between files. So
    what is seen between draws, over R, must be multiplied by 1 + R f / (1 - f).

    Args:
        share: f, of the file that one draw holds; from more than `MOST_OF_POOL` the answer is 1,
            and holds for this file alone.
        repeats: R.

    Source: Hoeffding 1948 (the first-order projection), Cochran 1977, section 2.6 (sampling
    without replacement).
    """
    return 1.0 if share > MOST_OF_POOL else 1 + repeats * share / (1 - share)


def for_new_files(
    block: Float[np.ndarray, "repeats queries"], share: float
) -> Float[np.ndarray, "repeats queries"]:
    """Return a table whose draws differ as much as means over new files would.

    The effects of draws are scaled so that their variance component is that times `inflation`;
    what is left, and every query's mean, stay as they are.
    """
    repeats, queries = block.shape
    many = inflation(share, repeats)
    rows = block.mean(1, keepdims=True) - block.mean()
    seen = float(np.square(rows).sum()) / (repeats - 1) if repeats > 1 else 0.0
    if many == 1 or seen == 0:
        return block
    rest = block - block.mean(0) - rows
    noise = float(np.square(rest).sum()) / ((repeats - 1) * (queries - 1) * queries)
    wanted = seen + (many - 1) * max(0.0, seen - noise)
    return block + (math.sqrt(wanted / seen) - 1) * rows
