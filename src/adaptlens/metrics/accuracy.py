"""What stored behavior says about a condition: pure functions over arrays, no model needed.

Choice tasks hand in `loglik`, the summed log-likelihood of every choice, NaN where a query has
fewer choices. Formulas and sources: docs/methods.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from adaptlens.errors import UserError

ByChoice = Float[np.ndarray, "repeats queries choices"]
ByQuery = Float[np.ndarray, "repeats queries"]
Gold = Int[np.ndarray, " queries"]
Arrays = Mapping[str, Shaped[np.ndarray, "..."]]

Rule = Literal["raw", "bytes", "tokens", "corrected", "calibrated", "written"]
RULES: tuple[Rule, ...] = ("raw", "bytes", "tokens", "corrected", "calibrated")
"""The rules by which scored answers are chosen; "written" is for choices that a model writes."""

CALIBRATION_BINS = 10
CALIBRATED_MODELS = 499

ROUNDING = 1e-9
"""Costs of a query that differ by a smaller share are equal."""


def choice_scores(arrays: Arrays, rule: Rule = "raw") -> ByChoice:
    """Return the score whose largest entry is the prediction.

    raw: the log-likelihood; bytes, tokens: divided by the answer's length; corrected: less the
    log-likelihood of the same answer after a content-free query, which takes out how likely the
    model finds an answer whatever is asked; calibrated: less the log of the answer's mean
    probability over the queries, which takes out how often the model would give it to such
    queries. No rule sees a label.

    Source: Gao et al. (lm-evaluation-harness) for raw and bytes (its `acc` and `acc_bytes`);
    Holtzman et al. 2021 (domain-conditional PMI) and Zhao et al. 2021 (content-free queries);
    Zhou et al. 2024 (batch calibration, arXiv 2309.17249), with probabilities normalized over the
    choices and the queries of a split, of one repeat, as the batch.

    Raises:
        UserError: "calibrated" for queries that have different numbers of choices, so that a
            choice has no mean.
    """
    loglik = arrays["loglik"]
    if rule == "bytes":
        return loglik / np.maximum(arrays["answer_bytes"], 1)
    if rule == "tokens":
        return loglik / np.maximum(arrays["answer_tokens"], 1)
    if rule == "corrected":
        return loglik - arrays["prior_loglik"]
    if rule == "calibrated":
        return _batch_calibrated(loglik)
    return loglik


def _batch_calibrated(loglik: np.ndarray) -> np.ndarray:
    if np.isnan(loglik).any():
        raise UserError(
            "queries with different numbers of choices were given to the scoring rule "
            "'calibrated', which needs choices that all queries share; use raw, bytes, tokens or "
            "corrected."
        )
    # In logs throughout: a choice that is never likely must not come to have a prior of 0.
    shares = loglik - np.logaddexp.reduce(loglik, axis=-1, keepdims=True)
    prior = np.logaddexp.reduce(shares, axis=-2, keepdims=True) - math.log(loglik.shape[-2])
    return loglik - prior


def predictions(arrays: Arrays, rule: Rule = "raw") -> Int[np.ndarray, "repeats queries"]:
    """Return the index of the chosen answer; a tie goes to the first.

    Where answers are not scored but written (`chosen`), -1 for a text that names none.
    """
    if "chosen" in arrays:
        return arrays["chosen"]
    scores = choice_scores(arrays, rule)
    return np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=-1)


def correct(arrays: Arrays, rule: Rule = "raw") -> ByQuery:
    """Return 1.0 where the chosen answer is the gold one, else 0.0."""
    return (predictions(arrays, rule) == arrays["gold"]).astype(float)


def margins(arrays: Arrays, rule: Rule = "raw") -> ByQuery:
    """Return gold score less the best other score; positive is correct."""
    scores = choice_scores(arrays, rule)
    is_gold = np.arange(scores.shape[-1]) == arrays["gold"][:, None]
    others = np.where(is_gold | np.isnan(scores), -np.inf, scores).max(axis=-1)
    return _gold(scores, arrays["gold"]) - others


def probabilities(loglik: ByChoice) -> ByChoice:
    """Return the softmax over each query's choices; 0 where there is no such choice."""
    shifted = loglik - np.nanmax(loglik, axis=-1, keepdims=True)
    weights = np.where(np.isnan(loglik), 0.0, np.exp(shifted))
    return weights / weights.sum(axis=-1, keepdims=True)


def brier(loglik: ByChoice, gold: Gold) -> ByQuery:
    """Return the squared distance of the probabilities from the truth.

    Summed over choices: 0 is certain and right, 2 certain and wrong. Source: Brier 1950, eq. 2.
    """
    shares = probabilities(loglik)
    truth = np.arange(shares.shape[-1]) == gold[:, None]
    return np.square(shares - truth).sum(axis=-1)


