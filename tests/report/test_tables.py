"""A table's columns, and what its entries say and sort by."""

import math

import pandas as pd

from adaptlens.report.tables import (
    Entry,
    Table,
    at_cell,
    counts,
    estimated,
    number,
    p_entry,
    plain,
    text,
    verdict,
    words,
)

HEADINGS = (("model", False), ("arm", False), ("n", True), ("why", False))
ROWS = (("m", "a", "1", ""), ("m", "b", "–", "–"))
TABLE = Table("t", "c", HEADINGS, tuple(tuple(map(Entry, row)) for row in ROWS))


def headings(table: Table) -> list[str]:
    return [heading for heading, _ in table.headings]


def test_columns_are_chosen_by_heading_and_keep_their_order():
    found = TABLE.only("n", "arm", "no such")
    assert headings(found) == ["arm", "n"]
    assert [[entry.text for entry in row] for row in found.rows] == [["a", "1"], ["b", "–"]]


def test_a_column_that_says_nothing_goes_and_one_that_says_something_once_stays():
    assert headings(TABLE.filled()) == ["model", "arm", "n"]


def test_a_column_goes_where_all_rows_say_the_same():
    assert headings(TABLE.without_constant("model")) == ["arm", "n", "why"]
    assert TABLE.without_constant("arm") == TABLE


def test_a_long_table_has_its_first_rows_and_says_how_many_more_there_are():
    assert TABLE.first(2) == TABLE
    found = TABLE.first(1)
    assert found.rows == TABLE.rows[:1]
    assert found.note == "1 more row; the page and --json have them"


def test_an_entry_sorts_by_its_number_and_what_is_undefined_by_nothing():
    assert number(-1234.5, 1, ",.1f") == Entry("−1,234.5", -1234.5)
    assert number(None) == number(math.nan) == Entry("–", "")
    assert number(-math.inf) == Entry("−∞", -math.inf)
    assert estimated(0.5, None, math.nan, sign=True) == Entry("+0.500", 0.5)
    assert estimated(math.nan, 0.0, 1.0) == Entry("–", "")
    assert p_entry(0.0004) == Entry("<0.001", 0.0004)
    assert counts({"queries": 1200, "draws": 5.0}, "draws queries") == [
        Entry("5", 5.0), Entry("1,200", 1200.0),
    ]  # fmt: skip


def test_a_verdict_has_a_sign_beside_its_color_and_an_unknown_one_is_none():
    assert verdict("not decided") == Entry("? not decided", "not decided", tone="not-decided")
    assert verdict(None) == Entry("–")


def test_an_entry_links_to_the_first_of_its_cells():
    assert at_cell(text("it-16"), ("abc", "def")).links == (("it-16", "abc"),)
    assert at_cell(text("it-16"), ()) == text("it-16")
    assert (words("so"), words(math.nan)) == (Entry("so", "so", tone="words"), Entry("", ""))


def test_nothing_is_a_dash_in_a_table_shown_as_it_is():
    shown = plain(pd.DataFrame({"needed_draws": [None, None], "left": ["a", None]}), "t", "")
    assert [[entry.text for entry in row] for row in shown.rows] == [["–", "a"], ["–", "–"]]
