"""Several worker processes on this machine, one per device, over one run folder."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptlens.cells import Study
from adaptlens.engines import LoadModel, Outcome, Reporter
from adaptlens.engines.watch import Watch
from adaptlens.engines.worker import LOADING_FILE
from adaptlens.errors import RunIncomplete, UserError
from adaptlens.store import Run, make_folder
from adaptlens.store.atomic import read_bytes, remove, write_new, writing
from adaptlens.store.links import refuse_links

MOST_DEATHS = 3
"""So many workers may die one after the other without a cell getting done in between."""


@dataclass(frozen=True)
class Processes:
    """Starts `adaptlens work` so many times and watches the run until nothing is left.

    Each worker has a device of its own where there are as many (GPUs; the cores of a CPU are
    shared out); its words go to workers/HOST-N.log in the run. One that dies loses the cell it
    was at, and another is started in its place. When this process ends, they do.

    Attributes:
        workers: how many.
    """

    workers: int

    def run(self, study: Study, run: Run, load: LoadModel, reporter: Reporter) -> Outcome:
        """Finish every cell of the study; `load` is not used, the workers read the run's plan.

        Raises:
            UserError: a cell fails for a reason the user can fix.
            RunIncomplete: workers die again and again.
        """
        watch = Watch(study, run, reporter)
        if not watch.left():
            return watch.outcome()
        places = _places(self.workers, run.need_json(LOADING_FILE)["device"])
        logs = [_log(run, number) for number in range(self.workers)]
        children: list[subprocess.Popen[bytes] | None] = []
        deaths, finished = 0, 0
        try:
            children += [_start(run, *one) for one in zip(places, logs, strict=True)]
            while any(children):
                left = watch.look()
                if watch.finished > finished:
                    deaths, finished = 0, watch.finished
                for number, child in enumerate(children):
                    if child is None or (code := child.poll()) is None:
                        continue
                    children[number] = None
                    _let_go(child)
                    if code == 2:
                        raise UserError(_last_line(logs[number]).removeprefix("error: "))
                    if code not in (0, 1) and left:
                        deaths += 1
                        if deaths == MOST_DEATHS:
                            raise RunIncomplete(
                                f"{deaths} workers died one after the other ({_reason(code)}); the "
                                f"last one's words are in {logs[number]}: mend what it says, then "
                                "run the same command again, what is finished is kept."
                            )
                        children[number] = _start(run, places[number], logs[number])
                time.sleep(watch.pause_seconds)
            watch.look()
        finally:
            _end([child for child in children if child is not None])
        return watch.outcome()


def end_with_parent() -> None:
    """End this process when standard input closes, as it does when the process it comes from ends.

    Called by a worker whose standard input is a pipe that its parent holds and never writes to.
    """

    def wait() -> None:
        # Not sys.stdin, whose lock a thread that waits at the interpreter's end would hold.
        os.read(0, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _places(workers: int, device: str) -> list[tuple[str, int | None]]:
    """Return each worker's device and number of threads (None: as many as the library takes)."""
    if device in ("auto", "cuda"):
        import torch

        if count := torch.cuda.device_count():
            return [(f"cuda:{i % count}", None) for i in range(workers)]
    if device in ("auto", "cpu"):
        return [(device, max(1, (os.cpu_count() or 1) // workers))] * workers
    return [(device, None)] * workers


def _log(run: Run, number: int) -> Path:
    folder = run.folder / "workers"
    make_folder(folder)
    path = folder / f"{socket.gethostname()}-{number}.log"
    with writing(path):
        # Not cut: another name of the same file, in a copy of the run, keeps its content.
        if os.path.lexists(path):
            remove(path)
        write_new(path, b"")
    return path


def _start(run: Run, place: tuple[str, int | None], log: Path) -> subprocess.Popen[bytes]:
    device, threads = place
    words = ["work", str(run.folder), "--device", device, "--attached"]
    environment = dict(os.environ)
    if threads is not None:
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    with writing(log):
        refuse_links(log)
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "adaptlens", *words],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            env=environment,
        )


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the workers that still run; what they were at is void, as their processes are gone."""
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        _let_go(child)


def _let_go(child: subprocess.Popen[bytes]) -> None:
    """Close the pipe to a worker that has ended."""
    if child.stdin is not None:
        child.stdin.close()


def _last_line(log: Path) -> str:
    lines = read_bytes(log).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"a worker stopped without a word ({log})"


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
