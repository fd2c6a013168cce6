"""A search among prompts that reads few of them often: successive halving on labeled items."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int

from adaptlens.adapt import Progress
from adaptlens.lm.asked import Asked
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.metrics.accuracy import Rule, choice_loglik, choice_scores, correct
from adaptlens.types import Example, Prompt

LEAST_CALIBRATED = 16
"""With fewer items there is no batch to calibrate over."""
KEPT = 3
"""One candidate in so many goes on to the next round."""
_DIGITS = 6
"""Log-probabilities that agree to so many decimals are equal: batches round differently."""


@dataclass(frozen=True, slots=True)
class Read:
    """A candidate on one item, as read.

    Attributes:
        loglik: of the options.
        prior: of the same options without content; None where it was not read.
        sizes: of the options, in bytes and in tokens.
    """

    loglik: Float64[np.ndarray, " choices"]
    prior: Float64[np.ndarray, " choices"] | None
    sizes: Int[np.ndarray, "2 choices"]


@dataclass(eq=False)
class Tried:
    """A candidate prompt and what it was found to do.

    Attributes:
        name: what to call it in the record.
        write: a query's prompt.
        free: the same without content, for the prior; None where there is none.
        reads: the items read so far, in their order.
        priors: what was read without content, by text and options: most items share one.
    """

    name: str
    write: Callable[[Example], Prompt]
    free: Callable[[Example], Prompt] | None = None
    reads: list[Read] = field(default_factory=list)
    priors: dict[tuple[str, tuple[str, ...]], Float64[np.ndarray, " _"]] = field(
        default_factory=dict
    )

    def qualities(self, golds: Int[np.ndarray, " queries"], rules: Sequence[Rule]) -> list["Found"]:
        """Return how good the candidate is under each rule that can be judged by now.

        Args:
            golds: the places of the right answers of the first items; no others count.
            rules: the preferred first.
        """
        arrays = self._arrays(golds)
        qualities = []
        for rule in rules:
            if rule == "calibrated" and len(golds) < LEAST_CALIBRATED:
                continue
            if rule == "corrected" and self.free is None:
                continue
            scores = choice_scores(arrays, rule)
            right = float(correct(arrays, rule).mean())
            sure = round(float(choice_loglik(scores, golds).mean()), _DIGITS)
            qualities.append(Found(right, sure, rule, len(golds)))
        return qualities

    def _arrays(self, golds: Int[np.ndarray, " queries"]) -> dict[str, np.ndarray]:
        reads = self.reads[: len(golds)]
        most = max(len(read.loglik) for read in reads)
        loglik, prior = (np.full((1, len(reads), most), np.nan) for _ in range(2))
        sizes = np.zeros((2, *loglik.shape))
        for place, read in enumerate(reads):
            loglik[0, place, : len(read.loglik)] = read.loglik
            sizes[:, 0, place, : len(read.loglik)] = read.sizes
            if read.prior is not None:
                prior[0, place, : len(read.loglik)] = read.prior
        arrays = {"loglik": loglik, "gold": golds, "prior_loglik": prior}
        return arrays | {"answer_bytes": sizes[0], "answer_tokens": sizes[1]}


@dataclass(frozen=True)
class Found:
    """How good a candidate is: accuracy, mean log-probability of the right answer, and the rule.

    `items` is how many items that rests on.
    """

    accuracy: float
    loglik: float
    rule: Rule
    items: int

    @property
    def error(self) -> float:
        """The standard error of the accuracy."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.items)


def ranked(qualities: Sequence[Sequence[Found]]) -> list[tuple[int, Found]]:
    """Return candidates, best first, each with the best rule for it.

    Accuracies within a standard error of the best one tell nothing: those candidates, and rules,
    are told apart by the log-probability of the right answer; the others come after, by accuracy.
    The first of equals. Source: the one-standard-error rule of Breiman et al. 1984.

    Args:
        qualities: of each candidate, what `Tried.qualities` says.
    """
    best = max(
        (quality for of_rules in qualities for quality in of_rules),
        key=lambda quality: quality.accuracy,
    )
    least = best.accuracy - best.error

    def key(quality: Found) -> tuple[bool, float, float]:
        good = quality.accuracy >= least
        return good, quality.loglik if good else quality.accuracy, quality.loglik

    chosen = [max(of_rules, key=key) for of_rules in qualities]
    order = sorted(range(len(qualities)), key=lambda i: key(chosen[i]), reverse=True)
    return [(i, chosen[i]) for i in order]


