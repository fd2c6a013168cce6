"""Prompt or tune: one line, from scores, with error rates that hold after choosing the arms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np

from adaptlens.stats import FLIPS, MINIMUM_DRAWS, Difference, Scores, difference, holm
from adaptlens.values import Kind

State = Literal["tune", "prompt", "no difference", "undecided", "neither"]

UNITS = {"choice": "points", "generation": "chrF points"}


@dataclass(frozen=True)
class Verdict:
    """The answer for one model and task, and the tests it rests on.

    Attributes:
        state: what is claimed.
        line: the claim as one sentence with its numbers.
        prompt: the prompting arm that was judged; empty without one.
        tuned: the same for tuning.
        primary: tuning against prompting.
        tests: `primary` and each arm against the baselines, corrected together.
        selection: how the arms were chosen, one sentence.
        warnings: what a reader must know before believing the line.
    """

    state: State
    line: str
    prompt: str = ""
    tuned: str = ""
    primary: Difference | None = None
    tests: tuple[Difference, ...] = ()
    selection: str = ""
    warnings: tuple[str, ...] = ()


def verdict(
    conditions: Mapping[str, Scores],
    *,
    kind: Kind = "choice",
    baselines: Mapping[str, np.ndarray] | None = None,
    margin: float = 2.0,
    alpha: float = 0.05,
    seed: int = 0,
    flips: int = FLIPS,
) -> Verdict:
    """Return whether to prompt or to tune, with a chance of at most alpha of a false claim.

    The first rule that applies decides:

    1. undecided: a side is missing, or an arm has fewer than `MINIMUM_DRAWS` draws;
    2. neither: neither arm is shown to beat every baseline;
    3. no difference: the difference lies within `margin` (two one-sided tests);
    4. tune or prompt: the difference is not zero (two-sided);
    5. undecided.

    The arms are chosen on the validation scores. Validation has other queries but the same draws,
    so where another half of the draws would have chosen another arm, a second, cross-fitted
    judgement is made, each half of the draws with the arm that the other half chose: its
    difference is the one reported (it is unbiased), and a claim must hold in both. Without
    validation scores, or where conditions were run on different draws, the arms with the best
    scores are judged, and tests and interval are corrected for all pairs they were chosen from.

    Args:
        conditions: label to scores on the same queries. Prompting is family "prompt" and the
            unadapted model ("none": a prompt without demonstrations).
        kind: names the unit in the line.
        baselines: name ("majority 'negative'") to the score [queries] of answering without
            reading.
        margin: the smallest difference that matters, in points.
        alpha: chance of a false claim.
        seed: of the random sign flips.
        flips: how many of them.

    Raises:
        UserError: conditions on different queries, a baseline of the wrong length.
    """
    prompts = {label: s for label, s in conditions.items() if s.family != "tune"}
    tunings = {label: s for label, s in conditions.items() if s.family == "tune"}
    if not prompts or not tunings:
        found = f"only {'prompting' if prompts else 'tuning'} was" if conditions else "nothing was"
        return Verdict("undecided", f"undecided: {found} measured, so there is nothing to compare")
    arms = _choose(prompts, tunings)
    settings: dict[str, Any] = {"margin": margin / 100, "seed": seed, "flips": flips}
    settings["level"] = 1 - alpha / len(arms.pairs)
    tests = [_tested(arms.judged, pair, settings) for pair in arms.pairs]
    known = {
        name: (Scores(np.asarray(values, float)[None]),)
        for name, values in (baselines or {}).items()
    }
    if known:
        settings["level"] = 1 - alpha
        tests += [_hardest(arm, arms.judged, known, settings) for arm in arms.judged]
    adjusted = holm([one.p for one in tests])
    said = f"Holm over {len(tests)} tests" if len(tests) > 1 else "none: one test"
    tests = [replace(t, p_holm=p, correction=said) for t, p in zip(tests, adjusted, strict=True)]
    place = arms.pairs.index((arms.tuned, arms.prompt))
    equivalence_p = min(1.0, tests[place].equivalence_p * len(arms.pairs))
    tests[place] = replace(tests[place], equivalence_p=equivalence_p)
    against = [t for t in tests[len(arms.pairs) :] if t.left in (arms.tuned, arms.prompt)]
    state = _state(tests[place], against, alpha)
    return Verdict(
        state,
        _line(state, tests[place], against, UNITS[kind], _size(arms)),
        arms.prompt,
        arms.tuned,
        tests[place],
        tuple(tests),
        arms.selection,
        tests[place].warnings,
    )


@dataclass(frozen=True)
class _Arms:
    """Who is judged. `judged` holds each arm's views: cross-fitted first, as chosen last."""

    prompt: str
    tuned: str
    pairs: list[tuple[str, str]]
    judged: dict[str, tuple[Scores, ...]]
    selection: str


