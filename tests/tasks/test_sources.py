"""What a user's file becomes: columns, header, quoting, options, instructions."""

import json
from pathlib import Path

import pytest

from adaptlens import tasks
from adaptlens.errors import UserError
from adaptlens.types import Example, Task

WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def everything(task: Task) -> tuple[Example, ...]:
    return (*task.train, *task.validation, *task.test)


def pairs(task: Task) -> set[tuple[str, str]]:
    return {(e.input, e.target) for e in everything(task)}


def labeled(sep: str, header: str = "") -> str:
    rows = [f"word {w} here{sep}{'good' if i % 2 else 'bad'}" for i, w in enumerate(WORDS)]
    return "\n".join([header, *rows] if header else rows) + "\n"


LABELED = {(f"word {w} here", "good" if i % 2 else "bad") for i, w in enumerate(WORDS)}


@pytest.mark.parametrize("header", ["", "text,label", "opinion,verdict"])
def test_a_csv_gives_the_same_items_with_and_without_column_names(tmp_path, header):
    task = tasks.load(written(tmp_path / "a.csv", labeled(",", header)))
    assert pairs(task) == LABELED
    assert task.kind == "choice" and task.choices == ("bad", "good")
    said = "no line of column names" if not header else "read as column names"
    assert any(said in note for note in task.notes)


def test_a_headerless_tsv_of_text_and_digit_reads_as_sst2_does(tmp_path):
    text = "\n".join(f"a film that is {w} in its way\t{i % 2}" for i, w in enumerate(WORDS))
    task = tasks.load(written(tmp_path / "train.tsv", text), choices="0=negative,1=positive")
    assert len(everything(task)) == 12
    assert task.choices == ("negative", "positive")
    assert ("a film that is one in its way", "negative") in pairs(task)
    assert ("a film that is two in its way", "positive") in pairs(task)


def test_a_label_column_before_the_text_is_found_by_its_few_values(tmp_path):
    rows = "\n".join(f"{'yes' if i % 3 else 'no'}\tthe number {i} comes" for i in range(40))
    task = tasks.load(written(tmp_path / "a.tsv", rows))
    assert ("the number 0 comes", "no") in pairs(task)
    assert task.choices == ("no", "yes")


def test_single_words_above_running_text_are_column_names(tmp_path):
    rows = "".join(f"the house is {w}\tdom je {w}\n" for w in WORDS)
    task = tasks.load(written(tmp_path / "a.tsv", "english\tczech\n" + rows))
    assert task.kind == "generation"
    assert ("the house is one", "dom je one") in pairs(task)
    assert len(everything(task)) == 12


def test_quotes_in_a_csv_hold_commas_quotes_and_line_breaks(tmp_path):
    rows = labeled(",", "text,label") + '"a, ""b""\nc",good\n'
    assert ('a, "b"\nc', "good") in pairs(tasks.load(written(tmp_path / "a.csv", rows)))


def test_a_quote_in_an_unquoted_tsv_is_text(tmp_path):
    rows = labeled("\t") + 'he said "no" to it\tbad\n"so" it goes\tgood\n'
    found = pairs(tasks.load(written(tmp_path / "a.tsv", rows)))
    assert {('he said "no" to it', "bad"), ('"so" it goes', "good")} <= found


def test_semicolons_and_a_byte_order_mark_as_spreadsheets_write_them(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(labeled(";", "text;label").replace("\n", "\r\n").encode("utf-8-sig"))
    task = tasks.load(str(path))
    assert pairs(task) == LABELED
    assert any("';' between columns" in note for note in task.notes)


@pytest.mark.parametrize("input, target", [("note", "kind"), ("2", "1"), (None, "kind")])
def test_columns_are_named_or_numbered(tmp_path, input, target):
    rows = [f"{i},{'ab'[i % 2]},text {w}" for i, w in enumerate(WORDS)]
    path = written(tmp_path / "a.csv", "\n".join(["ref,kind,note", *rows]))
    if input is None:
        with pytest.raises(
            UserError, match=r"recognizable as the input; its columns are ref, kind"
        ):
            tasks.load(path, target=target)
    else:
        task = tasks.load(path, input=input, target=target)
        assert ("text one", "a") in pairs(task) and task.choices == ("a", "b")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet", "csv"])
def test_every_format_gives_the_same_items(tmp_path, suffix):
    records = [{"text": text, "label": label} for text, label in sorted(LABELED)]
    path = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)) + "\n\n")
    elif suffix == "json":
        path.write_text(json.dumps(records))
    elif suffix == "csv":
        path.write_text(labeled(",", "text,label"))
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    task = tasks.load(str(path))
    assert pairs(task) == LABELED
    same = tasks.load(written(tmp_path / "b.csv", labeled(",", "text,label")))
    assert [e.id for e in task.test] == [e.id for e in same.test]


