"""The verdict as advice: what to do, in words that need no table."""

import math
from collections.abc import Collection, Sequence

from adaptlens.adapt.families import family_of
from adaptlens.conditions import Condition
from adaptlens.formatting import counted, fixed
from adaptlens.studies.compare.arms import Arm
from adaptlens.studies.compare.costs import ONE_RUN, PEFT, SERVINGS, BreakEven
from adaptlens.studies.compare.curves import Crossing
from adaptlens.studies.compare.verdict import Verdict
from adaptlens.studies.compare.verdict_words import UNITS, interval, phrase
from adaptlens.types import Kind

TUNING = {
    "it": "tuning",
    "sl": "tuning without the instruction",
    "full": "tuning all weights",
    "distil": "distilling the prompt into weights",
    "ia2": "aligning attention with the prompt's",
    "ia2-it": "tuning, after aligning attention with the prompt's,",
    "soft-prompt": "tuning embeddings before the prompt",
}


def advice(found: Verdict, arms: Sequence[Arm], pays: BreakEven, kind: Kind) -> str:
    """Return what to do and why, one to three sentences.

    Args:
        found: the verdict.
        arms: among them its two.
        pays: when tuning has paid for itself.
        kind: of the task.
    """
    known = {arm.label: arm for arm in arms}
    if found.primary is None or found.prompt not in known or found.tuned not in known:
        return ""
    prompt, tuned = named(known[found.prompt]), named(known[found.tuned])
    unit, pair = UNITS[kind], found.primary
    gap = fixed(100 * abs(pair.difference))
    uncached, cached = (_pays_from(pays, serving) for serving in SERVINGS)
    if found.state == "tune":
        said = f"{_capital(tuned)} scores {gap} {unit} {interval(pair)} more than {prompt}."
        return f"{said} {_of_cost(uncached, cached)}".strip()
    if found.state == "prompt":
        return (
            f"{_capital(prompt)} scores {gap} {unit} {interval(pair, -1)} more than {tuned}, and "
            "nothing has to be trained."
        )
    if found.state == "no difference":
        said = f"{_capital(prompt)} and {tuned} score alike, within {100 * pair.margin:g} {unit}."
        return f"{said} Take the cheaper: {_cheaper(uncached, cached)}."
    if found.state == "neither":
        against = dict.fromkeys(
            phrase(test.right) for test in found.tests if test.right not in known
        )
        return (
            f"Neither {prompt} nor {tuned} is shown to beat {' or '.join(against)}. Try more "
            "examples, or another model, before either."
        )
    least = fixed(100 * pair.detectable)
    if pair.difference:
        ahead, behind = (tuned, prompt) if pair.difference > 0 else (prompt, tuned)
        seen = (
            f"{_capital(ahead)} is {gap} {unit} ahead of {behind}, which this comparison cannot "
            "tell from chance"
        )
        if abs(pair.difference) < pair.detectable:
            seen += f": it would have found {least} {unit}"
    else:
        seen = (
            f"{_capital(prompt)} and {tuned} score the same here; that they are equal is not shown"
        )
    if above := _not_beaten(found, known):
        then = f"Neither is shown to beat {above}, so neither is worth its cost yet."
    else:
        then = f"Until it is decided, cost decides: {_cheaper(uncached, cached)}."
    return f"{seen}.{_would_decide(found)} {then}"


def with_crossing(said: str, found: Verdict, crossing: Crossing) -> str:
    """Return advice with where tuning and prompting cross, where that is shown.

    Not under a verdict for neither arm: what does not beat a baseline wins nowhere.
    """
    if not said or found.state == "neither" or crossing.state not in ("crossing", "none"):
        return said
    return f"{said} {crossing.line}"


def named(arm: Arm) -> str:
    """Return what an arm is, in words: "showing 16 examples in the prompt"."""
    one: Condition = arm.condition
    examples = counted(one.examples, "example")
    if one.is_brought:
        return f"'{arm.condition.label}'"
    if one.adaptation == "zero_shot":
        return "asking without examples"
    if one.adaptation == "icl":
        return f"showing {examples} in the prompt"
    if one.adaptation == "best_prompt":
        return f"the best prompt found ({examples if one.examples else 'no examples'})"
    if one.adaptation in TUNING:
        return f"{TUNING[one.adaptation]} on {examples}"
    if one.adaptation == "vector":
        return f"adding a vector made with {examples}"
    on = " on" if family_of(one.adaptation) == "tune" else " with"
    return f"{one.label}{f'{on} {examples}' if one.examples else ''}"


def _pays_from(pays: BreakEven, serving: str) -> float | None:
    """Return from how many queries on tuning costs less; None where that is not known."""
    wanted = {"unit": "FLOP", "trainer": PEFT, "counted": ONE_RUN, "serving": serving}
    for row in pays.rows:
        if all(row[name] == value for name, value in wanted.items()):
            return float(row["queries"])
    return None


def _of_cost(uncached: float | None, cached: float | None) -> str:
    """Return when tuning has paid, and when it has where the prompt is cached, if that differs."""
    if uncached is None:
        return ""
    if math.isinf(uncached):
        return "It never costs less, as its queries are no shorter."
    said = f"It has paid for its training after {_queries(uncached)}"
    if cached is None or _queries(cached) == _queries(uncached):
        return f"{said}."
    if math.isinf(cached):
        return f"{said}, and never where the prompt is cached."
    return f"{said}, or {_queries(cached)} where the prompt is cached."


def _cheaper(uncached: float | None, cached: float | None) -> str:
    """Return which side is cheaper from when on; caching a prompt makes it cheap for longer."""
    if uncached is None or math.isinf(uncached):
        return "the prompt, which needs no training"
    said = f"the prompt below {_queries(uncached)}"
    if cached is None or _queries(cached) == _queries(uncached):
        return f"{said}, tuning above"
    if math.isinf(cached):
        return f"{said}, tuning above; where the prompt is cached, the prompt"
    return f"{said} ({_queries(cached)} where it is cached), tuning above"


def _queries(number: float) -> str:
    if math.isinf(number):
        return "no number of queries"
    whole = math.ceil(number)
    return "1 query" if whole == 1 else f"{whole:,} queries"


def _would_decide(found: Verdict) -> str:
    pair = found.primary
    if pair is None:
        return ""
    if not pair.supports_claims:
        return f" {_capital(pair.warnings[0])}."
    if pair.needed_draws is not None and pair.needed_draws > pair.draws:
        return f" {pair.needed_draws:,} draws would decide it."
    if pair.needed_queries is not None and pair.needed_queries > pair.queries:
        return f" {pair.needed_queries:,} test items would decide it."
    return ""


def _not_beaten(found: Verdict, arms: Collection[str]) -> str:
    """Return the baselines that neither arm is seen to beat, in words; "" where one arm does."""
    against = [test for test in found.tests if test.right not in arms]
    if not against or any(test.low > 0 for test in against):
        return ""
    return " or ".join(dict.fromkeys(phrase(test.right) for test in against))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
