"""Every pair of conditions in every layer, beside its baseline and its noise floor."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from adaptlens.metrics import shapes, similarity
from adaptlens.stats import layerwise
from adaptlens.stats.layerwise import Mean
from adaptlens.studies.convergence.config import ConvergenceConfig
from adaptlens.studies.convergence.stored_states import (
    ANCHOR,
    ANSWER_OUT,
    FINAL,
    STEERED,
    Inside,
    Side,
    is_distance,
)
from adaptlens.types import NO_DRAWS

Rows = list[dict[str, Any]]

JACKKNIFE_GROUPS = 10
PERMUTATIONS = 199

CHANGES = {
    "change cosine": similarity.change_cosine,
    "change projection": similarity.change_projection,
}
"""Measures of two changes, each from an anchor of its own."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two conditions that are compared, and why: "main", "control" or "floor"."""

    left: Side
    right: Side
    role: str

    @property
    def name(self) -> str:
        """The pair's name in tables."""
        return f"{self.left.label} ~ {self.right.label}"


@dataclass(frozen=True)
class Compared:
    """One model on one task: the similarity of all its pairs, with intervals."""

    inside: Inside
    config: ConvergenceConfig

    @property
    def about(self) -> dict[str, str]:
        """The columns every row begins with."""
        return {"model": self.inside.model, "task": self.inside.task}

    def side(
        self, adaptation: str, change: str = "", *, shots: int | None = None, restart: int = 0
    ) -> Side:
        """Return a main condition, or a control of it; one that nobody has where there is none.

        Args:
            adaptation: its way of adapting.
            change: what the control changes.
            shots: its number of examples; the study's unless given.
            restart: the other seed that it was started anew from.
        """
        wanted = (adaptation, self.config.shots if shots is None else shots, change, restart)
        own = (
            one.label
            for one in self.inside.members
            if (one.adaptation, one.examples, one.control, one.restart) == wanted
        )
        return Side(next(own, ""))

    @property
    def fixed(self) -> list[str]:
        """The measures of states in the shared basis that were asked for."""
        known = {*similarity.MEASURES, *ANSWER_OUT}
        return [name for name in self.config.measures if name in known]

    @cached_property
    def pairs(self) -> list[Pair]:
        """All pairs whose conditions have states."""
        return [pair for pair in self._wanted() if self.inside.has(pair.left, pair.right)]

    def _wanted(self) -> Iterator[Pair]:
        icl, it, sl, full = (self.side(name) for name in ("icl", "it", "sl", "full"))
        for left, right in ((ANCHOR, icl), (ANCHOR, it), (icl, it), (icl, sl), (ANCHOR, sl),
                            (it, sl), (ANCHOR, full), (icl, full), (it, full)):  # fmt: skip
            yield Pair(left, right, "main")
        brought = [Side(one.label) for one in self.inside.members if one.is_brought]
        for side in (*map(self.side, self.config.further), *brought):
            for other in (ANCHOR, icl, it):
                yield Pair(other, side, "main")
        for change in ("unrelated", "neutral", "shuffled"):
            other_icl, other_it = self.side("icl", change), self.side("it", change)
            for left, right in ((icl, other_it), (other_icl, it), (other_icl, other_it),
                                (ANCHOR, other_icl), (ANCHOR, other_it)):  # fmt: skip
                yield Pair(left, right, "control")
        for side in (icl, it, ANCHOR):
            yield Pair(side, STEERED, "control")
        for side in (icl, it, sl, full):
            yield Pair(side, side.other, "floor")
        yield Pair(it, self.side("it", restart=1), "floor")

    def table(self) -> Rows:
        """Return the rows of all pairs, layers and measures."""
        rows: Rows = []
        for layer in self.inside.layers() if self.pairs else ():
            # Layer by layer and measure by measure, so that what a condition is compared by is
            # made once for all its pairs.
            for measure in self.fixed:
                for pair in self.pairs:
                    self.inside.in_layer(pair.left, pair.right, measure, layer)
        for pair in self.pairs:
            for measure in self.fixed:
                rows += self._fixed_rows(pair, measure)
        return rows + self._change_rows() + self._set_rows()

    def _about(self, pair: Pair, position: str, place: int, layers: list[str]) -> dict[str, Any]:
        cells = [
            cell
            for side in (pair.left, pair.right)
            if (found := self.inside.find(side, position))
            for cell in found.cells
        ]
        return {
            **self.about,
            "position": position,
            "layer": len(layers) - 2 if layers[place] == FINAL else place,
            "is_final": layers[place] == FINAL,
            "left": pair.left.label,
            "right": pair.right.label,
            "role": pair.role,
            "cell": " ".join(dict.fromkeys(cells)),
        }

    def _fixed_rows(self, pair: Pair, measure: str) -> Rows:
        similarities = self.inside.pair_similarity(pair.left, pair.right, measure)
        layers, rows = self.inside.layers(), []
        for place in range(len(layers)):
            values, baseline = similarities.values[place], similarities.baseline[place]
            if not np.isfinite(values).all() or not np.isfinite(baseline).all():
                continue
            rows.append(
                {
                    **self._about(pair, "last", place, layers),
                    "measure": measure,
                    **_fixed_row(values, baseline, similarities.drawn),
                    "floor": self.floor(pair, measure, place),
                }
            )
        return rows

    def _change_rows(self) -> Rows:
        """Return how alike the changes from the anchor are, each from an anchor of its own.

        The anchors are zero-shot under two wordings; without two, there are no such rows.
        """
        inside = self.inside
        worded = [Side(c.label) for c in inside.members if c.wording]
        worded = [side for side in dict.fromkeys(worded) if inside.has(side)]
        if len(worded) < 2:
            return []
        layers, rows = inside.layers(), []
        changed = [one for one in self.pairs if not {ANCHOR, STEERED} & {one.left, one.right}]
        for pair in changed:
            for place, layer in enumerate(layers):
                x, y, draws = inside.both(pair.left, pair.right, layer)
                first, second = (inside.states(side, layer) for side in worded[:2])
                if np.array_equal(first, second):
                    continue
                for name, compare in CHANGES.items():
                    found = compare(x, first, y, second)
                    if not (np.isfinite(found.matched).all() and np.isfinite(found.above).all()):
                        continue
                    about = self._about(pair, "last", place, layers)
                    row = _fixed_row(found.matched, found.mismatched, draws != NO_DRAWS)
                    rows.append({**about, "measure": name, **row, "floor": float("nan")})
        return rows

    def floor(self, pair: Pair, measure: str, place: int) -> float:
        """Return what the pair would score if its conditions were the same up to chance.

        The lower of what each condition scores against its own other draws; NaN where neither has
        draws, or where the pair is itself such a comparison.
        """
        if pair.role == "floor":
            return float("nan")
        layer = self.inside.layers()[place]
        found = [
            float(self.inside.in_layer(side, side.other, measure, layer).values.mean())
            for side in (pair.left, pair.right)
            if len(self.inside.draws(side)) > 1
        ]
        worst = max if is_distance(measure) else min
        return worst(found, default=float("nan"))

    def _set_rows(self) -> Rows:
        """Return the rows of the measures of shape, for the main pairs."""
        measures = [name for name in self.config.measures if name in shapes.SET_MEASURES]
        icl_it = (self.side("icl"), self.side("it"))
        layers, rows = self.inside.layers(), []
        main = [pair for pair in self.pairs if pair.role == "main"]
        for measure in measures if main else ():
            chosen = shapes.SET_MEASURES[measure]
            for place, layer in enumerate(layers):
                known: dict[tuple[Side, tuple[int, ...]], Any] = {}
                sides = []
                for pair in main:
                    x, y, draws = self.inside.both(pair.left, pair.right, layer)
                    keys = [(side, draws if len(own) > 1 else NO_DRAWS)
                            for side, own in ((pair.left, x), (pair.right, y))]  # fmt: skip
                    for key, own in zip(keys, (x, y), strict=True):
                        if key not in known:
                            known[key] = chosen.prepare(own)
                    sides.append((known[keys[0]], known[keys[1]]))
                for pair, row in zip(main, _set_rows_of(chosen, sides), strict=True):
                    if row is None:
                        continue
                    if measure == "rsa" and (pair.left, pair.right) == icl_it:
                        x, y, _ = self.inside.both(*icl_it, layer)
                        row["mantel_p"] = shapes.mantel(x, y, permutations=PERMUTATIONS)
                    rows.append(
                        {**self._about(pair, "last", place, layers), "measure": measure, **row}
                    )
        return rows


