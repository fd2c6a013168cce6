"""The list of settings, its page, and a JSON Schema that takes what the loader takes."""

import json
from pathlib import Path

import jsonschema
import pytest

from adaptlens import registry
from adaptlens.config import listing
from adaptlens.config.reading import load_config
from adaptlens.config.yaml12 import read_yaml
from adaptlens.errors import UserError

DOCS = Path(__file__).parents[2] / "docs"
STUDIES = registry.names("settings")


def validator(study: str) -> jsonschema.Draft202012Validator:
    schema = listing.json_schema(registry.resolve("settings", study))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(json.loads(json.dumps(schema)))


def test_the_documentation_has_the_settings():
    assert (DOCS / "settings.md").read_text("utf-8") == listing.as_markdown(), (
        "docs/settings.md differs from the settings; write listing.as_markdown() into it"
    )


def test_a_row_has_what_is_to_be_known_of_a_setting():
    rows = {row["name"]: row for row in listing.rows(registry.resolve("settings", "implicit"))}
    assert rows["queries"] == {
        "name": "queries", "expected": "a whole number of at least 1", "default": 100,
        "description": "Test items of each kind and family.", "example": 100,
    }  # fmt: skip
    assert rows["tune.batch_size"]["default"] == 16
    assert rows["tune.batch_size"]["formerly"] == "batch"
    assert "default" not in rows["tune.lora_rank"]
    assert rows["circuits.items"]["default"] == 128


@pytest.mark.parametrize("study", STUDIES)
def test_the_schema_takes_every_example_and_every_default(study):
    check = validator(study)
    for row in listing.rows(registry.resolve("settings", study)):
        outer, _, inner = row["name"].partition(".")
        needed = {"path": "a.csv"} if outer in ("tasks", "unrelated", "also") else {}
        for value in [row["example"], *([row["default"]] if "default" in row else [])]:
            given = {outer: {**needed, inner: value} if inner else value}
            check.validate(json.loads(json.dumps(given)))


def test_the_schema_takes_the_file_of_the_first_study():
    page = (DOCS / "first-study.md").read_text("utf-8")
    text = next(part for part in page.split("```yaml\n")[1:] if "study.yaml" in part[:40])
    value, _ = read_yaml(text.partition("```")[0], "study.yaml")
    validator("compare").validate(json.loads(json.dumps(value)))


# Each a file; short forms and former names among them.
RIGHT = [
    "models: reference\ntasks: a.csv",
    "tasks: [a, {path: b.csv, input: 0, choices: {0: bad, 1: good}}]",
    "shots: 4", "shots: 0,4,16", "shots: [0, 4]", "tuning: it,full", "tuning: full",
    "sizes: null", "queries: null", "tune: null", "tune: {rank: 4, rate: 1e-3}",
    "tune: {max_steps: 30, target_modules: 'q_proj,v_proj'}", "engine: {name: ray, gpus: 0.5}",
    "margin: 2", "seed: 4294967295", "prices: {gpu_hour: 0}",
]  # fmt: skip
WRONG = [
    "models: []", "tasks: [{input: a}]", "tasks: [[a]]", "shots: -4", "tuning: [fulll]",
    "draws: 0", "draws: '10'", "draws: 2.5", "draws: null", "chat: yes", "margin: 0",
    "tune: {lora_dropout: 1.0}", "tune: {rnk: 4}", "tune: 4", "seed: 4294967296", "model: x",
    "tasks: [{path: a, choices: [true, false]}]", "dtype: bfloat", "shots: []",
]  # fmt: skip


@pytest.mark.parametrize("text", RIGHT)
def test_what_the_loader_takes_the_schema_takes(text):
    value, _ = read_yaml(text, "study.yaml")
    load_config(registry.resolve("settings", "compare"), settings=value)
    validator("compare").validate(json.loads(json.dumps(value)))


@pytest.mark.parametrize("text", WRONG)
def test_what_the_loader_refuses_the_schema_refuses(text):
    value, _ = read_yaml(text, "study.yaml")
    with pytest.raises(UserError):
        load_config(registry.resolve("settings", "compare"), settings=value)
    with pytest.raises(jsonschema.ValidationError):
        validator("compare").validate(json.loads(json.dumps(value)))


def test_a_former_name_is_marked_as_such():
    tune = validator("compare").schema["properties"]["tune"]["anyOf"][0]["properties"]
    assert tune["rank"] == {**tune["lora_rank"], "deprecated": True}
    assert "deprecated" not in tune["lora_rank"]
    assert tune["lora_rank"]["description"] == "Rank of the LoRA adapters."
