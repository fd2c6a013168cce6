"""Prompt or tune? Compare the ways of adapting a causal language model.

>>> import adaptlens
>>> found = adaptlens.prompt_or_tune("reference", "sentiment-novel", shots=[0, 4], draws=3)
>>> print(found.verdicts[0])                                              # doctest: +SKIP
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "prompt_or_tune": "adaptlens.studies.compare",
    "Comparison": "adaptlens.studies.compare",
    "UserError": "adaptlens.errors",
    "RunIncomplete": "adaptlens.errors",
    "Example": "adaptlens.values",
    "Task": "adaptlens.values",
    "Template": "adaptlens.values",
    "Run": "adaptlens.store",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'adaptlens' has no attribute '{name}'")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
