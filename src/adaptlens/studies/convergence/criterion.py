"""The claim the convergence study begins with, by every measure, and against an untrained copy."""

from typing import Any

import numpy as np

from adaptlens.formatting import percent
from adaptlens.metrics.answer_out import MOST_ALONE, is_alone
from adaptlens.stats import hypotheses, layerwise
from adaptlens.stats.hypotheses import Claim, Hypothesis
from adaptlens.studies.convergence.condition_pairs import Compared, Rows
from adaptlens.studies.convergence.stored_states import ANCHOR, PROJECTED, STEERED, WITHIN, Side

CLAIM = "in-context learning is implicit instruction tuning"

LAST = -2
"""The last layer before the final norm."""

BESIDE = (WITHIN, PROJECTED, "centered", "cosine")
"""The measures the claim is shown by: two with the answer taken out, one centered, the paper's."""

WHERE = {WITHIN: "within an answer", PROJECTED: "with the answer projected out"}
"""What a headline is about, by the measure that judges; else it is states with the answer in."""

SAID = {
    "supported": "are more alike than",
    "refuted": "are not more alike than",
    "not decided": "are not shown to be more alike than",
}

ROUTES = {"sl": "SL", "full": "full tuning", "steered": "the steered anchor"}
"""How a headline names the other routes to the same answers."""


def implicit_tuning(compared: Compared) -> tuple[Rows, Rows]:
    """Return the main claim as its measure judges it, and a row per measure and comparison."""
    icl, it = (compared.side(name) for name in ("icl", "it"))
    rule = compared.config.claim
    if not compared.inside.has(ANCHOR, icl, it, compared.side("it", rule["control"])):
        return [], []
    asked = dict.fromkeys([rule["measure"], *(m for m in BESIDE if m in compared.fixed)])
    judged: Rows = []
    rows: Rows = []
    for measure in asked:
        found = _judged(compared, measure)
        is_judge = measure == rule["measure"]
        if is_judge:
            judged.append(_row(compared, found))
        alike = float(compared.inside.pair_similarity(icl, it, measure).values[LAST].mean())
        about = {**compared.about, "measure": measure, "judges": "yes" if is_judge else "no",
                 "state": found.state, "icl_it": alike}  # fmt: skip
        for one in found.excesses:
            ends = {"excess": one.value, "low": one.low, "high": one.high, "p_holm": one.p_holm}
            counted = {"queries": found.queries, "draws": found.draws}
            rows.append({**about, "over": one.over, "counts": "yes", **ends, **counted})
        full = compared.side("full")
        if full not in routes_of(compared) and compared.inside.has(full):
            rows.append({**about, "counts": "no", **_beside(compared, full, measure)})
    return judged, rows


def routes_of(compared: Compared) -> dict[Side, str]:
    """Return the measured conditions that are other routes to the same answers, and their names."""
    routes = {
        STEERED if route == "steered" else compared.side(route): ROUTES[route]
        for route in compared.config.claim["routes"]
    }
    return {side: name for side, name in routes.items() if compared.inside.has(side)}


def _beside(compared: Compared, side: Side, measure: str) -> dict[str, Any]:
    """Return the excess of ICL ~ IT over ICL and a condition that the claim does not count."""
    icl, it = (compared.side(name) for name in ("icl", "it"))
    both, other = (compared.inside.pair_similarity(icl, one, measure) for one in (it, side))
    draws = [d for d in both.draws if d in other.draws]
    own, theirs = ([one.draws.index(d) for d in draws] for one in (both, other))
    mean = layerwise.mean(both.values[LAST][own] - other.values[LAST][theirs], len(draws) > 1)
    return {
        "over": f"ICL ~ {ROUTES['full']}", "excess": mean.value, "low": mean.low,
        "high": mean.high, "p_holm": float("nan"), "queries": mean.queries, "draws": mean.draws,
    }  # fmt: skip


def _judged(compared: Compared, measure: str) -> Claim:
    icl, it = (compared.side(name) for name in ("icl", "it"))
    rule = compared.config.claim
    control = compared.side("it", rule["control"])
    pairs = [(icl, it), (ANCHOR, icl), (ANCHOR, it), (icl, control), (ANCHOR, control)]
    similarities = [compared.inside.pair_similarity(a, b, measure) for a, b in pairs]
    routes = {
        name: compared.inside.pair_similarity(icl, side, measure)
        for side, name in routes_of(compared).items()
    }
    return hypotheses.implicit_tuning(*similarities, routes=routes, margin=rule["margin"])