def test_numbers_null_and_booleans_become_the_words_a_person_would_write(tmp_path):
    values = [True, False, 1, 2.0, 2.5, "x"] * 2
    rows = [{"text": w, "label": v} for w, v in zip(WORDS, values, strict=True)]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert set(tasks.load(path).choices) == {"true", "false", "1", "2", "2.5", "x"}


def test_alpaca_records_keep_their_instructions(tmp_path):
    rows = [{"instruction": "Reverse.", "input": w, "output": w[::-1]} for w in WORDS]
    rows.append({"instruction": "Say hello.", "input": "", "output": "hello"})
    task = tasks.load(written(tmp_path / "a.json", json.dumps(rows)))
    by_input = {e.input: e for e in everything(task)}
    assert task.kind == "generation" and task.instruction == ""
    assert by_input["one"].instruction == "Reverse." and by_input["one"].target == "eno"
    assert by_input["Say hello."].instruction == "" and by_input["Say hello."].target == "hello"


def test_an_instruction_that_all_records_share_is_the_tasks(tmp_path):
    rows = [{"instruction": "Reverse.", "input": w, "output": w[::-1]} for w in WORDS]
    task = tasks.load(written(tmp_path / "a.json", json.dumps(rows)))
    assert task.instruction == "Reverse."
    assert {e.instruction for e in everything(task)} == {""}


@pytest.mark.parametrize(
    "keys", [("messages", "role", "content"), ("conversations", "from", "value")]
)
def test_messages_give_the_last_exchange_and_the_system_text(tmp_path, keys):
    talk, role, content = keys
    user, assistant = ("user", "assistant") if role == "role" else ("human", "gpt")

    def turn(who, text):
        return {role: who, content: text}

    rows = [
        {talk: [turn("system", "Be brief."), turn(user, w), turn(assistant, w.upper())]}
        for w in WORDS
    ]
    rows[0][talk][1:1] = [turn(user, "hi"), turn(assistant, "hello")]
    task = tasks.load(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert pairs(task) == {(w, w.upper()) for w in WORDS}
    assert task.instruction == "Be brief."
    assert any(note.startswith("a.jsonl: 1 conversations have earlier") for note in task.notes)


def test_prompt_and_completion_are_text_or_messages(tmp_path):
    plain = [{"prompt": w, "completion": f" {w}!"} for w in WORDS]
    chat = [
        {
            "prompt": [{"role": "user", "content": w}],
            "completion": [{"role": "assistant", "content": f"{w}!"}],
        }
        for w in WORDS
    ]
    one = tasks.load(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, plain))))
    two = tasks.load(written(tmp_path / "b.jsonl", "\n".join(map(json.dumps, chat))))
    assert pairs(one) == pairs(two) == {(w, f"{w}!") for w in WORDS}


@pytest.mark.parametrize(
    "as_answer", [int, "ABC".__getitem__, ["red", "green", "blue"].__getitem__]
)
def test_options_of_each_item_are_pointed_to_by_number_letter_or_text(tmp_path, as_answer):
    rows = [
        {
            "question": f"which, {w}?",
            "options": ["red", "green", "blue"],
            "answer": as_answer(i % 3),
        }
        for i, w in enumerate(WORDS)
    ]
    rows[0]["options"] = ["red", "green", "blue", "black"]
    task = tasks.load(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    items = {e.input: e for e in everything(task)}
    assert task.kind == "choice" and task.choices == ()
    assert items["which, two?"].target == "green"
    assert items["which, one?"].choices == ("red", "green", "blue", "black")


def test_twenty_answers_make_a_choice_task_and_twenty_one_a_generation_task(tmp_path):
    def load(number):
        rows = [{"text": f"text {i}", "label": f"class {i % number}"} for i in range(63)]
        return tasks.load(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))

    assert load(20).kind == "choice" and len(load(20).choices) == 20
    assert load(21).kind == "generation" and load(21).choices == ()


