"""The adaptation that trains embeddings before the prompt and leaves the weights alone.

So many virtual tokens stand before the instruction; their embeddings are what is trained, on the
same draws and texts as instruction tuning. They are tokens to read with every query.

Source: prompt tuning, Lester et al. 2021 (arXiv 2104.08691); starts as the peft library has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int64

from adaptlens.adapt.banks import BankTuning
from adaptlens.adapt.batches import TokenizedExample
from adaptlens.adapt.settings import START
from adaptlens.adapt.steps import usual_prompt_steps
from adaptlens.errors import UserError, unknown
from adaptlens.lm.adapters.soft_prompts import SoftPrompts, after, virtual_ids
from adaptlens.lm.load import LM
from adaptlens.types import Example, Task

INITS = ("sample_vocab", "text")
RATE_TIMES_SPREAD = 0.1
"""Default rate: so many times the root mean square of the embeddings' numbers.

Adam moves every number by about the rate a step, so a rate is large or small beside the numbers.
"""


@dataclass(frozen=True)
class PromptTuning(BankTuning):
    """A soft prompt: embeddings of virtual tokens before instruction, input and answer.

    Attributes:
        num_virtual_tokens: how many tokens they stand for, in every query's length.
        prompt_tuning_init: what they start as: "sample_vocab" for the embeddings of tokens drawn
            from the vocabulary, each draw its own; "text" for those of a text's tokens, from the
            start again where it is shorter, cut where it is longer.
        prompt_tuning_init_text: that text; the task's instruction if empty.
        rate_times_spread: the default rate is so many times the root mean square of the embeddings'
            numbers, which is known when the model is loaded: with it, a settled `learning_rate`
            holds no numbers, and `lr_multipliers` are of it.
    """

    num_virtual_tokens: int = 20
    prompt_tuning_init: str = "sample_vocab"
    prompt_tuning_init_text: str = ""
    rate_times_spread: float = RATE_TIMES_SPREAD

    name: ClassVar[str] = "soft-prompt"

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        if self.num_virtual_tokens < 1:
            raise UserError(
                f"soft-prompt: num_virtual_tokens {self.num_virtual_tokens} was given; it must be "
                "at least 1; 20 is usual."
            )
        if self.prompt_tuning_init not in INITS:
            raise unknown("prompt_tuning_init", self.prompt_tuning_init, INITS)
        if self.prompt_tuning_init_text and self.prompt_tuning_init != "text":
            raise UserError(
                "soft-prompt: prompt_tuning_init_text was given, which is for prompt_tuning_init "
                f"text, not {self.prompt_tuning_init}; give that too, or leave the text out."
            )

    @property
    def usual_steps(self) -> int:
        """How many steps are taken where none are asked for."""
        return usual_prompt_steps(self.num_rows, self.batch_size)

    def settled_rates(self, model: str) -> dict[str, Any]:
        """Return the rates in numbers where they were given so."""
        return super().settled_rates(model) if self.learning_rate else {"learning_rate": ()}

    def usual_rate(self, lm: LM) -> float:
        """Return `rate_times_spread` times the size of the numbers in the embedding."""
        table = lm.model.get_input_embeddings().weight.detach().float()
        return self.rate_times_spread * float(table.square().mean().sqrt())

    def new_bank(self, lm: LM, task: Task, draws: Sequence[int]) -> SoftPrompts:
        """Return a soft prompt for each draw, as it starts.

        Raises:
            UserError: it is to start as a text, and there is none.
        """
        ids = torch.from_numpy(np.stack([self._start(lm, task, draw) for draw in draws]))
        with torch.no_grad():
            return SoftPrompts(lm, lm.model.get_input_embeddings()(ids.to(lm.device)))

    def _start(self, lm: LM, task: Task, draw: int) -> Int64[np.ndarray, " tokens"]:
        """Return the tokens whose embeddings a draw starts as."""
        if self.prompt_tuning_init == "sample_vocab":
            generator = np.random.default_rng(self.seed_for(draw, START))
            vocab = lm.model.get_input_embeddings().num_embeddings
            return generator.integers(0, vocab, self.num_virtual_tokens)
        text = self.prompt_tuning_init_text or task.instruction
        ids = lm.tokenizer(text).input_ids if text else []
        if not ids:
            raise UserError(
                f"soft-prompt: prompt_tuning_init text was given, and task '{task.name}' has no "
                "instruction to start as; give prompt_tuning_init_text, or sample_vocab."
            )
        return np.resize(np.array(ids), self.num_virtual_tokens)

    def read_as(self, lm: LM) -> LM:
        """Return the model with the context that virtual tokens leave.

        Raises:
            UserError: they leave none.
        """
        return after(lm, self.num_virtual_tokens)

    def tokenized(self, lm: LM, task: Task, examples: Sequence[Example]) -> list[TokenizedExample]:
        """Return the examples as training texts, each after the virtual tokens."""
        before = virtual_ids(lm, self.num_virtual_tokens)
        return [
            replace(one, ids=before + one.ids, prompt_tokens=len(before) + one.prompt_tokens)
            for one in super().tokenized(self.read_as(lm), task, examples)
        ]
