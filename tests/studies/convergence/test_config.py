"""The convergence study's settings: defaults, short forms, what does not go together."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from adaptlens.config.reading import load_config, reanalyzed
from adaptlens.errors import UserError
from adaptlens.prompts import controls
from adaptlens.stats.hypotheses import MINIMUM_DRAWS
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.convergence.config import (
    CONVERGENCE,
    PLACEHOLDERS,
    ConvergenceConfig,
    convergence_config,
)
from adaptlens.studies.convergence.plan import plan

CLAIM = {
    "measure": "within", "control": "unrelated", "routes": ["sl", "steered"], "margin": 0.05,
}  # fmt: skip


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load the settings in a text saved as study.yaml."""
    monkeypatch.chdir(tmp_path)

    def loaded(text, *overrides, **settings):
        Path("study.yaml").write_text(text)
        return load_config(CONVERGENCE, "study.yaml", overrides, settings)

    return loaded


def test_the_defaults_are_the_whole_study():
    config = convergence_config()
    assert config == ConvergenceConfig()
    assert (config.models, config.shots, config.draws, config.factor_draws) == (
        ("reference",),
        16,
        30,
        10,
    )
    assert (len(config.factors), len(config.measures), config.validation) == (11, 9, 0)
    assert config.claim == CLAIM


def test_a_file_gives_every_kind_of_setting(load):
    config = load("""
        models: [reference, "chat:org/model"]
        tasks: sentiment
        shots: 8
        counts: 1, 2
        factor_draws: 4
        validation: null
        unrelated: {path: other.csv, input: 0}
        factors: pairs,dose
        wrong: [0, 0.5, 1]
        checkpoint_steps: [0, 30]
        learning_rates: 1e-3
        positions: [labels, last]
        wordings: {mine: "{instruction} One of {choices}, after {cue}."}
        measures: cosine, within
        keep: float16
        claim: {margin: 0.1}
        tune: {max_steps: 30}
    """)
    assert config == ConvergenceConfig(
        models=("reference", "chat:org/model"),
        tasks=({"path": "sentiment"},),
        shots=8,
        counts=(1, 2),
        factor_draws=4,
        validation=None,
        unrelated={"path": "other.csv", "input": "0"},
        factors=("pairs", "dose"),
        wrong=(0.0, 0.5, 1.0),
        checkpoint_steps=(0, 30),
        learning_rates=(0.001,),
        positions=("labels", "last"),
        wordings={"mine": "{instruction} One of {choices}, after {cue}."},
        measures=("cosine", "within"),
        keep="float16",
        claim={**CLAIM, "margin": 0.1},
        tune={"max_steps": [30]},
    )


@pytest.mark.parametrize(
    ("override", "setting", "value"),
    [
        ("claim.measure=cosine", "claim", {**CLAIM, "measure": "cosine"}),
        ("claim=null", "claim", CLAIM),
        ("claim.routes=sl", "claim", {**CLAIM, "routes": ["sl"]}),
        ("claim.routes=[steered, sl]", "claim", {**CLAIM, "routes": ["steered", "sl"]}),
        ("wordings.mine=Be brief.", "wordings", {"mine": "Be brief."}),
        ("wordings=null", "wordings", {}),
        ("unrelated=topic", "unrelated", {"path": "topic"}),
        ("unrelated.path=topic", "unrelated", {"path": "topic"}),
        ("factors=[]", "factors", ()),
        ("counts=1,2", "counts", (1, 2)),
        ("validation=0", "validation", 0),
    ],
)
def test_set(load, override, setting, value):
    assert getattr(load("draws: 20", override), setting) == value


@pytest.mark.parametrize(("draws", "factor_draws"), [(3, 3), (10, 10), (12, 10)])
def test_factors_take_no_more_draws_than_there_are(load, draws, factor_draws):
    assert convergence_config(draws=draws).factor_draws == factor_draws
    assert load("seed: 1", f"draws={draws}").factor_draws == factor_draws


def test_settings_survive_being_stored():
    config = convergence_config(draws=4, wordings={"mine": "{choices}"}, unrelated="topic")
    stored = json.loads(json.dumps(dataclasses.asdict(config)))
    assert convergence_config(**stored) == config


