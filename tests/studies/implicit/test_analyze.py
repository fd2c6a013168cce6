"""The study of implicit patterns end to end: what it plans, stores, finds, exports, and resumes."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eap_reader
import tiny
from adaptlens import columns
from adaptlens.errors import UserError
from adaptlens.report.labels import Shown
from adaptlens.stats.hypotheses import MINIMUM_DRAWS
from adaptlens.store import Run
from adaptlens.studies.driver import Silent, execute, write_plan
from adaptlens.studies.implicit import plan
from adaptlens.studies.implicit.analyze import TABLES, analyze
from adaptlens.studies.implicit.config import implicit_config
from cutting import by, cut, said, undrawn

SMALL = {
    "families": ["boolean"],
    "shots": [0, 2],
    "sizes": [16],
    "draws": 2,
    "queries": 8,
    "validation": 4,
    "tune": {"max_steps": [4]},
    "circuits": {
        "items": 16,
        "shots": 2,
        "size": 16,
        "corruptions": ["other"],
        "methods": ["denoise", "noise"],
        "edges": True,
    },
}


def settings(model: Path | str, **changes):
    return implicit_config(models=[str(model)], **{**SMALL, **changes})


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_folder(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run") / "whole"
    found = plan.run_study(settings("reference-math"), out=folder, reporter=Silent())
    assert not found.outcome.failed
    return Run.open(folder)


def tables(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.folder / "tables").iterdir()}


def test_both_parts_have_their_conditions_and_controls(llama: Path):
    study = plan.plan(settings(llama))
    found = {(cell.task.name, cell.label) for cell in study.cells
             if cell.measurements[0].name == "behavior"}  # fmt: skip
    assert found == {
        ("boolean-pattern", "zero-shot"),
        ("boolean-pattern", "icl-2"), ("boolean-broken", "icl-2"),
        ("boolean-pattern", "it-16"), ("boolean-broken", "it-16"),
        ("boolean-pattern", "full-16"), ("boolean-broken", "full-16"),
    }  # fmt: skip
    circuits = {cell.label for cell in study.cells if cell.measurements[0].name == "circuits"}
    assert circuits == {
        "zero-shot", "icl-2", "icl-2-shuffled", "icl-2-neutral", "it-16", "it-16-shuffled",
        "sl-16", "full-16",
    }  # fmt: skip


def test_both_kinds_are_read_whatever_was_learned(llama: Path):
    for kind in ("pattern", "broken"):
        task = plan.made(settings(llama), "boolean", kind)
        assert {example.group for example in task.train} == {kind}
        groups = [example.group for example in task.test]
        assert groups.count("pattern") == groups.count("broken") == 8


def test_families_together_and_transfer_need_two_families(llama: Path):
    names = {cell.task.name for cell in plan.plan(settings(llama)).cells}
    assert not any("mixed" in name or name.endswith("-all") for name in names)
    two = plan.plan(settings(llama, families=["boolean", "relation"]))
    names = {cell.task.name for cell in two.cells}
    assert {"mixed-pattern-all", "mixed-broken-all", "boolean-pattern-all"} <= names


def test_circuits_of_a_task_of_ones_own_need_no_family(llama: Path):
    study = plan.plan(
        implicit_config(models=[str(llama)], tasks=["sentiment"], draws=2, queries=100)
    )
    assert {cell.task.name for cell in study.cells} == {"sentiment"}
    assert {m.name for cell in study.cells for m in cell.measurements} == {"circuits", "heads"}


def test_every_label_in_the_tables_of_circuits_stands_for_something(finished: Run):
    report = analyze(finished)
    shift, gates = report.tables["shift"], report.tables["gates"]
    assert {*gates["condition"], *shift["left"], *shift["right"]} <= set(report.labels)
    control = report.labels["icl-2-shuffled"]
    assert control == Shown("icl-2-shuffled", "icl-2-shuffled", "icl", 2, "shuffled")
    floors = shift[shift["role"] == "floor"]
    for left, right in zip(floors["left"], floors["right"], strict=True):
        assert report.labels[right].condition == left


def test_the_question_names_family_and_model(finished: Run):
    assert analyze(finished).title.endswith("misses? boolean on reference-math")


def test_every_table_of_a_finished_run_has_rows(finished: Run):
    found = analyze(finished)
    empty = {name for name in TABLES if found.tables[name].empty}
    # One family has nothing to transfer to.
    assert empty <= {"transfer"}
    assert {claim["factor"] for claim in found.claims} >= {1, 2, 6}
    for claim in found.claims:
        assert claim["state"] in ("supported", "refuted", "not decided")
        if claim["line"].startswith("undefined"):
            assert math.isnan(claim["effect"])


def test_accuracies_are_shares_of_stored_answers(finished: Run):
    rows = analyze(finished).tables["curves"]
    stored = {}
    for record in finished.records():
        if "behavior.exact" in record.arrays and record.spec["adaptation"]["label"] == "icl-2":
            name = record.spec["task"]["name"]
            stored.setdefault(name, []).append(record.arrays["behavior.exact"])
    for learned in ("pattern", "broken"):
        values = np.concatenate(stored[f"boolean-{learned}"])
        task = next(t for t in plan.plan(settings("reference-math")).tasks.values()
                    if t.name == f"boolean-{learned}")  # fmt: skip
        kinds = np.array([example.group for example in task.test])
        for read in ("pattern", "broken"):
            row = rows[(rows.learned == learned) & (rows.read == read) & (rows.samples == 2)]
            assert row.value.item() == pytest.approx(100 * values[:, kinds == read].mean())


def test_the_long_table_has_every_patch_and_gives_back_the_profile(finished: Run):
    found = analyze(finished).tables
    effects, profiles = found["effects"], found["profiles"]
    base = {"corruption": "other", "direction": "denoise", "metric": "logit_difference"}
    icl = effects[effects.condition == "icl-2"]
    for column, value in base.items():
        icl = icl[icl[column] == value]
    assert set(icl.draw) == {0, 1}
    assert len(icl) == icl.draw.nunique() * icl.item.nunique() * icl.unit.nunique()
    rows = profiles[profiles.condition == "icl-2"].set_index("unit")
    gap = (icl.clean - icl.corrupt).mean()
    change = icl.value - icl.corrupt
    change = change.where(change.abs() > icl.floor, 0).groupby(icl.unit, observed=True).mean()
    assert len(rows) == icl.unit.nunique()
    for unit, row in rows.iterrows():
        assert row["value"] == pytest.approx(change[unit] / gap, abs=1e-6)


def test_circuits_are_exported_as_the_table_has_them(finished: Run):
    rows = pd.read_parquet(finished.folder / "tables" / "circuit.parquet")
    found = json.loads((finished.folder / "circuits" / "reference-math-boolean.json").read_text())
    shares = {
        (condition, unit["unit"]): share
        for unit in found["units"]
        for condition, share in unit["share_of_gap"].items()
    }
    assert shares == {(r.condition, r.unit): r.value for r in rows.itertuples()}
    drawn = (finished.folder / "circuits" / "reference-math-boolean.dot").read_text()
    assert all(f'"{unit["unit"]}"' in drawn for unit in found["units"])


def test_each_circuit_is_a_graph_that_eap_ig_reads(finished: Run):
    profiles = pd.read_parquet(finished.folder / "tables" / "profiles.parquet")
    members = pd.read_parquet(finished.folder / "tables" / "circuit.parquet")
    for condition, own in profiles.groupby("condition"):
        path = finished.folder / "circuits" / f"reference-math-boolean-{condition}.eap.json"
        stored = json.loads(path.read_text())
        assert stored["about"] == {
            "model": "reference-math", "task": "boolean", "condition": condition,
            "place": "last", "method": "denoise", "metric": "logit_difference",
        }  # fmt: skip
        graph = eap_reader.read(stored)
        assert sorted(graph.scores.values()) == pytest.approx(sorted(own["value"]))
        inside = sum(graph.nodes.values()) - 2  # input and logits
        assert inside == (members["condition"] == condition).sum()


def test_an_interrupted_study_ends_with_the_same_tables(finished: Run, tmp_path: Path):
    config = settings("reference-math")

    class Interrupt(Silent):
        def __init__(self) -> None:
            self.left = 3

        def finished(self, cell) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    study = plan.plan(config)
    run = Run.open(tmp_path / "run", create=True)
    write_plan(run, study)
    with pytest.raises(KeyboardInterrupt):
        execute(study, run, config, Interrupt())
    assert 0 < len(list(run.records())) < len(study.cells)
    plan.run_study(config, out=tmp_path / "run", reporter=Silent())
    assert tables(run) == tables(finished)


def test_what_was_stored_is_judged_again_without_the_model(finished: Run):
    before = {c["claim"]: c for c in analyze(finished).claims if c["factor"] == 1}
    wide = {c["claim"]: c for c in analyze(finished, ["margin=99"]).claims if c["factor"] == 1}
    assert {name: c["effect"] for name, c in before.items()} == {
        name: c["effect"] for name, c in wide.items()
    }
    assert "supported" not in {c["state"] for c in wide.values()}
    with pytest.raises(UserError, match="decides what is measured"):
        analyze(finished, ["queries=4"])


def test_circuits_of_a_random_model_are_undefined_and_the_run_says_why(llama: Path, tmp_path: Path):
    short = {**SMALL["circuits"], "shots": 1}
    config = settings(llama, parts=["circuits"], families=["relation"], circuits=short)
    found = plan.run_study(config, out=tmp_path / "run", reporter=Silent())
    gates = found.report.tables["gates"]
    assert not gates.defined.any() and all(gates.reason)
    shift = [claim for claim in found.report.claims if claim["factor"] == 6]
    assert shift and all(claim["state"] == "not decided" for claim in shift)
    assert all(claim["line"].startswith(("undefined", "descriptive")) for claim in shift)


PARTS = {
    "zero-shot": ("zero_shot",),
    "in-context learning": ("icl",),
    "tuning": ("it", "full"),
    "zero-shot against tuning": ("zero_shot", "it"),
    "prompting": ("zero_shot", "icl"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_conditions_is_reported_like_the_whole(part, finished, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    found, _ = said(cut(finished, tmp_path / "cut", by(*PARTS[part])))
    assert set(found.tables) == set(columns.tables_of("implicit"))
    methods = set(found.tables["curves"]["method"].str.replace("-", "_"))
    assert methods == set(PARTS[part])


@pytest.mark.parametrize("measured", ["behavior", "circuits"])
def test_behavior_and_circuits_are_reported_alone(measured, finished, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    kept = cut(finished, tmp_path / "cut", lambda spec: spec["measurements"][0]["name"] == measured)
    found, _ = said(kept)
    assert found.tables["curves"].empty == (measured == "circuits")
    assert found.tables["gates"].empty == (measured == "behavior")


def test_too_few_items_are_refused_before_work_begins(llama: Path, tmp_path: Path):
    with pytest.raises(UserError, match="--queries 1: the study of implicit patterns takes"):
        plan.plan(settings(llama, queries=1))
    rows = [{"text": "put the ant " * n, "label": "ab"[n % 2]} for n in range(1, 41)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match="with a partner of as many tokens and another answer"):
        plan.plan(settings(llama, families=[], tasks=[str(tmp_path / "rows.json")],
                               circuits={"shots": 2, "size": 2}))  # fmt: skip


def test_a_first_look_has_as_many_draws_as_claims_need():
    config = implicit_config(quick=True)
    assert config.draws >= MINIMUM_DRAWS and 1 < len(config.families) < 5
    assert implicit_config(quick=True, tasks=["sentiment"]).families == ()
    assert implicit_config(quick=True, draws=2, families=["code"]).draws == 2
