"""What a study found, for whoever called it from Python: as a few lines, and as a piece of HTML.

The HTML loads nothing and runs nothing; all text from data is escaped.
"""

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from adaptlens.canonical import digest
from adaptlens.errors import one_line
from adaptlens.formatting import counted, typeset, visible
from adaptlens.report.charts import INK, LINE, MUTED, PAPER
from adaptlens.report.images import Wanted, inline
from adaptlens.report.summary import Finding

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

MOST_LINES = 10
LAST_LINES = 3
"""Of these, for the last detail: the numbers."""
WIDTH = 100
MOST_ROWS = 12
"""Of a table, and of findings, in HTML."""

_STYLE = (
    f"background:{PAPER};color:{INK};padding:.8em 1em;max-width:62em;font-family:system-ui,"
    "sans-serif;line-height:1.45"
)
_CELL = f"padding:.15em .8em;border-bottom:1px solid {LINE};color:{INK};background:{PAPER};"


def as_text(
    findings: Sequence[Finding],
    details: Sequence[str],
    page: Path,
    *,
    title: str = "",
    first: str = "",
) -> str:
    """Return at most `MOST_LINES` lines of at most `WIDTH` characters, but for the page's path.

    Args:
        findings: each is a line of its own, with its state and what there is room for.
        details: texts for what room is left, each of which is broken between words.
        page: where the page is, which is the last line.
        title: a line before them, where there is one.
        first: what has to be known before anything, whole.
    """
    room = MOST_LINES - 1
    lines = textwrap.wrap(_plain(first), WIDTH)
    lines += [textwrap.shorten(_plain(title), WIDTH, placeholder=" ...")] if title else []
    left = room - len(lines)
    shown = findings if len(findings) <= left else findings[: left - 1]
    lines += [
        textwrap.shorten(_plain(f"{one.about}: {one.state}{one.line}"), WIDTH, placeholder=" ...")
        for one in shown
    ]
    if rest := findings[len(shown) :]:
        states = Counter(one.state for one in rest)
        said = ", ".join(f"{number} {state}" for state, number in states.items())
        lines.append(f"and {len(rest)} more: {said}")
    for place, detail in enumerate(details, start=1):
        kept = LAST_LINES if place < len(details) else 0
        wrapper = textwrap.TextWrapper(
            WIDTH, initial_indent="  ", subsequent_indent="  ", placeholder=" ...",
            max_lines=max(room - len(lines) - kept, 0), break_on_hyphens=False,
        )  # fmt: skip
        if wrapper.max_lines:
            lines += wrapper.wrap(_plain(detail))
    return "\n".join([*lines, f"page: {visible(str(page))}"])


def as_html(
    findings: Sequence[Finding],
    words: Sequence[str],
    figures: Sequence[Wanted],
    table: "pd.DataFrame",
    page: Path,
    *,
    title: str = "",
    first: str = "",
) -> str:
    """Return the findings, the first of the figures that is there, and a table.

    Args:
        findings: with their states.
        words: further sentences.
        figures: of the report, those to look for first; they lie beside the page, in figures/.
        table: what is shown of the numbers.
        page: where the page is.
        title: what the findings are about.
        first: what has to be known before anything.
    """
    from markupsafe import Markup

    parts = [_said(visible(text)) for text in (first, title) if text]
    parts += [
        Markup('<p style="margin:.4em 0"><b>{}: {}</b>{}</p>').format(
            visible(one.about), visible(one.state), typeset(visible(one.line))
        )
        for one in findings[:MOST_ROWS]
    ]
    if (rest := len(findings) - MOST_ROWS) > 0:
        parts.append(_said(f"{counted(rest, 'more finding')} on the page."))
    parts += [_said(typeset(visible(text))) for text in words]
    for figure in figures:
        if drawn := _drawn(figure, page):
            parts.append(drawn)
            break
    parts += [_table(table), Markup("<p>page: <code>{}</code></p>").format(visible(str(page)))]
    return str(Markup('<div style="{}">{}</div>').format(_STYLE, Markup("\n").join(parts)))


def _plain(text: str) -> str:
    return one_line(visible(text).replace("\n", " "), MOST_LINES * WIDTH)


def _said(text: str) -> "Markup":
    from markupsafe import Markup

    return Markup('<p style="margin:.4em 0">{}</p>').format(text)


def _drawn(figure: Wanted, page: Path) -> "Markup":
    """Return a figure as it was drawn for the page; nothing where it was not."""
    from markupsafe import Markup

    try:
        drawn = (page.parent / "figures" / f"{figure.name}.svg").read_text("utf-8")
        name = f"adaptlens-{digest([str(page), figure.name])[:8]}"
        svg = inline(drawn, name, figure.caption)
    except (OSError, ValueError, ParseError):
        return Markup("")
    fitted = svg.replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)
    return Markup(
        '<figure style="margin:.8em 0">{}<figcaption style="color:{}"><small>{}</small>'
        "</figcaption></figure>"
    ).format(Markup(fitted), MUTED, figure.caption)


def _table(table: "pd.DataFrame") -> "Markup":
    from markupsafe import Markup

    head = Markup("").join(
        Markup('<th style="{}text-align:left">{}</th>').format(_CELL, visible(str(name)))
        for name in table.columns
    )
    rows = [
        Markup("").join(
            Markup('<td style="{}text-align:left">{}</td>').format(_CELL, visible(str(value)))
            for value in row
        )
        for row in table.head(MOST_ROWS).itertuples(index=False)
    ]
    more = len(table) - len(rows)
    return Markup("<table><tr>{}</tr>{}</table>{}").format(
        head,
        Markup("").join(Markup("<tr>{}</tr>").format(row) for row in rows),
        _said(f"{counted(more, 'more row')} in the table itself.") if more > 0 else "",
    )
