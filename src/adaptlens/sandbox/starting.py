"""The child process that fills in templates: started when first needed, and again when it ended."""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_CHILD = Path(__file__).with_name("child.py")
_MAX_ANSWER_BYTES = 16_000_000

_lock = threading.Lock()
_running: tuple[int, subprocess.Popen[bytes]] | None = None
"""The process that started the child, and the child: a forked process starts its own."""


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """Return the child's answer to a request; {"error": "budget"} where it ended over it."""
    try:
        line = json.dumps(request, default=str).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        return {"error": "failed", "said": f"its values are no JSON: {error}"}
    with _lock:
        child = _child()
        try:
            child.stdin.write(line)  # type: ignore[union-attr]
            child.stdin.flush()  # type: ignore[union-attr]
            answer = child.stdout.readline(_MAX_ANSWER_BYTES)  # type: ignore[union-attr]
            told = json.loads(answer)
        except (OSError, ValueError):
            return _ended(child)
        except BaseException:
            # An answer that nobody has read would be taken for that of the next request.
            _end(child)
            raise
    return told if isinstance(told, dict) else {"error": "failed", "said": "no answer"}


def _child() -> "subprocess.Popen[bytes]":
    global _running
    if _running is None or _running[0] != os.getpid() or _running[1].poll() is not None:
        child = subprocess.Popen(
            [sys.executable, "-B", "-I", str(_CHILD), json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        _running = (os.getpid(), child)
    return _running[1]


def _ended(child: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """Return what the end of the child says about the request."""
    _end(child)
    late = getattr(signal, "SIGPROF", None)
    said = "more time" if late and child.returncode == -late else "more memory"
    return {"error": "budget", "said": f"{said} than it may take"}


def _end(child: "subprocess.Popen[bytes]") -> None:
    global _running
    _running = None
    with contextlib.suppress(OSError):
        child.stdin.close()  # type: ignore[union-attr]
    try:
        child.wait(timeout=1)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()  # type: ignore[union-attr]


def stop() -> None:
    """End the child, if this process has one."""
    if _running is not None and _running[0] == os.getpid():
        _end(_running[1])


atexit.register(stop)