def test_answers_that_never_repeat_are_free_text_however_few(tmp_path):
    rows = "".join(f"the house is {w}\tdom je {w}\n" for w in WORDS)
    assert tasks.load(written(tmp_path / "a.tsv", rows)).kind == "generation"


def test_two_line_aligned_files_name_their_languages(tmp_path):
    written(tmp_path / "a.en", "".join(f"the {w}\n" for w in WORDS))
    written(tmp_path / "a.cs", "".join(f"ten {w}\n" for w in WORDS))
    one = tasks.load(f"{tmp_path}/a.en,{tmp_path}/a.cs")
    two = tasks.load(f"{tmp_path}/a.en", references=f"{tmp_path}/a.cs")
    assert one == two
    assert one.instruction == "Translate the input from English to Czech."
    assert one.kind == "generation" and one.name == "a"
    assert pairs(one) == {(f"the {w}", f"ten {w}") for w in WORDS}


def test_a_folder_gives_its_splits_and_a_file_in_it_only_itself(tmp_path):
    folder = tmp_path / "reviews"
    folder.mkdir()
    for n, name in enumerate(("train", "dev", "test")):
        rows = "".join(f"text {n} {i},{'ab'[i % 2]}\n" for i in range(6))
        written(folder / f"{name}.csv", "text,label\n" + rows)
    whole = tasks.load(str(folder))
    assert {e.input[:6] for e in whole.train} == {"text 0"}
    assert {e.input[:6] for e in whole.validation} == {"text 1"}
    assert {e.input[:6] for e in whole.test} == {"text 2"}
    alone = tasks.load(str(folder / "train.csv"))
    assert {e.input[:6] for e in everything(alone)} == {"text 0"}
    assert any("dev.csv, test.csv beside it" in note for note in alone.notes)


def test_a_split_column_decides_the_splits(tmp_path):
    rows = [
        {"text": f"text {i}", "label": "ab"[i % 2], "split": ("train", "dev", "test")[i // 4]}
        for i in range(12)
    ]
    task = tasks.load(written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert {e.input for e in task.train} == {f"text {i}" for i in range(4)}
    assert {e.input for e in task.test} == {f"text {i}" for i in range(8, 12)}


def test_a_json_file_may_hold_its_splits(tmp_path):
    rows = {
        name: [{"text": f"{name} {i}", "label": "ab"[i % 2]} for i in range(4)]
        for name in ("train", "validation", "test")
    }
    task = tasks.load(written(tmp_path / "a.json", json.dumps(rows)))
    assert {e.input[:4] for e in task.test} == {"test"}


def test_an_instruction_given_by_the_user_replaces_every_other(tmp_path):
    rows = [{"instruction": w, "input": w, "output": w[::-1]} for w in WORDS]
    path = written(tmp_path / "a.json", json.dumps(rows))
    task = tasks.load(path, instruction="Turn round.")
    assert task.instruction == "Turn round." and {e.instruction for e in task.train} == {""}
    assert tasks.load(path, instruction="").instruction == ""


def test_empty_rows_are_left_out_only_when_asked(tmp_path):
    path = written(tmp_path / "a.csv", labeled(",", "text,label") + ",good\nword,\n")
    with pytest.raises(UserError, match=r"2 of 14 rows .*\(lines 14, 15\)"):
        tasks.load(path)
    task = tasks.load(path, drop_empty=True)
    assert pairs(task) == LABELED
    assert any("2 rows without input or answer left out" in note for note in task.notes)


def test_a_description_shows_sizes_options_and_an_example_as_read(tmp_path):
    shown = tasks.describe(tasks.load(written(tmp_path / "a.csv", labeled(",", "text,label"))))
    assert "train 7, validation 2, test 3" in shown
    assert "'bad', 'good'" in shown
    assert "  Input: word " in shown and "Classify the input as one of: bad, good." in shown


def test_a_bundled_task_is_found_by_name_and_limited():
    task = tasks.load("sentiment", limit_train=16, limit_test=10, seed=3)
    assert (len(task.train), len(task.test)) == (16, 10)
    assert [row["name"] for row in tasks.summaries()] == list(tasks.names())
