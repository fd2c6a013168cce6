"""The figures: a tidy table in, one Altair chart out, from which page, SVG, PNG and PDF all come.

Every chart takes its `width` in pixels: `WIDE` for a page, `NARROW` for a phone. An adaptation, and
a pair of conditions, has the same colour and shape in all of them.
"""

from adaptlens.plots.behaviour import chosen_bars, learning, needed, shortcuts, transfers
from adaptlens.plots.by_template import scores_by_template
from adaptlens.plots.chart import INK, LINE, MUTED, NARROW, PAPER, WIDE, NothingToDraw
from adaptlens.plots.circuits import differences, gaps, profiles
from adaptlens.plots.claim import excesses
from adaptlens.plots.comparison import (
    accuracy_by_examples,
    cost_by_queries,
    largest,
    paired_differences,
    reliability,
)
from adaptlens.plots.graph import graph, heads
from adaptlens.plots.levels import curve, named, of_factor, regression
from adaptlens.plots.limits import following, following_by_kind, following_by_task, points
from adaptlens.plots.limits_exposure import effects as exposure_effects
from adaptlens.plots.limits_exposure import exposures
from adaptlens.plots.limits_relation import correlations, one_by_one, shares
from adaptlens.plots.limits_systems import (
    by_cluster,
    by_scoring,
    exceeding,
    exceeding_by_base,
    scorings,
    systems,
    variations,
)
from adaptlens.plots.limits_systems import differences as system_differences
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
    "by_cluster",
    "by_scoring",
    "chosen_bars",
    "correlations",
    "cost_by_queries",
    "curve",
    "differences",
    "distances",
    "drawn_name",
    "exceeding",
    "exceeding_by_base",
    "excesses",
    "exposure_effects",
    "exposures",
    "following",
    "following_by_kind",
    "following_by_task",
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
    "one_by_one",
    "over_layers",
    "overlaps",
    "paired_differences",
    "points",
    "profiles",
    "regression",
    "reliability",
    "scores_by_template",
    "scorings",
    "shares",
    "shortcuts",
    "specifications",
    "system_differences",
    "systems",
    "transfers",
    "variance",
    "variations",
]
