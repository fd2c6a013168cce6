"""The shape of the package: what the README shows of it, and the dials it is held to."""

import re
from collections import Counter
from pathlib import Path

import pytest

import tree

IN_EVERY_STUDY = {"config", "columns", "plan", "analyze", "tables", "figures", "page"}
"""Files that every study has, see src/adaptlens/studies/README.md."""


def test_the_readme_shows_the_rooms_as_they_say_themselves():
    assert f"```\n{tree.tree()}\n```" in (tree.ROOT / "README.md").read_text("utf-8")


def test_every_room_says_what_it_is_for_in_a_line_that_fits():
    shown = [line for line in tree.tree().splitlines() if len(line) > tree.WIDTH + 2]
    assert len(shown) > 30
    assert max(map(len, shown)) <= 100
    assert [line for line in tree.lines() if not line[tree.WIDTH + 2 :].strip()] == []


def test_a_stranger_finds_few_doors_and_no_long_files():
    folders = [path for path in tree.PACKAGE.iterdir() if (path / "__init__.py").exists()]
    files = [path for path in tree.PACKAGE.glob("*.py") if not path.stem.startswith("__")]
    assert len(folders) <= 18
    assert len(files) <= 8
    long = {
        path.name: len(path.read_text("utf-8").splitlines()) for path in tree.PACKAGE.rglob("*.py")
    }
    assert {name: count for name, count in long.items() if count > 500} == {}


def test_every_study_has_the_same_files():
    rooms = [path.parent for path in tree.PACKAGE.glob("studies/*/__init__.py")]
    assert {room.name for room in rooms} == {"compare", "convergence", "implicit", "limits"}
    for room in rooms:
        assert {path.stem for path in room.glob("*.py")} >= IN_EVERY_STUDY
        assert (room / "page.html").exists()


def test_no_two_modules_have_the_same_name():
    names = Counter(
        path.parent.name if path.stem == "__init__" else path.stem
        for path in tree.PACKAGE.rglob("*.py")
        if not (path.parent.parent.name == "studies" and path.stem in IN_EVERY_STUDY)
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize(
    "text", [*(tree.ROOT / "docs").rglob("*.md"), *tree.ROOT.glob("*.md")], ids=lambda t: t.name
)
def test_every_file_of_the_package_that_a_text_names_is_there(text: Path):
    folders = "|".join(f.name for f in tree.PACKAGE.iterdir() if f.is_dir())
    named = set(re.findall(rf"`((?:{folders})/[a-z_/]*(?:\.py)?)`", text.read_text("utf-8")))
    assert len(named) > 30 or text.name != "architecture.md"
    assert {path for path in named if not (tree.PACKAGE / path).exists()} == set()
