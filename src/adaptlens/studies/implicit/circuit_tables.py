"""Circuits and how far they shift, as tables and claims.

Circuit shift is this project's own operationalization: what Yin et al. (arXiv 2410.04691) computed
was not published in a form that can be recovered.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adaptlens.circuits import distance, nulls, overlap, profiles, shift_claims
from adaptlens.circuits.profiles import Patched
from adaptlens.prompts.controls import NEUTRAL, SHUFFLED
from adaptlens.report.labels import Shown
from adaptlens.stats import layerwise
from adaptlens.stats.hypotheses import Hypothesis, Judged
from adaptlens.stats.intervals import Scores, estimate
from adaptlens.stats.resampling import interval
from adaptlens.studies.implicit import circuit_checks
from adaptlens.studies.implicit.circuit_conditions import Studied

Rows = list[dict[str, Any]]

CIRCUIT_TABLES = (
    "gates", "profiles", "differences", "shift", "overlap", "functional", "faithfulness",
    "specifications", "variance", "annotations", "circuit", "edges",
)  # fmt: skip

TUNINGS = {"it": "LoRA tuning", "sl": "plain LoRA tuning", "full": "full tuning"}
SHARES = (0.05, 0.1, 0.2, 0.4)
"""Sizes of circuits in the overlap curve, as shares of all units."""
SHOWN_EDGES = 40
"""Edges of a condition that the table has, the largest."""
SHOWN = 0.4
"""Share of the units that the circuit as a graph has."""


@dataclass(frozen=True)
class CircuitTables:
    """The tables of one model and task."""

    of: Studied

    def tables(self) -> dict[str, Rows]:
        """Return the rows of every table."""
        tables: dict[str, Rows] = {name: [] for name in CIRCUIT_TABLES}
        tables["gates"] = self._gates()
        tables["profiles"], tables["circuit"] = self._profiles()
        for left, right, role in self.of.pairs():
            tables["shift"] += self._shift(left, right, role)
            if role == "main":
                tables["differences"] += self._differences(left, right)
                tables["overlap"] += self._overlap(left, right)
        tables["shift"] += self._floors()
        tables["annotations"] = self._annotations()
        tables["edges"] = self._edges()
        tables["functional"], tables["faithfulness"] = circuit_checks.tested(self.of)
        tables["specifications"] = circuit_checks.specified(self.of)
        tables["variance"] = circuit_checks.variance(self.of)
        return tables

    def _gates(self) -> Rows:
        rows: Rows = []
        for label, condition in self.of.conditions.items():
            gap = layerwise.mean(
                condition.clean_corrupt_gap, condition.drawn and len(condition.draws) > 1
            )
            scores = Scores(self.of.correct(label), condition.draws, floor=self.of.chance)
            accuracy = estimate(scores, flips=0)
            rows.append(
                {
                    **self.of.about,
                    "condition": label,
                    "gap": gap.value,
                    "low": gap.low,
                    "high": gap.high,
                    "accuracy": 100 * accuracy.value,
                    "chance": 100 * self.of.chance,
                    "defined": not self.of.reasons[label],
                    "reason": self.of.reasons[label],
                    "items": len(condition.queries),
                    "draws": len(condition.draws),
                }
            )
        return rows

    def _profiles(self) -> tuple[Rows, Rows]:
        """Return the share of the gap of every unit with interval and test, and the circuits."""
        rows: Rows = []
        members: Rows = []
        for label, condition in self.of.conditions.items():
            if self.of.reasons[label]:
                continue
            nothing = _nothing(condition)
            tests = nulls.unit_tests(nothing, condition, seed=self.of.seed)
            for i, unit in enumerate(condition.units):
                rows.append(
                    {
                        **self.of.about,
                        "condition": label,
                        **_place(unit),
                        "value": float(condition.effect_profile[i]),
                        "low": float(tests.low[i]),
                        "high": float(tests.high[i]),
                        "p": float(tests.p_family[i]),
                    }
                )
            size = max(1, round(SHOWN * len(condition.units)))
            for unit, value in profiles.circuit(condition, size).members.items():
                members.append(
                    {
                        **self.of.about,
                        "condition": label,
                        **_place(unit),
                        "value": value,
                        "sign": 1 if value > 0 else -1,
                        "label": self._known_as(label, unit),
                    }
                )
        return rows, members

    def _known_as(self, label: str, unit: str) -> str:
        """Return what a head is known by in a few words: what it scores more than half in."""
        condition, place = self.of.found[label], _place(unit)
        names = {"induction": "induction", "labels": "labels", "query": "query", "first": "sink"}
        if place["kind"] != "head" or not condition.heads:
            return ""
        at = (place["layer"], place["index"])
        return ", ".join(
            said for name, said in names.items() if condition.heads[name].mean(0)[at] > 0.5
        )

    def _annotations(self) -> Rows:
        """Return what the heads of each condition are known by, beside their share of the gap."""
        rows: Rows = []
        for label, condition in self.of.found.items():
            if not condition.heads:
                continue
            scores = {
                column: condition.heads[name].mean(0)
                for column, name in (
                    ("induction", "induction"), ("label_attention", "labels"),
                    ("query_attention", "query"), ("sink", "first"), ("function_vector", "vector"),
                )
                if name in condition.heads
            }  # fmt: skip
            patched, is_defined = self.of.conditions[label], not self.of.reasons[label]
            for i, unit in enumerate(patched.units):
                place = _place(unit)
                if place["kind"] == "head":
                    rows.append(
                        {
                            **self.of.about,
                            "condition": label,
                            **place,
                            "value": float(patched.effect_profile[i]) if is_defined else math.nan,
                            **{
                                column: float(score[place["layer"], place["index"]])
                                for column, score in scores.items()
                            },
                        }
                    )
        return rows

    def _edges(self) -> Rows:
        """Return the largest edges of each condition as estimated, in shares of the gap."""
        rows: Rows = []
        for label, condition in self.of.found.items():
            if (change := condition.edges.change) is None or self.of.reasons[label]:
                continue
            shares = change.mean(0) / self.of.conditions[label].clean_corrupt_gap.mean()
            largest = np.argsort(-np.abs(shares), axis=None)[:SHOWN_EDGES]
            for source, target in zip(*np.unravel_index(largest, shares.shape), strict=True):
                rows.append(
                    {
                        **self.of.about,
                        "condition": label,
                        "source": condition.texts["sources"][source],
                        "target": condition.texts["targets"][target],
                        "value": float(shares[source, target]),
                    }
                )
        return rows

    def _differences(self, left: str, right: str) -> Rows:
        tests = nulls.unit_tests(
            self.of.conditions[left], self.of.conditions[right], seed=self.of.seed
        )
        return [
            {
                **self.of.about,
                "left": left,
                "right": right,
                **_place(unit),
                "value": float(tests.change[i]),
                "low": float(tests.low[i]),
                "high": float(tests.high[i]),
                "p_max": float(tests.p_family[i]),
                "q": float(tests.q[i]),
            }
            for i, unit in enumerate(tests.units)
        ]

    def _shift(self, left: str, right: str, role: str) -> Rows:
        """Return the five numbers of a pair but functional transfer, for all units and by kind."""
        rows: Rows = []
        whole = (self.of.conditions[left], self.of.conditions[right])
        for kind in ("all", "head", "mlp"):
            a, b = whole if kind == "all" else (condition.only(kind) for condition in whole)
            about = {
                **self.of.about, "left": left, "right": right, "role": role, "kind": kind,
                "items": len(a.queries), "draws": max(len(a.draws), len(b.draws)),
            }  # fmt: skip
            floor = max(
                nulls.noise_floor(condition, seed=self.of.seed).limit for condition in (a, b)
            )
            quantities = {
                "distance": distance.distance(a, b),
                "total effect": distance.strength(a, b),
            }
            for name, quantity in quantities.items():
                mean = interval(quantity, seed=self.of.seed)
                rows.append(
                    {
                        **about, "measure": name, "value": mean.value, "low": mean.low,
                        "high": mean.high, "p": mean.p,
                        "floor": floor if name == "distance" else math.nan,
                        "state": "" if math.isfinite(mean.value) else "no profile beyond noise",
                    }
                )  # fmt: skip
            related = distance.correlation(a, b)
            quantity = distance.correlation_quantity(a, b)
            r = interval(quantity, seed=self.of.seed) if not related.reason else None
            rows.append(
                {
                    **about,
                    "measure": "decorrelation",
                    "value": related.shift,
                    "low": 1 - r.high if r else math.nan,
                    "high": 1 - r.low if r else math.nan,
                    "p": math.nan,
                    "floor": math.nan,
                    "state": related.reason,
                }
            )
            if kind == "all":
                ranked = overlap.ranked_overlap(a, b, seed=self.of.seed)
                rows.append(
                    {
                        **about, "measure": "rank overlap", "value": ranked.corrected,
                        "low": ranked.low, "high": ranked.high, "p": math.nan,
                        "floor": math.nan, "state": ranked.reason,
                    }
                )  # fmt: skip
                several = [profiles.num_effective(condition) for condition in (a, b)]
                if all(map(math.isfinite, several)):
                    mean = interval(distance.spread(a, b), seed=self.of.seed)
                    rows.append(
                        {
                            **about, "measure": "effective units", "value": mean.value,
                            "low": mean.low, "high": mean.high, "p": mean.p, "floor": math.nan,
                            "state": "",
                        }
                    )  # fmt: skip
        return rows

    def _floors(self) -> Rows:
        """Return how far halves of one condition are apart: the noise floor."""
        rows: Rows = []
        for label in self.of.defined():
            floor = nulls.noise_floor(self.of.conditions[label], seed=self.of.seed)
            for by, values in floor.by.items():
                finite = values[np.isfinite(values)]
                if len(finite):
                    rows.append(
                        {
                            **self.of.about, "left": label, "right": f"{label}, other {by}",
                            "role": "floor", "kind": "all",
                            "items": len(self.of.conditions[label].queries),
                            "draws": len(self.of.conditions[label].draws),
                            "measure": "distance", "value": float(finite.mean()),
                            "low": float(np.quantile(finite, 0.05)),
                            "high": float(np.quantile(finite, 0.95)),
                            "p": math.nan, "floor": floor.limit, "state": "",
                        }
                    )  # fmt: skip
        return rows

    def halves(self, shift: Rows) -> dict[str, Shown]:
        """Return what the right sides of noise floors stand for: halves of the left ones.

        Args:
            shift: the rows of that table.
        """
        return {
            row["right"]: replace(
                self.of.found[row["left"]].shown, label=row["right"], variant="other half"
            )
            for row in shift
            if row["role"] == "floor"
        }

    def _overlap(self, left: str, right: str) -> Rows:
        a, b = self.of.conditions[left], self.of.conditions[right]
        return [
            {
                **self.of.about,
                "left": left,
                "right": right,
                "size": point.k,
                "share": point.k / len(a.units),
                "jaccard": point.found,
                "low": point.low,
                "high": point.high,
                "chance": point.chance,
                "ceiling": point.ceiling,
                "corrected": point.corrected,
                "state": point.reason,
            }
            for point in overlap.overlap_curve(a, b, shares=SHARES, splits=40, seed=self.of.seed)
        ]

    def claims(self) -> Rows:
        """Return the claims about circuits: ICL shifts them more than tuning; each leaves them."""
        if not self.of.label("zero_shot"):
            return []
        return [*self._shifted_more(), *self._left_alone()]

    def _left_alone(self) -> Rows:
        """Return the claims that an adaptation leaves the circuit of zero-shot as it is."""
        ways = {"icl": "in-context learning", **TUNINGS}
        adapted = {
            f"{name} leaves the circuit as it is": self.of.conditions[label]
            for way, name in ways.items()
            if (label := self.of.label(way))
        }
        judged = shift_claims.no_shift(
            self.of.conditions[self.of.label("zero_shot")],
            adapted,
            margin=self.of.config.circuits["margin"],
            reasons=self.of.reasons,
            factor=6,
            seed=self.of.seed,
        )
        tested = "two one-sided tests, bound on draws not seen; bootstrap"
        about = {"model": self.of.model, "task": self.of.family}
        return [{**about, **claim.row(tested)} for claim in judged]

    def _shifted_more(self) -> Rows:
        """Return the claims that ICL shifts the circuit more than tuning does, each way."""
        rows: Rows = []
        icl = self.of.label("icl")
        if not icl:
            return rows
        controls = (self.of.control(icl, change) for change in (NEUTRAL, SHUFFLED))
        beyond = {label: self.of.conditions[label] for label in controls if label}
        for way, name in TUNINGS.items():
            tuned = self.of.label(way)
            if not tuned:
                continue
            shift = shift_claims.shift_claim(
                self.of.conditions[self.of.label("zero_shot")],
                self.of.conditions[icl],
                self.of.conditions[tuned],
                margin=self.of.config.circuits["margin"],
                controls=beyond,
                reasons=self.of.reasons,
                factor=6,
                seed=self.of.seed,
            )
            p_holm = shift.parts[0].p_holm if shift.parts else math.nan
            claim = f"in-context learning shifts the circuit more than {name} does"
            judged = Judged(
                Hypothesis(6, claim, 1, shift.difference), shift.state, p_holm, shift.line
            )
            test = "intersection-union over tuning and controls; bootstrap, exchange test"
            rows.append({"model": self.of.model, "task": self.of.family, **judged.row(test)})
        return rows


def _nothing(condition: Patched) -> Patched:
    """Return a condition with the same gap in which no unit does anything."""
    idle = condition.corrupt if condition.direction == "denoise" else condition.clean
    patched = np.broadcast_to(idle[..., None], condition.patched.shape)
    return replace(condition, name="nothing", patched=patched)


def _place(unit: str) -> dict[str, Any]:
    """Return a unit's name, kind, layer and index."""
    kind = profiles.kind_of(unit)
    return {
        "unit": unit,
        "kind": kind,
        "layer": profiles.layer_of(unit),
        "index": int(unit.rpartition("H")[2]) if kind == "head" else 0,
    }
