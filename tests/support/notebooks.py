"""Notebooks as plain Python: their cells in order, in one namespace, what each shows kept."""

import ast
import json
from pathlib import Path
from typing import Any


def cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook."""
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["cells"]
    return found


def run(path: Path) -> list[Any]:
    """Run a notebook's code cells where the process is; return the value that each ends with."""
    names: dict[str, Any] = {}
    shown = []
    for number, cell in enumerate(cells(path)):
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"]), f"{path.name}, cell {number}").body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), path.name, "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), path.name, "eval"), names))
    return shown
