"""From the scores of one condition, or of two, to the tables that `Crossed` judges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from adaptlens.errors import UserError
from adaptlens.stats.clusters import by_cluster, effective_clusters
from adaptlens.stats.crossed import Crossed
from adaptlens.stats.scores import Scores
from adaptlens.stats.template_effects import template_effects
from adaptlens.stats.training_pool import for_new_files


@dataclass(frozen=True, eq=False)
class Tables:
    """Tables whose means add up to the mean that is judged.

    Attributes:
        blocks: each with draws of its own, a mean over templates. Queries are clusters of queries
            where those count.
        templates: for every set of templates its tables.
        drawn: whether other draws would have given other numbers.
        effective: how many queries, or clusters of one size, there are.
    """

    blocks: tuple[Float[np.ndarray, "_repeats queries"], ...]
    templates: tuple[tuple[Float[np.ndarray, "_templates _repeats queries"], ...], ...]
    drawn: bool
    effective: float

    def crossed(self, *, seed: int, flips: int, center: bool = False) -> Crossed:
        """Return the error of the mean, and its sign flips."""
        effects = [template_effects(tables) for tables in self.templates]
        return Crossed(
            self.blocks,
            self.drawn,
            seed=seed,
            flips=flips,
            center=center,
            templates=effects,
            effective=self.effective,
        )


def tables_of(scores: Scores) -> Tables:
    """Return the tables of one condition's mean."""
    return _tables([[scores]], [[scores.table]])


def tables_between(left: Scores, right: Scores) -> Tables:
    """Return the tables of left less right, on the same queries.

    Draws, and templates, are paired where both sides have the same ones (in any order), and
    independent otherwise; a side that has none is compared with every one of the other.

    Raises:
        UserError: the sides group their queries differently.
    """
    sides = [left.table, -right.table]
    if left.is_drawn and right.is_drawn and set(left.draws) != set(right.draws):
        return _tables([[left], [right]], [[side] for side in sides])
    return _tables([[left, right]], [sides])


def tables_from(table: Float[np.ndarray, "templates repeats queries"], of: Scores) -> Tables:
    """Return the tables of a mean of numbers that were made of one condition's scores.

    What templates do is read from means over draws, so that the variance is that between draws plus
    that between templates: what a draw does under one template counts in both.
    """
    whole = _tables([[of]], [[table]])
    by_template = _clustered(table.mean(1, keepdims=True), of.groups)
    return replace(whole, templates=((by_template,),))


def _tables(of: Sequence[Sequence[Scores]], sides: Sequence[Sequence[np.ndarray]]) -> Tables:
    """Return one block for every list of sides, whose draws are the same."""
    everyone = [scores for members in of for scores in members]
    groups = _groups(everyone)
    blocks = []
    by_names: dict[frozenset[str], list[np.ndarray]] = {}
    for members, tables in zip(of, sides, strict=True):
        block = _clustered(
            np.sum(np.broadcast_arrays(*[t.mean(0) for t in tables]), axis=0), groups
        )
        blocks.append(for_new_files(block, max(scores.pool_share for scores in members)))
        alike: dict[frozenset[str], np.ndarray] = {}
        for scores, table in zip(members, tables, strict=True):
            if len(scores.templates) > 1:
                names = frozenset(scores.templates)
                alike[names] = alike[names] + table if names in alike else table
        for names, table in alike.items():
            by_names.setdefault(names, []).append(_clustered(table, groups))
    return Tables(
        tuple(blocks),
        tuple(tuple(tables) for tables in by_names.values()),
        any(scores.is_drawn for scores in everyone),
        float(blocks[0].shape[1]) if groups is None else effective_clusters(groups),
    )


def _clustered(table: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    return table if groups is None else by_cluster(table, groups)


def _groups(everyone: Sequence[Scores]) -> np.ndarray | None:
    given = [scores.groups for scores in everyone if scores.groups is not None]
    if any(not np.array_equal(given[0], groups) for groups in given[1:]):
        raise UserError(
            "two conditions put the same queries into different groups; give both the same groups."
        )
    return given[0] if given else None
