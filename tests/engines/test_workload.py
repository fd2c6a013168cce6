"""A cell's work is foreseen: tokens as they are then computed, bytes as they are then stored."""

import json

import pytest

from adaptlens.adapt.families import family_of
from adaptlens.cli.planned import plan_table
from adaptlens.engines import Silent, kept_throughput, workload
from adaptlens.engines.forecast import forecast
from adaptlens.engines.throughput import CELL_SECONDS, SHAPE_USE, Throughput, paced, shape
from adaptlens.engines.trials import TRIAL_PROMPTS, affordable
from adaptlens.lm import score
from adaptlens.lm.load import load
from adaptlens.lm.prefix.walk import ForwardStats as Counted
from adaptlens.store import Run
from adaptlens.studies.compare import plan as comparison
from adaptlens.studies.compare.config import compare_config
from adaptlens.studies.convergence import plan
from adaptlens.studies.convergence.config import convergence_config
from adaptlens.studies.driver import execute, write_plan
from adaptlens.studies.implicit import plan as implicit
from adaptlens.studies.implicit.config import implicit_config
from adaptlens.studies.progress import foreseen
from adaptlens.types import CostEstimate
from tiny import tiny_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workload")
    tiny_folder(folder, "llama")
    rows = [{"text": f"{i} the put", "label": "ab"[i % 2]} for i in range(300)]
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def settings(folder, **given):
    return compare_config(
        **{
            "models": [f"{folder}/llama-0"],
            "tasks": [{"path": f"{folder}/rows.json"}],
            "shots": [0, 4],
            "draws": 2,
            "device": "cpu",
            "tune": {"max_steps": [3]},
            **given,
        }
    )


@pytest.fixture(scope="module")
def done(folder):
    """A comparison's plan, and the run that carried it out."""
    config = settings(folder)
    study, run = comparison.plan(config), Run.open(folder / "run", create=True)
    write_plan(run, study)
    execute(study, run, config, Silent())
    return study, run


def works(study, folder):
    return {
        cell.label: workload.of_cell(cell, study.tasks[cell.task.digest], f"{folder}/llama-0")
        for cell in study.cells
    }


def test_trained_tokens_are_those_that_training_computes(done, folder):
    study, run = done
    found = works(study, folder)
    for record in run.records():
        label = record.spec["adaptation"]["label"]
        if runs := record.result["training"].get("runs"):
            read = min(
                sum(run[name] for run in runs) for name in ("tokens_computed", "tokens_given")
            )
            # A step reads alike in every run. How short rows are filled up is not foreseen; what
            # is shared is.
            each = found[label].trained_tokens / found[label].steps
            assert read / sum(run["steps"] for run in runs) == pytest.approx(each, rel=0.35)
            # Three rates are tried.
            assert found[label].steps == 3 * 3 * len(record.spec["draws"])
            assert found[label].full == label.startswith("full")


