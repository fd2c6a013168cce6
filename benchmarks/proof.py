"""What a change of structure must not change: the cells and tables of a small run of each study.

    python benchmarks/proof.py [--quick] [--out DIR] [--write FILE] [--compare FILE]

Runs each study once through the command line, in a process with one thread, and digests every
cell (its id and its arrays) and every table (all that no clock or memory gauge measured).
`--write` keeps the digests; `--compare` names each that differs from a kept one, and exits 1. A
change that may alter nothing is made between the two. `--quick` runs the comparison alone.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pandas as pd

TUNE = "--set tune.steps=[4] --set tune.rate_times=[1]"
STUDIES = {
    "compare": "compare --model reference --task sentiment-novel --task translation --task own.csv "
    f"--shots 0,2 --tuning it,sl,full --draws 2 --queries 8 --set validation=8 {TUNE}",
    "compare-chat": "compare --model chatting --chat --task topic-novel --shots 0,2 --tuning it "
    f"--template {{input}}->{{target}} --draws 2 --queries 8 --set validation=8 {TUNE}",
    "convergence": "study convergence --model reference --task sentiment-novel --shots 2 "
    f"--counts 1,2 --draws 3 --queries 8 {TUNE}",
    "implicit": "study implicit --quick --families boolean --draws 2 --queries 6 "
    f"--set circuits.items=8 {TUNE}",
    "limits": "study limits --quick --draws 1 --queries 4 --mixtures default --set tune.steps=[4]",
}
"""What is run, by the name of its folder."""

MEASURED = ("seconds", "bytes", "version", "torch", "device")
"""Columns whose names hold one of these are of the machine, not of the study."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the runs are kept (default: nowhere)")
    parser.add_argument("--write", type=Path, help="keep the digests in this file")
    parser.add_argument("--compare", type=Path, help="compare with the digests in this file")
    parser.add_argument("--quick", action="store_true", help="only the comparison, and its digests")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.out or Path(temporary) / "runs").resolve()
        folder.mkdir(parents=True)
        prepare(folder)
        names = ["compare"] if given.quick else [*STUDIES]
        found = {key: value for name in names for key, value in digests(folder, name)}
    cells = sum(key.split()[1] == "cell" for key in found)
    print(f"{cells} cells, {len(found) - cells} tables")
    if given.write:
        given.write.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if given.compare:
        kept = json.loads(given.compare.read_text(encoding="utf-8"))
        differ = sorted(k for k in kept.keys() | found.keys() if kept.get(k) != found.get(k))
        for key in differ:
            print(f"differs: {key}")
        if differ:
            sys.exit(1)
        print("same")


def prepare(folder: Path) -> None:
    """Put what the runs are given into their folder: a user's file, and a model that can chat."""
    rows = [f"a {'good' if i % 2 else 'poor'} film number {i},{i % 2}" for i in range(60)]
    (folder / "own.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    shutil.copytree(str(resources.files("adaptlens") / "zoo" / "reference"), folder / "chatting")
    (folder / "chatting" / "chat_template.jinja").write_text(
        "{% for one in messages %}{{ one.role + ': ' + one.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
        encoding="utf-8",
    )


def digests(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    """Run a study in a folder of its own, and yield what names each cell and table its digest."""
    run = folder / name
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-m", "adaptlens", *STUDIES[name].split(), "--out", str(run)]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: exit code {done.returncode}\n{done.stderr}")
    for cell in sorted(path.parent for path in run.glob("cells/*/result.json")):
        digest = hashlib.sha256()
        for path in sorted(cell.rglob("*.safetensors")):
            digest.update(path.relative_to(cell).as_posix().encode() + path.read_bytes())
        yield f"{name} cell {cell.name}", digest.hexdigest()
    for path in sorted(run.glob("tables/*.parquet")):
        table = pd.read_parquet(path)
        ours = [c for c in table.columns if not any(word in str(c) for word in MEASURED)]
        if "measurement" in table:
            table = table[~table["measurement"].astype(str).str.contains("|".join(MEASURED))]
        text = table[ours].to_json(orient="records", double_precision=15)
        yield f"{name} table {path.stem}", hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
