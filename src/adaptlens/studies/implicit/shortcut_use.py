"""Who uses the shortcut, who relies on it, and how many samples it takes: tables and claims."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from adaptlens.conditions import Condition
from adaptlens.formatting import counted, ends, fixed
from adaptlens.stats import layerwise
from adaptlens.stats.hypotheses import MINIMUM_DRAWS, Hypothesis
from adaptlens.stats.intervals import Scores, estimate
from adaptlens.studies.implicit.learned import ZERO_SHOT, Learned
from adaptlens.studies.implicit.samples_chosen import Chosen, Samples, assembled, chosen, over_views
from adaptlens.studies.implicit.samples_needed import (
    Answered,
    difference,
    in_common,
    paired,
    points,
    samples_needed,
)
from adaptlens.tasks.shortcuts import BROKEN, FAMILIES, KINDS, MIXED, PATTERN, group
from adaptlens.types import Example, Task

Rows = list[dict[str, Any]]

CONDITIONS: dict[tuple[str, str], str] = {
    (PATTERN, PATTERN): "pattern",
    (PATTERN, BROKEN): "misleading",
    (BROKEN, BROKEN): "plain",
    (BROKEN, PATTERN): "reverse",
}
"""What is learned and what is read -> the condition's name."""

NAMES = {"it": "LoRA tuning", "sl": "plain LoRA tuning", "full": "full tuning"}
ZERO = "zero_shot"
ICL = "icl"


