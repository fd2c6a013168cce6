"""The one console: all that rich prints goes through it, and texts from data do nothing.

A label, a task's name or a path is printed as it is read: it is no markup, no emoji code, and moves
no cursor. What needs no table is said by `formatting.say`.
"""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from adaptlens.formatting import visible

PIPED_WIDTH = 140


class Printer(Console):
    """A console that takes no markup and no emoji codes, and lets no character act."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return the text as it is, with what would act made visible."""
        return super().render_str(visible(text), **{**settings, "markup": False, "emoji": False})

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is printed; texts that were made elsewhere are made visible here."""
        for one in super().render(renderable, options):
            yield one if one.control else one._replace(text=visible(one.text))


def out() -> Printer:
    """Return the console for data: standard output, never narrower than a table when piped."""
    piped = not sys.stdout.isatty()
    return Printer(width=PIPED_WIDTH if piped else None, highlight=False, soft_wrap=piped)


def err() -> Printer:
    """Return the console for talk: standard error."""
    return Printer(stderr=True, highlight=False)
