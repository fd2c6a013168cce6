"""The stored states of one model on one task, and the similarity of any two conditions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from adaptlens.conditions import KEPT_BYTES, Condition
from adaptlens.measure import axes
from adaptlens.measure.arrays import FINAL as FINAL
from adaptlens.measure.arrays import Answers, Arrays, States
from adaptlens.metrics import accuracy, answer_out, similarity
from adaptlens.metrics.answer_out import (
    class_deviations,
    directions,
    out_of,
    spans_too_much,
    within_classes,
)
from adaptlens.report.labels import Labels, Shown
from adaptlens.stats.layerwise import Similarity
from adaptlens.studies.convergence.kept_rows import KeptRows
from adaptlens.types import NO_DRAWS


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a pair: the states of a condition, where and when they are read.

    Attributes:
        condition: its label.
        step: the number of steps after which tuning is read on its way; None at its end.
        position: where the states are read; empty where those of the pair are.
        other_draw: whether each draw stands with the next one's states.
    """

    condition: str
    step: int | None = None
    position: str = ""
    other_draw: bool = False

    @property
    def label(self) -> str:
        """What tables call it: "icl-16 other draw"."""
        step = "" if self.step is None else f"@{self.step}"
        at = f" @{self.position}" if self.position else ""
        return f"{self.condition}{step}{at}{' other draw' if self.other_draw else ''}"

    @property
    def other(self) -> "Side":
        """The same, each draw with the next one's states."""
        return replace(self, other_draw=True)

    def at(self, position: str) -> str:
        """Return where its states are read in a pair whose states are read at a position."""
        return self.position or position


ANCHOR = Side("zero-shot")

STEERED = Side(f"{ANCHOR.label} steered")
"""The anchor's states moved by what tuning does on average for each answer it gives."""

LABELS = "labels"
"""The position of the answers in a prompt's demonstrations."""

WITHIN, PROJECTED = "within", "projected"
ANSWER_OUT = (WITHIN, PROJECTED)
"""The measures with the answer taken out, the one that judges first."""

_OUT = {WITHIN: within_classes, PROJECTED: similarity.cosines}
"""How these compare two rows."""


def is_distance(measure: str) -> bool:
    """Whether a measure in the shared basis is larger the further apart states are."""
    return measure not in ANSWER_OUT and similarity.MEASURES[measure].is_distance


