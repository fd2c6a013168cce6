"""Jinja's sandbox as templates from files run in it, and which templates need no other bounds.

The child process runs this file, too; it imports Jinja and nothing of this package.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_REPEATED = 1_000_000
MAX_TEMPLATE_CHARACTERS = 50_000
MAX_OUTPUT_CHARACTERS = 1_000_000


class Sandbox(ImmutableSandboxedEnvironment):
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
def environment() -> Sandbox:
    """Return the one environment."""
    made = Sandbox(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    made.filters["regex_replace"] = _regex_replace
    return made


@lru_cache(maxsize=256)
def compiled(template: str) -> jinja2.Template:
    """Return a template ready to be filled in; Jinja computes its constant parts here already."""
    return environment().from_string(template)


@lru_cache(maxsize=256)
def parsed(template: str) -> nodes.Template:
    """Return a template's syntax tree; nothing of it is computed."""
    return environment().parse(template)


_LINEAR = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.If, nodes.CondExpr, nodes.Not, nodes.And, nodes.Or, nodes.Compare,
    nodes.Operand, nodes.Filter, nodes.Test,
)  # fmt: skip
_FILTERS = ("trim", "upper", "lower", "capitalize", "first", "last", "length", "default", "d")
_TESTS = ("defined", "undefined", "none", "string", "number", "mapping", "sequence")


@lru_cache(maxsize=256)
def is_plain(template: str) -> bool:
    """Return whether a template only shows, chooses among and cleans what it is given.

    Such a template has no loop, call, assignment or arithmetic; none of its expressions makes
    anything longer than what it is made of, but for what `upper` makes of a few letters. So its
    cost is linear in the template's length times the lengths of its values.
    """
    todo: list[nodes.Node] = [parsed(template)]
    while todo:
        node = todo.pop()
        if not isinstance(node, _LINEAR):
            return False
        if isinstance(node, nodes.Filter) and (node.name not in _FILTERS or node.node is None):
            return False
        if isinstance(node, nodes.Test) and node.name not in _TESTS:
            return False
        todo.extend(node.iter_child_nodes())
    return True


def fill(template: str, values: dict[str, Any]) -> str:
    """Return a template filled in, at most `MAX_OUTPUT_CHARACTERS` long.

    Raises:
        OverflowError: it would be longer.
    """
    return bounded(compiled(template).generate(values))


def bounded(pieces: Iterator[str]) -> str:
    """Return pieces of text joined.

    Raises:
        OverflowError: they are longer than `MAX_OUTPUT_CHARACTERS`.
    """
    kept, size = [], 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size > MAX_OUTPUT_CHARACTERS:
            raise OverflowError(f"more than {MAX_OUTPUT_CHARACTERS:,} characters of text")
    return "".join(kept)


def names(template: str) -> list[str]:
    """Return the names that a template reads and does not set itself, in alphabetical order."""
    from jinja2 import meta

    return sorted(meta.find_undeclared_variables(parsed(template)))


def plain_names(template: str) -> list[str]:
    """Return `names` of a template that `is_plain`, which sets none."""
    found = parsed(template).find_all(nodes.Name)
    return sorted({node.name for node in found} - set(environment().globals))