def quadratic(arrays: Arrays, rule: Rule = "raw") -> ByQuery:
    """Return 1 less half the Brier score, of the probabilities that a rule states.

    Those of "corrected" and "calibrated" are their scores, normalized over the choices. Scores by
    length are on the scale of one byte or token and state none: for "bytes" and "tokens" it is the
    log-likelihood that is normalized, as for "raw".

    Source: Brier 1950; the quadratic scoring rule, which is largest for what one believes.
    """
    states = rule in ("corrected", "calibrated")
    return 1 - brier(choice_scores(arrays, rule if states else "raw"), arrays["gold"]) / 2


def answer_loglik(loglik: ByChoice, gold: Gold) -> ByQuery:
    """Return the log-likelihood of the gold answer, in nats, over all tokens.

    Not normalized over the choices: it also says whether the model would give any of them.
    """
    return _gold(loglik, gold)


def choice_loglik(loglik: ByChoice, gold: Gold) -> ByQuery:
    """Return the log-probability of the gold answer among the choices."""
    best = np.nanmax(loglik, axis=-1)
    total = best + np.log(np.nansum(np.exp(loglik - best[..., None]), axis=-1))
    return _gold(loglik, gold) - total


def _gold(scores: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return np.take_along_axis(scores, gold[None, :, None], axis=-1)[..., 0]


@dataclass(frozen=True)
class Calibration:
    """How far stated confidence is from accuracy, a mean over draws.

    `ece` is never negative, so it exceeds 0 by chance alone: `ece_if_calibrated` is what a
    perfectly calibrated model with the same confidences would be expected to show on as many
    queries, exactly, and `ece_p` is the share of simulated such models whose ECE is as large.
    `squared` is the debiased mean squared gap, which is 0 on average for a calibrated model and
    may be negative.
    """

    ece: float
    ece_if_calibrated: float
    ece_p: float
    squared: float


def confidence(loglik: ByChoice) -> ByQuery:
    """Return the probability of the chosen answer."""
    return probabilities(loglik).max(axis=-1)


def calibration(
    stated: ByQuery,
    right: ByQuery,
    num_bins: int = CALIBRATION_BINS,
    *,
    simulations: int = CALIBRATED_MODELS,
    seed: int = 0,
) -> Calibration:
    """Return the calibration error over bins of equally many queries, each draw by itself.

    A calibrated model's answers are simulated as right with the confidence stated. All draws of
    one simulation have the same luck with a query, as draws of one model have: independent luck
    would make their mean vary less, and `ece_p` too small.

    Args:
        stated: the confidence in the chosen answer.
        right: 1.0 where it was correct.
        num_bins: how many bins; fewer where there are not two queries for each.
        simulations: how many calibrated models are simulated for `ece_p`.
        seed: of the simulation.

    Source: Naeini et al. 2015 and Guo et al. 2017 (ECE), Nguyen and O'Connor 2015 (equal mass),
    Kumar et al. 2019 section 4 (debiased squared error), Vaicenavicius et al. 2019 section 5
    (testing calibration by resampling the answers that it implies).
    """
    bins = np.stack([_padded(_bins(own, num_bins)) for own in stated])
    held = bins >= 0
    claimed = np.where(held, np.take_along_axis(stated[:, None], bins, axis=-1), 0.0)
    answered = np.where(held, np.take_along_axis(right[:, None], bins, axis=-1), 0.0)
    counts, sums = held.sum(-1), claimed.sum(-1)
    shares, accuracy = counts / stated.shape[1], answered.sum(-1) / counts
    gaps = accuracy - sums / counts
    noise = accuracy * (1 - accuracy) / np.maximum(1, counts - 1)
    ece = float((shares * np.abs(gaps)).sum(-1).mean())
    by_chance = float(_mean_absolute_gap(claimed).sum() / stated.size)
    # Equal errors come out of different sums, so rounding must not tell them apart.
    simulated = _simulated_errors(claimed, bins, sums, simulations, seed) / stated.size
    as_large = int((simulated >= ece - 1e-9).sum())
    squared = float((shares * (gaps**2 - noise)).sum(-1).mean())
    return Calibration(ece, by_chance, (1 + as_large) / (1 + simulations), squared)


def _mean_absolute_gap(claimed: np.ndarray) -> np.ndarray:
    """Return the expected distance of the number of right answers from the sum of `claimed`.

    Each answer [..., answers] is right with the chance it claims, so their number is
    Poisson-binomial; its distribution is built up answer by answer.
    """
    size = claimed.shape[-1]
    chances = np.zeros((*claimed.shape[:-1], size + 1))
    chances[..., 0] = 1.0
    for place in range(size):
        own = claimed[..., place, None]
        risen = chances[..., :-1] * own
        chances *= 1 - own
        chances[..., 1:] += risen
    away = np.abs(np.arange(size + 1) - claimed.sum(-1, keepdims=True))
    return (chances * away).sum(-1)


def _simulated_errors(
    claimed: np.ndarray, bins: np.ndarray, sums: np.ndarray, simulations: int, seed: int
) -> np.ndarray:
    """Return distances [simulations] of right answers from claims, over all draws and bins."""
    num_queries = int(bins.max()) + 1
    luck = np.random.default_rng(seed).random((num_queries + 1, simulations), dtype=np.float32)
    found = np.zeros(simulations)
    for own_claimed, own_bins, own_sums in zip(claimed.astype(np.float32), bins, sums, strict=True):
        # Filling, numbered -1, claims 0 and is never right.
        rights = (luck[own_bins] < own_claimed[..., None]).sum(1, dtype=np.int32)
        found += np.abs(rights - own_sums[:, None]).sum(0)
    return found


def reliability(
    stated: ByQuery, right: ByQuery, num_bins: int = CALIBRATION_BINS
) -> list[dict[str, Any]]:
    """Return mean confidence, accuracy and count of each bin, all draws together."""
    stated, right = stated.ravel(), right.ravel()
    return [
        {
            "bin_confidence": float(stated[part].mean()),
            "bin_accuracy": float(right[part].mean()),
            "count": len(part),
        }
        for part in _bins(stated, num_bins)
    ]


def _bins(stated: np.ndarray, num_bins: int) -> list[np.ndarray]:
    """Return the places of each bin's answers, from the least confident to the most."""
    order = np.argsort(stated, kind="stable")
    return np.array_split(order, max(1, min(num_bins, len(order) // 2)))


def _padded(bins: Sequence[np.ndarray]) -> np.ndarray:
    """Return bins as rows [bins, answers] of the longest, filled with -1."""
    found = np.full((len(bins), max(map(len, bins))), -1)
    for row, own in zip(found, bins, strict=True):
        row[: len(own)] = own
    return found


def agreement(
    left: Int[np.ndarray, "#repeats queries"], right: Int[np.ndarray, "#repeats queries"]
) -> float:
    """Return the share of (draw, query) on which two conditions choose the same answer.

    Both are predictions with the same draws in the same order; a condition without draws has one
    row and is compared with every row of the other.
    """
    return float((left == right).mean())


def kappa(
    left: Int[np.ndarray, "#repeats queries"], right: Int[np.ndarray, "#repeats queries"]
) -> float:
    """Return the agreement beyond what the shares of each answer give by chance; 1 is complete.

    NaN where both always choose the same one answer. Source: Cohen 1960.
    """
    by_chance = sum(
        float((left == choice).mean() * (right == choice).mean())
        for choice in np.union1d(left, right)
    )
    if by_chance == 1:
        return math.nan
    return (agreement(left, right) - by_chance) / (1 - by_chance)


def chance(arrays: Arrays) -> Float[np.ndarray, " queries"]:
    """Return the expected score of guessing on each query: one over its choices."""
    if "num_choices" in arrays:
        return 1 / arrays["num_choices"]
    return 1 / (~np.isnan(arrays["loglik"][0])).sum(axis=-1)


def majority(
    train_targets: list[str], golds: list[str]
) -> tuple[str, Float[np.ndarray, " queries"]]:
    """Return the commonest answer of the training split and its score on the test split.

    Chosen where it may be chosen, so its test score is an unbiased one. A tie goes to the answer
    that sorts first.
    """
    counts = {target: train_targets.count(target) for target in sorted(set(train_targets))}
    commonest = max(counts, key=lambda target: counts[target])
    return commonest, np.array([float(gold == commonest) for gold in golds])


def break_even(
    training: float, prompt_query: float, tuned_query: float, prompt_setup: float = 0.0
) -> float:
    """Return from how many queries on tuning has cost no more than prompting; inf if never.

    N* = (training - prompt_setup) / (prompt_query - tuned_query), at least 0.

    Args:
        training: what tuning costs once, in any unit.
        prompt_query: what one prompted query costs, in the same unit.
        tuned_query: what one query of the tuned model costs.
        prompt_setup: what prompting costs once (filling the cache of a shared prompt).
    """
    if any(map(math.isnan, (training, prompt_query, tuned_query, prompt_setup))):
        return math.nan
    ahead = training - prompt_setup
    # Equal costs that are means over draws differ by rounding, and a break-even would follow.
    equal = math.isclose(prompt_query, tuned_query, rel_tol=ROUNDING)
    if equal or prompt_query < tuned_query:
        return 0.0 if ahead <= 0 and equal else math.inf
    return max(0.0, ahead / (prompt_query - tuned_query))
