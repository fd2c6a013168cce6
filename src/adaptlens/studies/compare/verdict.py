"""Prompt or tune: one line, from scores, with error rates that hold after choosing the arms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal

import numpy as np

from adaptlens.stats.intervals import FLIPS, Difference, difference, holm
from adaptlens.stats.scores import Scores
from adaptlens.studies.compare.arm_choice import Choice, can_choose, cheaper, choose
from adaptlens.studies.compare.verdict_words import Finding, line
from adaptlens.types import Kind

ON_VALIDATION = "arms chosen on the validation split"
State = Literal["tune", "prompt", "no difference", "undecided", "neither"]


@dataclass(frozen=True)
class Verdict:
    """The answer for one model and task, and the tests it rests on.

    Attributes:
        state: what is claimed.
        line: the claim as one sentence with its numbers.
        prompt: the prompting arm that was judged; empty without one.
        tuned: the same for tuning.
        primary: tuning against prompting: the pair's own difference, as any table has it.
        procedure: the same where each half of the draws is judged by the arms that the other half
            would have chosen; None where those are the same.
        p: of the claim that the two differ: the larger of both, corrected with `tests`.
        equivalence_p: of the claim that they do not.
        tests: what was corrected together: the pair, and each arm against its hardest baseline.
        selection: how the arms were chosen, one sentence.
        warnings: what a reader must know before believing the line.
        choices: the judged arms, prompt and tuned, with what halves of the draws would choose.
        is_chosen_blind: whether they were chosen on other data than judges them.
    """

    state: State
    line: str
    prompt: str = ""
    tuned: str = ""
    primary: Difference | None = None
    procedure: Difference | None = None
    p: float = 1.0
    equivalence_p: float = 1.0
    tests: tuple[Difference, ...] = ()
    selection: str = ""
    warnings: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = field(default=(), compare=False)
    is_chosen_blind: bool = True


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

    1. undecided: a side is missing, or an arm has too few draws;
    2. neither: neither arm is shown to beat every baseline;
    3. no difference: the difference lies within `margin` (two one-sided tests);
    4. tune or prompt: the difference is not zero (two-sided);
    5. undecided.

    The arms are chosen on the validation scores (`studies.compare.arm_choice.choose`). Validation
    has other queries but the same draws, so a claim must hold twice: for the pair of arms that is
    named, and for the procedure that chose them, in which each half of the draws judges what the
    other half chose. The line prints the pair's own difference. Without validation scores, or where
    conditions were run on different draws, the arms with the best scores are judged, and the claim
    is corrected for all pairs they were chosen from.

    Args:
        conditions: label to scores on the same queries. Prompting is family "prompt" and the
            unadapted model ("none": a prompt without demonstrations). Their order is of no effect.
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
    settings: dict[str, Any] = {"margin": margin / 100, "seed": seed, "flips": flips}
    settings["level"] = 1 - alpha
    arms = _choose(prompts, tunings, margin / 100)
    known = {name: _flat(values, arms.tuned.scores) for name, values in (baselines or {}).items()}
    own = _between(arms.tuned, arms.prompt, settings)
    procedure = _procedure(arms, settings)
    pairs = [held(own, procedure), *(_between(t, p, settings) for t, p in arms.others)]
    against = [_hardest(arm, known, settings) for arm in (arms.tuned, arms.prompt) if known]
    adjusted = holm([test.p for test in (*pairs, *against)])
    said = f"Holm over {len(adjusted)} tests" if len(adjusted) > 1 else "none: one test"
    tests = [
        replace(test, p_holm=p, correction=said)
        for test, p in zip((*pairs, *against), adjusted, strict=True)
    ]
    same = min(1.0, pairs[0].equivalence_p * len(pairs))
    state = _state(own, tests[0].p_holm, same, tests[len(pairs) :], alpha)
    scores = {arms.tuned.label: arms.tuned.scores, arms.prompt.label: arms.prompt.scores}
    finding = Finding(
        state, own, tests[0].p_holm, same, procedure, tests[len(pairs) :], scores, kind
    )
    return Verdict(
        state,
        line(finding),
        arms.prompt.label,
        arms.tuned.label,
        own,
        procedure,
        tests[0].p_holm,
        same,
        tuple(tests),
        arms.selection,
        own.warnings,
        (arms.prompt, arms.tuned),
        not arms.others,
    )


@dataclass(frozen=True)
class _Arms:
    """Who is judged, what else the claim must cover, and how they were chosen."""

    prompt: Choice
    tuned: Choice
    selection: str
    others: tuple[tuple[Choice, Choice], ...] = ()


def _choose(prompts: Mapping[str, Scores], tunings: Mapping[str, Scores], margin: float) -> _Arms:
    """Return the two arms to judge, and all other pairs that a claim about them must cover."""
    everyone = [*prompts.values(), *tunings.values()]
    draws = {frozenset(scores.draws) for scores in everyone if scores.is_drawn}
    if len(everyone) > 2 and (len(draws) > 1 or not (can_choose(prompts) and can_choose(tunings))):
        best = [_best(arms) for arms in (tunings, prompts)]
        pairs = [
            (Choice(t, tunings[t]), Choice(p, prompts[p]))
            for t, p in product(sorted(tunings), sorted(prompts))
        ]
        others = tuple(pair for pair in pairs if [one.label for one in pair] != best)
        return _Arms(
            Choice(best[1], prompts[best[1]]),
            Choice(best[0], tunings[best[0]]),
            f"arms chosen by their test scores; the claim covers all {len(pairs)} pairs",
            others,
        )
    common = sorted(next(iter(draws), ()))
    prompt, tuned = choose(prompts, common, margin), choose(tunings, common, margin)
    selection = ON_VALIDATION
    if len(everyone) == 2:
        selection = "one arm on each side, so none was chosen"
    elif prompt.crossed is not None or tuned.crossed is not None:
        selection += "; halves of the draws would choose other arms, so claims must hold for these"
    return _Arms(prompt, tuned, selection)


def _best(arms: Mapping[str, Scores]) -> str:
    """Return the arm with the best test score; the cheaper of equals."""
    means = {label: round(float(scores.values.mean()), 12) for label, scores in arms.items()}
    return min(arms, key=lambda label: (-means[label], cheaper(arms, label)))


def _flat(values: np.ndarray, like: Scores) -> Choice:
    """Return a baseline as an arm without draws, its queries grouped as the arms' are."""
    return Choice("", Scores(np.asarray(values, float)[None], groups=like.groups))


