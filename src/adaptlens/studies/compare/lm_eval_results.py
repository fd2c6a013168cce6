"""A comparison in the files of lm-evaluation-harness: results JSON and samples JSONL of every arm.

One folder for each model and arm, as its `--output_path` has one for each model. A number is the
mean over draws and templates, its standard error that over items, as lm-evaluation-harness gives
it; intervals over draws too are on the page. In samples, draws and templates stand where it has
repeats.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from adaptlens.adapt.families import family_of
from adaptlens.conditions import Condition
from adaptlens.prompts import render
from adaptlens.store import Run, write_atomically
from adaptlens.studies.compare.arms import Reading
from adaptlens.studies.stored import read
from adaptlens.types import Example, Task

MODEL = "adaptlens"
"""What the files name as lm-evaluation-harness's `--model`."""

Scores = dict[str, np.ndarray]
"""By metric, [repeats, queries]; repeats are draws, of the first template, then of the next."""


def write_lm_eval(run: Run, folder: Path, *, now: datetime | None = None) -> list[Path]:
    """Write what every arm of a comparison did; return the results files.

    Args:
        run: the run of a comparison.
        folder: made if it is not there; nothing in it is replaced.
        now: the time in the names of the files; that of the clock unless given.

    Raises:
        UserError: the run holds no comparison, or a file cannot be written.
    """
    stored = read(run, "compare")
    stamp = (now or datetime.now()).isoformat().replace(":", "-")
    arms: dict[tuple[str, str], list[Condition]] = {}
    for condition in stored.found:
        arms.setdefault((condition.model, condition.label), []).append(condition)
    written = []
    for (model, label), conditions in arms.items():
        name = f"{model}__{label}"
        place = folder / _sanitized(name)
        place.mkdir(parents=True, exist_ok=True)
        results = _results(model, label, name)
        for condition in conditions:
            task = stored.tasks[condition.task_digest]
            samples = _add(results, condition, task)
            lines = (json.dumps(sample, ensure_ascii=False) for sample in samples)
            file = place / f"samples_{_sanitized(task.name)}_{stamp}.jsonl"
            write_atomically(file, "\n".join(lines) + "\n")
        file = place / f"results_{stamp}.json"
        write_atomically(file, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
        written.append(file)
    return written


def _sanitized(name: str) -> str:
    """Return a name as lm-evaluation-harness writes it in files."""
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name)


def _results(model: str, label: str, name: str) -> dict[str, Any]:
    """Return the results of an arm, without tasks as yet."""
    by_task = ("results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better")
    return {
        **{key: {} for key in by_task},
        "n-samples": {},
        "config": {"model": MODEL, "model_args": {"pretrained": model, "arm": label}},
        "task_hashes": {},
        "adaptlens_version": version("adaptlens"),
        "model_source": MODEL,
        "model_name": name,
        "model_name_sanitized": _sanitized(name),
    }


def _add(results: dict[str, Any], condition: Condition, task: Task) -> list[dict[str, Any]]:
    """Put a task into the results of an arm, and return its samples."""
    reading = Reading(condition, task)
    scores = _scores(reading)
    name, num_items = task.name, len(task.test)
    scored = reading.is_choice and not _is_written(reading)
    output_type = "multiple_choice" if scored else "generate_until"
    results["results"][name] = {
        "alias": name,
        "sample_len": num_items,
        **dict(_means(scores)),
    }
    results["group_subtasks"][name] = []
    results["configs"][name] = {
        "task": name,
        "output_type": output_type,
        "description": task.instruction,
        "target_delimiter": task.template.target_prefix,
        "fewshot_delimiter": task.template.between,
        "metadata": {
            "digest": condition.task_digest,
            "draws": list(condition.draws),
            "templates": list(condition.templates),
        },
    }
    results["versions"][name] = condition.task_digest[:12]
    shown = family_of(condition.adaptation) == "prompt"
    results["n-shot"][name] = condition.examples if shown else 0
    results["higher_is_better"][name] = dict.fromkeys(scores, True)
    results["n-samples"][name] = {"original": num_items, "effective": num_items}
    samples = [*_samples(reading, scores)]
    hashes = (s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in samples)
    results["task_hashes"][name] = _hash("".join(hashes))
    return samples