def test_the_built_in_wordings_are_allowed_ones():
    assert convergence_config(wordings=controls.WORDINGS).wordings == controls.WORDINGS
    text = "".join(f"{{{name}}}" for name in PLACEHOLDERS)
    assert convergence_config(wordings={"all": text}).wordings == {"all": text}


# Each row: the file, and a part of the one line that must be said.
WRONG = {
    "more draws of factors than draws": (
        "draws: 5\nfactor_draws: 6",
        "study.yaml:2: factor_draws: given 6, but draws is 5; ",
    ),
    "checkpoint_steps that fall": (
        "checkpoint_steps: [0, 8, 4]",
        "study.yaml:1: checkpoint_steps: given [0, 8, 4]; expected",
    ),
    "no dose but none": (
        "checkpoint_steps: [0]",
        "checkpoint_steps: given [0]; expected numbers of steps",
    ),
    "a dose twice": ("checkpoint_steps: [0, 4, 4]", "checkpoint_steps: '4' is given twice"),
    "a negative dose": (
        "checkpoint_steps: [-1, 4]",
        "checkpoint_steps.0: given -1; expected whole numbers of at least",
    ),
    "no checkpoint_steps": (
        "checkpoint_steps: []",
        "checkpoint_steps: given an empty list; expected",
    ),
    "a share above one": ("wrong: [25]", "wrong.0: given 25; expected shares from 0 to 1"),
    "half a percent": ("wrong: [0.125]", "wrong: given 0.125; expected shares in whole percents"),
    "an unknown factor": ("factors: [layer]", "unknown factor 'layer'; did you mean 'layers'?"),
    "an unknown measure": ("measures: cosin", "unknown measure 'cosin'; did you mean 'cosine'?"),
    "an unknown position": ("positions: [lst]", "unknown position 'lst'; did you mean 'last'?"),
    "no last token": ("positions: [labels]", "positions: given labels; the study compares"),
    "an unknown claim": ("claim: {margn: 1}", "'claim.margn'; did you mean 'claim.margin'?"),
    "a claim by a rotated measure": (
        "claim: {measure: cka}",
        "unknown measure 'cka'; known: ",
    ),
    "an unknown control": (
        "claim:\n  control: shuffeld",
        "study.yaml:2: unknown control 'shuffeld'; did you mean 'shuffled'?",
    ),
    "a claim by a measure left out": (
        "measures: [cosine]\nclaim: {control: neutral}",
        "claim.measure: given 'within', but measures has cosine; ",
    ),
    "a margin of none": ("claim: {margin: 0}", "claim.margin: given 0; expected a number above 0"),
    "an unknown placeholder": (
        "wordings:\n  a: 'x'\n  b: '{label}'",
        "study.yaml:3: wordings.b: unknown placeholder {label}; expected {instruction}, ",
    ),
    "a look inside": ("wordings: {a: '{cue.__class__}'}", "placeholder {cue.__class__}; expected"),
    "a width": ("wordings: {a: '{cue:>99999999}'}", "unknown placeholder {cue:>99999999};"),
    "a representation": ("wordings: {a: '{cue!r}'}", "unknown placeholder {cue!r}; expected"),
    "no name": ("wordings: {a: '{}'}", "unknown placeholder {}; expected"),
    "an open brace": ("wordings: {a: 'x {'}", "wordings.a: Single '{' encountered"),
    "a wording with a strange name": ("wordings: {a/b: x}", "wordings.a/b: not a name "),
    "a placeholder over two lines": ('wordings: {a: "{x\\ny}"}', "unknown placeholder {x y}; "),
    "a name over two lines": ('wordings: {"a\\nb": x}', "wordings.a\\nb: not a name for a wor"),
    "an empty wording": ("wordings: {a: ''}", "wordings.a: given an empty text; expected names"),
    "wordings in a list": ("wordings: [a]", 'wordings: given ["a"]; expected names and texts'),
    "full tuning of few bits": (
        "quantize: 4bit\nfull: true",
        "quantize: given 4bit with full, which needs weights as stored; set full to false",
    ),
    "an untrained copy of few bits": ("quantize: 8bit", "quantize: given 8bit with untrained"),
    "an unknown format": ("keep: float64", "unknown keep 'float64'; did you mean 'float16'?"),
    "several shots": (
        "shots: [4, 16]",
        "shots: given [4, 16]; expected a whole number of at least",
    ),
    "a key of the comparison": ("tuning: [it]", "study.yaml:1: unknown key 'tuning'"),
    "an unknown key of the unrelated task": (
        "unrelated: {path: a, inptu: b}",
        "unknown key 'unrelated.inptu'; did you mean 'unrelated.input'?",
    ),
    "a number for the unrelated task": ("unrelated: 3", "unrelated: given 3; expected"),
    "negative validation": ("validation: -1", "validation: given -1; expected a whole "),
    "a selection by likeness": ("selection: similar", "unknown selection 'similar'; known:"),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_line_says_what_is_wrong_with(load, case):
    text, words = WRONG[case]
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        load(text)
    assert "\n" not in str(caught.value)


def test_what_does_not_go_together_names_the_override_that_says_so(load):
    with pytest.raises(UserError, match=r"^--set factor_draws=9: factor_draws: given 9, but draws"):
        load("draws: 5", "factor_draws=9")


def test_a_python_file_may_make_either_kind_of_settings_but_for_its_own_study(tmp_path):
    path = tmp_path / "study.py"
    path.write_text(
        "from adaptlens import convergence_config\n"
        "def study():\n    return convergence_config(draws=3)\n"
    )
    assert load_config(CONVERGENCE, path) == convergence_config(draws=3)
    path.write_text(
        "from adaptlens import compare_config\ndef study():\n    return compare_config()\n"
    )
    with pytest.raises(UserError, match=r"returned a CompareConfig; expected .*convergence_config"):
        load_config(CONVERGENCE, path)


# Analyzing a run again.

STORED = dataclasses.asdict(convergence_config(draws=4, factors=["pairs", "layers", "dose"]))


def test_the_analysis_of_a_run_can_be_changed():
    config = reanalyzed(
        CONVERGENCE, STORED, ["claim.measure=cosine", "measures=cosine,cka", "factors=layers"]
    )
    assert (config.claim, config.measures, config.factors, config.draws) == (
        {**CLAIM, "measure": "cosine"},
        ("cosine", "cka"),
        ("layers",),
        4,
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("draws=9", "--set draws=9: 'draws' decides what is measured, and this run"),
        ("tune.lora_rank=4", "'tune' decides what is measured"),
        ("tasks.0.input=x", "its report can change measures, claim, factors: to change tasks, run"),
        ("factors=pairs,labels", "factors: 'labels' was not measured in this run, which has pairs"),
        ("clam.measure=cosine", "unknown key 'clam'; did you mean 'claim'?"),
        ("claim.measure", "expected PATH=VALUE"),
        ("measures=cosine", "claim.measure: given 'within', but measures has cosine"),
    ],
)
def test_what_was_measured_cannot(override, words):
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        reanalyzed(CONVERGENCE, STORED, [override])
    assert "\n" not in str(caught.value)


def test_each_study_refuses_the_settings_of_the_other():
    with pytest.raises(UserError, match="unknown key 'prices'"):
        convergence_config(prices={})
    with pytest.raises(UserError, match="unknown key 'claim'"):
        compare_config(claim={})


def test_a_first_look_has_as_many_draws_as_claims_need_and_fewer_of_the_rest():
    quick, whole = convergence_config(quick=True), convergence_config()
    assert MINIMUM_DRAWS <= quick.draws == quick.factor_draws < whole.draws
    for name in ("counts", "factors", "wrong", "checkpoint_steps"):
        assert {*getattr(quick, name)} < {*getattr(whole, name)}
    assert quick.queries < whole.queries and not quick.full and not quick.untrained
    assert convergence_config(quick=True, draws=3, queries=9, factors=["models"]).draws == 3
    assert convergence_config(quick=True, factors=["models"]).factors == ("models",)
    cells, every = (len(plan(one).cells) for one in (quick, whole))
    assert cells < 0.6 * every