@dataclass(frozen=True)
class Behaved:
    """One model on one family: right answers by what was learned, how, from how much, and read.

    Attributes:
        model: its name.
        family: a family of tasks.
        test: (learned, method, samples, read) -> right answers on the test items.
        validation: the same on the validation items.
        seed: of resampling.
    """

    model: str
    family: str
    test: Mapping[tuple[str, str, int, str], Answered]
    validation: Mapping[tuple[str, str, int, str], Answered]
    seed: int

    @property
    def about(self) -> dict[str, str]:
        """What every row begins with."""
        return {"model": self.model, "family": self.family}

    def methods(self) -> list[str]:
        """Return the ways of adapting other than zero-shot."""
        return list(dict.fromkeys(m for _, m, _, _ in self.test if m != ZERO))

    def samples(self, method: str) -> list[int]:
        """Return the numbers of samples of a way of adapting."""
        return sorted({n for _, m, n, _ in self.test if m == method})

    def chosen(self, method: str, learned: str) -> Chosen | None:
        """Return the number of samples that did best on validation items like the learned ones.

        Nobody who learns from one kind has the other to choose by.
        """
        return chosen(
            {
                samples: answers
                for (of, by, samples, read), answers in self.validation.items()
                if (of, by, read) == (learned, method, learned)
            }
        )

    def answered(self, learned: str, method: str, samples: Samples, read: str) -> Answered | None:
        """Return the right answers with one number of samples, or with each draw's own."""
        if isinstance(samples, int):
            return self.test.get((learned, method, samples, read))
        by_size = {
            size: answers
            for (of, by, size, on), answers in self.test.items()
            if (of, by, on) == (learned, method, read)
        }
        return assembled(by_size, samples)

    def curves(self) -> Rows:
        """Return accuracy in points by condition, method and samples, with intervals."""
        rows: Rows = []
        best: dict[tuple[str, str], int | None] = {
            (learned, method): self._shown(method, learned)
            for learned in KINDS
            for method in self.methods()
        }
        for (learned, method, samples, read), answers in self.test.items():
            scores = Scores(answers.values, answers.draws, floor=answers.floor or 0.0)
            accuracy = estimate(scores, seed=self.seed)
            is_anchor = method == ZERO
            rows.append(
                {
                    **self.about,
                    "learned": "" if is_anchor else learned,
                    "read": read,
                    "condition": "" if is_anchor else CONDITIONS[learned, read],
                    "method": ZERO_SHOT if is_anchor else method,
                    "tuned_on": "single",
                    "samples": samples,
                    "value": 100 * accuracy.value,
                    "low": 100 * accuracy.low,
                    "high": 100 * accuracy.high,
                    "queries": accuracy.queries,
                    "draws": accuracy.draws,
                    "chosen": not is_anchor and best[learned, method] == samples,
                }
            )
        return rows

    def _shown(self, method: str, learned: str) -> int | None:
        choice = self.chosen(method, learned)
        return choice.overall if choice else None

    def used(self, method: str, samples: Samples) -> layerwise.Mean | None:
        """Return the shortcut use: the gain on pattern items beyond the gain on plain ones.

        Each gain is over the model's own zero-shot on the same items. Pattern and broken items are
        paired by number: they are independent, so the pairing adds nothing and loses nothing.
        """
        gains = []
        for kind in KINDS:
            answers = self.answered(kind, method, samples, kind)
            anchor = self.test.get((PATTERN, ZERO, 0, kind))
            if answers is None or anchor is None:
                return None
            gain = answers.values - anchor.values
            gains.append(Answered(gain, answers.draws, span=2.0, falls=answers.lower))
        return difference(gains[0], gains[1])

    def relied(self, method: str, samples: Samples) -> layerwise.Mean | None:
        """Return the over-reliance: plain accuracy minus misleading accuracy, on the same items."""
        plain = self.answered(BROKEN, method, samples, BROKEN)
        misled = self.answered(PATTERN, method, samples, BROKEN)
        return None if plain is None or misled is None else difference(plain, misled)

    def shortcut(self) -> Rows:
        """Return shortcut use and over-reliance in points, by method and samples."""
        rows: Rows = []
        for method in self.methods():
            best = self._shown(method, PATTERN)
            for samples in self.samples(method):
                for quantity, mean in (
                    ("shortcut use", self.used(method, samples)),
                    ("over-reliance", self.relied(method, samples)),
                ):
                    if mean is not None:
                        rows.append(
                            {
                                **self.about,
                                "method": method,
                                "samples": samples,
                                "quantity": quantity,
                                "value": 100 * mean.value,
                                "low": 100 * mean.low,
                                "high": 100 * mean.high,
                                "p": mean.p,
                                "queries": mean.queries,
                                "draws": mean.draws,
                                "chosen": samples == best,
                            }
                        )
        return rows

    def needed(self) -> Rows:
        """Return how many samples tuning needs for what prompting reaches, and the ratio.

        Prompting counts with the number of demonstrations chosen on validation, cross-fitted over
        draws; the interval covers that of the overall choice, and the ratio's bounds all numbers
        chosen. Tuning needs the fewest samples at which its curve, which begins with zero-shot,
        reaches that accuracy (`samples_needed`); infinite where none within the sizes tried does.
        Where prompting is not shown to gain anything over zero-shot there is nothing to reach: nan.
        """
        rows: Rows = []
        for learned, read in ((PATTERN, PATTERN), (BROKEN, BROKEN)):
            shots = self.chosen(ICL, learned)
            anchor = self.test.get((PATTERN, ZERO, 0, read))
            if shots is None or anchor is None:
                continue
            prompted = [self.answered(learned, ICL, view, read) for view in shots.views]
            for method in (m for m in self.methods() if m != ICL):
                curve = {
                    n: answers
                    for n in self.samples(method)
                    if (answers := self.test.get((learned, method, n, read))) is not None
                }
                views = [
                    [answers, anchor, *curve.values()]
                    for answers in prompted
                    if answers is not None
                ]
                if row := _needed([in_common(view) for view in views], [*curve], shots):
                    about = {"condition": CONDITIONS[learned, read], "method": method}
                    rows.append({**self.about, **about, **row})
        return rows

    def hypotheses(self) -> Iterator[Hypothesis]:
        """Yield the claims of the paper about this family.

        In-context learning is judged with the number of demonstrations chosen on validation,
        tuning with the most samples, which nobody chose.
        """
        shots = self.chosen(ICL, PATTERN)
        if shots is None:
            return

        def views(of: Callable[[Samples], layerwise.Mean | None]) -> layerwise.Mean | None:
            means = [mean for view in shots.views if (mean := of(view)) is not None]
            return points(over_views(means)) if means else None

        if (used := views(lambda view: self.used(ICL, view))) is not None:
            yield Hypothesis(1, "in-context learning uses the shortcut", 1, used)
        for method in (m for m in self.methods() if m != ICL):
            most = self.samples(method)[-1]
            for claim, of in (
                ("reads pattern items better than", self._read),
                ("uses the shortcut more than", self._uses),
            ):
                if (mean := views(partial(_less, of, method, most))) is not None:
                    claimed = f"in-context learning {claim} {NAMES[method]} on {most:,} samples"
                    yield Hypothesis(1, claimed, 1, mean)
        if (relied := views(lambda view: self.relied(ICL, view))) is not None:
            yield Hypothesis(2, "in-context learning relies on the shortcut", 1, relied)

    def frugality(self, times: float) -> Rows:
        """Return the claims that tuning needs many times more samples than prompting.

        Supported where the whole interval of the ratio lies above `times`, refuted where it lies
        below; not decided where prompting gains nothing that could be reached, and with fewer than
        5 draws. Rows as the claims made of hypotheses have them (`analyze`).
        """
        rows: Rows = []
        for row in self.needed():
            low, high = row["ratio_low"], row["ratio_high"]
            state = "supported" if low > times else "refuted" if high < times else "not decided"
            around = [f"{x:,.1f}" if math.isfinite(x) else "more" for x in (low, high)]
            ratio = f"{row['ratio']:,.1f} times" if math.isfinite(row["ratio"]) else "not reached"
            line = (
                f"{ratio} [{around[0]}, {around[1]}] with up to {row['most']:,} samples, for the "
                f"{fixed(row['target'])}% of {counted(row['icl_samples'], 'demonstration')}"
            )
            if math.isnan(row["ratio"]):
                shown = counted(row["icl_samples"], "demonstration")
                line = (
                    f"{shown}: {fixed(row['gain'], sign=True)} points "
                    f"{ends(row['gain_low'], row['gain_high'])} over zero-shot, nothing that "
                    "tuning could be measured by"
                )
            if row["draws"] < MINIMUM_DRAWS:
                state = "not decided"
                line += f"; fewer than {MINIMUM_DRAWS} draws decide nothing"
            rows.append(
                {
                    "model": self.model,
                    "task": self.family,
                    "factor": 3,
                    "claim": f"{NAMES[row['method']]} needs over {times:g} times the samples of "
                    f"in-context learning ({row['condition']})",
                    "state": state,
                    "line": line,
                    "effect": row["ratio"],
                    "low": low,
                    "high": high,
                    "p": math.nan,
                    "p_holm": math.nan,
                    "test": "crossed sign flips over items and draws, inverted",
                    "queries": row["queries"],
                    "draws": row["draws"],
                }
            )
        return rows

    def _read(self, method: str, samples: Samples) -> Answered | None:
        """Return the right answers on pattern items after learning from pattern items."""
        return self.answered(PATTERN, method, samples, PATTERN)

    def _uses(self, method: str, samples: Samples) -> Answered | None:
        """Return the shortcut use of every draw and pair of items, before the mean."""
        pattern = self.answered(PATTERN, method, samples, PATTERN)
        plain = self.answered(BROKEN, method, samples, BROKEN)
        anchors = [self.test.get((PATTERN, ZERO, 0, kind)) for kind in KINDS]
        if pattern is None or plain is None or anchors[0] is None or anchors[1] is None:
            return None
        x, y, draws = paired(pattern, plain)
        num = min(x.shape[1], y.shape[1])
        values = x[:, :num] - anchors[0].values[:, :num] - y[:, :num] + anchors[1].values[:, :num]
        return Answered(values, draws, span=4.0, falls=pattern.lower, rises=plain.lower)


