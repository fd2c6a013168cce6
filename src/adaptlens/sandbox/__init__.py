"""Templates from files, filled in without reaching anything else.

Templates that only show what they are given run here; every other one runs in a child process with
two seconds of processor time, 512 MB of address space and a million characters of text, whatever
its expressions are. What that does and does not hold off: docs/security.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from adaptlens.errors import UserError, listed, one_line
from adaptlens.sandbox import starting
from adaptlens.sandbox.environment import (
    MAX_OUTPUT_CHARACTERS,
    MAX_TEMPLATE_CHARACTERS,
    fill,
    is_plain,
    parsed,
    plain_names,
)

__all__ = ["names", "render", "render_chat"]

_FAILS = (
    jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError,
    RecursionError,
)  # fmt: skip


def render(template: str, values: Mapping[str, Any], place: str) -> str:
    """Return a template filled in with a document's columns.

    Args:
        template: Jinja; undefined names are errors; nothing outside `values` can be reached.
        values: column -> value.
        place: where the template stands, for the message.

    Raises:
        UserError: if the template is malformed, names an unknown column, reaches for something
            unsafe, fails on these values, or takes more time, memory or text than it may.
    """
    answer = _filled(template, {str(name): value for name, value in values.items()})
    if "text" in answer:
        return str(answer["text"])
    said = one_line(str(answer.get("said", "")).partition("\n")[0], 140, 40)
    columns = listed(values, 120)
    if answer["error"] == "unsafe":
        raise UserError(
            f"{place}: the template reaches for something unsafe ({said}); expected only "
            "the document's columns; rewrite the template."
        )
    if answer["error"] == "undefined":
        raise UserError(
            f"{place}: {said}; expected one of the columns {columns}; correct the template."
        )
    if answer["error"] == "budget":
        raise UserError(
            f"{place}: the template takes {said}; expected a text of at most "
            f"{MAX_OUTPUT_CHARACTERS:,} characters, made in 2 seconds with 512 MB; simplify it."
        )
    raise UserError(
        f"{place}: the template cannot be filled in ({said}); expected Jinja over the columns "
        f"{columns}; correct the template."
    )


def _filled(template: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return {"text": ...} or {"error": kind, "said": ...}."""
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        said = f"{len(template):,} characters; at most {MAX_TEMPLATE_CHARACTERS:,} are read"
        return {"error": "failed", "said": said}
    try:
        if is_plain(template):
            return {"text": fill(template, values)}
    except jinja2.sandbox.SecurityError as error:
        return {"error": "unsafe", "said": error.message}
    except jinja2.UndefinedError as error:
        return {"error": "undefined", "said": error.message}
    except (OverflowError, MemoryError) as error:
        return {"error": "budget", "said": str(error)}
    except _FAILS as error:
        return {"error": "failed", "said": str(error) or type(error).__name__}
    return starting.ask({"do": "fill", "template": template, "values": values})


def names(template: str, place: str) -> list[str]:
    """Return the names that a template reads and does not set itself, in alphabetical order.

    Raises:
        UserError: it is not Jinja, or takes more time or memory than it may.
    """
    expected = "expected for example 'Review: {{ input }}'; correct it."
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        raise UserError(
            f"{place} has {len(template):,} characters; expected at most "
            f"{MAX_TEMPLATE_CHARACTERS:,}; shorten it."
        )
    try:
        if is_plain(template):
            return plain_names(template)
        parsed(template)
    except jinja2.TemplateSyntaxError as error:
        raise UserError(
            f"{place} is not Jinja ({one_line(str(error.message), 140)}, line {error.lineno}); "
            f"{expected}"
        ) from None
    except (RecursionError, MemoryError, ValueError) as error:
        said = str(error).partition(";")[0] or type(error).__name__
        raise UserError(f"{place} is not Jinja ({said}); {expected}") from None
    answer = starting.ask({"do": "names", "template": template})
    if "text" in answer:
        return [str(name) for name in answer["text"]]
    raise UserError(f"{place} is not Jinja ({answer.get('said')}); {expected}")


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    values: Mapping[str, Any],
    *,
    name: str,
    now: str | None = None,
) -> str:
    """Return messages as a chat template writes them, with the prompt for the next answer.

    It is what Transformers' `apply_chat_template(..., add_generation_prompt=True)` returns, made in
    the child process.

    Args:
        template: the tokenizer's (`get_chat_template()`).
        messages: role and content of each.
        values: further names the template may read (`special_tokens_map`).
        name: of the model, for messages.
        now: the time `strftime_now` tells, in ISO 8601; None refuses templates that ask for it.

    Raises:
        UserError: the template refuses the messages, reads the clock without `now`, or takes more
            time, memory or text than it may.
    """
    answer = starting.ask(
        {
            "do": "chat",
            "template": template,
            "messages": [
                {key: value for key, value in message.items() if value is not None}
                for message in messages
            ],
            "values": dict(values),
            "now": now,
        }
    )
    if "text" in answer:
        return str(answer["text"])
    said = one_line(str(answer.get("said", "")).partition("\n")[0], 140, 40)
    if answer["error"] == "budget":
        raise UserError(
            f"the chat template of '{name}' takes {said}; expected a text of at most "
            f"{MAX_OUTPUT_CHARACTERS:,} characters, made in 2 seconds with 512 MB; use another "
            "model, or leave out --chat."
        )
    if answer["error"] == "clock":
        raise UserError(
            f"the chat template of '{name}' reads the clock ({said}), so that prompts would change "
            "from day to day; expected a template that does not; save the tokenizer with a fixed "
            "date in its template, or leave out --chat."
        )
    roles = ", ".join(str(message.get("role")) for message in messages)
    raise UserError(
        f"the chat template of '{name}' refuses messages of the roles {one_line(roles, 80)} "
        f"({said}); use another model, or leave out --chat."
    )