@pytest.mark.parametrize("label", ["zero-shot", "icl-4"])
def test_read_tokens_are_those_that_scoring_computes(done, folder, label):
    study, _ = done
    cell = next(cell for cell in study.cells if cell.label == label)
    task, lm = study.tasks[cell.task.digest], load(f"{folder}/llama-0", device="cpu")
    made = cell.adaptation.make("adaptation")
    adapted = made.adapt(lm, task, cell.draws)
    counted = Counted()
    ways, num_draws = len(task.templates), len(adapted.draws) // len(task.templates)
    for variant in range(len(adapted.draws)):
        # Of the validation queries, each template is asked those whose turn it is.
        queries = (*task.test, *task.validation[variant // num_draws :: ways])
        sent = [adapted.write(variant, query) for query in queries]
        score.score(lm, score.encode(lm, sent), work=counted)
    found = works(study, folder)[label].read_tokens
    assert counted.tokens_computed == pytest.approx(found, rel=0.35)


def test_bytes_are_those_on_disk(done, folder):
    study, run = done
    stored = sum(path.stat().st_size for path in run.folder.glob("cells/**/*") if path.is_file())
    planned = sum(
        workload.of_cell(c, study.tasks[c.task.digest], f"{folder}/llama-0").disk_bytes
        for c in study.cells
    )
    assert stored / 2 < planned < 2 * stored


def test_full_tuning_reads_what_lora_reads(done, folder):
    found = works(done[0], folder)
    # One draw a cell, of two.
    assert 2 * found["full-4"].read_tokens == pytest.approx(found["it-4"].read_tokens)


def test_every_cell_of_the_other_studies_is_work(folder):
    task = [{"path": f"{folder}/rows.json"}]
    given = {"models": [f"{folder}/llama-0"], "draws": 2}
    studies = [
        plan.plan(convergence_config(**given, tasks=task, shots=4, factor_draws=1, counts=[2])),
        implicit.plan(implicit_config(**given, families=["boolean"], quick=True)),
    ]
    for study in studies:
        for cell in study.cells:
            found = workload.of_cell(cell, study.tasks[cell.task.digest], f"{folder}/llama-0")
            assert found.read_tokens > 0 or cell.measurements[0].name == "resemblance"
            assert (found.steps > 0) == (family_of(cell.adaptation.name) == "tune")


def test_seconds_add_up():
    throughput = Throughput(
        load=9.0, prompt=1.0, read=(2.0, 20.0), single=3.0, write=(4.0, 40.0), train=(5.0, 6.0),
        full=(7.0, 8.0), peak_bytes=0.0,
    )  # fmt: skip
    work = CostEstimate(
        prompts=1, read_tokens=1, single_tokens=1, written_tokens=1, trained_tokens=1, steps=1
    )
    assert throughput.seconds(work, tuned=False) == pytest.approx(
        CELL_SECONDS + 1 + 2 + 3 + 4 + 5 + 6
    )
    assert throughput.seconds(work, tuned=True) == pytest.approx(
        CELL_SECONDS + 1 + 20 + 3 + 40 + 5 + 6
    )


def test_the_pace_of_a_large_base_by_hand():
    # 1e9 parameters of 2 bytes on a device of 1e12 operations and 1e11 bytes a second.
    found = paced(1e9, bytes_each=2, flops=1e12, bandwidth=1e11)
    read = 2e9 / (1e12 * SHAPE_USE["read"])
    assert found.read == (read, read)
    assert found.train == (pytest.approx(4e9 / (1e12 * SHAPE_USE["train"])), 0.0)
    assert found.full[0] == pytest.approx(6e9 / (1e12 * SHAPE_USE["train"]))
    # Reading all weights once for 64 texts takes less than computing them does.
    assert found.write[0] == read
    slow = paced(1e9, bytes_each=2, flops=1e12, bandwidth=1e9)
    assert slow.write[0] == pytest.approx(2e9 / (1e9 * SHAPE_USE["bandwidth"]) / 64)


def test_a_forecast_has_a_row_per_condition_and_tries_each_shape_once(
    folder, monkeypatch, tmp_path
):
    monkeypatch.setattr(kept_throughput, "cache", lambda: tmp_path)
    tiny_folder(folder, "llama", seed=1)
    names = [f"{folder}/llama-0", f"{folder}/llama-1"]
    assert shape(names[0]) == shape(names[1])
    config = settings(folder, models=names, shots=[0, 2], tuning=["it"], draws=2, search=False)
    study = comparison.plan(config)
    said: list[str] = []
    found = forecast(study, config, said.append)
    assert said == ["trying llama-0"]
    assert len(found) == 6
    assert all(row["seconds"] > 0 and row["memory_bytes"] > 1e8 for row in found)
    rows = foreseen(study, config, comparison.planned_work(study, folder / "none"), said.append)
    assert [row["condition"] for row in rows] == ["zero-shot", "icl-2", "it-2"] * 2
    # The second plan had the speed that the first one found, to the last digit.
    assert said[1].startswith("llama-0: speed as found before")
    assert [row["seconds"] for row in rows] == [row["seconds"] for row in found]
    forecast(study, config, said.append, again=True)
    assert said[2:] == ["trying llama-0"]
    [kept] = (tmp_path / "throughputs").iterdir()
    kept.write_text("{")
    forecast(study, config, said.append)
    assert said[3:] == ["trying llama-0"]


def test_a_kept_pace_is_for_one_kind_of_work_on_one_device(folder):
    def key(device="cpu", **given):
        config = settings(folder, shots=[0, 4], tuning=["it"], search=False, **given)
        study = comparison.plan(config)
        model = f"{folder}/llama-0"
        works = {
            id(cell): workload.of_cell(cell, study.tasks[cell.task.digest], model)
            for cell in study.cells
        }
        about = {"device": device, "dtype": config.dtype, "quantize": None}
        return kept_throughput.key(model, study.cells, works, about)

    assert key() == key() == key(queries=20)
    others = [
        key(device="meta"),
        key(dtype="bfloat16"),
        key(tune={"max_steps": [3], "lora_rank": 2}),
    ]
    assert len({key(), *others, key(draws=8)}) == 5


def test_a_trial_is_cut_down_to_what_fits_its_time():
    # The first 8 took a second: 8 s allow 64 of them once, 32 twice; never less, never over 96.
    assert [affordable(1.0, rounds) for rounds in (1, 2, 100)] == [64, 32, 8]
    assert affordable(1e-6, 2) == TRIAL_PROMPTS


def test_the_note_counts_what_is_left():
    row = {"model": "m", "draws": 4, "draws_done": 3, "seconds": 240.0, "memory_bytes": 2e9,
           "disk_bytes": 3e6}  # fmt: skip
    note = plan_table([row, {**row, "draws_done": 4}]).note
    assert note.startswith("about 1.0 min to go on one device, 2.0 GB of memory, 6.0 MB on disk")
