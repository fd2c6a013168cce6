"""What is given away: the README of a package index, and what the source distribution holds."""

import re
import runpy
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOR_INDEX = runpy.run_path(str(ROOT / "setup.py"))["for_index"]
AT = "https://example.org/a"


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("[a](docs/a.md#b)", f"[a]({AT}/blob/main/docs/a.md#b)"),
        ("![a b](docs/a.svg)", f"![a b]({AT}/raw/main/docs/a.svg)"),
        ("[a](https://b.c) [d](#e) (f)", "[a](https://b.c) [d](#e) (f)"),
        ("x [a](b) y ![c](d)", f"x [a]({AT}/blob/main/b) y ![c]({AT}/raw/main/d)"),
    ],
)
def test_links_to_files_lead_to_the_repository(here: str, there: str):
    assert FOR_INDEX(here, AT) == there


def test_no_link_of_the_readme_is_left_that_an_index_cannot_follow():
    found = FOR_INDEX((ROOT / "README.md").read_text("utf-8"), AT)
    links = re.findall(r"\]\(([^)]+)\)", found)
    assert len(links) > 30
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_every_file_of_the_repository_is_in_the_source_distribution():
    ran = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip("no repository here, but what it was distributed as")
    named, whole = [], ["src/adaptlens/*/*"]  # the rest of the package is its code and data
    for line in (ROOT / "MANIFEST.in").read_text("utf-8").splitlines():
        words = line.split()
        named += words[1:] if words[:1] == ["include"] else []
        whole += [f"{words[1]}/*"] if words[:1] == ["graft"] else []
    given = [*named, "README.md", "LICENSE", "MANIFEST.in", "pyproject.toml", "setup.py"]
    given += ["src/adaptlens/*.py", "src/adaptlens/py.typed"]
    left_out = [f for f in ran.stdout.split() if not any(fnmatch(f, g) for g in (*given, *whole))]
    assert left_out == []
