"""Each heading on each page names a column that is defined, and means what the definition says."""

from collections.abc import Iterator
from typing import Any

import pytest

import convergence_samples
import implicit_samples
import limits_samples
import report_samples
from adaptlens import columns, grids, plots
from adaptlens.columns.headings import EVERY, PAGES
from adaptlens.grids import Grid
from adaptlens.looks import METRICS
from adaptlens.report import comparison, convergence, implicit, limits

TABLE = {"break_even": "break_even", "per-task": "per_task", "per-model": "per_model",
         "mixed": "mixed_effects", "heads": "annotations", "graph": "circuit"}  # fmt: skip
"""Tables of a page that are not called as the table they show."""

FREE = {
    "compare": ("rules", "templates"),
    "convergence": ("models",),
    "implicit": ("profiles", "differences"),
    "limits": (),
}
"""Tables with a column for each metric, template, condition or pair, whose names are data."""


def of_limits() -> dict[str, Any]:
    report = limits_samples.sample()
    scores = limits.usable(report)
    return limits._grids(report, scores, plots.points(scores))


PAGE = {
    "compare": lambda: comparison._grids(report_samples.sample()),
    "convergence": lambda: convergence._grids(convergence_samples.sample()),
    "implicit": lambda: implicit._grids(implicit_samples.sample()),
    "limits": of_limits,
}


def shown(part: Any) -> Iterator[Grid]:
    if isinstance(part, Grid):
        yield part
    elif isinstance(part, dict | list | tuple):
        for one in part.values() if isinstance(part, dict) else part:
            yield from shown(one)


def page_of(study: str, grid: Grid) -> str:
    """The table that a grid is, up to a number, a role or a family behind its name."""
    named = {"factor": "factors", "exceeding-bases": "exceeding"}
    if grid.name in PAGES[study]:
        return grid.name
    first = named.get(grid.name, grid.name.partition("-")[0])
    return named.get(first, first)


@pytest.mark.parametrize("study", PAGE)
def test_every_heading_of_a_page_is_that_of_a_defined_column(study):
    found = [grid for grid in shown(PAGE[study]()) if grid.name not in ("cells", "claims")]
    assert found
    for grid in found:
        page = page_of(study, grid)
        headings = PAGES[study].get(page, {})
        table = TABLE.get(page, page)
        own = columns.STUDIES[study].get(table, {})
        direct = {grids.heading_of(column) for column in own}
        free = page in FREE[study] or grid.name.startswith("other-")
        scores = {METRICS.get(name, name) for name in METRICS}
        for text, _ in grid.headings:
            known = text in headings or text.rpartition(", ")[0] in headings or text in EVERY
            assert known or text in direct or text in scores or free, (study, grid.name, text)


@pytest.mark.parametrize("study", PAGE)
def test_every_heading_says_a_column_that_there_is(study):
    for page, headings in PAGES[study].items():
        for text, said in headings.items():
            table, _, column = said.partition(".")
            assert columns.definition(study, table, column), (study, page, text, said)


def test_claims_say_the_same_on_all_pages():
    for study, page in PAGE.items():
        for grid in shown(page()):
            if grid.name == "claims":
                assert {text for text, _ in grid.headings} <= set(EVERY), study
