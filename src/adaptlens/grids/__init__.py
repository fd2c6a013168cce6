"""The tables of a page: what stands in each cell, how it sorts, and where it links."""

from adaptlens.grids.comparison import break_evens, differences, measured, scores
from adaptlens.grids.entries import Entry, Grid, embedded, heading_of, number, plain, script_safe

__all__ = [
    "Entry",
    "Grid",
    "break_evens",
    "differences",
    "embedded",
    "heading_of",
    "measured",
    "number",
    "plain",
    "scores",
    "script_safe",
]
