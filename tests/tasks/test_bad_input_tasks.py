"""Data that cannot be used give one line: what was given, what was expected, what to do."""

import json
from pathlib import Path

import datasets
import pytest
import yaml

from adaptlens import tasks
from adaptlens.errors import UserError

GOOD = "text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(10))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path.parent / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def file(name: str, content: str | bytes):
    """Return a maker that writes one file and names it."""

    def make(folder: Path) -> str:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return make


def lines(name: str, *records):
    return file(name, "\n".join(map(json.dumps, records)))


def files(**contents: str):
    """Return a maker that fills a folder ("train_csv" is train.csv) and names the folder."""

    def make(folder: Path) -> str:
        (folder / "data").mkdir()
        for name, content in contents.items():
            (folder / "data" / name.replace("_", ".")).write_text(content)
        return str(folder / "data")

    return make


def aligned(source: str, references: str):
    def make(folder: Path) -> str:
        (folder / "x.en").write_text(source)
        (folder / "x.cs").write_text(references)
        return f"{folder}/x.en,{folder}/x.cs"

    return make


def near(name: str):
    """Return a maker that writes reviews.csv and names another file beside it."""

    def make(folder: Path) -> str:
        (folder / "reviews.csv").write_text(GOOD)
        return str(folder / name)

    return make


def huge(folder: Path) -> str:
    with (folder / "huge.csv").open("wb") as stream:
        stream.write(b"text,label\n")
        stream.truncate(500_000_001)
    return str(folder / "huge.csv")


def named(name: str):
    return lambda folder: name


def task_yaml(text: str = "", **keys):
    """Return a maker of a working task YAML with some keys changed and some text added."""

    def make(folder: Path) -> str:
        rows = [{"sentence": f"text {i}", "label": i % 2, "both": ["a", "b"]} for i in range(10)]
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        config = {
            "task": "mine",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": "rows.jsonl"},
            "training_split": "train",
            "output_type": "multiple_choice",
            "doc_to_text": "{{sentence}}",
            "doc_to_target": "label",
            "doc_to_choice": ["no", "yes"],
            **keys,
        }
        (folder / "mine.yaml").write_text(yaml.safe_dump(config) + text)
        return str(folder / "mine.yaml")

    return make


def conversation(*turns):
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


NESTED = '{"text": ' + "[" * 100_000 + "]" * 100_000 + ', "label": "a"}'
GENERATE = {"output_type": "generate_until", "doc_to_choice": None}

