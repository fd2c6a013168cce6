"""A model over several devices, as accelerate lays it out: where it takes its input, what it can't.

Hooks of accelerate bring each module's input to where its weights are, and weights that lie in host
memory or on disk to where they are used.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

import torch

from adaptlens.errors import UserError

if TYPE_CHECKING:
    from adaptlens.lm.load import LM

NAME = "map"
"""What is given for a device to spread a model over all there are."""


def settings() -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that spread a model.

    Raises:
        UserError: accelerate is not installed.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise UserError(
            f"device '{NAME}' needs accelerate, not installed here; install with `pip install "
            "'adaptlens[device-map]'`, or name one device."
        )
    return {"device_map": "auto"}


def is_spread(model: Any) -> bool:
    """Return whether a model's parts lie in several places."""
    return len({*map(str, (getattr(model, "hf_device_map", None) or {}).values())}) > 1


def input_device(model: Any) -> torch.device:
    """Return where a model takes its tokens; weights that are elsewhere are used there, too."""
    if not is_spread(model):
        return torch.device(model.device)
    # Parts in host memory or on disk are run on the first accelerator, if there is one.
    places = [place for place in model.hf_device_map.values() if place not in ("cpu", "disk")]
    return torch.device(places[0] if places else "cpu")


def check_whole(lm: "LM", what: str) -> None:
    """Refuse what cannot be done with a model whose parts lie in several places.

    Args:
        lm: the model.
        what: a name of what cannot be done.

    Raises:
        UserError: they do.
    """
    if is_spread(lm.model):
        raise UserError(
            f"{what} was asked for, but '{lm.name}' is spread over several devices; load it on one "
            "(--device cuda, or cpu), in a smaller dtype or quantized if need be."
        )