def _choose(prompts: Mapping[str, Scores], tunings: Mapping[str, Scores]) -> _Arms:
    """Return the two arms to judge, and all pairs that a claim about them must cover."""
    everyone = [*prompts.values(), *tunings.values()]
    draws = {frozenset(scores.draws) for scores in everyone if scores.is_drawn}
    if len(everyone) > 2 and (len(draws) > 1 or not all(map(_can_choose, (prompts, tunings)))):
        pairs = list(product(tunings, prompts))
        return _Arms(
            max(prompts, key=lambda label: prompts[label].values.mean()),
            max(tunings, key=lambda label: tunings[label].values.mean()),
            pairs,
            {label: (scores,) for label, scores in (*tunings.items(), *prompts.items())},
            f"arms chosen by their test scores; tests and interval cover all {len(pairs)} pairs",
        )
    common = sorted(next(iter(draws), ())) if len(draws) == 1 else []
    prompt, prompted = _chosen(prompts, common)
    tuned, tuning = _chosen(tunings, common)
    selection = "arms chosen on the validation split"
    if len(everyone) == 2:
        selection = "one arm on each side, so none was chosen"
    elif len(prompted) + len(tuning) > 2:
        selection += ", cross-fitted over halves of the draws, which would choose other arms"
    judged = {tuned: tuning, prompt: prompted}
    return _Arms(prompt, tuned, [(tuned, prompt)], judged, selection)


def _can_choose(arms: Mapping[str, Scores]) -> bool:
    return len(arms) == 1 or all(scores.validation is not None for scores in arms.values())


def _chosen(arms: Mapping[str, Scores], draws: Sequence[int]) -> tuple[str, tuple[Scores, ...]]:
    """Return the arm with the best validation score, and its views.

    The first of equally good arms is chosen.
    """
    if len(arms) == 1:
        ((label, scores),) = arms.items()
        return label, (scores,)

    def best(some: Sequence[int]) -> str:
        return max(arms, key=lambda label: _validation(arms[label], some))

    label = best(draws)
    halves = [draws[0::2], draws[1::2]] if len(draws) >= MINIMUM_DRAWS else []
    rows = {
        draw: _row(arms[best(other)], draw)
        for half, other in zip(halves, reversed(halves), strict=True)
        for draw in half
    }
    if all(best(half) == label for half in halves):
        return label, (arms[label],)
    crossed = Scores(np.stack(list(rows.values())), tuple(rows), arms[label].family)
    return label, (crossed, arms[label])


def _validation(scores: Scores, draws: Sequence[int]) -> float:
    assert scores.validation is not None
    if not scores.is_drawn:
        return float(scores.validation.mean())
    return float(scores.validation[[scores.draws.index(draw) for draw in draws]].mean())


def _row(scores: Scores, draw: int) -> np.ndarray:
    return scores.values[scores.draws.index(draw) if scores.is_drawn else 0]


