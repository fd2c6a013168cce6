"""Datasets in the hub's layouts, from local folders."""

import datasets
import pytest

from adaptlens import tasks
from adaptlens.errors import UserError

FEATURES = datasets.Features(
    {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def reviews(name, number, label=None):
    rows = {
        "sentence": [f"{name} {i}" for i in range(number)],
        "label": [i % 2 if label is None else label for i in range(number)],
    }
    return datasets.Dataset.from_dict(rows, features=FEATURES)


def test_a_saved_dataset_gives_its_splits_and_label_names(tmp_path):
    datasets.DatasetDict(
        train=reviews("train", 20), validation=reviews("dev", 6), test=reviews("test", 8)
    ).save_to_disk(tmp_path / "d")
    task = tasks.load(f"hf:{tmp_path}/d")
    assert task.choices == ("neg", "pos")
    assert (len(task.train), len(task.validation), len(task.test)) == (20, 6, 8)
    assert {e.target for e in task.test if e.input == "test 1"} == {"pos"}


def test_a_split_with_hidden_labels_is_left_out_and_said_to_be(tmp_path):
    datasets.DatasetDict(
        train=reviews("train", 20), validation=reviews("dev", 6), test=reviews("test", 8, label=-1)
    ).save_to_disk(tmp_path / "d")
    task = tasks.load(f"hf:{tmp_path}/d")
    assert {e.input for e in task.test} == {f"dev {i}" for i in range(6)}
    assert any("'test'" in note and "'label' is hidden" in note for note in task.notes)


def test_a_folder_of_parquet_shards_is_a_dataset_with_configurations(tmp_path):
    folder = tmp_path / "d"
    (folder / "small").mkdir(parents=True)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: small\n  data_files:\n"
        "  - split: train\n    path: small/train-*.parquet\n"
        "  - split: test\n    path: small/test-*.parquet\n---\n"
    )
    reviews("a", 6).to_parquet(folder / "small/train-00000-of-00002.parquet")
    reviews("b", 6).to_parquet(folder / "small/train-00001-of-00002.parquet")
    reviews("c", 6).to_parquet(folder / "small/test-00000-of-00001.parquet")
    task = tasks.load(f"hf:{folder}:small")
    assert {e.input[0] for e in (*task.train, *task.validation)} == {"a", "b"}
    assert {e.input for e in task.test} == {f"c {i}" for i in range(6)}
    assert task.choices == ("neg", "pos")
    with pytest.raises(UserError, match=r"dataset '.*:large' cannot be loaded.*small"):
        tasks.load(f"hf:{folder}:large")


def test_a_dataset_nobody_has_is_an_error_of_one_line(tmp_path):
    with pytest.raises(UserError, match="'nobody/nothing' cannot be loaded") as raised:
        tasks.load("hf:nobody/nothing")
    assert "\n" not in str(raised.value)
