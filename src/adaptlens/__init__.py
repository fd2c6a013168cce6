"""Prompt or tune? Compare the ways of adapting a causal language model.

>>> import adaptlens
>>> found = adaptlens.prompt_or_tune("reference", "sentiment-novel", shots=[0, 4], draws=3)
>>> print(found.verdicts[0])                                              # doctest: +SKIP
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "prompt_or_tune": "adaptlens.studies.compare.plan:prompt_or_tune",
    "Comparison": "adaptlens.studies.compare.plan:Comparison",
    "study_convergence": "adaptlens.studies.convergence.plan:convergence",
    "Convergence": "adaptlens.studies.convergence.plan:Convergence",
    "study_implicit": "adaptlens.studies.implicit.plan:implicit_patterns",
    "Implicit": "adaptlens.studies.implicit.plan:Implicit",
    "study_limits": "adaptlens.studies.limits.plan:limits",
    "Limits": "adaptlens.studies.limits.plan:Limits",
    **{
        f"{study}_config": f"adaptlens.studies.{study}.config:{study}_config"
        for study in ("compare", "convergence", "implicit", "limits")
    },
    "UserError": "adaptlens.errors:UserError",
    "RunIncomplete": "adaptlens.errors:RunIncomplete",
    "Example": "adaptlens.types:Example",
    "Task": "adaptlens.types:Task",
    "Template": "adaptlens.types:Template",
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
