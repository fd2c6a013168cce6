"""What varies with the factors of the study: one table, and a hypothesis to test per claim."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adaptlens.conditions import Condition
from adaptlens.formatting import percent
from adaptlens.stats import layerwise, trends
from adaptlens.stats.hypotheses import Hypothesis
from adaptlens.stats.layerwise import Similarity
from adaptlens.studies.convergence.columns import ways
from adaptlens.studies.convergence.condition_pairs import Compared, Rows, interval
from adaptlens.studies.convergence.stored_states import (
    ANCHOR,
    LABELS,
    STEERED,
    Side,
    is_distance,
)

BINS = 5
LAST = -2
"""The last layer before the final norm."""
DEFAULT_RATE = "default rate"
RESEMBLANCE = {
    "encoder": "sentence encoder",
    "embedding": "the model's embeddings",
    "bm25": "BM25",
    "chrf": "chrF",
}


@dataclass(frozen=True)
class Factors:
    """One model on one task: how the similarity of ICL and IT changes with each factor."""

    compared: Compared
    measure: str

    def in_last(
        self, left: Side, right: Side, measure: str = "", position: str = "last"
    ) -> Similarity:
        """Return the similarity of two conditions in the one layer that factors are about.

        It is the last before the final norm.

        Args:
            left: a condition.
            right: another.
            measure: of their similarity; unless given, the one the claims are judged by.
            position: where their states are read.
        """
        inside = self.compared.inside
        layer = inside.layers(left.at(position))[LAST]
        return inside.in_layer(left, right, measure or self.measure, layer, position)

    def at_last(self, left: Side, right: Side, position: str = "last") -> np.ndarray:
        """Return their similarity [repeats, queries] there, by the measure of the claims."""
        return self.in_last(left, right, position=position).values[0]

    def has(self, *sides: Side, position: str = "last") -> bool:
        """Whether these conditions were measured."""
        return self.compared.inside.has(*sides, position=position)

    def rows(
        self, factor: str, level: str, x: float, left: Side, right: Side, position: str = "last"
    ) -> Rows:
        """Return the rows of one level of a factor: one per measure, in the last layer."""
        inside, found = self.compared.inside, []
        layer = len(inside.layers(left.at(position))) + LAST
        for measure in self.compared.fixed:
            similarities = self.in_last(left, right, measure, position)
            values, baseline = similarities.values[0], similarities.baseline[0]
            if not np.isfinite(values).all():
                continue
            mean = layerwise.mean(values, similarities.drawn)
            found.append(
                {
                    **self.compared.about,
                    "factor": factor,
                    "level": level,
                    "x": x,
                    "pair": ways(*(inside.shown(side).adaptation for side in (left, right))),
                    "left": left.label,
                    "right": right.label,
                    "measure": measure,
                    "layer": layer,
                    **interval(mean),
                    "baseline": float(baseline.mean()),
                    "floor": self._floor(left, right, measure, position),
                    "agreement": inside.agreement(left, right),
                    "queries": mean.queries,
                    "draws": mean.draws,
                }
            )
        return found

    def _floor(self, left: Side, right: Side, measure: str, position: str) -> float:
        inside, found = self.compared.inside, []
        for side in (left, right):
            is_plain = side.step is None and not side.position
            if is_plain and len(inside.draws(side, position)) > 1:
                likeness = self.in_last(side, side.other, measure, position)
                found.append(float(likeness.values[0].mean()))
        worst = max if is_distance(measure) else min
        return worst(found, default=float("nan"))

    def pairs(self) -> Iterator[Hypothesis]:
        """Yield the paper's main claims, at the last layer, and ICL ~ IT against other routes."""
        icl, it, sl, full, distilled, aligned, vector = (
            self.compared.side(name)
            for name in ("icl", "it", "sl", "full", "distil", "ia2", "vector")
        )
        if not self.has(ANCHOR, icl, it):
            return
        main = (icl, it)
        claims = {
            "ICL and IT are more alike than the anchor and ICL": (main, (ANCHOR, icl)),
            "ICL and IT are more alike than the anchor and IT": (main, (ANCHOR, it)),
            "ICL is more like IT than like SL": (main, (icl, sl)),
            "ICL is more like IT than like full tuning": (main, (icl, full)),
            "ICL is more like IT than like the anchor steered to IT's answers": (
                main,
                (icl, STEERED),
            ),
            "ICL is more like what was distilled from it than like IT": ((icl, distilled), main),
            "ICL is more like what was aligned with it than like IT": ((icl, aligned), main),
            "ICL is more like what was aligned with it than like what was distilled from it": (
                (icl, aligned),
                (icl, distilled),
            ),
            "ICL is more like the anchor with its vector than like IT": ((icl, vector), main),
        }
        for claim, (more, less) in claims.items():
            if self.has(*more, *less):
                levels = self._common([more, less])
                yield self.hypothesis(1, claim, 1, levels[0] - levels[1])

    def demonstrations(self) -> tuple[Rows, list[Hypothesis]]:
        """Return similarity by number of demonstrations, and whether it rises."""
        counts = sorted({*self.compared.config.counts, self.compared.config.shots})
        both = {k: (self.compared.side("icl", shots=k), self.compared.side("it", shots=k))
                for k in counts}  # fmt: skip
        counts = [k for k in counts if self.has(*both[k])]
        if len(counts) < 2:
            return [], []
        rows: Rows = []
        for k in counts:
            icl, it = both[k]
            for left, right in ((icl, it), (ANCHOR, icl), (ANCHOR, it)):
                rows += self.rows("demonstrations", str(k), float(k), left, right)
        levels = self._common([both[k] for k in counts])
        slope = trends.slope(levels, _from_0_to_1(np.log2(counts)), flips=layerwise.FLIPS)
        claim = (
            "ICL and IT grow more alike with more demonstrations (change from "
            f"{counts[0]} to {counts[-1]} along a trend per doubling)"
        )
        return rows, [Hypothesis(3, claim, 1, slope)]

    def _common(self, pairs: Sequence[tuple[Side, Side]]) -> np.ndarray:
        """Return the similarity of each pair in the last layer over the draws all have."""
        found = [self.in_last(left, right) for left, right in pairs]
        draws = set.intersection(*(set(one.draws) for one in found if one.drawn))
        return np.stack([one.values[0][[d in draws for d in one.draws]] for one in found])

    def resemblance(self) -> tuple[Rows, Rows, list[Hypothesis]]:
        """Return similarity by likeness of demonstrations and query: bins, regression, claims."""
        icl, it = self.compared.side("icl"), self.compared.side("it")
        source = self._resembling(icl)
        if source is None or not self.has(icl, it):
            return [], [], []
        similarities = self.in_last(icl, it)
        own = [similarities.draws.index(d) for d in source.draws]
        y = similarities.values[0][own]
        if not np.isfinite(y).all():
            return [], [], []
        predictors = {
            name: source.resemblance[name] for name in RESEMBLANCE if name in source.resemblance
        }
        rows: Rows = []
        for name, x in predictors.items():
            for i, found in enumerate(trends.bins(y, x, BINS)):
                rows.append(
                    {
                        **self.compared.about,
                        "factor": f"resemblance: {RESEMBLANCE[name]}",
                        "level": f"bin {i + 1} of {BINS}",
                        "x": found.x,
                        "pair": ways("icl", "it"),
                        "left": icl.label,
                        "right": it.label,
                        "measure": self.measure,
                        "layer": len(self.compared.inside.layers()) + LAST,
                        "value": found.y,
                        "low": found.low,
                        "high": found.high,
                        "baseline": float(similarities.baseline[0].mean()),
                        "floor": self._floor(icl, it, self.measure, "last"),
                        "queries": y.shape[1],
                        "draws": len(y),
                    }
                )
        fitted, hypotheses = [], []
        found_rows = trends.regression(y, predictors)
        carrying = trends.carriers(found_rows)
        for row in found_rows:
            fitted.append(
                {
                    **self.compared.about,
                    "measure": self.measure,
                    "predictor": RESEMBLANCE[row.name],
                    **_coefficient("alone", row.alone),
                    **_coefficient("together", row.together),
                    "partial_r2": row.partial_r2,
                    "vif": row.vif,
                    "carries": "yes" if row.name in carrying else "no",
                }
            )
            claim = (
                "ICL and IT are more alike where query and demonstrations resemble each other, by "
                f"{RESEMBLANCE[row.name]} (per standard deviation)"
            )
            hypotheses.append(Hypothesis(4, claim, 1, row.mean))
        return rows, fitted, hypotheses

    def _resembling(self, side: Side) -> Condition | None:
        members = self.compared.inside.members
        return next((c for c in members if c.label == side.label and c.resemblance), None)

    def labels(self) -> tuple[Rows, list[Hypothesis]]:
        """Return similarity by share of wrong labels; the paper says it barely changes.

        With the answers left in, it follows how often prompt and tuning still answer alike, which
        wrong labels change; `agreement` stands beside it.
        """
        shares = [0.0, *self.compared.config.wrong]
        known: list[tuple[float, Side, Side]] = []
        for share in sorted(set(shares)):
            change = f"wrong-{round(100 * share)}" if share else ""
            icl, it = (self.compared.side(name, change) for name in ("icl", "it"))
            if self.has(icl, it):
                known.append((share, icl, it))
        if len(known) < 2:
            return [], []
        rows: Rows = []
        for share, icl, it in known:
            for left, right in ((icl, it), (ANCHOR, icl), (ANCHOR, it)):
                rows += self.rows("wrong labels", percent(share, 0), share, left, right)
        levels = self._common([(icl, it) for _, icl, it in known])
        hypotheses = [
            self.hypothesis(
                5,
                f"{percent(share, 0)} wrong labels leave ICL ~ IT as it is",
                0,
                levels[i] - levels[0],
            )
            for i, (share, _, _) in enumerate(known)
            if share
        ]
        return rows, hypotheses

    def task(self) -> tuple[Rows, list[Hypothesis]]:
        """Return similarity under demonstrations of another task; the paper says all rise."""
        icl, it = self.compared.side("icl"), self.compared.side("it")
        other_icl = self.compared.side("icl", "unrelated")
        other_it = self.compared.side("it", "unrelated")
        if not self.has(icl, it, other_icl, other_it):
            return [], []
        rows: Rows = []
        for level, a, b in (("own task", icl, it), ("another task", other_icl, other_it)):
            for left, right in ((a, b), (ANCHOR, a), (ANCHOR, b)):
                rows += self.rows("task of the demonstrations", level, float("nan"), left, right)
        claims = (
            ("ICL ~ IT", (other_icl, other_it), (icl, it)),
            ("anchor ~ ICL", (ANCHOR, other_icl), (ANCHOR, icl)),
            ("anchor ~ IT", (ANCHOR, other_it), (ANCHOR, it)),
        )
        hypotheses = []
        for name, other, own in claims:
            levels = self._common([own, other])
            claim = f"demonstrations of another task raise {name}"
            hypotheses.append(self.hypothesis(6, claim, 1, levels[1] - levels[0]))
        return rows, hypotheses

    def generation(self) -> tuple[Rows, list[Hypothesis]]:
        """Return the main pairs at the tokens of a generated answer, teacher-forced."""
        icl, it, sl = (self.compared.side(name) for name in ("icl", "it", "sl"))
        rows: Rows = []
        hypotheses: list[Hypothesis] = []
        for position in ("last", "answer_first", "answer_mean"):
            if not self.has(ANCHOR, icl, it, position=position):
                continue
            for left, right in ((icl, it), (ANCHOR, icl), (ANCHOR, it), (icl, sl)):
                if self.has(left, right, position=position):
                    rows += self.rows("generation", position, float("nan"), left, right, position)
            both = self.at_last(icl, it, position)
            if np.isfinite(both).all():
                hypotheses += [
                    self.hypothesis(
                        7,
                        f"in generation ({position.replace('_', ' ')}), ICL and IT are more alike "
                        f"than {name}",
                        1,
                        both - self.at_last(ANCHOR, other, position),
                    )
                    for other, name in ((icl, "the anchor and ICL"), (it, "the anchor and IT"))
                ]
        return rows, hypotheses

    def prompt(self) -> tuple[Rows, list[Hypothesis]]:
        """Return how near better prompts alone bring the anchor to ICL and IT."""
        icl, it = self.compared.side("icl"), self.compared.side("it")
        worded = {Side(c.label): c.wording for c in self.compared.inside.members if c.wording}
        if not worded or not self.has(ANCHOR, icl, it):
            return [], []
        rows: Rows = []
        for left, name in {ANCHOR: "plain", **worded}.items():
            for right in (icl, it):
                rows += self.rows("prompt", name, float("nan"), left, right)
        rows += self.rows("prompt", "demonstrations", float("nan"), icl, it)
        nearest = max(worded, key=lambda side: self.at_last(side, icl).mean())
        claim = (
            f"no better prompt alone comes as near to ICL as IT does (nearest: {worded[nearest]})"
        )
        effect = self.at_last(icl, it) - self.at_last(nearest, icl)
        return rows, [self.hypothesis(9, claim, 1, effect, num_selected_from=len(worded))]

    def position(self) -> tuple[Rows, list[Hypothesis]]:
        """Return the pairs at other tokens, and how the answers in a prompt relate to its end."""
        icl, it, sl = (self.compared.side(name) for name in ("icl", "it", "sl"))
        rows: Rows = []
        hypotheses: list[Hypothesis] = []
        for position in ("last", "separator", "instruction"):
            if not self.has(ANCHOR, icl, it, position=position):
                continue
            for left, right in ((icl, it), (ANCHOR, icl), (ANCHOR, it), (icl, sl)):
                if self.has(left, right, position=position):
                    rows += self.rows("position", position, float("nan"), left, right, position)
            both = self.at_last(icl, it, position)
            if position != "last" and np.isfinite(both).all():
                effect = both - self.at_last(ANCHOR, it, position)
                claim = f"at the {position}, ICL and IT are more alike than the anchor and IT"
                hypotheses.append(self.hypothesis(10, claim, 1, effect))
        if self.has(icl, position=LABELS):
            answers = replace(icl, position=LABELS)
            for right in filter(self.has, (icl, it, ANCHOR)):
                rows += self.rows("position", "labels ~ last", float("nan"), answers, right)
        return rows, hypotheses

    def dose(self) -> tuple[Rows, list[Hypothesis]]:
        """Return how near tuning is to ICL after each number of steps, at each rate."""
        icl = self.compared.side("icl")
        trajectories = [
            one for one in self.compared.inside.members if one.adaptation == "it_trajectory"
        ]
        rows: Rows = []
        hypotheses: list[Hypothesis] = []
        for trajectory in trajectories:
            steps, rate = trajectory.checkpoint_steps, _rate(trajectory)
            sides = [Side(trajectory.label, step) for step in steps]
            for step, side in zip(steps, sides, strict=True):
                for left in filter(self.has, (icl, ANCHOR)):
                    rows += self.rows(f"dose: {rate}", str(step), float(step), left, side)
            if rate == DEFAULT_RATE and len(sides) > 2 and self.has(icl):
                hypotheses += self._dose_hypotheses(icl, steps, sides)
        return rows, hypotheses

    def _dose_hypotheses(
        self, icl: Side, steps: Sequence[int], sides: Sequence[Side]
    ) -> list[Hypothesis]:
        levels = self._common([(icl, side) for side in sides])
        doublings = _from_0_to_1(np.log2(1 + np.array(steps, float)))
        slope = trends.slope(levels, doublings, flips=layerwise.FLIPS)
        means = levels.mean((1, 2))
        best = int(means.argmax())
        passed = layerwise.mean(levels[best] - levels[-1], drawn=True, flips=layerwise.FLIPS)
        return [
            Hypothesis(
                11,
                f"tuning moves towards ICL (change over {steps[-1]} steps along a trend per "
                "doubling)",
                1,
                slope,
            ),
            Hypothesis(
                11,
                f"tuning passes by ICL: it is nearest after {steps[best]} of {steps[-1]} steps (p "
                "corrected for the choice of the nearest)",
                1,
                replace(passed, p=min(1.0, len(steps) * passed.p)),
            ),
        ]

    def hypothesis(
        self, factor: int, claim: str, sign: int, effect: np.ndarray, num_selected_from: int = 1
    ) -> Hypothesis:
        """Return a claim about an effect [repeats, queries], the weakest of `num_selected_from`."""
        mean = layerwise.mean(effect, drawn=len(effect) > 1, flips=layerwise.FLIPS)
        return Hypothesis(factor, claim, sign, mean, num_selected_from)


def _rate(trajectory: Condition) -> str:
    """Return what a level calls the learning rate: as it is, or times the usual one."""
    return trajectory.arguments["rate_name"] or DEFAULT_RATE


def _from_0_to_1(levels: np.ndarray) -> np.ndarray:
    """Return levels scaled so that a slope on them is the change from the first to the last."""
    return (levels - levels.min()) / (levels.max() - levels.min())


def _coefficient(name: str, found: Any) -> dict[str, float]:
    return {
        name: found.value, f"{name}_low": found.low, f"{name}_high": found.high,
        f"{name}_p": found.p,
    }  # fmt: skip
