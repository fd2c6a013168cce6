"""Templates as a third random factor, crossed with queries and draws.

Averaging a table over its templates leaves a table of queries x draws whose effects already hold
what templates do to single queries and single draws. What the average hides is the effect that a
template has on all of them: this module finds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class TemplateEffects:
    """What one set of templates does to the mean of all queries and draws.

    Attributes:
        effects: of mean 0, and of the size that the variance component has: the mean
            square between templates less what queries and draws bring into it.
        squares: every mean square divided by its number of cells, with its degrees of freedom;
            for Satterthwaite's approximation.
    """

    effects: Float[np.ndarray, " templates"]
    squares: tuple[tuple[float, int], ...]

    @property
    def variance(self) -> float:
        """What the choice of the templates adds to the variance of the mean."""
        many = len(self.effects)
        return float(np.square(self.effects).sum()) / (many * (many - 1))

    @property
    def spread(self) -> float:
        """The sum of squared mean squares over their degrees of freedom."""
        return sum(square**2 / df for square, df in self.squares)

    def flipped(
        self, signs: Float[np.ndarray, "flips templates"]
    ) -> tuple[Float[np.ndarray, " flips"], Float[np.ndarray, " flips"]]:
        """Return mean and variance of the effects under signs."""
        many = len(self.effects)
        mean = signs @ self.effects / many
        squared = float(np.square(self.effects).sum())
        return mean, (squared - many * mean**2) / (many * (many - 1))


def template_effects(
    tables: Sequence[Float[np.ndarray, "templates _repeats queries"]],
) -> TemplateEffects:
    """Return the effects of templates that several tables have in common.

    The mean is the sum of the means of the tables, which share templates and queries and have
    their own draws.

    Args:
        tables: each with at least 2 templates.

    Source: Cornfield and Tukey 1956; no component counts as negative.
    """
    by_template = np.sum([table.mean((1, 2)) for table in tables], axis=0)
    by_query = np.sum([table.mean(1) for table in tables], axis=0)
    many, queries = by_query.shape
    of_templates = float(by_template.var(ddof=1)) / many
    of_queries = _left(by_query) / ((many - 1) * (queries - 1) * by_query.size)
    squares = [(of_templates, many - 1), (of_queries, (many - 1) * (queries - 1))]
    within, of_draws = 0.0, 0.0
    for table in (table for table in tables if table.shape[1] > 1):
        df = (many - 1) * (table.shape[1] - 1)
        draws = _left(table.mean(2)) / (df * table[..., 0].size)
        rest = _left(table) / (df * (queries - 1) * table.size)
        squares += [(draws, df), (rest, df * (queries - 1))]
        within += rest
        of_draws += max(0.0, draws - rest)
    component = max(0.0, of_templates - max(of_queries, within) - of_draws)
    share = component / of_templates if of_templates > 0 else 0.0
    effects = (by_template - by_template.mean()) * np.sqrt(share)
    return TemplateEffects(effects, tuple(squares))


def _left(table: np.ndarray) -> float:
    """Return the sum of squares of the interaction of all axes."""
    for axis in range(table.ndim):
        table = table - table.mean(axis, keepdims=True)
    return float(np.square(table).sum())
