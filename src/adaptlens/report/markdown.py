"""Tables and summaries as Markdown that GitHub shows, for issues and pull requests."""

import re
from collections.abc import Iterable, Iterator

from adaptlens.formatting import visible
from adaptlens.report.summary import Summary
from adaptlens.report.tables import Table


def document(summary: Summary) -> str:
    """Return the verdicts, the main tables and the notes of a report."""
    lines = [f"# {inline(summary.title)}", ""]
    if summary.partial:
        lines += [f"**{inline(summary.partial.line)}**", ""]
    for one in summary.findings:
        lines.append(f"- **{inline(one.about)}**: {inline(one.state + one.line)}")
    lines += [f"- {inline(line)}" for line in summary.lines]
    for table in (*summary.tables, *summary.details):
        lines += ["", f"**{inline(table.caption)}**", "", *pipes(table)]
    if summary.notes:
        lines += ["", *(f"- {inline(note)}" for note in summary.notes)]
    return "\n".join(lines) + "\n"


def pipes(table: Table) -> Iterator[str]:
    """Yield the lines of a table: the headings, how columns are aligned, the rows, the note."""
    yield _row(text for text, _ in table.headings)
    yield "|" + "|".join("---:" if numeric else "---" for _, numeric in table.headings) + "|"
    for row in table.rows:
        yield _row(entry.text for entry in row)
    for line in table.note.splitlines():
        yield from ("", inline(line))


def inline(text: str) -> str:
    """Return a text as one line that stays in its table cell and is read as it is.

    What would be code, emphasis, a link, a formula, a tag or a mention is escaped.
    """
    text = " ".join(visible(str(text)).split())
    text = re.sub(r"[\\`*|$]|(?<!\w)_|_(?!\w)|~(?=~)|(?<=~)~|(?<=\])\(", r"\\\g<0>", text)
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", re.sub(r"(?<!\w)@(?=\w)", "&#64;", text))


def _row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(map(inline, texts))} |"
