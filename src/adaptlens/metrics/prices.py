"""What queries, training and storage cost, in money and energy, by prices that were given.

Nothing is assumed: what a price is missing for is NaN.
"""

import math
from collections.abc import Mapping

import numpy as np

Number = float | np.ndarray

JOULES_PER_KWH = 3.6e6
BYTES_PER_NUMBER = 4
"""Adapters and checkpoints are saved as 32-bit numbers."""

Prices = Mapping[str, float]


def query_price(
    prices: Prices, *, tokens: Number, cached_tokens: Number, output_tokens: Number, flops: Number
) -> Number:
    """Return the price of one query: by tokens where these have prices, else by its FLOPs.

    Args:
        prices: `input_million_tokens`, `cached_million_tokens` (as much as fresh ones unless
            given) and `output_million_tokens`; or those of `flop_price`.
        tokens: tokens read, those from a cache included.
        cached_tokens: tokens of these that come from a cache.
        output_tokens: tokens written.
        flops: floating-point operations.
    """
    fresh = prices.get("input_million_tokens")
    written = prices.get("output_million_tokens")
    if fresh is None:
        return np.asarray(flops) * flop_price(prices)
    cached = prices.get("cached_million_tokens", fresh)
    read = (np.asarray(tokens) - cached_tokens) * fresh + np.asarray(cached_tokens) * cached
    if written is None:
        written = math.nan if np.any(output_tokens) else 0.0
    return (read + np.asarray(output_tokens) * written) / 1e6


def flop_price(prices: Prices) -> float:
    """Return the price of one floating-point operation: the device's time, and electricity.

    `gpu_hour` by the `gpu_flops` that the device sustains in a second, and `kwh` by
    `flops_per_joule`. NaN where neither is known, or the speed of a device that has a price.
    """
    hourly, speed = prices.get("gpu_hour"), prices.get("gpu_flops")
    parts = []
    if hourly is not None:
        parts.append(math.nan if speed is None else hourly / 3600 / speed)
    if (kwh := prices.get("kwh")) is not None:
        parts.append(kwh * joules(prices, 1.0) / JOULES_PER_KWH)
    return math.fsum(parts) if parts else math.nan


def training_price(prices: Prices, *, flops: Number, seconds: Number) -> Number:
    """Return the price of training by its FLOPs, or by seconds on one device without `gpu_flops`.

    Args:
        prices: those of `flop_price`, or `gpu_hour` alone.
        flops: of one run of plain PEFT.
        seconds: of the same run, as it was done here.
    """
    by_flops = flop_price(prices)
    if math.isfinite(by_flops):
        return np.asarray(flops) * by_flops
    return np.asarray(seconds) * prices.get("gpu_hour", math.nan) / 3600


def joules(prices: Prices, flops: float) -> float:
    """Return the energy of so many floating-point operations at `flops_per_joule`: an estimate."""
    return flops / prices.get("flops_per_joule", math.nan)


def storage_price(prices: Prices, parameters: float) -> float:
    """Return what keeping so many 32-bit numbers costs a month, by `gb_month`."""
    return parameters * BYTES_PER_NUMBER / 1e9 * prices.get("gb_month", math.nan)
