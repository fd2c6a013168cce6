"""The answers again, by other means than the makers': what an item's text itself says."""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

_ROW = re.compile(r"([+-]?\d+)a([+-]\d+)b=(-?\d+)")
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def solved(task: str, text: str) -> str:
    """Return the answer to an item of a task, read from its text alone.

    Expressions, code and Booleans are walked as Python's syntax trees (nothing is executed), roads
    as powers of the graph's adjacency matrix, equations by exact elimination.

    Raises:
        ValueError: the text is not an item of this task, or has no one answer.
    """
    return _SOLVERS[task](text)


def _value(node: ast.AST, names: dict[str, Any], functions: dict[str, ast.FunctionDef]) -> Any:
    match node:
        case ast.Expression(body=body):
            return _value(body, names, functions)
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names, functions)
        case ast.BinOp(left=left, op=op, right=right):
            apply = _ARITHMETIC[type(op)]
            return apply(_value(left, names, functions), _value(right, names, functions))
        case ast.BoolOp(op=op, values=values):
            found = [_value(each, names, functions) for each in values]
            return all(found) if isinstance(op, ast.And) else any(found)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            function = functions[name]
            given = [_value(each, names, functions) for each in arguments]
            (returned,) = function.body
            assert isinstance(returned, ast.Return) and returned.value is not None
            own = {one.arg: value for one, value in zip(function.args.args, given, strict=True)}
            return _value(returned.value, own, functions)
    raise ValueError(f"not part of an item: {ast.dump(node)}")


def _formula(text: str) -> str:
    return str(_value(ast.parse(text, mode="eval"), {}, {}))


def _program(text: str) -> str:
    *definitions, last = ast.parse(text).body
    functions = {one.name: one for one in definitions if isinstance(one, ast.FunctionDef)}
    assert isinstance(last, ast.Expr) and isinstance(last.value, ast.Call)
    (printed,) = last.value.args
    return str(_value(printed, {}, functions))


def _roads(text: str) -> str:
    roads = [road.split(">") for road in text.split()]
    towns = sorted({town for road in roads for town in road})
    number = {town: i for i, town in enumerate(towns)}
    reach = np.eye(len(towns), dtype=int)
    for start, end in roads:
        reach[number[start], number[end]] = 1
    for _ in towns:
        reach = np.minimum(reach @ reach, 1)
    return "Yes" if reach[number["A"], number["Z"]] else "No"


def _equations(text: str) -> str:
    *rows, question = text.split("\n")
    if question != "b?":
        raise ValueError(f"no question after the equations: {text!r}")
    system = []
    for row in rows:
        found = _ROW.fullmatch(row)
        if found is None:
            raise ValueError(f"not an equation in a and b: {row!r}")
        system.append([Fraction(number) for number in found.groups()])
    for column in range(2):
        pivot = next(i for i in range(column, len(system)) if system[i][column])
        system[column], system[pivot] = system[pivot], system[column]
        lead = [each / system[column][column] for each in system[column]]
        system[column] = lead
        for i, row_ in enumerate(system):
            if i != column:
                system[i] = [x - row_[column] * y for x, y in zip(row_, lead, strict=True)]
    if any(any(row_) for row_ in system[2:]) or system[1][2].denominator != 1:
        raise ValueError(f"these equations have no one whole solution: {text!r}")
    return str(system[1][2])


_SOLVERS: dict[str, Callable[[str], str]] = {
    "expression": _formula,
    "code": _program,
    "relation": _roads,
    "boolean": _formula,
    "algebra": _equations,
}
