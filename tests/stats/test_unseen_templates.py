"""Templates not tuned on against those tuned on: by regression, by hand, and by error rates."""

from typing import Any

import numpy as np
import pytest

from adaptlens.prompts.template_turns import turn
from adaptlens.stats.scores import Scores
from adaptlens.stats.unseen_templates import contributions, unseen_less_seen
from wording_rates import CASES, told

NAMES = ("bare", "chat", "named", "plain", "question", "quoted")


def tuned_on(draws: int, num_templates: int, of: int = 6) -> np.ndarray:
    """Return who was tuned on what [templates, draws]."""
    seen = np.zeros((of, draws), bool)
    for draw in range(draws):
        seen[list(turn(draw, num_templates, of, 0)), draw] = True
    return seen


def scored(table: np.ndarray, **given: Any) -> Scores:
    templates, draws, _ = table.shape
    return Scores(table, tuple(range(draws)), "tune", templates=NAMES[:templates], **given)


@pytest.mark.parametrize(("draws", "num_templates"), [(5, 3), (6, 1), (7, 4), (10, 5)])
def test_it_is_the_effect_of_a_regression_on_templates_and_draws(draws, num_templates):
    seen = tuned_on(draws, num_templates)
    table = np.random.default_rng(0).random((6, draws, 20))
    columns = [seen.ravel() == 0]
    columns += [np.repeat(np.arange(6) == place, draws) for place in range(6)]
    columns += [np.tile(np.arange(draws) == place, 6) for place in range(1, draws)]
    design = np.stack(columns, axis=1).astype(float)
    effect = np.linalg.lstsq(design, table.mean(2).ravel(), rcond=None)[0][0]
    found = unseen_less_seen(scored(table), seen, flips=99)
    assert found.difference == pytest.approx(effect)
    each = np.linalg.lstsq(design, table.reshape(-1, 20), rcond=None)[0][0]
    own = contributions(table, (~seen).astype(float)).mean((0, 1))
    np.testing.assert_allclose(own, each, atol=1e-12)


def test_a_case_by_hand():
    # Draws 0 and 2 were tuned on the first template, 1 and 3 on the second, all alike on 2 queries;
    # under the other template they score 0.2 less, and the second template costs all 0.3.
    seen = np.array([[1, 0, 1, 0], [0, 1, 0, 1]], bool)
    means = np.array([[0.9, 0.7, 0.9, 0.7], [0.4, 0.6, 0.4, 0.6]])
    found = unseen_less_seen(scored(np.repeat(means[..., None], 2, axis=2)), seen)
    assert found.difference == pytest.approx(-0.2)
    assert not found.supports_claims
    assert found.warnings[1].startswith(
        "2 templates support no claim about templates that were not"
    )


def test_harder_templates_and_worse_draws_change_nothing():
    seen = tuned_on(6, 3)
    rng = np.random.default_rng(1)
    table = 0.3 + 0.2 * rng.random((6, 6, 40))
    plain = unseen_less_seen(scored(table), seen)
    shifted = table + 0.3 * rng.random((6, 1, 40)) + 0.2 * rng.random((1, 6, 40))
    moved = unseen_less_seen(scored(shifted), seen)
    for name in ("difference", "low", "high", "p"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name))


def test_the_order_of_draws_and_templates_changes_nothing():
    seen = tuned_on(5, 3)
    table = np.random.default_rng(2).random((6, 5, 30))
    plain = unseen_less_seen(scored(table), seen)
    rows, columns = [3, 0, 5, 1, 4, 2], [4, 2, 0, 1, 3]
    other = Scores(
        table[rows][:, columns], tuple(columns), "tune", templates=tuple(NAMES[r] for r in rows)
    )
    assert unseen_less_seen(other, seen[rows][:, columns]) == plain


@pytest.mark.parametrize("differ", ["both", "draws", "templates"])
def test_the_error_is_no_less_than_what_draws_and_templates_do(differ):
    # Independent errors, or an effect that differs from draw to draw, or template to template: over
    # many tables the variance that is estimated is what the estimates have, or somewhat more.
    unseen = (~tuned_on(6, 3)).astype(float)
    shape = {"both": (6, 6), "draws": (1, 6), "templates": (6, 1)}[differ]
    rng = np.random.default_rng(3)
    estimates, by_draw, by_template = [], [], []
    for _ in range(2000):
        table = rng.normal(size=shape) * (1.0 if differ == "both" else unseen)
        own = contributions(table[..., None], unseen)[..., 0]
        estimates.append(own.mean())
        by_draw.append(own.mean(0).var(ddof=1) / 6)
        by_template.append(own.mean(1).var(ddof=1) / 6)
    true = float(np.square(estimates).mean())
    if differ != "templates":
        assert 0.95 < np.mean(by_draw) / true < 1.35
    if differ != "draws":
        assert 0.95 < np.mean(by_template) / true < 1.35


def test_nothing_can_be_said_where_all_were_tuned_alike_or_there_are_two_draws():
    table = np.random.default_rng(4).random((6, 5, 10))
    alike = np.repeat(tuned_on(1, 3), 5, axis=1)
    assert unseen_less_seen(scored(table), alike) is None
    assert unseen_less_seen(scored(table), np.ones((6, 5), bool)) is None
    assert unseen_less_seen(scored(table[:, :2]), tuned_on(2, 3)) is None
    assert not unseen_less_seen(scored(table[:, :4]), tuned_on(4, 3)).supports_claims


def test_where_wording_costs_nothing_little_is_told():
    # Of 60 runs, 8 or more have a chance of 1 % at a rate of 5 %.
    for name in ("five draws", "five draws, one template 30 points worse"):
        assert told(60, 60, CASES[name]) <= 7 / 60
    assert told(20, 60, CASES["ten draws"], 0.1) >= 0.8
    assert told(5, 60, CASES["two draws"], 0.1) == 0
