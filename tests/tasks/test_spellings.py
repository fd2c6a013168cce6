"""One answer in several spellings is one class, with a note, or is refused."""

from collections import Counter

import pytest

from adaptlens import tasks
from adaptlens.errors import UserError
from adaptlens.tasks import answers
from adaptlens.tasks.items import Item
from adaptlens.tasks.spellings import clean, key, unified


def rows(*targets: str) -> list[Item]:
    return [Item(f"a.csv, line {i}", f"text {i}", target) for i, target in enumerate(targets, 1)]


def settled(*targets: str, test=(), **settings):
    """Return the answers, the options and the notes of a task with these raw answers."""
    splits = {"train": rows(*targets), "test": rows(*test)}
    splits, kind, options, notes = answers.settle("mine", splits, None, None, **settings)
    assert kind == "choice"
    return [item.target for items in splits.values() for item in items], options, notes


SAME = [
    ("n\u00e9gatif", "ne\u0301gatif"),
    ("good", "good\u200b"),
    ("\ufeffgood", "good"),
    ("go\u00adod", "good"),
    ("very good", "very\u00a0good"),
    ("very good", "very\u2009 good"),
    ("Good", "good"),
    ("\uff47\uff4f\uff4f\uff44", "good"),
    ("True", "true"),
    ("1", "1.0"),
    ("not-good", "not\u2011good"),
    ("don't know", "don\u2019t know"),
    ("good\u200f", "good"),
    ("STRASSE", "stra\u00dfe"),
    ("\ufb01ne", "fine"),
]


@pytest.mark.parametrize("one, two", SAME, ids=[ascii(pair) for pair in SAME])
def test_spellings_of_one_answer_are_one_class_with_a_note(one, two):
    found, options, notes = settled(*[one] * 3, *["bad"] * 4, test=[two] * 2)
    assert found == [clean(one)] * 3 + ["bad"] * 4 + [clean(one)] * 2
    assert len(options) == 2
    assert notes[0].startswith("Spellings of one answer were read as one: ")
    assert "(3 rows)" in notes[0] and "(2 rows)" in notes[0]


def test_the_most_frequent_spelling_stays_whatever_the_order_of_the_rows():
    words, _ = unified("mine", Counter({"Good": 2, "good": 3, "GOOD": 3}), "--choices")
    assert words == dict.fromkeys(["Good", "good", "GOOD"], "GOOD")


def test_true_and_1_are_one_where_there_are_no_other_answers():
    found, options, _ = settled("True", "False", "1", "0", "1", test=["true", "0.0"])
    assert found == ["True", "False", "True", "False", "True", "True", "False"]
    assert options == ("False", "True")
    _, options, _ = settled("true", "1", "2", "2", "1", "true")
    assert options == ("1", "2", "true")


@pytest.mark.parametrize("one, two", [("a", "A"), ("01", "1"), ("\u00b2", "2")])
def test_answers_that_may_be_one_or_two_are_refused(one, two):
    with pytest.raises(UserError, match="may be one answer or two") as raised:
        settled(*[one, two, "other"] * 2)
    assert "keeps both" in str(raised.value) and one in str(raised.value)


def test_listed_choices_keep_their_spellings_and_others_are_read_as_them():
    splits = {"train": rows("a", "A", "B", "B ", "b\u200b")}
    splits["train"][3:] = rows("B\u200b", "B")
    found, _, options, notes = answers.settle("mine", splits, None, "a,A,B")
    assert [item.target for item in found["train"]] == ["a", "A", "B", "B", "B"]
    assert options == ("a", "A", "B") and "'B\\u200b' (1 rows) as 'B'" in notes[0]


def test_free_text_keeps_its_spelling():
    texts = [f"text {i}\u200b" for i in range(3)]
    found, kind, _, _ = answers.settle("mine", {"train": rows(*texts)}, None, None)
    assert kind == "generation" and [item.target for item in found["train"]] == texts


def test_the_key_of_a_key_is_itself():
    for pair in SAME:
        assert key(pair[0]) == key(pair[1]) == key(key(pair[0]))


@pytest.mark.parametrize("option", ["--choices", "--label-words"])
def test_a_message_names_the_option_that_was_given(tmp_path, option):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"text {i},{i % 3}\n" for i in range(9)))
    setting = {"--choices": "choices", "--label-words": "label_words"}[option]
    with pytest.raises(UserError, match="not among the choices") as raised:
        tasks.load(str(path), **{setting: "0=bad,1=good"})
    other = {"--choices", "--label-words"} - {option}
    assert f"add the answer to {option}" in str(raised.value)
    assert not any(name in str(raised.value) for name in other)


def test_answers_that_training_never_shows_are_said(tmp_path):
    for split, labels in (("train", "ab"), ("test", "abc")):
        lines = "".join(f"{split} text {i},{labels[i % len(labels)]}\n" for i in range(9))
        (tmp_path / f"{split}.csv").write_text("text,label\n" + lines)
    task = tasks.load(str(tmp_path))
    assert "Warning: test: 3 of 9 items have answers that training never shows: 'c'." in task.notes


def test_labels_of_a_csv_and_of_json_are_one_class(tmp_path):
    train = "".join(f"word {i},{i % 2 == 0}\n" for i in range(20))
    (tmp_path / "train.csv").write_text("text,label\n" + train)
    lines = [f'{{"text": "other {i}", "label": {"true" if i % 2 else "false"}}}' for i in range(6)]
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    task = tasks.load(str(tmp_path))
    assert task.choices == ("False", "True")
    assert {e.target for e in task.test} == {"False", "True"}
    assert any(note.startswith("Spellings of one answer") for note in task.notes)


def test_a_rare_answer_that_is_nearly_a_common_one_is_warned_of():
    _, options, notes = settled(*["billing"] * 49, *["shipping"] * 40, "biling")
    assert options == ("biling", "billing", "shipping")
    assert (
        "Warning: 'biling' is the answer of 1 row, and 'billing' of 49: if that is a typing error, "
        "correct it."
    ) in notes
    for answers_ in (["billing"] * 9 + ["biling"], ["billing"] * 49 + ["biling"] * 4,
                     ["label 11"] * 40 + ["label 12"]):  # fmt: skip
        assert not any("typing error" in note for note in settled(*answers_)[2])
