"""What each side of a comparison was allowed: labels, templates, searches, rates, scoring rules."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adaptlens.adapt.families import family_of
from adaptlens.conditions import Condition
from adaptlens.formatting import counted, listed
from adaptlens.report.theme import RULES
from adaptlens.studies.compare.arms import Reading
from adaptlens.studies.compare.config import CompareConfig
from adaptlens.types import Task

NOUNS = {"learning_rate": "rate", "max_steps": "step", "layer": "layer", "strength": "strength"}
"""What a search chooses among, as a sentence calls it."""
MOST_NAMED = 6
"""Of more values, only those that were chosen are named."""


def allowed(members: Sequence[Condition], task: Task, config: CompareConfig) -> str:
    """Return a few sentences: what both sides had, then what prompting and what tuning could try.

    Args:
        members: the conditions of one model on one task.
        task: theirs.
        config: the settings of the comparison.
    """
    brought = [one for one in members if one.is_brought]
    own = [one for one in members if "arm" not in one.arguments]
    prompted = [one for one in own if family_of(one.adaptation) != "tune"]
    tuned = [one for one in own if family_of(one.adaptation) == "tune"]
    said = [f"Both sides: {_shared(members, task, config)}."]
    if prompted:
        said.append(f"Prompting: {_prompting(prompted)}.")
    if tuned:
        said.append(f"Tuning: {_tuning(tuned)}.")
    if brought:
        named = (f"{one.label} ({one.adaptation})" for one in brought)
        said.append(f"Brought, with whatever labels were used for it: {listed(named)}.")
    return " ".join(said)


def _shared(members: Sequence[Condition], task: Task, config: CompareConfig) -> str:
    parts = []
    if sizes := sorted({one.examples for one in members} - {0}):
        draws = max(len(one.draws) for one in members)
        parts.append(
            f"the same {counted(draws, 'draw')} of {listed(map(str, sizes), 'or')} labeled "
            f"examples of {len(task.train):,}"
        )
    reading = Reading(members[0], task)
    items = counted(reading.num_validation, "validation item")
    if reading.can_choose and not config.true_few_shot:
        parts.append(
            f"{items} (the first {reading.half} choose rates, prompts, templates and scoring "
            "rules, the others choose the arm)"
        )
    elif reading.can_choose:
        parts.append(f"{items}, which choose the arm and nothing else")
    if names := dict.fromkeys(name for one in members for name in one.templates):
        parts.append(f"{counted(len(names), 'template')} ({', '.join(names)})")
    if "written" in reading.rules():
        parts.append(f"one scoring rule: {RULES['written']}")
    elif reading.is_choice and config.scoring == "validation":
        rules = listed((RULES[rule] for rule in reading.rules()), "or")
        parts.append(f"for each arm the scoring rule that does best: {rules}")
    elif reading.is_choice and config.scoring in reading.rules():
        parts.append(f"one scoring rule: {RULES[config.scoring]}")
    return "; ".join(parts) or "no labels"


def _prompting(members: Sequence[Condition]) -> str:
    """Return the numbers of demonstrations, and how many prompts the searches read."""
    shots = sorted({one.examples for one in members if not one.searches})
    parts = []
    if shots:
        parts.append(f"{listed(map(str, shots), 'or')} demonstrations")
    if searches := [found for one in members for found in one.searches]:
        most = max(searches, key=lambda found: found["reads"])
        parts.append(
            "a search for the best template, label words, demonstrations and order, which read "
            f"at most {most['reads']:,} prompts on {counted(most['items'], 'labeled item')} for "
            "one draw"
        )
        if too_long := max(found.get("too_long", 0) for found in searches):
            parts[-1] += f" ({counted(too_long, 'candidate')} did not fit the model's context)"
    return "; ".join(parts)


def _tuning(members: Sequence[Condition]) -> str:
    """Return the ways of tuning with their rates and steps, and how often each rate was chosen."""
    named = dict.fromkeys(one.adaptation for one in members)
    return "; ".join(
        f"{name}, {_search_space([one for one in members if one.adaptation == name])}"
        for name in named
    )


def _search_space(members: Sequence[Condition]) -> str:
    arguments = members[0].arguments
    kind = _kind(arguments)
    if "unlabeled" in arguments:
        kind += f" on up to {arguments['unlabeled']} inputs more, without their answers"
    if members[0].tuned_on:
        number = arguments["num_templates"]
        kind += f" under {counted(number, 'template')} a draw, in turn"
    tried = [c for one in members for c in one.training.get("candidates", ())]
    chosen = [c for one in members for c in one.chosen]
    if tried:
        both = (_counts(name, tried, chosen) for name in NOUNS if name in tried[0])
    else:
        names = () if "strengths" in arguments else ("learning_rate", "max_steps")
        both = (_given(name, arguments.get(name)) for name in names)
    return ", ".join([kind, *both])


def _kind(arguments: Mapping[str, Any]) -> str:
    """Return what is changed."""
    if "strengths" in arguments:
        return "a vector"
    if tokens := arguments.get("num_virtual_tokens"):
        start = "drawn tokens" if arguments["prompt_tuning_init"] == "sample_vocab" else "a text"
        return f"a soft prompt of {counted(tokens, 'token')}, which starts as {start}"
    if "lora_rank" not in arguments:
        return "all weights"
    kind = "DoRA" if arguments.get("use_dora") else "LoRA"
    return f"{kind} of rank {arguments['lora_rank']}"


def _counts(
    name: str, tried: Iterable[Mapping[str, Any]], chosen: Sequence[Mapping[str, Any]]
) -> str:
    """Return the values that were tried, each with the number of draws that chose it."""
    values = sorted({one[name] for one in tried})
    if len(values) == 1:
        return _single(name, values[0])
    taken = Counter(one[name] for one in chosen)
    if len(values) > MOST_NAMED:
        named = [f"{value:.3g} {taken[value]}×" for value in values if taken[value]]
        return f"{NOUNS[name]}s {values[0]:.3g} to {values[-1]:.3g} (chosen {listed(named)})"
    written = [f"{value:.3g} (chosen {taken[value]}×)" for value in values]
    return f"{NOUNS[name]}s {listed(written, 'or')}"


def _given(name: str, value: Any) -> str:
    """Return the one value there was, or that it was the usual one."""
    if value is None:
        return f"the usual {NOUNS[name]}{'s' if name == 'max_steps' else ''}"
    return _single(name, value[0] if isinstance(value, list) else value)


def _single(name: str, value: float) -> str:
    return f"{value:g} steps" if name == "max_steps" else f"{NOUNS[name]} {value:.3g}"
