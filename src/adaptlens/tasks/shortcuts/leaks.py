"""What the items of a task with a shortcut give away: solvers, guesses, and words alone."""

import re
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from adaptlens.errors import UserError, unknown
from adaptlens.tasks.shortcuts.makers import DIFFICULTIES, KINDS, Item, drawn
from adaptlens.tasks.shortcuts.solvers import solved

_WORD = re.compile(r"[A-Za-z]+|\d|[^\sA-Za-z\d]")
_PENALTY = 10.0
_MOST_WORDS = 2000


def check(
    num_items: int = 10_000, difficulty: str = "small", seed: int = 0
) -> list[dict[str, Any]]:
    """Return one row per family and kind: are the labels right, and what gives them away?

    Keys: task, kind, items; wrong, the items whose label an independent solver contradicts;
    shortcut, the share that the shortcut answers rightly; constant, the share of the commonest
    answer; mention, what the best single word ("if it occurs, then this answer, else that one")
    reaches on other items; words, what a linear classifier on counts of words, digits and signs
    reaches on other items. The last two learn from one half of the items and are read on the other.

    Raises:
        UserError: unknown difficulty, or fewer than 4 items.
    """
    if difficulty not in DIFFICULTIES:
        raise unknown("difficulty", difficulty, DIFFICULTIES)
    if num_items < 4:
        raise UserError(
            f"{num_items} items were asked for; a check needs at least 4; ask for more."
        )
    rows = []
    for family, maker in DIFFICULTIES[difficulty].items():
        for kind in KINDS:
            rng = Random(f"check {family} {kind} {seed}")
            answers = maker.answers()
            items = [drawn(maker, rng, kind, answers[i % len(answers)]) for i in range(num_items)]
            rng.shuffle(items)
            common = Counter(item.answer for item in items).most_common(1)[0][1]
            rows.append(
                {
                    "task": family,
                    "kind": kind,
                    "items": num_items,
                    "wrong": sum(solved(family, item.text) != item.answer for item in items),
                    "shortcut": sum(i.shortcut == i.answer for i in items) / num_items,
                    "constant": common / num_items,
                    **_guessed(items),
                }
            )
    return rows


def _guessed(items: Sequence[Item]) -> dict[str, float]:
    """Return what words alone tell of the answers of the second half, learnt from the first."""
    half = len(items) // 2
    counts, labels = _counts(items, half)
    learn, read = slice(0, half), slice(half, None)
    targets = np.eye(labels.max() + 1)[labels]
    return {
        "mention": float((_stump(counts[learn] > 0, targets[learn], counts[read] > 0)
                          == labels[read]).mean()),
        "words": float((_ridge(counts[learn], targets[learn], counts[read])
                        == labels[read]).mean()),
    }  # fmt: skip


def _counts(items: Sequence[Item], half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return counts [items, words] of words, and answers as numbers."""
    read = []
    for item in items:
        words = _WORD.findall(item.text)
        read.append(Counter(words))
    seen = Counter(word for each in read[:half] for word in each)
    place = {word: i for i, (word, _) in enumerate(seen.most_common(_MOST_WORDS))}
    counts = np.zeros((len(items), len(place)))
    for row, each in enumerate(read):
        for word, count in each.items():
            if word in place:
                counts[row, place[word]] = count
    names = sorted({item.answer for item in items})
    return counts, np.array([names.index(item.answer) for item in items])


def _stump(has: np.ndarray, targets: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Return the answers of the best rule "if this word occurs, one answer, else another"."""
    with_word = has.T.astype(float) @ targets
    without = targets.sum(0) - with_word
    best = int((with_word.max(1) + without.max(1)).argmax())
    return np.where(read[:, best], with_word[best].argmax(), without[best].argmax())


def _ridge(counts: np.ndarray, targets: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Return the answers of a linear classifier, least squares with a penalty."""
    mean, scale = counts.mean(0), counts.std(0) + 1e-9
    x, y = (counts - mean) / scale, targets - targets.mean(0)
    weights = np.linalg.solve(x.T @ x + _PENALTY * np.eye(x.shape[1]), x.T @ y)
    return ((read - mean) / scale @ weights + targets.mean(0)).argmax(1)
