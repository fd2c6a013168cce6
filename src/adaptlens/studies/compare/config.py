"""The settings of a comparison."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge
from typing_extensions import TypedDict

from adaptlens.config.described import About
from adaptlens.config.fields import (
    SELECTION,
    STRICT,
    Also,
    ArmControls,
    Arms,
    Count,
    Draws,
    Ood,
    Overflow,
    Positive,
    Shared,
    Shots,
    Sizes,
    Text,
)
from adaptlens.config.reading import load_config
from adaptlens.config.schema import Schema

Amount = Annotated[float, Ge(0)]
Tuned = Literal["it", "sl", "full", "distil", "ia2", "ia2-it", "soft-prompt", "vector"]


# fmt: off
class TokenPrices(TypedDict, total=False):
    """What a model's tokens cost; only the keys that were given."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    input_million_tokens: Annotated[Amount, About("Price of a million tokens read.", 0.2)]
    cached_million_tokens: Annotated[
        Amount, About("Price of a million tokens read from a cached prompt.", 0.05)
    ]
    output_million_tokens: Annotated[Amount, About("Price of a million tokens generated.", 0.8)]
    hosted: Annotated[Text, About(
        "Prices of tokens in US dollars as a provider lists them, from the package genai-prices.",
        "openai:gpt-5-mini", "PROVIDER:MODEL, as genai-prices knows them",
    )]


class Prices(TokenPrices, total=False):
    """What queries, training and storage cost, in any one currency; only the keys given."""

    gpu_hour: Annotated[Amount, About("Price of an hour of the device.", 2.5)]
    gpu_flops: Annotated[Positive, About(
        "Floating-point operations that the device sustains in a second; by it and gpu_hour, FLOPs "
        "have a price.", 1e14,
    )]
    kwh: Annotated[Amount, About("Price of a kilowatt-hour.", 0.25)]
    flops_per_joule: Annotated[Positive, About(
        "Floating-point operations that a joule pays for, at the plug; by it, FLOPs are told as "
        "energy, an estimate.", 2e11,
    )]
    gb_month: Annotated[Amount, About("Price of keeping a gigabyte for a month.", 0.02)]
    models: Annotated[dict[Text, TokenPrices], About(
        "Prices of single models' tokens, in place of those above, by the model's name.",
        {"reference": {"input_million_tokens": 0.1}}, "names of models and prices",
    )]


