"""The stored states of one model on one task, and the similarity of any two conditions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from adaptlens import similarity
from adaptlens.frames import WITHOUT_REPEATS, Condition
from adaptlens.layered import Likeness

ANCHOR = "zero-shot"
FINAL = "final"

OTHER_DRAW = "other draw"
"""Stands after a label: the same condition, each draw compared with the next one's states."""


@dataclass
class Inside:
    """The hidden states of one model on one task, by condition, read layer by layer."""

    model: str
    task: str
    members: Sequence[Condition]
    _known: dict[tuple[str, str, str, str], Likeness] = field(default_factory=dict)

    def find(self, label: str, position: str = "last") -> Condition | None:
        """Return the condition with states at a position, or None."""
        name = f"hidden.{position}.{FINAL}"
        return next((c for c in self.members if c.label == label and name in c.arrays), None)

    def behaving(self, label: str) -> Condition | None:
        """Return the condition whose behaviour was measured, or None."""
        return next(
            (c for c in self.members if c.label == label and
             any(name.startswith("behaviour.") for name in c.arrays)), None
        )  # fmt: skip

    def add(self, conditions: Iterable[Condition]) -> None:
        """Make conditions known that are parts of stored ones."""
        known = {one.label for one in self.members}
        self.members = [*self.members, *(one for one in conditions if one.label not in known)]

    def has(self, *labels: str, position: str = "last") -> bool:
        """Whether all these conditions have states at a position."""
        return all(self.find(plain(label), position) is not None for label in labels)

    def layers(self, position: str = "last") -> list[str]:
        """Return the names of the layers: "00" into the first, ..., and "final"."""
        start = f"hidden.{position}."
        one = next(c for c in self.members if f"{start}{FINAL}" in c.arrays)
        named = sorted(n.removeprefix(start) for n in one.arrays if n.startswith(start))
        return [name for name in named if name != FINAL] + [FINAL]

    def states(self, label: str, layer: str, position: str = "last") -> np.ndarray:
        """Return the states [repeats, queries, width] of a condition in a layer."""
        one = self.find(plain(label), position)
        assert one is not None
        return one.arrays[f"hidden.{position}.{layer}"]

    def draws(self, label: str, position: str = "last") -> tuple[int, ...]:
        """Return the draws of a condition."""
        one = self.find(plain(label), position)
        assert one is not None
        return one.draws

    def both(
        self, left: str, right: str, layer: str, position: str = "last"
    ) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        """Return the states of two conditions, draw by draw, and the draws they share.

        A condition without draws stands against every draw of the other. "LABEL other draw" is
        the condition with each draw's states replaced by the next one's.
        """
        left_at, right_at = position_of(left, position), position_of(right, position)
        x, y = self.states(left, layer, left_at), self.states(right, layer, right_at)
        own, other = self.draws(left, left_at), self.draws(right, right_at)
        if (-1,) in (own, other):
            draws = max(own, other, key=len)
            return x, y, draws if draws != (-1,) else own
        draws = tuple(d for d in own if d in set(other))
        x = x[[own.index(d) for d in draws]]
        y = y[[other.index(d) for d in draws]]
        return x, np.roll(y, -1, axis=0) if right.endswith(OTHER_DRAW) else y, draws

    def likeness(self, left: str, right: str, measure: str, position: str = "last") -> Likeness:
        """Return how alike two conditions are in every layer, by a fixed-basis measure."""
        key = (left, right, measure, position)
        if key not in self._known:
            values, baseline = [], []
            for layer in self.layers(position_of(left, position)):
                x, y, draws = self.both(left, right, layer, position)
                found = similarity.MEASURES[measure](*_same_queries(x, y))
                values.append(found.matched)
                baseline.append(found.mismatched)
            self._known[key] = Likeness(np.stack(values), np.stack(baseline), draws)
        return self._known[key]


def plain(label: str) -> str:
    """Return the condition a label names: "icl-16 other draw" and "icl-16 @labels" are icl-16."""
    return label.removesuffix(f" {OTHER_DRAW}").partition(" @")[0]


def position_of(label: str, position: str) -> str:
    """Return where the states of a label are read: after " @", or else at `position`."""
    return label.partition(" @")[2] or position


def _same_queries(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both with as many queries; one state that all queries share stands for each."""
    queries = max(x.shape[1], y.shape[1])
    return (
        np.broadcast_to(x, (len(x), queries, x.shape[2])),
        np.broadcast_to(y, (len(y), queries, y.shape[2])),
    )


def at_doses(condition: Condition) -> dict[int, Condition]:
    """Return a condition with doses as one condition per dose."""
    doses = condition.arguments["doses"]
    return {
        dose: replace(
            condition, label=f"{condition.label}@{dose}", arrays=_AtDose(condition.arrays, place)
        )
        for place, dose in enumerate(doses)
    }


class _AtDose(Mapping[str, np.ndarray]):
    """The arrays [repeats, doses, ...] of a condition at one dose."""

    def __init__(self, arrays: Mapping[str, np.ndarray], place: int) -> None:
        self._arrays, self._place = arrays, place

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._arrays[name]
        return array if name.rpartition(".")[2] in WITHOUT_REPEATS else array[:, self._place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)
