"""What the arms of a comparison cost, and from how many queries on tuning has paid for itself.

The break-even is that of the pair that the verdict judged, and there is one only where the verdict
does not say that tuning is worse. Formulas: docs/methods.md, sections 9 and 10.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adaptlens.metrics import accuracy, prices
from adaptlens.stats.intervals import Difference
from adaptlens.studies.compare.across import ALPHA
from adaptlens.studies.compare.arms import Arm
from adaptlens.studies.compare.verdict import Verdict
from adaptlens.studies.compare.verdict_words import phrase

COSTS = (
    "training_flops",
    "training_flops_computed",
    "training_tried_flops",
    "training_tried_flops_computed",
    "training_seconds_amortized",
    "training_search_flops",
    "query_flops",
    "query_flops_cached",
    "query_tokens",
    "cached_tokens",
    "query_seconds",
    "query_seconds_cached",
    "peak_bytes",
)
TRAINING = tuple(name for name in COSTS if name.startswith("training_"))
"""What is not known of an arm that a user brought."""

SERVINGS = ("uncached", "cached")
PEFT, HERE = "plain PEFT", "adaptlens"
ONE_RUN, TRIED = "one run", "everything tried"

NOTHING: prices.Prices = {}

TELLING = 1.5
"""How many times the tokens of a tuned query a prompt must have for seconds to tell them apart."""

Row = dict[str, Any]


def cost_row(arm: Arm, priced: prices.Prices = NOTHING) -> Row:
    """Return what an arm costs; an arm at a chosen template costs what its template does.

    Money and energy are there as far as the prices say what they are.

    Args:
        arm: of a comparison.
        priced: the prices of its model.
    """
    numbers = arm.condition.numbers
    # What a cell did not measure of a query is not known; what it did not train cost nothing.
    row: Row = {name: numbers.get(name, 0.0 if name in TRAINING else math.nan) for name in COSTS}
    for name in ("query_flops", "query_flops_cached", "query_tokens", "cached_tokens"):
        if name in arm.condition.costs:
            row[name] = float(by_draw(arm, name).mean())
    row["trainable"] = numbers.get("training_trained_parameters", 0.0)
    if arm.condition.is_brought:
        row |= {name: math.nan for name in (*TRAINING, "trainable")}
    told = {
        "query_price": float(query_prices(arm, priced, "uncached").mean()),
        "query_price_cached": float(query_prices(arm, priced, "cached").mean()),
        "training_price": prices.training_price(
            priced, flops=row["training_flops"], seconds=row["training_seconds_amortized"]
        ),
        "storage_price": prices.storage_price(priced, row["trainable"]),
        "training_joules": prices.joules(priced, row["training_flops"]),
        "query_joules": prices.joules(priced, row["query_flops"]),
        "query_joules_cached": prices.joules(priced, row["query_flops_cached"]),
    }
    return row | {name: float(value) for name, value in told.items() if math.isfinite(value)}


def query_prices(arm: Arm, priced: prices.Prices, serving: str) -> np.ndarray:
    """Return the price of a query in each draw [draws]; NaN where a price that it needs is missing.

    Args:
        arm: of a comparison.
        priced: the prices of its model.
        serving: "uncached", or "cached": what all queries share is read from a cache.
    """
    cached = serving == "cached"
    needed = ("query_tokens", "cached_tokens", "answer_tokens", "query_flops")
    if not priced or not all(name in arm.condition.costs for name in needed):
        return np.full(len(arm.condition.draws), math.nan)
    kept = by_draw(arm, "cached_tokens")
    found = prices.query_price(
        priced,
        tokens=by_draw(arm, "query_tokens"),
        cached_tokens=kept if cached else 0.0 * kept,
        output_tokens=by_draw(arm, "answer_tokens"),
        flops=by_draw(arm, "query_flops_cached" if cached else "query_flops"),
    )
    return np.broadcast_to(found, len(arm.condition.draws))


def by_draw(arm: Arm, name: str) -> np.ndarray:
    """Return what a query costs in each draw [draws]: under the arm's template, or over all."""
    values = np.asarray(arm.condition.costs[name], float)
    if values.ndim == 1:
        return values
    if arm.templates:
        places = [arm.condition.templates.index(name) for name in arm.templates]
        return values[np.arange(len(places)), places]
    return values.mean(axis=1)


@dataclass(frozen=True)
class BreakEven:
    """From how many queries on the judged tuned arm has cost no more than the judged prompt.

    Attributes:
        line: the same as one sentence, or why there is none.
        rows: one for each serving, unit, trainer and way of counting; none where there is no
            break-even.
    """

    line: str
    rows: list[Row] = field(default_factory=list)


