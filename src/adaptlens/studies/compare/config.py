"""The settings of a comparison."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, MinLen
from typing_extensions import TypedDict

from adaptlens.config.fields import (
    EXPECTED,
    STRICT,
    Bits,
    Count,
    Dtype,
    Engine,
    Overflow,
    Positive,
    Seed,
    TaskSource,
    Text,
    Tune,
)
from adaptlens.config.reading import load_config
from adaptlens.config.schema import Schema

Amount = Annotated[float, Ge(0)]


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
        num_templates: how many of the usual templates every arm is read and tuned under, where the
            task was given none.
        scoring: the rule answers are chosen by; "validation" lets the validation split choose,
            arm by arm.
        search: also look for the best prompt at every number of shots.
        search_reads: prompts to read in the search for a template.
        search_draw_reads: prompts to read in the search for a draw's demonstrations.
        true_few_shot: use no validation split: prompts, and rates and steps of tuning, are chosen
            by the draw's own examples, each left out in turn.
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
        engine: see `Engine`; no result depends on it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    models: Annotated[tuple[Text, ...], MinLen(1)] = ("reference",)
    tasks: Annotated[tuple[TaskSource, ...], MinLen(1)] = ({"path": "sentiment-novel"},)
    shots: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (0, 4, 16)
    tuning: tuple[Literal["it", "sl", "full"], ...] = ("it", "sl", "full")
    sizes: tuple[Count, ...] | None = None
    draws: Count = 10
    num_templates: Count = 6
    scoring: Literal["validation", "raw", "bytes", "tokens", "corrected", "calibrated"] = (
        "validation"
    )
    search: bool = True
    search_reads: Count = 2400
    search_draw_reads: Count = 640
    true_few_shot: bool = False
    queries: Count | None = 200
    validation: Count | None = 200
    selection: Literal["random", "balanced", "similar", "embedding"] = "random"
    seed: Seed = 0
    chat: bool = False
    dtype: Dtype = "float32"
    device: Text = "auto"
    quantize: Bits | None = None
    on_overflow: Overflow = "error"
    tune: Tune = field(default_factory=Tune)
    prices: Prices = field(default_factory=Prices)
    margin: Positive = 2.0
    engine: Engine = field(default_factory=Engine)

    @property
    def tuning_sizes(self) -> tuple[int, ...]:
        """The numbers of training examples that tuning gets."""
        return tuple(k for k in self.shots if k) if self.sizes is None else self.sizes


COMPARISON = Schema(
    study="compare",
    kind=CompareConfig,
    lists=("models", "tasks", "tuning", "shots", "sizes"),
    sources=("tasks",),
    tables={"tasks": TaskSource, "tune": Tune, "engine": Engine, "prices": Prices},
    expected={
        **EXPECTED,
        "shots": ("whole numbers of at least 0", "shots: [0, 4, 16]"),
        "tuning": ("ways of tuning", "tuning: [it, full]"),
        "sizes": ("whole numbers of at least 1, or null for the shots", "sizes: [16, 64]"),
        "draws": ("a whole number of at least 1", "draws: 10"),
        "validation": ("a whole number of at least 1, or null for all", "validation: 100"),
        "num_templates": ("a whole number of at least 1", "num_templates: 6"),
        "scoring": ("a scoring rule, or validation", "scoring: calibrated"),
        "search": ("true or false", "search: false"),
        "search_reads": ("a whole number of at least 1", "search_reads: 2400"),
        "search_draw_reads": ("a whole number of at least 1", "search_draw_reads: 640"),
        "true_few_shot": ("true or false", "true_few_shot: true"),
        "selection": ("random, balanced, similar or embedding", "selection: balanced"),
        "margin": ("a number of points above 0", "margin: 2.0"),
        "prices": ("prices", "prices: {gpu_hour: 2.5}"),
        **{
            f"prices.{name}": ("a number of at least 0", f"{name}: 2.5")
            for name in Prices.__annotations__
        },
    },
)


def compare_config(**settings: Any) -> CompareConfig:
    """Return a comparison's settings given by name, checked as those of a file are.

    Raises:
        UserError: a setting is unknown, mistyped or out of range.
    """
    return load_config(COMPARISON, settings=settings)
