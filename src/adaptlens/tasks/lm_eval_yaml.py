"""The keys of an lm-evaluation-harness task YAML: read safely, unsupported ones refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adaptlens.errors import UserError, unknown
from adaptlens.tasks.files import read_text

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
_GENERATION_KEYS = (
    "until",
    "do_sample",
    "temperature",
    "max_gen_toks",
    "max_new_tokens",
    "top_p",
    "num_beams",
)


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
            f"{path.name}: output_type '{output_type}' is not supported; expected "
            f"{' or '.join(OUTPUT_TYPES)}; use a task of these types."
        )
    notes: list[str] = []
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
        part = _merged(path.parent / str(include), (*above, path.resolve()))
        part.pop("task_list", None)
        merged.update(part)
    return {**merged, **config}


def _parsed(path: Path) -> dict[str, Any]:
    loader = None
    try:
        loader = _TaskLoader(read_text(path))
        value = loader.get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(
            f"{path.name}{where}: {said}; expected plain YAML (and at most !function tags, which "
            "are refused); correct the file."
        ) from None
    finally:
        if loader is not None:
            loader.dispose()
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


def _check_metrics(
    config: Mapping[str, Any], output_type: str, name: str, notes: list[str]
) -> None:
    supported = METRICS[output_type]
    for metric in config.get("metric_list", []):
        asked = metric.get("metric") if isinstance(metric, Mapping) else metric
        if asked not in supported:
            raise UserError(
                f"{name}: the metric '{asked}' is not supported for {output_type}; expected "
                f"{', '.join(supported)}; remove it from metric_list."
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
    for pipeline in config.get("filter_list", []):
        for step in pipeline.get("filter", []):
            if step.get("function") not in FILTERS:
                raise UserError(
                    f"{name}: the filter '{step.get('function')}' is not supported, the whole "
                    f"answer is compared; expected {' or '.join(FILTERS)}; remove it from "
                    "filter_list, and shorten the answer in doc_to_target."
                )
    if config.get("repeats", 1) != 1:
        raise UserError(
            f"{name}: repeats: {config['repeats']} asks for several sampled answers; expected 1, "
            "decoding is greedy; remove it."
        )


def _check_generation(config: Mapping[str, Any], name: str) -> None:
    generation = config.get("generation_kwargs") or {}
    for key in generation:
        if key not in _GENERATION_KEYS:
            raise unknown(f"key in generation_kwargs of {name}", key, _GENERATION_KEYS)
    sampled = generation.get("do_sample") and float(generation.get("temperature", 1)) > 0
    if sampled or generation.get("num_beams", 1) != 1:
        wrong = "do_sample" if sampled else "num_beams"
        raise UserError(
            f"{name}: generation_kwargs asks for {wrong}: {generation[wrong]}; expected greedy "
            "decoding; remove it."
        )


def _check_fewshot(config: Mapping[str, Any], name: str) -> None:
    fewshot = config.get("fewshot_config") or {}
    for key in fewshot:
        if key not in _FEWSHOT_KEYS:
            raise unknown(f"key in fewshot_config of {name}", key, _FEWSHOT_KEYS)
