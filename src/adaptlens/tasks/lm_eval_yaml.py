"""The keys of an lm-evaluation-harness task YAML: read safely, unsupported ones refused by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adaptlens.config import yaml_bounds
from adaptlens.errors import UserError, one_line, unknown
from adaptlens.tasks.unpacking import MAX_YAML_BYTES, read_text

OUTPUT_TYPES = ("multiple_choice", "generate_until")
METRICS = {
    "multiple_choice": ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "brier_score"),
    "generate_until": ("exact_match", "chrf"),
}
FILTERS = ("take_first", "remove_whitespace")
# fmt: off
_KEYS = frozenset((
    "task", "task_alias", "tag", "group", "include", "metadata", "output_type",
    "dataset_path", "dataset_name", "dataset_kwargs",
    "training_split", "validation_split", "test_split", "fewshot_split", "fewshot_config",
    "doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix",
    "target_delimiter", "fewshot_delimiter", "num_fewshot", "generation_kwargs", "repeats",
    "metric_list", "filter_list", "should_decontaminate", "doc_to_decontamination_query",
))
# fmt: on
_UNSUPPORTED = {
    "custom_dataset": "loading data by code",
    "process_docs": "changing documents by code",
    "process_results": "judging answers by code",
    "doc_to_image": "images",
    "doc_to_audio": "audio",
    "unsafe_code": "running code from the data",
    "use_prompt": "promptsource prompts",
}
_FEWSHOT_KEYS = ("sampler", "split", "samples")
_METRIC_KEYS = (
    "metric", "aggregation", "higher_is_better", "ignore_case", "ignore_punctuation",
    "ignore_numbers", "regexes_to_ignore",
)  # fmt: skip
DATA_KEYS = (
    "data_files", "data_dir", "revision", "delimiter", "sep", "column_names", "quotechar",
    "encoding", "field",
)  # fmt: skip
"""What dataset_kwargs may hold."""
MAX_NEW_TOKENS = 100_000

_TEXT = ((str, int, float), "a text")
_NAME = ((str,), "a name")
_RECORD = ((dict,), "a mapping")
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(
        ("task", "dataset_path", "dataset_name", "training_split", "validation_split",
         "test_split", "fewshot_split", "output_type"), _NAME,
    ),
    **dict.fromkeys(("target_delimiter", "fewshot_delimiter", "description", "gen_prefix"), _TEXT),
    **dict.fromkeys(("dataset_kwargs", "fewshot_config", "generation_kwargs"), _RECORD),
    "doc_to_text": ((str,), "a column or a template"),
    "doc_to_target": ((str, int, list), "a column, a template, or the number of an option"),
    "doc_to_choice": ((str, list, dict), "a list of texts, a column or a template"),
    "repeats": ((int,), "1"),
}  # fmt: skip
"""What keys hold, and how that is said."""
_EXPECTED = {
    "metric_list": "records, as metric_list: [{metric: acc}]",
    "filter_list": "records, as filter_list: [{filter: [{function: take_first}]}]",
    "filter": "records, as filter: [{function: take_first}]",
    "samples": "records of the columns",
}
_GENERATION_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "until": ((str, list), "texts that end an answer"),
    "do_sample": ((bool,), "true or false"),
    "temperature": ((int, float), "a number"),
    "max_gen_toks": ((int,), "a whole number"),
    "max_new_tokens": ((int,), "a whole number"),
    "top_p": ((int, float), "a number"),
    "num_beams": ((int,), "1"),
}
_GENERATION_KEYS = tuple(_GENERATION_TYPES)


@dataclass(frozen=True)
class CodeReference:
    """What stands after `!function` in a YAML file; it is never imported."""

    target: str


class _TaskLoader(yaml.SafeLoader):
    """Plain YAML, in which `!function` is only a name."""


def _reference(loader: yaml.SafeLoader, node: yaml.Node) -> CodeReference:
    return CodeReference(str(getattr(node, "value", "")))


_TaskLoader.add_constructor("!function", _reference)


def read_config(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the keys of a task YAML, includes merged and nulls left out, and notes.

    Raises:
        UserError: if it is not YAML, not one task, asks for code, or uses a key, metric, filter or
            setting that is not supported.
    """
    config = {key: value for key, value in _merged(path, ()).items() if value is not None}
    _refuse_code(config, path.name, "")
    if isinstance(config.get("task"), list) or "task_list" in config:
        raise UserError(
            f"{path.name} is a group of tasks; expected one task; name the YAML of one of them."
        )
    for key, value in config.items():
        if key in _UNSUPPORTED and value not in (False, "", []):
            raise UserError(
                f"{path.name}: '{key}' ({_UNSUPPORTED[key]}) is not supported; expected a task of "
                "columns and templates only; write one, or convert the data to JSONL."
            )
        if key not in _KEYS and key not in _UNSUPPORTED:
            raise unknown(f"key in {path.name}", key, _KEYS)
    output_type = config.get("output_type", "generate_until")
    if output_type not in OUTPUT_TYPES:
        raise UserError(
            f"{path.name}: output_type '{one_line(str(output_type), 60)}' is not supported; "
            f"expected {' or '.join(OUTPUT_TYPES)}; use a task of these types."
        )
    notes: list[str] = []
    _check_types(config, path.name)
    _check_data(config, path.name, notes)
    _check_choices(config, path.name)
    _check_metrics(config, output_type, path.name, notes)
    _check_filters(config, path.name)
    _check_generation(config, path.name)
    _check_fewshot(config, path.name)
    return config, notes


