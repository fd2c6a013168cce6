"""Messages as a chat template writes them, the same whenever they are written."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jinja2

from adaptlens import sandbox
from adaptlens.errors import UserError
from adaptlens.models import identity


def chat_text(tokenizer: Any, messages: Sequence[dict[str, str]], name: str) -> str:
    """Return messages ({"role", "content"}) as the tokenizer's template writes them, answer open.

    The template runs in the process that bounds templates; one that asks for the time is told
    `models.identity.CLOCK`.

    Args:
        tokenizer: it has a chat template.
        messages: first to last.
        name: of the model, for the error.

    Raises:
        UserError: the template draws at random, refuses the messages, or takes more than it may.
    """
    for template in _templates(tokenizer):
        if drawn := _draws(template):
            raise UserError(
                f"the chat template writes other text each time ({drawn}), so prompts could not be "
                "written again; leave out --chat, or use a template without it."
            )
    return sandbox.render_chat(
        tokenizer.get_chat_template(),
        messages,
        tokenizer.special_tokens_map,
        name=name,
        now=identity.CLOCK,
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
