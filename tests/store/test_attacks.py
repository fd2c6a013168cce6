"""Links in a run, clocks that are wrong, processes that are stopped, locks that are kept."""

import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from adaptlens.engines.processes import _log
from adaptlens.errors import UserError
from adaptlens.store import Run, cell_id, make_folder, owners, write_atomically
from adaptlens.store import atomic as files_module
from adaptlens.store.commands import working
from adaptlens.store.events import append_event
from adaptlens.store.links import refuse_links
from adaptlens.studies.driver import write_tables

SPEC = {"model": {"name": "m"}, "draws": [0]}
CELL = cell_id(SPEC)
ARRAYS = {"a": np.arange(3)}


@pytest.fixture
def run(tmp_path):
    return Run.open(tmp_path / "run", create=True)


@pytest.fixture
def outside(tmp_path):
    """A folder with a file, neither of which may change."""
    folder = tmp_path / "outside"
    (folder / "inner").mkdir(parents=True)
    (folder / "precious.txt").write_text("precious")
    (folder / "inner" / "precious.txt").write_text("precious")
    yield folder
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    assert found == ["inner", "inner/precious.txt", "precious.txt"]
    assert (folder / "precious.txt").read_text() == "precious"


def finish(run):
    with run.claim(SPEC) as claim:
        claim.finish({"n": 1}, ARRAYS)
    return run.cell_folder(CELL)


# Links.


def every_use(run):
    """Yield what reads, writes and clears a run, each as a function."""
    yield lambda: run.claim({**SPEC, "draws": [1]}).release()
    yield lambda: run.claim(SPEC)
    yield lambda: run.status()
    yield lambda: [record.arrays["a"] for record in run.records()]
    yield lambda: run.mend()
    yield lambda: run.add(SPEC)
    yield lambda: write_tables(run, {})
    yield lambda: run.write_json("tasks/a.json", {})
    yield lambda: run.lease_base("0" * 64)
    yield lambda: _log(run, 0)


@pytest.mark.parametrize(
    "name",
    ["cells", f"cells/{CELL}", f"cells/{CELL}/arrays", "tables", "tasks", "leases", "workers"],
)
def test_nothing_behind_a_linked_folder_is_touched(run, outside, name):
    finish(run)
    path = run.folder / name
    if path.exists():
        shutil.rmtree(path)
    path.symlink_to(outside, target_is_directory=True)
    refused = 0
    for use in every_use(run):
        try:
            use()
        except UserError as error:
            refused += "is a link" in str(error)
            assert "\n" not in str(error)
    assert refused
    assert path.is_symlink()
    assert any("link" in problem.message for problem in run.check())


@pytest.mark.parametrize("name", ["lock", f"cells/{CELL}/log.jsonl", f"cells/{CELL}/claim"])
def test_no_file_behind_a_link_is_written_or_cut(run, outside, name):
    run.add(SPEC)
    path = run.folder / name
    path.unlink(missing_ok=True)
    path.symlink_to(outside / "precious.txt")
    with pytest.raises(UserError, match="is a link"):
        finish(run)


def test_a_linked_log_of_a_worker_is_not_cut(run, outside):
    path = _log(run, 0)
    path.unlink()
    path.symlink_to(outside / "precious.txt")
    with pytest.raises(UserError, match="is a link"):
        _log(run, 0)


def test_a_copy_by_hard_links_keeps_its_files(run, outside):
    run.add(SPEC)
    folder = run.cell_folder(CELL)
    for path in (folder / "log.jsonl", run.folder / "lock", _log(run, 0)):
        path.unlink(missing_ok=True)
        os.link(outside / "precious.txt", path)
    before = (outside / "precious.txt").read_bytes()
    _log(run, 0)
    run.mend()
    append_event(folder, '{"event":"x","time":"now"}')
    write_atomically(folder / "log.jsonl", "new")
    assert (outside / "precious.txt").read_bytes() == before != b""
    assert (folder / "log.jsonl").read_text() == "new"


def test_a_run_may_be_reached_through_a_link(run, tmp_path):
    (tmp_path / "link").symlink_to(run.folder, target_is_directory=True)
    linked = Run.open(tmp_path / "link")
    finish(linked)
    assert linked.check() == []


def test_links_outside_runs_are_the_users_own(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    refuse_links(tmp_path / "link" / "file")
    write_atomically(tmp_path / "link" / "file", "text")
    assert (tmp_path / "real" / "file").read_text() == "text"


# Clocks.


def test_a_failure_of_before_is_tried_again_whatever_its_date(run):
    claim = run.claim(SPEC)
    claim.fail("out of memory")
    path = run.cell_folder(CELL) / "log.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [json.dumps({**event, "time": "2999-01-01T00:00:00+00:00"}) for event in events]
    path.write_text("".join(f"{line}\n" for line in lines))
    seen = len(run.log(CELL))
    assert run.failure(CELL, seen) is None
    run.claim(SPEC).fail("again")
    assert run.failure(CELL, seen) == "again"


def ahead(run, seconds):
    """Have another machine hold the cell, by a claim dated ahead."""
    run.claim(SPEC)
    path = run.cell_folder(CELL) / "claim"
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another", "pid": 1}))
    then = time.time() + seconds
    os.utime(path, (then, then))
    return path


def test_a_claim_dated_ahead_is_void_once_it_was_seen_unchanged_for_as_long_as_any(
    run, monkeypatch
):
    path = ahead(run, 1e6)
    assert run.claim(SPEC) is None
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 0.9 * files_module.STALE_SECONDS)
    assert run.claim(SPEC) is None
    # Refreshed, it counts anew.
    then = time.time() + 2e6
    os.utime(path, (then, then))
    assert run.claim(SPEC) is None
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 1.8 * files_module.STALE_SECONDS)
    assert run.claim(SPEC) is None
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 2.0 * files_module.STALE_SECONDS)
    assert run.claim(SPEC) is not None


