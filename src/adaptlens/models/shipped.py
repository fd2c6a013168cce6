"""The models that ship with the package: which there are, where they lie, what is said of them."""

import json
from pathlib import Path
from typing import Any

from adaptlens.errors import unknown

_ZOO = Path(__file__).parents[1] / "zoo"


def names() -> list[str]:
    """Return the names of the models shipped with the package."""
    return sorted(path.parent.name for path in _ZOO.glob("*/card.json"))


def folder(name: str) -> Path:
    """Return the folder of a model, loadable by `AutoModelForCausalLM`.

    Raises:
        UserError: no model here has this name.
    """
    if name not in names():
        raise unknown("shipped model", name, names())
    return _ZOO / name


def card(name: str) -> dict[str, Any]:
    """Return the card of a model: data, exposures, seed, curve, limits and check.

    A model of the ladder has the keys family ("llama", "neox", "qwen"), size ("s", "m", "l") and
    exposure ("none", "little", "much") beside parameters.

    Raises:
        UserError: no model here has this name.
    """
    return json.loads((folder(name) / "card.json").read_text(encoding="utf-8"))
