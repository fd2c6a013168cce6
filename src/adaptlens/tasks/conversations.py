"""Conversations as items: the last exchange, and the system text."""

from collections.abc import Mapping
from typing import Any

from adaptlens.errors import UserError, listed
from adaptlens.tasks.items import Item, as_text

USER_ROLES = ("user", "human")
ASSISTANT_ROLES = ("assistant", "gpt")
TEXT_PARTS = ("text", "input_text", "output_text")


def conversation(messages: Any, place: str) -> Item:
    """Return the item of a conversation: its last user message, answered by the last assistant's.

    Raises:
        UserError: it is not a list of messages, has other roles, or holds what is not text.
    """
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise UserError(
            f"{place}: the messages are not a list of records; expected "
            '[{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]; '
            "correct the record."
        )
    turns = [
        (
            str(m.get("role", m.get("from"))).casefold(),
            _content(m.get("content", m.get("value")), place),
        )
        for m in messages
    ]
    roles = {role for role, _ in turns}
    strange = roles - {*USER_ROLES, *ASSISTANT_ROLES, "system", "developer"}
    if strange or not roles & {*USER_ROLES} or not roles & {*ASSISTANT_ROLES}:
        found = listed(sorted(roles)) or "none"
        raise UserError(
            f"{place}: the roles are {found}; expected a user message and an assistant message "
            "(a system message may precede them); correct the record."
        )
    end = max(i for i, (role, _) in enumerate(turns) if role in ASSISTANT_ROLES)
    asked = [i for i, (role, _) in enumerate(turns[:end]) if role in USER_ROLES]
    if not asked:
        raise UserError(
            f"{place}: no user message precedes the last assistant message; expected one; correct "
            "the record."
        )
    instruction = "\n".join(text for role, text in turns[:end] if role in ("system", "developer"))
    earlier = len(asked) > 1
    return Item(place, turns[asked[-1]][1], turns[end][1], instruction, earlier_turns=earlier)


def _content(content: Any, place: str) -> str:
    """Return a message's text: as it is, or the texts of its list of parts, one after the other."""
    if not isinstance(content, list):
        return as_text(content, "content", place)
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
        if kind not in TEXT_PARTS or not isinstance(part, Mapping):
            raise UserError(
                f"{place}: a message holds a part of type '{kind}'; expected parts of type text "
                "only; leave such records out, or describe the part in words."
            )
        texts.append(text if isinstance(text := part.get("text"), str) else "")
    return as_text("".join(texts), "content", place)
