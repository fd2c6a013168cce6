"""The reference models: what is here, and where. Torch-free."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError, unknown

_HERE = Path(__file__).parent
ELSEWHERE = "ADAPTLENS_ZOO"
"""Environment variable: a folder of further models, as `adaptlens zoo train ladder` fills one."""


def _folders() -> dict[str, Path]:
    """Return name -> folder of every model with a card; shipped ones come before others."""
    return {path.name: path for place in reversed(list(_places())) for path in _with_card(place)}


def _places() -> Iterator[Path]:
    yield _HERE
    if elsewhere := os.environ.get(ELSEWHERE):
        yield Path(elsewhere).expanduser()


def _with_card(place: Path) -> list[Path]:
    return [path.parent for path in place.glob("*/card.json")]


def names() -> list[str]:
    """Return the names of the models shipped with the package, and of those in ADAPTLENS_ZOO."""
    return sorted(_folders())


def ladder() -> list[str]:
    """Return the names of the ladder's models in the order they are trained, here or not."""
    from adaptlens.zoo.recipes import LADDER

    return list(LADDER)


def missing(name: str) -> UserError:
    """Return the error that says how to come by a model that is not here."""
    if name not in ladder():
        return unknown("shipped model", name, names())
    return UserError(
        f"'{name}' is a model of the ladder and not on this machine; expected it beside the "
        f"shipped models or in the folder that {ELSEWHERE} names: run `adaptlens zoo train ladder "
        f"--out FOLDER` (hours) and set {ELSEWHERE}=FOLDER."
    )


def folder(name: str) -> Path:
    """Return the folder of a model, loadable by `AutoModelForCausalLM`.

    Raises:
        UserError: no model here has this name.
    """
    found = _folders()
    if name not in found:
        raise missing(name)
    return found[name]


def card(name: str) -> dict[str, Any]:
    """Return the card of a model: data, exposures, seed, curve, limits and check.

    A model of the ladder has the keys family ("llama", "neox", "qwen"), size ("s", "m", "l") and
    exposure ("none", "little", "much") beside parameters.

    Raises:
        UserError: no model here has this name.
    """
    return json.loads((folder(name) / "card.json").read_text(encoding="utf-8"))
