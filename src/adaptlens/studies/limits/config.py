"""The settings of the study of limits: many models tuned on mixtures, read in five systems."""

from collections.abc import Mapping
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
    Positive,
    Seed,
    TaskSource,
    Text,
    Tune,
)
from adaptlens.config.reading import load_config
from adaptlens.config.schema import Conflict, Schema

Mixing = Literal[
    "default",
    "nlg-only",
    "no-nli-no-nlg",
    "one-task",
    "other-task",
    "no-coreference",
    "coreference-one",
    "coreference-other",
]
System = Literal["base", "gold", "regular", "samplegen", "pipeline"]
Tuned = Literal["regular", "samplegen"]
MIXTURES: tuple[Mixing, ...] = Mixing.__args__  # type: ignore[attr-defined]
SYSTEMS: tuple[System, ...] = System.__args__  # type: ignore[attr-defined]
LADDER = "ladder"

TUNE: Tune = {"rank": 64, "alpha": 16.0, "dropout": 0.1, "batch": 16, "schedule": "linear"}
"""Rank, alpha, dropout and schedule of Bigoulaeva et al., who had batches of 2."""


class Claims(TypedDict, total=False):
    """What decides the claims; a checked one has every key.

    `correlation` is the least rank correlation, controls taken out, that counts as following;
    `gain` and `system` the least gain over reading without examples, and difference of systems,
    in ability (0 is guessing, 1 is all right); `share` the share of variance below which
    variations explain little.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    correlation: Positive
    gain: Positive
    system: Positive
    share: Positive


CLAIMS: Claims = {"correlation": 0.3, "gain": 0.05, "system": 0.05, "share": 0.05}


@dataclass(frozen=True)
class LimitsConfig:
    """The settings of a study of limits, checked.

    Attributes:
        models: base models: hub ids, folders or shipped names; "ladder" stands for all of its.
        tasks: what tuned models are tuned on and read on, each with its `cluster`; the microworld's
            unless given.
        held_out: tasks and clusters that no mixture tunes on.
        mixtures: which tasks are tuned on: "default", and the paper's ablations. With tasks of the
            user's own, which may hold none of what an ablation keeps, "default" alone unless given.
        systems: which are read. The pipeline comes with samplegen.
        draws: seeds of tuning on the default mixture; each seed is one tuned model.
        ablation_draws: seeds of tuning on every other mixture.
        ablation_systems: which are tuned on every other mixture, of those in `systems` (the paper:
            regular and samplegen).
        gold_draws: draws of the gold examples.
        shots: gold examples before an item.
        queries: test items of each task.
        size: rows of a mixture at most (the paper: 20,000).
        cap: rows of a task in it at most.
        passes: over the rows, unless `tune.steps` says otherwise.
        variations: of prompts, in which the default mixture's systems are also read.
        loss: "answer", or "text" for the whole text (the paper).
        encoder: a sentence encoder, for answers matched by meaning; "" for none.
        claims: see `Claims`.
        quick: five bases, as many as claims need, with fewer mixtures, seeds, rows and queries;
            what is given stays.
        seed: of everything random.
        chat: write prompts with the tokenizer's chat template.
        dtype: of the weights and the arithmetic.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        quantize: load the weights in 8 or 4 bits; None does not.
        tune: see `Tune`.
        engine: see `Engine`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    models: Annotated[tuple[Text, ...], MinLen(1)] = (LADDER,)
    tasks: tuple[TaskSource, ...] = ()
    held_out: tuple[Text, ...] = ()
    mixtures: Annotated[tuple[Mixing, ...], MinLen(1)] = MIXTURES
    systems: Annotated[tuple[System, ...], MinLen(1)] = SYSTEMS
    draws: Count = 2
    ablation_draws: Count = 1
    ablation_systems: Annotated[tuple[Tuned, ...], MinLen(1)] = ("regular",)
    gold_draws: Count = 3
    shots: Count = 2
    queries: Annotated[int, Ge(4)] = 48
    size: Annotated[int, Ge(20)] = 1000
    cap: Count = 3000
    passes: Positive = 1.0
    variations: tuple[Text, ...] = ("unified", "lettered", "irrelevant", "corrupted", "ornate-3")
    loss: Literal["answer", "text"] = "answer"
    encoder: str = ""
    claims: Claims = field(default_factory=lambda: CLAIMS.copy())
    quick: bool = False
    seed: Seed = 0
    chat: bool = False
    dtype: Dtype = "float32"
    device: Text = "auto"
    quantize: Bits | None = None
    tune: Tune = field(default_factory=lambda: TUNE.copy())
    engine: Engine = field(default_factory=lambda: Engine())


_HELD_OUT = ["agreement", "topic-pick", "withheld-2", "withheld-3", "in-list", "back-translation",
             "right-translation"]  # fmt: skip
"""Of the microworld's tasks, one or two of every cluster."""

