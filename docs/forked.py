"""One Python command in a process of its own, forked from one that has imported what all use.

`docs/check.py` runs some 120 commands; to import torch, transformers and pandas anew for each would
take a third of its time. What a start costs, and that it needs none of these, is the business of
`benchmarks/startup.py` and of the tests of imports.
"""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

IMPORTED = [
    "torch",
    "transformers.models.llama.modeling_llama",
    "pandas",
    "scipy.stats",
    "altair",
    "adaptlens.cli.main",
    "adaptlens.engines.in_process",
    "adaptlens.adapt.lora",
    "adaptlens.measure.behavior",
]
"""What is imported once."""


def server() -> "multiprocessing.context.ForkServerContext":
    """Return what processes are made from; it takes its environment from the first use."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def run(words: Sequence[str], folder: Path, env: Mapping[str, str], said: Path) -> None:
    """Run what `python WORDS` runs (`-c CODE`, `-m MODULE` or a script), as the main module.

    Args:
        words: what follows `python`.
        folder: where.
        env: the environment, whole.
        said: the file that takes what it prints, on either stream.
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    kind, *rest = words
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<documentation>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.argv = list(rest)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        sys.path.insert(0, str(Path(kind).parent))
        runpy.run_path(kind, run_name="__main__")
