"""What every way of adapting changes; free of torch, for analysis."""

from collections.abc import Mapping

from adaptlens import registry
from adaptlens.stats.scores import Family

FAMILY: Mapping[str, Family] = {
    "zero_shot": "none",
    "icl": "prompt",
    "best_prompt": "prompt",
    "prompt": "prompt",
    "recorded": "none",
    "adapter": "tune",
    "checkpoint": "tune",
    "served": "tune",
    "it": "tune",
    "sl": "tune",
    "distil": "tune",
    "ia2": "tune",
    "ia2-it": "tune",
    "soft-prompt": "tune",
    "vector": "tune",
    "it_trajectory": "tune",
    "full": "tune",
    "base": "none",
    "gold": "prompt",
    "regular_tuned": "tune",
    "samplegen_tuned": "tune",
}
"""Adaptation to what it changes: nothing, the prompt alone, or the weights."""


def family_of(adaptation: str) -> Family:
    """Return the family of an adaptation; of another package's, as it says itself.

    Raises:
        UserError: there is no such adaptation here.
    """
    if adaptation in FAMILY:
        return FAMILY[adaptation]
    found: Family = registry.resolve("adaptation", adaptation).family
    return found
