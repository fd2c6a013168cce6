"""How an adaptation, a pair and a metric appear everywhere: one name, color and shape.

The colors keep 3:1 contrast on light and dark paper, stay apart under color blindness, and
every adaptation also has a shape of its own.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from adaptlens import registry

POINTS = {"chrf": 1.0}
"""How many points one unit of a metric is worth; 100 for metrics that are fractions."""

METRICS = {
    "judged": "score, %",
    "accuracy": "accuracy, %",
    "accuracy_normalized": "accuracy, length-normalized, %",
    "accuracy_corrected": "accuracy, prior-corrected, %",
    "accuracy_calibrated": "accuracy, batch-calibrated, %",
    "chrf": "chrF, 0–100",
    "exact": "exact match, %",
    "likelihood": "likelihood of a byte, %",
    "quadratic": "1 − Brier / 2, %",
}

RULES = {
    "raw": "raw",
    "bytes": "per byte",
    "tokens": "per token",
    "corrected": "prior-corrected",
    "calibrated": "batch-calibrated",
    "written": "as written",
}
"""What each scoring rule is called."""

ORDERS = {
    "": "",
    "drawn": "as drawn",
    "reversed": "reversed",
    "balanced": "answers taking turns",
    "half": "the first half, answers taking turns",
    "nearest": "the most like the query",
}
"""What each way of showing a draw's examples is called."""

SIMILARITIES = {
    "cosine": "raw cosine",
    "centered": "centered cosine",
    "within": "within answers",
    "projected": "answers projected out",
    "standardized": "standardized cosine",
    "distance": "relative distance",
    "cka": "CKA, debiased",
    "procrustes": "Procrustes, cross-validated",
    "rsa": "RSA",
}
"""What each measure of similarity is called on a page."""


SALTIRE = "M0,-0.4L0.6,-1L1,-0.6L0.4,0L1,0.6L0.6,1L0,0.4L-0.6,1L-1,0.6L-0.4,0L-1,-0.6L-0.6,-1Z"
STAR = "M0,-1.1L0.3,-0.3L1.1,0L0.3,0.3L0,1.1L-0.3,0.3L-1.1,0L-0.3,-0.3Z"
ARROW = "M0,-1.1L0.9,-0.1L0.35,-0.1L0.35,1.1L-0.35,1.1L-0.35,-0.1L-0.9,-0.1Z"
HOURGLASS = "M-0.9,-1L0.9,-1L0.25,0L0.9,1L-0.9,1L-0.25,0Z"
HOUSE = "M0,-1L0.9,-0.2L0.9,0.9L-0.9,0.9L-0.9,-0.2Z"
BOWTIE = "M-1,-0.9L0,-0.25L1,-0.9L1,0.9L0,0.25L-1,0.9Z"
"""Shapes that Vega has no name for, or draws as a hairline, as it takes those: outlines in a box
from about -1 to 1."""

SHAPES = {
    "circle": "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0",
    "square": "M-4.5-4.5h9v9h-9Z",
    "triangle-up": "M0-5L5.5 4.5H-5.5Z",
    "triangle-down": "M0 5L5.5-4.5H-5.5Z",
    "triangle-right": "M5 0L-4.5 5.5V-5.5Z",
    "triangle-left": "M-5 0L4.5 5.5V-5.5Z",
    "diamond": "M0-6L6 0L0 6L-6 0Z",
    ARROW: "M0-6L4.5 0H1.7V6H-1.7V0H-4.5Z",
    SALTIRE: "M0-2.2L3.3-5.5L5.5-3.3L2.2 0L5.5 3.3L3.3 5.5L0 2.2L-3.3 5.5L-5.5 3.3L-2.2 0L-5.5-3.3"
    "L-3.3-5.5Z",
    STAR: "M0-6L1.7-1.7L6 0L1.7 1.7L0 6L-1.7 1.7L-6 0L-1.7-1.7Z",
    HOURGLASS: "M-5-5.5H5L1.4 0L5 5.5H-5L-1.4 0Z",
    HOUSE: "M0-6L5-1V5H-5V-1Z",
    BOWTIE: "M-5.5-5L0-1.4L5.5-5V5L0 1.4L-5.5 5Z",
    "cross": "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4Z",
}
"""The outline of each mark, in a box from -6 to 6."""


