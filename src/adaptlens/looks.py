"""How an adaptation, a metric and a number appear everywhere: one name, one colour, one format.

The colours keep 3:1 contrast on light and dark paper, stay apart under colour blindness, and
every adaptation also has a shape of its own.
"""

import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

POINTS = {"chrf": 1.0}
"""How many points one unit of a metric is worth; 100 for metrics that are fractions."""

METRICS = {
    "accuracy": "accuracy, %",
    "accuracy_normalised": "accuracy, length-normalised, %",
    "accuracy_corrected": "accuracy, prior-corrected, %",
    "chrf": "chrF, 0–100",
    "exact": "exact match, %",
}


@dataclass(frozen=True, slots=True)
class Look:
    """How one adaptation appears everywhere: its name, what it is, its colours and its shape."""

    label: str
    meaning: str
    light: str
    dark: str
    shape: str
    dash: tuple[int, ...] = ()


ADAPTATIONS = {
    "zero_shot": Look(
        "zero-shot", "the base model reads the instruction and the query",
        "#928d83", "#8d867c", "diamond", (2, 3),
    ),
    "icl": Look(
        "icl", "in-context learning: demonstrations in the prompt, weights untouched",
        "#2f7fe0", "#3d8cf7", "circle",
    ),
    "it": Look(
        "it", "instruction tuning: LoRA on instruction, input and answer; no demonstrations",
        "#d9480f", "#ee8440", "square",
    ),
    "sl": Look(
        "sl", "plain supervised tuning: LoRA on the same examples without the instruction",
        "#0d5240", "#74e6c0", "triangle-up", (7, 4),
    ),
    "full": Look(
        "full", "full fine-tuning: all weights, instruction format",
        "#6b2a85", "#eb9fe6", "cross", (12, 3, 2, 3),
    ),
}  # fmt: skip
SPARE = (
    ("#9a7400", "#e0b84a", "triangle-down"),
    ("#b3305e", "#f07ba3", "triangle-right"),
    ("#3f5a6b", "#9cb8c9", "triangle-left"),
)


def adaptation_of(condition: str) -> str:
    """Return the adaptation a condition label names: "icl-16" is icl, "zero-shot" is zero_shot."""
    return re.sub(r"-\d+", "", condition).replace("-", "_")


def examples_of(condition: str) -> int:
    """Return the number of examples a condition label names; 0 where it names none."""
    found = re.search(r"-(\d+)", condition)
    return int(found[1]) if found else 0


def look(adaptation: str) -> Look:
    """Return the look of an adaptation; one the project does not know always gets the same spare.

    Two unknown adaptations may share a spare colour; their names still tell them apart.
    """
    if adaptation in ADAPTATIONS:
        return ADAPTATIONS[adaptation]
    light, dark, shape = SPARE[zlib.crc32(adaptation.encode()) % len(SPARE)]
    return Look(adaptation.replace("_", "-"), "", light, dark, shape)


def in_order(adaptations: Iterable[str]) -> list[str]:
    """Return the adaptations once each: the project's own in their order, then the others."""
    named = set(adaptations)
    return [name for name in ADAPTATIONS if name in named] + sorted(named - set(ADAPTATIONS))


def main_metric(metrics: Iterable[str]) -> str:
    """Return the metric a task is judged by first: accuracy, or chrF for generation."""
    present = list(dict.fromkeys(metrics))
    return next((name for name in METRICS if name in present), present[0])


def points(metric: str, value: float) -> float:
    """Return a score in points (0-100)."""
    return value * POINTS.get(metric, 100.0)


def interval(value: float, low: float, high: float, *, sign: bool = False) -> str:
    """Return "87.5 [84.1, 90.2]", or the value alone where the interval is undefined."""
    text = f"{value:{'+' if sign else ''}.1f}" if math.isfinite(value) else "undefined"
    text = "0.0" if text in ("+0.0", "-0.0") else text
    if math.isfinite(low) and math.isfinite(high):
        text += f" [{low:.1f}, {high:.1f}]"
    return text.replace("-", "−")


def p_value(p: float) -> str:
    """Return a p-value as it is printed: three digits, "<0.001", or "–" where there is none."""
    if not math.isfinite(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def equals(p: float) -> str:
    """Return "= 0.031" or "< 0.001", to stand after a p."""
    text = p_value(p)
    return f"< {text[1:]}" if text.startswith("<") else f"= {text}"
