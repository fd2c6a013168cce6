"""What the conditions do, beside what they are: scores, agreement, and what the lens reads."""

from dataclasses import dataclass

import numpy as np

from adaptlens.conditions import Condition
from adaptlens.metrics import accuracy, similarity
from adaptlens.stats import layerwise
from adaptlens.stats.intervals import Scores, estimate
from adaptlens.studies.convergence.condition_pairs import Compared, Pair, Rows
from adaptlens.studies.convergence.stored_states import ANCHOR, ANSWER_OUT, FINAL, STEERED
from adaptlens.types import NO_DRAWS, Task


@dataclass(frozen=True)
class Behaving:
    """One model on one task: the behavior of its conditions, alone and in pairs."""

    compared: Compared
    is_choice: bool

    def scores(self) -> Rows:
        """Return the score of every condition: accuracy in points, or chrF."""
        rows: Rows = []
        for one in self.compared.inside.members:
            if not self._behaves(one) or one.checkpoint_steps or one.label == STEERED.label:
                continue
            values = self._values(one)
            floor = accuracy.chance(one.behavior).mean() if self.is_choice else 0.0
            scores = Scores(values, one.draws, floor=float(floor))
            found = estimate(scores, seed=self.compared.config.seed)
            rows.append(
                {
                    **self.compared.about,
                    "condition": one.label,
                    "metric": "accuracy" if self.is_choice else "chrf",
                    "value": 100 * found.value,
                    "low": 100 * found.low,
                    "high": 100 * found.high,
                    "queries": found.queries,
                    "draws": found.draws,
                }
            )
        return rows

    def _behaves(self, one: Condition) -> bool:
        return ("loglik" if self.is_choice else "chrf") in one.behavior

    def _values(self, one: Condition) -> np.ndarray:
        if self.is_choice:
            return accuracy.correct(one.behavior)
        return one.behavior.chrf / 100

    def pairs(self) -> Rows:
        """Return, of every pair, whether it answers alike beside how alike it is inside."""
        rows: Rows = []
        for pair in self.compared.pairs:
            if pair.right == STEERED or pair.right.other_draw:
                continue
            left, right = (self.compared.inside.behaving(c) for c in (pair.left, pair.right))
            if left is None or right is None or not (self._behaves(left) and self._behaves(right)):
                continue
            found = self._agreement(left, right)
            kl = self._kl(pair)
            rows.append(
                {
                    **self.compared.about,
                    "left": pair.left.label,
                    "right": pair.right.label,
                    "role": pair.role,
                    **found,
                    "kl": float("nan") if kl is None else float(kl[0][-1].mean()),
                    **self._inside(pair),
                }
            )
        return rows

    def _agreement(self, left: Condition, right: Condition) -> dict[str, float]:
        """Return agreement and kappa of the answers given; of generated ones, the same text."""
        if self.is_choice:
            x, y = (accuracy.predictions(one.behavior) for one in (left, right))
        else:
            number: dict[str, int] = {}
            x, y = (
                np.array(
                    [[number.setdefault(text, len(number)) for text in row] for row in one.outputs]
                )
                for one in (left, right)
            )
        x, y, _ = _paired(x, y, left, right)
        return {"agreement": accuracy.agreement(x, y), "kappa": accuracy.kappa(*_as_large(x, y))}

    def _inside(self, pair: Pair) -> dict[str, float]:
        found = {}
        named = {"similarity": "cosine", "centered": "centered"} | {one: one for one in ANSWER_OUT}
        for name, measure in named.items():
            similarities = self.compared.inside.pair_similarity(pair.left, pair.right, measure)
            found[name] = float(np.mean(similarities.values[-2]))
        return found

    def _kl(self, pair: Pair) -> tuple[np.ndarray, tuple[int, ...]] | None:
        """Return the divergence [layers, repeats, queries] of what the lens reads, right from left.

        None where either was not read.
        """
        left, right = (self.compared.inside.find(c) for c in (pair.left, pair.right))
        if left is None or right is None:
            return None
        read, other = left.hidden.lens, right.hidden.lens
        if read is None or other is None:
            return None
        x, y, draws = _paired(read, other, left, right)
        x, y = np.broadcast_arrays(x, y)
        return similarity.lens_kl(x, y).transpose(2, 0, 1), draws

    def lens(self) -> Rows:
        """Return the divergence of the main pairs' lens in every layer, in nats."""
        rows: Rows = []
        for pair in (pair for pair in self.compared.pairs if pair.role == "main"):
            found = self._kl(pair)
            if found is None:
                continue
            for layer, values in enumerate(found[0]):
                mean = layerwise.mean(values, drawn=found[1] != NO_DRAWS)
                rows.append(
                    {
                        **self.compared.about,
                        "left": pair.left.label,
                        "right": pair.right.label,
                        "layer": layer,
                        "kl": mean.value,
                        "low": mean.low,
                        "high": mean.high,
                        "queries": mean.queries,
                        "draws": mean.draws,
                    }
                )
        return rows

    def map(self, task: Task, most_queries: int = 60) -> Rows:
        """Return the states of the main conditions in two dimensions, layer by layer.

        Of the first draw, along the two principal axes of all of them together. None where none of
        the main conditions was measured.
        """
        inside = self.compared.inside
        sides = [ANCHOR, *(self.compared.side(n) for n in ("icl", "it", "sl"))]
        sides = [side for side in sides if inside.has(side)]
        rows: Rows = []
        for place, layer in enumerate(inside.layers() if sides else ()):
            states = [inside.states(side, layer)[0, :most_queries].astype(float) for side in sides]
            together = np.concatenate(states)
            together -= together.mean(0)
            axes = np.linalg.svd(together, full_matrices=False)[2][:2]
            flat = together @ axes.T
            for number, (x, y) in enumerate(flat):
                which, query = divmod(number, len(states[0]))
                example = task.test[query]
                rows.append(
                    {
                        **self.compared.about,
                        "layer": place,
                        "layer_name": layer if layer == FINAL else str(int(layer)),
                        "condition": sides[which].label,
                        "query": example.id,
                        "gold": example.target,
                        "x": round(float(x), 4),
                        "y": round(float(y), 4),
                    }
                )
        return rows


def _paired(
    x: np.ndarray, y: np.ndarray, left: Condition, right: Condition
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return rows of the same draws; a condition without draws keeps its one row."""
    if NO_DRAWS in (left.draws, right.draws):
        return x, y, max(left.draws, right.draws)
    draws = tuple(d for d in left.draws if d in set(right.draws))
    return (
        x[[left.draws.index(d) for d in draws]],
        y[[right.draws.index(d) for d in draws]],
        draws,
    )


def _as_large(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wide = np.broadcast_arrays(x, y)
    return wide[0], wide[1]
