"""A search among prompts that reads few of them often: successive halving on labelled items."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from adaptlens import compare
from adaptlens.adapt import Progress
from adaptlens.compare import Rule
from adaptlens.lm import score
from adaptlens.lm.load import LM
from adaptlens.lm.walk import Work
from adaptlens.values import Example, Prompt

LEAST_CALIBRATED = 16
"""With fewer items there is no batch to calibrate over."""
KEPT = 3
"""One candidate in so many goes on to the next round."""


@dataclass(eq=False)
class Tried:
    """A candidate prompt and what it was found to do.

    Attributes:
        name: what to call it in the record.
        write: a query's prompt.
        free: a prompt without content, for the prior; None where there is none.
        loglik: of the options, one array [choices] for each item read so far.
        sizes: of the same answers, in bytes and in tokens [2, choices].
        prior: of the options without content, [choices]; None until read.
    """

    name: str
    write: Callable[[Example], Prompt]
    free: Callable[[Example], Prompt] | None = None
    loglik: list[np.ndarray] = field(default_factory=list)
    sizes: list[np.ndarray] = field(default_factory=list)
    prior: np.ndarray | None = None

    def qualities(self, golds: np.ndarray, rules: Sequence[Rule]) -> list["Found"]:
        """Return how good the candidate is under each rule that can be judged by now."""
        arrays = self._arrays(golds)
        found = []
        for rule in rules:
            if rule == "calibrated" and len(self.loglik) < LEAST_CALIBRATED:
                continue
            scores = compare.choice_scores(arrays, rule)
            right = float(compare.correct(arrays, rule).mean())
            sure = float(compare.choice_loglik(scores, arrays["gold"]).mean())
            found.append(Found(right, sure, rule, len(self.loglik)))
        return found

    def _arrays(self, golds: np.ndarray) -> dict[str, np.ndarray]:
        most = max(len(row) for row in self.loglik)
        loglik = np.full((1, len(self.loglik), most), np.nan)
        sizes = np.zeros((2, *loglik.shape))
        for place, (row, own) in enumerate(zip(self.loglik, self.sizes, strict=True)):
            loglik[0, place, : len(row)] = row
            sizes[:, 0, place, : len(row)] = own
        arrays = {"loglik": loglik, "gold": golds[: len(self.loglik)]}
        arrays |= {"answer_bytes": sizes[0], "answer_tokens": sizes[1]}
        if self.prior is not None:
            arrays["prior_loglik"] = np.broadcast_to(self.prior, loglik.shape)
        return arrays


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


def ranked(found: Sequence[Sequence[Found]]) -> list[tuple[int, Found]]:
    """Return candidates, best first, each with the best rule for it.

    Accuracies within a standard error of the best one tell nothing: those candidates, and rules,
    are told apart by the log-probability of the right answer; the others come after, by accuracy.
    The first of equals. Source: the one-standard-error rule of Breiman et al. 1984.

    Args:
        found: of each candidate, what `Tried.qualities` says.
    """
    best = max((one for own in found for one in own), key=lambda one: one.accuracy)
    least = best.accuracy - best.error

    def key(one: Found) -> tuple[bool, float, float]:
        good = one.accuracy >= least
        return good, one.loglik if good else one.accuracy, one.loglik

    chosen = [max(own, key=key) for own in found]
    order = sorted(range(len(found)), key=lambda i: key(chosen[i]), reverse=True)
    return [(i, chosen[i]) for i in order]


class Search:
    """Reads candidates on labelled items, a few more each round, and keeps the best.

    Source: Jamieson and Talwalkar 2016 (arXiv 1502.07943), successive halving: every round spends
    an equal share of the budget, and one candidate in `KEPT` goes on.

    Attributes:
        items: the labelled items.
        reads: prompts read so far.
        tokens: tokens computed so far.
    """

    def __init__(
        self, lm: LM, items: Sequence[Example], options: Callable[[Example], Sequence[str]],
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

        Every candidate is read on at least as many items as a round's share allows; those that are
        left at the end, on all items where the budget reaches.

        Args:
            candidates: in order of preference: the first of equally good ones is kept.
            budget: prompts to read, all rounds together.
            keep: how many to return.
            progress: called with (prompts read, budget).
        """
        left, sizes = list(candidates), [len(candidates)]
        while sizes[-1] > keep:
            sizes.append(max(keep, -(-sizes[-1] // KEPT)))
        rounds, start = max(1, len(sizes) - 1), self.reads
        for number in range(rounds):
            each = max(1, budget // rounds // len(left))
            self._read(left, each if number < rounds - 1 else max(each, len(self.items)))
            if progress:
                progress(min(self.reads - start, budget), budget)
            order = ranked([one.qualities(self._golds, self._rules) for one in left])
            left = [left[i] for i, _ in order[: sizes[min(number + 1, len(sizes) - 1)]]]
        return left

    def found(self, one: Tried) -> Found:
        """Return how good a candidate is under the best rule for it."""
        return ranked([one.qualities(self._golds, self._rules)])[0][1]

    def _read(self, candidates: Sequence[Tried], more: int) -> None:
        """Read every candidate on so many more items, as far as there are some."""
        wanted: list[tuple[Tried, Prompt]] = []
        for one in candidates:
            done = len(one.loglik)
            if one.prior is None and one.free is not None and "corrected" in self._rules:
                wanted.append((one, one.free(self.items[0])))
                one.prior = np.zeros(0)
            wanted += [(one, one.write(item)) for item in self.items[done : done + more]]
        work = Work()
        requests = score.encode(self._lm, [prompt for _, prompt in wanted])
        logliks = score.score(self._lm, requests, work=work)
        texts = dict.fromkeys(answer for _, prompt in wanted for answer in prompt.answers)
        tokens = dict(zip(texts, map(len, self._lm.tokenizer(
            list(texts), add_special_tokens=False).input_ids), strict=True))  # fmt: skip
        for (one, prompt), found in zip(wanted, logliks, strict=True):
            if one.prior is not None and not one.prior.size:
                one.prior = found
                continue
            one.loglik.append(found)
            size = [(len(answer.encode()), tokens[answer]) for answer in prompt.answers]
            one.sizes.append(np.array(size).T)
        self.reads += len(wanted)
        self.tokens += work.tokens_computed