class Server(TypedDict, total=False):
    """How the servers of served models are asked; only the keys that were given."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    max_requests: Annotated[Count, About(
        "Most requests that served models may answer, in one command.", 20_000,
        option=("--max-requests",),
    )]
    max_tokens: Annotated[Count, About(
        "Most tokens that served models may read and write, as their server counts them, in one "
        "command.", 5_000_000, option=("--max-tokens",),
    )]
    timeout_seconds: Annotated[Positive, About("Longest wait for one answer.", 300)]
    retries: Annotated[int, Ge(0), About(
        "How often a request is sent again that a server did not answer, or put off.", 6,
    )]
    retry_seconds: Annotated[Positive, About(
        "Pause before a request is sent again, doubled each time; a server that says how long to "
        "wait is waited for as it says.", 0.5,
    )]
    concurrency: Annotated[Count, About("Requests under way at a time.", 4)]


@dataclass(frozen=True)
class CompareConfig(Shared):
    """The settings of a comparison, checked.

    Lists span a grid: every model is compared on every task at every number of shots, and tuned
    in every way at every size.
    """

    shots: Shots = (0, 4, 16)
    tuning: Annotated[tuple[Tuned, ...], About(
        "Ways of tuning: with the instruction, without, all weights, to give what the base gives "
        "with demonstrations, to attend as it does after them, likewise and then with the "
        "instruction, embeddings before the prompt, or by adding to its states, as a vector, what "
        "demonstrations do there.",
        ["it", "full"], option=True,
    )] = ("it", "sl", "full")
    sizes: Annotated[Sizes | None, About(
        "Numbers of training examples for tuning.", [16, 64], null="for the shots above 0",
        option=True,
    )] = None
    adaptations: Annotated[tuple[Text, ...], About(
        "Further ways of adapting to compare, which other packages register.", ["reminded"],
        "names of registered adaptations", option=True,
    )] = ()
    arms: Arms = field(default_factory=dict)
    arm_controls: ArmControls = False
    also: Also = ()
    ood: Ood = field(default_factory=dict)
    gates: Annotated[tuple[Text, ...], About(
        "What an arm has to be shown to score: ARM >= ARM, plus or minus points, or ARM >= SCORE; "
        "the command ends with exit code 3 where one is not.", ["mine >= base - 1"],
        "texts such as 'mine >= base - 1'", option=("--gate",), whole=True,
    )] = ()
    measurements: Annotated[tuple[Text, ...], About(
        "What is measured of every condition besides answers and cost.", ["hidden"],
        "names of measurements", option=True,
    )] = ()
    unlabeled: Annotated[Count, About(
        "Inputs, whose answers are not used, that distil and ia2 learn on, and that vectors are "
        "averaged over.", 200,
    )] = 64
    priming_steps: Annotated[Count | None, About(
        "Steps in which ia2-it learns to attend as after demonstrations, before it is tuned.", 24,
        null="for as many as ia2 takes",
    )] = None
    num_virtual_tokens: Annotated[Count, About(
        "Tokens that a soft prompt stands for, which every query is longer by.", 8,
    )] = 20
    prompt_tuning_init: Annotated[Literal["sample_vocab", "text"], About(
        "What the embeddings of a soft prompt start as: those of tokens drawn from the vocabulary, "
        "or of a text's.", "text",
    )] = "sample_vocab"
    prompt_tuning_init_text: Annotated[Text | None, About(
        "The text that a soft prompt starts as, again from its start where it is shorter.",
        "Classify the review:", null="for the task's instruction",
    )] = None
    draws: Draws = 10
    num_templates: Annotated[Count, About(
        "How many of the usual templates every arm is read and tuned under, where the task was "
        "given none.", 6,
    )] = 6
    scoring: Annotated[
        Literal["validation", "raw", "bytes", "tokens", "corrected", "calibrated"],
        About("Scoring rule by which answers are chosen; validation lets the validation split "
              "choose, arm by arm.", "calibrated", option=True),
    ] = "validation"
    search: Annotated[bool, About(
        "Also look for the best prompt at every number of shots.", False, option=True,
    )] = True
    search_reads: Annotated[Count, About(
        "Most prompts to read in the search for a template.", 2400,
    )] = 2400
    search_draw_reads: Annotated[Count, About(
        "Most prompts to read in the search for a draw's demonstrations.", 640,
    )] = 640
    true_few_shot: Annotated[bool, About(
        "Use no validation split: the draw's own examples choose prompts, and rates and steps of "
        "tuning, each left out in turn.", True, option=True,
    )] = False
    validation: Annotated[Count | None, About(
        "Most validation items of a task; they choose templates, arms, rates and steps.", 100,
        null="for all", option=True,
    )] = 200
    selection: Annotated[
        Literal["random", "balanced", "similar", "embedding"], SELECTION
    ] = "random"
    on_overflow: Overflow = "error"
    prices: Annotated[Prices, About(
        "Prices of serving, training and storage, in any one currency.", {"gpu_hour": 2.5},
        "prices",
    )] = field(default_factory=Prices)
    margin: Annotated[Positive, About(
        "Differences below this many points count as none (equivalence test).", 2.0,
        "a number of points above 0",
    )] = 2.0

    server: Annotated[Server, About(
        "How the servers of models openai:URL#NAME are asked.", {"max_requests": 20_000},
        "settings of served models",
    )] = field(default_factory=Server)

    @property
    def tuning_sizes(self) -> tuple[int, ...]:
        """The numbers of training examples that tuning gets."""
        return tuple(k for k in self.shots if k) if self.sizes is None else self.sizes
# fmt: on


COMPARISON = Schema(study="compare", kind=CompareConfig)


def compare_config(**settings: Any) -> CompareConfig:
    """Return a comparison's settings given by name, checked as those of a file are.

    Raises:
        UserError: a setting is unknown, mistyped or out of range.
    """
    return load_config(COMPARISON, settings=settings)
