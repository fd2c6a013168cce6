"""Several models together: who is dominated, matched or ahead, and that chance does not say so."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.stats.scores import Scores
from adaptlens.studies.compare import front
from adaptlens.studies.compare.arm_choice import Choice
from adaptlens.studies.compare.front import Offer, best_by_cost, standings
from front_rates import CASES, MARGIN, told

QUERIES = 200


def offer(model, label, rights, cost, *, cached=None, judged=True, draws=10, kept=None, **more):
    """An arm that is right on so many queries, in every draw alike, and in validation as well."""
    values = np.zeros((draws, QUERIES))
    values[:, :rights] = 1.0
    held_out = np.zeros((draws, 40))
    held_out[:, : rights // 5 if kept is None else kept] = 1.0
    scores = Scores(values, tuple(range(draws)), "tune", held_out, cost=cost, **more)
    choice = Choice(label, scores)
    return Offer(model, label, label, choice, cost, cached or cost, judged)


def states(*offers, **more):
    return {one.offer.name: one.state for one in standings(offers, flips=199, **more)}


def test_an_arm_that_costs_more_and_is_shown_to_score_less_is_dominated():
    found = states(offer("a", "it", 160, 1), offer("b", "it", 120, 2))
    assert found == {"it on a": "cheapest", "it on b": "dominated"}


def test_an_arm_that_costs_more_and_is_shown_to_score_more_is_ahead():
    found = states(offer("a", "it", 120, 1), offer("b", "it", 160, 2))
    assert found == {"it on a": "cheapest", "it on b": "ahead"}


def test_the_same_answers_at_less_cost_match_where_draws_enough_were_made():
    def found(draws):
        return states(
            offer("a", "it", 190, 1, draws=draws, floor=0.5),
            offer("b", "it", 190, 2, draws=draws, floor=0.5),
            margin=0.05,
        )["it on b"]

    # Of 300 draws, none failed: at most 1.2% of all do, which costs 0.6 points of 45.
    assert found(300) == "matched"
    assert found(10) == "open"


def test_at_the_same_cost_nothing_is_matched():
    pair = offer("a", "it", 190, 1, draws=300), offer("b", "it", 190, 1, draws=300)
    assert set(states(*pair, margin=0.05).values()) == {"open"}


def test_what_costs_less_only_uncached_is_held_against_nothing():
    # The prompt of a costs more as it is, and less where it is cached.
    found = states(offer("a", "icl", 160, 4, cached=1), offer("b", "it", 120, 2))
    assert found == {"icl on a": "cheapest", "it on b": "cheapest"}


def test_an_arm_is_held_against_the_best_by_validation_not_by_test():
    (found,) = standings(
        [
            offer("a", "it", 180, 1, judged=False, kept=20),
            offer("b", "it", 150, 1, judged=False, kept=36),
            offer("c", "it", 100, 2),
        ],
        flips=199,
    )
    assert found.against.name == "it on b"
    assert found.difference.difference == pytest.approx(-0.25)


def test_an_arm_is_not_held_against_itself_at_another_template():
    twin = offer("a", "it", 160, 1, judged=False)
    own = offer("a", "best-it", 170, 1)
    found = standings([twin, replace(own, condition="it")], flips=199)
    assert [one.state for one in found] == ["cheapest"]


def test_without_validation_every_pair_counts():
    def bare(one):
        choice = Choice(one.label, replace(one.choice.scores, validation=None, floor=0.95))
        return replace(one, choice=choice)

    offers = [bare(offer(name, "it", 100 + 20 * i, 1 + i)) for i, name in enumerate("abcd")]
    last = max(standings(offers, blind=False, flips=199), key=lambda one: one.offer.uncached)
    # Four arms, each dearer than the one before: six pairs.
    # Two of the three tested p-values may be smaller.
    assert 4 * last.difference.p <= last.p <= 6 * last.difference.p


def test_pairs_are_corrected_by_hand():
    first, second = zip(*front._corrected([0.01, 0.04, 0.3], [1.0, 0.001, 0.02], 3), strict=True)
    assert first == pytest.approx((0.03, 0.08, 0.3))
    # 2 x 0.001 is the least of three; 2 x 0.02 is the second of 0.01, 0.04, 0.04.
    assert second == pytest.approx((1.0, 0.006, 0.08))


def test_a_pair_that_three_draws_are_of_is_open():
    found = states(offer("a", "it", 190, 1, draws=3), offer("b", "it", 20, 2, draws=3))
    assert found["it on b"] == "open"


@given(order=st.permutations(range(5)))
@settings(max_examples=8)
def test_no_order_of_arms_changes_where_they_stand(order):
    offers = [
        offer("a", "it", 150, 1), offer("a", "icl", 150, 3, cached=1), offer("b", "it", 150, 2),
        offer("b", "icl", 165, 6, cached=2), offer("b", "sl", 150, 2, judged=False),
    ]  # fmt: skip
    found, again = (
        {one.offer.name: (one.state, one.p, one.matched_p, one.against and one.against.name)
         for one in standings(some, flips=99)}
        for some in (offers, [offers[i] for i in order])
    )  # fmt: skip
    assert found == again


def test_the_steps_are_the_best_score_so_far():
    assert best_by_cost([(3, 0.5), (1, 0.4), (2, 0.7)]) == [(1, 0.4), (2, 0.7), (3, 0.7)]


def test_models_that_are_equally_good_are_told_apart_in_at_most_five_percent():
    # Of 20 runs at 5%, more than 4 have a chance of 0.3%.
    assert told(20, CASES["two models, ten draws"])[0] <= 4 / 20
    assert told(20, CASES["two models, ten draws"], step=MARGIN)[0] <= 4 / 20
