"""The settings of the convergence study."""

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le, MinLen
from typing_extensions import TypedDict

from adaptlens.config.fields import (
    EXPECTED,
    SOURCE_EXPECTED,
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

Factor = Literal[
    "pairs",
    "layers",
    "demonstrations",
    "resemblance",
    "labels",
    "task",
    "generation",
    "models",
    "prompt",
    "position",
    "dose",
]
Position = Literal["last", "separator", "instruction", "labels", "answer_first", "answer_mean"]
Measure = Literal[
    "within",
    "projected",
    "cosine",
    "centred",
    "standardised",
    "distance",
    "cka",
    "procrustes",
    "rsa",
]
Route = Literal["sl", "steered", "full"]
Share = Annotated[float, Ge(0), Le(1)]

FACTORS: tuple[Factor, ...] = Factor.__args__  # type: ignore[attr-defined]
MEASURES: tuple[Measure, ...] = Measure.__args__  # type: ignore[attr-defined]
FACTOR_DRAWS = 10
PLACEHOLDERS = ("instruction", "choices", "cue")


class Claim(TypedDict, total=False):
    """By what "in-context learning is implicit tuning" is judged; a checked one has every key.

    `measure` is of two states in the same basis, "within" and "projected" with the answer taken
    out; `control` is the condition whose excess is taken off; `routes` are other ways to the same
    answers, which ICL must be less like than it is like IT; an excess within `margin` counts as
    none.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    measure: Literal["within", "projected", "cosine", "centred", "standardised"]
    control: Literal["unrelated", "neutral", "shuffled"]
    routes: Annotated[list[Route], MinLen(1)]
    margin: Positive


CLAIM: Claim = {
    "measure": "within",
    "control": "unrelated",
    "routes": ["sl", "steered"],
    "margin": 0.05,
}


@dataclass(frozen=True)
class ConvergenceConfig:
    """The settings of a convergence study, checked.

    Attributes:
        models: hub ids, folders, or shipped names, with prefixes or without.
        tasks: where each task comes from.
        shots: demonstrations, and training examples, of the main conditions.
        counts: numbers of demonstrations of that factor.
        draws: draws of demonstrations in the main conditions.
        factor_draws: draws in the conditions of single factors; unless given, 10, or `draws` where
            these are fewer.
        queries: at most this many test items; None means all.
        validation: at most this many validation items are scored; None means all.
        unrelated: the task whose examples are the unrelated ones; None picks one.
        full: tune all weights, too; None does where the model has at most a billion of them.
        untrained: add an untrained copy of every model.
        factors: what is varied.
        wrong: shares of wrong labels; whole percents.
        doses: numbers of training steps at which tuning is read on its way.
        rates: further learning rates to read at these doses; none means half and double.
        positions: where in the prompt states are read.
        wordings: names of better prompts, and texts in which {instruction}, {choices} and {cue}
            stand for the task's own; none means the built-in description, format, options, chain.
        measures: of the similarity of states.
        encoder: sentence encoder, a sentence-transformers name or folder.
        keep: format of the stored states.
        claim: see `Claim`.
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

    models: Annotated[tuple[Text, ...], MinLen(1)] = ("reference",)
    tasks: Annotated[tuple[TaskSource, ...], MinLen(1)] = ({"path": "sentiment-novel"},)
    shots: Count = 16
    counts: Annotated[tuple[Count, ...], MinLen(1)] = (1, 2, 4, 8, 16, 32)
    draws: Count = 30
    factor_draws: Count = FACTOR_DRAWS
    queries: Count | None = 200
    validation: Annotated[int, Ge(0)] | None = 0
    unrelated: TaskSource | None = None
    full: bool | None = None
    untrained: bool = True
    factors: tuple[Factor, ...] = FACTORS
    wrong: Annotated[tuple[Share, ...], MinLen(1)] = (0.25, 0.5, 0.75, 1.0)
    doses: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (0, 1, 2, 4, 8, 15, 30)
    rates: tuple[Positive, ...] = ()
    positions: Annotated[tuple[Position, ...], MinLen(1)] = (
        "last",
        "separator",
        "instruction",
        "labels",
    )
    wordings: dict[str, Text] = field(default_factory=dict)
    measures: Annotated[tuple[Measure, ...], MinLen(1)] = MEASURES
    encoder: Text = "all-MiniLM-L6-v2"
    keep: Literal["float32", "float16"] = "float32"
    claim: Claim = field(default_factory=lambda: CLAIM.copy())
    selection: Literal["random", "balanced"] = "random"
    seed: Seed = 0
    chat: bool = False
    dtype: Dtype = "float32"
    device: Text = "auto"
    quantize: Bits | None = None
    on_overflow: Overflow = "error"
    tune: Tune = field(default_factory=Tune)
    engine: Engine = field(default_factory=Engine)


def _filled(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings with the rest of a claim, and no more draws of factors than draws."""
    out = dict(settings)
    if isinstance(claim := out.get("claim"), dict):
        out["claim"] = {**CLAIM, **{k: v for k, v in claim.items() if v is not None}}
        if isinstance(routes := out["claim"]["routes"], str):
            out["claim"]["routes"] = [word.strip() for word in routes.split(",")]
    draws = out.get("draws")
    if "factor_draws" not in out and type(draws) is int:
        out["factor_draws"] = min(FACTOR_DRAWS, draws)
    return out


def _conflict(config: ConvergenceConfig) -> Conflict | None:
    if config.factor_draws > config.draws:
        return ("factor_draws",), (
            f"given {config.factor_draws}, but draws is {config.draws}; the factors use the first "
            f"of the study's draws: expected at most {config.draws}, or more draws."
        )
    for share in config.wrong:
        if abs(100 * share - round(100 * share)) > 1e-9:
            return ("wrong",), (
                f"given {share}; expected shares in whole percents, for example `wrong: [0.25, 1]`."
            )
    rising = all(a < b for a, b in zip(config.doses, config.doses[1:], strict=False))
    if not rising or config.doses[-1] == 0:
        return ("doses",), (
            f"given {list(config.doses)}; expected numbers of steps, each larger than the one "
            "before and the last above 0, for example `doses: [0, 4, 15, 30]`."
        )
    if "last" not in config.positions:
        return ("positions",), (
            f"given {', '.join(config.positions)}; the study compares the last token: add 'last'."
        )
    if "full" in config.claim["routes"] and config.full is not True:
        return ("claim", "routes"), (
            "given full, but full is not true; add `full: true`, or leave full out of the routes."
        )
    if config.claim["measure"] not in config.measures:
        return ("claim", "measure"), (
            f"given '{config.claim['measure']}', but measures has {', '.join(config.measures)}; "
            "add it there, or judge by one of these."
        )
    if config.quantize and (config.full or config.untrained):
        asked = "full" if config.full else "untrained"
        return ("quantize",), (
            f"given {config.quantize} with {asked}, which needs weights as stored; set {asked} to "
            "false, or leave out quantize."
        )
    return next(filter(None, (_misworded(n, text) for n, text in config.wordings.items())), None)


def _misworded(name: str, text: str) -> Conflict | None:
    """Return what is wrong with one wording."""
    place = ("wordings", name)
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
        return place, (
            "not a name for a wording; expected letters, digits, - and _, for example `options`."
        )
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        return place, f"{error}; write {{{{ or }}}} for a brace that stands for itself."
    for _, placeholder, form, conversion in parts:
        if placeholder is not None and (placeholder not in PLACEHOLDERS or form or conversion):
            written = placeholder + (f"!{conversion}" if conversion else "")
            written += f":{form}" if form else ""
            written = " ".join(written.split())
            known = ", ".join(f"{{{p}}}" for p in PLACEHOLDERS)
            return place, f"unknown placeholder {{{written}}}; expected {known}, or plain text."
    return None


CONVERGENCE = Schema(
    study="convergence",
    kind=ConvergenceConfig,
    lists=(
        "models",
        "tasks",
        "counts",
        "factors",
        "wrong",
        "doses",
        "rates",
        "positions",
        "measures",
        "claim.routes",
    ),
    sources=("tasks", "unrelated"),
    tables={
        "tasks": TaskSource,
        "unrelated": TaskSource,
        "tune": Tune,
        "engine": Engine,
        "claim": Claim,
    },
    free=("wordings",),
    analysis=("measures", "claim", "factors"),
    subsets=("factors",),
    filled=_filled,
    conflict=_conflict,
    expected={
        **EXPECTED,
        "shots": ("a whole number of at least 1", "shots: 16"),
        "counts": ("whole numbers of at least 1", "counts: [1, 4, 16]"),
        "draws": ("a whole number of at least 1", "draws: 30"),
        "factor_draws": ("a whole number of at least 1", "factor_draws: 10"),
        "validation": ("a whole number of at least 0, or null for all", "validation: 0"),
        "unrelated": ("the name or file of a task, or null to pick one", "unrelated: translation"),
        **{f"unrelated.{name}": words for name, words in SOURCE_EXPECTED.items()},
        "full": ("true, false, or null for small models only", "full: true"),
        "untrained": ("true or false", "untrained: false"),
        "factors": ("names of factors", "factors: [pairs, layers]"),
        "wrong": ("shares from 0 to 1", "wrong: [0.25, 1]"),
        "doses": ("whole numbers of at least 0", "doses: [0, 4, 15, 30]"),
        "rates": ("numbers above 0", "rates: [0.001, 0.01]"),
        "positions": ("places in a prompt", "positions: [last, labels]"),
        "wordings": (
            "names and texts of prompts",
            "wordings: {options: '{instruction} Answer {choices}.'}",
        ),
        "measures": ("measures of similarity", "measures: [cosine, centred]"),
        "encoder": ("the name or folder of a sentence encoder", "encoder: all-MiniLM-L6-v2"),
        "keep": ("float32 or float16", "keep: float16"),
        "claim": ("settings of the claim", "claim: {measure: within, margin: 0.05}"),
        "claim.measure": (
            "within, projected, cosine, centred or standardised",
            "measure: within",
        ),
        "claim.control": ("unrelated, neutral or shuffled", "control: unrelated"),
        "claim.routes": ("other ways to the same answers", "routes: [sl, steered]"),
        "claim.margin": ("a number above 0", "margin: 0.05"),
        "selection": ("random or balanced", "selection: balanced"),
    },
)


def convergence_config(**settings: Any) -> ConvergenceConfig:
    """Return a convergence study's settings given by name, checked as those of a file are.

    Raises:
        UserError: a setting is unknown, mistyped or out of range, or two do not go together.
    """
    return load_config(CONVERGENCE, settings=settings)
