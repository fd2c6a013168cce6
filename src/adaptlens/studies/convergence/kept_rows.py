"""Rows of states as they are compared, made once for all the pairs that a condition is in."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

MOST_BYTES = 2**28
"""Of rows that are kept; those not used for longest make room."""


class KeptRows:
    """What was made, by what it is of, as far as there is room; the rest is made again."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._rows: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._most, self._bytes = most_bytes, 0

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what is kept under a key; it is made where nothing is."""
        if key in self._rows:
            self._rows.move_to_end(key)
            return self._rows[key][0]
        made = make()
        self._rows[key] = made, num_bytes(made)
        self._bytes += num_bytes(made)
        while self._bytes > self._most:
            self._bytes -= self._rows.popitem(last=False)[1][1]
        return made


def num_bytes(made: Any) -> int:
    """Return the bytes of an array, or of all arrays in a tuple or a dataclass."""
    if isinstance(made, np.ndarray):
        return made.nbytes
    if is_dataclass(made):
        return sum(num_bytes(getattr(made, one.name)) for one in fields(made))
    return sum(map(num_bytes, made))
