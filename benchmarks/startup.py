"""How long `adaptlens` takes to answer, against an empty Python, and whether it loads torch.

    python benchmarks/startup.py [--quick]

Claim: `adaptlens --help` answers within 0.3 seconds and without torch; `status` and `report` do
without torch too. The peer is `python -c pass`: what no Python program can be faster than.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = [str(Path(sys.executable).with_name("adaptlens"))]
TRACED = [sys.executable, "-X", "importtime", "-m", "adaptlens"]
LIMIT_SECONDS = 0.3


def median_seconds(command: list[str], runs: int) -> float:
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def loads_torch(arguments: list[str]) -> bool:
    trace = subprocess.run([*TRACED, *arguments], check=True, capture_output=True, text=True).stderr
    return any(line.rpartition("|")[2].strip() == "torch" for line in trace.splitlines())


def small_run(folder: Path) -> Path:
    """Make a finished run of a few cells for status and report to read."""
    options = ["--shots", "0,2", "--tuning", "it", "--draws", "3", "--queries", "20"]
    subprocess.run(
        [*PROGRAM, "compare", *options, "--out", str(folder)], check=True, stdout=subprocess.PIPE
    )
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="run each command once")
    parser.add_argument("--run", type=Path, help="a finished run (default: a small one is made)")
    parser.add_argument("--repeats", type=int, default=10, help="times each command is run")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    options = parser.parse_args()
    if options.quick:
        options.repeats = 1
    with tempfile.TemporaryDirectory() as scratch:
        run = str(options.run or small_run(Path(scratch) / "run"))
        empty = median_seconds([sys.executable, "-c", "pass"], options.repeats)
        rows = [{"command": "python -c pass", "seconds": empty, "ratio": 1.0, "torch": False}]
        # The page takes seconds to draw; three times say enough.
        for name, arguments, repeats in (
            ("adaptlens --help", ["--help"], options.repeats),
            ("adaptlens compare --help", ["compare", "--help"], options.repeats),
            ("adaptlens status RUN", ["status", run], options.repeats),
            ("adaptlens report RUN", ["report", run], min(3, options.repeats)),
        ):
            seconds = median_seconds([*PROGRAM, *arguments], repeats)
            rows.append(
                {
                    "command": name,
                    "seconds": seconds,
                    "ratio": seconds / empty,
                    "torch": loads_torch(arguments),
                }
            )
    if options.json:
        print(json.dumps({"limit_seconds": LIMIT_SECONDS, "rows": rows}))
        return
    print(f"{'command':<26} {'seconds':>8} {'ratio':>6}  torch   (median of {options.repeats})")
    for row in rows:
        torch = "loaded" if row["torch"] else "no"
        print(f"{row['command']:<26} {row['seconds']:8.3f} {row['ratio']:6.1f}  {torch}")
    kept = rows[1]["seconds"] <= LIMIT_SECONDS and not rows[1]["torch"]
    print(f"adaptlens --help within {LIMIT_SECONDS} s and without torch: {'yes' if kept else 'NO'}")


if __name__ == "__main__":
    main()
