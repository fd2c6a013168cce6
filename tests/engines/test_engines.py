"""Whoever does the cells, the same files are left behind, and no cell is done twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from adaptlens.cells import Cell, by_model
from adaptlens.cli.main import main
from adaptlens.engines import Outcome, Silent
from adaptlens.engines.drain import drain
from adaptlens.engines.on_ray import OnRay
from adaptlens.engines.processes import Processes
from adaptlens.engines.worker import LOADING_FILE, loader, loading, planned, work
from adaptlens.errors import UserError
from adaptlens.lm.load import load
from adaptlens.store import Run, cell_id
from adaptlens.studies.compare import plan as comparison
from adaptlens.studies.compare.analyze import analyze
from adaptlens.studies.compare.config import CompareConfig, compare_config
from adaptlens.studies.driver import execute, write_plan, write_tables
from tiny import tiny_folder

DETERMINISTIC = ("accuracy", "differences", "baselines", "calibration", "reliability", "answers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    tiny_folder(folder, "llama")
    tiny_folder(folder, "gpt2")
    rows = [{"text": f"{i} the put", "label": "ab"[i % 2]} for i in range(40)]
    (folder / "rows.json").write_text(json.dumps(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield folder


def settings(folder: Path, **given):
    return compare_config(
        models=[f"{folder}/llama-0", f"{folder}/gpt2-0"],
        tasks=[{"path": f"{folder}/rows.json"}],
        shots=[0, 2],
        draws=2,
        search=False,
        device="cpu",
        **{"tune": {"max_steps": [3]}, **given},
    )


def studied(config: CompareConfig, out: Path) -> tuple[Outcome, Path]:
    """Do what `adaptlens compare` does, up to the tables."""
    study, run = comparison.plan(config), Run.open(out, create=True)
    write_plan(run, study)
    outcome = execute(study, run, config, Silent())
    found, answers = analyze(run)
    write_tables(run, {**found.tables, "answers": answers})
    return outcome, out


@pytest.fixture(scope="module")
def alone(folder):
    """A run that one process did by itself, with one thread, as each of several has one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return studied(settings(folder), folder / "alone")[1]
    finally:
        torch.set_num_threads(threads)


def tables(run: Path) -> dict[str, bytes]:
    return {name: (run / "tables" / f"{name}.parquet").read_bytes() for name in DETERMINISTIC}


