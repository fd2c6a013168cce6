"""Requests to a server of models: tried again where that helps, counted, and stopped at a limit."""

import email.utils
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from adaptlens.errors import UserError, first_line, one_line

KEY_VARIABLE = "ADAPTLENS_API_KEY"
"""Environment variable with the key that a server asks for."""
OPENAI_VARIABLE, OPENAI_HOST = "OPENAI_API_KEY", "api.openai.com"
"""The key that is sent to this host alone, where `KEY_VARIABLE` is not set."""

LONGEST_WAIT_SECONDS = 120.0
"""A server that asks for a longer pause is not waited for."""

LARGEST_ANSWER_BYTES = 128 * 2**20
"""An answer of more is broken off: log-probabilities of 100,000 tokens are a third of it."""

_CHUNK_BYTES = 2**16
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_KEPT = "finished cells are kept, the same command goes on"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Limits:
    """How a server is asked.

    Attributes:
        max_requests: the most requests that its models answer; None for any number.
        max_tokens: the most tokens read and written, as the server counts them, likewise; requests
            that are under way when it is reached are finished.
        timeout_seconds: the longest wait for one answer.
        retries: how often a request is sent again.
        retry_seconds: the pause before the second try, doubled before each further one; a server
            that says how long to wait is waited for as it says.
        concurrency: requests under way at a time.
    """

    max_requests: int | None = None
    max_tokens: int | None = None
    timeout_seconds: float = 300.0
    retries: int = 6
    retry_seconds: float = 0.5
    concurrency: int = 4


@dataclass(slots=True)
class Used:
    """What a server's models did: requests that they answered, and tokens.

    Attributes:
        requests: answered.
        read_tokens: of their prompts.
        cached_tokens: those of them that the server had kept, where it says so.
        written_tokens: generated.
    """

    requests: int = 0
    read_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0

    def numbers(self) -> dict[str, float]:
        """Return it by name, as a cell stores it."""
        return {f"served_{name}": float(value) for name, value in asdict(self).items()}


class Refused(UserError):
    """The server understood the request and refuses it (status 400, 404, 405, 422 or 501)."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a server sent: the whole of it, which has a bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; what is none is marked."""
        return self.body.decode("utf-8", "replace")


