"""The axes of every array that a measurement stores: stated once, checked when it is stored.

Draws of several cells are joined along `repeats`. Which axis that is, and whether an array has it,
is read here and never guessed from a name: an array that no entry states is an error.
"""

import re
from collections.abc import Mapping

import numpy as np

from adaptlens import registry

REPEATS = "repeats"
"""One row a variant: a draw, or a draw under one checkpoint or template."""
TURNS = "turns"
"""One row a draw where variants are templates, which take turns over the queries; else as
`repeats`."""
QUERIES, CHOICES, ITEMS, UNITS, METRICS = "queries", "choices", "items", "units", "metrics"

Axes = tuple[str, ...]
Stated = Mapping[str, Axes]
"""Regular expressions for whole names of arrays, without the measurement's, to their axes."""

_READ: Axes = (REPEATS, QUERIES)
_SCORED: Axes = (REPEATS, QUERIES, CHOICES)
_PATCHED: Axes = (REPEATS, ITEMS, METRICS)

AXES: Mapping[str, Stated] = {
    "ablated": {
        "kept|removed": (REPEATS, ITEMS, "sets", METRICS),
        "clean|corrupt": _PATCHED,
    },
    "behavior": {
        "loglik|prior_loglik|answer_bytes|answer_tokens": _SCORED,
        "exact|chrf|target_loglik|chosen": _READ,
        "gold|num_choices|target_tokens": (QUERIES,),
        "validation_(gold|num_choices|target_tokens)": (QUERIES,),
        "validation_(loglik|prior_loglik|answer_bytes|answer_tokens)": (TURNS, QUERIES, CHOICES),
        "validation_(exact|chrf|target_loglik|chosen)": (TURNS, QUERIES),
    },
    "circuits": {
        r"\w+\.(clean|corrupt|floor)": _PATCHED,
        r"\w+\.(denoise|noise|noise-mean|noise-zero)": (REPEATS, ITEMS, UNITS, METRICS),
    },
    "cost": {
        "(query|cached|answer)_tokens|query_flops|query_flops_cached": (REPEATS,),
    },
    "served_cost": {"(query|cached|answer)_tokens": (REPEATS,)},
    "edges": {"change": (REPEATS, "sources", "targets")},
    "elsewhere": {
        r"ood\d+\.(loglik|prior_loglik|answer_bytes|answer_tokens)": _SCORED,
        r"ood\d+\.(exact|chrf|target_loglik|chosen)": _READ,
        r"also\d+\.(loglik|prior_loglik|answer_bytes|answer_tokens)": (TURNS, QUERIES, CHOICES),
        r"(also|text)\d+\.(exact|chrf|target_loglik|chosen)": (TURNS, QUERIES),
        r"\w+\.(gold|num_choices|target_tokens|bytes)": (QUERIES,),
    },
    "heads": {"first|induction|labels|query|vector": (REPEATS, "layers", "heads")},
    "hidden": {
        r"\w+\.(\d+|final)": (REPEATS, QUERIES, "width"),
        "lens": (REPEATS, QUERIES, "layers", "tokens"),
        "readout|readout_final": (REPEATS, "answers", "width"),
    },
    "resemblance": {r"\w+": _READ},
    "systems": {
        r"([\w-]+\.)?(pipeline_)?(correct|floor)_(choice|exact|semantic)": _READ,
        r"([\w-]+\.)?(pipeline_)?unparsed": _READ,
        r"([\w-]+\.)?(pipeline_)?loglik": _SCORED,
        r"([\w-]+\.)?(pipeline_)?chance": (QUERIES,),
    },
}
"""Measurement to the names of its arrays to their axes."""


def axes_of(name: str) -> Axes:
    """Return the axes of a stored array.

    Args:
        name: the measurement's name, a dot, and the array's own name.

    Raises:
        ValueError: the measurement does not state them.
    """
    measurement, _, own = name.partition(".")
    stated = AXES.get(measurement)
    if stated is None:
        stated = registry.resolve("measurement", measurement).axes
    for pattern, axes in stated.items():
        if re.fullmatch(pattern, own):
            return axes
    raise ValueError(f"the measurement '{measurement}' does not state the axes of '{own}'")


def check(name: str, array: np.ndarray) -> None:
    """Refuse an array that does not have the axes stated for it.

    Raises:
        ValueError: it has other axes, or none are stated.
    """
    axes = axes_of(name)
    if array.ndim != len(axes):
        raise ValueError(f"'{name}' has the shape {list(array.shape)}; expected {', '.join(axes)}")


def is_shared(name: str) -> bool:
    """Return whether an array is the same for all variants and draws."""
    return not {REPEATS, TURNS} & {*axes_of(name)}


def by_variant(name: str) -> bool:
    """Return whether an array has one row for each variant, templates and checkpoints included."""
    return REPEATS in axes_of(name)


def by_draw(name: str) -> bool:
    """Return whether an array has one row for each draw, whatever the templates."""
    return TURNS in axes_of(name)
