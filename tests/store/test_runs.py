import json
import os
import shutil
import time

import numpy as np
import pytest
import safetensors

from adaptlens.errors import UserError
from adaptlens.store import ClaimLost, Damaged, Run, cell_id
from adaptlens.store import lease as lease_module
from adaptlens.store import owners as owners_module
from adaptlens.store.finished import array_bytes, parse_array

SPEC = {"format": 1, "model": {"name": "m"}, "draws": [0, 1], "seed": 0}
CELL = cell_id(SPEC)
ARRAYS = {"behavior.loglik": np.array([[-1.5, np.nan]]), "gold": np.arange(3)}
TEXTS = {"outputs": [["é", "\ud800"]]}


@pytest.fixture
def run(tmp_path):
    return Run.open(tmp_path / "run", create=True)


def finished(run, spec=SPEC):
    with run.claim(spec) as claim:
        claim.finish({"accuracy": 0.5}, ARRAYS, TEXTS)
    return run.cell_folder(cell_id(spec))


def rewrite_claim(run, *, silent_seconds=0.0, **changes):
    path = run.cell_folder(CELL) / "claim"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    then = path.stat().st_mtime - silent_seconds
    os.utime(path, (then, then))


# What is written is read back.


def test_a_finished_cell_reads_back_as_it_was_written(run):
    with run.claim(SPEC) as claim:
        claim.finish({"ece": float("nan"), "n": np.int64(3), "ci": (0.1, 0.2)}, ARRAYS, TEXTS)
    record = run.read(CELL)
    assert record.spec == SPEC
    assert np.isnan(record.result["ece"])
    assert record.result["n"] == 3
    assert record.result["ci"] == [0.1, 0.2]
    assert record.texts == TEXTS
    assert set(record.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert record.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(record.arrays[name], array)
    assert [r.id for r in run.records()] == run.cells() == [CELL]


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.0),
        np.zeros((0, 4), np.float32),
        np.arange(6).reshape(2, 3).T,
        np.arange(3, dtype=">i4"),
        np.array([True, False]),
        np.array([np.nan, -np.nan, np.inf, -0.0]),
        np.array([1.5], np.float16),
        np.array([255], np.uint8),
    ],
    ids=str,
)
def test_arrays_keep_shape_values_and_signs(array, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(array_bytes("a", array))
    back = parse_array(path.read_bytes())
    assert (back.shape, back.dtype) == (array.shape, array.dtype.newbyteorder("="))
    np.testing.assert_array_equal(back, array)
    if array.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(back), np.signbit(array))


def test_bfloat16_rounds_to_nearest_and_ties_to_even(tmp_path):
    # bfloat16 has 7 bits after the point: neighbors of 1 are 1 - 2**-8 and 1 + 2**-7.
    given = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-9, -2.5, np.inf, np.nan, 3.4e38], "f4")
    wanted = np.array([1, 1 + 2**-6, 1, -2.5, np.inf, np.nan, np.inf], "f4")
    path = tmp_path / "a.safetensors"
    path.write_bytes(array_bytes("a", given, bfloat16=True))
    ((_, tensor),) = safetensors.deserialize(path.read_bytes())
    assert tensor["dtype"] == "BF16"
    np.testing.assert_array_equal(parse_array(path.read_bytes()), wanted)


def test_files_put_into_the_claims_folder_are_published_and_checked(run):
    with run.claim(SPEC) as claim:
        (claim.folder / "adapters" / "draw=0").mkdir(parents=True)
        (claim.folder / "adapters" / "draw=0" / "adapter_config.json").write_text("{}")
        claim.finish({})
    path = run.cell_folder(CELL) / "adapters" / "draw=0" / "adapter_config.json"
    assert run.check() == []
    path.write_text("[]")
    assert [p.file for p in run.check()] == ["adapters/draw=0/adapter_config.json"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (({}, {"a": np.array(["text"])}), TypeError),
        (({}, {"a": np.array([object()])}), TypeError),
        (({}, {"../a": np.zeros(1)}), ValueError),
        (({"a": object()},), TypeError),
    ],
    ids=["text", "object", "path", "result"],
)
def test_a_value_that_cannot_be_stored_gives_the_cell_back(run, arguments, error):
    claim = run.claim(SPEC)
    with pytest.raises(error):
        claim.finish(*arguments)
    assert not run.is_done(CELL)
    finished(run)
    assert run.check() == []


# The life of a cell.


def test_states_of_a_cell(run):
    run.add(SPEC)
    assert run.status().counts["pending"] == 1
    claim = run.claim(SPEC)
    (cell,) = run.status().cells
    assert (cell.state, cell.pid) == ("running", os.getpid())
    assert run.claim(SPEC) is None
    claim.fail("out of memory")
    (cell,) = run.status().cells
    assert (cell.state, cell.error) == ("failed", "out of memory")
    run.claim(SPEC).release()
    assert run.status().counts["interrupted"] == 1
    finished(run)
    assert run.status().counts == {
        "done": 1, "running": 0, "failed": 0, "interrupted": 0, "pending": 0,
        "damaged": 0,
    }  # fmt: skip
    assert run.claim(SPEC) is None
    assert [e["event"] for e in run.log(CELL)] == [
        "claimed", "failed", "claimed", "released", "claimed", "finished",
    ]  # fmt: skip


