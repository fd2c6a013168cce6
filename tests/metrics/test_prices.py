"""Money and energy by hand; what was not given is no number."""

import math

import numpy as np
import pytest

from adaptlens.metrics import prices

QUERY = {"tokens": 1100, "cached_tokens": 1000, "output_tokens": 10, "flops": 1e12}
TOKENS = {"input_million_tokens": 2.0, "cached_million_tokens": 0.5, "output_million_tokens": 8.0}
MACHINE = {"gpu_hour": 3.6, "gpu_flops": 1e13}
POWER = {"kwh": 0.36, "flops_per_joule": 1e11}


def test_tokens_cost_what_each_kind_costs():
    # 100 fresh ones at 2, 1,000 cached ones at 0.5, 10 written ones at 8, all a million.
    assert prices.query_price(TOKENS, **QUERY) == pytest.approx((200 + 500 + 80) / 1e6)


def test_cached_tokens_cost_as_much_as_fresh_ones_unless_given():
    given = {name: price for name, price in TOKENS.items() if "cached" not in name}
    assert prices.query_price(given, **QUERY) == pytest.approx((1100 * 2 + 80) / 1e6)


def test_each_draw_has_its_own_price():
    many = {**QUERY, "tokens": np.array([1100, 1200])}
    assert prices.query_price(TOKENS, **many) == pytest.approx([780e-6, 980e-6])


def test_tokens_written_without_a_price_give_no_number():
    assert math.isnan(prices.query_price({"input_million_tokens": 2.0}, **QUERY))
    none = {**QUERY, "output_tokens": 0}
    assert prices.query_price({"input_million_tokens": 2.0}, **none) == pytest.approx(2200e-6)


def test_without_prices_of_tokens_flops_are_paid_for():
    # 1e12 FLOPs are 0.1 s of a device at 0.001 a second, and 10 J at 0.36 for 3.6 MJ.
    assert prices.query_price(MACHINE, **QUERY) == pytest.approx(1e-4)
    assert prices.query_price(POWER, **QUERY) == pytest.approx(1e-6)
    assert prices.query_price({**MACHINE, **POWER}, **QUERY) == pytest.approx(1.01e-4)


@pytest.mark.parametrize(
    "given",
    [{}, {"gpu_hour": 3.6}, {"gpu_flops": 1e13}, {"kwh": 0.36}, {"gpu_hour": 3.6, **POWER}],
)
def test_flops_have_no_price_where_a_part_of_it_is_missing(given):
    assert math.isnan(prices.flop_price(given))


def test_training_is_paid_by_flops_or_by_seconds():
    ran = {"flops": 1e15, "seconds": 7200.0}
    assert prices.training_price(MACHINE, **ran) == pytest.approx(0.1)  # 100 s
    assert prices.training_price({"gpu_hour": 3.6}, **ran) == pytest.approx(7.2)
    assert math.isnan(prices.training_price(TOKENS, **ran))


def test_energy_and_storage():
    assert prices.joules(POWER, 5e11) == pytest.approx(5.0)
    assert math.isnan(prices.joules({}, 5e11))
    assert prices.storage_price({"gb_month": 0.02}, 1e9) == pytest.approx(0.08)  # 4 GB
    assert math.isnan(prices.storage_price({}, 1e9))