_QUICK: dict[str, Any] = {
    "models": [
        "ladder-llama-s", "ladder-neox-s", "ladder-llama-m", "ladder-llama-m-none",
        "ladder-neox-m",
    ],
    "mixtures": ["default"],
    "draws": 1,
    "gold_draws": 1,
    "queries": 8,
    "size": 240,
    "variations": ["unified"],
}  # fmt: skip
"""A first look that every claim can be decided by: five bases of two families (five bases of three
leave nothing beside size and family), one of them without the exposure, and one variation."""


def _filled(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings with the rest of claims and tuning, and what `quick` means."""
    out = dict(settings)
    if out.get("tasks"):
        out.setdefault("mixtures", ["default"])
    else:
        out.setdefault("held_out", _HELD_OUT)
    if out.get("quick") is True:
        out = {**_QUICK, **out}
    for name, usual in (("claims", CLAIMS), ("tune", TUNE)):
        if isinstance(given := out.get(name), dict):
            out[name] = {**usual, **given}
    return out


def _conflict(config: LimitsConfig) -> Conflict | None:
    for name in ("models", "mixtures", "systems", "ablation_systems", "variations", "held_out"):
        given = getattr(config, name)
        if len(set(given)) < len(given):
            return (name,), f"given {', '.join(given)}; give each once."
    if "default" not in config.mixtures:
        return ("mixtures",), (
            f"given {', '.join(config.mixtures)}; expected default among them, by which bases "
            "are read: add it."
        )
    for needed in ("gold", "regular"):
        if needed not in config.systems:
            return ("systems",), (
                f"given {', '.join(config.systems)}; expected {needed} among them, as tuned models "
                "are compared with base models: add it."
            )
    if "samplegen" in config.ablation_systems and not {"samplegen", "pipeline"} & {*config.systems}:
        return ("ablation_systems",), (
            f"given samplegen, and systems {', '.join(config.systems)}; expected samplegen or "
            "pipeline among the systems: add one, or leave samplegen out here."
        )
    for key in ("steps", "rate"):
        values: Any = config.tune.get(key)
        if values and len(values) > 1:
            return ("tune", key), f"given {len(values)} values; expected one: choose it beforehand."
    if "rate_times" in config.tune:
        return ("tune", "rate_times"), (
            "no rates are tried in this study; expected one chosen beforehand: give tune.rate, or "
            "leave both out for 0.64 / width."
        )
    for number, task in enumerate(config.tasks):
        if not task.get("cluster"):
            return ("tasks", number), (
                f"'{task['path']}' has no cluster; say what kind of task it is, for example "
                f"{{path: {task['path']}, cluster: nli}}."
            )
    return None


LIMITS = Schema(
    study="limits",
    kind=LimitsConfig,
    lists=(
        "models",
        "tasks",
        "mixtures",
        "systems",
        "ablation_systems",
        "variations",
        "held_out",
    ),
    sources=("tasks",),
    tables={"tasks": TaskSource, "tune": Tune, "claims": Claims, "engine": Engine},
    analysis=("claims",),
    filled=_filled,
    conflict=_conflict,
    expected={
        **{name: words for name, words in EXPECTED.items() if name != "on_overflow"},
        "models": ("names of models, or ladder", "models: [ladder]"),
        "tasks": ("tasks with their clusters", "tasks: [{path: rte.tsv, cluster: nli}]"),
        "held_out": ("names of tasks or clusters", "held_out: [rte]"),
        "mixtures": (f"names of mixtures: {', '.join(MIXTURES)}", "mixtures: [default]"),
        "systems": (f"names of systems: {', '.join(SYSTEMS)}", "systems: [gold, regular]"),
        "draws": ("a whole number of at least 1", "draws: 2"),
        "ablation_draws": ("a whole number of at least 1", "ablation_draws: 1"),
        "ablation_systems": ("regular, samplegen or both", "ablation_systems: [regular]"),
        "gold_draws": ("a whole number of at least 1", "gold_draws: 3"),
        "shots": ("a whole number of at least 1", "shots: 2"),
        "queries": ("a whole number of at least 4", "queries: 48"),
        "size": ("a whole number of at least 20", "size: 20000"),
        "cap": ("a whole number of at least 1", "cap: 3000"),
        "passes": ("a number above 0", "passes: 1"),
        "variations": ("names of variations", "variations: [unified]"),
        "loss": ("answer or text", "loss: text"),
        "encoder": ("the name of a sentence encoder", "encoder: all-MiniLM-L6-v2"),
        "claims": ("what decides the claims", "claims: {correlation: 0.3}"),
        "claims.correlation": ("a number above 0", "correlation: 0.3"),
        "claims.gain": ("a number above 0", "gain: 0.05"),
        "claims.system": ("a number above 0", "system: 0.05"),
        "claims.share": ("a number above 0", "share: 0.05"),
        "quick": ("true or false", "quick: true"),
    },
)


def limits_config(**settings: Any) -> LimitsConfig:
    """Return the settings of a study of limits given by name, checked likewise.

    Raises:
        UserError: a setting is unknown, mistyped or out of range, or two do not go together.
    """
    return load_config(LIMITS, settings=settings)
