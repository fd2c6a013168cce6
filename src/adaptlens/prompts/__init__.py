"""From examples to prompts: which are shown, in which order, and how they are written down."""

from adaptlens.prompts.render import (
    CONTENT_FREE,
    RenderChat,
    answer,
    as_messages,
    content_free,
    render,
)
from adaptlens.prompts.selection import (
    DRAWN,
    RETRIEVED,
    SELECTIONS,
    Similarity,
    bm25,
    demonstrations,
    nearest,
    take_turns,
)
