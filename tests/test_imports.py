"""The shape of the package: what may be imported where, how large files are, what they are called.

The layers themselves are the import contracts in pyproject.toml, which `make check` verifies.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import adaptlens

PACKAGE = Path(adaptlens.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TORCH_PARTS = {"lm", "adapt", "measure", "zoo", "run", "engines"}
"""The only parts whose import may bring torch."""

HEAVY = ("torch", "transformers", "peft", "datasets", "pandas", "altair", "scipy", "pyarrow")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


LIGHT = [module_name(f) for f in FILES if part(f) not in TORCH_PARTS and f.name != "__main__.py"]


def imported_by(code: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after the code."""
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_all_that_needs_no_model_is_imported_without_torch():
    brought = imported_by("\n".join(f"import {name}" for name in LIGHT))
    assert "adaptlens" in brought
    assert not brought & {"torch", "transformers", "peft"}


@pytest.mark.parametrize("name", ["adaptlens", "adaptlens.cli.main"])
def test_the_command_line_starts_with_nothing_heavy(name):
    brought = imported_by(f"import {name}")
    assert "adaptlens" in brought
    assert not brought & {*HEAVY, "pydantic", "numpy", "safetensors"}


def test_the_names_of_the_shipped_models_are_had_without_torch():
    brought = imported_by("from adaptlens.models import shipped; shipped.names()")
    assert "adaptlens" in brought
    assert not brought & set(HEAVY)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_source_file_fits_in_the_head(path):
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_is_called_after_what_it_holds(path):
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "manager"}
    assert not vague & set(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_nothing_runs_code_that_comes_as_data(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    assert not found & {"eval", "exec", "pickle", "dill", "torch.load", "yaml.load", "os.system"}
