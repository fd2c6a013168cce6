"""Which arm stands for a side: chosen on the validation split, and again on other draws."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptlens.stats.intervals import MINIMUM_DRAWS
from adaptlens.stats.scores import Scores

Order = tuple[float, int, str]


@dataclass(frozen=True, eq=False)
class Choice:
    """The arm that a side is judged by.

    Attributes:
        label: of the arm.
        scores: its own.
        crossed: each half of the draws with the arm that the other half would have chosen; None
            where both halves choose this one.
    """

    label: str
    scores: Scores
    crossed: Scores | None = None

    @property
    def of_procedure(self) -> Scores:
        """What the procedure of choosing scores, each half of the draws judging the other's."""
        return self.scores if self.crossed is None else self.crossed


def cheaper(arms: Mapping[str, Scores], label: str) -> Order:
    """Return what ties are resolved by: the cost of a query, the examples needed, the name."""
    return arms[label].cost, arms[label].examples, label


def can_choose(arms: Mapping[str, Scores]) -> bool:
    """Return whether all arms of a side were read on one validation split; one arm needs none."""
    sizes = {None if s.validation is None else s.validation.shape[1] for s in arms.values()}
    return len(arms) == 1 or (len(sizes) == 1 and None not in sizes)


def choose(arms: Mapping[str, Scores], draws: Sequence[int], margin: float) -> Choice:
    """Return the arm with the best validation score, and what halves of the draws would choose.

    Arms that are behind it by no more than `margin`, and no more than one standard error of the
    paired difference, are as good: the cheapest of them is chosen. Half of the draws that cannot
    tell, by the same rule, keeps to this arm. That brings some of the luck of the other half back,
    but no more than the margin at a time; without it, arms that tie in a half would be judged by
    the cheaper one, however it does in the other. Nothing depends on the order of `arms`.

    Args:
        arms: of one side; see `can_choose`.
        draws: that all drawn arms have; halves are every other one of them.
        margin: the smallest difference that matters, a fraction of 1.

    Source: the one-standard-error rule of Breiman et al. 1984, Classification and Regression
    Trees, section 3.4.3.
    """
    if len(arms) == 1:
        ((label, scores),) = arms.items()
        return Choice(label, scores)
    draws = sorted(draws)
    alike = _as_good(arms, draws, margin)
    label = min(alike, key=lambda one: cheaper(arms, one))
    if len(draws) < MINIMUM_DRAWS:
        return Choice(label, arms[label])
    halves = (draws[0::2], draws[1::2])
    chosen = []
    for half in halves:
        good = _as_good(arms, half, margin)
        chosen.append(label if label in good else min(good, key=lambda one: cheaper(arms, one)))
    if chosen == [label, label]:
        return Choice(label, arms[label])
    judged = [(draw, other) for half, other in zip(halves, reversed(chosen), strict=True)
              for draw in half]  # fmt: skip
    return Choice(label, arms[label], _crossed(arms, judged, arms[label]))


def _as_good(arms: Mapping[str, Scores], draws: Sequence[int], margin: float) -> list[str]:
    """Return the arms whose validation scores cannot be told from the best one's."""
    held_out = {label: _validation(scores, draws) for label, scores in arms.items()}
    best = min(arms, key=lambda label: (-round(held_out[label].mean(), 12), cheaper(arms, label)))
    good = []
    for label, values in held_out.items():
        behind = held_out[best] - values
        error = float(behind.std(ddof=1)) / len(behind) ** 0.5
        if behind.mean() <= min(error, margin) + 1e-12:
            good.append(label)
    return good


def _validation(scores: Scores, draws: Iterable[int]) -> np.ndarray:
    """Return the mean over these draws of every validation query [queries]."""
    assert scores.validation is not None
    if not scores.is_drawn:
        return scores.validation[0]
    return scores.validation[[scores.draws.index(draw) for draw in draws]].mean(0)


def _crossed(arms: Mapping[str, Scores], judged: Sequence[tuple[int, str]], like: Scores) -> Scores:
    """Return each draw's scores by the arm given with it.

    Arms read under different templates have no templates in common, and stand for their means.
    """
    used = [arms[label] for _, label in judged]
    names = {frozenset(scores.templates) for scores in used}
    shared = tuple(sorted(next(iter(names)))) if len(names) == 1 else ()
    rows = []
    for draw, label in judged:
        table, scores = arms[label].table, arms[label]
        row = table[:, sorted(scores.draws).index(draw) if scores.is_drawn else 0]
        rows.append(row if shared else row.mean(0, keepdims=True))
    values = np.stack(rows, axis=1)
    largest = max(used, key=lambda scores: scores.pool_share)
    return replace(
        like,
        values=values if shared else values[0],
        draws=tuple(draw for draw, _ in judged),
        validation=None,
        templates=shared,
        floor=min(scores.floor for scores in used),
        examples=largest.examples,
        pool=largest.pool,
    )