def arrays(run: Path) -> dict[str, bytes]:
    """Return every array and adapter of a run; nothing measured in seconds is among them."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.glob("cells/**/*.safetensors"))
    }


def claims(run: Path) -> dict[str, int]:
    """Return how often each cell was claimed."""
    opened = Run.open(run)
    return {
        cell: sum(event["event"] == "claimed" for event in opened.log(cell))
        for cell in opened.cells()
    }


def test_two_workers_leave_the_same_bytes_and_do_no_cell_twice(folder, alone):
    outcome, shared = studied(settings(folder, engine={"workers": 2}), folder / "shared")
    assert (outcome.finished, outcome.failed) == (12, ())
    assert tables(shared) == tables(alone)
    assert arrays(shared) == arrays(alone)
    assert set(claims(shared).values()) == {1}
    assert Run.open(shared).check() == []
    assert not list((shared / "leases").iterdir())


def test_each_of_two_workers_takes_a_base_of_its_own(folder):
    study, run = made(folder, "bases")
    models = {name: load(f"{folder}/{name}", device="cpu") for name in ("llama-0", "gpt2-0")}
    loads: dict[str, list[str]] = {"first": [], "second": []}
    both_loaded = threading.Barrier(2, timeout=60)

    def worker(name: str) -> None:
        def loaded(cell):
            first = not loads[name]
            loads[name].append(cell.model.name)
            if first:
                both_loaded.wait()
            return models[cell.model.name]

        drain(study, run, loaded, Silent())

    threads = [threading.Thread(target=worker, args=(name,)) for name in loads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {loads["first"][0], loads["second"][0]} == {"llama-0", "gpt2-0"}
    assert all(run.is_done(cell) for cell in run.cells())
    assert set(claims(run.folder).values()) == {1}


def test_a_worker_without_a_base_of_its_own_helps_where_one_is_drained(folder):
    study, run = made(folder, "helped")
    held = [run.lease_base(digest) for digest in bases(study)]
    assert None not in held
    assert [run.lease_base(digest) for digest in bases(study)] == [None, None]
    reporter = Order()
    outcome = drain(study, run, lambda cell: load(f"{folder}/{cell.model.name}"), reporter)
    assert outcome.finished == 12
    groups = by_model(study.cells)
    assert [cell.model.name for cell in reporter.cells] == ["llama-0"] * 6 + ["gpt2-0"] * 6
    # Tuning first: the one whose base it is begins at the other end.
    assert reporter.cells == [cell for members in groups for cell in reversed(members)]
    assert reporter.cells[0].adaptation.name == "full"


class Order(Silent):
    """Remembers in which order cells were started."""

    def __init__(self):
        self.cells = []

    def started(self, cell):
        self.cells.append(cell)


def test_the_lease_of_a_dead_worker_is_void(folder):
    study, run = made(folder, "dead")
    path = run.folder / "leases" / bases(study)[0][:20]
    code = (
        "import os, sys; from adaptlens.store import Run\n"
        "assert Run.open(sys.argv[1]).lease_base(sys.argv[2]); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, run.folder, bases(study)[0]], check=True)
    assert path.exists()
    taken = run.lease_base(bases(study)[0])
    assert taken is not None
    taken.release()
    assert not path.exists()


def test_a_plan_read_from_its_run_is_the_plan(folder, alone):
    study = comparison.plan(settings(folder))
    found = planned(Run.open(alone))
    assert [cell_id(cell.spec()) for cell in found.cells] == [
        cell_id(cell.spec()) for cell in study.cells
    ]
    assert found.tasks == study.tasks


def test_a_killed_worker_costs_its_cell_and_is_replaced(folder, alone):
    study, run = made(folder, "killed")
    found: list[Outcome] = []
    engine = threading.Thread(
        target=lambda: found.append(Processes(1).run(study, run, load, Silent()))
    )
    engine.start()
    os.kill(wait_for(lambda: owner(run.folder)), signal.SIGKILL)
    engine.join()
    assert (found[0].finished, found[0].failed) == (12, ())
    assert arrays(run.folder) == arrays(alone)
    # Only what the victim was at was begun again; it may have been killed before it logged that.
    assert sorted(claims(run.folder).values()) in ([1] * 12, [1] * 11 + [2])


def test_a_worker_ends_with_the_command_that_started_it(folder):
    _, run = made(folder, "orphan")
    command = [sys.executable, "-m", "adaptlens", "work", str(run.folder), "--attached"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_for(lambda: worker.poll() is None and owner(run.folder))
    worker.stdin.close()
    assert worker.wait(60) == -signal.SIGTERM


def test_a_worker_joins_a_run_and_ends_when_nothing_is_left(alone):
    done = CliRunner().invoke(main, ["work", str(alone)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert "12 of 12 cells were done before" in done.stderr


def test_a_worker_without_a_plan_says_what_to_start_first(tmp_path):
    run = Run.open(tmp_path / "unplanned", create=True)
    done = CliRunner().invoke(main, ["work", str(run.folder)])
    assert done.exit_code == 2
    assert "holds no plan to work on" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_the_user_can_fix_reaches_the_command_from_its_workers(folder):
    long = [{"text": f"{i} put" * 200, "label": "ab"[i % 2]} for i in range(40)]
    (folder / "long.json").write_text(json.dumps(long))
    config = replace(settings(folder), tasks=({"path": f"{folder}/long.json"},))
    study, run = made(folder, "long", config)
    with pytest.raises(UserError, match="longer than the context of 256 tokens"):
        Processes(1).run(study, run, load, Silent())


def test_a_model_that_changed_after_the_plan_is_refused(folder, tmp_path):
    tiny_folder(tmp_path, "llama")
    config = compare_config(
        models=[f"{tmp_path}/llama-0"],
        tasks=[{"path": f"{folder}/rows.json"}],
        shots=[0],
        device="cpu",
        tuning=[],
    )
    study, run = comparison.plan(config), Run.open(tmp_path / "run", create=True)
    write_plan(run, study)
    run.write_json(LOADING_FILE, loading(study, config))
    settings_file = tmp_path / "llama-0" / "config.json"
    settings_file.write_text(
        json.dumps({**json.loads(settings_file.read_text()), "rms_norm_eps": 0.1})
    )
    with pytest.raises(UserError, match="is not the one the run was planned with"):
        work(run.folder, Silent())


def test_a_worker_reads_a_model_in_the_number_format_of_its_cells(folder):
    config = replace(settings(folder), dtype="bfloat16")
    study, run = made(folder, "rounded", config)
    assert loader(run)(study.cells[0]).dtype == "bfloat16"


def test_an_address_needs_ray(folder):
    with pytest.raises(UserError, match=r"engine.address was given.*--engine ray"):
        studied(settings(folder, engine={"address": "auto"}), folder / "none")


def test_without_ray_the_engine_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    study, run = made(folder, "no_ray")
    with pytest.raises(UserError, match=r"pip install 'adaptlens\[ray\]'"):
        OnRay().run(study, run, load, Silent())


def test_a_cell_that_fails_is_left_alone_by_the_other_workers(folder):
    study, run = made(folder, "failing")
    failing = study.cells[0]

    def broken(_: Cell):
        raise RuntimeError("no such device")

    name = cell_id(failing.spec())
    began = len(run.log(name))
    claim = run.claim(failing.spec())
    assert claim is not None
    claim.fail("RuntimeError: no such device")
    assert run.failure(name, began) == "RuntimeError: no such device"
    # A later command tries it again.
    assert run.failure(name, len(run.log(name))) is None
    with pytest.raises(RuntimeError):
        drain(study, run, broken, Silent())
    assert run.status().counts["running"] == 0


def test_the_engine_changes_no_cell(folder):
    one = comparison.plan(settings(folder))
    other = comparison.plan(settings(folder, engine={"name": "ray", "workers": 3}))
    assert one.cells == other.cells


def made(folder: Path, name: str, config: CompareConfig | None = None):
    """Return a study and its run, planned and not begun."""
    study = comparison.plan(config or settings(folder))
    run = Run.open(folder / name, create=True)
    write_plan(run, study)
    run.write_json(LOADING_FILE, loading(study, settings(folder)))
    return study, run


def bases(study) -> list[str]:
    from adaptlens.canonical import digest

    return list(dict.fromkeys(digest(cell.model.stored()) for cell in study.cells))


def owner(run: Path) -> int:
    """Return the process that works on some cell, or 0."""
    for claim in run.glob("cells/*/claim"):
        try:
            return int(json.loads(claim.read_text())["pid"])
        except (FileNotFoundError, ValueError):
            continue
    return 0


def wait_for(found):
    """Return the first value of `found()` that is not false."""
    for _ in range(6000):
        if value := found():
            return value
        time.sleep(0.01)
    raise AssertionError("waited in vain")
