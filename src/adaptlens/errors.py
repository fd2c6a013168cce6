"""The errors a user can fix: one line each, no traceback, exit code 2."""

import difflib
import unicodedata
from collections.abc import Iterable

LONGEST_MESSAGE = 480
"""Characters of an error's message; of a longer one the middle is left out."""
_LAST = 180
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of what moves the cursor, hides, or cannot be written."""


class UserError(Exception):
    """Something the user gave cannot be used.

    The message is one line that says what was given, what was expected and what to do next: line
    breaks, control characters and half surrogates of what was given are written as escapes, and
    the middle of a message of more than `LONGEST_MESSAGE` characters is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it: the line, and none of the calls that led to it."""
        return [f"UserError: {self}"]


def one_line(text: str, at_most: int = LONGEST_MESSAGE, last: int = _LAST) -> str:
    """Return a text on one line, without control characters, cut in the middle where too long."""
    if len(text) > 4 * at_most:
        text = text[: 2 * at_most] + text[-2 * at_most :]
    if not text.isprintable():
        text = "".join(repr(c)[1:-1] if unicodedata.category(c) in _UNSEEN else c for c in text)
    return text if len(text) <= at_most else f"{text[: at_most - last - 5]} ... {text[-last:]}"


def listed(names: Iterable[object], at_most: int = 240) -> str:
    """Return names as "a, b, c", saying how many more there are where they are too long to list."""
    every = [one_line(str(name), 60, 20) for name in names]
    kept = every
    while len(kept) > 1 and sum(map(len, kept)) + 2 * len(kept) > at_most:
        kept = kept[:-1]
    more = f" and {len(every) - len(kept)} more" if len(kept) < len(every) else ""
    return ", ".join(kept) + more


class RunIncomplete(Exception):
    """Some cells of a run failed; the rest is on disk and the same command tries again (exit 1)."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a name nobody knows, with the nearest known name.

    Args:
        kind: what was looked up, in the user's words ("task", "model", "key").
        name: what the user wrote.
        known: every name that would have been accepted.
    """
    names = sorted(known)
    # Longer names are not mistyped ones, and comparing them takes quadratic time.
    nearest = difflib.get_close_matches(name[:200], names, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {listed(names)}."
    return UserError(f"unknown {kind} '{one_line(name, 80, 20)}'; {hint}")


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
