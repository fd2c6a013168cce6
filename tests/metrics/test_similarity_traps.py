"""The page on traps says what its own examples print."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "similarity-traps.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)


def stated(block: str) -> list[str]:
    return [line.removeprefix("# ") for line in block.splitlines() if line.startswith("# ")]


def test_every_trap_of_the_page_has_its_example():
    assert len(BLOCKS) == 6
    assert all(stated(block) for block in BLOCKS)


@pytest.mark.parametrize(
    "block", BLOCKS, ids=["cosine", "answers", "anchor", "cka", "procrustes", "mantel"]
)
def test_an_example_prints_what_the_page_says(block, capsys):
    exec(compile(block, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.splitlines() == stated(block)
