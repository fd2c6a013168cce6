"""What is left of a run after kill -9, a full disk and a race, at every point there is."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from adaptlens.errors import UserError
from adaptlens.store import Run, cell_id

SPECS = [{"cell": i} for i in range(40)]
ARRAYS = {"a": np.arange(5000.0), "b": np.arange(10)}
TEXTS = {"outputs": ["text"] * 100}

PREAMBLE = """
import os, signal, sys, time
import numpy as np
from adaptlens.store import Run
SPECS = [{"cell": i} for i in range(40)]
ARRAYS = {"a": np.arange(5000.0), "b": np.arange(10)}
TEXTS = {"outputs": ["text"] * 100}
run = Run.open(sys.argv[1], create=True)
def do(spec):
    claim = run.claim(spec)
    if claim is not None:
        claim.finish({"n": 5000}, ARRAYS, TEXTS)
    return claim is not None
"""

WRITE_ALL = """
for spec in SPECS:
    do(spec)
"""

RACE = """
# Each child claims what it can, says what it got, and holds it until all have tried.
done_read, done_write = os.pipe()
for child in range(8):
    if os.fork() == 0:
        os.close(done_write)
        line = "crashed"
        try:
            held = [claim for claim in map(run.claim, SPECS) if claim is not None]
            line = " ".join(claim.id for claim in held)
        finally:
            os.write(1, line.encode() + b"\\n")
            if line == "crashed":
                os._exit(1)
        os.read(done_read, 1)
        os._exit(0)
print("forked", flush=True)
sys.stdin.readline()
os.close(done_write)
"""

KILL_AT_RANDOM = """
# Every child goes on with the cells that are left, until it is killed.
import random
moments = random.Random(0)
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        for spec in SPECS:
            do(spec)
        os._exit(0)
    time.sleep(moments.uniform(0.0, 0.06))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print("killed", flush=True)
    sys.stdin.readline()
"""

CRASH_AT_EVERY_CALL = """
# One cell per crash point: a child that dies at its n-th call into the operating system.
for name in ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir", "utime", "close"):
    def counted(*args, _call=getattr(os, name), **kwargs):
        global calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return _call(*args, **kwargs)
    setattr(os, name, counted)
