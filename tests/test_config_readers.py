"""No setting is there for show: the program reads every one that a study takes."""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import adaptlens
from adaptlens import registry
from adaptlens.config import Tune
from adaptlens.config.comparison import Prices
from adaptlens.config.settings import Engine
from adaptlens.engines.on_ray import OnRay

SOURCE = Path(adaptlens.__file__).parent
OWN = {
    "compare": ("compare",),
    "convergence": ("convergence",),
    "implicit": ("implicit", "circuit"),
    "limits": ("limits",),
}
"""What the names of the modules in studies/ begin with that belong to one study."""


@pytest.mark.parametrize("study", registry.names("settings"))
def test_every_setting_of_a_study_is_read(study):
    known = {field.name for field in fields(registry.resolve("settings", study).kind)}
    read = {name for path, called in modules(study).items() for name in names_read(path, *called)}
    assert known - read == set()


def test_what_only_the_settings_themselves_mention_counts_as_not_read(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("budget = 1\nother.budget\nconfig.queries\nsettings['seed'], 'dtype'")
    assert set(names_read(module, "config", "settings")) == {"queries", "seed"}


def test_every_setting_of_tuning_is_an_argument_of_the_tuning_it_goes_to():
    tuned = {field.name for field in fields(registry.resolve("adaptation", "it"))}
    assert set(Tune.__annotations__) <= tuned


def test_every_setting_of_the_engine_is_an_argument_of_one():
    assert set(Engine.__annotations__) - {"name"} == {field.name for field in fields(OnRay)}


def test_every_price_is_read():
    assert set(Prices.__annotations__) <= set(names_read(SOURCE / "compare.py", "prices"))


def modules(study: str) -> dict[Path, tuple[str, ...]]:
    """Return the modules a study may run through, and what each calls the settings.

    None of other studies; of the settings' own, what they fill in by another one, or compute.
    """
    others = tuple(name for other in OWN if other != study for name in OWN[other])
    shared = [
        path for path in SOURCE.rglob("*.py") if path.parent.name not in ("config", "studies")
    ]
    own = [path for path in SOURCE.glob("studies/*.py") if not path.name.startswith(others)]
    module = registry.resolve("settings", study).kind.__module__.rpartition(".")[2]
    return {
        **dict.fromkeys((*shared, *own), ("config", "settings")),
        SOURCE / "config" / f"{module}.py": ("self", "out"),
    }


def names_read(path: Path, *called: str) -> Iterator[str]:
    """Yield the names a module reads of variables: config.NAME, config["NAME"], config.get(...)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Attribute(value=base, attr=name, ctx=ast.Load()) if is_one(base, called):
                yield name
            case ast.Subscript(value=base, slice=ast.Constant(value=str(name)), ctx=ast.Load()) if (
                is_one(base, called)
            ):
                yield name
            case ast.Call(
                func=ast.Attribute(value=base, attr="get"), args=[ast.Constant(value=str(name)), *_]
            ) if is_one(base, called):
                yield name


def is_one(base: ast.expr, called: tuple[str, ...]) -> bool:
    """Say whether an expression is a variable, an attribute or a key of one of these names."""
    match base:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in called
        case ast.Subscript(slice=ast.Constant(value=name)):
            return name in called
    return False
