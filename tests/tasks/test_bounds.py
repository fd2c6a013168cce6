"""Files that stand for more than they are: YAML aliases, packed bombs, Parquet, loaders of code."""

import bz2
import gzip
import json
import lzma
import pickle

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from adaptlens import tasks
from adaptlens.config import yaml_bounds
from adaptlens.config.yaml12 import read_yaml
from adaptlens.errors import UserError
from adaptlens.tasks import hub_datasets, lm_eval_yaml
from adaptlens.tasks.parquet import check_parquet, parquet_table
from adaptlens.tasks.sources import read_tables

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
BOMBS = {
    "aliases": (ALIASES, "more than"),
    "aliases in keys": (ALIASES + "b: {? *a11 : 1}\n", "more than"),
    "an alias in itself": ("a: &a [1, *a]\n", "part of"),
    "a mapping in itself": ("a: &a {b: *a}\n", "part of"),
    "a chain in itself": ("a: &a\n  b: &b\n    c: *a\n", "part of"),
    "deep lists": ("a: " + "[" * 5000 + "]" * 5000, "levels"),
    "deep mappings": ("{a: " * 5000 + "1" + "}" * 5000, "levels"),
    "deep blocks": ("".join(" " * i + "a:\n" for i in range(200)), "levels"),
    "deep dashes": ("- " * 5000 + "1", "levels"),
    "deep questions": ("? " * 5000 + "1", "levels"),
    "merged aliases": (
        "a0: &a0 {x: 1, y: 2}\n"
        + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9)),
        "more than",
    ),
    "an unknown alias": ("a: *b\n", "nothing"),
    "an unfinished list": ("a: [1, 2\n", "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "not valid YAML"),
    "a tag": ("a: !!python/object/apply:os.system ['id']\n", "not valid YAML"),
    "no date": ("a: !!timestamp nothing\n", "not valid YAML"),
    "an impossible date": ("a: !!timestamp 2024-13-45\n", "not valid YAML"),
    "no number": ("a: !!int word\n", "not valid YAML"),
    "a long number": ("a: " + "9" * 5000 + "\n", "not valid YAML"),
    "a control character": ("a: \x07\n", "not valid YAML"),
    "an unhashable key": ("? [a, b]\n: 1\n", "not "),
}


@pytest.mark.parametrize("text, said", BOMBS.values(), ids=BOMBS)
def test_yaml_that_grows_or_breaks_is_refused_in_one_line(text, said):
    readers = [
        lambda: yaml_bounds.load(text, lm_eval_yaml._TaskLoader, "x.yaml"),
        lambda: read_yaml(text, "x.yaml"),
    ]
    for read in readers:
        with pytest.raises(UserError, match=said) as raised:
            read()
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_aliases_in_good_measure_are_read():
    value = yaml_bounds.load("a: &a [1, 2]\nb: *a\nc: *a\n", yaml.SafeLoader, "x.yaml")
    assert value == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}


ROWS = [{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(10)]
LINES = "\n".join(map(json.dumps, ROWS)).encode()


@pytest.mark.parametrize(
    "ending, pack", [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_compressed_files_are_read_and_bounded_unpacked(tmp_path, ending, pack):
    path = tmp_path / f"train.jsonl.{ending}"
    path.write_bytes(pack(LINES))
    task = tasks.load(str(path))
    assert task.name == "train" and {e.target for e in task.train} == {"a", "b"}
    path.write_bytes(pack(LINES + b" " * 1_000_000))
    with pytest.raises(UserError, match="more than 100,000 bytes unpacked"):
        read_tables(path, max_file_bytes=100_000)
    path.write_bytes(pack(LINES)[:-12])
    with pytest.raises(UserError, match="cannot be unpacked"):
        read_tables(path)


def test_zstd_is_read(tmp_path):
    path = tmp_path / "a.csv.zst"
    with pyarrow.output_stream(str(path), compression="zstd") as stream:
        stream.write(b"text,label\n" + b"".join(b"text %d,a\n" % i for i in range(9)))
    assert len(read_tables(path)[""].rows) == 9


def test_a_parquet_file_that_decodes_to_much_is_refused_before_it_is_held(tmp_path):
    path = tmp_path / "bomb.parquet"
    column = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 20_000, pyarrow.int32()), pyarrow.array(["x" * 100_000])
    )
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), path)
    assert path.stat().st_size < 200_000  # it stands for 2 GB
    for read in (parquet_table, check_parquet):
        with pytest.raises(UserError, match=r"bomb.parquet has .*expected at most 500,000 rows"):
            read(path, 50_000_000)


