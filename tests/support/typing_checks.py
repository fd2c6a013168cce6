"""How annotations are checked in calls; conftest.py has the import hook put these on functions."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, install_import_hook

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
    if not any(map(holds_array, hints.values())):
        return function
    function.__annotations__ = hints
    return checked(function)


_with_shapes = jaxtyping.jaxtyped

MOST_CALLS = 40
"""Of a function in one test; what is called more often is called alike."""

_calls: Counter[Callable[..., Any]] = Counter()


def watch(typed: tuple[str, ...], shaped: tuple[str, ...]) -> None:
    """Check calls into rooms that are imported after this.

    A call with shapes to follow costs ten times one without, so functions that neither take nor
    return an array are left to beartype alone, and those of `shaped` as they are; the others are
    followed in their first calls of each test (`MOST_CALLS`).

    Args:
        typed: packages of which all annotations are checked.
        shaped: packages of which those of arrays are.
    """
    jaxtyping.jaxtyped = watched
    install_import_hook(typed, "typing_checks.checked")
    install_import_hook(shaped, "typing_checks.shapes")


def watched(of: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """Return what is defined in a room as the suite checks it; stands in for jaxtyping's own."""
    if of is None:
        return partial(watched, typechecker=typechecker)
    if isinstance(of, classmethod | staticmethod):
        return type(of)(watched(of.__func__, typechecker=typechecker))
    if isinstance(of, property):
        return property(watched(of.fget, typechecker=typechecker))
    if isinstance(of, type) and not dataclasses.is_dataclass(of):
        return of
    if any(map(holds_array, of.__annotations__.values())):
        with_shapes = _with_shapes(of, typechecker=typechecker)
        return with_shapes if isinstance(of, type) else _at_first(with_shapes, of)
    if isinstance(of, type):
        of.__init__ = typechecker(of.__init__)
        return of
    return typechecker(of)


def _at_first(followed: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose first calls of a test are followed, and the others as they are."""

    @functools.wraps(plain)
    def call(*given: Any, **named: Any) -> Any:
        _calls[plain] += 1
        return (followed if _calls[plain] <= MOST_CALLS else plain)(*given, **named)

    return call


def another_test() -> None:
    """Follow first calls again."""
    _calls.clear()


def holds_array(hint: Any) -> bool:
    """Whether a hint is a jaxtyping array, or has one among its arguments."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(holds_array(inner) for inner in get_args(hint))