last, killed = 0, True
while killed:
    calls, last = 0, last + 1
    pid = os.fork()
    if pid == 0:
        do({"cell": last})
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status)
print(last)
"""


def start(code, folder):
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def is_whole(run, spec):
    """Say whether the cell is done; a done cell must be complete and undamaged."""
    cell = cell_id(spec)
    if not run.is_done(cell):
        return False
    record = run.read(cell)
    assert record.result == {"n": 5000}
    assert record.texts == TEXTS
    np.testing.assert_array_equal(record.arrays["a"], ARRAYS["a"])
    np.testing.assert_array_equal(record.arrays["b"], ARRAYS["b"])
    return True


def finish_all(run, specs):
    for spec in specs:
        claim = run.claim(spec)
        if claim is not None:
            claim.finish({"n": 5000}, ARRAYS, TEXTS)
    assert all(is_whole(run, spec) for spec in specs)
    assert run.check() == []


def test_kill_9_at_random_moments_leaves_whole_results_or_none(tmp_path):
    child = start(KILL_AT_RANDOM, tmp_path / "run")
    found = 0
    for _ in range(20):
        assert child.stdout.readline() == "killed\n"
        run = Run.open(tmp_path / "run")
        whole = sum(is_whole(run, spec) for spec in SPECS)
        assert whole >= found
        found = whole
        # What is wrong with the run is only what the next claim removes.
        assert all("interrupted" in p.message for p in run.check())
        child.stdin.write("\n")
        child.stdin.flush()
    child.communicate(timeout=60)
    assert child.returncode == 0
    finish_all(run, SPECS)


def test_kill_9_at_every_system_call_leaves_whole_results_or_none(tmp_path):
    child = start(CRASH_AT_EVERY_CALL, tmp_path / "run")
    output, _ = child.communicate(timeout=120)
    crashes = int(output)
    assert crashes > 40
    run = Run.open(tmp_path / "run")
    specs = [{"cell": i} for i in range(1, crashes + 1)]
    whole = [is_whole(run, spec) for spec in specs]
    # Once the result is there, every later crash leaves it there.
    assert whole == sorted(whole)
    assert not whole[0]
    assert all("interrupted" in p.message for p in run.check())
    finish_all(run, specs)


def test_of_eight_processes_one_gets_each_cell(tmp_path):
    run = Run.open(tmp_path / "run", create=True)
    won = race(run)
    assert sorted(won) == sorted(cell_id(spec) for spec in SPECS)


def test_of_eight_processes_one_inherits_each_cell_of_a_dead_process(tmp_path):
    run = Run.open(tmp_path / "run", create=True)
    for spec in SPECS:
        run.claim(spec)
        path = run.cell_folder(cell_id(spec)) / "claim"
        path.write_text(json.dumps({**json.loads(path.read_text()), "pid": 2**22 + 1}))
    won = race(run)
    assert sorted(won) == sorted(cell_id(spec) for spec in SPECS)


def race(run):
    child = start(RACE, run.folder)
    lines = [child.stdout.readline() for _ in range(9)]
    child.communicate("\n", timeout=60)
    assert child.returncode == 0
    return [cell for line in lines if line != "forked\n" for cell in line.split()]


def test_two_processes_share_the_work(tmp_path):
    run = Run.open(tmp_path / "run", create=True)
    children = [start(WRITE_ALL, run.folder) for _ in range(2)]
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0
    assert all(is_whole(run, spec) for spec in SPECS)
    for spec in SPECS:
        events = [event["event"] for event in run.log(cell_id(spec))]
        assert events == ["claimed", "finished"]
    assert run.check() == []


def full_from(monkeypatch, first, number):
    """Refuse every write from the `first` call on, as a full disk does; returns the counter."""
    calls = {"made": 0}

    def limited(call):
        def refused(*args, **kwargs):
            calls["made"] += 1
            if calls["made"] >= first:
                raise OSError(number, os.strerror(number))
            return call(*args, **kwargs)

        return refused

    for name in ("write", "fsync", "mkdir"):
        monkeypatch.setattr(os, name, limited(getattr(os, name)))
    return calls


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "read-only"), (errno.EIO, "check the disk")],
)
def test_a_disk_that_refuses_at_any_call_leaves_nothing_half_written(
    tmp_path, monkeypatch, number, words
):
    run = Run.open(tmp_path / "run", create=True)
    refusals = 0
    while True:
        spec = {"cell": refusals}
        with monkeypatch.context() as patch:
            full_from(patch, refusals + 1, number)
            try:
                with run.claim(spec) as claim:
                    claim.finish({"n": 5000}, ARRAYS, TEXTS)
            except UserError as error:
                assert words in str(error)
                assert "\n" not in str(error)
            else:
                break
        refusals += 1
        # The last fsync may be refused with the result already whole; otherwise there is none.
        done = is_whole(run, spec)
        assert run.check() == []
        assert run.status().counts["running"] == 0
        claim = run.claim(spec)
        assert (claim is None) == done
        if claim is not None:
            claim.finish({"n": 5000}, ARRAYS, TEXTS)
    assert refusals > 10
    assert run.check() == []


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_only_the_cell_in_flight(small_disk):
    run = Run.open(small_disk / "run", create=True)
    with pytest.raises(UserError, match=r"no space left.*what is finished is kept"):
        for spec in SPECS:
            with run.claim(spec) as claim:
                claim.finish({"n": 5000}, ARRAYS, TEXTS)
    done = [spec for spec in SPECS if is_whole(run, spec)]
    assert 0 < len(done) < len(SPECS)
    assert run.check() == []
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    finish_all(run, SPECS)


def test_a_read_only_run_can_be_read_but_not_continued(small_disk):
    run = Run.open(small_disk / "run", create=True)
    run.claim(SPECS[0]).finish({"n": 5000}, ARRAYS, TEXTS)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    run = Run.open(small_disk / "run", create=True)
    assert is_whole(run, SPECS[0])
    assert run.claim(SPECS[0]) is None
    assert run.status().counts["done"] == 1
    assert run.check() == []
    with pytest.raises(UserError, match="the folder is read-only or not yours"):
        run.claim(SPECS[1])
    with pytest.raises(UserError, match="the folder is read-only or not yours"):
        Run.open(small_disk / "other", create=True)
