"""The settings of the study of implicit patterns and circuits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from typing_extensions import TypedDict

from adaptlens.config.described import About
from adaptlens.config.fields import (
    STRICT,
    Arms,
    Count,
    Draws,
    HowToTune,
    Models,
    Overflow,
    Positive,
    Quick,
    Selection,
    Shared,
    Shots,
    Sizes,
    Tasks,
    Tune,
    Tuning,
)
from adaptlens.config.reading import load_config
from adaptlens.config.schema import Conflict, Schema
from adaptlens.types import Metric

Family = Literal["expression", "code", "relation", "boolean", "algebra"]
Part = Literal["behavior", "circuits"]
Corruption = Literal["other", "twin"]
Patching = Literal["denoise", "noise", "noise-mean", "noise-zero"]

FAMILIES: tuple[Family, ...] = Family.__args__  # type: ignore[attr-defined]


# fmt: off
class Circuit(TypedDict, total=False):
    """How circuits are found; a checked one has every key.

    The first of `corruptions`, `methods` and `metrics` is the one the figures and claims are of;
    the others enter the specification curve.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    shots: Annotated[Count, About("Demonstrations of in-context learning.", 8)]
    size: Annotated[Count, About("Training examples of tuning.", 256)]
    items: Annotated[
        int,
        Ge(4),
        About("Pairs of queries to patch, half of them to find circuits and half to test them.",
              128),
    ]
    corruptions: Annotated[
        list[Corruption],
        MinLen(1),
        About("How the corrupt run of a pair is made.", ["other"]),
    ]
    methods: Annotated[list[Patching], MinLen(1), About("Ways of patching.", ["denoise", "noise"])]
    metrics: Annotated[
        list[Metric],
        MinLen(1),
        About("Metrics of patching.", ["logit_difference"]),
    ]
    place: Annotated[
        Literal["last", "cue", "query", "all"], About("Tokens that are patched.", "last")
    ]
    edges: Annotated[
        bool, About("Also estimate, by gradients, what units hand to each other.", True)
    ]
    margin: Annotated[Positive, About("The smallest difference of shifts that counts.", 0.1)]
# fmt: on


CIRCUIT: Circuit = {
    "shots": 8,
    "size": 256,
    "items": 128,
    "corruptions": ["other", "twin"],
    "methods": ["denoise", "noise", "noise-mean"],
    "metrics": ["logit_difference", "log_probability"],
    "place": "last",
    "edges": False,
    "margin": 0.1,
}


TUNE: Tune = {"batch_size": 16}
"""As Yin et al., who took 16 or 32."""


# fmt: off
@dataclass(frozen=True)
class ImplicitConfig(Shared):
    """The settings of a study of implicit patterns and circuits, checked."""

    models: Models = ("reference-math",)
    families: Annotated[tuple[Family, ...], About(
        "The families of tasks with a shortcut; none where tasks are given and these are not.",
        ["expression", "boolean"], option=True,
    )] = FAMILIES
    tasks: Tasks = ()
    difficulty: Annotated[
        Literal["small", "paper"], About("How hard the families' items are.", "paper", option=True)
    ] = "small"
    parts: Annotated[tuple[Part, ...], MinLen(1), About(
        "Parts of the study to carry out.", ["behavior"], option=True,
    )] = ("behavior", "circuits")
    shots: Shots = (0, 1, 2, 4, 8, 16, 32)
    sizes: Sizes = (32, 128, 512, 1024)
    tuning: Tuning = ("it", "full")
    arms: Arms = field(default_factory=dict)
    mixed: Annotated[bool, About(
        "Also tune on all families together, at the largest size.", False,
    )] = True
    transfer: Annotated[bool, About(
        "Also read what was learned from one family on the others, in context and by the first way "
        "of tuning.", False,
    )] = True
    draws: Draws = 5
    queries: Annotated[
        Count, About("Test items of each kind and family.", 100, option=True)
    ] = 100
    validation: Annotated[Count, About(
        "Validation items of each kind and family, which choose the numbers of shots.", 40,
        option=True,
    )] = 40
    circuits: Annotated[Circuit, About(
        "How circuits are found.", {"shots": 8, "size": 256}, "settings of circuits",
    )] = field(default_factory=lambda: CIRCUIT.copy())
    passes: Annotated[Positive, About(
        "Passes over the training examples, unless `tune.max_steps` is given; at least 20 steps.",
        3,
    )] = 1.0
    margin: Annotated[Positive, About(
        "Differences of accuracy below this many points count as none.", 5,
    )] = 5.0
    quick: Quick = False
    selection: Selection = "random"
    on_overflow: Overflow = "error"
    tune: HowToTune = field(default_factory=lambda: TUNE.copy())
# fmt: on


_QUICK: dict[str, Any] = {
    "families": ["boolean", "relation", "expression"],
    "shots": [0, 8],
    "sizes": [32],
    "tuning": ["it"],
    "mixed": False,
    "transfer": False,
    "draws": 5,
    "queries": 40,
    "validation": 10,
    "tune": {"max_steps": [16]},
}
_QUICK_CIRCUIT = {
    "shots": 4,
    "size": 32,
    "items": 24,
    "corruptions": ["other"],
    "methods": ["denoise"],
}


def _filled(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings with the rest of those of circuits, and what `quick` means."""
    out = dict(settings)
    quick = out.get("quick") is True
    if out.get("tasks") and "families" not in out:
        out["families"] = []
    if quick:
        out = {**_QUICK, **out}
    circuit = out.get("circuits", {})
    if isinstance(circuit, dict):
        short = _QUICK_CIRCUIT if quick else {}
        out["circuits"] = {**CIRCUIT, **short, **circuit}
    if isinstance(tune := out.get("tune"), dict):
        out["tune"] = {**TUNE, **tune}
    return out


def _conflict(config: ImplicitConfig) -> Conflict | None:
    if not config.families and not config.tasks:
        return ("families",), "given none, and no tasks; expected one of either."
    if config.quantize and "full" in config.tuning:
        return ("quantize",), (
            f"given {config.quantize} with full tuning, which needs weights as stored; leave full "
            "out of tuning, or leave out quantize."
        )
    return None


IMPLICIT = Schema(
    study="implicit",
    kind=ImplicitConfig,
    analysis=("margin",),
    filled=_filled,
    conflict=_conflict,
)


def implicit_config(**settings: Any) -> ImplicitConfig:
    """Return the settings of a study of implicit patterns given by name, checked likewise.

    Raises:
        UserError: a setting is unknown, mistyped or out of range, or two do not go together.
    """
    return load_config(IMPLICIT, settings=settings)
