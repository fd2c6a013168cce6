"""How annotations are checked in calls; conftest.py has the import hook put these on functions."""

from collections.abc import Callable
from typing import Any, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""All of them, as mypy reads them, so that an int is a float."""


def shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with the arrays that it takes and returns checked, and nothing else.

    For rooms that users' settings reach before they are judged: a name that nobody knows, or a
    list where a record had a tuple, is for the code itself to say.
    """
    hints = {
        name: hint if holds_array(hint) else Any for name, hint in function.__annotations__.items()
    }
    function.__annotations__ = hints
    return checked(function)


def holds_array(hint: Any) -> bool:
    """Whether a hint is a jaxtyping array, or has one among its arguments."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(holds_array(inner) for inner in get_args(hint))
