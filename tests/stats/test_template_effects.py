"""Templates as a third crossed factor: against loops over all effects, and by error rates."""

import math
from itertools import combinations

import numpy as np
import pytest

from adaptlens.errors import UserError
from adaptlens.stats.intervals import difference, estimate
from adaptlens.stats.paired import tables_between, tables_of
from adaptlens.stats.scores import Scores

NAMES = ("bare", "chat", "question", "review")


def three_way(table: np.ndarray) -> tuple[float, float]:
    """The variance of a mean over three crossed random factors and its degrees of freedom.

    By inclusion and exclusion over all mean squares; no maxima.
    """
    total, spread = 0.0, 0.0
    for many in (1, 2, 3):
        for axes in combinations(range(3), many):
            rest = tuple(axis for axis in range(3) if axis not in axes)
            effect = table.mean(rest, keepdims=True)
            for axis in axes:
                effect = effect - effect.mean(axis, keepdims=True)
            df = math.prod(table.shape[axis] - 1 for axis in axes)
            cells = math.prod(table.shape[axis] for axis in axes)
            square = float(np.square(effect).sum()) / df / cells
            total += square * (1 if many % 2 else -1)
            spread += square**2 / df
    return total, total**2 / spread


def with_effects(rng, templates: int, repeats: int, queries: int) -> np.ndarray:
    """Scores in which every factor alone does something, so that no component is near 0."""
    table = 0.5 + 0.02 * rng.normal(size=(templates, repeats, queries))
    table += 0.1 * rng.normal(size=(templates, 1, 1)) + 0.1 * rng.normal(size=queries)
    table += 0.05 * rng.normal(size=(templates, 1, queries))
    if repeats > 1:
        table += 0.1 * rng.normal(size=(repeats, 1)) + 0.05 * rng.normal(size=(repeats, queries))
        table += 0.05 * rng.normal(size=(templates, repeats, 1))
    return table.clip(0, 1)


def test_the_error_is_that_of_all_mean_squares_of_three_factors():
    table = with_effects(np.random.default_rng(0), 4, 6, 30)
    draws = tuple(range(6))
    found = tables_of(Scores(table, draws, templates=NAMES)).crossed(seed=0, flips=0)
    variance, _ = three_way(table)
    assert found.stderr**2 == pytest.approx(variance, rel=1e-9)


def test_without_draws_templates_and_queries_are_the_two_factors():
    # Whether the second factor is called draws or templates must not matter to the error.
    table = with_effects(np.random.default_rng(1), 4, 1, 30)[:, 0]
    as_draws = tables_of(Scores(table, (0, 1, 2, 3))).crossed(seed=0, flips=0)
    as_templates = tables_of(Scores(table[:, None], templates=NAMES)).crossed(seed=0, flips=0)
    assert as_templates.stderr == pytest.approx(as_draws.stderr)


def test_templates_are_paired_by_name_and_shared_effects_cancel():
    rng, draws = np.random.default_rng(2), tuple(range(6))
    table = 0.5 + 0.1 * rng.normal(size=(4, 1, 1)) + 0.001 * rng.normal(size=(4, 6, 30))
    shifted = (table - 0.05).clip(0, 1)
    left = Scores(table, draws, templates=NAMES)
    same = Scores(shifted, draws, templates=NAMES)
    order = [2, 0, 3, 1]
    shuffled = Scores(shifted[order], draws, templates=tuple(NAMES[i] for i in order))
    other = Scores(shifted, draws, templates=("a", "b", "c", "d"))
    assert difference(left, shuffled) == difference(left, same)
    error = [tables_between(left, right).crossed(seed=0, flips=0).stderr for right in (same, other)]
    # Independent templates: two sets of four, each with the spread of one side.
    between = 2 * table.mean((1, 2)).var(ddof=1) / 4
    assert error[0] < 0.01
    assert error[1] ** 2 == pytest.approx(between, rel=0.1)


def test_a_side_without_templates_is_compared_with_every_template():
    rng = np.random.default_rng(3)
    table, draws = with_effects(rng, 4, 6, 30), tuple(range(6))
    plain = with_effects(rng, 1, 6, 30)[0]
    left, right = Scores(table, draws, templates=NAMES), Scores(plain, draws)
    repeated = Scores(np.repeat(plain[None], 4, axis=0), draws, templates=NAMES)
    one, other = difference(left, right), difference(left, repeated)
    assert (one.low, one.high, one.p) == pytest.approx((other.low, other.high, other.p))


def test_draws_that_differ_leave_templates_paired():
    rng = np.random.default_rng(4)
    table = with_effects(rng, 4, 6, 30)
    left = Scores(table, tuple(range(6)), templates=NAMES)
    right = Scores(table, tuple(range(6, 12)), templates=NAMES)
    tables = tables_between(left, right)
    assert len(tables.blocks) == 2
    assert len(tables.templates) == 1
    found = tables.crossed(seed=0, flips=0)
    draws = 2 * table.mean((0, 2)).var(ddof=1) / 6
    assert found.stderr**2 == pytest.approx(draws, rel=0.1)


def test_templates_that_repeat_are_refused():
    with pytest.raises(UserError, match="give each template once"):
        Scores(np.ones((2, 1, 5)), templates=("a", "a"))


RUNS = 300
ALLOWED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize("repeats", [1, 5])
def test_new_templates_are_covered(repeats):
    rng = np.random.default_rng(repeats)
    draws = tuple(range(repeats)) if repeats > 1 else (-1,)
    wrong, missed = 0, 0
    for run in range(RUNS):
        left, right = (
            Scores(with_effects(rng, 4, repeats, 40), draws, templates=NAMES, floor=0.5)
            for _ in range(2)
        )
        found = difference(left, right, seed=run, flips=199)
        wrong += found.p <= 0.05
        score = estimate(left, seed=run, flips=199)
        missed += not score.low <= 0.5 <= score.high
    assert max(wrong, missed) / RUNS <= ALLOWED


def test_taking_the_templates_for_given_finds_what_is_not_there():
    rng = np.random.default_rng(0)
    wrong = 0
    for run in range(100):
        sides = [with_effects(rng, 4, 1, 40)[:, 0] for _ in range(2)]
        left, right = (Scores(side.mean(0, keepdims=True)) for side in sides)
        wrong += difference(left, right, seed=run, flips=199).p <= 0.05
    assert wrong > 30
