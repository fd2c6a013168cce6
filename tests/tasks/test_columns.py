"""Which columns of a table become input, answer and options, and what is said of the others."""

import json

import pytest

from adaptlens import tasks
from adaptlens.errors import UserError
from adaptlens.tasks.item_options import resolved
from adaptlens.tasks.items import Item
from adaptlens.tasks.names import read_together
from adaptlens.tasks.records import items, layout, left_out
from adaptlens.tasks.table import Table

WORDS = ["stone", "river", "cloud", "garden", "ticket", "harbour"]
TEXT, OTHER = "the stone is near the river", "a cloud is over the garden"


def table(*records: dict) -> Table:
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    return Table("a.jsonl", columns, list(records), list(range(1, len(records) + 1)), "line")


def read(*records: dict, answers_as=None, **settings) -> tuple[list[Item], list[str]]:
    """Return the items of some records, and every note."""
    rows = table(*records)
    how = layout(rows, **settings)
    found, notes = items(rows, how)
    splits, more = resolved({"train": found}, answers_as)
    return splits["train"], [how.note, *left_out(rows, how), *notes, *more]


PAIRS = [
    (("premise", "hypothesis"), "Premise: {0}\nHypothesis: {1}"),
    (("sentence1", "sentence2"), "Sentence1: {0}\nSentence2: {1}"),
    (("question1", "question2"), "Question1: {0}\nQuestion2: {1}"),
    (("text_a", "text_b"), "Text a: {0}\nText b: {1}"),
    (("question", "passage"), "Passage: {1}\nQuestion: {0}"),
    (("context", "question"), "Context: {0}\nQuestion: {1}"),
    (("question", "sentence"), "Sentence: {1}\nQuestion: {0}"),
    (("claim", "evidence"), "Evidence: {1}\nClaim: {0}"),
    (("Title", "Description"), "Title: {0}\nDescription: {1}"),
    (("subject", "body"), "Subject: {0}\nBody: {1}"),
]


@pytest.mark.parametrize("names, expected", PAIRS, ids=["-".join(names) for names, _ in PAIRS])
def test_two_texts_of_a_usual_layout_are_one_input(names, expected):
    records = [
        {names[0]: f"{TEXT} {i}", names[1]: f"{OTHER} {i}", "label": "yn"[i % 2]} for i in range(4)
    ]
    found, notes = read(*records)
    assert found[1].input == expected.format(f"{TEXT} 1", f"{OTHER} 1")
    assert found[1].target == "n" and not any("not read" in note for note in notes)


def test_a_title_stands_before_the_context_and_the_question_last():
    assert read_together(["question", "title", "context", "answers"]) == (
        "title",
        "context",
        "question",
    )
    assert read_together(["text", "label"]) == ()


@pytest.mark.parametrize("given", ["story,remark", ["story", "remark"], "0,1"])
def test_the_input_may_be_several_columns_by_name_or_number(given):
    found, _ = read({"story": "a", "remark": "b", "mood": "c"}, input=given, target="mood")
    assert found[0].input == "Story: a\nRemark: b"


def test_a_column_whose_name_holds_a_comma_is_one_column():
    found, _ = read({"a,b": "text here", "a": "x", "label": "y"}, input="a,b")
    assert found[0].input == "text here"


@pytest.mark.parametrize("given", ["text,text", []])
def test_an_input_named_twice_or_not_at_all_is_refused(given):
    with pytest.raises(UserError, match="names a column twice, or none"):
        read({"text": "a", "label": "y"}, input=given)


def test_columns_left_out_are_named_and_a_warning_says_where_they_hold_text():
    record = {
        "id": "q17", "text": "some text", "label": "good", "score": 0.5, "when": "2020-01-01",
        "remark": "said with a smile", "aspect": "food", "words": ["a lamp", "a boat"],
        "说明": "中文句子", "split": "train", "url": "https://example.org/a",
    }  # fmt: skip
    _, notes = read(record, record)
    assert "a.jsonl: columns that are not read: 'id', 'score', 'when', 'url'." in notes
    (warning,) = [note for note in notes if note.startswith("Warning")]
    assert "'remark', 'aspect', 'words', '说明'" in warning and "--input A,B" in warning