TABLE = [
    # id, how the input is made, settings, what the message must say
    ("missing-file", near("revews.csv"), {}, ["there is no file", "did you mean", "reviews.csv"]),
    (
        "missing-folder",
        named("/no/such/folder/a.csv"),
        {},
        ["nor does its folder", "check the path"],
    ),
    ("unknown-task", named("sentimnt"), {}, ["unknown task 'sentimnt'", "'sentiment'"]),
    (
        "unknown-task-setting",
        named("sentiment"),
        {"traget": "x"},
        ["unknown task setting", "'target'"],
    ),
    (
        "bundled-columns",
        named("topic"),
        {"input": "text"},
        ["the task 'topic'", "leave it out"],
    ),
    ("limit-zero", file("a.csv", GOOD), {"limit_test": 0}, ["limit_test is 0", "at least 1"]),
    ("unknown-kind", file("a.csv", GOOD), {"kind": "choise"}, ["unknown kind of task", "'choice'"]),
    ("empty", file("a.csv", ""), {}, ["a.csv is empty (0 bytes)", "expected examples"]),
    ("blank", file("a.tsv", " \n\n"), {}, ["a.tsv is blank", "one example a line"]),
    ("header-only", file("a.csv", "text,label\n"), {}, ["a.csv", "no rows", "expected"]),
    (
        "binary",
        file("a.csv", b"text,label\nab\0c,1\n"),
        {},
        ["binary", "offset 13", "CSV or JSONL"],
    ),
    ("excel", file("a.csv", b"PK\x03\x04rest"), {}, ["Excel", "save the sheet as CSV"]),
    ("gzip", file("a.jsonl", b"\x1f\x8b\x08rest"), {}, ["gzip", "unpack it, or add .gz"]),
    (
        "latin-1",
        file("a.csv", "text,label\ncafé,1\n".encode("latin-1")),
        {},
        ["not UTF-8", "0xe9 at offset 14", "line 2", "iconv"],
    ),
    ("utf-16", file("a.csv", GOOD.encode("utf-16")), {}, ["UTF-16", "iconv -f UTF-16"]),
    ("huge", huge, {}, ["500,000,001 bytes", "500,000,000", "sample"]),
    ("ending", file("a.xml", "<a/>"), {}, ["ends in '.xml'", ".parquet", "convert"]),
    (
        "ragged",
        file("a.csv", GOOD + "a,b,c\nd\n"),
        {},
        ["2 of 13 lines", "2 columns", "lines 12, 13"],
    ),
    ("open-quote", file("a.csv", GOOD + '"never closed,a\n'), {}, ["line 12", "quote", "correct"]),
    (
        "header-twice",
        file("a.csv", "text,text,label\na,b,c\n"),
        {"header": True},
        ["names column 'text' twice", "rename"],
    ),
    (
        "unknown-column",
        file("a.csv", GOOD),
        {"input": "txt"},
        ["no column 'txt'", "did you mean 'text'?", "text, label", "--input"],
    ),
    ("column-number", file("a.csv", GOOD), {"target": "2"}, ["no column '2'", "counted from 0"]),
    (
        "same-column",
        file("a.csv", GOOD),
        {"input": "text", "target": "text"},
        ["text, label", "--target"],
    ),
    (
        "no-usual-column",
        file("a.csv", "x,y,z\n" + "a b,1,2\nc d,3,4\n" * 9),
        {},
        ["no column is recognizable", "--input and --target"],
    ),
    (
        "one-class",
        file("a.csv", GOOD.replace(",b", ",a")),
        {},
        ["every row has the answer 'a'", "--target"],
    ),
    (
        "not-a-choice",
        file("a.csv", GOOD),
        {"choices": "a,c"},
        ["5 of 10 rows", "'b'", "'a', 'c'", "line 3", "add the answer to --choices"],
    ),
    (
        "nearest-choice",
        file("a.csv", GOOD.replace(",b", ",goood").replace(",a", ",bad")),
        {"choices": "good,bad"},
        ["'goood'", "did you mean 'good'?"],
    ),
    ("one-choice", file("a.csv", GOOD), {"choices": "a"}, ["--choices a", "at least two"]),
    ("mixed-choices", file("a.csv", GOOD), {"choices": "a=x,b"}, ["--choices a=x,b", "0=a,1=b"]),
    (
        "choices-generation",
        file("a.csv", GOOD),
        {"choices": "a,b", "kind": "generation"},
        ["--choices", "generation", "leave one out"],
    ),
    (
        "nan",
        file("a.csv", GOOD + "nan,a\ntext,\n"),
        {},
        ["2 of 12 rows", "empty (or NaN)", "lines 12, 13", "drop_empty: true"],
    ),
    (
        "null",
        lines("a.jsonl", *[{"text": "t", "label": None}] * 2),
        {},
        ["2 of 2 rows", "lines 1, 2"],
    ),
    (
        "all-dropped",
        lines("a.jsonl", *[{"text": "t", "label": None}] * 2),
        {"drop_empty": True},
        ["a.jsonl", "no rows"],
    ),
    (
        "bad-json",
        file("a.jsonl", '{"text": "a"}\n{"text": b}\n'),
        {},
        ["a.jsonl, line 2", "not valid JSON", "column 10"],
    ),
    ("json-object", file("a.json", '{"text": "a", "label": "b"}'), {}, ["one JSON dict", ".jsonl"]),
    (
        "json-scalars",
        file("a.json", '[{"text": "a", "label": "b"}, 3]'),
        {},
        ["1 entries that are not records", "record 2"],
    ),
    ("json-no-records", file("a.json", "[]"), {}, ["no records", "correct the file"]),
    (
        "json-splits",
        file("a.json", json.dumps({"train": [{"text": "a"}], "foo": [{"text": "b"}]})),
        {},
        ["split 'foo'", "train, validation"],
    ),
    ("nested", file("a.jsonl", NESTED), {}, ["nested too deeply", "flat"]),
    (
        "list-in-column",
        lines("a.jsonl", {"text": ["a"], "label": "b"}),
        {},
        ["line 1", "column 'text' holds a list", "--input"],
    ),
    (
        "surrogate",
        file("a.jsonl", '{"text": "\\ud800", "label": "b"}'),
        {},
        ["line 1", "surrogate"],
    ),
    (
        "not-an-option",
        lines("a.jsonl", {"question": "q", "choices": ["x", "y"], "answer": "z"}),
        {},
        ["line 1", "'z'", "'x', 'y'", "letter"],
    ),
    (
        "options-and-choices",
        lines("a.jsonl", {"question": "q", "choices": ["x", "y"], "answer": 0}),
        {"choices": "x,y"},
        ["own options", "--choices", "leave it out"],
    ),
    (
        "strange-role",
        lines("a.jsonl", conversation(("user", "a"), ("tool", "b"))),
        {},
        ["line 1", "tool", "expected a user message"],
    ),
    (
        "no-answer",
        lines("a.jsonl", conversation(("assistant", "a"), ("user", "b"))),
        {},
        ["line 1", "no user message precedes"],
    ),
    (
        "no-messages",
        lines("a.jsonl", {"messages": "hello"}),
        {},
        ["line 1", "not a list", '"role"'],
    ),
    (
        "broken-parquet",
        file("a.parquet", b"PAR1 and nothing else"),
        {},
        ["cannot be read as Parquet"],
    ),
    (
        "too-few",
        file("a.csv", "text,label\nx,a\ny,b\n"),
        {},
        ["too few items", "1 train", "at least 5"],
    ),
    (
        "split-column",
        lines("a.jsonl", {"text": "a", "label": "b", "split": "one"}),
        {},
        ["column 'split'", "'one'", "train, validation"],
    ),
    ("no-split-files", files(a_csv=GOOD), {}, ["folder data", "no file named train", "rename"]),
    (
        "split-twice",
        files(train_csv=GOOD, train_tsv=GOOD),
        {},
        ["train.csv, train.tsv", "one file a split"],
    ),
    (
        "other-columns",
        files(train_csv=GOOD, test_csv=GOOD.replace("text,", "body,")),
        {},
        ["test.csv has no column 'text'", "train.csv", "rename"],
    ),
    (
        "test-is-train",
        files(train_csv=GOOD, test_csv=GOOD),
        {},
        ["nothing is left of the train split", "10 train items", "other data"],
    ),
    ("misaligned", aligned("a\nb\nc\n", "x\ny\n"), {}, ["x.en has 3 lines", "x.cs has 2", "align"]),
    (
        "aligned-empty",
        aligned("a\n\nc\nd\n", "x\ny\nz\n\nw\n"[:-2]),
        {},
        ["2 of 4 lines are empty", "lines 2, 4", "drop_empty: true"],
    ),
    (
        "aligned-choices",
        aligned("a\n", "x\n"),
        {"choices": "a,b"},
        ["line-aligned", "leave the choices out"],
    ),
    ("aligned-columns", aligned("a\n", "x\n"), {"input": "0"}, ["--input 0", "no columns"]),
    (
        "aligned-missing",
        named("/no/a.en,/no/a.cs"),
        {},
        ["/no/a.en", "cannot be read", "check the path"],
    ),
    (
        "hub-missing",
        named("hf:nobody/nothing"),
        {},
        ["'nobody/nothing' cannot be loaded", "check the name"],
    ),
    (
        "yaml-code",
        task_yaml("process_docs: !function utils.go\n"),
        {},
        ["process_docs", "'!function utils.go'", "never run"],
    ),
    (
        "yaml-unknown-key",
        task_yaml(doc_to_txt="x"),
        {},
        ["mine.yaml", "'doc_to_txt'", "'doc_to_text'"],
    ),
    (
        "yaml-metric",
        task_yaml(metric_list=[{"metric": "mcc"}]),
        {},
        ["metric 'mcc'", "acc_norm", "remove"],
    ),
    (
        "yaml-filter",
        task_yaml(filter_list=[{"filter": [{"function": "regex"}]}]),
        {},
        ["filter 'regex'", "take_first", "remove"],
    ),
    (
        "yaml-regexes",
        task_yaml(metric_list=[{"metric": "exact_match", "regexes_to_ignore": [","]}], **GENERATE),
        {},
        ["regexes_to_ignore", "remove"],
    ),
    (
        "yaml-sampling",
        task_yaml(generation_kwargs={"do_sample": True}, **GENERATE),
        {},
        ["do_sample: True", "greedy"],
    ),
    (
        "yaml-output-type",
        task_yaml(output_type="loglikelihood"),
        {},
        ["'loglikelihood'", "multiple_choice or generate_until"],
    ),
    ("yaml-group", task_yaml(task=["a", "b"]), {}, ["group of tasks", "one task"]),
    ("yaml-include-itself", task_yaml(include="mine.yaml"), {}, ["includes itself", "remove one"]),
    ("yaml-include-missing", task_yaml(include="gone.yaml"), {}, ["gone.yaml", "cannot be read"]),
    (
        "yaml-malformed",
        task_yaml("a: [1, 2\n"),
        {},
        ["mine.yaml:13", "not valid YAML", "plain YAML"],
    ),
    (
        "yaml-tag",
        task_yaml("a: !!python/object/apply:os.system ['id']\n"),
        {},
        ["mine.yaml", "python/object", "plain YAML"],
    ),
    ("yaml-list", file("a.yaml", "- 1\n"), {}, ["a.yaml holds a list", "doc_to_text"]),
    ("yaml-no-data", task_yaml(dataset_path=None), {}, ["no dataset_path", "add the key"]),
    ("yaml-no-choices", task_yaml(doc_to_choice=None), {}, ["without 'doc_to_choice'", "add it"]),
    ("yaml-split", task_yaml(test_split="tests"), {}, ["split 'tests'", "which has train"]),
    ("yaml-no-split", task_yaml(training_split=None), {}, ["names no split", "train"]),
    (
        "yaml-column",
        task_yaml(doc_to_text="{{sentense}}"),
        {},
        ["row 1, doc_to_text", "'sentense' is undefined", "sentence, label"],
    ),
    (
        "yaml-jinja",
        task_yaml(doc_to_text="{{sentence"),
        {},
        ["row 1, doc_to_text", "cannot be filled in"],
    ),
    (
        "yaml-escape",
        task_yaml(doc_to_text="{{sentence.__class__.__mro__}}"),
        {},
        ["row 1, doc_to_text", "unsafe", "__class__"],
    ),
    (
        "yaml-answers",
        task_yaml(doc_to_target="both", **GENERATE),
        {},
        ["row 1", "2 accepted answers"],
    ),
    (
        "yaml-answer-number",
        task_yaml(doc_to_target="{{label + 7}}"),
        {},
        ["option 7 of 2", "0 to 1"],
    ),
    (
        "yaml-choices",
        task_yaml(),
        {"choices": "no,yes"},
        ["choices='no,yes'", "mine.yaml", "leave it out"],
    ),
]


@pytest.mark.parametrize(
    "make, settings, fragments", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_bad_data_are_refused_in_one_line(tmp_path, make, settings, fragments):
    name = make(tmp_path)
    with pytest.raises(UserError) as raised:
        tasks.load(name, **settings)
    message = str(raised.value)
    for fragment in fragments:
        assert fragment in message, message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "</pre>&amp;", "{{7*7}}", "%s\\n"])
def test_markup_and_templates_in_texts_stay_text(tmp_path, text):
    rows = [{"text": f"{text} {i}", "label": "ab"[i % 2]} for i in range(10)]
    task = tasks.load(lines("a.jsonl", *rows)(tmp_path))
    assert f"{text} 0" in {e.input for e in (*task.train, *task.validation, *task.test)}
