"""No setting is there for show: the program reads every one that a study takes."""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import adaptlens
from adaptlens import registry
from adaptlens.config.fields import Engine, Tune
from adaptlens.config.reading import load_config
from adaptlens.engines.on_ray import OnRay
from adaptlens.errors import UserError
from adaptlens.models.http_client import Limits
from adaptlens.studies.compare.config import Prices, Server, TokenPrices

SOURCE = Path(adaptlens.__file__).parent


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
    refused = {"lr_multipliers", "num_templates"}
    for name, without in (("it", set()), ("regular_tuned", refused)):
        arguments = {field.name for field in fields(registry.resolve("adaptation", name))}
        assert set(Tune.__annotations__) - without <= arguments


TUNINGS: dict[str, Any] = {
    "lora_rank": 4, "lora_alpha": 8.0, "use_rslora": True, "use_dora": True,
    "target_modules": ["q_proj"], "lora_dropout": 0.0,
    "learning_rate": [1e-3], "lr_multipliers": [1.0], "max_steps": [3], "num_templates": 1,
    "batch_size": 4,
    "lr_scheduler": "constant", "gradient_checkpointing": True, "gradient_accumulation_steps": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", Tune.__annotations__)
@pytest.mark.parametrize("study", registry.names("settings"))
def test_a_setting_of_tuning_makes_cells_or_is_refused_in_a_line(study, name):
    schema = registry.resolve("settings", study)
    given: dict[str, Any] = {"tune": {name: TUNINGS[name]}, "models": ["reference"]}
    if study == "implicit":
        given |= {"models": ["reference-math"], "families": ["boolean"]}
    try:
        config = load_config(schema, settings=given)
    except UserError as error:
        assert study == "limits" and name in ("lr_multipliers", "num_templates")
        assert f"tune.{name}" in str(error) and "\n" not in str(error)
        return
    assert registry.resolve("study", study).plan(config).cells


def test_every_setting_of_a_server_is_a_limit_of_its_connection():
    assert set(Server.__annotations__) - {"__pydantic_config__"} == {
        field.name for field in fields(Limits)
    }


def test_every_setting_of_the_engine_is_an_argument_of_one():
    assert set(Engine.__annotations__) - {"name"} == {field.name for field in fields(OnRay)}


def test_every_price_is_read():
    read = {
        name
        for path in ("metrics/prices.py", "studies/compare/priced.py")
        for name in names_read(SOURCE / path, "prices", "own")
    }
    assert {*Prices.__annotations__, *TokenPrices.__annotations__} <= read


def modules(study: str) -> dict[Path, tuple[str, ...]]:
    """Return the modules a study may run through, and what each calls the settings.

    None of other studies; of the settings' own, what they fill in by another one, or compute.
    """
    own = SOURCE / "studies" / study
    others = [path for path in (SOURCE / "studies").iterdir() if path.is_dir() and path != own]
    shared = [
        path
        for path in SOURCE.rglob("*.py")
        if path.parent.name != "config" and not any(path.is_relative_to(one) for one in others)
    ]
    return {
        **dict.fromkeys(shared, ("config", "settings")),
        own / "config.py": ("self", "out"),
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
