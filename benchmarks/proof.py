"""What a change of structure must not change: all that a small run of each study leaves.

    python benchmarks/proof.py [--quick] [--out DIR] [--write FILE] [--compare FILE]

Runs each study once through the command line, by one process with one thread, and makes its report
again. Then digests every cell (id, arrays, adapters, texts, result), every table, the figures and
the pages, without what a clock or a memory gauge measured. `--write` keeps the digests; `--compare`
names each that differs from a kept one, is missing or is new, and exits 1. A change that may alter
nothing is made between the two. `--quick` runs one comparison alone.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

TUNE = "--set tune.max_steps=[4] --set tune.lr_multipliers=[1]"
STUDIES = {
    "compare": "compare --model reference --task sentiment-novel --task translation --shots 0,2 "
    f"--tuning it,sl,full --draws 2 --queries 8 --set validation=8 {TUNE}",
    "compare-own": "compare --model ladder-neox-s --task own.csv --group film "
    "--choices 0=bad,1=good --template 'Review: {input}\\nSentiment: {target}' "
    "--template '{input} is {target}' --shots 0,8 --tuning full --draws 5 --queries 48 "
    "--no-search --set prices.gpu_hour=1 --set validation=16 --set tune.max_steps=[10,20] "
    "--set tune.lr_multipliers=[1]",
    "compare-few": "compare --model ladder-qwen-s --task own.csv --shots 4 --tuning it --draws 2 "
    f"--queries 8 --true-few-shot --set num_templates=1 {TUNE}",
    "compare-chat": "compare --model chatting --chat --task topic-novel --shots 0,2 --tuning it "
    f"--template {{input}}->{{target}} --draws 2 --queries 8 --set validation=8 {TUNE}",
    "convergence": "study convergence --model reference --task sentiment-novel --shots 2 "
    f"--counts 1,2 --draws 3 --queries 8 {TUNE}",
    "implicit": "study implicit --quick --families boolean,relation --tuning it,full --draws 2 "
    "--queries 6 --set mixed=true --set transfer=true --set circuits.items=8 "
    "--set circuits.edges=true --set circuits.corruptions=[other,twin] "
    f"--set circuits.methods=[denoise,noise,noise-mean] {TUNE}",
    "implicit-own": "study implicit --quick --model reference --task topic-novel --draws 2 "
    f"--queries 8 --set circuits.items=8 {TUNE}",
    "limits": "study limits --quick --draws 1 --queries 4 --mixtures default,one-task "
    "--set tune.max_steps=[4]",
}
"""What is run, by the name of its folder."""

MEASURED = ("seconds", "bytes", "versions")
"""What has one of these in its name is of the machine or the moment, not of the study."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a new folder for the runs (default: not kept)")
    parser.add_argument("--write", type=Path, help="keep the digests in this file")
    parser.add_argument("--compare", type=Path, help="compare with the digests in this file")
    parser.add_argument("--quick", action="store_true", help="only the first comparison")
    given = parser.parse_args()
    kept = json.loads(given.compare.read_text(encoding="utf-8")) if given.compare else None
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.out or Path(temporary) / "runs").resolve()
        if folder.exists():
            parser.error(f"{given.out} is there already; expected a folder to make")
        folder.mkdir(parents=True)
        prepare(folder)
        found = {}
        for name in ["compare"] if given.quick else STUDIES:
            for key, digest in digests(folder, name):
                found[key] = digest
                print(f"{key} {digest}", flush=True)
    if given.write:
        given.write.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if kept is None:
        print(counted(found))
        return
    if wrong := list(differences(kept, found)):
        sys.exit("\n".join([*wrong, f"not the same: {len(wrong)} of {counted(found)}"]))
    print(f"same: {counted(found)}")


def counted(found: dict[str, str]) -> str:
    """Say how many digests there are of each kind."""
    kinds = Counter(key.split()[1] for key in found)
    return ", ".join(f"{number} {kind}s" for kind, number in kinds.items())


def differences(kept: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    """Yield a line for each digest that is not the same in both."""
    for key in sorted(kept.keys() | found.keys()):
        if key not in found:
            yield f"missing: {key}"
        elif key not in kept:
            yield f"new: {key}"
        elif kept[key] != found[key]:
            yield f"differs: {key}"


def prepare(folder: Path) -> None:
    """Put what the runs are given into their folder: a user's file, and a model that can chat."""
    said = [["dull poor", "weak poor"], ["fine good", "warm good"]]
    rows = [f"a {said[i % 2][i % 4 // 2]} film number {i},{i % 2},{i // 2}" for i in range(240)]
    (folder / "own.csv").write_text("\n".join(["text,label,film", *rows]) + "\n", encoding="utf-8")
    shutil.copytree(str(resources.files("adaptlens") / "zoo" / "reference"), folder / "chatting")
    (folder / "chatting" / "chat_template.jinja").write_text(
        "{% for one in messages %}{{ one.role + ': ' + one.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
        encoding="utf-8",
    )


def digests(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    """Run a study in a folder of its own, and yield what names each part and its digest."""
    run = folder / name
    command(folder, [*shlex.split(STUDIES[name]), "--out", name])
    first = tables(run)
    command(folder, ["report", name])
    if again := [table for table, digest in tables(run).items() if digest != first.get(table)]:
        sys.exit(f"{name}: report makes other tables: {', '.join(again)}")
    for path in sorted(run.glob("cells/*/result.json")):
        yield f"{name} cell {path.parent.name}", of_cell(path.parent)
    for table, digest in first.items():
        yield f"{name} table {table}", digest
    for path in sorted(run.glob("figures/*.svg")):
        if not measured(path.stem):
            yield f"{name} figure {path.stem}", sha256(path.read_bytes())
    if not name.startswith("compare"):  # whose page shows seconds
        yield f"{name} page report", sha256((run / "report.html").read_bytes())


def command(folder: Path, words: list[str]) -> None:
    """Run a command of adaptlens in a folder, with one thread."""
    done = subprocess.run(
        [sys.executable, "-m", "adaptlens", *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stderr}")


def of_cell(cell: Path) -> str:
    """Return the digest of a cell's arrays, adapters, texts and result."""
    stored = json.loads((cell / "result.json").read_text(encoding="utf-8"))["result"]
    parts = [json.dumps(unmeasured(stored), sort_keys=True).encode()]
    for path in (*sorted(cell.rglob("*.safetensors")), cell / "texts.json"):
        content = path.read_bytes() if path.exists() else b"none"
        parts.append(f"{path.relative_to(cell).as_posix()} {sha256(content)}".encode())
    return sha256(b"\n".join(parts))


def unmeasured(value: Any) -> Any:
    """Return a result without what was measured in it."""
    if isinstance(value, dict):
        return {k: unmeasured(v) for k, v in value.items() if not measured(k)}
    return [unmeasured(one) for one in value] if isinstance(value, list) else value


def tables(run: Path) -> dict[str, str]:
    """Return the digest of every table of a run, by name."""
    out = {}
    for path in sorted(run.glob("tables/*.parquet")):
        table = pd.read_parquet(path)
        if path.stem == "break_even":
            table = table[table["unit"] == "FLOP"]
        columns = {c: [*map(repr, table[c].tolist())] for c in table if not measured(str(c))}
        out[path.stem] = sha256(json.dumps(columns).encode())
    return out


def measured(name: str) -> bool:
    """Say whether the clock, a gauge of memory or an installed package decides what has a name."""
    return any(word in name for word in MEASURED)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
