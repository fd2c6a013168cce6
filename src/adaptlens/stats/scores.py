"""What one condition scored: the table that every interval and test starts from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

from adaptlens.errors import UserError
from adaptlens.types import NO_DRAWS

Family = Literal["prompt", "tune", "none"]


@dataclass(frozen=True, eq=False)
class Scores:
    """What one condition scored, query by query, once for every draw and every template.

    Attributes:
        values: each between 0 and 1 (chrF: divided by 100); by template, too, where `templates`
            are named.
        draws: the draw behind each row; `NO_DRAWS` where the adaptation draws nothing.
        family: "prompt" or "tune"; "none" for the unadapted model and for baselines.
        validation: scores on the validation split, on which arms are chosen.
        templates: names of the templates it was read under; empty where it has one way of asking.
        cost: of one query, in any unit that all conditions share; ties go to the cheaper.
        floor: what a draw that fails scores (chance). 0, the most cautious, where it is not known.
        groups: which cluster each query belongs to (a passage, a user); None where
            queries are independent.
        examples: how many training examples a draw has.
        pool: how many training examples draws are taken from; None for a pool without end.
    """

    values: Float[np.ndarray, "*templates repeats queries"]
    draws: tuple[int, ...] = NO_DRAWS
    family: Family = "none"
    validation: Float[np.ndarray, "repeats validation_queries"] | None = None
    templates: tuple[str, ...] = ()
    cost: float = 0.0
    floor: float = 0.0
    groups: Shaped[np.ndarray, " queries"] | None = None
    examples: int = 0
    pool: int | None = None

    def __post_init__(self) -> None:
        """Check shapes and range.

        Raises:
            UserError: scores that are missing, outside 0 to 1, or not one row a draw; names that
                repeat; more examples than the pool has.
        """
        of_templates = (len(self.templates),) if self.templates else ()
        for split, array, outer in (
            ("test", self.values, of_templates),
            ("validation", self.validation, ()),
        ):
            if array is None:
                continue
            wanted = (*outer, len(self.draws))
            if array.ndim != len(wanted) + 1 or array.shape[:-1] != wanted or array.shape[-1] < 2:
                named = f"{len(self.templates)} templates and " if outer else ""
                axes = "[templates, draws, queries]" if outer else "[draws, queries]"
                raise UserError(
                    f"{split} scores of shape {list(array.shape)} were given for {named}"
                    f"{len(self.draws)} draws; expected {axes} with at least 2 queries."
                )
            if not np.all((array >= 0) & (array <= 1)):
                raise UserError(
                    f"{split} scores between {np.min(array)} and {np.max(array)} were given; "
                    "expected fractions from 0 to 1 without gaps (divide chrF by 100)."
                )
        for what, names in (("draw", self.draws), ("template", self.templates)):
            if len(set(names)) != len(names):
                raise UserError(f"the {what}s {list(names)} repeat; give each {what} once.")
        if self.groups is not None and np.shape(self.groups) != self.values.shape[-1:]:
            raise UserError(
                f"groups of shape {list(np.shape(self.groups))} were given for "
                f"{self.queries} queries; expected one group a query."
            )
        if not 0 <= self.examples <= (self.examples if self.pool is None else self.pool):
            raise UserError(
                f"draws of {self.examples} examples were given from a pool of {self.pool}; "
                "expected no more than the pool has."
            )

    @property
    def is_drawn(self) -> bool:
        """Whether another draw would have given other scores."""
        return self.draws != NO_DRAWS

    @property
    def queries(self) -> int:
        """The number of queries."""
        return self.values.shape[-1]

    @property
    def pool_share(self) -> float:
        """The share of the training file that is in one draw; 0 for a pool without end."""
        return self.examples / self.pool if self.pool and self.is_drawn else 0.0

    @property
    def table(self) -> Float[np.ndarray, "templates repeats queries"]:
        """The values, one template where none is named.

        Draws and templates are in order of their names, so that no result depends on the order in
        which they were read.
        """
        table = self.values[np.argsort(self.templates)] if self.templates else self.values[None]
        return table[:, np.argsort(self.draws)]

    @property
    def by_draw(self) -> Float[np.ndarray, " repeats"]:
        """The mean of every draw, over templates and queries, in order of the draws."""
        return self.table.mean((0, 2))