@dataclass(frozen=True, slots=True)
class Style:
    """How one adaptation appears everywhere: its name, what it is, its colors and its shape."""

    label: str
    meaning: str
    light: str
    dark: str
    shape: str
    dash: tuple[int, ...] = ()


ADAPTATIONS = {
    "zero_shot": Style(
        "zero-shot", "the base model reads the instruction and the query",
        "#928d83", "#8d867c", "diamond", (2, 3),
    ),
    "icl": Style(
        "icl", "in-context learning: demonstrations in the prompt, weights untouched",
        "#2f7fe0", "#3d8cf7", "circle",
    ),
    "best_prompt": Style(
        "best prompt", "the prompt a search found: template, label words, demonstrations and order",
        "#6c18f0", "#783cfc", "triangle-down", (4, 2),
    ),
    "it": Style(
        "it", "instruction tuning: LoRA on instruction, input and answer; no demonstrations",
        "#d9480f", "#ee8440", "square",
    ),
    "sl": Style(
        "sl", "plain supervised tuning: LoRA on the same examples without the instruction",
        "#0d5240", "#74e6c0", "triangle-up", (7, 4),
    ),
    "distil": Style(
        "distil", "LoRA trained to give without demonstrations what the base gives with them",
        "#241a39", "#defb0a", SALTIRE, (3, 3),
    ),
    "ia2": Style(
        "ia2", "LoRA trained to attend without demonstrations as the base does after them",
        "#bf5f44", "#9fdd83", BOWTIE, (1, 2, 5, 2),
    ),
    "ia2-it": Style(
        "ia2-it", "instruction tuning of LoRA that was trained to attend as after demonstrations",
        "#3c1207", "#f5d858", HOUSE, (9, 2),
    ),
    "soft-prompt": Style(
        "soft prompt", "trained embeddings before the prompt; weights untouched",
        "#b469aa", "#b9322d", HOURGLASS, (5, 2, 1, 2),
    ),
    "vector": Style(
        "vector", "what demonstrations do to a state, as a vector added to that without them",
        "#782d00", "#a53c96", STAR, (1, 3),
    ),
    "full": Style(
        "full", "full fine-tuning: all weights, instruction format",
        "#6b2a85", "#eb9fe6", "cross", (12, 3, 2, 3),
    ),
}  # fmt: skip


def at_chosen_template(adaptation: str) -> str:
    """Return what an adaptation is called where it is read under the template chosen for it."""
    return f"best_{adaptation}"


def _chosen(style: Style, shape: str) -> Style:
    """Return the style of an arm read under the one template that was chosen for it."""
    meaning = f"{style.label}, read under the one template that did best on validation items"
    return replace(style, label=f"best {style.label}", meaning=meaning, shape=shape)


CHOSEN = {
    at_chosen_template(name): _chosen(ADAPTATIONS[name], shape)
    for name, shape in (
        ("zero_shot", "triangle-up"),
        ("icl", "diamond"),
        ("it", "triangle-right"),
        ("sl", "triangle-left"),
        ("distil", "circle"),
        ("ia2", "diamond"),
        ("ia2-it", "triangle-up"),
        ("soft-prompt", "triangle-down"),
        ("vector", "square"),
        ("full", ARROW),
    )
}
"""Arms at a chosen template: the color of what they are, a shape of their own."""

SPARE = (
    ("#9a7400", "#e0b84a", "triangle-down"),
    ("#b3305e", "#f07ba3", "triangle-right"),
    ("#3f5a6b", "#9cb8c9", "triangle-left"),
)

Pair = tuple[str, str]
"""Two adaptations, in the order of `SHORT`."""

