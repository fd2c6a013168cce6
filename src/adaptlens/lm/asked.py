"""What a prompting arm and a reading of its behavior ask of a model, wherever that is."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float64

from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.types import Prompt, Template

if TYPE_CHECKING:
    import torch

Told = Callable[[int, int], None]


class Asked(Protocol):
    """A model that scores answers and continues prompts: `load.LM`, or `served.Served`.

    What takes more of a model than this (its states, its weights) asks for an `LM`.
    """

    @property
    def name(self) -> str:
        """What the user called it."""

    @property
    def chat(self) -> bool:
        """Whether prompts are rendered with its chat template."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results should know about it, in sentences."""

    @property
    def device(self) -> "torch.device | None":
        """Where its weights are; None where a server has them."""

    @property
    def scores_answers(self) -> bool:
        """Whether `log_likelihoods` can be asked for."""

    @property
    def context_tokens(self) -> int:
        """The longest prompt with its answer."""

    @property
    def flops_a_token(self) -> float | None:
        """The operations in matrices that reading a token takes; None where nobody can tell."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has by itself."""

    def chat_of(self, template: Template) -> Callable[[list[dict[str, str]]], str] | None:
        """Return what writes messages for prompts under a template; None for the plain layout."""

    def used(self) -> dict[str, float]:
        """Return what a server has answered so far, by name; nothing for a model that is here."""

    def log_likelihoods(
        self,
        prompts: Sequence[Prompt],
        variants: Sequence[int] | None = None,
        weights: Any = None,
        *,
        progress: Told | None = None,
        work: ForwardStats | None = None,
    ) -> list[Float64[np.ndarray, " _"]]:
        """Return per prompt the summed log-probability of each of its answers."""

    def continuations(
        self,
        prompts: Sequence[Prompt],
        variants: Sequence[int] | None,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        weights: Any = None,
        *,
        progress: Told | None = None,
        work: ForwardStats | None = None,
    ) -> list[str]:
        """Return the greedy continuation of every prompt, cut before the first stop text."""
