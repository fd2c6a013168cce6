"""Messages as a chat template writes them, the same whenever they are written."""

import contextlib
import datetime
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jinja2
from transformers.utils import chat_template_utils

from adaptlens import modelfiles
from adaptlens.errors import UserError


def chat_text(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """Return messages ({"role", "content"}) as the tokenizer's template writes them, answer open.

    A template that asks for the time is told `modelfiles.CLOCK`.

    Raises:
        UserError: the template draws at random.
        jinja2.TemplateError: the template refuses the messages.
    """
    for template in _templates(tokenizer):
        if drawn := _draws(template):
            raise UserError(
                f"the chat template writes other text each time ({drawn}), so prompts could not be "
                "written again; leave out --chat, or use a template without it."
            )
    with _stopped_clock():
        return tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True
        )


def _templates(tokenizer: Any) -> list[str]:
    """Return the text of the tokenizer's template, or of all where several are named."""
    found = getattr(tokenizer, "chat_template", None)
    return [*found.values()] if isinstance(found, dict) else [found] if found else []


@functools.lru_cache(maxsize=64)
def _draws(template: str) -> str:
    """Return what of Jinja a template uses that is drawn at random, or nothing.

    A template that cannot be read is left to the tokenizer to refuse.
    """
    if "random" not in template and "lipsum" not in template:
        return ""
    try:
        tokens = [
            value
            for _, kind, value in jinja2.Environment().lex(template)
            if kind in ("operator", "name")
        ]
    except jinja2.TemplateError:
        return ""
    if "lipsum" in tokens:
        return "lipsum()"
    return "the filter random" if ("|", "random") in itertools.pairwise(tokens) else ""


class _Stopped(datetime.datetime):
    """A clock that always shows `modelfiles.CLOCK`."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "_Stopped":
        """Return the one time there is."""
        return cls.fromisoformat(modelfiles.CLOCK).replace(tzinfo=tz)


@contextlib.contextmanager
def _stopped_clock() -> Iterator[None]:
    """Let the templates rendered inside read a stopped clock.

    Transformers hands them a function that looks `datetime` up in its module, and lets no caller
    put another in its place.
    """
    module: Any = chat_template_utils
    own, module.datetime = module.datetime, _Stopped
    try:
        yield
    finally:
        module.datetime = own
