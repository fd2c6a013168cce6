"""Crash safety: the demo killed (kill -9) at 30 random moments must end with the same tables.

    python benchmarks/crash.py [--quick] [--kills 30]

Runs the demo once undisturbed, then again, killing the process at random moments and starting the
same command each time, and compares every table that holds no measured time, byte for byte. Prints
the share of work that was repeated.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TABLES = ("accuracy", "differences", "baselines", "calibration", "reliability", "answers")


DEMO = (
    "compare --model reference --task sentiment-novel --task translation --shots 0,4,16 --draws 10"
)
"""The demo's command, as in the Makefile."""
QUICK = "--draws 1 --queries 8 --shots 0,4 --tuning it"


def command(out: Path, more: str) -> list[str]:
    """Return the demo's command with some options more."""
    words = [*DEMO.split(), *more.split()]
    return [sys.executable, "-m", "adaptlens", *words, "--out", str(out)]


def finish(out: Path, more: str) -> float:
    """Run to the end and return the seconds taken."""
    start = time.perf_counter()
    subprocess.run(command(out, more), check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small demo, killed once")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    num_kills, more = (1, QUICK) if given.quick else (given.kills, "")
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as made:
        whole, killed = Path(made) / "whole", Path(made) / "killed"
        seconds = finish(whole, more)
        kills = resumed_seconds = 0.0
        while kills < num_kills:
            process = subprocess.Popen(
                command(killed, more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            start = time.perf_counter()
            try:
                process.wait(chance.uniform(0.02, 0.35) * seconds)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
            resumed_seconds += time.perf_counter() - start
        resumed_seconds += finish(killed, more)
        same = {
            name: (whole / f"tables/{name}.parquet").read_bytes()
            == (killed / f"tables/{name}.parquet").read_bytes()
            for name in TABLES
        }
        cells = len(list(killed.glob("cells/*/result.json")))
    print(
        f"demo {seconds:.0f} s whole; {kills:.0f} kills, {resumed_seconds:.0f} s in all; "
        f"{cells} cells; identical tables: {sum(same.values())} of {len(same)}"
    )
    if not all(same.values()):
        raise SystemExit(f"tables differ: {[name for name, equal in same.items() if not equal]}")


if __name__ == "__main__":
    main()
