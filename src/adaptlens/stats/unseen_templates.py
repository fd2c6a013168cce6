"""What tuned models score under templates that they were not tuned on, against those they were on.

Each draw is tuned on some of the templates and read under all. Under one template, draws that were
tuned on it stand beside draws that were not, so that a template that is harder for all cancels; so
does a draw that is worse under all templates.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from adaptlens.stats.difference_tests import DifferenceTest
from adaptlens.stats.intervals import FLIPS, Difference, too_few
from adaptlens.stats.paired import tables_from
from adaptlens.stats.scores import Scores
from adaptlens.stats.unseen_draws import UnseenDraws

LEAST_DRAWS = 3
"""With fewer draws nothing is left to tell the error by once templates and draws are taken out."""

LEAST_TEMPLATES = 3
"""Fewer support no claim: how much the loss differs between templates is not known."""


def unseen_less_seen(
    scores: Scores,
    seen: Bool[np.ndarray, "templates repeats"],
    *,
    name: str = "tuned",
    margin: float = 0.02,
    level: float = 0.95,
    seed: int = 0,
    flips: int = FLIPS,
) -> Difference | None:
    """Return how far scores under templates not tuned on lie above those under the others.

    The least-squares effect of "not tuned on" beside effects of templates, of draws, and of both
    for every query, from tables of contributions (`contributions`), whose error is that of
    `stats.crossed`. Draws that were not made and fail are alike under all templates: they make the
    effect smaller, never one of the other sign, so nothing is added for them.

    Args:
        scores: of a tuned condition under its templates.
        seen: whether a draw was tuned on a template, in the order that `scores` has them.
        name: of the condition; both sides are called so.
        margin: the smallest difference that matters, a fraction of 1.
        level: of the interval.
        seed: of the random sign flips.
        flips: how many of them.

    Returns:
        The difference, `left` not tuned on, `right` tuned on; None where all draws were tuned on
        the same templates, or there are fewer than `LEAST_DRAWS`.
    """
    unseen = ~np.asarray(seen)[np.argsort(scores.templates)][:, np.argsort(scores.draws)]
    if len(scores.draws) < LEAST_DRAWS or not _interaction(unseen.astype(float)).any():
        return None
    table = contributions(scores.table, unseen.astype(float))
    found = tables_from(table, scores).crossed(seed=seed, flips=flips)
    binary = bool(np.all((scores.values == 0) | (scores.values == 1)))
    none = UnseenDraws()
    tested = DifferenceTest(found, none, none, margin, 1 - level, binary, scores.queries)
    low, high = tested.interval()
    short = list(too_few(scores))
    if len(scores.templates) < LEAST_TEMPLATES:
        short.append(
            f"{len(scores.templates)} templates support no claim about templates that were not "
            f"tuned on; at least {LEAST_TEMPLATES} do"
        )
    return Difference(
        name,
        name,
        difference=found.mean,
        low=low,
        high=high,
        level=level,
        p=tested.p,
        p_holm=tested.p,
        equivalence_p=tested.equivalence_p,
        margin=margin,
        # The least variance that a difference of right-or-wrong scores brings is one draw's.
        detectable=replace(tested, binary=False).detectable,
        queries=scores.queries,
        draws=len(scores.draws),
        test="sign-flip permutation over queries, draws and templates, studentized, with "
        "Satterthwaite's t",
        supports_claims=not short,
        warnings=tuple(short),
        templates=len(scores.templates),
    )


def contributions(
    table: Float[np.ndarray, "templates repeats queries"],
    unseen: Float[np.ndarray, "templates repeats"],
) -> Float[np.ndarray, "templates repeats queries"]:
    """Return numbers whose mean is the least-squares effect of `unseen`.

    With r and s what is left of `table` (query by query) and of `unseen` once the means of
    templates and of draws are taken out, the effect is b, the sum of s r over that of s s, and a
    number is b + n s (r - b s) / (sum of s s), n the number of cells: how much it moves b.

    Taking means out makes what is left too alike. Over R draws, the variance of the mean would be
    (R - 2) / (R - 1) of what it is for independent errors, and about ((R - 1) / R) ** 2 of it where
    draws differ in the effect. Deviations from the mean over draws are stretched by
    (R - 1) / (R - 2), which makes up for either; those between templates likewise.

    Source: Bell and McCaffrey 2002; MacKinnon, Nielsen and Webb 2023, who find the larger of such
    corrections (CR3) the one to trust with few clusters.
    """
    left, apart = _interaction(table), _interaction(unseen)[..., None]
    size = float(np.square(apart).sum())
    effect = (left * apart).sum((0, 1)) / size
    found = effect + (left - effect * apart) * apart * (apart.size / size)
    for axis in (0, 1):
        if (many := table.shape[axis]) > 2:
            stretch = (many - 1) / (many - 2)
            mean = found.mean(axis, keepdims=True)
            found = mean + stretch * (found - mean)
    return found


def _interaction(table: np.ndarray) -> np.ndarray:
    """Return what the means of templates and of draws, the first two axes, leave."""
    table = table - table.mean(0, keepdims=True)
    return table - table.mean(1, keepdims=True)