def _less(
    of: Callable[[str, Samples], Answered | None], method: str, most: int, view: Samples
) -> layerwise.Mean | None:
    """Return how much more in-context learning has of something than a way of tuning."""
    left, right = of(ICL, view), of(method, most)
    return None if left is None or right is None else difference(left, right)


def _needed(
    views: Sequence[Sequence[Answered]], sizes: Sequence[int], shots: Chosen
) -> dict[str, Any] | None:
    """Return a row of `Behaved.needed`; None where nothing was read in common.

    Args:
        views: for each view of prompting: it, zero-shot, and tuning at each size.
        sizes: of tuning.
        shots: what was chosen.
    """
    if not views or not sizes or not views[0][0].draws:
        return None
    target = views[0][0]
    gain = points(over_views([difference(view[0], view[1]) for view in views]))
    low, value, high = math.nan, math.nan, math.nan
    if gain.low > 0:
        numbers = [samples_needed(view[0], view[1:], [0, *sizes]) for view in views]
        value = numbers[0][1]
        low, high = min(number[0] for number in numbers), max(number[2] for number in numbers)
    chosen = {shots.overall, *shots.by_draw.values()}
    return {
        "target": 100 * float(target.values.mean()),
        "gain": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "icl_samples": shots.overall,
        "samples": value,
        "low": low,
        "high": high,
        "ratio": value / shots.overall,
        "ratio_low": low / max(chosen),
        "ratio_high": high / min(chosen),
        "most": sizes[-1],
        "queries": target.values.shape[1],
        "draws": len(target.draws),
    }