# Stopped processes.

HOLD = """
import os, signal, sys
from adaptlens.store import Run
from adaptlens.store.owners import locked
run = Run.open(sys.argv[1])
if sys.argv[2] == "claim":
    claim = run.claim({"model": {"name": "m"}, "draws": [0]})
    print("held", flush=True)
    sys.stdin.readline()
else:
    with locked(run.folder / "lock"):
        print("held", flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def stopped(run):
    """Return a function that starts a process which holds something, and stops it."""
    children = []

    def start(what):
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(run.folder), what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        assert child.stdout.readline() == "held\n"
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def test_a_lock_that_a_stopped_process_keeps_is_said_and_not_waited_for_for_ever(
    run, stopped, monkeypatch, caplog
):
    child = stopped("lock")
    monkeypatch.setattr(owners, "LOCK_SAID_SECONDS", 0.01)
    monkeypatch.setattr(owners, "LOCK_SECONDS", 0.1)
    with caplog.at_level(logging.WARNING), pytest.raises(UserError) as caught:
        run.claim(SPEC)
    who = f"process {child.pid} on "
    assert who in caplog.text and who in str(caught.value)
    assert f"kill -CONT {child.pid}" in str(caught.value)
    child.send_signal(signal.SIGCONT)
    child.stdin.close()
    child.wait()
    assert run.claim(SPEC) is not None


def test_a_cell_of_a_stopped_process_is_taken_over_once_it_was_silent_long_enough(run, stopped):
    child = stopped("claim")
    assert run.claim(SPEC) is None
    path = run.cell_folder(CELL) / "claim"
    holder = owners.read_owner(path)
    assert f"kill -CONT {child.pid}" in holder.said()
    then = time.time() - 2 * files_module.STALE_SECONDS
    os.utime(path, (then, then))
    assert run.claim(SPEC) is not None


# Temporary files.


def test_what_a_dead_process_was_writing_is_found_and_cleared(run):
    finish(run)
    code = (
        "import os, sys; from pathlib import Path; from adaptlens.store import atomic\n"
        "os.replace = lambda *_: os._exit(0)\n"
        "atomic.write_atomically(Path(sys.argv[1]), 'half')"
    )
    names = ["study.json", "tables/accuracy.parquet", f"cells/{CELL}/spec.json"]
    make_folder(run.folder / "tables")
    for name in names:
        subprocess.run([sys.executable, "-c", code, str(run.folder / name)], check=True)
    left = [path for path in run.folder.rglob("*.tmp")]
    assert len(left) == 3
    assert sum("interrupted" in problem.message for problem in run.check()) == 3
    run.mend()
    assert not list(run.folder.rglob("*.tmp"))
    assert run.check() == []


def test_what_a_live_process_is_writing_stays(run):
    ours = run.folder / files_module._temporary_name("study.json")
    ours.write_text("half")
    assert run.mend() == []
    assert ours.exists()


# Two plans.


def test_a_second_plan_is_refused_while_the_first_is_at_work(run):
    with working(run.folder, "a" * 64):
        with working(run.folder, "a" * 64):
            pass
        with (
            pytest.raises(UserError, match=f"other settings by process {os.getpid()} on"),
            working(run.folder, "b" * 64),
        ):
            pass
    with working(run.folder, "b" * 64):
        pass
    assert not list((run.folder / "commands").iterdir())


def test_the_plan_of_a_dead_process_keeps_nobody_off(run):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from adaptlens.store.commands import working\n"
        "held = working(Path(sys.argv[1]), 'a' * 64); held.__enter__(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(run.folder)], check=True)
    (left,) = (run.folder / "commands").iterdir()
    with working(run.folder, "b" * 64):
        assert not left.exists()


# Disks.


def test_a_name_too_long_is_one_line(tmp_path):
    for use in (
        lambda: Run.open(tmp_path / ("x" * 300), create=True),
        lambda: make_folder(tmp_path / ("x" * 300)),
    ):
        with pytest.raises(UserError, match="too long") as caught:
            use()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_lock_that_another_name_has_elsewhere_is_not_written_to(run, outside):
    (run.folder / "lock").unlink(missing_ok=True)
    os.link(outside / "precious.txt", run.folder / "lock")
    with owners.locked(run.folder / "lock"):
        descriptor = os.open(run.folder / "lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)


def test_paths_of_a_result_do_not_lead_out_of_its_cell(run, outside):
    from adaptlens.store.sealed import seal

    folder = finish(run)
    stored = json.loads((folder / "result.json").read_text())
    del stored["digest"]
    stored["files"]["../../../outside/precious.txt"] = {"bytes": 8, "sha256": "0" * 64}
    (folder / "result.json").write_text(seal(stored))
    assert [cell.state for cell in run.status().cells] == ["damaged"]
    assert Path(folder / "result.json").exists()