@dataclass
class Connection:
    """One server, by its address (`http://host:8000`, without the `/v1`).

    The key is read from the environment for every request, and never kept, shown or stored.
    """

    address: str
    limits: Limits = field(default_factory=Limits)
    used: Used = field(default_factory=Used)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None

    def get(self, path: str) -> Any:
        """Return what the server says at a path, as JSON."""
        return self._asked("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any], *, counted: bool = False) -> Any:
        """Return the server's answer to a JSON body.

        Args:
            path: below the address.
            body: what is asked.
            counted: whether a model does work for it, so that it counts towards the limits.

        Raises:
            Refused: the server does not know the path or refuses the body.
            UserError: it cannot be reached, takes too long, refuses the key or the pace, answers
                with no JSON, or a limit is reached.
        """
        if counted:
            self._check_limits()
        answer = self._asked("POST", path, body)
        if counted:
            self._count(answer)
        return answer

    def each(
        self, ask: Callable[[T], R], asked: Sequence[T], progress: Callable[[int, int], None] | None
    ) -> list[R]:
        """Return `ask` of every item, several at a time, begun in this order.

        The first error ends it: what has not begun is not asked.
        """
        if len(asked) < 2 or self.limits.concurrency < 2:
            return list(_told(map(ask, asked), len(asked), progress))
        pool = ThreadPoolExecutor(self.limits.concurrency)
        try:
            futures = [pool.submit(ask, one) for one in asked]
            for future in _told(as_completed(futures), len(asked), progress):
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
        return [future.result() for future in futures]

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        import requests

        pause = self.limits.retry_seconds
        for left in range(self.limits.retries, -1, -1):
            try:
                answer = self._received(method, path, body)
            except requests.Timeout:
                error = self._error(
                    f"gave no answer to {path} within {self.limits.timeout_seconds:g} s",
                    "see what it is busy with, or raise server.timeout_seconds",
                )
            except requests.ConnectionError as failed:
                error = self._error(
                    f"cannot be reached ({_reason(failed)})", "start it, or correct the address"
                )
            except requests.RequestException as failed:
                raise self._error(
                    f"cannot be asked ({first_line(failed)})", "correct the address"
                ) from None
            else:
                if answer.status == 200:
                    return self._json(answer, path)
                error = self._failed(answer, path)
                if answer.status not in _AGAIN or _is_spent(answer):
                    raise error
                asked_for = _asked_for(answer.headers.get("Retry-After", ""))
                if asked_for > LONGEST_WAIT_SECONDS:
                    raise error
                pause = max(pause, asked_for)
            if left:
                time.sleep(pause)
                pause = min(2 * max(pause, self.limits.retry_seconds), LONGEST_WAIT_SECONDS)
        raise error

    def _received(self, method: str, path: str, body: Mapping[str, Any] | None) -> _Answer:
        """Return an answer, read to its end.

        Raises:
            requests.Timeout: it has not ended in the time that there is for one answer.
            UserError: it is larger than any answer is.
        """
        import requests

        seconds = self.limits.timeout_seconds
        until = time.monotonic() + seconds
        received = bytearray()
        with self._opened().request(
            method,
            self.address + path,
            json=body,
            headers=self._headers(),
            timeout=seconds,
            allow_redirects=False,
            stream=True,
        ) as response:
            for chunk in response.iter_content(_CHUNK_BYTES):
                received += chunk
                if len(received) > LARGEST_ANSWER_BYTES:
                    raise self._error(
                        f"sends more than {LARGEST_ANSWER_BYTES / 2**20:g} MiB in answer to {path}",
                        "see that it is the server you mean, and its log",
                    )
                if time.monotonic() > until:
                    raise requests.Timeout
            return _Answer(response.status_code, response.headers, bytes(received))

    def _opened(self) -> Any:
        """Return the session, which keeps as many connections open as are used at a time."""
        import requests
        from requests.adapters import HTTPAdapter

        with self._lock:
            if self._session is None:
                self._session = requests.Session()
                for scheme in ("http://", "https://"):
                    kept = HTTPAdapter(pool_maxsize=self.limits.concurrency)
                    self._session.mount(scheme, kept)
                # A .netrc would put its own password in the place of the key.
                self._session.auth = _no_netrc
        return self._session

    def _key(self) -> str:
        own = os.environ.get(KEY_VARIABLE, "")
        if not own and urlsplit(self.address).hostname == OPENAI_HOST:
            return os.environ.get(OPENAI_VARIABLE, "")
        return own

    def _headers(self) -> dict[str, str]:
        key = self._key().strip()
        if not key:
            return {}
        if not (key.isascii() and key.isprintable()):
            raise self._error(
                f"is given the key in {KEY_VARIABLE}, which holds characters that no key has",
                "set it again",
            )
        return {"Authorization": f"Bearer {key}"}

    def _failed(self, answer: _Answer, path: str) -> UserError:
        """Return the error for an answer that is none."""
        status, said = answer.status, self._said(answer)
        if status in (401, 403):
            variable = f"{KEY_VARIABLE} (or, for {OPENAI_HOST}, {OPENAI_VARIABLE})"
            what = "refuses the key" if self._key() else "asks for a key"
            return self._error(f"{what} (status {status})", f"set {variable} in the environment")
        if status == 429:
            if _is_spent(answer):
                return self._error(f"says that the account is used up ({said})", "add to it")
            wait = answer.headers.get("Retry-After")
            told = f", and asks for a pause of {one_line(wait, 40, 10)} s" if wait else ""
            return self._error(
                f"still refuses the pace (status 429{told}): {said}",
                "lower server.concurrency, raise server.retries, or go on later",
            )
        if 300 <= status < 400:
            return self._error(
                f"sends {path} elsewhere (status {status})", "give the address it is served at"
            )
        if status in (400, 404, 405, 413, 422, 501):
            return Refused(f"the server {self.address} refuses {path} (status {status}): {said}")
        return self._error(f"failed at {path} (status {status}): {said}", "see its log")

    def _said(self, answer: _Answer) -> str:
        """Return what the server says of an error."""
        try:
            found = json.loads(answer.body)
            error = found.get("error", found.get("message", found.get("detail", found)))
            text = error.get("message", str(error)) if isinstance(error, dict) else str(error)
        except (ValueError, AttributeError):
            text = answer.text
        return one_line(self._without_key(text).strip(), 160, 40) or "no reason given"

    def _without_key(self, text: str) -> str:
        """Return what a server wrote without the key, which some repeat."""
        key = self._key().strip()
        return text.replace(key, "***") if key else text

    def _error(self, what: str, todo: str) -> UserError:
        return UserError(f"the server {self.address} {what}; {todo}; {_KEPT}.")

    def _json(self, answer: _Answer, path: str) -> Any:
        try:
            found = json.loads(answer.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._error(
                f"answers {path} with something else than JSON "
                f"({one_line(self._without_key(answer.text), 60, 10)})",
                "give the address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1",
            )
        return found

    def _check_limits(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            UserError: one of the limits is reached.
        """
        with self._lock:
            used, tokens = self.used, self.used.read_tokens + self.used.written_tokens
            for have, most, what, option in (
                (used.requests, self.limits.max_requests, "requests", "--max-requests"),
                (tokens, self.limits.max_tokens, "tokens", "--max-tokens"),
            ):
                if most is not None and have >= most:
                    raise UserError(
                        f"the limit of {most:,} {what} ({option}) is reached: the server "
                        f"{self.address} has answered {used.requests:,} requests, "
                        f"{used.read_tokens:,} tokens read and {used.written_tokens:,} written; "
                        f"raise {option}, or ask for less; {_KEPT}."
                    )
            used.requests += 1

    def _count(self, answer: Mapping[str, Any]) -> None:
        usage = answer.get("usage") or {}
        kept = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        read = usage.get("prompt_tokens", answer.get("tokens_evaluated", 0)) or 0
        written = usage.get("completion_tokens", answer.get("tokens_predicted", 0)) or 0
        kept = kept or (answer.get("timings") or {}).get("cache_n", 0) or 0
        with self._lock:
            self.used.read_tokens += read
            self.used.cached_tokens += kept
            self.used.written_tokens += written


def _told(done: Any, total: int, progress: Callable[[int, int], None] | None) -> Iterator[Any]:
    for number, one in enumerate(done, 1):
        if progress:
            progress(number, total)
        yield one


def _no_netrc(request: Any) -> Any:
    return request


def _is_spent(answer: _Answer) -> bool:
    """Whether a server says that no pause will help."""
    return b"insufficient_quota" in answer.body


def _asked_for(header: str) -> float:
    """Return the seconds that a Retry-After header asks to wait; 0 without one."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(header)
        return max(0.0, until.timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _reason(error: Exception) -> str:
    """Return the innermost reason of a connection that failed, in a few words."""
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "Network is unreachable",
                  "Connection reset", "certificate verify failed"):  # fmt: skip
        if known in text:
            return known
    return one_line(text.rsplit(":", 1)[-1].strip(" ')\""), 80, 20) or type(error).__name__
