"""Which tasks of lm-evaluation-harness can be judged here as it judges them, by configuration.

Nothing of a task is loaded or run. Choice tasks are read by accuracy over their options, so any of
its accuracies will do; generated answers by exact match under the task's own filter, or by chrF.
What needs code of the task to judge an answer is refused by name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from adaptlens.errors import UserError, listed
from adaptlens.tasks.lm_eval_yaml import MAX_NEW_TOKENS, METRICS, OUTPUT_TYPES
from adaptlens.types import ExactMatch, Kind

Config = Mapping[str, Any]
"""What a task's YAML says, includes merged; functions as they are or as names."""

FILTERS = ("regex", "remove_whitespace", "lowercase", "uppercase", "take_first")
_SPOKEN = {"remove_whitespace": "strip", "lowercase": "lower", "uppercase": "upper"}
_MOST_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_GREEDY = (*_MOST_TOKENS, "until", "do_sample", "temperature", "top_p", "top_k", "num_beams")
_DEFAULT_TOKENS = 256
_DEFAULT_REGEX = r"#### (\-?[0-9\.\,]+)"


@dataclass(frozen=True)
class Reading:
    """How an accepted task is read.

    Attributes:
        kind: whether options are scored or answers generated.
        matching: how generated answers are compared.
        pipeline: the name of the filter that is used; "none" for no filter.
        stop: texts that end a generated answer.
        max_new_tokens: the most tokens of one.
        notes: what is not as in lm-evaluation-harness, in sentences.
    """

    kind: Kind
    matching: ExactMatch | None = None
    pipeline: str = "none"
    stop: tuple[str, ...] = ()
    max_new_tokens: int = _DEFAULT_TOKENS
    notes: tuple[str, ...] = ()


class Refused(UserError):
    """A task that cannot be read; `reason` is the same for all tasks refused for the same."""

    def __init__(self, name: str, reason: str, instead: str) -> None:
        super().__init__(f"lm-eval's task '{name}' {reason}; {instead}.")
        self.reason = reason


_ANOTHER = "name another task, or a version of your own"


def reading(config: Config, name: str, pipeline: str = "") -> Reading:
    """Return how a task is read.

    Args:
        config: of the task.
        name: of the task, for the errors.
        pipeline: the name of the filter to use; the first that can be used where empty.

    Raises:
        Refused: it cannot be judged here as lm-evaluation-harness judges it.
        UserError: there is no filter of that name.
    """
    for key, reason in (
        ("class", "is a Python class of its own, not a configuration"),
        ("doc_to_image", "shows images"),
        ("doc_to_audio", "plays audio"),
        ("unsafe_code", "runs code that the model writes"),
        ("process_results", "judges its answers by its own code (process_results)"),
        ("use_prompt", "takes promptsource prompts"),
    ):
        if config.get(key):
            raise Refused(name, reason, _ANOTHER)
    kind = str(config.get("output_type") or "generate_until")
    if kind not in OUTPUT_TYPES:
        raise Refused(name, f"has output_type {kind}", f"expected {' or '.join(OUTPUT_TYPES)}")
    # A task that names none has the first of these.
    metrics = config.get("metric_list") or [{"metric": METRICS[kind][0]}]
    named = [_shown(metric.get("metric")) for metric in metrics]
    used = [one for one in named if one in METRICS[kind]]
    if not used:
        what = f"is scored by {listed(dict.fromkeys(named))}"
        raise Refused(name, what, f"expected one of {listed(METRICS[kind])} among its metrics")
    notes = _other_metrics(metrics, used)
    if kind == "multiple_choice":
        if not config.get("doc_to_choice"):
            raise Refused(name, "has no doc_to_choice", _ANOTHER)
        _filter([], name, pipeline)
        return Reading("choice", notes=notes)
    chosen, filtered, said = _filter(config.get("filter_list") or [], name, pipeline)
    stop, most = _generation(config, name)
    compared: Config = next((one for one in metrics if one.get("metric") == "exact_match"), {})
    ignored = tuple(map(str, compared.get("regexes_to_ignore") or ()))
    _check_regexes([*ignored, *(str(step[1]) for step in filtered if step[0] == "regex")], name)
    matching = ExactMatch(
        filtered,
        ignored,
        *(bool(compared.get(f"ignore_{what}")) for what in ("case", "punctuation", "numbers")),
    )
    return Reading("generation", matching, chosen, stop, most, (*notes, *said))