def test_a_block_left_by_an_exception_gives_the_cell_back(run):
    with pytest.raises(KeyboardInterrupt), run.claim(SPEC) as claim:
        (claim.folder / "adapters").mkdir()
        raise KeyboardInterrupt
    assert sorted(os.listdir(run.cell_folder(CELL))) == ["log.jsonl", "spec.json"]


def test_a_log_cut_short_loses_its_last_line_and_goes_on(run):
    with run.claim(SPEC) as claim:
        claim.log("measured", seconds=1.5)
    path = run.cell_folder(CELL) / "log.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    assert [e["event"] for e in run.log(CELL)] == ["claimed", "measured"]
    run.claim(SPEC).release()
    assert [e["event"] for e in run.log(CELL)] == ["claimed", "measured", "claimed", "released"]


def test_what_a_killed_process_left_is_removed_when_the_cell_is_claimed(run):
    run.claim(SPEC)
    folder = run.cell_folder(CELL)
    (folder / "arrays").mkdir()
    (folder / "arrays" / "loglik.safetensors").write_bytes(b"half")
    (folder / ".texts.json.0123.tmp").write_bytes(b"half")
    (folder / "spec.json").write_bytes(b"half")
    rewrite_claim(run, pid=2**22 + 1)
    with run.claim(SPEC) as claim:
        names = sorted(os.listdir(folder))
        assert names == ["claim", "log.jsonl", claim.folder.name, "spec.json"]
        claim.finish({})
    assert run.check() == []


# Claims of the dead, the slow and the far away.


def test_a_dead_process_loses_its_claim(run):
    run.claim(SPEC)
    rewrite_claim(run, pid=2**22 + 1)
    assert run.status().counts["interrupted"] == 1
    assert run.claim(SPEC) is not None


def test_a_later_process_with_the_same_number_does_not_hold_the_claim(run):
    run.claim(SPEC)
    rewrite_claim(run, process_start="1")
    assert run.claim(SPEC) is not None


def test_a_live_process_keeps_its_claim_however_long_it_is_silent(run):
    run.claim(SPEC)
    rewrite_claim(run, silent_seconds=10 * owners_module.STALE_SECONDS)
    assert run.claim(SPEC) is None


@pytest.mark.parametrize(("silent", "taken"), [(0.5, False), (1.5, True)])
def test_a_claim_from_another_machine_ends_with_its_heartbeat(run, silent, taken):
    run.claim(SPEC)
    rewrite_claim(
        run, machine="another", pid=1, silent_seconds=silent * owners_module.STALE_SECONDS
    )
    assert (run.claim(SPEC) is not None) == taken


def test_a_torn_claim_is_nobodys(run):
    run.claim(SPEC)
    (run.cell_folder(CELL) / "claim").write_bytes(b'{"host"')
    assert run.claim(SPEC) is not None


def test_who_lost_a_claim_cannot_finish_and_the_heirs_result_stands(run):
    slow = run.claim(SPEC)
    (slow.folder / "adapters").mkdir()
    rewrite_claim(run, machine="another", silent_seconds=2 * owners_module.STALE_SECONDS)
    new_holder = run.claim(SPEC)
    with pytest.raises(ClaimLost, match=CELL):
        slow.finish({"who": "slow"}, ARRAYS)
    new_holder.finish({"who": "new holder"}, ARRAYS)
    assert run.read(CELL).result == {"who": "new holder"}
    assert run.check() == []


def test_who_lost_a_claim_after_the_heir_finished_changes_nothing(run):
    slow = run.claim(SPEC)
    rewrite_claim(run, machine="another", silent_seconds=2 * owners_module.STALE_SECONDS)
    run.claim(SPEC).finish({"who": "new holder"})
    with pytest.raises(ClaimLost):
        slow.finish({"who": "slow"}, ARRAYS)
    slow.fail("too late")
    assert run.read(CELL).result == {"who": "new holder"}
    assert run.check() == []


def test_the_heartbeat_refreshes_the_claim(run, monkeypatch):
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.01)
    with run.claim(SPEC):
        path = run.cell_folder(CELL) / "claim"
        os.utime(path, (1, 1))
        for _ in range(500):
            if path.stat().st_mtime > 1:
                break
            time.sleep(0.01)
        assert path.stat().st_mtime > 1


# Runs that cannot be used.


def test_a_run_from_a_newer_version_is_refused(run):
    (run.folder / "run.json").write_text('{"format":2}')
    with pytest.raises(UserError, match=r"has format 2.*reads up to 1; upgrade adaptlens"):
        Run.open(run.folder)


def test_a_result_from_a_newer_version_is_refused(run):
    path = finished(run) / "result.json"
    path.write_text('{"format":2}')
    with pytest.raises(UserError, match="upgrade adaptlens"):
        run.read(CELL)


