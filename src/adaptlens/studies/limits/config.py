"""The settings of the study of limits: many models tuned on mixtures, read in five systems."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from typing_extensions import TypedDict

from adaptlens.config.described import About
from adaptlens.config.fields import (
    STRICT,
    Count,
    HowToTune,
    Models,
    Positive,
    Quick,
    Shared,
    Tasks,
    Text,
    Tune,
)
from adaptlens.config.reading import load_config
from adaptlens.config.schema import Conflict, Schema
from adaptlens.tasks import flan

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

TUNE: Tune = {
    "lora_rank": 64,
    "lora_alpha": 16.0,
    "lora_dropout": 0.1,
    "batch_size": 16,
    "lr_scheduler": "linear",
}
"""Rank, alpha, dropout and schedule of Bigoulaeva et al., who had batches of 2."""


# fmt: off
class Claims(TypedDict, total=False):
    """What decides the claims, in ability (0 is guessing, 1 is all right); each has every key."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    correlation: Annotated[
        Positive,
        About("The least rank correlation, controls taken out, that counts as following.", 0.3),
    ]
    gain: Annotated[
        Positive, About("The least gain of ability over reading without examples.", 0.05)
    ]
    system: Annotated[Positive, About("The least difference of ability between systems.", 0.05)]
    share: Annotated[
        Positive, About("The share of variance below which variations explain little.", 0.05)
    ]
# fmt: on


CLAIMS: Claims = {"correlation": 0.3, "gain": 0.05, "system": 0.05, "share": 0.05}


# fmt: off
@dataclass(frozen=True)
class LimitsConfig(Shared):
    """The settings of a study of limits, checked."""

    models: Annotated[Models, About(
        "Base models: hub ids, folders or shipped names; ladder stands for all of its.",
        ["ladder"], "names of models, or ladder", option=("--model", "--models"), whole=True,
    )] = (LADDER,)
    tasks: Annotated[Tasks, About(
        "What tuned models are tuned on and read on, each with its cluster: nli=rte.tsv, or flan, "
        "flan:CLUSTER, flan:TASK; the microworld's unless given.",
        [{"path": "rte.tsv", "cluster": "nli"}], "tasks with their clusters",
        option=("--task",), whole=True,
    )] = ()
    held_out: Annotated[tuple[Text, ...], About(
        "Tasks and clusters that no mixture tunes on; of flan, the paper's unless given.",
        ["rte"], "names of tasks or clusters", option=True,
    )] = ()
    mixtures: Annotated[tuple[Mixing, ...], MinLen(1), About(
        "Mixtures to tune on: default, and the paper's ablations. With tasks of the user's "
        "own, which may hold none of what an ablation keeps, default alone unless given.",
        ["default"], option=True,
    )] = MIXTURES
    systems: Annotated[tuple[System, ...], MinLen(1), About(
        "Systems that are read; the pipeline comes with samplegen.", ["gold", "regular"],
        option=True,
    )] = SYSTEMS
    draws: Annotated[Count, About(
        "Seeds of tuning on the default mixture; each seed is one tuned model.", 2, option=True,
    )] = 2
    ablation_draws: Annotated[
        Count, About("Seeds of tuning on every other mixture.", 1)
    ] = 1
    ablation_systems: Annotated[tuple[Tuned, ...], MinLen(1), About(
        "Systems tuned on every other mixture, of those in `systems` (the paper: regular and "
        "samplegen).", ["regular"],
    )] = ("regular",)
    gold_draws: Annotated[Count, About("Draws of the gold examples.", 3)] = 3
    shots: Annotated[Count, About("Gold examples before an item.", 2, option=True)] = 2
    queries: Annotated[
        int, Ge(4), About("Test items of each task.", 48, option=True)
    ] = 48
    size: Annotated[
        int, Ge(20), About("Most rows of a mixture (the paper: 20,000).", 20000)
    ] = 1000
    cap: Annotated[Count, About("Most rows of one task in a mixture.", 3000)] = 3000
    passes: Annotated[
        Positive, About("Passes over the rows, unless `tune.max_steps` is given.", 1)
    ] = 1.0
    variations: Annotated[tuple[Text, ...], About(
        "Variations of prompts in which the default mixture's systems are also read.", ["unified"],
        "names of variations", option=True,
    )] = ("unified", "lettered", "irrelevant", "corrupted", "ornate-3")
    loss: Annotated[Literal["answer", "text"], About(
        "Loss on the answer, or on the whole text (the paper).", "text",
    )] = "answer"
    encoder: Annotated[str, About(
        "A sentence encoder, for answers matched by meaning; an empty text for none.",
        "all-MiniLM-L6-v2", "the name of a sentence encoder",
    )] = ""
    claims: Annotated[Claims, About(
        "Thresholds of the claims.", {"correlation": 0.3}, "what decides the claims",
    )] = field(default_factory=lambda: CLAIMS.copy())
    quick: Quick = False
    tune: HowToTune = field(default_factory=lambda: TUNE.copy())
