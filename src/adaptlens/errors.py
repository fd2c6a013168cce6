"""The errors a user can fix: one line each, no traceback, exit code 2."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user gave cannot be used.

    The message is one line that says what was given, what was expected and what to do next.
    """


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
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(names)}."
    return UserError(f"unknown {kind} '{name}'; {hint}")


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