def test_rows_of_a_parquet_file_are_bounded_by_what_it_states(tmp_path):
    path = tmp_path / "long.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": pyarrow.nulls(100_000)}), path)
    with pytest.raises(UserError, match="100,000 rows"):
        parquet_table(path, 1_000_000)
    assert len(parquet_table(path, 100_000_000).rows) == 100_000


def test_parquet_keeps_its_types_and_says_what_is_damaged(tmp_path):
    path = tmp_path / "a.parquet"
    row = {"text": "é", "number": 2.5, "list": [1, None], "record": {"a": True}, "none": None}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row, row]), path)
    assert parquet_table(path).rows == [row, row]
    path.write_bytes(path.read_bytes()[:-20] + b"PAR1")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        parquet_table(path)


def yaml_task(folder, **keys):
    (folder / "rows.jsonl").write_bytes(LINES)
    config = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": "rows.jsonl"},
        "training_split": "train",
        "output_type": "multiple_choice",
        "doc_to_text": "text",
        "doc_to_target": "label",
        "doc_to_choice": ["a", "b"],
        **keys,
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


class Run:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_data_that_would_be_unpickled_are_refused(tmp_path):
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps(Run(str(tmp_path / "ran"))))
    path = yaml_task(tmp_path, dataset_path="pandas", dataset_kwargs={"data_files": "rows.pkl"})
    with pytest.raises(UserError, match="loader 'pandas'; expected csv, json, parquet"):
        tasks.load(path)
    assert not (tmp_path / "ran").exists()


def test_every_loader_that_datasets_brings_is_listed_or_refused():
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as packaged

    for name, (module, _) in packaged.items():
        builder = type("Builder", (), {"__module__": module})()
        if name in hub_datasets.LOADERS:
            hub_datasets._check_loader(name, builder)
        else:
            with pytest.raises(UserError, match=f"loader '{name}'"):
                hub_datasets._check_loader(name, builder)


WRONG = {
    "a metric that is a text": ({"metric_list": ["acc"]}, "metric_list: [{metric: acc}]"),
    "an aggregation": ({"metric_list": [{"metric": "acc", "aggregation": "median"}]}, "median"),
    "lower is better": (
        {"metric_list": [{"metric": "acc", "higher_is_better": False}]},
        "expected true",
    ),
    "a key of a metric": ({"metric_list": [{"metric": "acc", "normalize": True}]}, "'normalize'"),
    "a filter that is a text": ({"filter_list": "none"}, "filter_list: "),
    "a key of a filter": ({"filter_list": [{"filter": [], "regex": 1}]}, "'regex'"),
    "an argument of a loader": ({"dataset_kwargs": {"storage_options": {}}}, "'storage_options'"),
    "data files in data files": ({"dataset_kwargs": {"data_files": {"a": {"b": "c"}}}}, "texts"),
    "a split that is a list": ({"training_split": ["train"]}, "'training_split' is ['train']"),
    "a delimiter that is a list": ({"target_delimiter": [" "]}, "'target_delimiter'"),
    "options that YAML read as booleans": ({"doc_to_choice": [False, True]}, "['no', 'yes']"),
    "a text that YAML read as a boolean": ({"doc_to_target": True}, "put them in quotes"),
    "options that are numbers": ({"doc_to_choice": [0, 1]}, "put each in quotes"),
    "an include that is a list of lists": ({"include": [["a"]]}, "the name of a file"),
    "samples that are texts": ({"fewshot_config": {"samples": ["a"]}}, "records of the columns"),
}


@pytest.mark.parametrize("keys, said", WRONG.values(), ids=WRONG)
def test_yaml_tasks_accept_by_name_and_type_and_refuse_the_rest(tmp_path, keys, said):
    from pathlib import Path

    with pytest.raises(UserError) as raised:
        lm_eval_yaml.read_config(Path(yaml_task(tmp_path, **keys)))
    assert said in str(raised.value) and "mine.yaml" in str(raised.value)


def test_data_files_of_a_yaml_task_are_bounded(tmp_path):
    path = yaml_task(tmp_path, dataset_kwargs={"data_files": "rows.jsonl.gz"})
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(LINES + b" " * 1_000_000))
    with pytest.raises(UserError, match="more than 100,000 bytes unpacked"):
        tasks.load(path, max_file_bytes=100_000)


def test_a_number_of_5000_digits_is_refused_by_its_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES + b'\n{"text": "x", "label": ' + b"1" * 5000 + b"}")
    with pytest.raises(UserError, match="line 11 holds a number that cannot be read"):
        tasks.load(str(path))
