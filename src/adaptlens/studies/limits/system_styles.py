"""What the five systems are called in figures, and how they look."""

from adaptlens.report.theme import ADAPTATIONS, Style

SYSTEMS = {"base": "zero_shot", "gold": "icl", "regular": "it", "samplegen": "sl",
           "pipeline": "full"}  # fmt: skip
"""The system whose color and shape are those of a way of adapting."""

NAMES = {"base": "base", "gold": "gold ICL", "regular": "tuned", "samplegen": "samplegen",
         "pipeline": "pipeline"}  # fmt: skip
"""What a system is called in figures."""

MEANINGS = {
    "base": "the base model reads the instruction and the query",
    "gold": "the base model in context, with two examples of the task",
    "regular": "instruction-tuned, zero-shot",
    "samplegen": "tuned to write its own examples, restate the query and answer",
    "pipeline": "the base model in context, with the examples that samplegen wrote",
}


def style_of_system(system: str) -> Style:
    """Return the style of a system: that of the way of adapting it stands for, by its own name."""
    own = ADAPTATIONS[SYSTEMS[system]]
    return Style(NAMES[system], MEANINGS[system], own.light, own.dark, own.shape, own.dash)
