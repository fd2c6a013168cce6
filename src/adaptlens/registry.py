"""What can be named: from kind and name to what does it; other packages add to it.

Another package registers an adaptation, a measurement, a task or a study by an entry point, in the
group that `GROUPS` names; its module is imported only when that name is used.
"""

import importlib
import logging
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from adaptlens.errors import UserError, first_line, unknown

TABLE: dict[str, dict[str, str]] = {
    "adaptation": {
        "zero_shot": "adaptlens.adapt.prompting:ZeroShot",
        "icl": "adaptlens.adapt.prompting:InContext",
        "it": "adaptlens.adapt.lora:InstructionTuning",
        "sl": "adaptlens.adapt.lora:SupervisedTuning",
        "distil": "adaptlens.adapt.distillation:Distillation",
        "ia2": "adaptlens.adapt.activation_alignment:ActivationAlignment",
        "ia2-it": "adaptlens.adapt.primed_tuning:PrimedTuning",
        "soft-prompt": "adaptlens.adapt.prompt_tuning:PromptTuning",
        "vector": "adaptlens.adapt.vectors:InContextVector",
        "it_trajectory": "adaptlens.adapt.lora:TuningTrajectory",
        "full": "adaptlens.adapt.full_tuning:FullTuning",
        "best_prompt": "adaptlens.adapt.best_prompt:BestPrompt",
        "prompt": "adaptlens.adapt.brought:BroughtPrompt",
        "adapter": "adaptlens.adapt.brought:BroughtAdapter",
        "checkpoint": "adaptlens.adapt.brought:BroughtCheckpoint",
        "recorded": "adaptlens.adapt.recorded:RecordedAnswers",
        "served": "adaptlens.adapt.served_arm:ServedArm",
        "base": "adaptlens.adapt.mixture:Base",
        "gold": "adaptlens.adapt.mixture:Gold",
        "regular_tuned": "adaptlens.adapt.mixture:RegularTuned",
        "samplegen_tuned": "adaptlens.adapt.mixture:SampleGenTuned",
    },
    "measurement": {
        "ablated": "adaptlens.measure.circuit:Ablated",
        "behavior": "adaptlens.measure.behavior:Behavior",
        "circuits": "adaptlens.measure.circuit:Circuits",
        "cost": "adaptlens.measure.cost:Cost",
        "edges": "adaptlens.measure.edges:EdgeEffects",
        "elsewhere": "adaptlens.measure.elsewhere:BehaviorElsewhere",
        "heads": "adaptlens.measure.heads:Heads",
        "hidden": "adaptlens.measure.hidden:Hidden",
        "served_cost": "adaptlens.measure.served_cost:ServedCost",
        "resemblance": "adaptlens.measure.resemblance:Resemblance",
        "systems": "adaptlens.measure.systems:Systems",
    },
    "engine": {
        "in_process": "adaptlens.engines.in_process:InProcess",
        "processes": "adaptlens.engines.processes:Processes",
        "ray": "adaptlens.engines.on_ray:OnRay",
    },
    "study": {
        "compare": "adaptlens.studies.compare.plan",
        "convergence": "adaptlens.studies.convergence.plan",
        "implicit": "adaptlens.studies.implicit.plan",
        "limits": "adaptlens.studies.limits.plan",
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
    "task": {},
}

GROUPS = {
    "adaptation": "adaptlens.adaptations",
    "measurement": "adaptlens.measurements",
    "task": "adaptlens.tasks",
    "study": "adaptlens.studies",
}
"""Kinds that other packages may add to, and the group of their entry points."""

OFFERS = {
    "adaptation": ("family", "draws_per_cell", "label", "cost_estimate", "adapt"),
    "measurement": ("axes", "cost_estimate", "measure"),
    "task": (),
    "study": ("settings", "columns", "question", "plan", "planned_work", "write_report"),
}
"""What each of another package's has to have; see `Adaptation`, `Measurement`, `Definition`."""

_log = logging.getLogger(__name__)


def names(kind: str) -> list[str]:
    """Return the names of one kind: the project's own in their order, then other packages'.

    Raises:
        UserError: there is no such kind.
    """
    if kind not in TABLE:
        raise unknown("kind", kind, TABLE)
    return [*TABLE[kind], *others(kind)]


def resolve(kind: str, name: str) -> Any:
    """Return the class, object or module a name stands for, importing it only now.

    Raises:
        UserError: there is no such kind, no such name in it, or another package's cannot be used.
    """
    if kind in ("settings", "columns") and name not in TABLE[kind]:
        return getattr(resolve("study", name), kind)
    if name not in names(kind):
        raise unknown(kind, name, names(kind))
    if name not in TABLE[kind]:
        return _loaded(kind, others(kind)[name])
    module, _, attribute = TABLE[kind][name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def origin(kind: str, name: str) -> str:
    """Return the package and version that a name comes from; empty for the project's own."""
    entry = others(kind).get(name)
    if entry is None:
        return ""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


@cache
def others(kind: str, taken: tuple[str, ...] = ()) -> dict[str, EntryPoint]:
    """Return what other packages register of a kind, by name, in order.

    A name that is in the table or taken, or that an earlier package registers, is left out, and
    that is said.
    """
    found: dict[str, EntryPoint] = {}
    group = GROUPS.get(kind)
    for entry in sorted(entry_points(group=group), key=_order) if group else ():
        if entry.name in (*TABLE[kind], *taken, *found):
            _log.warning(
                "the %s '%s' of the package '%s' is left out: that name is taken",
                kind, entry.name, entry.dist.name if entry.dist else entry.value,
            )  # fmt: skip
        else:
            found[entry.name] = entry
    return found


def _order(entry: EntryPoint) -> tuple[str, str]:
    return entry.name, entry.dist.name if entry.dist else ""


def _loaded(kind: str, entry: EntryPoint) -> Any:
    package = entry.dist.name if entry.dist else entry.value
    try:
        found = entry.load()
    except Exception as error:
        raise UserError(
            f"the {kind} '{entry.name}' of the package '{package}' cannot be loaded "
            f"({type(error).__name__}: {first_line(error)}); mend or remove that package."
        ) from error
    lacking = [attribute for attribute in OFFERS[kind] if not hasattr(found, attribute)]
    if lacking:
        raise UserError(
            f"the {kind} '{entry.name}' of the package '{package}' has no "
            f"{', '.join(lacking)}; expected {', '.join(OFFERS[kind])}."
        )
    return found
