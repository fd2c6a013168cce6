"""What is imported is declared, and what is declared is what the suite can be run with."""

import ast
import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from adaptlens.lm.kept import keeping, kept_in
from adaptlens.report.tables import Entry, row_by_row

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OF_EXTRA = {
    "ray": "ray",
    "gguf": "gguf",
    "sentence-transformers": "embeddings",
    "peft": "peft",
    "tqdm": "lm-eval",
    "wandb": "wandb",
    "mlflow-skinny": "mlflow",
    "trackio": "trackio",
    "genai-prices": "prices",
}
"""Packages that the package itself imports only with an extra, and the extra."""

CALLED = {"mlflow": "mlflow-skinny"}
"""Modules to the packages that have them, where these are not installed."""

NOT_DECLARED = {"nnsight", "transformer-lens"}
"""Peers of a benchmark that says how to obtain them; too large for an extra."""


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return canonical(found[0])


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> dict[str, str]:
    listed = [*PROJECT["dependencies"]]
    for extra in extras:
        listed += PROJECT["optional-dependencies"][extra]
    return {name_of(one): one for one in listed}


def imported(folder: str) -> set[str]:
    """Packages that the code of a folder imports, by the names they are installed by."""
    own = {path.stem for path in (ROOT / folder).rglob("*.py")} | {"adaptlens", "tests"}
    own |= {path.stem for other in ("benchmarks", "docs", "tests")
            for path in (ROOT / other).rglob("*.py")}  # fmt: skip
    tops = set()
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                tops |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                tops.add(node.module.partition(".")[0])
    installed = importlib.metadata.packages_distributions()
    return {
        canonical(installed.get(top, [CALLED.get(top, top)])[0])
        for top in tops - own - set(sys.stdlib_module_names)
    }


def test_the_package_imports_nothing_that_it_does_not_declare():
    every = declared(*OF_EXTRA.values())
    assert imported("src") <= set(every)
    assert imported("src") - set(declared()) <= set(OF_EXTRA)


@pytest.mark.parametrize(("folder", "extras"), [("tests", ["test"]), ("docs", ["docs", "test"]),
                                                ("benchmarks", ["bench", "test"])])  # fmt: skip
def test_tests_and_benchmarks_import_nothing_that_is_not_declared(folder, extras):
    assert imported(folder) - NOT_DECLARED <= set(declared(*extras))


def test_every_declared_package_says_the_lowest_version_that_works():
    for name, requirement in declared(*PROJECT["optional-dependencies"]).items():
        if name in declared() or name in declared("test"):
            assert ">=" in requirement, requirement


def test_transformers_stops_where_the_name_of_the_cache_does():
    assert declared()["transformers"].endswith(",<5.40")


def test_the_lowest_versions_are_those_declared():
    spec = importlib.util.spec_from_file_location("lowest", ROOT / ".ci" / "lowest.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    project = {
        "dependencies": ["a>=1.9,<2", "torch>=2.6", "b_c >= 3", "d"],
        "optional-dependencies": {"test": ["a[x]>=1.10", "e>=0.4"], "other": ["f>=7"]},
    }
    assert module.lowest(project, ["test"]) == {"a": "1.10", "b_c": "3", "e": "0.4"}
    found = module.lowest(PROJECT, ["test"])
    assert found["pandas"] == "2.2.2" and "torch" not in found


def test_the_cache_is_given_by_the_name_that_a_model_has_for_it():
    class New:
        def forward(self, cache=None): ...

    class Old:
        def forward(self, past_key_values=None): ...

    assert keeping(New(), 1) == {"cache": 1} and keeping(Old(), 1) == {"past_key_values": 1}
    assert kept_in(SimpleNamespace(cache=2)) == 2
    assert kept_in(SimpleNamespace(past_key_values=3)) == 3


def test_a_table_whose_every_column_is_shown_elsewhere_keeps_its_rows():
    # Before pandas 3.1, rows without columns are none as records.
    rows = pd.DataFrame({"task": ["a", "b"], "model": ["m", "m"], "value": [1.0, 2.0]})
    entries = lambda row: [Entry(f"{row['value']}")]  # noqa: E731
    found = row_by_row({"t": rows}, "t", "", [("value", True)], entries, "value")
    assert found
    assert [[one.text for one in row] for row in found.rows] == [["a", "1.0"], ["b", "2.0"]]