def _between(left: Choice, right: Choice, settings: Mapping[str, Any]) -> Difference:
    return difference(left.scores, right.scores, names=(left.label, right.label), **settings)


def _procedure(arms: _Arms, settings: Mapping[str, Any]) -> Difference | None:
    """Return the difference of the arms that other draws chose; None where they are the same."""
    if arms.tuned.crossed is None and arms.prompt.crossed is None:
        return None
    names = (arms.tuned.label, arms.prompt.label)
    return difference(arms.tuned.of_procedure, arms.prompt.of_procedure, names=names, **settings)


def held(own: Difference, procedure: Difference | None) -> Difference:
    """Return a difference with the p-values that hold for the pair and for the procedure.

    The larger ones; 1 where the two differ in sign.
    """
    if procedure is None:
        return own
    agree = (own.difference > 0) == (procedure.difference > 0)
    return replace(
        own,
        p=max(own.p, procedure.p) if agree else 1.0,
        equivalence_p=max(own.equivalence_p, procedure.equivalence_p),
        detectable=max(own.detectable, procedure.detectable),
    )


def _hardest(
    arm: Choice, baselines: Mapping[str, Choice], settings: Mapping[str, Any]
) -> Difference:
    """Return the test against the baseline that is hardest to beat; p is 1 where it wins.

    An arm beats every baseline when it beats this one (intersection-union test, Berger 1982).
    """
    tests = []
    for name, baseline in sorted(baselines.items()):
        views = [
            difference(scores, baseline.scores, names=(arm.label, name), **settings)
            for scores in dict.fromkeys((arm.scores, arm.of_procedure))
        ]
        test = held(views[0], views[1] if len(views) > 1 else None)
        tests.append(test if test.difference > 0 else replace(test, p=1.0))
    hardest = max(tests, key=lambda test: (test.p, -test.difference))
    return replace(hardest, test=f"{hardest.test}; 1 where not above")


def _state(
    own: Difference, p: float, same: float, against: Sequence[Difference], alpha: float
) -> State:
    if not own.supports_claims:
        return "undecided"
    if against and all(test.p_holm > alpha for test in against):
        return "neither"
    if same <= alpha:
        return "no difference"
    if p <= alpha:
        return "tune" if own.difference > 0 else "prompt"
    return "undecided"
