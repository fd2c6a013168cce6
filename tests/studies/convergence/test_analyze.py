"""The convergence study end to end: what it plans, stores, compares, and resumes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import tiny
from adaptlens import columns, tasks
from adaptlens.conditions import conditions
from adaptlens.errors import UserError
from adaptlens.lm.load import load
from adaptlens.metrics.answer_out import answers_projected_out, class_means_out, within_answers
from adaptlens.prompts import render, selection
from adaptlens.report.labels import Shown
from adaptlens.store import Run
from adaptlens.studies.convergence import plan
from adaptlens.studies.convergence.analyze import analyze
from adaptlens.studies.convergence.config import convergence_config
from adaptlens.studies.convergence.stored_states import ANCHOR, STEERED, Inside, Side
from adaptlens.studies.driver import Silent, execute, write_plan
from cutting import by, cut, said, undrawn

SMALL = {
    "shots": 2,
    "counts": [1, 2],
    "draws": 2,
    "queries": 6,
    "checkpoint_steps": [0, 1, 3],
    "wrong": [1.0],
    "tune": {"max_steps": [3]},
}


def settings(model: Path | str, **changes):
    return convergence_config(models=[str(model)], **{**SMALL, **changes})


def run_cells(config, folder: Path, reporter=None) -> Run:
    study = plan.plan(config)
    run = Run.open(folder, create=True)
    write_plan(run, study)
    outcome = execute(study, run, config, reporter or Silent())
    assert not outcome.failed
    return run


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_folder(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def finished(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_cells(settings(llama), tmp_path_factory.mktemp("run") / "whole")


def test_every_factor_has_its_conditions(llama: Path):
    study = plan.plan(settings(llama))
    labels = {cell.label for cell in study.cells if not cell.model.name.startswith("un")}
    assert {
        "zero-shot", "icl-2", "it-2", "sl-2", "full-2", "icl-2-shuffled", "it-2-shuffled",
        "icl-2-unrelated", "it-2-unrelated", "icl-2-neutral", "it-2-neutral", "it-2-restart",
        "icl-1", "it-1", "icl-2-wrong-100", "it-2-wrong-100", "zero-shot-description",
        "zero-shot-format", "zero-shot-options", "zero-shot-chain", "it-2-trajectory",
        "it-2-trajectory-rate-x0.5", "it-2-trajectory-rate-x2",
    } == labels  # fmt: skip
    named = {(cell.model.name, cell.task.name) for cell in study.cells}
    assert named == {
        ("llama-0", "sentiment-novel"),
        ("llama-0", "translation"),
        ("untrained:llama-0", "sentiment-novel"),
    }


def test_a_study_of_one_factor_has_no_conditions_of_others(llama: Path):
    study = plan.plan(settings(llama, factors=["pairs"]))
    assert {cell.label for cell in study.cells} == {
        "zero-shot", "icl-2", "it-2", "sl-2", "full-2", "icl-2-shuffled", "it-2-shuffled",
        "icl-2-unrelated", "it-2-unrelated", "icl-2-neutral", "it-2-neutral", "it-2-restart",
    }  # fmt: skip


def test_large_models_are_fully_tuned_only_where_asked(llama: Path, monkeypatch):
    def labels(**changes):
        study = plan.plan(settings(llama, factors=["pairs"], **changes))
        return {cell.label for cell in study.cells}, " ".join(study.notes)

    assert "full-2" not in labels(full=False)[0]
    monkeypatch.setattr(plan, "MOST_FULLY_TUNED", 1000)
    found, notes = labels()
    assert "full-2" not in found
    assert "full tuning, a control, was left out" in notes and "more than 1,000 param" in notes
    assert "full-2" in labels(full=True)[0]


def test_the_bytes_planned_are_those_stored(llama: Path, finished: Run):
    rows = plan.planned_work(plan.plan(settings(llama)), finished.folder)
    stored = sum(
        array.nbytes
        for record in finished.records()
        for name, array in record.arrays.items()
        if name.startswith("hidden.") and name.count(".") == 2
    )
    planned = sum(row["state_bytes"] for row in rows)
    # Instruction and labels are planned for every query and stored once where all share them.
    assert 0.7 * planned < stored <= planned
    assert all(row["draws_done"] == row["draws"] for row in rows)


def test_counts_that_do_not_fit_the_context_are_left_out_and_named(llama: Path):
    limit = load(str(llama)).context_tokens
    study = plan.plan(settings(llama, counts=[1, 2, 60]))
    assert "icl-60" not in {cell.label for cell in study.cells}
    assert any(f"60 demonstrations do not fit the context of '{llama}' ({limit} tokens)" in note
               for note in study.notes)  # fmt: skip


def test_pairs_are_cosines_of_hugging_faces_states(llama: Path, finished: Run):
    lm, task = load(str(llama)), tasks.load("sentiment-novel", seed=0)

    def states(text: str) -> list[np.ndarray]:
        with torch.no_grad():
            out = lm.model(torch.tensor([lm.encode(text)]), output_hidden_states=True)
        return [layer[0, -1].numpy().astype(float) for layer in out.hidden_states]

    values = []
    for draw in (0, 1):
        demos = selection.demonstrations(task, draw, 2)
        for query in task.test[:6]:
            pair = [states(render.render(task, shown, query).text) for shown in ((), demos)]
            values.append(
                [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(*pair, strict=True)]
            )
    wanted = np.mean(values, axis=0)
    found = analyze(finished).tables["pairs"]
    found = found[
        (found.model == "llama-0") & (found.task == "sentiment-novel") & (found.left == "zero-shot")
        & (found.right == "icl-2") & (found.measure == "cosine")
    ]  # fmt: skip
    before_norm = found[~found.is_final].sort_values("layer").value.to_numpy()
    np.testing.assert_allclose(before_norm[:-1], wanted[:-1], atol=1e-5)
    np.testing.assert_allclose(found[found.is_final].value, wanted[-1], atol=1e-5)


def test_answers_are_the_texts_chosen_and_out_of_the_states(finished: Run):
    study, task = finished.read_json("study.json"), tasks.load("sentiment-novel", seed=0)
    found = [c for c in conditions(finished, study["cells"]) if c.model == "llama-0"]
    members = [c for c in found if c.task == "sentiment-novel"]
    options = [task.choices[::-1]] * 3 + [task.choices] * 3  # As if three queries named them so.
    inside, turned = (Inside("m", "t", members, given) for given in ([task.choices] * 6, options))
    chosen = members[0].arrays["behavior.loglik"].argmax(-1)
    same, other = (one.answers(ANCHOR) for one in (inside, turned))
    np.testing.assert_array_equal(same == same[:, 4:5], chosen == chosen[:, 4:5])
    flipped = np.where(np.arange(6) < 3, 1 - chosen, chosen)
    np.testing.assert_array_equal(other == other[:, 4:5], flipped == flipped[:, 4:5])
    icl, it = Side("icl-2"), Side("it-2")
    x, y, _ = inside.both(icl, it.other, "02")
    np.testing.assert_array_equal(y[0], inside.states(it, "02")[1])
    own, others = (inside.answers(side) for side in (icl, it))
    wanted = within_answers(x, y, own, others[::-1]).matched
    values = inside.pair_similarity(icl, it.other, "within").values[2]
    np.testing.assert_array_equal(values, wanted)
    read = members[0].arrays["hidden.readout"]
    wanted = answers_projected_out(x, y, read.repeat(2, 0), read.repeat(2, 0)).matched
    values = inside.pair_similarity(icl, it.other, "projected").values[2]
    np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-12)


def test_the_steered_anchor_agrees_with_tuning_and_is_the_anchor_within_its_answers(finished: Run):
    study = finished.read_json("study.json")
    members = [c for c in conditions(finished, study["cells"])
               if (c.model, c.task) == ("llama-0", "sentiment-novel")]  # fmt: skip
    inside = Inside("m", "t", members, [("dax", "wug")] * 6)
    it = Side("it-2")
    inside.steer(it)
    assert inside.agreement(STEERED, it) == 1
    moved = class_means_out(inside.states(STEERED, "02"), inside.answers(it))
    anchor = inside.states(ANCHOR, "02").repeat(2, 0)
    np.testing.assert_allclose(moved, class_means_out(anchor, inside.answers(it)), atol=1e-6)


def test_of_generated_text_the_same_beginning_is_not_taken_for_the_same_answer(finished: Run):
    members = [one for one in conditions(finished, finished.whole_specs())
               if one.task == "translation" and one.behavior]  # fmt: skip
    inside = Inside("llama-0", "translation", members)
    icl, it = (next(one for one in members if one.label == label) for label in ("icl-2", "it-2"))
    same = [
        x == y
        for left, right in zip(icl.outputs, it.outputs, strict=True)
        for x, y in zip(left, right, strict=True)
    ]
    assert inside.same_texts(Side("icl-2"), Side("it-2")) == np.mean(same)
    zero = next(one for one in members if one.label == "zero-shot")
    same = [x == y for right in it.outputs for x, y in zip(zero.outputs[0], right, strict=True)]
    assert inside.same_texts(ANCHOR, Side("it-2")) == np.mean(same)


def test_the_headline_names_what_was_compared(finished: Run):
    (found,) = [claim for claim in analyze(finished).claims if "headline" in claim]
    assert found["claim"] == "in-context learning is implicit instruction tuning"
    assert found["headline"].startswith("prompt and tuning agree on answers (")
    assert "within an answer" in found["headline"] and "fewer than 5 draws" in found["headline"]
    assert found["line"] == f"{found['headline']}; {found['detail']}"


def test_the_main_claim_is_shown_by_every_measure_against_every_route(finished: Run):
    rows = analyze(finished).tables["implicit"]
    assert list(dict.fromkeys(rows.measure)) == ["within", "projected", "centered", "cosine"]
    for measure, own in rows.groupby("measure"):
        assert list(own.over) == [
            "anchor ~ ICL", "anchor ~ IT", "anchor ~ ICL, less the control's",
            "anchor ~ IT, less the control's", "ICL ~ SL", "ICL ~ the steered anchor",
            "ICL ~ full tuning",
        ]  # fmt: skip
        assert set(own.judges) == {"yes" if measure == "within" else "no"}
        assert list(own.counts) == ["yes"] * 6 + ["no"]


def test_tuning_of_no_steps_is_the_anchor_to_rounding(finished: Run):
    factors = analyze(finished).tables["factors"]
    start = factors[
        factors.factor.str.startswith("dose") & (factors.level == "0")
        & (factors.left == "zero-shot") & (factors.measure == "cosine")
    ]  # fmt: skip
    assert len(start) == 3
    np.testing.assert_allclose(start[["value", "low", "high"]], 1, rtol=0, atol=1e-10)


def test_every_label_in_the_tables_stands_for_something(finished: Run):
    report = analyze(finished)
    named = {
        label
        for table in report.tables.values()
        for column in ("condition", "left", "right")
        if column in table
        for label in table[column]
    }
    assert named <= set(report.labels)
    own = {label: report.labels[label] for label in named}
    assert own["icl-2"] == Shown("icl-2", "icl-2", "icl", 2)
    assert own["it-2 other draw"] == Shown("it-2 other draw", "it-2", "it", 2, "other draw")
    assert own["icl-2 @labels"] == Shown("icl-2 @labels", "icl-2", "icl", 2, "@labels")
    assert own["it-2-trajectory@3"] == Shown(
        "it-2-trajectory@3", "it-2-trajectory", "it", 2, "trajectory"
    )
    steered = own["zero-shot steered"]
    assert (steered.condition, steered.adaptation, steered.short) == (
        "zero-shot", "zero_shot", "anchor steered",
    )  # fmt: skip


def test_two_draws_decide_nothing(finished: Run):
    claims = analyze(finished).claims
    assert claims and {claim["state"] for claim in claims} == {"not decided"}


def test_every_claim_belongs_to_a_factor_and_has_its_numbers(finished: Run):
    claims = pd.DataFrame(analyze(finished).claims)
    own = claims[claims.model == "llama-0"]
    assert set(own.factor) == {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
    assert own[["low", "effect", "high"]].apply(lambda row: row.is_monotonic_increasing, 1).all()
    assert ((own.p_holm >= own.p) | own.claim.str.startswith("in-context")).all()


def test_the_analysis_can_be_changed_without_the_model_and_what_was_measured_cannot(finished: Run):
    report = analyze(finished, ["measures=[cosine]", "claim.measure=cosine", "factors=[pairs]"])
    assert set(report.tables["pairs"].measure) == {"cosine", "change cosine", "change projection"}
    assert report.tables["factors"].empty
    with pytest.raises(UserError, match="'shots' decides what is measured"):
        analyze(finished, ["shots=4"])


class Stopped(Silent):
    """A reporter in whose hands the user presses Ctrl-C as a cell starts."""

    def __init__(self, cells: int) -> None:
        self.left = cells

    def started(self, cell) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_stopped_study_goes_on_to_the_same_tables(llama: Path, finished: Run, tmp_path: Path):
    config = settings(llama)
    for cells in (3, 11):
        with pytest.raises(KeyboardInterrupt):
            run_cells(config, tmp_path / "run", Stopped(cells))
    again = run_cells(config, tmp_path / "run")
    whole, resumed = analyze(finished), analyze(again)
    assert whole.claims == resumed.claims
    for name, table in whole.tables.items():
        pd.testing.assert_frame_equal(table, resumed.tables[name], check_exact=True)


@pytest.mark.parametrize("arch", ["gpt2", "qwen3", "gemma3"])
def test_other_architectures_are_studied_in_all_their_layers(arch: str, tmp_path: Path):
    folder = tiny.tiny_folder(tmp_path, arch)
    config = settings(folder, factors=["pairs", "layers", "position"], untrained=False)
    report = analyze(run_cells(config, tmp_path / "run"))
    pairs = report.tables["pairs"]
    layers = load(str(folder)).architecture.num_layers
    assert set(pairs[~pairs.is_final].layer) == set(range(layers + 1))
    if arch != "gpt2":  # There, what enters layer 0 depends on the token's place, too.
        same = pairs[
            (pairs.layer == 0) & (pairs.measure == "cosine") & (pairs.left == "zero-shot")
            & (pairs.right != "full-2")  # Which tunes the embedding, too.
        ]  # fmt: skip
        np.testing.assert_allclose(same.value, 1, atol=1e-6)
    assert set(report.tables["factors"].level) == {
        "last", "separator", "instruction", "labels ~ last",
    }  # fmt: skip


PARTS = {
    "the anchor": ("zero_shot",),
    "in-context learning": ("icl",),
    "anchor and in-context learning": ("zero_shot", "icl"),
    "tuning": ("it", "sl", "full"),
    "anchor and tuning": ("zero_shot", "it"),
    "a trajectory of tuning": ("it_trajectory",),
    "no path": ("zero_shot", "icl", "it", "sl", "full"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_conditions_is_reported_like_the_whole(part, finished, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    found, shown = said(cut(finished, tmp_path / "cut", by(*PARTS[part])))
    assert set(found.tables) == set(columns.tables_of("convergence"))
    assert all("model" in table for table in found.tables.values())
    assert "note: " in shown


@pytest.mark.parametrize("name", ["sentiment-novel", "translation"])
def test_one_task_is_reported_like_all(name, finished, tmp_path, monkeypatch):
    undrawn(monkeypatch)
    kept = cut(finished, tmp_path / "cut", lambda spec: spec["task"]["name"] == name)
    assert set(said(kept)[0].tables["behavior"]["task"]) == {name}


def test_fewer_items_than_a_measure_takes_are_refused_before_work_begins(llama: Path):
    with pytest.raises(UserError, match=r"has 4 test items to read; cka, procrustes take at least"):
        plan.plan(settings(llama, queries=4))
    with pytest.raises(UserError, match="has 1 test item to read; an interval takes at least 2"):
        plan.plan(settings(llama, queries=1, measures=["cosine"], claim={"measure": "cosine"}))
    assert plan.plan(settings(llama, queries=5)).cells