def break_even(arms: Sequence[Arm], found: Verdict, priced: prices.Prices = NOTHING) -> BreakEven:
    """Return the break-even of the pair that was judged.

    Args:
        arms: those of the comparison.
        found: its verdict.
        priced: the prices of the model; none means none in money.
    """
    known = {arm.label: arm for arm in arms}
    if not found.prompt or not found.tuned:
        return BreakEven("no break-even: nothing to compare")
    pair = _Pair(known[found.prompt], known[found.tuned], priced)
    if reason := _without(found, known, pair):
        return BreakEven(f"no break-even: {reason}")
    rows = [*pair.in_flops(), *pair.in_seconds(), *pair.in_money()]
    line = _said(pair, rows)
    if found.state == "undecided":
        line += "; it is not shown that tuning is as good"
    return BreakEven(line, rows)


def _without(found: Verdict, known: Collection[str], pair: "_Pair") -> str:
    """Return why there is no break-even, or nothing where there is one."""
    if found.state == "prompt":
        return (
            f"{found.prompt} is better than {found.tuned}, which no saving on queries makes up for"
        )
    if pair.tuned.condition.is_brought:
        return f"{found.tuned} was brought, and what it took to make is not known"
    both = f"{found.tuned} and {found.prompt}"
    if found.state == "neither":
        return f"of {both}, neither is shown to beat an answer that costs nothing"
    if behind := [phrase(test.right) for test in _not_beaten(found, known)]:
        return f"{found.tuned} is not shown to beat {' or '.join(behind)}"
    return "" if pair.is_measured else f"the costs of {both} are not in this run; run it again"


def _not_beaten(found: Verdict, arms: Collection[str]) -> list[Difference]:
    """Return the tests of the judged tuned arm against baselines that it is not shown to beat."""
    own = [test for test in found.tests if test.left == found.tuned and test.right not in arms]
    return [test for test in own if test.p_holm > ALPHA]


@dataclass(frozen=True)
class _Pair:
    """What the two judged arms cost, and where these costs meet."""

    prompt: Arm
    tuned: Arm
    priced: prices.Prices

    @property
    def is_measured(self) -> bool:
        both = (self.prompt.condition, self.tuned.condition)
        return bool(self.tuned.condition.runs) and all("query_flops" in one.costs for one in both)

    def in_flops(self) -> list[Row]:
        rows = []
        for counted in (ONE_RUN, TRIED):
            for trainer in (PEFT, HERE):
                for serving in SERVINGS:
                    queries, low, high = self._flops(counted, trainer, serving)
                    rows.append(self._row(serving, "FLOP", trainer, counted, queries, low, high))
        return rows

    def _flops(self, counted: str, trainer: str, serving: str) -> tuple[float, float, float]:
        """Return the break-even of mean costs, and the least and the most of single draws."""
        suffix = "_computed" if trainer == HERE else ""
        tuned, prompt = self.tuned.condition, self.prompt.condition
        if counted == ONE_RUN:
            training = np.array([run[f"flops{suffix}"] for run in tuned.runs])
            once = np.zeros(len(prompt.draws))
        else:
            training = np.full(len(tuned.draws), tuned.numbers[f"training_tried_flops{suffix}"])
            once = np.array([search["flops"] for search in prompt.searches] or [0.0])
            once = np.broadcast_to(once, len(prompt.draws))
        costs = [
            [by_draw(arm, name) for arm in (self.prompt, self.tuned)]
            for name in ("query_flops", "query_flops_cached")
        ]
        return self._meet(training, once, costs[0], costs[serving == "cached"])

    def _meet(
        self,
        training: np.ndarray,
        once: np.ndarray,
        uncached: Sequence[np.ndarray],
        served: Sequence[np.ndarray],
    ) -> tuple[float, float, float]:
        """Return the break-even of mean costs, and the least and the most of single draws.

        Args:
            training: what tuning costs once, in each of its draws.
            once: what the prompt costs once, in each of its draws.
            uncached: cost of a query of the prompt and of the tuned model, in each draw.
            served: the same as they are served.
        """
        tuned, prompt = self.tuned.condition, self.prompt.condition
        # Filling the cache is paid once on either side; without one nothing is added.
        once, training = once + uncached[0] - served[0], training + uncached[1] - served[1]
        asked, read = served
        queries = accuracy.break_even(
            float(training.mean()), float(asked.mean()), float(read.mean()), float(once.mean())
        )
        single = [
            accuracy.break_even(training[t], asked[p], read[t], once[p])
            for t, p in _pairs(tuned.draws, prompt.draws)
        ]
        if len(single) == 1:
            return queries, math.nan, math.nan
        return queries, min(single), max(single)

    def in_seconds(self) -> list[Row]:
        """Return the break-even in seconds; none where timings differ by chance."""
        read = [by_draw(arm, "query_tokens").mean() for arm in (self.prompt, self.tuned)]
        if read[0] < TELLING * read[1]:
            return []
        prompt, tuned = self.prompt.condition.numbers, self.tuned.condition.numbers
        training = tuned["training_seconds_amortized"]
        queries = accuracy.break_even(training, prompt["query_seconds"], tuned["query_seconds"])
        return [self._row("uncached", "seconds", HERE, ONE_RUN, queries)]

    def in_money(self) -> list[Row]:
        """Return the break-even in money; none where a price that it needs was not given."""
        runs = self.tuned.condition.runs
        amortized = self.tuned.condition.numbers["training_seconds_amortized"]
        training = np.asarray(
            prices.training_price(
                self.priced,
                flops=np.array([run["flops"] for run in runs]),
                seconds=np.array([run.get("seconds_amortized", amortized) for run in runs]),
            )
        )
        costs = [
            [query_prices(arm, self.priced, serving) for arm in (self.prompt, self.tuned)]
            for serving in SERVINGS
        ]
        if not np.isfinite(np.concatenate([training, *costs[0], *costs[1]])).all():
            return []
        trainer = PEFT if math.isfinite(prices.flop_price(self.priced)) else HERE
        once = np.zeros(len(self.prompt.condition.draws))
        return [
            self._row(
                serving, "money", trainer, ONE_RUN, *self._meet(training, once, costs[0], served)
            )
            for serving, served in zip(SERVINGS, costs, strict=True)
        ]

    def _row(
        self,
        serving: str,
        unit: str,
        trainer: str,
        counted: str,
        queries: float,
        low: float = math.nan,
        high: float = math.nan,
    ) -> Row:
        return {
            "prompt_condition": self.prompt.label,
            "tuned_condition": self.tuned.label,
            "serving": serving,
            "unit": unit,
            "trainer": trainer,
            "counted": counted,
            "queries": queries,
            "low": low,
            "high": high,
        }


