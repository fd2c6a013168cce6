"""Which training examples are shown: draws, balanced or not, and retrieval.

A draw is a seeded permutation of the training split. The first k of it are the demonstrations of
ICL at k shots *and* the training examples of tuning at size k, so that methods are compared on the
same examples, and draws at different sizes are nested.
"""

from collections.abc import Callable, Sequence

import numpy as np

from adaptlens.errors import UserError, unknown
from adaptlens.types import Example, Task

DRAWN = ("random", "balanced")
RETRIEVED = ("similar", "embedding")
SELECTIONS = (*DRAWN, *RETRIEVED)

Similarity = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""(queries, texts) -> scores [queries, texts]; the higher, the more alike."""


def demonstrations(
    task: Task, draw: int, size: int, *, selection: str = "random", seed: int = 0
) -> tuple[Example, ...]:
    """Return the first `size` training examples of a draw.

    Args:
        task: where the training split comes from.
        draw: number of the draw; the same (seed, draw) always gives the same order.
        size: how many examples.
        selection: "random", or "balanced" (the targets take turns, in an order drawn per draw).
        seed: study-wide seed.

    Raises:
        UserError: if the training split is smaller than `size`, or the selection is unknown.
    """
    _check_size(task, size)
    generator = np.random.default_rng([seed, draw])
    order = [task.train[i] for i in generator.permutation(len(task.train))]
    if selection == "random":
        return tuple(order[:size])
    if selection == "balanced":
        targets = sorted({example.target for example in order})
        turns = [targets[i] for i in generator.permutation(len(targets))]
        return tuple(take_turns(order, turns)[:size])
    raise unknown("selection", selection, DRAWN)


def _check_size(task: Task, size: int) -> None:
    if size > len(task.train):
        raise UserError(
            f"{size} demonstrations were asked for, but the training split of task '{task.name}' "
            f"has {len(task.train)} examples; ask for at most {len(task.train)} or give more data."
        )


def take_turns(order: Sequence[Example], turns: Sequence[str] = ()) -> list[Example]:
    """Return the examples so that each target's n-th example precedes any target's n+1-th.

    Targets follow each other as `turns` says, or as they first come.
    """
    by_target: dict[str, list[Example]] = {}
    for example in order:
        by_target.setdefault(example.target, []).append(example)
    targets = turns or list(by_target)
    longest = max(map(len, by_target.values()), default=0)
    return [by_target[t][n] for n in range(longest) for t in targets if n < len(by_target[t])]


def nearest(
    task: Task, queries: Sequence[Example], size: int, similarity: Similarity
) -> dict[str, tuple[Example, ...]]:
    """Return by query id the `size` training examples most like it, most similar last.

    Ties keep training order. Source: retrieval of demonstrations as in Liu et al. 2022
    (arXiv 2101.06804, KATE), with any measure of similarity.

    Raises:
        UserError: if the training split is smaller than `size`.
    """
    _check_size(task, size)
    scores = similarity([q.input for q in queries], [e.input for e in task.train])
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :size]
    return {
        query.id: tuple(task.train[i] for i in best[::-1])
        for query, best in zip(queries, ranked, strict=True)
    }


def bm25(queries: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Return the BM25 score of every text for every query, [queries, texts].

    Source: Robertson and Zaragoza 2009, as the package bm25s computes it (Lucene's variant, no stop
    words).
    """
    import bm25s

    index = bm25s.BM25()
    index.index(
        bm25s.tokenize(list(texts), stopwords=None, show_progress=False), show_progress=False
    )
    words = bm25s.tokenize(list(queries), stopwords=None, show_progress=False, return_ids=False)
    scores = np.zeros((len(queries), len(texts)))
    for row, found in zip(scores, words, strict=True):
        if known := [word for word in found if word in index.vocab_dict]:
            row[:] = index.get_scores(known)
    return scores
