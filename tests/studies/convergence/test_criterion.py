"""What the convergence study says of states that were made: answers, routes, layers, copies."""

import numpy as np
import pytest

from adaptlens.conditions import Condition
from adaptlens.stats import hypotheses as claims
from adaptlens.studies.convergence.condition_pairs import Compared
from adaptlens.studies.convergence.config import convergence_config
from adaptlens.studies.convergence.criterion import against_untrained, alone, implicit_tuning
from adaptlens.studies.convergence.factors import Factors
from adaptlens.studies.convergence.stored_states import Inside, Side
from adaptlens.studies.convergence.thirds import thirds

DRAWS, QUERIES, WIDTH, LAYERS = 6, 24, 32, 7
AXIS = np.eye(WIDTH)[0]
CLAIM = {"measure": "within", "control": "unrelated", "routes": ["sl", "steered"], "margin": 0.05}
CONFIG = convergence_config(
    shots=4, measures=["within", "projected", "centered", "cosine"], claim=CLAIM
)


MADE = {
    "zero-shot": ("zero_shot", {}),
    "icl-4": ("icl", {"examples": 4}),
    "it-4": ("it", {"examples": 4}),
    "sl-4": ("sl", {"examples": 4}),
    "it-4-unrelated": ("it", {"examples": 4, "control": "unrelated"}),
    "it-4-shuffled": ("it", {"examples": 4, "control": "shuffled"}),
}
"""The conditions by their labels: way of adapting, and its arguments."""


def condition(label: str, states: np.ndarray, answers: np.ndarray) -> Condition:
    """A condition with states [layers, repeats, queries, width], the last after the final norm."""
    names = [f"{layer:02d}" for layer in range(LAYERS)] + ["final"]
    arrays = {f"hidden.last.{name}": one for name, one in zip(names, states, strict=True)}
    readout = np.stack([np.stack([AXIS, -AXIS])] * len(answers))
    loglik = np.where(answers[..., None] == np.arange(2), 0.0, -5.0)
    arrays |= {"hidden.readout": readout, "hidden.readout_final": readout}
    arrays |= {"behavior.loglik": loglik, "behavior.gold": answers[0]}
    draws = tuple(range(len(answers))) if len(answers) > 1 else (-1,)
    cells = ("cell",) * len(draws)
    return Condition("m", "t", "", label, *MADE[label], draws, arrays, {}, cells)


def compared(alike: dict[str, list[float]], *, moved: bool = True, model: str = "m") -> Compared:
    """A model in which conditions share, by layer, some of what a query has beside its answer.

    All but the anchor answer right. The embedding is one state for all; without `moved`, IT is
    the anchor.
    """
    rng = np.random.default_rng(0)
    gold = np.arange(QUERIES) % 2
    common = rng.normal(size=(LAYERS, 1, QUERIES, WIDTH))
    members = []
    for label in MADE:
        repeats = 1 if label == "zero-shot" else DRAWS
        answers = np.tile(gold if label != "zero-shot" else gold[::-1], (repeats, 1))
        share = np.array(alike.get(label, [0.0] * LAYERS))[:, None, None, None]
        own = rng.normal(size=(LAYERS, 1, QUERIES, WIDTH))
        states = np.sqrt(share) * common + np.sqrt(1 - share) * own
        states = states + 0.3 * rng.normal(size=(LAYERS, repeats, QUERIES, WIDTH))
        states = states + 10 * np.where(answers == 0, 1, -1)[..., None] * AXIS
        states[0] = 1.0
        members.append(condition(label, np.concatenate([states, states[-1:]]), answers))
    if not moved:
        anchor = members[0]
        members[2] = condition(
            "it-4",
            np.stack([array.repeat(DRAWS, 0) for name, array in anchor.arrays.items()
                      if name.startswith("hidden.last.")]),
            np.tile(gold[::-1], (DRAWS, 1)),
        )  # fmt: skip
    inside = Inside(model, "t", members, [("a", "b")] * QUERIES)
    inside.steer(Side("it-4"))
    return Compared(inside, CONFIG)


EVERYWHERE = [0.8] * LAYERS


