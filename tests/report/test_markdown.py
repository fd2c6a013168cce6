"""Tables as Markdown, read back by a parser of GitHub's tables."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import convergence_samples
import implicit_samples
import limits_samples
import report_samples
from adaptlens.formatting import visible
from adaptlens.report.markdown import document, pipes
from adaptlens.report.tables import Entry, Table

NASTY = (
    "a|b", "a\\|b", "\\", "`code`", "*bold*", "_under_score_", "<b>x</b>", "&lt;", "[x](http://e)",
    "@someone", "~~gone~~", "icl ~ it", "$x$", "91.0 [88.7, 93.3]", "one\ntwo", "", "–", "\x1b[2J",
    "'Review: {input}\\nLabel: {target}'",
)  # fmt: skip
texts = st.one_of(st.sampled_from(NASTY), st.text(st.characters(codec="utf-8"), max_size=12))


def tables_in(markdown: str) -> list[tuple[list[str], list[list[str]]]]:
    """Return the headings and the rows of each table, as a reader sees them."""
    found: list[tuple[list[str], list[list[str]]]] = []
    for token in MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(markdown):
        if token.type == "table_open":
            found.append(([], []))
        elif token.type == "tr_open" and found[-1][0]:
            found[-1][1].append([])
        elif token.type == "inline" and found and token.level > 3:
            assert all(part.type == "text" for part in token.children or []), token.children
            shown = "".join(part.content for part in token.children or [])
            (found[-1][1][-1] if found[-1][1] else found[-1][0]).append(shown)
    return found


def read(text: str) -> str:
    return " ".join(visible(text).split())


def table_of(rows: Sequence[Sequence[str]]) -> Table:
    headings = tuple((f"column {i}", i > 0) for i in range(len(rows[0])))
    return Table("t", "c", headings, tuple(tuple(map(Entry, row)) for row in rows))


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=4))
def test_a_table_read_back_has_the_texts_it_was_given(rows):
    ((headings, found),) = tables_in("\n".join(pipes(table_of(rows))))
    assert headings == ["column 0", "column 1", "column 2"]
    assert found == [[read(text) for text in row] for row in rows]


def test_numbers_are_aligned_to_the_right_and_a_note_stands_below():
    table = Table("t", "c", (("arm", False), ("score, %", True)), ((Entry("it"), Entry("91.0")),))
    assert [*pipes(table)] == ["| arm | score, % |", "|---|---:|", "| it | 91.0 |"]
    noted = Table("t", "c", table.headings, table.rows, note="one\ntwo")
    assert [*pipes(noted)][3:] == ["", "one", "", "two"]


def test_nobody_is_mentioned_and_nothing_is_a_link():
    said = "\n".join(pipes(table_of([("@someone", "[x](http://e)", "a@b")])))
    assert "@someone" not in said and "a@b" in said and "](" not in said


@pytest.mark.parametrize(
    "samples", [report_samples, convergence_samples, implicit_samples, limits_samples]
)
def test_a_report_read_back_has_its_main_tables_and_a_line_for_each_verdict(samples):
    summary = samples.sample().summary()
    text = document(summary)
    wanted = [*summary.tables, *summary.details]
    assert summary.tables and summary.findings
    found = tables_in(text)
    assert [headings for headings, _ in found] == [[h for h, _ in t.headings] for t in wanted]
    assert [rows for _, rows in found] == [
        [[read(entry.text) for entry in row] for row in table.rows] for table in wanted
    ]
    lines = [line for line in text.splitlines() if line.startswith("- **")]
    assert len(lines) == len(summary.findings)
    for line, finding in zip(lines, summary.findings, strict=True):
        assert f"**: {finding.state}" in line