def _merged(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Return the keys of a file over those of the files it includes."""
    if path.resolve() in above:
        raise UserError(
            f"{path.name} includes itself through {above[-1].name}; expected includes that end; "
            "remove one."
        )
    config = _parsed(path)
    includes = config.pop("include", None) or []
    merged: dict[str, Any] = {}
    for include in includes if isinstance(includes, list) else [includes]:
        if not isinstance(include, str) or "\0" in include:
            raise _mistyped(path.name, "include", include, "the name of a file")
        if len(above) > 20:
            raise UserError(f"{path.name}: includes are nested too deeply; include fewer files.")
        part = _merged(path.parent / include, (*above, path.resolve()))
        part.pop("task_list", None)
        merged.update(part)
    return {**merged, **config}


def _parsed(path: Path) -> dict[str, Any]:
    value = yaml_bounds.load(read_text(path, MAX_YAML_BYTES), _TaskLoader, path.name, max_depth=50)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UserError(
            f"{path.name} holds a {type(value).__name__}; expected the keys of a task (task, "
            "dataset_path, doc_to_text, ...); correct the file."
        )
    return value


def _refuse_code(value: Any, name: str, key: str) -> None:
    if isinstance(value, CodeReference):
        raise UserError(
            f"{name}: {key} asks for '!function {value.target}'; code from task files is never "
            "run, expected a column or a Jinja template; write it so, or convert the data to JSONL."
        )
    parts = value.items() if isinstance(value, Mapping) else ()
    for inner, part in parts:
        _refuse_code(part, name, f"{key}.{inner}" if key else str(inner))
    for part in value if isinstance(value, list) else ():
        _refuse_code(part, name, key)


def _check_types(config: Mapping[str, Any], name: str) -> None:
    """Refuse values that are not of their key's type; numbers may stand for texts."""
    for key, value in config.items():
        kinds, said = _TYPES.get(key, (None, ""))
        if kinds is not None and (
            not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        ):
            raise _mistyped(name, key, value, said)


def _mistyped(name: str, key: str, value: Any, expected: str) -> UserError:
    hint = ""
    if isinstance(value, bool):
        hint = f" (YAML reads yes, no, on and off as {str(value).lower()}: put them in quotes)"
    return UserError(
        f"{name}: '{key}' is {one_line(repr(value), 60)}{hint}; expected {expected}; correct it."
    )


def _records_of(value: Any, name: str, key: str) -> list[Mapping[str, Any]]:
    """Return a list of mappings, which is what a key must hold."""
    if not isinstance(value, list) or not all(isinstance(part, Mapping) for part in value):
        raise _mistyped(name, key, value, _EXPECTED[key])
    return value


def _check_keys(given: Mapping[Any, Any], known: Sequence[str], name: str, place: str) -> None:
    for key in given:
        if key not in known:
            raise unknown(f"key in {place} of {name}", str(key), known)


def _check_choices(config: Mapping[str, Any], name: str) -> None:
    """Refuse options that YAML did not read as texts, and say why they are none."""
    options = config.get("doc_to_choice")
    values = list(options.values()) if isinstance(options, Mapping) else options
    if isinstance(values, list) and (wrong := [v for v in values if not isinstance(v, str)]):
        kinds = "; YAML reads yes, no, on, off, true and false as booleans, and bare digits as "
        raise UserError(
            f"{name}: doc_to_choice holds {one_line(repr(wrong[0]), 40)}, which is no text{kinds}"
            "numbers; expected texts; put each in quotes, as doc_to_choice: ['no', 'yes']."
        )


def _check_metrics(
    config: Mapping[str, Any], output_type: str, name: str, notes: list[str]
) -> None:
    supported = METRICS[output_type]
    for metric in _records_of(config.get("metric_list", []), name, "metric_list"):
        asked = metric.get("metric")
        if asked not in supported:
            raise UserError(
                f"{name}: the metric '{one_line(str(asked), 60)}' is not supported for "
                f"{output_type}; expected {', '.join(supported)}; remove it from metric_list."
            )
        _check_keys(metric, _METRIC_KEYS, name, "metric_list")
        if metric.get("aggregation", "mean") != "mean":
            raise UserError(
                f"{name}: {asked} is aggregated by '{one_line(str(metric['aggregation']), 60)}'; "
                "expected mean; remove it."
            )
        higher = asked != "brier_score"
        if metric.get("higher_is_better", higher) is not higher:
            raise UserError(
                f"{name}: {asked} has higher_is_better: "
                f"{one_line(str(metric['higher_is_better']), 40)}; expected "
                f"{str(higher).lower()}; remove it."
            )
        if metric.get("regexes_to_ignore"):
            raise UserError(
                f"{name}: exact_match with regexes_to_ignore is not supported, the whole answer is "
                "compared; expected none; remove it, and shorten the answer in doc_to_target."
            )
        relaxed = [
            key
            for key in ("ignore_case", "ignore_punctuation", "ignore_numbers")
            if metric.get(key)
        ]
        if relaxed:
            notes.append(
                f"{asked} compares the whole answer; {', '.join(relaxed)} of {name} is not applied."
            )


def _check_filters(config: Mapping[str, Any], name: str) -> None:
    for pipeline in _records_of(config.get("filter_list", []), name, "filter_list"):
        _check_keys(pipeline, ("name", "filter"), name, "filter_list")
        for step in _records_of(pipeline.get("filter", []), name, "filter"):
            if step.get("function") not in FILTERS:
                raise UserError(
                    f"{name}: the filter '{one_line(str(step.get('function')), 60)}' is not "
                    f"supported, the whole answer is compared; expected {' or '.join(FILTERS)}; "
                    "remove it from filter_list, and shorten the answer in doc_to_target."
                )
            _check_keys(step, ("function",), name, "filter_list: filter")
    if config.get("repeats", 1) != 1:
        raise UserError(
            f"{name}: repeats: {one_line(str(config['repeats']), 40)} asks for several sampled "
            "answers; expected 1, decoding is greedy; remove it."
        )


def _check_generation(config: Mapping[str, Any], name: str) -> None:
    generation = {k: v for k, v in (config.get("generation_kwargs") or {}).items() if v is not None}
    _check_keys(generation, _GENERATION_KEYS, name, "generation_kwargs")
    for key, value in generation.items():
        kinds, said = _GENERATION_TYPES[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _mistyped(name, f"generation_kwargs: {key}", value, said)
    until = generation.get("until", [])
    if isinstance(until, list) and not all(isinstance(text, str) and text for text in until):
        raise _mistyped(name, "generation_kwargs: until", until, "texts that end an answer")
    for key in ("max_gen_toks", "max_new_tokens"):
        if not 1 <= generation.get(key, 1) <= MAX_NEW_TOKENS:
            said = f"a whole number from 1 to {MAX_NEW_TOKENS:,}"
            raise _mistyped(name, f"generation_kwargs: {key}", generation[key], said)
    sampled = generation.get("do_sample") and generation.get("temperature", 1) > 0
    if sampled or generation.get("num_beams", 1) != 1:
        wrong = "do_sample" if sampled else "num_beams"
        raise UserError(
            f"{name}: generation_kwargs asks for {wrong}: {generation[wrong]}; expected greedy "
            "decoding; remove it."
        )


def _check_fewshot(config: Mapping[str, Any], name: str) -> None:
    fewshot = config.get("fewshot_config") or {}
    _check_keys(fewshot, _FEWSHOT_KEYS, name, "fewshot_config")
    samples = fewshot.get("samples")
    if samples is not None:
        for sample in _records_of(samples, name, "samples"):
            if not all(isinstance(key, str) for key in sample):
                raise _mistyped(name, "samples", sample, "records whose keys are texts")
    if not isinstance(fewshot.get("split", ""), str):
        raise _mistyped(name, "fewshot_config: split", fewshot["split"], "the name of a split")


def _check_data(config: Mapping[str, Any], name: str, notes: list[str]) -> None:
    """Refuse everything that may be said to a loader of data but what is known to be harmless."""
    arguments = config.get("dataset_kwargs") or {}
    _check_keys(arguments, (*DATA_KEYS, "trust_remote_code"), name, "dataset_kwargs")
    if arguments.get("trust_remote_code"):
        notes.append(f"trust_remote_code of {name} is not heeded: no code of a dataset is run.")
    for key, value in arguments.items():
        parts = list(value.values()) if isinstance(value, Mapping) else [value]
        flat = [one for part in parts for one in (part if isinstance(part, list) else [part])]
        plain = key in ("data_files", "column_names") or not isinstance(value, Mapping | list)
        if not plain or not all(isinstance(one, str | int | bool) for one in flat):
            raise _mistyped(name, f"dataset_kwargs: {key}", value, "texts")
