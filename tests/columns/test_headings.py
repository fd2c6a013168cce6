"""Each heading on each page names a column that is defined, and means what the definition says."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import convergence_samples
import implicit_samples
import limits_samples
import report_samples
from adaptlens import columns
from adaptlens.measure.arrays import Ablations
from adaptlens.report import tables as made
from adaptlens.report.tables import Table
from adaptlens.report.theme import METRICS
from adaptlens.stats import trends
from adaptlens.studies.compare import page as comparison
from adaptlens.studies.convergence import page as convergence
from adaptlens.studies.convergence.factors import _from_0_to_1
from adaptlens.studies.implicit import circuit_checks
from adaptlens.studies.implicit import page as implicit
from adaptlens.studies.implicit.circuit_conditions import chance_of
from adaptlens.studies.limits import figures
from adaptlens.studies.limits import page as limits
from adaptlens.types import METRICS as PATCHED
from adaptlens.types import Example, Task
from headings import EVERY, PAGES

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
    return limits._tables(report, scores, figures.points(scores))


PAGE = {
    "compare": lambda: comparison._tables(report_samples.sample()),
    "convergence": lambda: convergence._tables(convergence_samples.sample()),
    "implicit": lambda: implicit._tables(implicit_samples.sample()),
    "limits": of_limits,
}


def shown(part: Any) -> Iterator[Table]:
    if isinstance(part, Table):
        yield part
    elif isinstance(part, dict | list | tuple):
        for one in part.values() if isinstance(part, dict) else part:
            yield from shown(one)


def page_of(study: str, grid: Table) -> str:
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
        own = columns.tables_of(study).get(table, {})
        direct = {made.heading_of(column) for column in own}
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


def test_the_change_along_a_trend_is_that_over_the_whole_range():
    # Likeness rises by 0.1 with each doubling from 1 to 8 demonstrations, by 0.3 in all.
    counts = np.array([1, 2, 4, 8])
    levels = np.stack([np.full((3, 4), 0.2 + 0.1 * step) for step in range(4)])
    levels = levels + 1e-3 * np.arange(4)  # queries differ, by as much at every level
    slope = trends.slope(levels, _from_0_to_1(np.log2(counts)), flips=0)
    assert slope.value == pytest.approx(0.3)


def test_what_circuits_do_alone_by_hand():
    # Two items, gaps of 4; the circuit alone keeps 3 and 3, without it 1 and 1 are left, without
    # its first unit 2 and 2, without its second 1 and 1; random units alone keep 0 and 2.
    parts = {"circuit": [""], "without": ["L0.H0", "L0.H1"], "random": ["0", "1"]}
    sets = [[kind, "icl-2", 2, part] for kind, named in parts.items() for part in named]
    place = PATCHED.index("logit_difference")
    arrays = {}
    for name, kept in (("kept", [3, 2, 1, 0, 2]), ("removed", [1, 2, 3, 4, 4])):
        arrays[f"ablated.{name}"] = np.zeros((1, 2, 5, len(PATCHED)))
        arrays[f"ablated.{name}"][..., place] = -1 + np.array(kept, float)
    for name, value in (("clean", 3.0), ("corrupt", -1.0)):
        arrays[f"ablated.{name}"] = np.zeros((1, 2, len(PATCHED)))
        arrays[f"ablated.{name}"][..., place] = value
    one = SimpleNamespace(ablated=Ablations(arrays), texts={"sets": sets}, draws=(-1,))
    # Of 10 units, circuits of 2 and of 4 are tested.
    all_units = SimpleNamespace(texts={"units": [f"L0.H{head}" for head in range(10)]})
    of = SimpleNamespace(
        base=("other", "denoise", "logit_difference"), found={"icl-2": all_units},
        ablated={"icl-2": one}, about={}, seed=0,
    )  # fmt: skip
    functional, (row,) = circuit_checks.tested(of)
    assert not functional
    assert row["faithfulness"] == pytest.approx(3 / 4)
    assert row["completeness"] == pytest.approx(1 / 4)
    assert row["random"] == pytest.approx((0 + 2) / 2 / 4)
    # One unit adds 1, the other 2: their mean is 1.5 of 4, and the least would be 1 of 4.
    assert row["minimality"] == pytest.approx(1.5 / 4)


def test_chance_of_a_circuit_s_task_is_the_commonest_answer():
    items = tuple(Example("1", "x", target) for target in ("a", "a", "a", "b"))
    task = Task("t", "generation", (), (), items)
    assert chance_of(task) == 0.75
