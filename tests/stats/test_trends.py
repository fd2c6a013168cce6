"""Slopes, bins and regression over draws and queries: by hand, naively, and how often wrong."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.stats import trends

MANY = 100
SLACK = 3 * math.sqrt(0.05 * 0.95 / MANY)
"""Three standard errors of a share of 5%."""


def table(rng, repeats=8, queries=30, by_draw=0.3, by_query=0.5):
    """Values [repeats, queries] with mean 0."""
    by_draws = by_draw * rng.normal(size=(repeats, 1))
    return by_draws + by_query * rng.normal(size=queries) + rng.normal(size=(repeats, queries))


def test_a_slope_by_hand():
    # Cells rise by 1, 2, 3 and 4 a level, whatever they start from.
    rises = np.array([[1.0, 2], [3, 4]])
    values = np.array([10.0, 20])[:, None] + np.arange(3)[:, None, None] * rises
    found = trends.slope(values, [0, 1, 2])
    assert found.value == pytest.approx(2.5)
    assert (found.draws, found.queries) == (2, 2)


def test_a_slope_is_that_of_polyfit_for_every_cell():
    rng = np.random.default_rng(0)
    values, x = rng.normal(size=(5, 3, 4)), np.array([1.0, 2, 4, 8, 16])
    naive = [np.polyfit(x, values[:, r, q], 1)[0] for r in range(3) for q in range(4)]
    assert trends.slope(values, x).value == pytest.approx(np.mean(naive))


@given(st.integers(0, 1000), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_neither_a_constant_nor_the_order_of_draws_changes_a_trend(seed, constant):
    rng = np.random.default_rng(seed)
    levels, order = np.stack([table(rng, 5, 12) for _ in range(3)]), rng.permutation(5)
    one = trends.slope(levels, [0, 1, 3])
    # What a draw and query has at all levels is no trend.
    other = trends.slope(levels[:, order] + constant + table(rng, 5, 12), [5, 6, 8])
    assert (other.value, other.stderr) == pytest.approx((one.value, one.stderr), abs=1e-9)
    y, x = levels[:2]
    (one,) = trends.regression(y, {"x": x})
    (other,) = trends.regression(y[order] + constant, {"x": 2 * x[order] - constant})
    assert (other.alone.value, other.alone.stderr) == pytest.approx(
        (one.alone.value, one.alone.stderr)
    )
    (turned,) = trends.regression(-y, {"x": x})
    assert (turned.alone.low, turned.alone.p) == pytest.approx((-one.alone.high, one.alone.p))
    binned, moved = trends.bins(y, x, 4), trends.bins(y[order] + constant, x[order], 4)
    assert [b.y + constant for b in binned] == pytest.approx([b.y for b in moved])
    assert [b.high - b.low for b in binned] == pytest.approx([b.high - b.low for b in moved])


def test_one_level_has_no_trend():
    with pytest.raises(ValueError, match="two that differ"):
        trends.slope(np.zeros((2, 3, 4)), [1, 1])


def test_a_slope_of_nothing_is_as_rare_as_its_p_value_says():
    rng = np.random.default_rng(1)
    false = sum(
        trends.slope(np.stack([table(rng) for _ in range(4)]), range(4)).p <= 0.05
        for _ in range(MANY)
    )
    assert false / MANY <= 0.05 + SLACK


def test_bins_hold_the_mean_of_their_cells_and_are_of_equal_size():
    rng = np.random.default_rng(2)
    x, y = rng.permutation(40).reshape(4, 10).astype(float), rng.normal(size=(4, 10))
    found = trends.bins(y, x, 5)
    assert [one.count for one in found] == [8] * 5
    for i, one in enumerate(found):
        own = (x >= 8 * i) & (x < 8 * (i + 1))
        assert one.x == pytest.approx(8 * i + 3.5)
        assert one.y == pytest.approx(y[own].mean())
        assert one.low < one.y < one.high


def test_cells_of_equal_x_lie_in_one_bin():
    x = np.repeat([[0.0, 0, 0, 0, 1]], 4, axis=0)
    found = trends.bins(np.arange(20.0).reshape(4, 5), x, 5)
    assert [(one.x, one.count) for one in found] == [(0, 16), (1, 4)]


def test_one_bin_of_one_draw_has_the_textbook_error():
    y = np.array([[1.0, 2, 4, 7, 11]])
    (one,) = trends.bins(y, np.zeros((1, 5)), 1)
    reach = 2.776 * y.std(ddof=1) / math.sqrt(5)
    assert one.high - one.y == pytest.approx(reach, abs=1e-3)


def test_a_bin_of_one_cell_has_no_interval():
    found = trends.bins(np.array([[1.0, 2]]), np.array([[0.0, 1]]), 2)
    assert [one.y for one in found] == [1, 2]
    assert all(math.isnan(one.low) for one in found)


@pytest.mark.parametrize(("repeats", "by_draw"), [(5, 0.3), (10, 1.0)])
def test_intervals_of_bins_cover_what_they_should(repeats, by_draw):
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(MANY):
        x, y = (table(rng, repeats, by_draw=by_draw) for _ in range(2))
        covered += [one.low <= one.x <= one.high for one in trends.bins(y + x, x, 4)]
    # Bins of one table stand and fall together, so this is a share of few independent ones.
    assert np.mean(covered) >= 0.95 - SLACK


def test_a_coefficient_is_per_standard_deviation():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6, 9))
    (found,) = trends.regression(3 * x - 5, {"x": x})
    assert found.alone.value == pytest.approx(3 * x.std())
    assert found.together.value == pytest.approx(3 * x.std())
    assert found.alone.p == 0 and found.partial_r2 == pytest.approx(1)
    assert found.vif == pytest.approx(1)


def test_coefficients_are_those_of_least_squares():
    rng = np.random.default_rng(5)
    y, a, b = (table(rng) for _ in range(3))
    b = b + a
    design = np.stack([np.ones(y.size), a.ravel() / a.std(), b.ravel() / b.std()], axis=1)
    wanted = np.linalg.lstsq(design, y.ravel(), rcond=None)[0][1:]
    found = trends.regression(y, {"a": a, "b": b})
    assert [one.together.value for one in found] == pytest.approx(wanted.tolist())
    correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert found[0].vif == pytest.approx(1 / (1 - correlation**2))
    assert found[0].alone.value == pytest.approx(np.cov(a.ravel(), y.ravel(), ddof=0)[0, 1]
                                                 / a.std())  # fmt: skip


def test_errors_are_those_of_leaving_out_each_draw_and_each_query():
    rng = np.random.default_rng(6)
    y, x = table(rng, 5, 7), table(rng, 5, 7)
    x = (x - x.mean()) / x.std()

    def fit(keep):
        return np.polyfit(x[keep], y[keep], 1)

    slope, intercept = fit(np.ones(x.shape, bool))
    variance = []
    for axis, groups in ((0, 5), (1, 7)):
        place = np.indices(x.shape)[axis]
        rest = [fit(place != group)[0] - slope for group in range(groups)]
        variance.append((groups - 1) / groups * np.square(rest).sum())
    residual = y - intercept - slope * x
    by_cell = np.square(x * residual).sum() / np.square(x).sum() ** 2
    (found,) = trends.regression(y, {"x": x})
    wanted = max(sum(variance) - by_cell, *variance)
    assert found.alone.stderr == pytest.approx(math.sqrt(wanted))
    assert found.alone.df == 4


def test_within_queries_what_queries_differ_in_does_not_count():
    rng = np.random.default_rng(7)
    ease = 5 * rng.normal(size=30)
    x = table(rng)
    found = {
        within: trends.regression(x + ease, {"x": x + ease}, within_queries=within)[0]
        for within in (False, True)
    }
    assert found[True].alone.value == pytest.approx((x - x.mean(0)).std())
    assert found[False].alone.value > 4
    # What is the same in all draws has nothing to say within queries.
    (fixed,) = trends.regression(x, {"x": np.tile(ease, (8, 1))}, within_queries=True)
    assert math.isnan(fixed.alone.value)


def test_constant_and_determined_predictors_are_reported_undefined():
    rng = np.random.default_rng(8)
    x, z = table(rng), table(rng)
    found = {
        one.name: one
        for one in trends.regression(
            x + z, {"x": x, "twice": 2 * x, "z": z, "constant": np.ones(x.shape)}
        )
    }
    assert math.isnan(found["constant"].alone.value) and math.isnan(found["constant"].vif)
    for name in ("x", "twice"):
        assert math.isnan(found[name].together.value) and found[name].vif == math.inf
        assert found[name].alone.value == pytest.approx(found["x"].alone.value)
    assert found["z"].together.value == pytest.approx(z.std(), rel=1e-6)
    assert trends.carriers(list(found.values())) == ["z"]


def test_the_predictor_that_carries_the_effect_is_the_one_that_stays():
    rng = np.random.default_rng(9)
    carrying = table(rng, queries=100)
    follower = carrying + 0.5 * table(rng, queries=100)
    noise = table(rng, queries=100)
    found = trends.regression(
        carrying + table(rng, queries=100),
        {"carrying": carrying, "follower": follower, "noise": noise},
    )
    assert found[1].alone.p < 0.01
    assert trends.carriers(found) == ["carrying"]


def test_two_carry_or_none():
    rng = np.random.default_rng(10)
    a, b, rest = (table(rng, queries=100) for _ in range(3))
    assert trends.carriers(trends.regression(a + b + rest, {"a": a, "b": b})) == ["a", "b"]
    assert trends.carriers(trends.regression(rest, {"a": a, "b": b})) == []


@pytest.mark.parametrize(("repeats", "by_draw"), [(5, 1.0), (10, 0.3)])
@pytest.mark.parametrize("within", [False, True])
def test_a_coefficient_of_nothing_is_as_rare_as_its_p_value_says(repeats, by_draw, within):
    rng = np.random.default_rng(11)
    false = 0
    for _ in range(MANY):
        y, x, z = (table(rng, repeats, 20, by_draw) for _ in range(3))
        found = trends.regression(y, {"x": x, "z": x + z}, within_queries=within)
        false += found[0].together.p <= 0.05
    assert false / MANY <= 0.05 + SLACK