PAIRS: dict[Pair, Style] = {
    ("icl", "it"): Style(
        "ICL ~ IT", "states under a prompt with demonstrations, and after tuning on the same ones",
        "#211f1c", "#ece8e1", "diamond",
    ),
    ("zero_shot", "icl"): Style(
        "anchor ~ ICL", "the base model without and with demonstrations in the prompt",
        "#2f7fe0", "#3d8cf7", "circle", (7, 4),
    ),
    ("zero_shot", "it"): Style(
        "anchor ~ IT", "the base model before and after instruction tuning",
        "#d9480f", "#ee8440", "square", (2, 3),
    ),
    ("icl", "sl"): Style(
        "ICL ~ SL", "a prompt with demonstrations, and tuning on them without the instruction",
        "#146033", "#82f29a", "triangle-up", (12, 3, 2, 3),
    ),
    ("zero_shot", "sl"): Style("anchor ~ SL", "", "#9a7400", "#e0b84a", "triangle-down"),
    ("it", "sl"): Style("IT ~ SL", "", "#b3305e", "#f07ba3", "triangle-right"),
    ("zero_shot", "full"): Style("anchor ~ full", "", "#6b2a85", "#eb9fe6", "cross"),
    ("icl", "full"): Style("ICL ~ full", "", "#6b2a85", "#eb9fe6", "triangle-left"),
    ("it", "full"): Style("IT ~ full", "", "#3f5a6b", "#9cb8c9", "triangle-left"),
}  # fmt: skip
"""Pairs of conditions, by their adaptations. Those with a meaning are the ones figures draw."""

SHORT = {
    "zero_shot": "anchor", "icl": "ICL", "it": "IT", "sl": "SL", "distil": "distilled",
    "ia2": "aligned", "ia2-it": "aligned IT",
    "soft-prompt": "soft prompt", "vector": "vector",
    "full": "full",
}  # fmt: skip
"""What adaptations are called in figures that have little room; zero-shot is the anchor."""

CLAIMED: Pair = ("icl", "it")
"""The pair whose likeness the papers claim."""


def style_of_pair(pair: Pair) -> Style:
    """Return the style of a pair of adaptations; one the project does not know gets a spare."""
    if pair in PAIRS:
        return PAIRS[pair]
    light, dark, shape = SPARE[zlib.crc32(" ~ ".join(pair).encode()) % len(SPARE)]
    return Style(" ~ ".join(SHORT.get(name, name) for name in pair), "", light, dark, shape)


def style_of(adaptation: str) -> Style:
    """Return the style of an adaptation; one the project does not know always gets the same spare.

    Two unknown adaptations may share a spare color; their names still tell them apart.
    """
    if found := ADAPTATIONS.get(adaptation) or CHOSEN.get(adaptation):
        return found
    if shown := styles_of_others().get(adaptation):
        return shown
    if (own := adaptation.removeprefix(at_chosen_template(""))) != adaptation:
        return _chosen(style_of(own), ARROW)
    light, dark, shape = SPARE[zlib.crc32(adaptation.encode()) % len(SPARE)]
    if adaptation in registry.names("adaptation"):
        return Style(adaptation.replace("_", "-"), "", light, dark, shape)
    return Style(adaptation, "an arm that was brought, as it is", light, dark, shape)


def styles_of_others() -> dict[str, Style]:
    """Return the styles that other packages' adaptations bring, by name, as `ADAPTATIONS` has them.

    Each also stands there at its chosen template.
    """
    found: dict[str, Style] = {}
    for name in registry.others("adaptation"):
        if shown := getattr(registry.resolve("adaptation", name), "style", None):
            found |= {name: shown, at_chosen_template(name): _chosen(shown, shown.shape)}
    return found


def in_order(adaptations: Iterable[str]) -> list[str]:
    """Return the adaptations once each: the project's own in their order, then the others."""
    named = set(adaptations)
    own = [*ADAPTATIONS, *CHOSEN]
    return [name for name in own if name in named] + sorted(named - set(own))


def main_metric(metrics: Iterable[str]) -> str:
    """Return the metric a task is judged by first: accuracy, or chrF for generation."""
    present = list(dict.fromkeys(metrics))
    return next((name for name in METRICS if name in present), present[0])


def points(metric: str, value: float) -> float:
    """Return a score in points (0-100)."""
    return value * POINTS.get(metric, 100.0)
