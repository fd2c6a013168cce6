"""What the package gives away at its top: each name once, and what type checkers see of it."""

import importlib
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import adaptlens

CALLS = ("prompt_or_tune", "study_convergence", "study_implicit", "study_limits")

SNIPPET = """\
import adaptlens

found = adaptlens.prompt_or_tune(object(), [{"a": 1}], tokenizer=object(), shots=[0], quiet=True)
reveal_type(found)
reveal_type(found.scores)
reveal_type(adaptlens.study_limits())
reveal_type(adaptlens.compare_config())
adaptlens.prompt_or_tuen
adaptlens.prompt_or_tune(quiet="yes")
"""


def test_every_public_name_is_there_and_says_what_it_is():
    assert {*adaptlens.__all__} == {*adaptlens._PUBLIC, "__version__"} == {*dir(adaptlens)}
    for name in adaptlens._PUBLIC:
        assert getattr(adaptlens, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'prompt_or_tuen'"):
        adaptlens.prompt_or_tuen  # noqa: B018


@pytest.mark.parametrize("name", CALLS)
def test_every_call_describes_all_that_it_takes(name: str):
    call = getattr(adaptlens, name)
    hints = typing.get_type_hints(call)
    for parameter in (*hints.keys() - {"return"},):
        assert f"        {parameter}: " in call.__doc__
    assert hints["return"].__mro__[1].__name__ in ("Findings", "Studied")


def test_the_package_says_that_it_is_typed():
    assert Path(importlib.import_module("adaptlens").__file__).with_name("py.typed").is_file()


def test_a_type_checker_sees_what_is_behind_the_names(tmp_path: Path):
    pytest.importorskip("mypy", reason="needs the extra 'check'")
    (tmp_path / "call.py").write_text(SNIPPET, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports",
               "--cache-dir", str(tmp_path / "cache"), "call.py"]  # fmt: skip
    source = str(Path(adaptlens.__file__).parents[1])
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"MYPYPATH": source}
    )
    said = ran.stdout
    assert 'Revealed type is "adaptlens.studies.compare.plan.Comparison"' in said
    assert 'Revealed type is "adaptlens.studies.limits.plan.Limits"' in said
    assert 'Revealed type is "adaptlens.studies.compare.config.CompareConfig"' in said
    assert 'Module has no attribute "prompt_or_tuen"' in said
    assert 'Argument "quiet" to "prompt_or_tune" has incompatible type "str"' in said
    assert "Found 2 errors" in said
