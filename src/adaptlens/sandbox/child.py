"""Fill in templates in a process of its own, under limits of time and memory; run as a script.

Reads one request a line, as JSON, and answers each with one line: {"text": ...}, or {"error": kind,
"said": ...}. A request that takes longer than its time ends the process.
"""

import contextlib
import importlib.util
import json
import os
import signal
import sys
from typing import Any

SECONDS = 2
"""Processor time of one request."""
MEMORY_BYTES = 1 << 29
"""Address space of the process; about 140 MB of it are Python's own and Transformers'."""


def main() -> None:
    """Answer requests until there are no more."""
    sys.path[:] = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit()
    # Answers go where the parent reads; nothing else that is printed may.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    environment = _environment()
    for line in sys.stdin:
        answer = _answer(environment, line)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _limit() -> None:
    """Bound memory and written files of this process, where the system can."""
    try:
        import resource
    except ImportError:
        return
    for what, bound in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (bound, bound))


def _timed(seconds: float) -> None:
    """End this process after so many seconds of processor time from now; never, if 0."""
    if hasattr(signal, "setitimer"):
        # The default action of SIGPROF ends the process, even in the middle of matching a pattern.
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _environment() -> Any:
    place = os.path.join(os.path.dirname(os.path.abspath(__file__)), "environment.py")
    spec = importlib.util.spec_from_file_location("environment", place)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["environment"] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def _answer(environment: Any, line: str) -> dict[str, Any]:
    import jinja2

    try:
        request = json.loads(line)
        if request["do"] == "chat":
            _chat_library()
        _timed(SECONDS)
        try:
            return {"text": _DO[request["do"]](environment, request)}
        finally:
            _timed(0)
    except jinja2.sandbox.SecurityError as error:
        return _error("unsafe", error)
    except jinja2.UndefinedError as error:
        return _error("undefined", error)
    except jinja2.TemplateSyntaxError as error:
        return {**_error("syntax", error), "line": error.lineno}
    except jinja2.TemplateError as error:
        return _error("template", error)
    except _Clock as error:
        return _error("clock", error)
    except (MemoryError, OverflowError) as error:
        return _error("budget", error)
    except Exception as error:
        # Told, whatever it is: an end without a word is taken for one over a limit.
        return _error("failed", error)


def _error(kind: str, error: BaseException) -> dict[str, Any]:
    said = getattr(error, "message", None) or str(error) or type(error).__name__
    return {"error": kind, "said": said[:300]}


def _fill(environment: Any, request: dict[str, Any]) -> str:
    return environment.fill(request["template"], request["values"])


def _names(environment: Any, request: dict[str, Any]) -> list[str]:
    return environment.names(request["template"])


class _Clock(Exception):
    """A chat template read the clock, and no time was given."""


def _chat_library() -> Any:
    from transformers.utils import chat_template_utils

    return chat_template_utils


def _chat(environment: Any, request: dict[str, Any]) -> str:
    """Return messages as Transformers itself writes them, at the time given."""
    from datetime import datetime

    library = _chat_library()
    now = request["now"]

    class Given:
        @staticmethod
        def now(tz: Any = None) -> datetime:
            if now is None:
                raise _Clock("it writes the date or the time")
            return datetime.fromisoformat(now)

    library.datetime = Given
    made = library.render_jinja_template(
        [request["messages"]],
        chat_template=request["template"],
        add_generation_prompt=True,
        **request["values"],
    )
    return environment.bounded(iter([made[0][0]]))


_DO = {"fill": _fill, "names": _names, "chat": _chat}


if __name__ == "__main__":
    main()