def _said(pair: _Pair, rows: Sequence[Row]) -> str:
    """Return the break-even as one sentence."""
    found = {(row["unit"], row["trainer"], row["counted"], row["serving"]): row for row in rows}

    def from_on(unit: str, trainer: str, counted: str, serving: str) -> str:
        return from_on_queries(found[unit, trainer, counted, serving])

    def either_way(counted: str) -> str:
        whole, cached = (
            from_on("FLOP", PEFT, counted, serving) for serving in ("uncached", "cached")
        )
        if whole == cached:
            return f"{whole}, with the prompt cached or not"
        return f"{whole}, {cached} with the prompt cached"

    once, tried = either_way(ONE_RUN), either_way(TRIED)
    said = [
        f"break-even of {pair.tuned.label} against {pair.prompt.label}, FLOPs of one run of "
        f"{PEFT}: {once}",
        "counting everything tried on both sides: "
        + ("the same" if tried == once else tried.replace(" with the prompt cached", " cached")),
    ]
    if ("seconds", HERE, ONE_RUN, "uncached") in found:
        said.append(
            "in seconds here, training shared among models trained together: "
            f"{from_on('seconds', HERE, ONE_RUN, 'uncached')}"
        )
    money = {row["serving"]: row for row in rows if row["unit"] == "money"}
    if money:
        said.append(
            f"in money: {from_on_queries(money['uncached'])}, "
            f"{from_on_queries(money['cached'])} cached"
        )
    elif pair.priced:
        said.append(
            "in money: not told, as prices of training (gpu_hour), or of queries (those of tokens, "
            "or gpu_flops), were not given"
        )
    return "; ".join(said)


def from_on_queries(row: Mapping[str, Any]) -> str:
    """Return "from 120 queries on (100 to 140 in single draws)", "never" or "unknown"."""
    queries, low, high = row["queries"], row["low"], row["high"]
    if math.isnan(queries):
        return "unknown"
    if math.isinf(queries):
        said = "never"
    elif queries <= 1:
        said = "from the first query on"
    else:
        said = f"from {math.ceil(queries):,} queries on"
    if math.isnan(low) or _count(low) == _count(high):
        return said
    return f"{said} ({_count(low)} to {_count(high)} in single draws)"


def _count(queries: float) -> str:
    return "never" if math.isinf(queries) else f"{math.ceil(queries):,}"


def _pairs(left: Sequence[int], right: Sequence[int]) -> list[tuple[int, int]]:
    """Return places of draws to be set against each other: the same draws where both have them."""
    if tuple(left) == tuple(right):
        return [(place, place) for place in range(len(left))]
    return [(i, j) for i in range(len(left)) for j in range(len(right))]