@dataclass
class Inside:
    """The hidden states of one model on one task, by condition, read layer by layer.

    `options` are the answers each query may be given, by text; none where answers are generated.
    """

    model: str
    task: str
    members: Sequence[Condition]
    options: Sequence[Sequence[str]] = ()
    _known: dict[tuple[Side, Side, str, str, str], Similarity] = field(default_factory=dict)
    _found: dict[tuple[Side, str], Condition | None] = field(default_factory=dict)
    _answered: dict[Side, np.ndarray | None] = field(default_factory=dict)
    _rows: KeptRows = field(default_factory=KeptRows)

    def find(self, side: Side, position: str = "last") -> Condition | None:
        """Return the condition of a side with states at a position, or None."""
        if (side, position) not in self._found:
            own = (c for c in self.members if c.label == side.condition and c.hidden.has(position))
            self._found[side, position] = _at_step(next(own, None), side)
        return self._found[side, position]

    def behaving(self, side: Side) -> Condition | None:
        """Return the condition of a side whose behavior was measured, or None."""
        own = (c for c in self.members if c.label == side.condition and c.behavior)
        return _at_step(next(own, None), side)

    def has(self, *sides: Side, position: str = "last") -> bool:
        """Whether the conditions of all these sides have states at a position."""
        return all(self.find(side, position) is not None for side in sides)

    def shown(self, side: Side) -> Shown:
        """Return what tables and figures show a side as."""
        own = next(one.shown for one in self.members if one.label == side.condition)
        if side.condition == STEERED.condition:
            own = Shown(STEERED.label, ANCHOR.condition, "zero_shot", variant="steered")
        at = f"@{side.position}" if side.position else ""
        more = filter(None, [own.variant, at, "other draw" if side.other_draw else ""])
        return replace(own, label=side.label, variant=" ".join(more))

    def labels(self) -> Labels:
        """Return what the label of every side that there can be stands for."""
        sides = [
            Side(one.label, step) for one in self.members for step in (None, *one.checkpoint_steps)
        ]
        sides += [replace(side, position=LABELS) for side in sides]
        return {one.label: self.shown(one) for side in sides for one in (side, side.other)}

    def layers(self, position: str = "last") -> list[str]:
        """Return the names of the layers: "00" into the first, ..., and "final"."""
        condition = next(c for c in self.members if c.hidden.has(position))
        return condition.hidden.layers(position)

    def states(self, side: Side, layer: str, position: str = "last") -> np.ndarray:
        """Return the states [repeats, queries, width] of a condition in a layer."""
        condition = self.find(side, position)
        assert condition is not None
        return condition.hidden.at(layer, position)

    def draws(self, side: Side, position: str = "last") -> tuple[int, ...]:
        """Return the draws of a condition."""
        condition = self.find(side, position)
        assert condition is not None
        return condition.draws

    def answers(self, side: Side, draws: Sequence[int] | None = None) -> np.ndarray | None:
        """Return the answers [repeats, queries] a condition gives, as numbers; None if not known.

        Of a choice, the text chosen, equal texts having equal numbers. Of generated text, the first
        token as the lens reads it from the last layer: the state at the last token decides no more.

        Args:
            side: whose.
            draws: those wanted, in order; all of them unless given.
        """
        if side not in self._answered:
            self._answered[side] = self._all_answers(side)
        answers, condition = self._answered[side], self._answering(side)
        if answers is None or condition is None or draws is None:
            return answers
        return _of_draws(answers, condition.draws, draws)

    def _answering(self, side: Side) -> Condition | None:
        """Return the condition of a side whose answers are known, or may be read by the lens."""
        condition = self.behaving(side)
        chooses = condition is not None and self.options and "loglik" in condition.behavior
        return condition if chooses else self.find(side)

    def _all_answers(self, side: Side) -> np.ndarray | None:
        condition = self._answering(side)
        if condition is None:
            return None
        if not (self.options and "loglik" in condition.behavior):
            lens = condition.hidden.lens
            return None if lens is None else lens[:, :, -1].argmax(-1)
        number: dict[str, int] = {}
        texts = [[number.setdefault(t, len(number)) for t in numbers] for numbers in self.options]
        return np.array(
            [
                [numbers[c] for numbers, c in zip(texts, row, strict=True)]
                for row in accuracy.predictions(condition.behavior).tolist()
            ]
        )

    def agreement(self, left: Side, right: Side) -> float:
        """Return the share of queries and draws two conditions answer alike; NaN if unknown."""
        left_draws, right_draws, _ = self._draw_by_draw(left, right)
        x, y = self.answers(left, left_draws), self.answers(right, right_draws)
        return float("nan") if x is None or y is None else float(np.mean(x == y))

    def same_texts(self, left: Side, right: Side) -> float:
        """Return the share of queries and draws for which both write one text; NaN if unknown."""
        sides = []
        for side, draws in zip((left, right), self._draw_by_draw(left, right), strict=False):
            condition = self.behaving(side)
            if condition is None or not condition.outputs:
                return float("nan")
            texts = np.array([list(row) for row in condition.outputs], dtype=object)
            sides.append(_of_draws(texts, condition.draws, draws))
        return float(np.mean(sides[0] == sides[1]))

    def _draw_by_draw(
        self, left: Side, right: Side, position: str = "last"
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return which draws of two conditions are compared, and the draws these stand for.

        A condition without draws stands against every draw of the other.
        """
        left_draws = self.draws(left, left.at(position))
        right_draws = self.draws(right, right.at(position))
        if NO_DRAWS in (left_draws, right_draws):
            return left_draws, right_draws, right_draws if left_draws == NO_DRAWS else left_draws
        draws = tuple(d for d in left_draws if d in set(right_draws))
        turned = (*draws[1:], *draws[:1]) if right.other_draw else draws
        return draws, turned, draws

    def both(
        self, left: Side, right: Side, layer: str, position: str = "last"
    ) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        """Return the states of two conditions, draw by draw, and the draws they share.

        A condition without draws has its one row.
        """
        left_draws, right_draws, draws = self._draw_by_draw(left, right, position)
        left_at, right_at = left.at(position), right.at(position)
        x, y = self.states(left, layer, left_at), self.states(right, layer, right_at)
        return (
            _of_draws(x, self.draws(left, left_at), left_draws),
            _of_draws(y, self.draws(right, right_at), right_draws),
            draws,
        )

    def pair_similarity(
        self, left: Side, right: Side, measure: str, position: str = "last"
    ) -> Similarity:
        """Return how alike two conditions are in every layer, by a fixed-basis measure.

        With the answer out it is undefined where the answers, or what they are read with, are not
        known. At other tokens than the last, answers are those given at the last.
        """
        layers = [
            self.in_layer(left, right, measure, layer, position)
            for layer in self.layers(left.at(position))
        ]
        return Similarity(
            np.concatenate([one.values for one in layers]),
            np.concatenate([one.baseline for one in layers]),
            layers[0].draws,
        )

    def in_layer(
        self, left: Side, right: Side, measure: str, layer: str, position: str = "last"
    ) -> Similarity:
        """Return the same in one layer alone, which costs as much less as there are layers."""
        key = (left, right, measure, position, layer)
        if key not in self._known:
            found = self._compared(left, right, layer, measure, position)
            draws = self._draw_by_draw(left, right, position)[2]
            self._known[key] = Similarity(found.matched[None], found.mismatched[None], draws)
        return self._known[key]

    def _compared(
        self, left: Side, right: Side, layer: str, measure: str, position: str
    ) -> similarity.Compared:
        sides, own_draws = (left, right), self._draw_by_draw(left, right, position)[:2]
        x, y = (self.states(side, layer, side.at(position)) for side in sides)
        similarity.num_rows(x[:1, :1], y[:1, :1])
        if x.shape[1] != y.shape[1] and measure not in ANSWER_OUT:
            # A state that all queries share stands for each.
            x, y, _ = self.both(left, right, layer, position)
            return similarity.MEASURES[measure](*_same_queries(x, y))
        repeats, queries = max(map(len, own_draws)), max(x.shape[1], y.shape[1])
        made = [
            self._made(*of, layer, measure, position) for of in zip(sides, own_draws, strict=True)
        ]
        if None in made or (measure in ANSWER_OUT and 1 in (x.shape[1], y.shape[1])):
            nothing = np.full((repeats, queries), np.nan)
            return similarity.Compared(nothing, nothing)
        pair: Any = _OUT[measure] if measure in _OUT else similarity.MEASURES[measure].pair
        return similarity.compared(
            pair(*(make(r) for make in made if make)) for r in range(repeats)
        )

    def _made(
        self, side: Side, draws: Sequence[int], layer: str, measure: str, position: str
    ) -> Callable[[int], Any] | None:
        """Return what gives a side's states as they are compared, by the place of the draw.

        A condition without draws has but one. None where they are undefined: its answers, or what
        they are read with, are not known.
        """
        at, measured = side.at(position), self.draws(side, side.at(position))
        states = self.states(side, layer, at)
        given = self._answers_out(side, draws, layer, measure)
        if given is None:
            return None
        about = (side.condition, side.step, at, layer, given[0])

        def of(repeat: int) -> Any:
            draw = draws[repeat if len(draws) > 1 else 0]
            return self._rows.get(
                (*about, draw), lambda: given[1](states[measured.index(draw)], draw)
            )

        return of

    def _answers_out(
        self, side: Side, draws: Sequence[int], layer: str, measure: str
    ) -> tuple[Any, Callable[[np.ndarray, int], Any]] | None:
        """Return how the states of a draw are made ready for a measure, and a name of that."""
        if measure not in ANSWER_OUT:
            prepare = similarity.MEASURES[measure].prepare
            return prepare, lambda states, _: prepare(states)
        if measure == WITHIN:
            answers, answering = self.answers(side), self._answering(side)
            if answers is None or answering is None:
                return None
            theirs = answering.draws
            return measure, lambda states, draw: class_deviations(
                states, answers[theirs.index(draw)]
            )
        condition = self.find(side)
        if condition is None or condition.hidden.readout(layer) is None:
            return None
        if spans_too_much(self._directions(side, layer, draws[0])):
            return None
        return measure, lambda states, draw: out_of(states, self._directions(side, layer, draw))

    def _directions(self, side: Side, layer: str, draw: int) -> np.ndarray:
        """Return the directions in which a condition's answers are read in a layer, of a draw."""
        after = layer if layer == FINAL else ""
        key = (side.condition, side.step, "directions", after, draw)

        def make() -> np.ndarray:
            reading = self.find(side)
            assert reading is not None
            rows = reading.hidden.readout(layer)
            assert rows is not None
            return directions(rows[reading.draws.index(draw)])

        found: np.ndarray = self._rows.get(key, make)
        return found

    def steer(self, tuned: Side) -> None:
        """Make the anchor known that is steered to a tuned condition's answers (`STEERED`)."""
        anchor, condition, answers = self.find(ANCHOR), self.find(tuned), self.answers(tuned)
        if anchor is not None and condition is not None and answers is not None:
            arrays = _Steered(anchor.arrays, condition.arrays, answers)
            steered = replace(condition, label=STEERED.label, adaptation="zero_shot", arrays=arrays)
            self.members = [*self.members, steered]
            self._found.clear()
            self._answered.clear()


def _of_draws(rows: np.ndarray, draws: Sequence[int], wanted: Sequence[int]) -> np.ndarray:
    """Return the rows of the wanted draws, in that order; the same array where these are all."""
    return rows if tuple(draws) == tuple(wanted) else rows[[draws.index(d) for d in wanted]]


def _same_queries(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both with as many queries; one state that all queries share stands for each."""
    queries = max(x.shape[1], y.shape[1])
    return (
        np.broadcast_to(x, (len(x), queries, x.shape[2])),
        np.broadcast_to(y, (len(y), queries, y.shape[2])),
    )


def _at_step(condition: Condition | None, side: Side) -> Condition | None:
    """Return the condition of a side as it was after the side's number of steps."""
    if condition is None or side.step is None:
        return condition
    place = condition.checkpoint_steps.index(side.step)
    return replace(condition, label=side.label, arrays=_AtCheckpoint(condition.arrays, place))


class _AtCheckpoint(Mapping[str, np.ndarray]):
    """The arrays [repeats, checkpoints, ...] of a condition at one checkpoint."""

    def __init__(self, arrays: Mapping[str, np.ndarray], place: int) -> None:
        self._arrays, self._place = arrays, place

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._arrays[name]
        return array if axes.is_shared(name) else array[:, self._place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class _Steered(Mapping[str, np.ndarray]):
    """The states of the anchor at the last token, steered; the rest is the tuned condition's."""

    def __init__(self, anchor: Arrays, tuned: Arrays, answers: np.ndarray) -> None:
        self._anchor, self._tuned, self._answers = anchor, tuned, answers
        self._kept: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self:
            raise KeyError(name)
        if name.startswith(States(self._tuned).key("last.")):
            if name in self._kept:
                return self._kept[name]
            moved = answer_out.steered(self._anchor[name], self._tuned[name], self._answers)
            if moved.nbytes <= KEPT_BYTES:
                self._kept[name] = moved
            return moved
        return self._tuned[name]

    def __iter__(self) -> Iterator[str]:
        hidden, behavior = States(self._tuned), Answers(self._tuned)
        kept = [hidden.key(name) for name in hidden if name.startswith(("last.", "readout"))]
        kept += [behavior.key(name) for name in ("loglik", "gold") if name in behavior]
        return iter(kept)

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
