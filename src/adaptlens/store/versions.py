"""The versions of what decides a cell's numbers, written down with every cell."""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version

NAMES = ("adaptlens", "torch", "transformers", "tokenizers", "numpy", "sacrebleu")
UNKNOWN = "not recorded"


def installed() -> dict[str, str]:
    """Return the versions of Python and of the packages that cells are made with."""
    return {"python": platform.python_version(), **{name: version(name) for name in NAMES}}


def together(cells: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return, by name, all the versions that cells were made with, sorted, joined by commas.

    Args:
        cells: the versions of each cell; empty where none were written down.
    """
    cells = list(cells)
    names = dict.fromkeys(name for one in cells for name in one)
    return {name: ", ".join(sorted({one.get(name, UNKNOWN) for one in cells})) for name in names}
