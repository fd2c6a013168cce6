"""Options and lists that are made from the settings themselves."""

import json

import click
import jsonschema
import pytest
from click.testing import CliRunner

from adaptlens import registry
from adaptlens.cli.main import main
from adaptlens.cli.settings_options import options, study_config
from adaptlens.config.listing import json_schema, rows

STUDIES = registry.names("settings")


def invoke(*words: str) -> str:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def words_of(*command: str) -> str:
    return " ".join(invoke(*command, "--help").split())


@pytest.mark.parametrize("study", STUDIES)
def test_help_says_of_each_option_what_its_setting_says(study):
    command = ["compare"] if study == "compare" else ["study", study]
    # Lines are broken at hyphens, too.
    help_text = "".join(words_of(*command).split())
    asked = [one for one in registry.resolve("settings", study).settings.values()
             if one.about.option and not one.path.startswith("unrelated.")]  # fmt: skip
    assert len(asked) > 20
    for one in asked:
        assert "".join(one.about.description.split()) in help_text, one.path


@pytest.mark.parametrize("study", STUDIES)
def test_every_option_gives_a_setting_that_the_study_has(study):
    known = registry.resolve("settings", study).settings
    others = {"config_file", "overrides", "out"}
    for option in options(study):
        path = str(option.name).replace("__", ".")
        assert path in known or f"tasks.{path}" in known or path in others


def test_help_shows_defaults_and_the_names_that_are_taken():
    help_text = words_of("compare")
    assert (
        "--draws N Draws of demonstrations, the same for prompting and tuning. [default: 10]"
        in (help_text)
    )
    assert (
        "--dtype [float32|bfloat16|float16|auto] Number format of weights and arithmetic; auto is "
        in (help_text)
    )
    assert (
        "[it, sl, full, distil, ia2, ia2-it, soft-prompt or vector; default: it,sl,full]"
        in help_text
    )
    assert "--true-few-shot Use no" in help_text and "--search / --no-search" in help_text


def test_plan_has_the_options_of_every_study():
    of_plan = {option.name for option in options("")}
    for study in STUDIES:
        assert {option.name for option in options(study)} <= of_plan


def test_an_option_of_each_kind_becomes_its_setting():
    words = [
        "--model", "a", "--model", "b", "--task", "t.csv", "--template", "x, {input} {target}",
        "--fields", "text, label", "--no-header", "--shots", "0,4", "--tuning", "it,sl", "--draws",
        "3", "--no-search", "--true-few-shot", "--workers", "2", "--set", "tune.max_steps=5",
    ]  # fmt: skip
    command = main.commands["compare"]
    given = command.make_context("compare", words).params
    given.pop("out"), given.pop("as_json")
    config = study_config("compare", **given)
    assert (config.models, config.shots, config.tuning) == (("a", "b"), (0, 4), ("it", "sl"))
    assert (config.draws, config.search, config.true_few_shot, config.chat) == (
        3,
        False,
        True,
        False,
    )
    assert (config.tune, config.engine) == ({"max_steps": [5]}, {"workers": 2})
    assert config.tasks == (
        {
            "path": "t.csv",
            "templates": ["x, {input} {target}"],
            "fields": ["text", "label"],
            "header": False,
        },
    )


def test_options_are_made_once_and_only_for_the_command_that_is_used():
    command = main.commands["compare"]
    context = click.Context(command)
    assert command.get_params(context)[0] is command.get_params(context)[0]


@pytest.mark.parametrize("study", STUDIES)
def test_settings_are_listed_as_a_table_as_json_and_as_a_schema(study):
    schema = registry.resolve("settings", study)
    listed = json.loads(invoke("settings", study, "--json"))
    assert listed == json.loads(json.dumps(rows(schema)))
    table = invoke("settings", study)
    for path in schema.settings:
        assert path in table
    found = json.loads(invoke("settings", study, "--schema"))
    jsonschema.Draft202012Validator.check_schema(found)
    assert found == json.loads(json.dumps(json_schema(schema)))


def test_the_list_of_a_study_nobody_knows_is_refused_in_a_line():
    result = CliRunner().invoke(main, ["settings", "converge"])
    assert result.exit_code == 2
    assert result.stderr == "error: unknown study 'converge'; did you mean 'convergence'?\n"


def test_settings_are_lines_where_a_table_would_be_too_narrow(monkeypatch):
    monkeypatch.setattr("adaptlens.report.printer.PIPED_WIDTH", 80)
    lines = invoke("settings", "compare").splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("margin = 2.0"))
    assert lines[place + 1].startswith("    Differences below this many points count as none")
    assert lines[place + 2].startswith("    Expected a number of points above 0, such as 2.0")
    assert max(map(len, lines)) <= 80
