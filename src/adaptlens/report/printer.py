"""The one console: all that rich prints goes through it, and texts from data do nothing.

A label, a task's name or a path is printed as it is read: it is no markup, no emoji code, and moves
no cursor. What needs no table is said by `formatting.say`.
"""

import sys
from collections.abc import Iterable
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table as Drawn
from rich.text import Text

from adaptlens.formatting import visible
from adaptlens.report.tables import Table

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

    def table(self, table: Table) -> None:
        """Print a table within the width there is; what is too long is folded between words."""
        drawn = Drawn(
            title=table.caption or None,
            title_justify="left",
            title_style="bold",
            caption=table.note or None,
            caption_justify="left",
            box=SIMPLE_HEAD,
            padding=0,
            show_edge=False,
            pad_edge=False,
        )
        widths = column_widths(table, self.width)
        for (heading, is_numeric), width in zip(table.headings, widths, strict=True):
            justify: Literal["left", "right"] = "right" if is_numeric else "left"
            drawn.add_column(heading, justify=justify, overflow="fold", width=width)
        for row in table.rows:
            drawn.add_row(*(entry.text for entry in row))
        self.print(drawn)


def column_widths(table: Table, width: int) -> list[int]:
    """Return how wide each column is, so that a table fits with one space between columns.

    In this order, as far as there is room: words of the first column whole, which says what a row
    is; words of headings and texts whole and numbers on one line; texts on one line, the shortest
    first; headings on one line.
    """
    columns = [
        ([visible(row[i].text) for row in table.rows], visible(heading), is_numeric)
        for i, (heading, is_numeric) in enumerate(table.headings)
    ]
    unbroken = [
        max(1, _widest([*(texts if is_numeric else " ".join(texts).split()), *heading.split()]))
        for texts, heading, is_numeric in columns
    ]
    room = max(width - len(columns) + 1, len(columns))
    first = [min(least, width // 3, room - len(columns) + 1) for least in unbroken[:1]]
    most = max(unbroken, default=1)
    while sum(first) + sum(min(least, most) for least in unbroken[1:]) > room and most > 1:
        most -= 1
    widths = [*first, *(min(least, most) for least in unbroken[1:])]
    for wanted in (
        [_widest(texts) for texts, _, _ in columns],
        [_widest([heading]) for _, heading, _ in columns],
    ):
        for i in sorted(range(len(columns)), key=lambda i: wanted[i] - widths[i]):
            widths[i] += min(max(0, wanted[i] - widths[i]), max(0, room - sum(widths)))
    return widths


def _widest(texts: Iterable[str]) -> int:
    return max((cell_len(line) for text in texts for line in text.splitlines()), default=0)


def out() -> Printer:
    """Return the console for data: standard output, never narrower than a table when piped."""
    piped = not sys.stdout.isatty()
    return Printer(width=PIPED_WIDTH if piped else None, highlight=False, soft_wrap=piped)


def err() -> Printer:
    """Return the console for talk: standard error."""
    return Printer(stderr=True, highlight=False)
