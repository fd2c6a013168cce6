"""The settings of the convergence study."""

import itertools
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen
from typing_extensions import TypedDict

from adaptlens.config.described import About
from adaptlens.config.fields import (
    STRICT,
    Arms,
    Count,
    Draws,
    Overflow,
    Positive,
    Quick,
    Selection,
    Shared,
    TaskSource,
    Text,
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
    "centered",
    "standardized",
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


# fmt: off
class Claim(TypedDict, total=False):
    """By what "in-context learning is implicit tuning" is judged; a checked one has every key."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    measure: Annotated[
        Literal["within", "projected", "cosine", "centered", "standardized"],
        About("Measure of two states in one basis; within and projected take the answer out.",
              "within"),
    ]
    control: Annotated[
        Literal["unrelated", "neutral", "shuffled"],
        About("The condition whose excess is taken off.", "unrelated"),
    ]
    routes: Annotated[
        list[Route],
        MinLen(1),
        About("Other ways to the same answers, which ICL must be less like than it is like IT.",
              ["sl", "steered"]),
    ]
    margin: Annotated[Positive, About("Largest excess of similarity that counts as none.", 0.05)]
# fmt: on


CLAIM: Claim = {
    "measure": "within",
    "control": "unrelated",
    "routes": ["sl", "steered"],
    "margin": 0.05,
}


# fmt: off
@dataclass(frozen=True)
class ConvergenceConfig(Shared):
    """The settings of a convergence study, checked."""

    shots: Annotated[Count, About(
        "Demonstrations, and examples to tune on, of the main conditions.", 16, option=True,
    )] = 16
    counts: Annotated[tuple[Count, ...], MinLen(1), About(
        "Numbers of demonstrations of that factor.", [1, 4, 16], option=True,
    )] = (1, 2, 4, 8, 16, 32)
    draws: Draws = 30
    factor_draws: Annotated[Count, About(
        "Draws in the conditions of single factors; at most `draws`.", 10,
    )] = FACTOR_DRAWS
    validation: Annotated[Annotated[int, Ge(0)] | None, About(
        "Most validation items that are scored.", 0, null="for all",
    )] = 0
    further: Annotated[tuple[Literal["distil", "ia2", "soft-prompt", "vector"], ...], About(
        "Ways in between to compare with both: LoRA trained to give what the prompt gives, or to "
        "attend as after it, embeddings before the prompt, or what the prompt does to a state, as "
        "a vector.",
        ["distil", "ia2"], option=True,
    )] = ()
    arms: Arms = field(default_factory=dict)
    unrelated: Annotated[TaskSource | None, About(
        "Task whose examples are the unrelated demonstrations.", {"path": "translation"},
        "the name or file of a task", null="to pick one", option=True,
    )] = None
    full: Annotated[bool | None, About(
        "Tune all weights, too.", True, null="for models of at most a billion of them", option=True,
    )] = None
    untrained: Annotated[bool, About("Add an untrained copy of every model.", False)] = True
    factors: Annotated[tuple[Factor, ...], About(
        "Factors that are varied.", ["pairs", "layers"], option=True,
    )] = FACTORS
    wrong: Annotated[tuple[Share, ...], MinLen(1), About(
        "Shares of wrong labels; whole percents.", [0.25, 1], "shares from 0 to 1",
    )] = (0.25, 0.5, 0.75, 1.0)
    checkpoint_steps: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), About(
        "Numbers of training steps at which tuning is read on its way.", [0, 4, 15, 30],
        formerly="doses",
    )] = (0, 1, 2, 4, 8, 15, 30)
    learning_rates: Annotated[tuple[Positive, ...], About(
        "Further learning rates to read at these steps; none means half and double.",
        [0.001, 0.01], formerly="rates",
    )] = ()
    positions: Annotated[tuple[Position, ...], MinLen(1), About(
        "Positions in the prompt at which states are read.", ["last", "labels"],
    )] = ("last", "separator", "instruction", "labels")
    wordings: Annotated[dict[str, Text], About(
        "Names of better prompts, and texts in which {instruction}, {choices} and {cue} stand for "
        "the task's own; none means the built-in description, format, options, chain.",
        {"options": "{instruction} Answer {choices}."}, "names and texts of prompts",
    )] = field(default_factory=dict)
    measures: Annotated[tuple[Measure, ...], MinLen(1), About(
        "Measures of the similarity of states.", ["cosine", "centered"],
    )] = MEASURES
    encoder: Annotated[Text, About(
        "Sentence encoder, a sentence-transformers name or folder.", "all-MiniLM-L6-v2",
        "the name or folder of a sentence encoder",
    )] = "all-MiniLM-L6-v2"
    keep: Annotated[
        Literal["float32", "float16"], About("Number format of the stored states.", "float16")
    ] = "float32"
    claim: Annotated[Claim, About(
        "What 'ICL is implicit tuning' is judged by.", {"measure": "within", "margin": 0.05},
        "settings of the claim",
    )] = field(default_factory=lambda: CLAIM.copy())
    quick: Quick = False
    selection: Selection = "random"
    on_overflow: Overflow = "error"
# fmt: on


_QUICK: dict[str, Any] = {
    "counts": [1, 4, 16],
    "draws": 5,
    "queries": 60,
    "full": False,
    "untrained": False,
    "factors": [name for name in FACTORS if name not in ("generation", "models")],
    "wrong": [0.5, 1.0],
    "checkpoint_steps": [0, 4, 15, 30],
}
"""A first look: one task on one model, without the copies and tasks that some factors add."""


def _filled(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings with the rest of a claim, what `quick` means, and few draws of factors.

    The conditions of single factors have no more draws than the others.
    """
    out = dict(settings)
    if out.get("quick") is True:
        out = {**_QUICK, **out}
    if isinstance(claim := out.get("claim"), dict):
        out["claim"] = {**CLAIM, **claim}
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
    steps = config.checkpoint_steps
    if steps[-1] == 0 or any(a >= b for a, b in itertools.pairwise(steps)):
        return ("checkpoint_steps",), (
            f"given {list(steps)}; expected numbers of steps, each larger than the one "
            "before and the last above 0, for example `checkpoint_steps: [0, 4, 15, 30]`."
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
    analysis=("measures", "claim", "factors"),
    subsets=("factors",),
    filled=_filled,
    conflict=_conflict,
)


def convergence_config(**settings: Any) -> ConvergenceConfig:
    """Return a convergence study's settings given by name, checked as those of a file are.

    Raises:
        UserError: a setting is unknown, mistyped or out of range, or two do not go together.
    """
    return load_config(CONVERGENCE, settings=settings)
