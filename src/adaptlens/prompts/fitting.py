"""Prompts that are made sure to fit the context of the model that reads them."""

import bisect
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from adaptlens.errors import UserError
from adaptlens.prompts import render
from adaptlens.tasks import templates
from adaptlens.tasks.templates import Written
from adaptlens.types import Example, Part, Prompt, Task, Template

SPECIAL_TOKENS = 4
"""Room for tokens at the beginning and end of a text."""
SEAM_TOKENS = 16
"""By how many tokens a text may be longer than its two parts, where they meet."""


class Reader(Protocol):
    """What is asked of a loaded model."""

    @property
    def context_tokens(self) -> int: ...  # noqa: D102
    def encode(self, text: str) -> list[int]: ...  # noqa: D102
    def chat_of(self, template: Template) -> render.RenderChat | None: ...  # noqa: D102


class TooLong(UserError):
    """A prompt and its answer do not fit the model's context."""


class Fitting:
    """The prompts of one template after the same demonstrations, made sure to fit a context.

    What stands before a query is written, and counted in tokens, once for all queries.
    """

    def __init__(
        self,
        lm: Reader,
        task: Task | Written,
        demos: Sequence[Example],
        *,
        instruction: bool = True,
        on_overflow: str,
    ) -> None:
        """Prepare to write prompts; nothing is written yet.

        Args:
            lm: whose context they must fit, and whose chat template may write them.
            task: as a template writes it; a plain one is written under its own.
            demos: the demonstrations, in order.
            instruction: whether the instruction text is written.
            on_overflow: "error", or "drop-demos" from the front.
        """
        self._lm = lm
        self._way = task if isinstance(task, Written) else templates.written(task)
        self._demos = [self._way.example(demo) for demo in demos]
        self._instruction = instruction
        self._drops = on_overflow != "error"
        self._chat = lm.chat_of(self._way.task.template)
        self._before: dict[int, tuple[Part, ...]] = {}
        self._tokens: dict[int, int] = {}

    def prompt(self, query: Example) -> Prompt:
        """Return the prompt, having made sure that it and its answer fit the model's context.

        Raises:
            TooLong: if it does not fit and demonstrations may not be dropped, or if it does not
                even fit without. The message names the example and the excess in tokens.
        """
        query = self._way.example(query)
        dropped = 0
        if self._drops and self._excess(0, query):
            every = range(len(self._demos))
            dropped = bisect.bisect_left(every, True, key=lambda n: not self._excess(n, query))
        if excess := self._excess(dropped, query):
            left = len(self._demos) - dropped
            way_out = (
                "use fewer shots, or --on-overflow drop-demos"
                if left
                else "shorten the text, or use a model with a longer context"
            )
            raise TooLong(
                f"the prompt for example {query.id} of task '{self._way.task.name}' with {left} "
                f"demonstrations is {excess} tokens longer than the context of "
                f"{self._lm.context_tokens} tokens; {way_out}."
            )
        return replace(self._after(dropped, query), dropped_demos=dropped)

    def _after(self, dropped: int, query: Example) -> Prompt:
        """Return the prompt without the first so many demonstrations."""
        task, demos = self._way.task, self._demos[dropped:]
        if self._chat is not None:
            return render.render(task, demos, query, instruction=self._instruction, chat=self._chat)
        if dropped not in self._before:
            self._before[dropped] = render.shown(task, demos, instruction=self._instruction)
        return render.render(
            task, (), query, instruction=self._instruction, before=self._before[dropped]
        )

    def _excess(self, dropped: int, query: Example) -> int:
        """Return by how many tokens prompt and answer exceed the context (0: they fit).

        A byte is the least text a token can stand for, so a text with fewer bytes than the context
        has tokens always fits and need not be tokenized; nor need what follows the demonstrations,
        once those are counted.
        """
        task, prompt = self._way.task, self._after(dropped, query)
        options = prompt.answers or (
            render.answer(task, query.target, chat=self._chat is not None),
        )
        longest = max(options, key=lambda option: len(option.encode()))
        reserve = 0 if task.kind == "choice" else task.max_new_tokens
        room = self._lm.context_tokens - max(len(longest.encode()), reserve) - SPECIAL_TOKENS
        text = prompt.text
        if len(text.encode()) <= room:
            return 0
        before = "".join(part.text for part in self._before.get(dropped, ()))
        if before:
            if dropped not in self._tokens:
                self._tokens[dropped] = len(self._lm.encode(before))
            rest = len(text[len(before) :].encode())
            if self._tokens[dropped] + rest + SEAM_TOKENS <= room:
                return 0
        tokens = len(self._lm.encode(text + longest))
        if task.kind == "generation":
            tokens = max(tokens, len(self._lm.encode(text)) + reserve)
        return max(0, tokens - self._lm.context_tokens)


def fit(
    lm: Reader,
    task: Task | Written,
    demos: Sequence[Example],
    query: Example,
    *,
    instruction: bool = True,
    on_overflow: str,
) -> Prompt:
    """Return one prompt that fits, see `Fitting`.

    Raises:
        TooLong: it does not.
    """
    return Fitting(lm, task, demos, instruction=instruction, on_overflow=on_overflow).prompt(query)