def test_a_folder_with_other_things_in_it_does_not_become_a_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"thesis\.tex.*choose a new folder"):
        Run.open(tmp_path, create=True)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_does_not_become_a_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        Run.open(tmp_path / "file", create=True)


@pytest.mark.parametrize("name", [".", "missing"])
def test_what_is_no_run_is_not_opened(tmp_path, name):
    with pytest.raises(UserError, match=r"is not a run \(it has no run\.json\)"):
        Run.open(tmp_path / name)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format":"x"}', "\udcff"])
def test_a_damaged_run_json_is_one_line(run, content):
    (run.folder / "run.json").write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match=r"run\.json") as caught:
        Run.open(run.folder)
    assert "\n" not in str(caught.value)


def test_reading_a_cell_that_is_not_done_names_it(run):
    run.add(SPEC)
    with pytest.raises(UserError, match=f"{CELL}: not done yet"):
        run.read(CELL)
    with pytest.raises(UserError, match="0000: not in it"):
        run.read("0000")


# Check.


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit in an array": (lambda f: flip(f / "arrays/gold.safetensors"), "changed"),
    "an array cut short": (
        lambda f: os.truncate(f / "arrays/gold.safetensors", 20),
        "has 20 bytes",
    ),
    "an array gone": (lambda f: (f / "arrays/gold.safetensors").unlink(), "missing"),
    "texts gone": (lambda f: (f / "texts.json").unlink(), "missing"),
    "a changed text": (lambda f: flip(f / "texts.json"), "changed"),
    "a changed number": (
        lambda f: (f / "result.json").write_text(
            (f / "result.json").read_text().replace('"accuracy":0.5', '"accuracy":0.9')
        ),
        "damaged",
    ),
    "an empty result": (lambda f: (f / "result.json").write_bytes(b""), "damaged"),
    "a spec of another cell": (
        lambda f: (f / "spec.json").write_text(json.dumps({**SPEC, "seed": 1})),
        "describes another cell",
    ),
    "a spec that is not JSON": (lambda f: (f / "spec.json").write_bytes(b"{"), "not JSON"),
    "no spec": (lambda f: (f / "spec.json").unlink(), "missing"),
    "a foreign file": (lambda f: (f / "arrays/notes.txt").write_text("x"), "foreign"),
    "a temporary file": (lambda f: (f / ".spec.json.01.tmp").write_text("x"), "left by"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_check_finds(run, damage):
    folder = finished(run)
    assert run.check() == []
    harm, words = DAMAGE[damage]
    harm(folder)
    problems = run.check()
    assert any(words in p.message and p.cell == CELL for p in problems), problems


def test_check_finds_a_result_copied_from_another_cell(run):
    other = finished(run, {**SPEC, "seed": 1})
    folder = finished(run)
    shutil.copy(other / "result.json", folder / "result.json")
    assert any("belongs to the cell" in p.message for p in run.check())


def test_check_leaves_a_cell_at_work_alone(run):
    with run.claim(SPEC) as claim:
        (claim.folder / "adapters").mkdir()
        assert run.check() == []


def test_a_damaged_array_is_one_line_that_says_what_to_do(run):
    folder = finished(run)
    os.truncate(folder / "arrays/gold.safetensors", 20)
    with pytest.raises(
        UserError, match=r"gold\.safetensors.*damaged.*run the command that made the run again"
    ):
        run.read(CELL).arrays["gold"]


@pytest.mark.parametrize("name", ["arrays/gold.safetensors", "texts.json"])
def test_a_flipped_bit_is_not_read(run, name):
    folder = finished(run)
    flip(folder / name)
    record = run.read(CELL)
    with pytest.raises(Damaged, match=f"{name}' is damaged .its SHA-256 is not that"):
        _ = record.texts if name == "texts.json" else record.arrays["gold"]
    # Its size is right, so that only who reads every byte sees it.
    assert run.mend() == []
    (said,) = run.mend(thorough=True)
    assert name in said and not run.is_done(CELL)
    finished(run)
    assert run.check() == []


@pytest.mark.parametrize("name", ["spec.json", "result.json", "texts.json", "log.jsonl"])
def test_a_cell_with_a_file_cut_short_is_damaged_until_it_is_set_aside(run, name):
    folder = finished(run)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(b"{" + content[: len(content) // 2] + b"\n")
    states = [cell.state for cell in run.status().cells]
    # No result depends on the log.
    assert states == ["done" if name == "log.jsonl" else "damaged"]
    (said,) = run.mend()
    assert f"cells/{CELL}/{name}" in said and "set aside as 'damaged/" in said
    assert run.check() == []
    assert run.is_done(CELL) == (name == "log.jsonl")


def test_a_result_that_was_lost_is_missed(run):
    folder = finished(run)
    (folder / "result.json").unlink()
    assert [cell.state for cell in run.status().cells] == ["damaged"]
    with pytest.raises(Damaged, match=r"result\.json' is missing, though the cell was finished"):
        list(run.records())
