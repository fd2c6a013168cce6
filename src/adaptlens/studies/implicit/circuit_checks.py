"""What circuits do alone and in each other's place, and how far findings depend on choices."""

import itertools
import math
from typing import Any

import numpy as np

from adaptlens.circuits import distance, profiles, shift_claims, transfer
from adaptlens.circuits.profiles import Patched
from adaptlens.circuits.unit_sets import UnitSet
from adaptlens.lm.units import METHODS
from adaptlens.stats import layerwise
from adaptlens.stats.resampling import interval
from adaptlens.stats.specification_curve import variance_shares
from adaptlens.studies.implicit.circuit_conditions import Studied
from adaptlens.studies.implicit.columns import SHIFT
from adaptlens.types import METRICS

Rows = list[dict[str, Any]]


def tested(of: Studied) -> tuple[Rows, Rows]:
    """Return functional transfer between circuits, and how well each circuit works alone.

    Circuits of conditions that the study no longer wants are left out.
    """
    functional: Rows = []
    faithful: Rows = []
    metric = METRICS.index(of.base[2])
    for target, one in of.ablated.items():
        sets = [UnitSet(*made) for made in one.texts["sets"]]
        stored = one.ablated
        corrupt = stored.corrupt[..., metric].astype(float)
        gap = stored.clean[..., metric].astype(float) - corrupt
        kept, removed = (
            runs[..., metric].astype(float) - corrupt[..., None]
            for runs in (stored.kept, stored.removed)
        )
        for i, tested in enumerate(sets):
            if tested.kind != "circuit" or tested.source not in of.found:
                continue
            source, size = tested.source, tested.size
            made = [(j, other) for j, other in enumerate(sets) if other.circuit == tested]
            randoms = [j for j, other in made if other.kind == "random"]
            own = UnitSet("circuit", target, size)
            if own in sets and source != target:
                found = transfer.transfer(
                    kept[..., i],
                    kept[..., sets.index(own)],
                    np.stack([kept[..., j] for j in randoms]),
                    draws=one.draws,
                    seed=of.seed,
                )
                functional.append(
                    {
                        **of.about, "source": source, "target": target, "size": size,
                        "value": found.found.value, "low": found.found.low,
                        "high": found.found.high, "state": found.reason,
                        "items": found.found.queries, "draws": found.found.draws,
                    }
                )  # fmt: skip
            if source == target:
                total = float(gap.mean())
                mean = layerwise.mean(kept[..., i] / total, len(one.draws) > 1)
                lost = [
                    float((kept[..., i] - kept[..., j]).mean()) / total
                    for j, other in made
                    if other.kind == "without"
                ]
                faithful.append(
                    {
                        **of.about, "condition": target, "size": size,
                        "faithfulness": mean.value, "low": mean.low, "high": mean.high,
                        "completeness": float(removed[..., i].mean()) / total,
                        "minimality": float(np.mean(lost)) if lost else math.nan,
                        "random": float(np.mean([kept[..., j] for j in randoms])) / total,
                        "items": mean.queries, "draws": mean.draws,
                    }
                )  # fmt: skip
    return functional, faithful


def specified(of: Studied) -> Rows:
    """Return the distances of the main pairs, and their difference, by specification."""
    rows: Rows = []
    anchor, icl, it = (of.label(way) for way in ("zero_shot", "icl", "it"))
    for specification in of.specifications():
        corruption, method, metric = specification
        direction, ablation = METHODS[method]
        about = {
            **of.about, "metric": metric, "direction": direction,
            "ablation": ablation, "corruption": corruption,
        }  # fmt: skip
        own: dict[str, Patched] = {}
        for label in of.main():
            one = of.patched(label, specification)
            if not profiles.gate(one, correct=of.correct(label), chance=of.chance):
                own[label] = one
        for left, right in itertools.combinations(own, 2):
            mean = interval(distance.distance(own[left], own[right]), seed=of.seed)
            rows.append(
                {
                    **about, "left": left, "right": right, "name": f"{left} ~ {right}",
                    "value": mean.value, "low": mean.low, "high": mean.high,
                }
            )  # fmt: skip
        if {anchor, icl, it} <= set(own):
            mean = shift_claims.shifted_more(own[anchor], own[icl], own[it], seed=of.seed)
            rows.append(
                {
                    **about, "left": icl, "right": it,
                    "name": SHIFT,
                    "value": mean.value, "low": mean.low, "high": mean.high,
                }
            )  # fmt: skip
    return rows


def variance(of: Studied) -> Rows:
    """Return the shares of variance of the effects of single patches under all specifications.

    Effects are shares of their condition's and specification's gap.
    """
    import pandas as pd

    frames = []
    for specification in of.specifications():
        for label in of.defined():
            one = of.patched(label, specification)
            gap = float(one.clean_corrupt_gap.mean())
            if not one.drawn or gap <= 0:
                continue
            top = np.argsort(-np.abs(one.effect_profile))[: max(1, len(one.units) // 5)]
            values = one.changes[..., top].mean(-1) / gap
            draws, items = np.indices(values.shape)
            frames.append(
                pd.DataFrame(
                    {
                        "item": items.ravel(),
                        "draw": [f"{label} {d}" for d in draws.ravel()],
                        "condition": label,
                        "specification": " ".join(specification),
                        "value": values.ravel(),
                    }
                )
            )
    if len(frames) < 2:
        return []
    table = pd.concat(frames, ignore_index=True)
    factors = [
        name for name in ("item", "draw", "condition", "specification")
        if table[name].nunique() > 1
    ]  # fmt: skip
    if "condition" in factors and "draw" in factors:
        factors.remove("condition")
    return [
        {**of.about, "component": one.factor, "levels": one.levels,
         "variance": one.variance, "share": one.share}
        for one in variance_shares(table, factors)
    ]  # fmt: skip