def _tested(
    judged: Mapping[str, tuple[Scores, ...]], pair: tuple[str, str], settings: Mapping[str, Any]
) -> Difference:
    """Return the test of a pair that holds in every view of it, with the first view's difference.

    The larger p-values, an interval around both, 1 where the views differ in sign.
    """
    left, right = (judged[name] for name in pair)
    views = max(len(left), len(right))
    tests = [
        difference(
            left[min(i, len(left) - 1)], right[min(i, len(right) - 1)], names=pair, **settings
        )
        for i in range(views)
    ]
    agree = len({test.difference > 0 for test in tests}) == 1
    return replace(
        tests[0],
        low=min(test.low for test in tests),
        high=max(test.high for test in tests),
        p=max(test.p for test in tests) if agree else 1.0,
        equivalence_p=max(test.equivalence_p for test in tests),
        detectable=max(test.detectable for test in tests),
    )


def _hardest(
    arm: str,
    judged: Mapping[str, tuple[Scores, ...]],
    baselines: Mapping[str, tuple[Scores, ...]],
    settings: Mapping[str, Any],
) -> Difference:
    """Return the test against the baseline that is hardest to beat; p is 1 where it wins.

    An arm beats every baseline when it beats this one (intersection-union test).
    """
    everyone = {**baselines, arm: judged[arm]}
    tests = [_tested(everyone, (arm, name), settings) for name in baselines]
    tests = [test if test.difference > 0 else replace(test, p=1.0) for test in tests]
    hardest = max(tests, key=lambda test: (test.p, -test.difference))
    return replace(hardest, test=f"{hardest.test}; 1 where not above")


def _state(first: Difference, against: Sequence[Difference], alpha: float) -> State:
    if not first.supports_claims:
        return "undecided"
    if against and all(test.p_holm > alpha for test in against):
        return "neither"
    if first.equivalence_p <= alpha:
        return "no difference"
    if first.p_holm <= alpha:
        return "tune" if first.difference > 0 else "prompt"
    return "undecided"


def _size(arms: _Arms) -> str:
    sides = [arms.judged[arms.tuned][-1], arms.judged[arms.prompt][-1]]
    counts = list(dict.fromkeys(len(side.draws) for side in sides if side.is_drawn))
    queries = f"{sides[0].values.shape[1]} queries"
    if not counts:
        return queries
    return f"{queries} x {' and '.join(map(str, counts))} draw{'s' * (counts != [1])}"


def _line(
    state: State, first: Difference, against: Sequence[Difference], unit: str, size: str
) -> str:
    left, right = first.left, first.right
    gap = f"{100 * first.difference:+.1f} {unit} {_interval(first)}"
    chance = f"p(Holm){_p(first.p_holm)}"
    reach = f"smallest detectable difference {100 * first.detectable:.1f} {unit}"
    if state == "tune":
        gap = f"{100 * first.difference:.1f} {unit} {_interval(first)}"
        return f"tune: {left} beats {right} by {gap}, {chance}, {size}"
    if state == "prompt":
        gap = f"{-100 * first.difference:.1f} {unit} {_interval(first, -1)}"
        return f"prompt: {right} beats {left} by {gap}, {chance}, {size}"
    if state == "no difference":
        return (
            f"no difference: {left} and {right} are equivalent within {100 * first.margin:g} "
            f"{unit} ({gap}), p{_p(first.equivalence_p)}, {size}"
        )
    if state == "neither":
        names = " or ".join(dict.fromkeys(_phrase(test.right) for test in against))
        gaps = ", ".join(
            f"{test.left} {100 * test.difference:+.1f} {unit} {_interval(test)}" for test in against
        )
        most = 100 * max(test.detectable for test in against)
        return (
            f"neither beats {names}: {gaps}; smallest detectable difference {most:.1f} {unit}, "
            f"{size}"
        )
    if not first.supports_claims:
        return f"undecided: {first.warnings[0]}; {left} against {right} {gap}, {size}"
    return f"undecided: {left} against {right} {gap}, {chance}; {reach}, {size}"


def _phrase(baseline: str) -> str:
    return baseline.replace("majority ", "always answering ", 1)


def _interval(test: Difference, sign: int = 1) -> str:
    low, high = sorted((sign * 100 * test.low, sign * 100 * test.high))
    return f"[{low:.1f}, {high:.1f}]"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"={value:.3f}"
