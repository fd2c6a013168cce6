"""Prompts that are made sure to fit the context of the model that reads them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from adaptlens.errors import UserError
from adaptlens.prompts import render
from adaptlens.tasks import templates
from adaptlens.tasks.templates import Written
from adaptlens.types import Example, Prompt, Task, Template


class Reader(Protocol):
    """What is asked of a loaded model."""

    @property
    def context_tokens(self) -> int: ...  # noqa: D102
    def encode(self, text: str) -> list[int]: ...  # noqa: D102
    def chat_of(self, template: Template) -> render.RenderChat | None: ...  # noqa: D102


class TooLong(UserError):
    """A prompt and its answer do not fit the model's context."""


def fit(
    lm: Reader,
    task: Task | Written,
    demos: Sequence[Example],
    query: Example,
    *,
    instruction: bool = True,
    on_overflow: str,
) -> Prompt:
    """Return the prompt, having made sure that it and its answer fit the model's context.

    A task as a template writes it is given as `Written`; a plain one is written under its own.

    Raises:
        TooLong: if it does not fit and `on_overflow` is "error", or if it does not even fit
            without demonstrations. The message names the example and the excess in tokens.
    """
    way = task if isinstance(task, Written) else templates.written(task)
    task, query = way.task, way.example(query)
    demos = [way.example(demo) for demo in demos]
    chat = lm.chat_of(task.template)
    prompt = render.render(task, demos, query, instruction=instruction, chat=chat)
    dropped = 0
    while (excess := _excess_tokens(lm, task, query, prompt)) > 0:
        if on_overflow == "error" or dropped == len(demos):
            way_out = (
                "use fewer shots, or --on-overflow drop-demos"
                if dropped < len(demos)
                else "shorten the text, or use a model with a longer context"
            )
            raise TooLong(
                f"the prompt for example {query.id} of task '{task.name}' with "
                f"{len(demos) - dropped} demonstrations is {excess} tokens longer than the "
                f"context of {lm.context_tokens} tokens; {way_out}."
            )
        dropped += 1
        prompt = render.render(task, demos[dropped:], query, instruction=instruction, chat=chat)
    return replace(prompt, dropped_demos=dropped)


def _excess_tokens(lm: Reader, task: Task, query: Example, prompt: Prompt) -> int:
    """Return by how many tokens prompt and answer exceed the context (0: they fit).

    A byte is the least text a token can stand for, so a text with fewer bytes than the context
    has tokens always fits and need not be tokenized.
    """
    chat = lm.chat_of(task.template) is not None
    options = prompt.answers or (render.answer(task, query.target, chat=chat),)
    longest = max((option for option in options), key=lambda option: len(option.encode()))
    reserve = 0 if task.kind == "choice" else task.max_new_tokens
    margin = 4  # beginning- and end-of-text tokens
    text = prompt.text
    if len(text.encode()) + max(len(longest.encode()), reserve) + margin <= lm.context_tokens:
        return 0
    tokens = len(lm.encode(text + longest))
    if task.kind == "generation":
        tokens = max(tokens, len(lm.encode(text)) + reserve)
    return max(0, tokens - lm.context_tokens)
