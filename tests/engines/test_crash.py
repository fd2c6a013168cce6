"""A run killed at any moment and started again ends with the same tables, byte for byte."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiny import tiny_folder

DETERMINISTIC = ("accuracy", "differences", "baselines", "calibration", "reliability", "answers")
KILLS = 6


def command(folder: Path, run: str) -> list[str]:
    words = f"compare --model {folder}/llama-0 --task {folder}/rows.json --shots 0,2 --draws 2"
    return [
        *(sys.executable, "-m", "adaptlens", *words.split(), "--out", str(folder / run)),
        *("--set", "tune.max_steps=3"),
    ]


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "tables" / f"{name}.parquet").read_bytes() for name in DETERMINISTIC}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crash")
    tiny_folder(folder, "llama")
    rows = [{"text": f"{i} the put", "label": "ab"[i % 2]} for i in range(40)]
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    start = time.monotonic()
    subprocess.run(command(folder, "whole"), check=True, capture_output=True)
    return time.monotonic() - start


def cells_done(folder: Path) -> int:
    return len(list((folder / "killed" / "cells").glob("*/result.json")))


def test_kill_9_at_random_moments_changes_no_byte_of_the_tables(folder, whole):
    chance = random.Random(0)
    cells = len(list((folder / "whole" / "cells").iterdir()))
    killed = 0
    for _ in range(KILLS):
        # Once more cells are done than before, or all were; then at any moment of the next.
        wanted = min(cells_done(folder) + 1, cells)
        process = subprocess.Popen(
            command(folder, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while cells_done(folder) < wanted and process.poll() is None:
            time.sleep(0.01)
        try:
            process.wait(chance.uniform(0, 0.1) * whole)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
    subprocess.run(command(folder, "killed"), check=True, capture_output=True)
    assert killed >= KILLS // 2
    assert tables(folder / "killed") == tables(folder / "whole")


def test_two_processes_on_one_run_share_the_work(folder, whole):
    both = [
        subprocess.Popen(command(folder, "shared"), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    talk = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    finished = [line for text in talk for line in text.splitlines() if line.startswith("[")]
    cells = len(list((folder / "shared" / "cells").iterdir()))
    assert len(finished) == cells
    assert tables(folder / "shared") == tables(folder / "whole")
