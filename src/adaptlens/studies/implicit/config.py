"""The settings of the study of implicit patterns and circuits."""

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
    Overflow,
    Positive,
    Seed,
    TaskSource,
    Text,
    Tune,
)
from adaptlens.config.reading import load_config
from adaptlens.config.schema import Conflict, Schema
from adaptlens.types import Metric

Family = Literal["expression", "code", "relation", "boolean", "algebra"]
Method = Literal["it", "sl", "full"]
Part = Literal["behaviour", "circuits"]
Corruption = Literal["other", "twin"]
Patching = Literal["denoise", "noise", "noise-mean", "noise-zero"]

FAMILIES: tuple[Family, ...] = Family.__args__  # type: ignore[attr-defined]


class Circuit(TypedDict, total=False):
    """How circuits are found; a checked one has every key.

    `shots` and `size` are those of the conditions; `items` pairs of queries are patched, half of
    them to find circuits and half to test them. The first of `corruptions`, `methods` and `metrics`
    is the one the figures and claims are of; the others enter the specification curve. A circuit is
    defined where the gap between clean and corrupt runs is real; `edges` also estimates, by
    gradients, what units hand to each other; `margin` is the smallest difference of shifts that
    counts.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    shots: Count
    size: Count
    items: Annotated[int, Ge(4)]
    corruptions: Annotated[list[Corruption], MinLen(1)]
    methods: Annotated[list[Patching], MinLen(1)]
    metrics: Annotated[list[Metric], MinLen(1)]
    place: Literal["last", "cue", "query", "all"]
    edges: bool
    margin: Positive


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


TUNE: Tune = {"batch": 16}
"""As Yin et al., who took 16 or 32."""


@dataclass(frozen=True)
class ImplicitConfig:
    """The settings of a study of implicit patterns and circuits, checked.

    Attributes:
        models: hub ids, folders, or shipped names, with prefixes or without.
        families: the families of tasks with a shortcut.
        tasks: further tasks of any kind, of which circuits alone are studied; where some are
            given and families are not, there are no families.
        difficulty: of the families' items.
        parts: what is studied.
        shots: numbers of demonstrations; 0 is zero-shot, which is always there.
        sizes: numbers of training examples.
        tuning: ways of tuning.
        mixed: also tune on all families together, at the largest size.
        transfer: also read what was learnt from one family on the others, in context and by the
            first way of tuning.
        draws: of demonstrations and training examples, each tuned with a seed of its own.
        queries: test items of each kind and family.
        validation: validation items of each kind and family, which choose the numbers of shots.
        circuits: see `Circuit`.
        passes: over the training examples, unless `tune.steps` says otherwise; at least 20 steps.
        margin: differences of accuracy below this many points count as none.
        quick: fewer families, items and ways of tuning, and as many draws as claims need; what is
            given stays.
        selection: how demonstrations are chosen.
        seed: of everything random.
        chat: write prompts with the tokenizer's chat template.
        dtype: of the weights and the arithmetic.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        quantize: load the weights in 8 or 4 bits; None does not.
        on_overflow: what happens to a prompt longer than the model's context.
        tune: see `Tune`.
        engine: see `Engine`; no result depends on it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    models: Annotated[tuple[Text, ...], MinLen(1)] = ("reference-math",)
    families: tuple[Family, ...] = FAMILIES
    tasks: tuple[TaskSource, ...] = ()
    difficulty: Literal["small", "paper"] = "small"
    parts: Annotated[tuple[Part, ...], MinLen(1)] = ("behaviour", "circuits")
    shots: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (0, 1, 2, 4, 8, 16, 32)
    sizes: tuple[Count, ...] = (32, 128, 512, 1024)
    tuning: tuple[Method, ...] = ("it", "full")
    mixed: bool = True
    transfer: bool = True
    draws: Count = 5
    queries: Count = 100
    validation: Annotated[int, Ge(1)] = 40
    circuits: Circuit = field(default_factory=lambda: CIRCUIT.copy())
    passes: Positive = 1.0
    margin: Positive = 5.0
    quick: bool = False
    selection: Literal["random", "balanced"] = "random"
    seed: Seed = 0
    chat: bool = False
    dtype: Dtype = "float32"
    device: Text = "auto"
    quantize: Bits | None = None
    on_overflow: Overflow = "error"
    tune: Tune = field(default_factory=lambda: TUNE.copy())
    engine: Engine = field(default_factory=Engine)


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
    "tune": {"steps": [16]},
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
        given = {k: v for k, v in circuit.items() if v is not None}
        out["circuits"] = {**CIRCUIT, **short, **given}
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
    for name in ("corruptions", "methods", "metrics"):
        given = config.circuits[name]
        if len(set(given)) < len(given):
            return ("circuits", name), f"given {', '.join(given)}; give each once."
    return None


IMPLICIT = Schema(
    study="implicit",
    kind=ImplicitConfig,
    lists=("models", "families", "tasks", "parts", "shots", "sizes", "tuning"),
    sources=("tasks",),
    tables={"tasks": TaskSource, "tune": Tune, "engine": Engine, "circuits": Circuit},
    analysis=("margin",),
    filled=_filled,
    conflict=_conflict,
    expected={
        **EXPECTED,
        "families": ("names of families", "families: [expression, boolean]"),
        "difficulty": ("small or paper", "difficulty: paper"),
        "parts": ("behaviour, circuits, or both", "parts: [behaviour]"),
        "shots": ("whole numbers of at least 0", "shots: [0, 4, 16]"),
        "sizes": ("whole numbers of at least 1", "sizes: [32, 256]"),
        "tuning": ("it, sl or full", "tuning: [it, full]"),
        "mixed": ("true or false", "mixed: false"),
        "transfer": ("true or false", "transfer: false"),
        "draws": ("a whole number of at least 1", "draws: 5"),
        "queries": ("a whole number of at least 1", "queries: 100"),
        "validation": ("a whole number of at least 1", "validation: 40"),
        "circuits": ("settings of circuits", "circuits: {shots: 8, size: 256}"),
        "circuits.shots": ("a whole number of at least 1", "shots: 8"),
        "circuits.size": ("a whole number of at least 1", "size: 256"),
        "circuits.items": ("a whole number of at least 4", "items: 128"),
        "circuits.corruptions": ("other, twin, or both", "corruptions: [other]"),
        "circuits.methods": (
            "denoise, noise, noise-mean or noise-zero",
            "methods: [denoise, noise]",
        ),
        "circuits.metrics": ("metrics of patching", "metrics: [logit_difference]"),
        "circuits.place": ("last, cue, query or all", "place: last"),
        "circuits.edges": ("true or false", "edges: true"),
        "circuits.margin": ("a number above 0", "margin: 0.1"),
        "passes": ("a number above 0", "passes: 3"),
        "margin": ("a number above 0", "margin: 5"),
        "quick": ("true or false", "quick: true"),
        "selection": ("random or balanced", "selection: balanced"),
    },
)


def implicit_config(**settings: Any) -> ImplicitConfig:
    """Return the settings of a study of implicit patterns given by name, checked likewise.

    Raises:
        UserError: a setting is unknown, mistyped or out of range, or two do not go together.
    """
    return load_config(IMPLICIT, settings=settings)
