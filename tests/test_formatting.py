"""Texts from data do nothing on their way out: in a terminal, on a page, in a spreadsheet."""

import io
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from adaptlens import columns
from adaptlens.cli.planned import plan_table
from adaptlens.cli.printer import Printer
from adaptlens.cli.terminal import Display, rows_table, status_table
from adaptlens.formatting import say, visible
from adaptlens.report import entries, images

NASTY = (
    "[/INST]", "[/b]", "[bold red]", "[link=file:///etc/passwd]x[/link]", ":smile:", "\\[",
    "\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "a\rb", "\x08\x08", "\x00", "\u202eabc",
    "\ud800", "{task.description}", "%s", "=cmd|' /C calc'!A0",
)  # fmt: skip
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=12))


def printed(*renderables) -> str:
    """What a terminal would get, colours and all."""
    stream = io.StringIO()
    console = Printer(file=stream, width=400, force_terminal=True, color_system=None)
    for one in renderables:
        console.print(one)
    return stream.getvalue()


def acts(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]


@given(texts)
def test_a_text_made_visible_acts_on_nothing_and_stays_so(text):
    found = visible(text)
    assert not acts(found.replace("\r\n", "\n")) and visible(found) == found
    found.encode("utf-8")


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=20))
def test_a_text_that_does_not_act_stays_as_it_is(text):
    assert visible(text) == text


def test_what_is_shown_for_a_character_that_acts():
    assert visible("\x1b[31mred\x9b\u202e\ud800") == "\\x1b[31mred\\x9b\\u202e\\ud800"
    assert visible("one\r\ntwo\tthree\n") == "one\r\ntwo\tthree\n"
    assert visible("over\rwritten") == "over\\x0dwritten"


@given(texts)
def test_markup_and_escapes_are_printed_as_they_are_read(text):
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    for shown in (printed(text), printed(table), printed(Text(text, style="bold"))):
        assert not acts(shown)
    line = visible(text).strip()
    if line and line.isascii() and "\n" not in line and "\t" not in line:
        assert line in printed(text) and line in printed(table)


@pytest.mark.parametrize("text", NASTY)
def test_every_table_of_the_terminal_takes_any_text(text):
    row = {"model": text, "task": text, "condition": text, "draws": 2, "draws_done": 0}
    status = {"cell": "c", "name": text, "state": "failed", "host": text, "pid": 1, "error": text}
    shown = printed(
        plan_table([row]), status_table([status], {"failed": 1}), rows_table(text, [{text: text}])
    )
    assert not acts(shown) and visible(text).strip() in shown


@pytest.mark.parametrize("text", NASTY)
def test_the_progress_of_a_cell_takes_any_name(text):
    cell = SimpleNamespace(
        task={"name": text}, model={"name": text}, label=text, draws=(0,), adaptation=None
    )
    with Display() as display:
        stream = io.StringIO()
        display._console.file = stream
        display.begin(1, 0)
        display.started(cell)
        display.progress("training", 1, 2)
        for column in display._progress.columns:
            for task in display._progress.tasks:
                column.render(task)
        display.finished(cell)
        display.failed(cell, text)
    assert not acts(stream.getvalue())


def test_what_is_said_outside_of_tables_is_visible_too(capsys):
    say("error: no column '\x1b[2J'", talk=True)
    assert capsys.readouterr().err == "error: no column '\\x1b[2J'\n"


@given(texts)
def test_a_figure_takes_any_label(text):
    import altair as alt

    rows = columns.frame_of([{"x": text, "y": 1.0}])
    chart = alt.Chart(rows).mark_bar().encode(x="x:N", y="y:Q")
    drawn = images._visible(chart.to_dict(validate=False))

    def strings(part):
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict | list):
            for one in part.values() if isinstance(part, dict) else part:
                yield from strings(one)

    assert not any(acts(one) for one in strings(drawn))


@given(texts)
def test_a_table_of_a_page_ends_no_script(text):
    found = entries.embedded(columns.frame_of([{"input": text}]))
    assert "<" not in found and not acts(found)
