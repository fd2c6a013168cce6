"""How a table is fitted into a terminal."""

import io

from hypothesis import given
from hypothesis import strategies as st

from adaptlens.cli.planned import plan_table, rows_table, status_table
from adaptlens.report.printer import Printer, column_widths
from adaptlens.report.tables import Entry, Table

words = st.text("abc ", max_size=30)
shapes = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.tuples(words, st.booleans()), min_size=n, max_size=n),
        st.lists(st.lists(words, min_size=n, max_size=n), max_size=4),
    )
)


def table_of(headings, rows) -> Table:
    return Table("t", "", tuple(headings), tuple(tuple(map(Entry, row)) for row in rows))


def printed(table: Table, width: int) -> list[str]:
    stream = io.StringIO()
    Printer(file=stream, width=width).table(table)
    return stream.getvalue().splitlines()


@given(shapes, st.integers(12, 90))
def test_a_table_fits_and_loses_no_letter(shape, width):
    table = table_of(*shape)
    assert sum(column_widths(table, width)) + len(table.headings) - 1 <= width
    shown = printed(table, width)
    assert all(len(line) <= width for line in shown)
    given_letters = "".join(t for t, _ in shape[0]) + "".join(t for row in shape[1] for t in row)
    said = "".join(shown)
    assert {c: said.count(c) for c in "abc"} == {c: given_letters.count(c) for c in "abc"}


def test_numbers_stay_on_one_line_and_texts_are_folded_between_words():
    table = table_of([("what", False), ("n", True)], [["a long text", "0.5 [0.1, 0.9]"]])
    # 14 for the number, a space, and 5 for the longest word and what is left over.
    assert column_widths(table, 20) == [5, 14]
    assert [line.split() for line in printed(table, 20)[2:]] == [
        ["a", "0.5", "[0.1,", "0.9]"], ["long"], ["text"],
    ]  # fmt: skip
    assert column_widths(table, 80) == [11, 14]


def test_the_tables_of_the_verbs_say_what_they_are_given():
    assert plan_table([{"model": "m", "draws": 1200}]).note == ""
    assert plan_table([{"model": "m", "draws": 1200}]).rows[0][1].text == "1,200"
    row = {"cell": "c", "name": "n", "state": "failed", "host": "h", "pid": 3, "error": "a\nb\n"}
    status = status_table([row], {"failed": 1, "done": 0})
    assert [entry.text for entry in status.rows[0]] == ["c", "n", "failed", "h:3", "b"]
    assert status.note == "1 failed"
    assert rows_table("t", [{"a": 0.12345, "b": 7}]).rows[0] == (Entry("0.123"), Entry("7"))


def test_what_a_row_is_called_is_not_broken_while_other_columns_may_be():
    headings = [("arm", False), *[("templates", False)] * 8]
    table = table_of(headings, [["best-zero-shot", *["12345678901"] * 8]])
    widths = column_widths(table, 80)
    assert widths[0] == len("best-zero-shot")
    assert sum(widths) + 8 <= 80
