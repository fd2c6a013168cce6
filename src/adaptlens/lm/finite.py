"""What a model says must be numbers: NaN and infinity are found where they arise, and named."""

from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from adaptlens.errors import UserError


def check_finite(
    values: Float[Tensor, "..."] | Float[np.ndarray, "..."], name: str, what: str
) -> None:
    """Refuse values of which one is NaN or infinite.

    Args:
        values: what the model said.
        name: what the user called the model.
        what: what they are, for the error: "the log-probability of ...".

    Raises:
        UserError: names what is no number, and the first value that is none.
    """
    found: Any = np.isfinite(values) if isinstance(values, np.ndarray) else values.isfinite()
    if not bool(found.all()):
        raise not_finite(float(values[~found].reshape(-1)[0]), name, what)


def not_finite(value: float, name: str, what: str) -> UserError:
    """Return the error that says that a model gave no number."""
    return UserError(
        f"'{name}' gives {value:g} for {what}; expected a finite number, so nothing is kept of it: "
        "use --dtype float32 or bfloat16, a lower rate of tuning, or check the weights."
    )
