"""Jinja templates from a file, filled in without being able to reach anything else."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from adaptlens.errors import UserError

MAX_REPEATED = 1_000_000


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which no operator makes huge texts or numbers."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        """Return the product, remainder or power of two numbers, or a short text repeated."""
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise jinja2.sandbox.SecurityError(f"the operator {operator} is not allowed here")
        sizes = [len(x) if hasattr(x, "__len__") else x for x in (left, right)]
        if operator == "*" and sizes[0] * sizes[1] > MAX_REPEATED:
            raise jinja2.sandbox.SecurityError("the product is too large")
        return super().call_binop(context, operator, left, right)


def _regex_replace(string: str, pattern: str, repl: str, count: int = 0) -> str:
    """Return the string with matches replaced, as lm-evaluation-harness's filter of this name."""
    return re.sub(pattern, repl, string, count=count)


@lru_cache(maxsize=1)
def _environment() -> _Sandbox:
    environment = _Sandbox(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["regex_replace"] = _regex_replace
    return environment


@lru_cache(maxsize=256)
def _compiled(template: str) -> jinja2.Template:
    return _environment().from_string(template)


def render(template: str, values: Mapping[str, Any], place: str) -> str:
    """Return a template filled in with a document's columns.

    Args:
        template: Jinja; undefined names are errors; nothing outside `values` can be reached.
        values: column -> value.
        place: where the template stands, for the message.

    Raises:
        UserError: if the template is malformed, names an unknown column, reaches for something
            unsafe, or fails on these values.
    """
    try:
        return _compiled(template).render(**values)
    except jinja2.sandbox.SecurityError as error:
        raise UserError(
            f"{place}: the template reaches for something unsafe ({error.message}); expected only "
            "the document's columns; rewrite the template."
        ) from None
    except jinja2.UndefinedError as error:
        raise UserError(
            f"{place}: {error.message}; expected one of the columns {', '.join(map(str, values))}; "
            "correct the template."
        ) from None
    except (
        jinja2.TemplateError,
        TypeError,
        ValueError,
        LookupError,
        ArithmeticError,
        AttributeError,
        re.error,
        RecursionError,
    ) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{place}: the template cannot be filled in ({said}); expected Jinja over the columns "
            f"{', '.join(map(str, values))}; correct the template."
        ) from None
