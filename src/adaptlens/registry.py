"""What can be named: one table from kind and name to what does it."""

import importlib
from typing import Any

from adaptlens.errors import unknown

TABLE: dict[str, dict[str, str]] = {
    "adaptation": {
        "zero_shot": "adaptlens.adapt.prompting:ZeroShot",
        "icl": "adaptlens.adapt.prompting:InContext",
        "it": "adaptlens.adapt.lora:InstructionTuning",
        "sl": "adaptlens.adapt.lora:SupervisedTuning",
        "it_path": "adaptlens.adapt.lora:TuningPath",
        "full": "adaptlens.adapt.full_tuning:FullTuning",
        "best_prompt": "adaptlens.adapt.best_prompt:BestPrompt",
        "base": "adaptlens.adapt.mixture:Base",
        "gold": "adaptlens.adapt.mixture:Gold",
        "regular_tuned": "adaptlens.adapt.mixture:RegularTuned",
        "samplegen_tuned": "adaptlens.adapt.mixture:SampleGenTuned",
    },
    "measurement": {
        "ablated": "adaptlens.measure.circuit:Ablated",
        "behaviour": "adaptlens.measure.behaviour:Behaviour",
        "circuits": "adaptlens.measure.circuit:Circuits",
        "cost": "adaptlens.measure.cost:Cost",
        "edges": "adaptlens.measure.edges:EdgeEffects",
        "heads": "adaptlens.measure.heads:Heads",
        "hidden": "adaptlens.measure.hidden:Hidden",
        "resemblance": "adaptlens.measure.resemblance:Resemblance",
        "systems": "adaptlens.measure.systems:Systems",
    },
    "engine": {
        "in_process": "adaptlens.engines.in_process:InProcess",
        "processes": "adaptlens.engines.processes:Processes",
        "ray": "adaptlens.engines.on_ray:OnRay",
    },
    "settings": {
        "compare": "adaptlens.studies.compare.config:COMPARISON",
        "convergence": "adaptlens.studies.convergence.config:CONVERGENCE",
        "implicit": "adaptlens.studies.implicit.config:IMPLICIT",
        "limits": "adaptlens.studies.limits.config:LIMITS",
    },
    "columns": {
        "compare": "adaptlens.studies.compare.columns:TABLES",
        "convergence": "adaptlens.studies.convergence.columns:TABLES",
        "implicit": "adaptlens.studies.implicit.columns:TABLES",
        "limits": "adaptlens.studies.limits.columns:TABLES",
    },
    "study": {
        "compare": "adaptlens.studies.compare.plan",
        "convergence": "adaptlens.studies.convergence.plan",
        "implicit": "adaptlens.studies.implicit.plan",
        "limits": "adaptlens.studies.limits.plan",
    },
}


def names(kind: str) -> list[str]:
    """Return the names of one kind, in the order of the table.

    Raises:
        UserError: there is no such kind.
    """
    if kind not in TABLE:
        raise unknown("kind", kind, TABLE)
    return list(TABLE[kind])


def resolve(kind: str, name: str) -> Any:
    """Return the class or module a name stands for, importing it only now.

    Raises:
        UserError: there is no such kind, or no such name in it.
    """
    if name not in names(kind):
        raise unknown(kind, name, TABLE[kind])
    module, _, attribute = TABLE[kind][name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