def test_conditions_that_answer_alike_and_share_nothing_else_do_not_support_the_claim():
    (found,), rows = implicit_tuning(compared({}))
    assert found["state"] != "supported"
    assert found["headline"].startswith(
        "prompt and tuning agree on answers (100.0% of queries); within an answer their states are "
        "not "
    )
    by = {(row["measure"], row["over"]): row for row in rows}
    # With the answer in, they look alike, and like nothing that answers otherwise.
    assert by["centered", "anchor ~ ICL"]["icl_it"] > 0.7
    assert by["centered", "anchor ~ ICL"]["low"] > 0.5
    assert abs(by["centered", "ICL ~ SL"]["excess"]) < 0.05
    assert abs(by["within", "anchor ~ ICL"]["icl_it"]) < 0.1
    assert abs(by["projected", "anchor ~ ICL"]["icl_it"]) < 0.1


def test_what_icl_and_it_share_within_answers_supports_the_claim_by_both_measures():
    (found,), rows = implicit_tuning(compared({"icl-4": EVERYWHERE, "it-4": EVERYWHERE}))
    assert found["state"] == "supported"
    assert "are more alike than those of every pair they are held against" in found["headline"]
    states = {row["measure"]: row["state"] for row in rows}
    assert (states["within"], states["projected"]) == ("supported", "supported")


def test_what_sl_shares_as_well_refutes_it_and_the_headline_names_sl():
    alike = dict.fromkeys(("icl-4", "it-4", "sl-4"), EVERYWHERE)
    (found,), _ = implicit_tuning(compared(alike))
    assert found["state"] == "refuted"
    assert (
        "within an answer their states are not more alike than those of ICL and SL"
        in (found["headline"])
    )


@pytest.mark.parametrize(
    ("lower", "upper", "control", "supported"),
    [
        (0.0, 0.9, 0.0, True),
        (0.9, 0.0, 0.0, False),  # High below, as any pair is: no U.
        (0.9, 0.9, 0.9, False),  # The controls rise as well.
    ],
)
def test_a_u_is_judged_by_its_upper_side_against_controls(lower, upper, control, supported):
    def shape(low, high):
        return [0.0, low, low, 0.1, 0.1, high, high]

    alike = dict.fromkeys(("icl-4", "it-4"), shape(lower, upper))
    alike |= dict.fromkeys(("it-4-unrelated", "it-4-shuffled"), shape(lower, control))
    rows, hypotheses = thirds(Factors(compared(alike), "within"))
    (found,) = claims.judged(hypotheses, margin=0.05)
    assert (found.state == "supported") == supported
    own = next(r for r in rows if r["pair"] == "icl-4 ~ it-4" and r["measure"] == "within")
    assert own["p"] == hypotheses[0].mean.at_least()
    if control:
        assert own["excess_over"] in ("icl ~ it-4-unrelated", "icl ~ it-4-shuffled")


def test_queries_alone_with_their_answer_are_told():
    assert alone(compared({})) == ""
    one = compared({})
    loglik = one.inside.find(Side("it-4")).arrays["behavior.loglik"]
    loglik[:, :, :] = [0.0, -5.0]
    loglik[:3, 7] = [-5.0, 0.0]
    assert "(it-4 2.1%)" in alone(one)  # 3 of 6 x 24.


def test_the_embedding_is_no_layer_of_a_u():
    rows, _ = thirds(Factors(compared({}), "within"))
    own = next(r for r in rows if r["pair"] == "icl-4 ~ it-4" and r["measure"] == "cosine")
    # Raw cosine is 1 in layer 0; of layers 1 to 6 the lower third is as low as the middle.
    assert abs(own["lower_minus_middle"]) < 0.1


def test_an_untrained_copy_is_compared_with_directly():
    trained = compared({"icl-4": EVERYWHERE, "it-4": EVERYWHERE})
    found = against_untrained(trained, compared({}, model="untrained:m"))
    assert found.state == "supported"
    # The likeness itself, not what it exceeds something by: 0.8 of what does not differ by draw.
    assert found.hypothesis.mean.value == pytest.approx(0.8 / 1.09, abs=0.1)
    assert against_untrained(trained, trained).state == "refuted"


def test_a_copy_in_which_tuning_did_nothing_is_no_yardstick():
    trained = compared({"icl-4": EVERYWHERE, "it-4": EVERYWHERE})
    found = against_untrained(trained, compared({}, moved=False, model="untrained:m"))
    assert found.state == "not decided"
    assert found.line.startswith("untrained:m: no effect: tuning is not shown to have changed")
