"""Answers that were recorded elsewhere, as `Behavior` stores those that it asks for."""

from dataclasses import replace

import numpy as np

from adaptlens.measure.exact_match import exact_match
from adaptlens.types import Measured, Task


def as_behavior(recorded: Measured, task: Task) -> Measured:
    """Return what was recorded, texts with their scores: exact match as recorded, if it was."""
    if "outputs" not in recorded.texts:
        return recorded
    from sacrebleu.metrics import CHRF

    chrf, wanted = CHRF(), [(item.target, *item.accepted) for item in task.test]
    pairs = [list(zip(row, wanted, strict=True)) for row in recorded.texts["outputs"]]
    found = {
        "exact": np.array([[exact_match(o, w, task.matching) for o, w in r] for r in pairs]),
        "chrf": np.array([[chrf.sentence_score(o, w).score for o, w in r] for r in pairs]),
    }
    return replace(recorded, arrays={**found, **recorded.arrays})
