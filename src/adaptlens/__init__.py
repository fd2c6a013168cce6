"""Prompt or tune? Compare the ways of adapting a causal language model.

>>> import adaptlens
>>> found = adaptlens.prompt_or_tune("reference", "sentiment-novel", shots=[0, 4], draws=3)
>>> print(found)                                                          # doctest: +SKIP

A call takes names, and Python's own objects beside them:

>>> found = adaptlens.prompt_or_tune(                                     # doctest: +SKIP
...     model, frame, tokenizer=tokenizer, input="review", target="label", shots=[0, 4]
... )
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # What type checkers and editors see; each is imported when it is first used.
    from adaptlens.errors import RunIncomplete, UserError
    from adaptlens.store import Run
    from adaptlens.studies.compare.config import compare_config
    from adaptlens.studies.compare.plan import Comparison, prompt_or_tune
    from adaptlens.studies.convergence.config import convergence_config
    from adaptlens.studies.convergence.plan import Convergence
    from adaptlens.studies.convergence.plan import convergence as study_convergence
    from adaptlens.studies.implicit.config import implicit_config
    from adaptlens.studies.implicit.plan import Implicit
    from adaptlens.studies.implicit.plan import implicit_patterns as study_implicit
    from adaptlens.studies.limits.config import limits_config
    from adaptlens.studies.limits.plan import Limits
    from adaptlens.studies.limits.plan import limits as study_limits
    from adaptlens.types import Example, Task, Template

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Convergence",
    "Example",
    "Implicit",
    "Limits",
    "Run",
    "RunIncomplete",
    "Task",
    "Template",
    "UserError",
    "__version__",
    "compare_config",
    "convergence_config",
    "implicit_config",
    "limits_config",
    "prompt_or_tune",
    "study_convergence",
    "study_implicit",
    "study_limits",
]

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


if not TYPE_CHECKING:  # Else every name would be known, and none that is mistyped found.

    def __getattr__(name: str) -> Any:
        if name not in _PUBLIC:
            raise AttributeError(f"module 'adaptlens' has no attribute '{name}'")
        module, _, attribute = _PUBLIC[name].partition(":")
        return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
