"""The one lease: of a cell, of a base model, of a command."""

import errno
import json
import os

import pytest

from adaptlens.errors import UserError
from adaptlens.store import lease as lease_module
from adaptlens.store.lease import Lease
from adaptlens.store.owners import live_owner, locked, read_owner


@pytest.fixture
def paths(tmp_path):
    return tmp_path / "held", tmp_path / "lock"


def silent_for_ever(path):
    """Make it another machine's, and old, so that it may be taken over."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another"}))
    os.utime(path, (1, 1))


def test_it_is_held_until_it_is_released(paths):
    path, lock = paths
    with Lease(path, lock) as held:
        assert held.is_ours()
        with locked(lock) as now:
            assert live_owner(path, now) == held.owner
    assert not path.exists()
    held.release()


def test_what_must_be_done_before_others_may_have_it_is_done_under_the_lock(paths):
    path, lock = paths
    seen = []
    held = Lease(path, lock)
    held.release(lambda now: seen.append((now, path.exists(), read_owner(lock).pid)))
    assert seen == [(lock.stat().st_mtime, True, os.getpid())]
    assert not path.exists()


def test_who_lost_it_does_nothing_more_and_leaves_the_heirs_alone(paths):
    path, lock = paths
    slow = Lease(path, lock)
    silent_for_ever(path)
    with locked(lock) as now:
        assert live_owner(path, now) is None
        new_holder = Lease(path, lock)
    assert new_holder.is_ours() and not slow.is_ours()
    slow.release(lambda _: pytest.fail("it is another's"))
    assert read_owner(path) == new_holder.owner
    new_holder.release()


def test_what_cannot_be_refreshed_is_not_held(paths, monkeypatch):
    path, lock = paths

    def refused(_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(lease_module, "_Heartbeat", refused)
    with pytest.raises(UserError, match="cannot write"):
        Lease(path, lock)
    assert not path.exists()


@pytest.mark.parametrize("pid", [0, -1, True, "1"])
def test_a_file_that_names_no_process_is_nobodys(paths, pid):
    path, lock = paths
    with Lease(path, lock):
        path.write_text(json.dumps({**json.loads(path.read_text()), "pid": pid}))
        assert read_owner(path) is None