def _set_rows_of(
    measure: shapes.SetMeasure, pairs: Sequence[tuple[Any, Any]]
) -> list[dict[str, Any] | None]:
    """Return the row of each pair of prepared conditions; None where it is undefined."""
    queries = measure.num_queries(pairs[0][0])
    groups = np.arange(queries) % min(JACKKNIFE_GROUPS, queries)
    left_out = measure.of_pairs(pairs, shapes.kept_without(groups))
    whole = measure.of_pairs(pairs, np.ones((1, queries), dtype=bool))
    return [
        _set_row(one[0], without, queries) for one, without in zip(whole, left_out, strict=True)
    ]


def _set_row(values: np.ndarray, left_out: np.ndarray, queries: int) -> dict[str, Any] | None:
    if not np.isfinite(values).all() or not np.isfinite(left_out).all():
        return None
    found = layerwise.of_draws(values, left_out)
    return {
        **interval(found),
        "baseline": 0.0,
        "above": found.value,
        "above_low": found.low,
        "above_high": found.high,
        "floor": float("nan"),
        "queries": queries,
        "draws": len(values),
    }


def _fixed_row(values: np.ndarray, baseline: np.ndarray, drawn: bool) -> dict[str, Any]:
    found, above = layerwise.mean(values, drawn), layerwise.mean(values - baseline, drawn)
    return {
        **interval(found),
        "baseline": float(baseline.mean()),
        "above": above.value,
        "above_low": above.low,
        "above_high": above.high,
        "queries": found.queries,
        "draws": found.draws,
    }


def interval(found: Mean) -> dict[str, float]:
    """Return a mean and its interval as columns."""
    return {"value": found.value, "low": found.low, "high": found.high}


def finite_layers(*values: np.ndarray) -> list[int]:
    """Return the layers between embedding and final norm in which all of these are defined.

    What enters layer 0 is the embedding of a last token that all prompts share: raw cosine is 1
    there (nearly, where the embedding was tuned, too), and centered measures are undefined.
    """
    return [
        layer
        for layer in range(1, len(values[0]) - 1)
        if all(np.isfinite(one[layer]).all() for one in values)
    ]
