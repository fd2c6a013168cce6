"""A comparison of anything that can be asked for ends in a table, a verdict and a page."""

import math

import pytest
from click.testing import CliRunner

from adaptlens.cli.main import main
from adaptlens.errors import UserError
from cutting import by, cut, said, undrawn
from faked import compared

BOTH = ["sentiment-novel", "translation"]
UNTUNED = {"tuning": [], "sizes": None}
ASKED = {
    "everything": {},
    "zero-shot against tuned": {"shots": [0]},
    "prompting only": UNTUNED,
    "zero-shot only": {**UNTUNED, "shots": [0]},
    "demonstrations only": {**UNTUNED, "shots": [2]},
    "demonstrations against tuned": {"shots": [2]},
    "one draw": {"draws": 1},
    "one template": {"num_templates": 1},
    "no validation": {"true_few_shot": True},
    "too little validation to choose by": {"validation": 1},
    "two items": {"queries": 2},
    "generation only": {"tasks": ["translation"]},
    "generation, prompting only, one draw": {**UNTUNED, "tasks": ["translation"], "draws": 1},
    "both kinds": {"tasks": BOTH},
    "both kinds, prompting only": {**UNTUNED, "tasks": BOTH},
    "one rule": {"scoring": "raw"},
    "prices": {"prices": {"gpu_hour": 1.0}},
    "several models": {"models": ["reference", "reference-math"]},
}


@pytest.mark.parametrize("asked", ASKED)
def test_whatever_is_compared_ends_in_a_table_a_verdict_and_a_page(asked, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    run = compared(tmp_path / "run", **ASKED[asked])
    found, shown = said(run)
    arms = set(found.tables["accuracy"]["condition"])
    assert arms and all(arm in shown for arm in arms)
    models, tasks = (len(ASKED[asked].get(name, [1])) for name in ("models", "tasks"))
    assert len(found.verdicts) == models * tasks
    assert len(found.fronts) == tasks * (models > 1)
    sides = {"it" in arm for arm in arms}
    for verdict in found.verdicts:
        assert verdict["line"] in " ".join(shown.split()) or len(verdict["line"]) > 80
        nothing = verdict["break_even"] == "no break-even: nothing to compare"
        assert nothing == (sides != {True, False})
    assert all(math.isfinite(value) for value in found.tables["accuracy"]["value"])


@pytest.mark.parametrize("names", [("it",), ("icl",), ("zero_shot",), ("icl", "it")])
def test_a_run_of_which_a_part_is_wanted_is_reported(names, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    run = cut(compared(tmp_path / "run", tasks=BOTH), tmp_path / "cut", by(*names))
    found, _ = said(run)
    assert set(found.tables["accuracy"]["adaptation"].str.removeprefix("best_")) == set(names)


def test_only_tuning_is_named_as_what_was_measured(tmp_path, monkeypatch):
    undrawn(monkeypatch)
    run = cut(compared(tmp_path / "run"), tmp_path / "cut", by("it"))
    found, shown = said(run)
    assert found.verdicts[0]["line"] == (
        "undecided: only tuning was measured, so there is nothing to compare"
    )
    assert "no break-even: nothing to compare" in shown
    assert found.tables["break_even"].empty and "queries" in found.tables["break_even"]


def test_a_run_of_which_nothing_is_wanted_says_so(tmp_path):
    run = cut(compared(tmp_path / "run"), tmp_path / "cut", by())
    done = CliRunner().invoke(main, ["report", str(run.folder)])
    assert done.exit_code == 2 and "no cell of run" in done.stderr


def test_tuning_without_a_size_is_said(tmp_path, monkeypatch):
    undrawn(monkeypatch)
    found, shown = said(compared(tmp_path / "run", shots=[0], sizes=None))
    (note,) = (note for note in found.notes if "nothing is tuned" in note)
    assert "--sizes" in note and note in " ".join(shown.split())


@pytest.mark.parametrize("words", [
    ("--shots", "0", "--tuning", ""),
    ("--shots", "0,2", "--tuning", "", "--no-search"),
    ("--shots", "0", "--tuning", "it", "--sizes", "4"),
])  # fmt: skip
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_any_of_it_can_be_planned(words, form):
    given = ("plan", "--no-trial", "--queries", "4", *words, *form)
    done = CliRunner().invoke(main, list(given))
    assert done.exit_code == 0, (done.output, done.exception)


def test_nothing_at_all_is_refused_in_one_line():
    done = CliRunner().invoke(main, ["plan", "--no-trial", "--shots", "", "--tuning", "it"])
    assert done.exit_code == 2 and done.stderr.startswith("error: shots: given an empty list")


@pytest.mark.parametrize("queries", [1])
def test_too_few_items_are_refused_before_anything_is_run(queries, tmp_path):
    with pytest.raises(UserError, match="has 1 test item to read; an interval takes at least 2"):
        compared(tmp_path / "run", queries=queries)
    assert not (tmp_path / "run").exists()
