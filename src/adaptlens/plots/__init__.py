"""The figures: a tidy table in, one Altair chart out, from which page, SVG, PNG and PDF all come.

Every chart takes its `width` in pixels: `WIDE` for a page, `NARROW` for a phone. An adaptation, and
a pair of conditions, has the same colour and shape in all of them.
"""

from adaptlens.plots.behaviour import chosen_bars, learning, needed, shortcuts, transfers
from adaptlens.plots.chart import INK, LINE, MUTED, NARROW, PAPER, WIDE, NothingToDraw
from adaptlens.plots.circuits import differences, gaps, profiles
from adaptlens.plots.comparison import (
    accuracy_by_examples,
    cost_by_queries,
    largest,
    paired_differences,
    reliability,
)
from adaptlens.plots.graph import graph, heads
from adaptlens.plots.levels import curve, named, of_factor, regression
from adaptlens.plots.robustness import alone, drawn_name, specifications, variance
from adaptlens.plots.shift import distances, functional, overlaps
from adaptlens.plots.states import agreement, bars, heat, last_layer, lens, of_pairs, over_layers

__all__ = [
    "INK",
    "LINE",
    "MUTED",
    "NARROW",
    "PAPER",
    "WIDE",
    "NothingToDraw",
    "accuracy_by_examples",
    "agreement",
    "alone",
    "bars",
    "chosen_bars",
    "cost_by_queries",
    "curve",
    "differences",
    "distances",
    "drawn_name",
    "functional",
    "gaps",
    "graph",
    "heads",
    "heat",
    "largest",
    "last_layer",
    "learning",
    "lens",
    "named",
    "needed",
    "of_factor",
    "of_pairs",
    "over_layers",
    "overlaps",
    "paired_differences",
    "profiles",
    "regression",
    "reliability",
    "shortcuts",
    "specifications",
    "transfers",
    "variance",
]
