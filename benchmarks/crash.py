"""Crash safety: killed, shared or damaged, the demo must end with the same tables.

    python benchmarks/crash.py [--quick] [--kills 30] [--shared 3] [--processes 3] [--damages 12]

Runs the demo once undisturbed. Then again, killing the command (kill -9) and what it started at
random moments and starting it again each time. Then with several processes at once on one folder,
each of which must end well. Then with a file of the finished run cut, changed or removed at random
before the same command runs again. Every table that holds no measured time is compared byte for
byte, and the run is checked. `--small` takes a small demo for long series.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TABLES = ("accuracy", "differences", "baselines", "calibration", "reliability", "answers",
          "templates", "searches")  # fmt: skip


DEMO = (
    "compare --model reference --task sentiment-novel --task translation --shots 0,4,16 --draws 10"
)
"""The demo's command, as in the Makefile."""
QUICK = "--draws 1 --queries 8 --validation 8 --shots 0,4 --tuning it --set tune.max_steps=5"


def command(out: Path, more: str) -> list[str]:
    """Return the demo's command with some options more."""
    words = [*DEMO.split(), *more.split()]
    return [sys.executable, "-m", "adaptlens", *words, "--out", str(out)]


def started(out: Path, more: str) -> subprocess.Popen[bytes]:
    """Start the demo in a process group of its own."""
    return subprocess.Popen(
        command(out, more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(out: Path, more: str) -> float:
    """Run to the end and return the seconds taken."""
    start = time.perf_counter()
    subprocess.run(command(out, more), check=True, capture_output=True)
    return time.perf_counter() - start


def kill_and_resume(
    folder: Path, more: str, seconds: float, kills: int, chance: random.Random
) -> tuple[Path, int, float]:
    """Return a run that was killed so many times and then finished, the kills, and the seconds.

    A run that ends before it is killed is begun again in another folder.
    """
    done, taken, number = 0, 0.0, 0
    out = folder / "killed-0"
    while done < kills:
        start = time.perf_counter()
        process = started(out, more)
        try:
            process.communicate(timeout=chance.uniform(0.02, 0.35) * seconds)
            number += 1
            must_be_whole(out)
            out = folder / f"killed-{number}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            done += 1
        taken += time.perf_counter() - start
    return out, done, taken + finish(out, more)


def must_be_whole(out: Path) -> None:
    """Stop where a run that ended is not whole."""
    said = subprocess.run(
        [sys.executable, "-m", "adaptlens", "check", str(out)], capture_output=True, text=True
    )
    if said.returncode:
        raise SystemExit(f"check of {out.name}: {said.stdout}{said.stderr}")


def share(folder: Path, more: str, runs: int, processes: int) -> Iterator[Path]:
    """Yield runs that several processes did together, each of which ended well."""
    for number in range(runs):
        out = folder / f"shared-{number}"
        together = [started(out, more) for _ in range(processes)]
        said = [process.communicate()[1].decode() for process in together]
        if any(process.returncode for process in together):
            raise SystemExit(f"shared run {number}: {[text[-300:] for text in said]}")
        yield out


def damage(
    whole: Path, folder: Path, more: str, times: int, chance: random.Random
) -> Iterator[Path]:
    """Yield copies of a run of which one file was damaged and the same command run again."""
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    for number in range(times):
        out = folder / f"damaged-{number}"
        shutil.copytree(whole, out)
        path = out / chance.choice(files)
        how = chance.choice(("cut", "flip", "empty", "remove"))
        content = bytearray(path.read_bytes())
        if how == "remove":
            path.unlink()
        elif how == "flip" and content:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path.write_bytes(content)
        else:
            path.write_bytes(content[: len(content) // 2] if how == "cut" else b"")
        finish(out, more)
        yield out


def different(whole: Path, other: Path) -> list[str]:
    """Return the tables that are not the same in two runs."""
    return [
        name
        for name in TABLES
        if (whole / f"tables/{name}.parquet").read_bytes()
        != (other / f"tables/{name}.parquet").read_bytes()
    ]


def main() -> None:
    """Kill, share, damage, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small demo, killed once")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--shared", type=int, default=3, help="runs that several processes share")
    parser.add_argument("--processes", type=int, default=3, help="of each shared run")
    parser.add_argument("--damages", type=int, default=12)
    parser.add_argument("--small", action="store_true", help="the small demo, with these numbers")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.quick:
        given.kills, given.shared, given.processes, given.damages = 1, 1, 2, 1
    more = QUICK if given.quick or given.small else ""
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as made:
        folder, whole = Path(made), Path(made) / "whole"
        seconds = finish(whole, more)
        killed, kills, resumed_seconds = kill_and_resume(folder, more, seconds, given.kills, chance)
        runs = {f"after {kills} kills": killed}
        for out in share(folder, more, given.shared, given.processes):
            runs[out.name] = out
        for out in damage(whole, folder, more, given.damages, chance):
            runs[out.name] = out
        wrong = {name: found for name, out in runs.items() if (found := different(whole, out))}
        for name, out in runs.items():
            if not name.startswith("damaged"):
                must_be_whole(out)
        cells = len(list(whole.glob("cells/*/result.json")))
    print(
        f"demo {seconds:.0f} s whole, {cells} cells; {kills} kills, {resumed_seconds:.0f} s in "
        f"all; {given.shared} runs shared by {given.processes} processes; {given.damages} files "
        f"damaged; "
        f"runs with identical tables: {len(runs) - len(wrong)} of {len(runs)}"
    )
    if wrong:
        raise SystemExit(f"tables differ: {wrong}")


if __name__ == "__main__":
    main()
