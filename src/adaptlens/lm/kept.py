"""The keys and values that a Transformers model keeps, by the name that its version has for them.

`cache` from Transformers 5.24 on, `past_key_values` before; the older name is gone from 5.40 on.
"""

import inspect
from typing import Any

NEW, OLD = "cache", "past_key_values"


def keeping(module: Any, kept: Any) -> dict[str, Any]:
    """Return the argument that gives a module's forward the keys and values kept so far."""
    names = inspect.signature(type(module).forward).parameters
    return {NEW if NEW in names else OLD: kept}


def kept_in(output: Any) -> Any:
    """Return the keys and values that a model's output holds."""
    found = getattr(output, NEW, None)
    return getattr(output, OLD) if found is None else found
