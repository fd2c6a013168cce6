"""The tables of a page: what stands in each cell, how it sorts, and where it links."""

from adaptlens.grids.arms import by_fixed_rule, by_template, scores, searches
from adaptlens.grids.comparison import break_evens, differences, measured
from adaptlens.grids.entries import Entry, Grid, embedded, heading_of, number, plain, script_safe

__all__ = [
    "Entry",
    "Grid",
    "break_evens",
    "by_fixed_rule",
    "by_template",
    "differences",
    "embedded",
    "heading_of",
    "measured",
    "number",
    "plain",
    "scores",
    "script_safe",
    "searches",
]
