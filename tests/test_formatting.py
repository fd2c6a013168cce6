"""How numbers are written, and that texts from data do nothing on their way out."""

import io
import math
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from adaptlens import columns
from adaptlens.cli.planned import plan_table, rows_table, status_table
from adaptlens.cli.terminal import Display
from adaptlens.formatting import (
    byte_size,
    design,
    duration,
    ends,
    equals,
    estimate,
    fixed,
    in_sentence,
    numeral,
    p_value,
    parameters,
    percent,
    say,
    typeset,
    unsigned_zeros,
    visible,
)
from adaptlens.report import images
from adaptlens.report import tables as made
from adaptlens.report.printer import Printer

NASTY = (
    "[/INST]", "[/b]", "[bold red]", "[link=file:///etc/passwd]x[/link]", ":smile:", "\\[",
    "\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "a\rb", "\x08\x08", "\x00", "\u202eabc",
    "\ud800", "{task.description}", "%s", "=cmd|' /C calc'!A0",
)  # fmt: skip
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=12))


def printed(*renderables) -> str:
    """What a terminal would get, colors and all."""
    stream = io.StringIO()
    console = Printer(file=stream, width=400, force_terminal=True, color_system=None)
    for one in renderables:
        console.table(one) if isinstance(one, made.Table) else console.print(one)
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
    named = SimpleNamespace(name=text)
    cell = SimpleNamespace(task=named, model=named, label=text, draws=(0,), adaptation=None)
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
    found = made.embedded(columns.frame_of([{"input": text}]))
    assert "<" not in found and not acts(found)


# Numbers.


@pytest.mark.parametrize(
    ("given", "more", "text"),
    [
        ((-0.1524, -0.2, 0.0501), {}, "−0.152 [−0.200, 0.050]"),
        ((87.5, 84.1, 90.2), {"digits": 1}, "87.5 [84.1, 90.2]"),
        ((-0.0, -1.0, 1.0), {"sign": True, "digits": 1}, "0.0 [−1.0, 1.0]"),
        ((0.02, -0.04, -0.01), {"digits": 1}, "0.0 [0.0, 0.0]"),
        ((4.0, math.nan, math.nan), {"sign": True, "digits": 1}, "+4.0"),
        ((0.5, -math.inf, math.inf), {"sign": True}, "+0.500"),
        ((math.nan, 0.0, 1.0), {}, "–"),
    ],
)
def test_an_estimate_stands_before_its_interval(given, more, text):
    assert estimate(*given, **more) == text
    # A sentence has the same with hyphens.
    assert in_sentence(*given, **{"sign": False, **more}) == text.replace("−", "-")


def test_a_sentence_has_signs_and_hyphens_and_a_page_true_minuses():
    assert in_sentence(0.1031, -0.002, 0.2081) == "+0.103 [-0.002, 0.208]"
    said = "it-16 against icl-16 -5.6 [-12.3, 2.2], 5 queries x 3 draws"
    assert typeset(said) == "it-16 against icl-16 −5.6 [−12.3, 2.2], 5 queries × 3 draws"
    assert (fixed(-0.04), fixed(0.04, sign=True), ends(-3.61, 4.2)) == ("0.0", "0.0", "[-3.6, 4.2]")


def test_a_number_that_is_printed_as_zero_has_no_sign():
    assert unsigned_zeros("-0.0 +0.00 -0 [-0.0, +0.1]") == "0.0 0.00 0 [0.0, +0.1]"
    for text in ("-0.5", "-10.0", "+0.01", "-0.05", "best-prompt-0", "-0e3"):
        assert unsigned_zeros(text) == text


def test_a_p_value_has_three_digits_or_is_below_the_least_of_them():
    assert [p_value(p) for p in (0.0004, 0.0312, math.nan)] == ["<0.001", "0.031", "–"]
    assert [equals(p) for p in (0.0004, 0.0312)] == ["< 0.001", "= 0.031"]


def test_numbers_in_a_given_format_are_printed_so_that_they_can_be_read():
    assert numeral(-1234.5, ",.1f") == "−1,234.5"
    assert numeral(3.2e9, ",.3g", 1e-9) == "3.2"
    assert [numeral(x) for x in (math.nan, math.inf, -math.inf)] == ["–", "∞", "−∞"]
    assert (percent(0.8754), percent(0.25, 0), design(6, 10, 1200)) == (
        "87.5%", "25%", "6 × 10 × 1,200",
    )  # fmt: skip
    assert [parameters(n) for n in (950, 1.26e6, 134.5e6)] == ["950", "1.3M", "134M"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.14, "3.1 s"), (90, "1.5 min"), (5400, "1.5 h"), (172800, "2.0 days")]
)
def test_a_duration_is_told_in_its_largest_unit(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1.5e6, "1.5 MB"), (2e12, "2000.0 GB")],
)
def test_a_size_is_told_in_its_largest_unit(size, text):
    assert byte_size(size) == text