def test_a_task_says_what_of_its_file_is_not_read_and_how_numbers_were(tmp_path):
    rows = [
        {"question": f"{TEXT} {i}", "remark": OTHER, "choices": CHOICES, "answer": i % 4}
        for i in range(8)
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    task = tasks.load(str(path))
    assert task.choices == tuple(CHOICES)
    assert "Answers that are numbers count the options from 0." in task.notes
    assert any(note.startswith("Warning: a.jsonl holds text") for note in task.notes)


def test_what_a_template_names_is_read():
    _, notes = read({"text": "a b", "remark": "c d", "label": "x"}, fields=["remark"])
    assert not any(note.startswith("Warning") for note in notes)


CHOICES = ["a stone", "a lamp", "a boat", "a pencil"]
LISTED = {
    "texts": CHOICES,
    "arc": {"text": CHOICES, "label": list("ABCD")},
    "records": [
        {"label": letter, "text": text} for letter, text in zip("ABCD", CHOICES, strict=True)
    ],
    "by letter": dict(zip("ABCD", CHOICES, strict=True)),
    "json": json.dumps(CHOICES),
    "python": str(CHOICES),
}


@pytest.mark.parametrize("name", ["choices", "Options", "endings"])
@pytest.mark.parametrize("form", LISTED)
def test_options_in_one_column_are_read_in_every_form(name, form):
    records = [{"question": TEXT, name: LISTED[form], "answerKey": letter} for letter in "BD"]
    found, notes = read(*records)
    assert [item.choices for item in found] == [tuple(CHOICES)] * 2
    assert [item.target for item in found] == ["a lamp", "a pencil"]
    assert "options are scored as answers; {options} in a --template shows them" in notes[0]


def test_a_row_without_its_options_is_refused_not_the_column():
    row = {"question": TEXT, "choices": CHOICES, "answer": "B"}
    with pytest.raises(UserError, match="line 3: column 'choices' holds options in a form"):
        read(row, row, {**row, "choices": "none"})


def test_labels_that_are_digits_point_by_label_not_by_place():
    options = {"text": CHOICES, "label": ["1", "2", "3", "4"]}
    found, _ = read({"question": TEXT, "choices": options, "answerKey": "2"})
    assert found[0].target == "a lamp"


COLUMNS = [
    (["A", "B", "C", "D"], "B"),
    (["option_a", "option_b", "option_c"], "b"),
    (["option_a", "option_b", "option_c"], "option_b"),
    (["Option A", "Option B", "Option C"], "B"),
    (["opa", "opb", "opc"], "B"),
    (["answerA", "answerB", "answerC"], "B"),
    (["choice1", "choice2"], "choice2"),
    (["ending0", "ending1", "ending2"], "a lamp"),
]


@pytest.mark.parametrize("columns, answer", COLUMNS, ids=["-".join(c) for c, _ in COLUMNS])
def test_options_in_columns_of_their_own_are_read(columns, answer):
    options = dict(zip(columns, CHOICES, strict=False))
    found, notes = read({"question": TEXT, **options, "label": answer})
    assert found[0].choices == tuple(CHOICES[: len(columns)]) and found[0].target == "a lamp"
    assert not any("not read" in note for note in notes)


def test_a_row_may_have_fewer_options_than_there_are_columns():
    full = {"question": TEXT, "A": "x", "B": "y", "C": "z", "answer": "C"}
    found, _ = read(full, {**full, "C": "", "answer": "A"})
    assert [item.choices for item in found] == [("x", "y", "z"), ("x", "y")]
    with pytest.raises(UserError, match="line 2: the option in column 'B' is empty, and later"):
        read(full, {**full, "B": ""})


def test_distractors_and_the_right_answer_are_options_in_an_order_that_tells_nothing():
    record = {
        "question": TEXT, "distractor1": "b", "distractor2": "d", "correct_answer": "c",
    }  # fmt: skip
    found, _ = read(record, {**record, "correct_answer": "a"})
    assert [item.choices for item in found] == [("b", "c", "d"), ("a", "b", "d")]
    assert [item.target for item in found] == ["c", "a"]


def test_columns_a_and_b_that_the_answers_do_not_point_to_are_no_options():
    _, notes = read({"text": TEXT, "a": "red", "b": "blue", "label": "entailment"})
    assert any("'a', 'b'" in note and note.startswith("Warning") for note in notes)


def numbered(*answers, options=("ant", "bee", "cat", "dog")) -> list[dict]:
    return [{"question": TEXT, "choices": list(options), "answer": answer} for answer in answers]


@pytest.mark.parametrize("kind", [int, str, lambda n: f"{n}.0"])
def test_numbers_count_from_0_where_a_0_occurs_and_from_1_where_the_last_does(kind):
    found, notes = read(*numbered(*map(kind, [0, 1, 3])))
    assert [item.target for item in found] == ["ant", "bee", "dog"]
    assert "Answers that are numbers count the options from 0." in notes
    found, notes = read(*numbered(*map(kind, [1, 2, 4])))
    assert [item.target for item in found] == ["ant", "bee", "dog"]
    assert "Answers that are numbers count the options from 1." in notes


def test_numbers_that_may_count_from_0_or_1_are_refused_and_settled_by_a_word():
    rows = numbered("1", "2", "3")
    with pytest.raises(UserError, match="may be its number from 0 or its number from 1") as raised:
        read(*rows)
    assert "--answers-as from-0 or --answers-as from-1" in str(raised.value)
    assert [i.target for i in read(*rows, answers_as="from-0")[0]] == ["bee", "cat", "dog"]
    assert [i.target for i in read(*rows, answers_as="from-1")[0]] == ["ant", "bee", "cat"]


def test_numbers_among_options_that_are_numbers_are_texts_where_only_that_fits():
    found, _ = read(*numbered("30", "10", options=("10", "20", "30")))
    assert [item.target for item in found] == ["30", "10"]


def test_numbers_that_may_be_texts_or_places_are_refused():
    with pytest.raises(UserError, match="may be its text or its number from 0"):
        read(*numbered("0", "1", options=("1", "0", "2")))


def test_a_number_beyond_the_options_is_refused_by_its_row():
    with pytest.raises(UserError, match=r"line 2: the answer '7' is not among its options"):
        read(*numbered("0", "7"))


def test_an_answer_in_another_spelling_is_its_option():
    found, _ = read(*numbered("  BEE\u200b", "cat"))
    assert found[0].target == "bee"


def test_a_message_is_text_or_a_list_of_parts():
    def record(*parts):
        return {
            "messages": [
                {"role": "user", "content": list(parts)},
                {"role": "assistant", "content": "good"},
            ]
        }

    found, _ = read(record({"type": "text", "text": "a "}, {"type": "input_text", "text": "b"}))
    assert (found[0].input, found[0].target) == ("a b", "good")
    with pytest.raises(UserError, match="line 1: a message holds a part of type 'image_url'"):
        read(record({"type": "image_url", "image_url": {"url": "x"}}))


def test_dolly_records_have_a_context_and_a_response():
    rows = [{"instruction": "Say it.", "context": "a b", "response": "c", "category": "talk"}]
    found, notes = read(*rows)
    assert (found[0].instruction, found[0].input, found[0].target) == ("Say it.", "a b", "c")
    assert any("'category'" in note for note in notes)
