import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens import registry
from adaptlens.canonical import canonical_json
from adaptlens.config.reading import load_config, reanalyzed
from adaptlens.config.settings_file import load_study
from adaptlens.config.yaml12 import read_yaml
from adaptlens.errors import UserError
from adaptlens.studies.compare.config import COMPARISON, CompareConfig, compare_config


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load the settings in a text saved as study.yaml."""
    monkeypatch.chdir(tmp_path)

    def loaded(text, *overrides, **settings):
        Path("study.yaml").write_text(text)
        return load_config(COMPARISON, "study.yaml", overrides, settings)

    return loaded


def test_a_file_gives_every_kind_of_setting(load):
    config = load("""
        models: [reference, org/model]
        tasks:
          - sentiment-novel
          - {path: reviews.tsv, input: 0, target: label, choices: {0: negative, 1: positive}}
        shots: [0, 2]
        sizes: [8]
        tuning: full
        queries: null
        chat: true
        tune: {learning_rate: [1e-3, 5e-3], max_steps: 30, target_modules: q_proj}
        prices: {gpu_hour: 2}
    """)
    assert config == CompareConfig(
        models=("reference", "org/model"),
        tasks=(
            {"path": "sentiment-novel"},
            {
                "path": "reviews.tsv",
                "input": "0",
                "target": "label",
                "choices": {"0": "negative", "1": "positive"},
            },
        ),
        shots=(0, 2),
        sizes=(8,),
        tuning=("full",),
        queries=None,
        chat=True,
        tune={"learning_rate": [0.001, 0.005], "max_steps": [30], "target_modules": ["q_proj"]},
        prices={"gpu_hour": 2.0},
    )


def test_the_defaults_are_a_whole_study():
    config = compare_config()
    assert config == CompareConfig()
    assert config.shots == (0, 4, 16)
    assert config.tuning_sizes == (4, 16)


def test_python_values_are_taken_as_they_come():
    config = compare_config(
        models="reference", tasks=Path("a.csv"), shots=np.arange(3).tolist(), draws=np.int64(5),
        sizes=(4,), margin=1,
    )  # fmt: skip
    assert config.tasks == ({"path": "a.csv"},)
    assert (config.shots, config.draws, config.sizes, config.margin) == ((0, 1, 2), 5, (4,), 1.0)


def test_what_is_given_by_name_replaces_the_file_and_set_replaces_both(load):
    config = load("draws: 1\nqueries: 1\nseed: 1", "seed=3", draws=2, seed=2)
    assert (config.queries, config.draws, config.seed) == (1, 2, 3)


@pytest.mark.parametrize(
    ("override", "setting", "value"),
    [
        ("shots=0,1,2", "shots", (0, 1, 2)),
        ("shots=[0, 1]", "shots", (0, 1)),
        ("tuning=it,full", "tuning", ("it", "full")),
        ("sizes=null", "sizes", None),
        ("models.0=org/model", "models", ("org/model",)),
        ("tasks.0.input=text", "tasks", ({"path": "a.csv", "input": "text"},)),
        ("tasks={path: b.csv, header: false}", "tasks", ({"path": "b.csv", "header": False},)),
        ("tune.learning_rate=1e-3", "tune", {"learning_rate": [0.001]}),
        ("prices.gpu_hour=2", "prices", {"gpu_hour": 2.0}),
        ("dtype=bfloat16", "dtype", "bfloat16"),
    ],
)
def test_set(load, override, setting, value):
    assert getattr(load("tasks: a.csv", override), setting) == value


# Each row: the file, the overrides, and a part of the one line that must be said.
WRONG = {
    "an unknown key": (
        "draws: 2\nmodel: x",
        "study.yaml:2: unknown key 'model'; did you mean 'models'?",
    ),
    "an unknown inner key": (
        "tune:\n  lora_rnak: 4",
        "study.yaml:2: unknown key 'tune.lora_rnak'; did you mean 'tune.lora_rank'?",
    ),
    "an unknown key of a task": (
        "tasks:\n- path: a\n  inptu: b",
        "study.yaml:3: unknown key 'tasks.0.inptu'; did you mean 'tasks.0.input'?",
    ),
    "an unknown price": ("prices: {gpu: 1}", "did you mean 'prices.gpu_hour'?"),
    "an unknown price of a model": (
        "prices: {models: {Qwen/Qwen3-0.6B: {input_million_token: 1}}}",
        "did you mean 'prices.models.Qwen/Qwen3-0.6B.input_million_tokens'?",
    ),
    "a key like no other": (
        "zzzz: 1",
        "unknown key 'zzzz'; known: adaptations, also, arm_controls, ",
    ),
    "an unknown way of tuning": (
        "tuning: [fulll]",
        "study.yaml:1: unknown tuning 'fulll'; did you mean 'full'?",
    ),
    "an unknown dtype": ("dtype: bfloat", "unknown dtype 'bfloat'; did you mean 'bfloat16'?"),
    "a task without a path": ("tasks: [{input: a}]", "tasks.0: has no 'path'; add it"),
    "a negative shot": (
        "shots:\n- 0\n- -4",
        "study.yaml:3: shots.1: given -4; expected whole numbers of at least 0",
    ),
    "a text for a number": (
        "draws: '10'",
        'draws: given "10"; expected a whole number of at least 1, for example `draws: 10`.',
    ),
    "a fraction for a count": ("draws: 2.5", "draws: given 2.5; expected a whole number"),
    "a truth for a number": ("draws: true", "draws: given true; expected a whole number"),
    "a number for a truth": ("chat: 1", "chat: given 1; expected true or false"),
    "yes for true": ("chat: yes", 'chat: given "yes"; expected true or false'),
    "a null": ("draws:", "draws: given null; expected"),
    "no models": ("models: []", "models: given an empty list; expected names of models"),
    "an empty name": ("models: ['']", "models.0: given an empty text"),
    "a list in a list": ("tasks: [[a]]", 'tasks.0: given ["a"]; expected names or files'),
    "truths as choices": (
        "tasks: [{path: a, choices: [true, false]}]",
        "tasks.0.choices: given [true, false]; expected texts, or raw labels",
    ),
    "an infinite margin": (
        "margin: .inf",
        "margin: given Infinity; expected a number of points above 0",
    ),
    "NaN": ("margin: .nan", "margin: given NaN"),
    "a dropout of one": ("tune: {lora_dropout: 1.0}", "tune.lora_dropout: given 1.0; expected"),
    "a rate of zero": (
        "tune: {learning_rate: [0.1, 0]}",
        "tune.learning_rate.1: given 0; expected numbers above 0",
    ),
    "a number for settings": ("tune: 4", "tune: given 4; expected settings of tuning"),
    "a seed too large": ("seed: 4294967296", "seed: given 4294967296; expected"),
    "a shot twice": ("shots: [4, 4]", "study.yaml:1: shots: '4' is given twice"),
    "a task twice": ("tasks: [a, {path: a}]", "tasks: 'a' is given twice"),
    "a key twice": ("draws: 1\ndraws: 2", "study.yaml:2: the key 'draws' is given twice"),
    "not YAML": ("draws: 1\nshots: [1", "study.yaml:2: not valid YAML"),
    "a tag": ("draws: !!python/name:os.system", "study.yaml: not valid YAML"),
    "two documents": ("draws: 1\n--- 2", "study.yaml:2: not valid YAML"),
    "an empty file": ("# nothing", "study.yaml' is empty; expected settings such as"),
    "a list": ("- a", "study.yaml' holds a list; expected settings"),
    "a date": ("seed: 2024-01-01", 'seed: given "2024-01-01"; expected a whole number'),
}

WRONG_SET = {
    "draws": "--set draws: expected PATH=VALUE",
    "tune.rnak=4": "--set tune.rnak=4: unknown key 'tune.rnak'; did you mean 'tune.lora_rank'?",
    "draws=x": '--set draws=x: draws: given "x"; expected a whole number',
    "draws.x=1": "--set draws.x=1: 'draws' holds no settings of its own",
    "tasks.3.input=x": "--set tasks.3.input=x: tasks has no item '3'",
    "shots=[1": "--set shots=[1: not valid YAML",
}


@pytest.mark.parametrize("case", WRONG)
def test_one_line_says_what_is_wrong_with(load, case):
    text, words = WRONG[case]
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        load(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", WRONG_SET)
def test_one_line_says_what_is_wrong_with_set(load, override):
    with pytest.raises(UserError, match=re.escape(WRONG_SET[override])) as caught:
        load("draws: 1", override)
    assert "\n" not in str(caught.value)


def test_the_same_message_without_a_file():
    with pytest.raises(UserError, match=r"^shots\.1: given -4; expected whole numbers"):
        compare_config(shots=[0, -4])
    with pytest.raises(UserError, match=r"^unknown key 'shot'; did you mean 'shots'\?$"):
        compare_config(shot=[0])
    with pytest.raises(UserError, match=r'^seed: given "a object"'):
        compare_config(seed=object())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.yaml", None, "does not exist"),
        ("settings.toml", b"", r"expected \.yaml, \.yml, \.json or \.py"),
        ("latin.yaml", "models: [caf\xe9]".encode("latin-1"), r"not UTF-8 text \(byte 12\)"),
        ("binary.yaml", b"\x00\x01", "not valid YAML"),
        ("huge.yaml", b"#" * 1_000_001, "larger than 1000000 bytes"),
        ("syntax.py", b"def study(:", r"syntax\.py:1: not Python"),
        ("empty.py", b"", r"defines no function study\(\)"),
        ("wrong.py", b"def study(): return 3", "returned a int; expected settings"),
        ("typo.py", b"def study(): return {'shot': [1]}", "unknown key 'shot'; did you mean"),
    ],
)
def test_a_config_file_that_cannot_be_used(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        load_config(COMPARISON, tmp_path / name)


def test_a_folder_is_not_a_config_file(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        load_config(COMPARISON, tmp_path / "folder.yaml")


def test_a_python_file_gives_settings_or_a_study_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "study.py"
    path.write_text("def study():\n    return {'shots': [2 ** k for k in range(3)]}\n")
    assert load_config(COMPARISON, path, ["draws=3"]) == compare_config(shots=[1, 2, 4], draws=3)
    path.write_text(
        "from adaptlens import compare_config\n"
        "def study():\n    return compare_config(tune={'lora_rank': 4}, sizes=None)\n"
    )
    assert load_config(COMPARISON, path) == compare_config(tune={"lora_rank": 4})
    path.write_text("def study():\n    return ['any', 'study']\n")
    assert load_study(path) == ["any", "study"]


def test_a_config_is_frozen_and_has_a_digestible_form():
    config = compare_config(tune={"learning_rate": 1e-3})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.draws = 3
    assert compare_config(**dataclasses.asdict(config)) == config
    assert '"learning_rate":[0.001]' in canonical_json(dataclasses.asdict(config))


# Former names of settings, which are understood for one release.


FORMER = {
    "rank": 4, "alpha": 8.0, "targets": ["q_proj"], "dropout": 0.5, "rate": [1e-3],
    "rate_times": [1.0], "steps": [3], "batch": 4, "schedule": "linear",
}  # fmt: skip
PRESENT = {
    "lora_rank": 4, "lora_alpha": 8.0, "target_modules": ["q_proj"], "lora_dropout": 0.5,
    "learning_rate": [1e-3], "lr_multipliers": [1.0], "max_steps": [3], "batch_size": 4,
    "lr_scheduler": "linear",
}  # fmt: skip


def test_a_former_name_is_understood_wherever_a_setting_is_given_and_noted(load, caplog):
    assert compare_config(tune=FORMER).tune == PRESENT
    assert len(caplog.messages) == 9
    assert "note: tune.rank is called tune.lora_rank now; the former name" in caplog.text
    caplog.clear()
    assert load("tune:\n  rate: 1e-3").tune == {"learning_rate": [0.001]}
    assert load("seed: 1", "tune.steps=10,20").tune == {"max_steps": [10, 20]}
    assert load("seed: 1", "tune={batch: 4}").tune == {"batch_size": 4}
    assert [message.partition(" is called ")[0] for message in caplog.messages] == [
        "note: study.yaml:2: tune.rate",
        "note: --set tune.steps=10,20: tune.steps",
        "note: --set tune={batch: 4}: tune.batch",
    ]
    caplog.clear()
    assert compare_config(tune=PRESENT).tune == PRESENT
    assert caplog.messages == []


def test_what_is_wrong_with_a_former_name_is_said_of_the_present_one_at_its_line(load, caplog):
    with pytest.raises(UserError, match=r"study\.yaml:2: tune\.lora_rank: given 0; expected a wh"):
        load("tune:\n  rank: 0")
    with pytest.raises(
        UserError, match=r"unknown key 'tune\.schedul'; did you mean 'tune\.lr_sche"
    ):
        load("tune: {schedul: cosine}")


@pytest.mark.parametrize(
    ("text", "overrides", "where"),
    [
        ("tune:\n  lora_rank: 4\n  rank: 8", [], r"study\.yaml:3: tune\.rank and tune\.lora_rank"),
        ("seed: 1", ["tune={rank: 8, lora_rank: 8}"], r"tune\.rank and tune\.lora_rank"),
        ("seed: 1", ["tune.rank=8", "tune.lora_rank=8"], r"--set tune\.lora_rank and tune\.rank"),
        ("seed: 1", ["tune.lora_rank=8", "tune.rank=8"], r"--set tune\.rank and tune\.lora_rank"),
    ],
)
def test_both_names_of_a_setting_are_one_too_many(load, text, overrides, where):
    with pytest.raises(UserError, match=f"{where} are one setting .* give it once"):
        load(text, *overrides)


def test_an_override_replaces_what_the_file_has_by_the_other_name(load):
    assert load("tune: {rank: 8}", "tune.lora_rank=4").tune == {"lora_rank": 4}
    assert load("tune: {lora_rank: 8}", "tune.rank=4").tune == {"lora_rank": 4}


def test_settings_stored_by_their_former_names_are_read_without_a_note(caplog):
    stored = {**dataclasses.asdict(compare_config()), "tune": FORMER}
    assert reanalyzed(COMPARISON, stored, []).tune == PRESENT
    assert caplog.messages == []


# YAML as people mean it.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("1e-3", 1e-3), ("5E3", 5000.0), ("010", 10), ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"), ("0x1f", 31), ("-3", -3), (".5", 0.5), ("1_000", "1_000"),
        ("true", True), ("~", None), ("'1'", "1"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text, value):
    found, _ = read_yaml(text, "text")
    assert (found, type(found)) == (value, type(value))


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=40))
def test_any_text_gives_a_value_or_one_line(text):
    try:
        _, lines = read_yaml(text, "text")
        assert len(lines) <= 10_000
    except UserError as error:
        assert str(error).startswith("text:")
        assert "\n" not in str(error)


def test_aliases_that_multiply_are_refused_at_once():
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(UserError, match="more than 10000 values"):
        read_yaml("\n".join(rows), "text")
    with pytest.raises(UserError, match="stands for what it is part of"):
        read_yaml("a: &a [*a]", "text")
    with pytest.raises(UserError, match="20 levels"):
        read_yaml("[" * 21 + "]" * 21, "text")


# Names.


@pytest.mark.parametrize("kind", registry.TABLE)
def test_every_registered_name_stands_for_something(kind):
    for name in registry.names(kind):
        assert registry.resolve(kind, name) is not None


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="unknown adaptation 'zeroshot'; did you mean 'zero_shot'"):
        registry.resolve("adaptation", "zeroshot")
    with pytest.raises(UserError, match="unknown kind 'adaption'; did you mean 'adaptation'"):
        registry.names("adaption")