def _other_metrics(metrics: Sequence[Config], used: Sequence[str]) -> tuple[str, ...]:
    """Return a note for metrics that are not computed, and for means of another kind."""
    others = [name for one in metrics if (name := _shown(one.get("metric"))) not in used]
    ways = {
        str(_shown(one["aggregation"]))
        for one in metrics
        if one.get("metric") in used and one.get("aggregation") not in (None, "mean", "chrf")
    }
    told = [f"lm-eval also gives {listed(dict.fromkeys(others))}, which is not computed."]
    means = [f"lm-eval aggregates by {listed(sorted(ways))}; here it is the mean over items."]
    return (*(told if others else ()), *(means if ways else ()))


def _filter(
    pipelines: Sequence[Config], name: str, wanted: str
) -> tuple[str, tuple[tuple[str | int, ...], ...], tuple[str, ...]]:
    """Return the name of the filter that is used, its steps, and a note where there are others."""
    if not pipelines:
        if wanted:
            raise UserError(f"lm-eval's task '{name}' has no filter; leave out #{wanted}.")
        return "none", (), ()
    names = [str(one.get("name")) for one in pipelines]
    if wanted and wanted not in names:
        raise UserError(
            f"lm-eval's task '{name}' has no filter '{wanted}'; expected one of {listed(names)}."
        )
    known = [
        one
        for one in pipelines
        if all(step.get("function") in FILTERS for step in one["filter"])
        and wanted in ("", one.get("name"))
    ]
    if not known:
        one = pipelines[names.index(wanted) if wanted else 0]
        steps = dict.fromkeys(_shown(step.get("function")) for step in one["filter"])
        odd = [step for step in steps if step not in FILTERS]
        expected = f"expected {listed(FILTERS)} alone"
        raise Refused(name, f"filters its answers by {listed(odd)}", expected)
    used = str(known[0].get("name"))
    others = [one for one in names if one != used]
    ways = " or ".join(f"lm-eval:{name}#{one}" for one in others)
    note = f"Answers are taken by the filter '{used}' of lm-eval's task; for another name {ways}."
    filtered = tuple(_step(one) for one in known[0]["filter"] if one["function"] != "take_first")
    return used, filtered, (note,) if others else ()


def _step(step: Config) -> tuple[str | int, ...]:
    """Return a step of a filter as `ExactMatch` has it."""
    if step["function"] != "regex":
        return (_SPOKEN[step["function"]],)
    return (
        "regex",
        str(step.get("regex_pattern", _DEFAULT_REGEX)),
        int(step.get("group_select", 0)),
        str(step.get("fallback", "[invalid]")),
    )


def _check_regexes(patterns: Sequence[str], name: str) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise Refused(
                name, f"has a regular expression that is none ({error})", _ANOTHER
            ) from None


def _generation(config: Config, name: str) -> tuple[tuple[str, ...], int]:
    """Return the texts that end an answer, and the most tokens it has."""
    asked = config.get("generation_kwargs") or {}
    sampled = asked.get("do_sample")
    if sampled or (sampled is None and float(asked.get("temperature") or 0) > 0):
        raise Refused(name, "samples its answers", "expected greedy decoding")
    if config.get("repeats", 1) != 1:
        raise Refused(name, "asks for several answers to an item (repeats)", "expected one")
    odd = [key for key in asked if key not in _GREEDY]
    odd += ["num_beams"] if asked.get("num_beams", 1) != 1 else []
    if odd:
        raise Refused(name, f"generates with {listed(odd)}", "expected greedy decoding")
    until = asked.get("until", config.get("fewshot_delimiter", "\n\n"))
    stop = [until] if isinstance(until, str) else until or []
    most = next((asked[key] for key in _MOST_TOKENS if asked.get(key)), _DEFAULT_TOKENS)
    return tuple(text for text in stop if text), min(int(most), MAX_NEW_TOKENS)


def _shown(value: Any) -> str:
    """Return a name; of a function the last part of its own."""
    if callable(value):
        return str(getattr(value, "__name__", type(value).__name__))
    return PurePath(str(value)).name