def _row(compared: Compared, found: Claim) -> dict[str, Any]:
    rule = compared.config.claim
    control = compared.side("it", rule["control"])
    routes = ", ".join(routes_of(compared).values())
    shown = headline(compared, found)
    return {
        **compared.about,
        "factor": 1,
        "claim": CLAIM,
        "headline": shown,
        "state": found.state,
        "line": f"{shown}; {found.line}",
        "detail": found.line,
        "effect": found.effect,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "p_holm": found.p_holm,
        "test": f"{rule['measure']} similarity, control {control.label}, other routes to the same "
        f"answers: {routes}; clusters over layers",
        "queries": found.queries,
        "draws": found.draws,
    }


def headline(compared: Compared, found: Claim) -> str:
    """Return what was shown, in the words of the test: how often both answer alike, and the rest.

    It names the comparison that decides, with its excess and interval.
    """
    icl, it = (compared.side(name) for name in ("icl", "it"))
    rule = compared.config.claim
    inside = compared.inside
    alike = percent(inside.agreement(icl, it))
    said = f"prompt and tuning agree on answers ({alike} of queries)"
    if not inside.options:
        said = (
            f"prompt and tuning begin their answers with the same token ({alike} of queries) and "
            f"write the same text ({percent(inside.same_texts(icl, it))})"
        )
    where = WHERE.get(rule["measure"], "with the answer in")
    if found.decides is None or found.reason:
        return f"{said}; {where} nothing is decided: {found.reason}"
    pair = _pairs_held_against(compared)[found.decides.over]
    whose = f"those of {pair}"
    if found.state == "supported":
        whose = f"those of every pair they are held against, the nearest being {pair}"
    excess = hypotheses.interval(found.decides)
    return f"{said}; {where} their states {SAID[found.state]} {whose}: {excess}"


def _pairs_held_against(compared: Compared) -> dict[str, str]:
    """Return the pairs that the claim holds ICL and IT against in words, by their names in it."""
    control = compared.side("it", compared.config.claim["control"]).label
    found = {f"ICL ~ {name}": f"ICL and {name}" for name in routes_of(compared).values()}
    for name in ("ICL", "IT"):
        both = f"the anchor and {name}"
        found[f"anchor ~ {name}"] = both
        found[f"anchor ~ {name}, less the control's"] = (
            f"{both}, by more than tuning on the control ({control}) explains"
        )
    return found


def alone(compared: Compared) -> str:
    """Return a note on queries that are alone with their answer; empty where there are none.

    Their similarity within answers is the mean of the draw's others
    (`metrics.answer_out.within_answers`).
    """
    rule = compared.config.claim
    sides = [ANCHOR, *map(compared.side, ("icl", "it")), compared.side("it", rule["control"])]
    sides += [side for side in routes_of(compared) if side != STEERED]
    shares = {}
    for side in sides:
        answers = compared.inside.answers(side)
        if answers is not None and (share := float(np.mean([is_alone(row) for row in answers]))):
            shares[side.label] = share
    if not shares:
        return ""
    told = ", ".join(f"{label} {percent(share)}" for label, share in shares.items())
    return (
        f"queries to which no other got the same answer ({told}) have no similarity within answers "
        f"and count as the mean of the others; above {percent(MOST_ALONE, 0)} it is undefined"
    )


def against_untrained(own: Compared, copy: Compared) -> hypotheses.Judged | None:
    """Return whether ICL and IT are more alike than they are in an untrained copy of the model.

    In the last layer before the final norm, by the measure of the main claim. Not decided where in
    either model prompting or tuning is not shown to have changed the states: they are alike then
    for having done nothing. None where a condition is missing, or the
    similarity undefined.
    """
    rule = own.config.claim
    icl, it = (own.side(name) for name in ("icl", "it"))
    if not all(one.inside.has(ANCHOR, icl, it) for one in (own, copy)):
        return None
    found = [
        [one.inside.pair_similarity(a, b, rule["measure"]) for a, b in
         ((icl, it), (ANCHOR, icl), (ANCHOR, it))]
        for one in (own, copy)
    ]  # fmt: skip
    draws = [d for d in found[0][0].draws if d in found[1][0].draws]
    trained, untrained = (
        both.values[LAST][[both.draws.index(d) for d in draws]] for both, *_ in found
    )
    if not np.isfinite(trained - untrained).all():
        return None
    mean = layerwise.mean(trained - untrained, drawn=True, flips=layerwise.FLIPS)
    claim = "ICL and IT are more alike than in an untrained copy of the model"
    judged = hypotheses.judged([Hypothesis(8, claim, 1, mean)], margin=rule["margin"])[0]
    reasons = [
        f"{one.inside.model}: {reason}"
        for one, (_, icl_moved, it_moved) in zip((own, copy), found, strict=True)
        if (reason := hypotheses.no_effect(icl_moved, it_moved, rule["margin"]))
    ]
    return judged.undecided("; ".join(reasons))
