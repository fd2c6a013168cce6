"""The settings of a comparison as types, and what to say of each when it is wrong."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Required

from annotated_types import Ge, Gt, Le, Lt, MinLen
from typing_extensions import TypedDict

STRICT = {"extra": "forbid", "strict": True}

Text = Annotated[str, MinLen(1)]
Count = Annotated[int, Ge(1)]
Amount = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]


class TaskSource(TypedDict, total=False):
    """Where a task comes from and how to read it; only the keys that were given.

    `path` is a bundled name, a file, a folder, "hf:NAME[:CONFIG]" or a task YAML; relative paths
    are relative to the folder the command runs in. The other keys are `tasks.load`'s.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    path: Required[Text]
    references: Text
    input: Text
    target: Text
    choices: Text | list[Text] | dict[str, Text]
    instruction: str
    kind: Literal["choice", "generation"]
    max_new_tokens: Count
    limit_train: Count
    header: bool
    drop_empty: bool
    max_file_bytes: Count


class Tune(TypedDict, total=False):
    """How to tune; only the keys that were given, the rest are the tuning's own defaults.

    Several rates or numbers of steps are tried, and one is chosen on the validation split.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    rank: Count
    alpha: Positive
    targets: Annotated[list[Text], MinLen(1)]
    dropout: Annotated[float, Ge(0), Lt(1)]
    rate: Annotated[list[Positive], MinLen(1)]
    steps: Annotated[list[Count], MinLen(1)]
    batch: Count
    schedule: Literal["constant", "linear", "cosine"]


class Prices(TypedDict, total=False):
    """What serving costs, in any one currency; only the keys that were given."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    gpu_hour: Amount
    input_million_tokens: Amount
    cached_million_tokens: Amount
    output_million_tokens: Amount


@dataclass(frozen=True)
class CompareConfig:
    """The settings of a comparison, checked.

    Lists span a grid: every model is compared on every task at every number of shots, and tuned
    in every way at every size.

    Attributes:
        models: hub ids, folders, or shipped names.
        tasks: where each task comes from.
        shots: numbers of demonstrations for in-context learning; 0 is zero-shot.
        tuning: ways of tuning.
        sizes: numbers of training examples for tuning; None means the shots above 0.
        draws: draws of demonstrations, the same for prompting and tuning.
        queries: at most this many test items; None means all.
        validation: at most this many validation items; None means all.
        selection: how demonstrations are chosen.
        seed: of everything random.
        chat: write prompts with the tokenizer's chat template.
        dtype: of the weights and the arithmetic.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        quantize: load the weights in 8 or 4 bits; None does not.
        on_overflow: what happens to a prompt longer than the model's context.
        tune: see `Tune`.
        prices: see `Prices`.
        margin: differences below this many points count as none (equivalence test).
        budget: memory to plan for, in bytes; None means what is free.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    models: Annotated[tuple[Text, ...], MinLen(1)] = ("reference",)
    tasks: Annotated[tuple[TaskSource, ...], MinLen(1)] = ({"path": "sentiment-novel"},)
    shots: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (0, 4, 16)
    tuning: tuple[Literal["it", "sl", "full"], ...] = ("it", "sl", "full")
    sizes: tuple[Count, ...] | None = None
    draws: Count = 10
    queries: Count | None = 200
    validation: Count | None = 100
    selection: Literal["random", "balanced", "similar", "embedding"] = "random"
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    chat: bool = False
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Text = "auto"
    quantize: Literal["8bit", "4bit"] | None = None
    on_overflow: Literal["error", "drop-demos"] = "error"
    tune: Tune = field(default_factory=Tune)
    prices: Prices = field(default_factory=Prices)
    margin: Positive = 2.0
    budget: Count | None = None

    @property
    def tuning_sizes(self) -> tuple[int, ...]:
        """The numbers of training examples that tuning gets."""
        return tuple(k for k in self.shots if k) if self.sizes is None else self.sizes


EXPECTED = {
    "": ("settings", "models: [reference]"),
    "models": ("names of models", "models: [reference]"),
    "tasks": ("names or files of tasks", "tasks: [sentiment-novel, {path: reviews.tsv}]"),
    "shots": ("whole numbers of at least 0", "shots: [0, 4, 16]"),
    "tuning": ("ways of tuning", "tuning: [it, full]"),
    "sizes": ("whole numbers of at least 1, or null for the shots", "sizes: [16, 64]"),
    "draws": ("a whole number of at least 1", "draws: 10"),
    "queries": ("a whole number of at least 1, or null for all", "queries: 200"),
    "validation": ("a whole number of at least 1, or null for all", "validation: 100"),
    "selection": ("random, balanced, similar or embedding", "selection: balanced"),
    "seed": ("a whole number from 0 to 4294967295", "seed: 0"),
    "chat": ("true or false", "chat: true"),
    "dtype": ("float32, bfloat16 or float16", "dtype: bfloat16"),
    "device": ("auto, cpu, cuda, cuda:N or mps", "device: auto"),
    "quantize": ("8bit, 4bit or null", "quantize: 4bit"),
    "on_overflow": ("error or drop-demos", "on_overflow: drop-demos"),
    "tune": ("settings of tuning", "tune: {rank: 8, steps: 30}"),
    "prices": ("prices", "prices: {gpu_hour: 2.5}"),
    "margin": ("a number of points above 0", "margin: 2.0"),
    "budget": ("a number of bytes, or a text such as 4GiB", "budget: 4GiB"),
    "tasks.path": ("a text that names the task", "path: reviews.tsv"),
    "tasks.references": ("the name of a file", "references: lines.cs"),
    "tasks.input": ("a column, by name or 0-based number", "input: sentence"),
    "tasks.target": ("a column, by name or 0-based number", "target: label"),
    "tasks.choices": (
        "texts, or raw labels and their words; quote true and false",
        "choices: {'0': negative, '1': positive}",
    ),
    "tasks.instruction": ("a text", "instruction: Say how the review sounds."),
    "tasks.kind": ("choice or generation", "kind: choice"),
    "tasks.max_new_tokens": ("a whole number of at least 1", "max_new_tokens: 32"),
    "tasks.limit_train": ("a whole number of at least 1", "limit_train: 1000"),
    "tasks.header": ("true or false", "header: false"),
    "tasks.drop_empty": ("true or false", "drop_empty: true"),
    "tasks.max_file_bytes": ("a whole number of at least 1", "max_file_bytes: 1000000000"),
    "tune.rank": ("a whole number of at least 1", "rank: 8"),
    "tune.alpha": ("a number above 0", "alpha: 16"),
    "tune.targets": ("names of modules", "targets: [q_proj, v_proj]"),
    "tune.dropout": ("a number from 0 up to, not including, 1", "dropout: 0.1"),
    "tune.rate": ("numbers above 0", "rate: [0.001, 0.005]"),
    "tune.steps": ("whole numbers of at least 1", "steps: 30"),
    "tune.batch": ("a whole number of at least 1", "batch: 16"),
    "tune.schedule": ("constant, linear or cosine", "schedule: cosine"),
    **{
        f"prices.{name}": ("a number of at least 0", f"{name}: 2.5")
        for name in Prices.__annotations__
    },
}
"""By path without list positions: what is expected, and an example of it."""