# fmt: on


_HELD_OUT = [
    "agreement",
    "topic-pick",
    "withheld-2",
    "withheld-3",
    "in-list",
    "back-translation",
    "right-translation",
]
"""Of the microworld's tasks, one or two of every cluster."""

_QUICK: dict[str, Any] = {
    "models": [
        "ladder-llama-s",
        "ladder-neox-s",
        "ladder-llama-m",
        "ladder-llama-m-none",
        "ladder-neox-m",
    ],
    "mixtures": ["default"],
    "draws": 1,
    "gold_draws": 1,
    "queries": 8,
    "size": 240,
    "variations": ["unified"],
}
"""A first look that every claim can be decided by: five bases of two families (five bases of three
leave nothing beside size and family), one of them without the exposure, and one variation."""


def _filled(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings with the rest of claims and tuning, and what `quick` means."""
    out = dict(settings)
    if tasks := out.get("tasks"):
        out.setdefault("mixtures", ["default"])
        if any(_all_of_flan(task) for task in tasks):
            out.setdefault("held_out", [*flan.catalog().held_out])
    else:
        out.setdefault("held_out", _HELD_OUT)
    if out.get("quick") is True:
        out = {**_QUICK, **out}
    for name, usual in (("claims", CLAIMS), ("tune", TUNE)):
        if isinstance(given := out.get(name), dict):
            out[name] = {**usual, **given}
    return out


def _all_of_flan(task: Any) -> bool:
    path = task.get("path") if isinstance(task, Mapping) else task
    return isinstance(path, str) and path.partition(",")[0] == flan.PREFIX


def _conflict(config: LimitsConfig) -> Conflict | None:
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
    for key in ("max_steps", "learning_rate"):
        values: Any = config.tune.get(key)
        if values and len(values) > 1:
            return ("tune", key), f"given {len(values)} values; expected one: choose it beforehand."
    if "lr_multipliers" in config.tune:
        return ("tune", "lr_multipliers"), (
            "no rates are tried in this study; expected one chosen beforehand: give "
            "tune.learning_rate, or leave both out for 0.64 / width."
        )
    if "num_templates" in config.tune:
        return ("tune", "num_templates"), (
            "mixtures are written in one way; expected nothing: leave it out, or use `adaptlens "
            "compare`."
        )
    for number, task in enumerate(config.tasks):
        if not task.get("cluster") and not flan.is_named(task["path"]):
            return ("tasks", number), (
                f"'{task['path']}' has no cluster; say what kind of task it is, for example "
                f"{{path: {task['path']}, cluster: nli}}."
            )
    return None


LIMITS = Schema(
    study="limits",
    kind=LimitsConfig,
    analysis=("claims",),
    filled=_filled,
    conflict=_conflict,
)


def limits_config(**settings: Any) -> LimitsConfig:
    """Return the settings of a study of limits given by name, checked likewise.

    Raises:
        UserError: a setting is unknown, mistyped or out of range, or two do not go together.
    """
    return load_config(LIMITS, settings=settings)
