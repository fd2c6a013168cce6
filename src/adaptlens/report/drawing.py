"""The drawing engine (vl-convert) in a process of its own, which may fail and take nothing along.

The engine sets aside far more address space than it uses and aborts where it gets none, as under
`ulimit -v`; an abort ends its process. One process serves all the figures of the process that asks.
"""

import atexit
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

FIGURE_SECONDS = 600.0
"""A figure that takes longer is given up."""


class DrawingFailed(Exception):
    """The engine did not draw what it was asked for; the message says why, in one line."""


def svg(spec: Mapping[str, Any], version: str) -> str:
    """Return a Vega-Lite chart as SVG.

    Args:
        spec: the chart.
        version: of Vega-Lite, as "6_1".

    Raises:
        DrawingFailed: the engine refused the chart or died over it.
    """
    return _ask({"spec": spec, "version": version}).decode()


def converted(drawn: str, format: str) -> bytes:
    """Return an SVG as PNG, at twice its size, or PDF.

    Raises:
        DrawingFailed: the engine refused the picture or died over it.
    """
    return _ask({"svg": drawn, "format": format})


class _Engine:
    """The engine's process, and the pipes to it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "adaptlens.report.drawing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )

    def ask(self, request: Mapping[str, Any]) -> bytes:
        """Return what the engine draws; after DrawingFailed by its death it is of no more use."""
        assert self._process.stdin is not None and self._process.stdout is not None
        late = threading.Timer(FIGURE_SECONDS, self._process.kill)
        late.start()
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        finally:
            late.cancel()
        if not answer.endswith(b"\n"):
            raise DrawingFailed(self._death())
        found = json.loads(answer)
        if "error" in found:
            raise DrawingFailed(found["error"])
        return base64.b64decode(found["drawn"])

    def is_alive(self) -> bool:
        """Whether the process that asks has an engine that can draw."""
        return self.owner == os.getpid() and self._process.poll() is None

    def end(self) -> None:
        """End the process, if it is this one's."""
        if self.owner == os.getpid():
            self._process.kill()
            self._process.communicate()
            self._said.close()

    def _death(self) -> str:
        self._process.kill()
        code = self._process.wait()
        self._said.seek(0)
        lines = [line for line in self._said.read().decode(errors="replace").splitlines() if line]
        words = f": {lines[-1].strip()[:200]}" if lines else ""
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the drawing engine ended ({how}){words}"


_engine: _Engine | None = None
_lock = threading.Lock()


def _ask(request: Mapping[str, Any]) -> bytes:
    global _engine
    with _lock:
        if _engine is None or not _engine.is_alive():
            if _engine is not None:
                _engine.end()
            try:
                _engine = _Engine()
            except OSError as error:
                raise DrawingFailed(f"the drawing engine did not start ({error})") from None
        return _engine.ask(request)


@atexit.register
def _end() -> None:
    if _engine is not None:
        _engine.end()


def _serve() -> None:
    """Answer requests, a line each, until there are no more."""
    import vl_convert

    with suppress(KeyboardInterrupt, BrokenPipeError):
        for line in sys.stdin.buffer:
            given = json.loads(line)
            try:
                if "spec" in given:
                    drawn = vl_convert.vegalite_to_svg(given["spec"], vl_version=given["version"])
                    data = drawn.encode()
                elif given["format"] == "png":
                    data = vl_convert.svg_to_png(given["svg"], scale=2)
                else:
                    data = vl_convert.svg_to_pdf(given["svg"])
                answer = {"drawn": base64.b64encode(data).decode()}
            except ValueError as error:
                answer = {"error": " ".join(str(error).split())[:200]}
            sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