class Search:
    """Reads candidates on labeled items, more each round, and keeps the best.

    Source: Jamieson and Talwalkar 2016 (arXiv 1502.07943), successive halving: every round spends
    an equal share of the budget, and one candidate in `KEPT` goes on.

    Attributes:
        items: the labeled items.
        reads: prompts read so far, those without content too.
        tokens: tokens computed so far.
    """

    def __init__(
        self, lm: Asked, items: Sequence[Example], options: Callable[[Example], Sequence[str]],
        rules: Sequence[Rule],
    ) -> None:  # fmt: skip
        """Say what to read by, on which items, and by which rules answers may be chosen."""
        self.items = tuple(items)
        self._lm, self._rules = lm, rules
        self._golds = np.array([list(options(item)).index(item.target) for item in items])
        self.reads = 0
        self.tokens = 0

    def halve(
        self,
        candidates: Sequence[Tried],
        budget: int,
        keep: int = 1,
        progress: Progress | None = None,
    ) -> list[Tried]:
        """Return the best candidates, best first, having read about `budget` more prompts.

        In every round all candidates are read on the same first items, as many as the budget left
        and the rounds to come allow, and judged on those alone. What a round leaves over (there are
        no more items) the next ones have. Every candidate is read on one item at least, whatever
        the budget; prompts without content come on top, as a rule one a candidate.

        Args:
            candidates: in order of preference: the first of equally good ones is kept.
            budget: prompts to read, all rounds together.
            keep: how many to return.
            progress: called with (prompts read, budget).
        """
        left, sizes = list(enumerate(candidates)), [len(candidates)]
        while sizes[-1] > keep:
            sizes.append(max(keep, -(-sizes[-1] // KEPT)))
        rounds, spent = max(1, len(sizes) - 1), 0
        for number in range(rounds):
            tried = [candidate for _, candidate in left]
            level, cost = self._level(tried, (budget - spent) // (rounds - number))
            self._read(tried, level)
            spent += cost
            if progress:
                progress(min(spent, budget), budget)
            # In the order they were given, so that the first of equals is always the same.
            left.sort(key=lambda numbered: numbered[0])
            golds = self._golds[:level]
            order = ranked([candidate.qualities(golds, self._rules) for _, candidate in left])
            left = [left[i] for i, _ in order[: sizes[min(number + 1, len(sizes) - 1)]]]
        return [candidate for _, candidate in left]

    def found(self, candidate: Tried) -> Found:
        """Return how good a candidate is under the best rule for it, on all it was read on."""
        return ranked([candidate.qualities(self._golds[: len(candidate.reads)], self._rules)])[0][1]

    def _level(self, candidates: Sequence[Tried], budget: int) -> tuple[int, int]:
        """Return on how many items all can have been read for a budget, and what it takes."""

        def cost(level: int) -> int:
            return sum(max(0, level - len(candidate.reads)) for candidate in candidates)

        level = 1
        while level < len(self.items) and cost(level + 1) <= budget:
            level += 1
        return level, cost(level)

    def _read(self, candidates: Sequence[Tried], level: int) -> None:
        """Read every candidate on the first items, as far as it has not been."""
        prompts: list[Prompt] = []
        places: dict[tuple[int, str, tuple[str, ...]], int] = {}

        def place(candidate: Tried, prompt: Prompt) -> int:
            key = (id(candidate), prompt.text, prompt.answers)
            if key not in places:
                places[key] = len(prompts)
                prompts.append(prompt)
            return places[key]

        wanted: list[tuple[Tried, int, Prompt | None]] = []
        for candidate in candidates:
            for item in self.items[len(candidate.reads) : level]:
                free = None
                if candidate.free is not None and "corrected" in self._rules:
                    free = candidate.free(item)
                    if (free.text, free.answers) not in candidate.priors:
                        place(candidate, free)
                wanted.append((candidate, place(candidate, candidate.write(item)), free))
        if not wanted:
            return
        work = ForwardStats()
        logliks = self._lm.log_likelihoods(prompts, work=work)
        sizes = self._sizes(prompts)
        for candidate, number, free in wanted:
            prior = None
            if free is not None:
                key = (free.text, free.answers)
                if key not in candidate.priors:
                    candidate.priors[key] = logliks[places[id(candidate), *key]]
                prior = candidate.priors[key]
            candidate.reads.append(Read(logliks[number], prior, sizes[number]))
        self.reads += len(prompts)
        self.tokens += work.tokens_computed

    def _sizes(self, prompts: Sequence[Prompt]) -> list[Int[np.ndarray, "2 _"]]:
        """Return the bytes and tokens of each prompt's answers."""
        texts = list(dict.fromkeys(answer for prompt in prompts for answer in prompt.answers))
        tokens = dict(zip(texts, self._lm.token_counts(texts), strict=True))
        return [
            np.array([(len(answer.encode()), tokens[answer]) for answer in prompt.answers]).T
            for prompt in prompts
        ]
