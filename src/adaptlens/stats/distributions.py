"""The few distribution functions the statistics need: beta, Student's t, exact binomial."""

import math
from collections.abc import Callable


def exact_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return Clopper and Pearson's interval for a proportion; it covers at least `level`.

    Source: Clopper and Pearson 1934.
    """
    tail = (1 - level) / 2
    low = 0.0
    if successes > 0:
        low = _solve(lambda p: incomplete_beta(successes, trials - successes + 1, p) - tail)
    return low, upper_share(successes, trials, tail)


def upper_share(successes: float, trials: float, tail: float) -> float:
    """Return Clopper and Pearson's upper bound on a proportion; too low with chance `tail`.

    Counts need not be whole. Source: Clopper and Pearson 1934.
    """
    if successes <= 0:
        return 1 - tail ** (1 / trials)
    if successes >= trials:
        return 1.0
    return _solve(lambda p: incomplete_beta(successes + 1, trials - successes, p) - 1 + tail)


def t_tail(x: float, freedom: float) -> float:
    """Return the chance that Student's t exceeds x; the degrees of freedom need not be whole."""
    half = 0.5 * incomplete_beta(freedom / 2, 0.5, freedom / (freedom + x * x))
    return half if x >= 0 else 1 - half


def t_quantile(upper: float, freedom: float) -> float:
    """Return the x that Student's t exceeds with chance `upper`, at most one half."""
    share = _solve(lambda s: 0.5 * incomplete_beta(freedom / 2, 0.5, s) - upper)
    return math.sqrt(freedom * (1 / share - 1)) if share > 0 else math.inf


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b).

    Source: DLMF 8.17.22 (continued fraction), evaluated by Lentz's method.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(scale + a * math.log(x) + b * math.log1p(-x)) / a
    upper, lower = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = lower
    for m in range(1, 100_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            lower = 1 / (1 + term * lower)
            upper = 1 + term / upper
            value *= lower * upper
        if abs(lower * upper - 1) < 1e-15:
            break
    return front * value


def _solve(rising: Callable[[float], float]) -> float:
    """Return where a rising function on 0 to 1 crosses zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
