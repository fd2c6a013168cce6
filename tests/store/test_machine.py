"""What is known of the processes of this machine."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from adaptlens.store.machine import is_stopped, process_start

WAIT = [sys.executable, "-c", "print(flush=True); input()"]


@pytest.fixture
def child():
    child = subprocess.Popen(WAIT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    yield child
    child.kill()
    child.communicate()


@pytest.mark.skipif(not psutil.LINUX, reason="Linux counts from boot")
def test_a_process_started_at_the_tick_that_the_kernel_says(child):
    """Field 22 of /proc/PID/stat (proc_pid_stat(5)), which claims on disk have always held."""
    for pid in (os.getpid(), child.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        assert process_start(pid) == fields[22 - 3]


def test_a_process_that_ended_has_no_start_though_nobody_asked_how(child):
    assert process_start(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert process_start(child.pid) == ""
    child.wait()
    assert process_start(child.pid) == ""


def test_a_stopped_process_is_known_until_it_goes_on(child):
    assert not is_stopped(child.pid)
    child.send_signal(signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)
    assert is_stopped(child.pid)
    child.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, child.pid, os.WCONTINUED)
    assert not is_stopped(child.pid)