def _is_written(reading: Reading) -> bool:
    """Whether choices were read from what a server's model wrote, which scores no option."""
    return "chosen" in reading.arrays()


def _scores(reading: Reading) -> Scores:
    """Return lm-evaluation-harness's metrics of every answer.

    Its acc_norm and acc_bytes divide by the length of the option without what stands before it.
    Where the option was read from a text there is acc alone.
    """
    arrays, task = reading.arrays(), reading.task
    if not reading.is_choice:
        return {"exact_match": arrays["exact"], "chrf": arrays["chrf"]}
    if _is_written(reading):
        return {"acc": (arrays["chosen"] == arrays["gold"]).astype(float)}
    loglik = np.where(np.isnan(arrays["loglik"]), -np.inf, arrays["loglik"])
    scores = {}
    for metric, size in (
        ("acc", lambda text: 1),
        ("acc_norm", len),
        ("acc_bytes", lambda text: len(text.encode())),
    ):
        sizes = np.ones(loglik.shape[1:])
        for q, query in enumerate(task.test):
            options = query.choices or task.choices
            sizes[q, : len(options)] = [max(size(option), 1) for option in options]
        scores[metric] = ((loglik / sizes).argmax(-1) == arrays["gold"]).astype(float)
    return scores


def _means(scores: Scores) -> Iterable[tuple[str, float | str]]:
    """Yield each metric's mean, and the standard error of it over items."""
    for metric, values in scores.items():
        items = values.mean(0)
        size = len(items)
        yield f"{metric},none", float(items.mean())
        error = float(items.std(ddof=1) / math.sqrt(size)) if size > 1 else "N/A"
        yield f"{metric}_stderr,none", error


def _samples(reading: Reading, scores: Scores) -> Iterable[dict[str, Any]]:
    """Yield what was done about each item of the test split.

    Of choices that were read from texts, the responses are the options named; "" for none.
    """
    condition, task = reading.condition, reading.task
    arrays = reading.arrays()
    loglik = arrays.get("loglik")
    for number, query in enumerate(task.test):
        asked = render.render(task, (), query)
        arguments: list[list[Any]]
        resps: list[list[Any]]
        if loglik is not None:
            arguments = [[asked.text, answer] for answer in asked.answers]
            resps = [
                [[str(float(value)), "None"] for value in loglik[:, number, c]]
                for c in range(len(asked.answers))
            ]
            firsts = [of_option[0] for of_option in resps]
        else:
            wishes = {"until": [*render.stops(task)], "max_gen_toks": task.max_new_tokens}
            arguments = [[asked.text, wishes]]
            options = query.choices or task.choices
            named = arrays["chosen"][:, number] if "chosen" in arrays else None
            resps = (
                [[row[number] for row in condition.outputs]]
                if named is None
                else [[options[place] if place >= 0 else "" for place in named]]
            )
            firsts = [resps[0][0]] if resps[0] else []
        doc = _doc(query, task)
        yield {
            "doc_id": number,
            "doc": doc,
            "target": query.target,
            "arguments": {
                f"gen_args_{n}": {f"arg_{i}": part for i, part in enumerate(own)}
                for n, own in enumerate(arguments)
            },
            "resps": resps,
            "filtered_resps": firsts,
            "filter": "none",
            "metrics": [*scores],
            "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
            "prompt_hash": _hash(asked.text),
            "target_hash": _hash(query.target),
            **{metric: float(values[:, number].mean()) for metric, values in scores.items()},
        }


def _doc(query: Example, task: Task) -> Mapping[str, Any]:
    """Return an item as a document."""
    options = query.choices or task.choices
    return {
        "id": query.id,
        "input": query.input,
        "target": query.target,
        **({"choices": [*options]} if options else {}),
        **({"accepted": [*query.accepted]} if query.accepted else {}),
        **dict(query.fields),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
