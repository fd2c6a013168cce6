"""Prompt or tune? Compare the ways of adapting a causal language model.

>>> import adaptlens
>>> found = adaptlens.prompt_or_tune("reference", "sentiment-novel", shots=[0, 4], draws=3)
>>> print(found.verdicts[0])                                              # doctest: +SKIP
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "prompt_or_tune": "adaptlens.studies.compare:prompt_or_tune",
    "Comparison": "adaptlens.studies.compare:Comparison",
    "study_convergence": "adaptlens.studies.convergence:convergence",
    "Convergence": "adaptlens.studies.convergence:Convergence",
    "study_implicit": "adaptlens.studies.implicit:implicit_patterns",
    "Implicit": "adaptlens.studies.implicit:Implicit",
    "study_limits": "adaptlens.studies.limits:limits",
    "Limits": "adaptlens.studies.limits:Limits",
    "UserError": "adaptlens.errors:UserError",
    "RunIncomplete": "adaptlens.errors:RunIncomplete",
    "Example": "adaptlens.values:Example",
    "Task": "adaptlens.values:Task",
    "Template": "adaptlens.values:Template",
    "Run": "adaptlens.store:Run",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'adaptlens' has no attribute '{name}'")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
