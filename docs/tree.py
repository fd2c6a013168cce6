"""The map in the README: every room of the package, as its own first line says what it is for.

`python docs/tree.py` prints it; the suite holds the README to it.
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "adaptlens"
WIDTH = 16


def tree() -> str:
    """Return the map, top row of the import contract first, one room or file a line."""
    return "\n".join(["src/adaptlens/", *lines()])


def lines() -> Iterator[str]:
    """Yield a line for each room in the order of the contract, its inner rooms after it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = next(
        one["layers"] for one in project["tool"]["importlinter"]["contracts"] if "layers" in one
    )
    for row in layers:
        for name in row.split(" | "):
            room = PACKAGE / name
            if not room.is_dir():
                yield line(f"  {name}.py", room.with_suffix(".py"))
                continue
            yield line(f"  {name}/", room / "__init__.py")
            for inner in sorted(room.glob("*/__init__.py")):
                yield line(f"    {inner.parent.name}/", inner)


def line(name: str, path: Path) -> str:
    """Return a name, and the first line of the module's docstring."""
    said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    return f"{name:<{WIDTH + 2}}{(said or '').splitlines()[0]}"


if __name__ == "__main__":
    print(tree())
