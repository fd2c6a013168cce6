"""Over the layers: how the outer thirds differ from the middle, for every main pair."""

from typing import Any

import numpy as np

from adaptlens.stats import layerwise
from adaptlens.stats.hypotheses import Hypothesis
from adaptlens.stats.layerwise import Mean
from adaptlens.studies.convergence.condition_pairs import Rows, finite_layers, interval
from adaptlens.studies.convergence.factors import Factors
from adaptlens.studies.convergence.stored_states import Side, is_distance

CONTROLS = ("unrelated", "shuffled", "neutral")
"""The changes of tuning whose likeness to ICL must rise less than that of IT."""

CLAIM = (
    "ICL ~ IT rises from the middle to the upper third of the layers, and by more than ICL and the "
    "controls of IT do (the upper side of a U)"
)


def thirds(factors: Factors) -> tuple[Rows, list[Hypothesis]]:
    """Return the outer thirds less the middle, and the paper's claim of a U by its upper side.

    The lower side is high in any pair: there all prompts end in the same token and little else has
    been read. It is told, and decides nothing.
    """
    rows: Rows = []
    hypotheses: list[Hypothesis] = []
    icl, it = (factors.compared.side(name) for name in ("icl", "it"))
    for pair in (pair for pair in factors.compared.pairs if pair.role == "main"):
        for measure in factors.compared.fixed:
            found = _sides(factors, pair.left, pair.right, measure)
            if found is None:
                continue
            lower, upper, draws = found
            above = {"itself": upper}
            if (pair.left, pair.right) == (icl, it):
                above |= _above_controls(factors, measure, upper, draws)
            means = {name: _mean(values) for name, values in above.items()}
            control = max(means, key=lambda name: means[name].at_least())
            rows.append(
                {
                    **factors.compared.about,
                    "pair": pair.name,
                    "measure": measure,
                    **_named("lower_minus_middle", _mean(lower)),
                    **_named("upper_minus_middle", means["itself"]),
                    **_named("upper_excess", means[control]),
                    "excess_over": control,
                    "p": means[control].at_least(),
                }
            )
            if len(above) > 1 and measure == factors.measure:
                hypotheses.append(
                    Hypothesis(2, CLAIM, 1, means[control], num_selected_from=len(means))
                )
    return rows, hypotheses


def _sides(
    factors: Factors, left: Side, right: Side, measure: str
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]] | None:
    """Return lower and upper third less the middle [repeats, queries], and the draws.

    The higher, the more alike; None with fewer than three layers. The embedding is left out.
    """
    similarities = factors.compared.inside.pair_similarity(left, right, measure)
    kept = finite_layers(similarities.values)
    if len(kept) < 3:
        return None
    sign = -1 if is_distance(measure) else 1
    lower, upper = layerwise.outer_less_middle(sign * similarities.values[kept])
    return lower, upper, similarities.draws


def _above_controls(
    factors: Factors, measure: str, upper: np.ndarray, draws: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return how much more the upper side of ICL ~ IT rises than that of ICL and each control."""
    icl, found = factors.compared.side("icl"), {}
    for change in CONTROLS:
        control = factors.compared.side("it", change)
        if not factors.has(control):
            continue
        other = _sides(factors, icl, control, measure)
        if other is not None:
            common = [d for d in draws if d in other[2]]
            own, theirs = ([of.index(d) for d in common] for of in (draws, other[2]))
            found[f"icl ~ {control.label}"] = upper[own] - other[1][theirs]
    return found


def _mean(values: np.ndarray) -> Mean:
    return layerwise.mean(values, drawn=len(values) > 1, flips=layerwise.FLIPS)


def _named(name: str, found: Mean) -> dict[str, Any]:
    own = interval(found)
    return {name: own["value"], f"{name}_low": own["low"], f"{name}_high": own["high"]}