def behaved(conditions: Sequence[Condition], tasks: Mapping[str, Task], seed: int) -> list[Behaved]:
    """Return the behavior of each model on each family, of tasks read on their own family.

    Args:
        conditions: those of the run.
        tasks: digest -> the task.
        seed: of resampling.
    """
    tests: dict[tuple[str, str], dict[tuple[str, str, int, str], Answered]] = {}
    validations: dict[tuple[str, str], dict[tuple[str, str, int, str], Answered]] = {}
    for condition in conditions:
        of = Learned.of(condition.task)
        if of is None or of.everywhere or not _is_counted(condition):
            continue
        task = tasks[condition.task_digest]
        for items, right, into in (
            (task.test, condition.behavior.exact, tests),
            (task.validation, condition.behavior.validation.exact, validations),
        ):
            groups = np.array([example.group for example in items])
            for kind in KINDS:
                key = (of.kind, condition.adaptation, condition.examples, kind)
                if (groups == kind).any():
                    into.setdefault((condition.model, of.family), {})[key] = Answered(
                        right[:, groups == kind].astype(float),
                        condition.draws,
                        floor=_by_chance(items, kind),
                    )
    return [
        Behaved(model, family, values, validations.get((model, family), {}), seed)
        for (model, family), values in tests.items()
    ]


def elsewhere(
    conditions: Sequence[Condition], tasks: Mapping[str, Task], seed: int
) -> tuple[Rows, Rows, dict[str, list[Hypothesis]]]:
    """Return rows of `curves` of what was learned from all families, of `transfer`, and claims.

    All are of tasks read on the items of every family; transfer is accuracy minus the model's own
    zero-shot on the same items. The claims, by model, are that what a way of adapting learns from
    one family helps on the others.
    """
    anchors: dict[tuple[str, str], Answered] = {}
    read: list[tuple[Condition, Learned, str, str, Answered]] = []
    about_group = {group(family, kind): (family, kind) for family in FAMILIES for kind in KINDS}
    for condition in conditions:
        of = Learned.of(condition.task)
        if of is None or not of.everywhere or not _is_counted(condition):
            continue
        items = tasks[condition.task_digest].test
        groups = np.array([example.group for example in items])
        right = condition.behavior.exact.astype(float)
        for name in dict.fromkeys(groups.tolist()):
            floor = _by_chance(items, name)
            values = Answered(right[:, groups == name], condition.draws, floor=floor)
            if condition.adaptation == ZERO:
                anchors[condition.model, name] = values
            else:
                read.append((condition, of, *about_group[name], values))
    mixed: Rows = []
    transfer: Rows = []
    gains: dict[tuple[str, str], list[tuple[Answered, Answered]]] = {}
    for condition, of, other, kind, values in read:
        about = {"model": condition.model, "family": other}
        size = {"method": condition.adaptation, "samples": condition.examples}
        if of.family == MIXED:
            scores = Scores(values.values, values.draws, floor=values.floor or 0.0)
            accuracy = estimate(scores, seed=seed)
            mixed.append(
                {
                    **about,
                    "learned": of.kind,
                    "read": kind,
                    "condition": CONDITIONS[of.kind, kind],
                    **size,
                    "tuned_on": "mixed",
                    "value": 100 * accuracy.value,
                    "low": 100 * accuracy.low,
                    "high": 100 * accuracy.high,
                    "queries": accuracy.queries,
                    "draws": accuracy.draws,
                    "chosen": False,
                }
            )
        elif (anchor := anchors.get((condition.model, group(other, kind)))) is not None:
            gain = points(difference(values, anchor))
            if other != of.family:
                gains.setdefault((condition.model, condition.adaptation), []).append(
                    (values, anchor)
                )
            transfer.append(
                {
                    **about,
                    "learned_family": of.family,
                    "read": kind,
                    **size,
                    "value": gain.value,
                    "low": gain.low,
                    "high": gain.high,
                    "p": gain.p,
                    "queries": gain.queries,
                    "draws": gain.draws,
                }
            )
    claimed: dict[str, list[Hypothesis]] = {}
    for (model, method), several in gains.items():
        # Every family and kind has as many items; an item number stands for one of each.
        differences = [values.values - anchor.values for values, anchor in several]
        lower = tuple(replace(one, drop=one.drop / len(several))
                      for values, _ in several for one in values.lower)  # fmt: skip
        mean = layerwise.mean(
            np.mean(differences, 0), True, flips=layerwise.FLIPS, most=1.0, lower=lower
        )
        name = NAMES.get(method, "in-context learning")
        claim = f"what {name} learns from one family helps on the others"
        claimed.setdefault(model, []).append(Hypothesis(4, claim, 1, points(mean)))
    return mixed, transfer, claimed


def _by_chance(items: Sequence[Example], group: str) -> float:
    """Return the share of right answers of a guess among the answers to a kind of items."""
    return 1 / len({item.target for item in items if item.group == group})


def _is_counted(condition: Condition) -> bool:
    """Whether a condition belongs to the study of behavior."""
    return "exact" in condition.behavior and not (condition.circuits or condition.ablated)
