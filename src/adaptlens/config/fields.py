"""The settings that studies share as types, and what to say of each when it is wrong."""

from typing import Annotated, Literal, Required

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from typing_extensions import TypedDict

STRICT = {"extra": "forbid", "strict": True}

Text = Annotated[str, MinLen(1)]
Count = Annotated[int, Ge(1), Le(2**53)]
Positive = Annotated[float, Gt(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
Dtype = Literal["float32", "bfloat16", "float16"]
Bits = Literal["8bit", "4bit"]
Overflow = Literal["error", "drop-demos"]


class TaskSource(TypedDict, total=False):
    """Where a task comes from and how to read it; only the keys that were given.

    `path` is a bundled name, a file, a folder, "hf:NAME[:CONFIG]" or a task YAML; relative paths
    are relative to the folder the command runs in. `cluster` says what kind of task it is; the
    other keys are `tasks.load`'s.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    path: Required[Text]
    references: Text
    input: Text | Annotated[list[Text], MinLen(1)]
    target: Text
    choices: Text | list[Text] | dict[str, Text]
    instruction: str
    kind: Literal["choice", "generation"]
    max_new_tokens: Count
    limit_train: Count
    header: bool
    drop_empty: bool
    max_file_bytes: Count
    difficulty: Literal["small", "paper"]
    cluster: Text
    templates: Annotated[list[Text], MinLen(1)]
    fields: Annotated[list[Text], MinLen(2), MaxLen(2)]
    label_words: Text | dict[str, Text]
    group: Text
    answers_as: Literal["text", "from-0", "from-1"]


class Tune(TypedDict, total=False):
    """How to tune; only the keys that were given, the rest are the tuning's own defaults.

    Several rates or numbers of steps are tried, and one is chosen on the validation split.
    `rate_times` are rates as multiples of the way's own.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    rank: Count
    alpha: Positive
    targets: Annotated[list[Text], MinLen(1)]
    dropout: Annotated[float, Ge(0), Lt(1)]
    rate: Annotated[list[Positive], MinLen(1)]
    rate_times: Annotated[list[Positive], MinLen(1)]
    steps: Annotated[list[Count], MinLen(1)]
    batch: Count
    schedule: Literal["constant", "linear", "cosine"]


class Engine(TypedDict, total=False):
    """Who does the cells; only the keys that were given. No result depends on it.

    `name` is a registered engine: "in_process" or "ray". `workers` processes share the work, by
    default one, and under Ray one per device. `address` is a Ray cluster's; without one, Ray runs
    on this machine. `gpus` is the share of a GPU that each worker of a cluster gets.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    name: Literal["in_process", "ray"]
    workers: Count
    address: Text
    gpus: Positive


SOURCE_EXPECTED = {
    "path": ("a text that names the task", "path: reviews.tsv"),
    "references": ("the name of a file", "references: lines.cs"),
    "input": ("a column, by name or 0-based number, or several", "input: [premise, hypothesis]"),
    "target": ("a column, by name or 0-based number", "target: label"),
    "choices": (
        "texts, or raw labels and their words; quote true and false",
        "choices: {'0': negative, '1': positive}",
    ),
    "instruction": ("a text", "instruction: Say how the review sounds."),
    "kind": ("choice or generation", "kind: choice"),
    "max_new_tokens": ("a whole number of at least 1", "max_new_tokens: 32"),
    "limit_train": ("a whole number of at least 1", "limit_train: 1000"),
    "header": ("true or false", "header: false"),
    "drop_empty": ("true or false", "drop_empty: true"),
    "max_file_bytes": ("a whole number of at least 1", "max_file_bytes: 1000000000"),
    "difficulty": ("small or paper, of a task with a shortcut", "difficulty: paper"),
    "cluster": ("a text that names the kind of task", "cluster: nli"),
    "templates": (
        "templates that end in {target}",
        'templates: ["Review: {input}\\nSentiment: {target}"]',
    ),
    "fields": ("two names, of the text and of the answer", "fields: [Review, Sentiment]"),
    "label_words": (
        "raw labels and their words; quote true and false",
        "label_words: {'0': bad, '1': good}",
    ),
    "group": ("a column that says which items belong together", "group: passage"),
    "answers_as": (
        "text, from-0 or from-1: what numbers among the answers are",
        "answers_as: from-1",
    ),
}
"""What is expected of each key of a `TaskSource`, and an example of it."""

EXPECTED = {
    "": ("settings", "models: [reference]"),
    "models": ("names of models", "models: [reference]"),
    "tasks": ("names or files of tasks", "tasks: [sentiment-novel, {path: reviews.tsv}]"),
    "queries": ("a whole number of at least 1, or null for all", "queries: 200"),
    "seed": ("a whole number from 0 to 4294967295", "seed: 0"),
    "chat": ("true or false", "chat: true"),
    "dtype": ("float32, bfloat16 or float16", "dtype: bfloat16"),
    "device": ("auto, cpu, cuda, cuda:N or mps", "device: auto"),
    "quantize": ("8bit, 4bit or null", "quantize: 4bit"),
    "on_overflow": ("error or drop-demos", "on_overflow: drop-demos"),
    "tune": ("settings of tuning", "tune: {rank: 8, steps: 30}"),
    **{f"tasks.{name}": words for name, words in SOURCE_EXPECTED.items()},
    "engine": ("settings of the engine", "engine: {workers: 2}"),
    "engine.name": ("in_process or ray", "name: ray"),
    "engine.workers": ("a whole number of at least 1", "workers: 4"),
    "engine.address": ("the address of a Ray cluster", "address: auto"),
    "engine.gpus": ("a number above 0", "gpus: 0.5"),
    "tune.rank": ("a whole number of at least 1", "rank: 8"),
    "tune.alpha": ("a number above 0", "alpha: 16"),
    "tune.targets": ("names of modules, or all-linear", "targets: [q_proj, v_proj]"),
    "tune.dropout": ("a number from 0 up to, not including, 1", "dropout: 0.1"),
    "tune.rate": ("numbers above 0", "rate: [0.001, 0.005]"),
    "tune.rate_times": ("numbers above 0", "rate_times: [0.25, 1, 4]"),
    "tune.steps": ("whole numbers of at least 1", "steps: 30"),
    "tune.batch": ("a whole number of at least 1", "batch: 16"),
    "tune.schedule": ("constant, linear or cosine", "schedule: cosine"),
}
"""Of the shared settings, by path without list positions: what is expected, and an example."""
