"""The five systems' prompts, their variations, and what a model's output is read as.

`layout` writes prompts and training texts, `variations` says what may be changed about them, and
`outputs` finds the answer in what a model wrote.
"""

from adaptlens.formats.layout import (
    END,
    MARKER,
    SHOWN,
    SYSTEMS,
    Writer,
    base,
    gold,
    pipeline,
    regular,
    response,
    samplegen,
)
from adaptlens.formats.variations import READ, TRAINED, VARIATIONS, varied

__all__ = [
    "END",
    "MARKER",
    "READ",
    "SHOWN",
    "SYSTEMS",
    "TRAINED",
    "VARIATIONS",
    "Writer",
    "base",
    "gold",
    "pipeline",
    "regular",
    "response",
    "samplegen",
    "varied",
]
