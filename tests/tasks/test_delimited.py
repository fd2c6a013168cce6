"""Whether the first line of a CSV or TSV names its columns."""

import pytest

from adaptlens.errors import UserError
from adaptlens.tasks.delimited import delimited_table, names_columns

LABELS = ["question", "statement", "command", "threat"]
WORDS = ["stone", "river", "cloud", "garden", "ticket", "harbour"]
TEXTS = [f"the {word} is old and gray" for word in WORDS]


def labeled(texts, labels, repeats=3) -> list[list[str]]:
    return [[t, labels[i % len(labels)]] for i, t in enumerate(list(texts) * repeats)]


ROWS = labeled(TEXTS, LABELS)
SHORT = labeled([a + b + "t" for a in "bcdfg" for b in "aeiou"], ["noun", "verb"], repeats=1)

CASES = {
    "two known names": ([["text", "label"], *ROWS], True),
    "known in any case": ([["Class Index", "Title"], *[r[::-1] for r in ROWS]], True),
    "no header, a label called question": (ROWS, False),
    "that label only in the first line": ([ROWS[0], *labeled(TEXTS, LABELS[1:])], False),
    "unknown names over text and labels": ([["opinion", "verdict"], *ROWS], True),
    "unknown names over text": ([["english", "czech"], *[[t, t] for t in TEXTS]], True),
    "a name over numbers": ([["color", "size"], ["red", "1"], ["blue", "2"]], True),
    "a number in the first line": ([["red", "1"], ["blue", "2"]], False),
    "one known word over single words": ([["dog", "question"], *SHORT], None),
    "unknown names over single words": ([["word", "kind"], *SHORT], None),
    "single words, no header": (SHORT, False),
    "a dictionary": ([["hund", "dog"], ["katze", "cat"]], False),
    "unnamed index": ([["", "text", "label"], *[[str(i), *r] for i, r in enumerate(ROWS)]], True),
    "unnamed index of ids": ([["", "text", "label"], *[[f"q{i}", *r] for i, r in enumerate(ROWS)]],
                             True),
    "an empty first cell that is no index": ([["", "good"], ["a b", "bad"], ["", "good"]], False),
    "only names": ([["text", "label"]], True),
    "only an example": ([["a b", "good"]], False),
}  # fmt: skip


@pytest.mark.parametrize("rows, expected", CASES.values(), ids=CASES)
def test_the_first_line_names_columns(rows, expected):
    assert names_columns(rows) is expected


def csv(rows) -> str:
    return "\n".join(",".join(row) for row in rows)


def test_what_nothing_tells_is_asked_and_settled_by_a_word_or_a_name():
    text = csv([["dog", "question"], *SHORT])
    with pytest.raises(UserError, match="may be column names or an example; say --header"):
        delimited_table(text, "a.csv", ",")
    assert delimited_table(text, "a.csv", ",", True).columns == ("dog", "question")
    assert delimited_table(text, "a.csv", ",", False).columns == ("0", "1")
    assert delimited_table(text, "a.csv", ",", named=["question"]).columns == ("dog", "question")


def test_the_index_of_a_data_frame_has_pandas_name_for_it():
    rows = [["", "text", "label"], *[[str(i), *row] for i, row in enumerate(ROWS)]]
    table = delimited_table(csv(rows), "a.csv", ",")
    assert table.columns == ("Unnamed: 0", "text", "label") and len(table.rows) == len(ROWS)


def test_row_names_as_r_writes_them_have_no_name():
    text = "\n".join(["text\tlabel", *("\t".join([str(i), *row]) for i, row in enumerate(ROWS))])
    table = delimited_table(text, "a.tsv", "\t")
    assert table.columns == ("Unnamed: 0", "text", "label") and len(table.rows) == len(ROWS)


def test_a_table_of_empty_cells_is_refused():
    with pytest.raises(UserError, match="only empty cells"):
        delimited_table(" , \n,\n", "a.csv", "")
