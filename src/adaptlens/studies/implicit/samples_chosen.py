"""How many samples validation chooses, on other draws than it is judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adaptlens.stats.hypotheses import MINIMUM_DRAWS
from adaptlens.stats.layerwise import Mean
from adaptlens.studies.implicit.samples_needed import Answered, in_common

TIE = 1e-12
"""Means of shares that differ by rounding alone are equal."""

Samples = int | Mapping[int, int]
"""One number of samples for all draws, or each draw's own."""


@dataclass(frozen=True)
class Chosen:
    """The number of samples of a way of adapting that did best on validation items.

    Attributes:
        overall: by all draws together, which is what is shown.
        by_draw: for each draw, what the other half of the draws chose. Validation and test items of
            a draw share its luck, so that a number chosen by a draw looks better on it than it is.
    """

    overall: int
    by_draw: Mapping[int, int]

    @property
    def views(self) -> tuple[Samples, ...]:
        """Cross-fitted first, then the overall choice; one where the two are the same."""
        if set(self.by_draw.values()) <= {self.overall}:
            return (self.overall,)
        return (self.by_draw, self.overall)


def chosen(validated: Mapping[int, Answered]) -> Chosen | None:
    """Return the number of samples with the best mean, overall and cross-fitted over draws.

    The halves are every second of the draws that all numbers have, in order. Ties go to the overall
    choice, then to the fewest samples; nothing depends on the order of anything given. Fewer than
    5 draws, which decide nothing, are not halved.

    Args:
        validated: number of samples -> right answers on the validation items.
    """
    if not validated:
        return None
    sizes = sorted(validated)
    common = in_common([validated[size] for size in sizes])
    draws = sorted(common[0].draws)
    if not draws:
        means = np.array([validated[size].values.mean() for size in sizes])
        return Chosen(sizes[int(_best(means)[0])], {})
    scores = np.array(
        [[one.values[one.draws.index(draw)].mean() for draw in draws] for one in common]
    )
    overall = int(_best(scores.mean(1))[0])
    places = np.arange(len(draws))
    by_draw = dict.fromkeys(draws, sizes[overall])
    for judging in (0, 1) if len(draws) >= MINIMUM_DRAWS else ():
        best = _best(scores[:, places % 2 != judging].mean(1))
        choice = sizes[overall if overall in best else int(best[0])]
        by_draw |= {draws[place]: choice for place in places[places % 2 == judging]}
    return Chosen(sizes[overall], by_draw)


def _best(means: np.ndarray) -> np.ndarray:
    """Return the places of the largest mean, all of them."""
    return np.flatnonzero(means >= means.max() - TIE)


def assembled(found: Mapping[int, Answered], by_draw: Mapping[int, int]) -> Answered | None:
    """Return the answers of every draw with its own number of samples; None where one is missing.

    Args:
        found: number of samples -> right answers.
        by_draw: draw -> number of samples. Draws that were not read with theirs are left out.
    """
    if not set(by_draw.values()) <= set(found):
        return None
    kept = [draw for draw in sorted(by_draw) if draw in found[by_draw[draw]].draws]
    rows = [found[by_draw[draw]].values[found[by_draw[draw]].draws.index(draw)] for draw in kept]
    (floor, *_) = (found[by_draw[draw]].floor for draw in kept) if kept else (None,)
    return Answered(np.array(rows), tuple(kept), floor=floor) if rows else None


def over_views(means: Sequence[Mean]) -> Mean:
    """Return the first mean with what holds for all of them.

    The interval covers theirs, p is the largest, 1 where they differ in sign; the standard error
    is the largest, too.
    Where both halves of the draws choose alike they have judged the choice they made; requiring
    both views holds the chance of a false claim (docs/methods.md, section 17).
    """
    first = means[0]
    return replace(
        first,
        low=min(one.low for one in means),
        high=max(one.high for one in means),
        p=max(one.p for one in means) if len({one.value > 0 for one in means}) == 1 else 1.0,
        stderr=max(one.stderr for one in means),
        df=min(one.df for one in means),
    )
