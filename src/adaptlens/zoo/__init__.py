"""The reference models: what is shipped, and where. Torch-free."""

import json
from pathlib import Path
from typing import Any

from adaptlens.errors import unknown

_HERE = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the models shipped with the package."""
    return sorted(path.parent.name for path in _HERE.glob("*/card.json"))


def folder(name: str) -> Path:
    """Return the folder of a shipped model, loadable by `AutoModelForCausalLM`.

    Raises:
        UserError: no shipped model has this name.
    """
    if name not in names():
        raise unknown("shipped model", name, names())
    return _HERE / name


def card(name: str) -> dict[str, Any]:
    """Return the card of a shipped model: data, exposures, seed, curve, limits and check.

    Raises:
        UserError: no shipped model has this name.
    """
    return json.loads((folder(name) / "card.json").read_text(encoding="utf-8"))
