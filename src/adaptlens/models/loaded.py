"""Models that a caller of Python has loaded: each by a name of its own, while the call runs.

A name is "loaded:LABEL@DIGEST". It is found where the call runs, and in no other process.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError

PREFIX = "loaded:"
_DIGITS = 12


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model and a tokenizer as Transformers has made them.

    Attributes:
        label: what tables call it.
        model: the model.
        tokenizer: the tokenizer.
        folder: its configuration and its tokenizer's files, as they are now, without weights.
        digest: sha256, in hex, over those files and the weights.
        dtype: the number format of the weights.
        num_parameters: how many numbers the weights are, tied ones once.
    """

    label: str
    model: Any
    tokenizer: Any
    folder: Path
    digest: str
    dtype: str
    num_parameters: int

    @property
    def source(self) -> str:
        """The name that it is found by."""
        return f"{PREFIX}{self.label}@{self.digest[:_DIGITS]}"


_held: ContextVar[tuple[Loaded, ...]] = ContextVar("held", default=())


@contextmanager
def held(models: Iterable[Loaded]) -> Iterator[None]:
    """Let the models be found by their names inside this context."""
    token = _held.set((*_held.get(), *models))
    try:
        yield
    finally:
        _held.reset(token)


def is_named(source: str) -> bool:
    """Return whether a name without other prefixes is that of a loaded model."""
    return source.startswith(PREFIX)


def named(source: str) -> Loaded:
    """Return the model of a name.

    Raises:
        UserError: the call that it was given to is over, or runs in another process.
    """
    for one in _held.get():
        if one.source == source:
            return one
    raise UserError(
        f"model '{source}' was given to Python as an object, and can be had only in the call that "
        "it was given to; call that again with the object, or save it with save_pretrained and "
        "give the folder."
    )


def described_in(folder: Path) -> Loaded | None:
    """Return the model whose configuration and tokenizer lie in a folder, or None."""
    return next((one for one in _held.get() if one.folder == folder), None)


def label_of(source: str) -> str:
    """Return what tables call the model of a name."""
    return source.removeprefix(PREFIX).rpartition("@")[0]
