"""How every condition was tuned, with numbers where settings left them open."""

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

from adaptlens.adapt.families import FAMILY, family_of
from adaptlens.conditions import Condition
from adaptlens.formatting import counted, listed
from adaptlens.store import Damaged, Run
from adaptlens.store.sealed import load_json
from adaptlens.store.versions import UNKNOWN
from adaptlens.tasks import templates
from adaptlens.types import Task

AS_GIVEN = ("lora_rank", "lora_alpha", "lora_dropout")
TRAINING = (
    "gradient_accumulation_steps",
    "lr_scheduler",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "seed",
)


def rows(members: Iterable[Condition], run: Run) -> list[dict[str, Any]]:
    """Return a row for each arm that was tuned here: what was trained, and how.

    Rates and steps are those that were tried, and of those chosen the number of draws that chose
    each. What a cell did not write down is `UNKNOWN`.
    """
    return [
        {
            "task": one.task,
            "model": one.model,
            "condition": one.label,
            "trained": _trained(one),
            **{name: _number(one.arguments.get(name)) for name in AS_GIVEN},
            "target_modules": _targets(one, run),
            "optimizer": _optimizer(one),
            **_searched(one),
            "num_templates": str(one.arguments.get("num_templates") or ""),
            **{name: str(one.arguments.get(name, "")) for name in TRAINING},
        }
        for one in members
        if family_of(one.adaptation) == "tune" and not one.is_brought and not one.control
    ]


def _trained(one: Condition) -> str:
    if _is_vector(one):
        return "a vector"
    if tokens := one.arguments.get("num_virtual_tokens"):
        return f"a soft prompt of {counted(tokens, 'token')}"
    if "lora_rank" not in one.arguments:
        return "all weights"
    kind = "DoRA" if one.arguments.get("use_dora") else "LoRA"
    kind += ", rank-stabilized" if one.arguments.get("use_rslora") else ""
    return f"{kind}, aligned first" if "priming_steps" in one.arguments else kind


def _optimizer(one: Condition) -> str:
    """Return the optimizer of `adapt.loop`; of another package's way of tuning it is not known."""
    if _is_vector(one):
        return ""
    return "AdamW" if one.adaptation in FAMILY else UNKNOWN


def _is_vector(one: Condition) -> bool:
    return "strengths" in one.arguments


def _searched(one: Condition) -> dict[str, Any]:
    """Return what was tried and chosen: rates and steps, or of a vector its layer and strength."""
    own = dict.fromkeys(
        ("learning_rates", "rates_chosen", "max_steps", "steps_chosen", "layers_chosen",
         "strengths_chosen"), "",
    )  # fmt: skip
    if _is_vector(one):
        return {
            **own,
            "layers_chosen": _chosen(one, "layer", "layers"),
            "strengths_chosen": _chosen(one, "strength", "strengths"),
            "batch_size": float("nan"),
        }
    return {
        **own,
        "learning_rates": _values(one, "learning_rate"),
        "rates_chosen": _chosen(one, "learning_rate"),
        "max_steps": _values(one, "max_steps"),
        "steps_chosen": _chosen(one, "max_steps"),
        "batch_size": min(int(one.arguments.get("batch_size", 1)), _rows(one) or sys.maxsize),
    }


def _rows(one: Condition) -> int:
    """Return how many items a draw is trained on; 0 where no draws were made, as of mixtures."""
    learns_unlabeled = "unlabeled" in one.arguments and "priming_steps" not in one.arguments
    return int(one.arguments["unlabeled"]) if learns_unlabeled else one.examples


def wordings(task: Task, model: str) -> list[dict[str, str]]:
    """Return every template of a task as `--template` takes it."""
    return [
        {"task": task.name, "model": model, "template": way.name, "text": templates.as_text(way)}
        for way in task.templates or (task.template,)
    ]


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _targets(one: Condition, run: Run) -> str:
    """Return the names of the modules that were trained, as the adapter's own file has them."""
    if _is_vector(one) or "num_virtual_tokens" in one.arguments:
        return ""
    if "lora_rank" not in one.arguments:
        return "all"
    folder = run.cell_folder(one.cells[0]) / "adapters"
    found = sorted(folder.glob("*/adapter_config.json"))
    if not found:
        given = one.arguments.get("target_modules")
        return ", ".join(given) if given else UNKNOWN
    try:
        return ", ".join(load_json(found[0])["target_modules"])
    except (Damaged, KeyError, TypeError):
        return UNKNOWN


def _tried(one: Condition, name: str, argument: str) -> list[float]:
    """Return the values that were tried; empty where no cell wrote them down."""
    if made := one.training.get("candidates"):
        return sorted({float(candidate[name]) for candidate in made})
    given = one.arguments.get(argument)
    if given is None:
        steps = {float(run["steps"]) for run in one.runs if "steps" in run}
        return sorted(steps) if name == "max_steps" else []
    return sorted(map(float, given if isinstance(given, list | tuple) else [given]))


def _values(one: Condition, name: str, argument: str = "") -> str:
    """Return the values that were tried: "0.005 or 0.02"."""
    tried = _tried(one, name, argument or name)
    return listed([f"{value:.4g}" for value in tried], "or") if tried else UNKNOWN


def _chosen(one: Condition, name: str, argument: str = "") -> str:
    """Return how often each was chosen: "0.005: 3 draws, 0.02: 7 draws"."""
    counts = Counter(float(made[name]) for made in one.chosen)
    if not counts:
        return _values(one, name, argument)
    return ", ".join(f"{value:.4g}: {counted(counts[value], 'draw')}" for value in sorted(counts))
