"""The command that a page gives makes a run of the same settings."""

import shlex
from dataclasses import asdict

import pytest

from adaptlens import registry
from adaptlens.cli import main
from adaptlens.cli.settings_options import study_config
from adaptlens.config.reading import load_config
from adaptlens.studies.again import command

GIVEN = {
    "compare": [
        {},
        {"models": ["smollm2", "reference"], "shots": [0, 2], "tuning": ["it", "sl"], "seed": 3},
        {"tasks": [{"path": "a b.tsv", "templates": ["In: {input}\nOut: {target}"]}]},
        {"tune": {"lora_rank": 16, "learning_rate": [0.001, 0.002]}, "search": False},
        {"gates": ["it-16 >= base - 1"], "queries": None, "sizes": [8], "margin": 1.5},
        {"arms": {"mine": "prompt.txt"}, "validation": None, "engine": {"workers": 2}},
    ],
    "convergence": [
        {},
        {"draws": 8, "full": False, "counts": [1, 4], "further": ["distil"]},
        {"tasks": [{"path": "sst2.tsv", "input": "sentence"}], "claim": {"margin": 0.1}},
    ],
    "implicit": [
        {},
        {"quick": True},
        {"quick": True, "draws": 7, "families": ["boolean"], "tune": {"lora_rank": 4}},
        {"tasks": [{"path": "sst2.tsv"}], "circuits": {"shots": 2}},
    ],
    "limits": [
        {},
        {"quick": True},
        {"models": ["ladder-neox-s"], "mixtures": ["default", "nlg-only"], "queries": 12},
        {"quick": True, "claims": {"gain": 0.1}, "tune": {"lora_rank": 4}},
    ],
}


def parsed(words: list[str]):
    """Return the settings that a command line stands for."""
    study = words[1] if words[1] == "compare" else words[2]
    verb = main.compare if study == "compare" else main.study.commands[study]
    context = verb.make_context(study, words[2 if study == "compare" else 3 :])
    beside = ("out", "as_json", "junit")
    options = {name: value for name, value in context.params.items() if name not in beside}
    return study_config(study, **options)


@pytest.mark.parametrize(
    ("study", "given"), [(s, one) for s, all_ in GIVEN.items() for one in all_]
)
def test_the_command_gives_the_settings_back(study, given):
    config = load_config(registry.resolve("settings", study), settings=given)
    assert parsed(shlex.split(command(study, asdict(config)))) == config


def said(study: str, **given) -> str:
    config = load_config(registry.resolve("settings", study), settings=given)
    return command(study, asdict(config))


def test_the_command_names_model_and_task_even_where_they_are_the_usual():
    assert said("compare") == "adaptlens compare --model reference --task sentiment-novel"


def test_what_follows_from_another_setting_is_not_said_again():
    assert said("implicit", quick=True, draws=7) == (
        "adaptlens study implicit --model reference-math --draws 7 --quick"
    )
