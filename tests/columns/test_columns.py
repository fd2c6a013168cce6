"""Every column of every table is defined in one place; tables have all of their columns."""

from pathlib import Path

import pandas as pd
import pytest

import convergence_samples
import implicit_samples
import limits_samples
import report_samples
from adaptlens import columns, registry
from adaptlens.studies.compare import page

DOCS = Path(__file__).parents[2] / "docs" / "tables.md"
SAMPLES = {
    "compare": report_samples.tables,
    "convergence": lambda: convergence_samples.sample().tables,
    "implicit": lambda: implicit_samples.sample().tables,
    "limits": limits_samples.tables,
}


@pytest.mark.parametrize("study", registry.names("columns"))
def test_a_table_that_was_not_measured_has_its_columns_and_no_rows(study):
    found = columns.framed(study, {})
    assert list(found) == list(columns.tables_of(study))
    for name, table in found.items():
        named = [one for one in columns.tables_of(study)[name] if one != columns.PAIR]
        assert table.empty and list(table.columns) == named


def test_a_table_with_rows_has_the_columns_that_its_rows_give():
    rows = [{"task": "t", "metric": "chrf", "name": "chance", "value": 1.0}]
    found = columns.framed("compare", {"baselines": rows})
    assert found["baselines"].to_dict("records") == rows
    pairs = columns.framed("convergence", {"models": [{"model": "m", "icl ~ it, cosine": 0.5}]})
    assert list(pairs["models"]) == ["model", "icl ~ it, cosine"]


@pytest.mark.parametrize(
    ("tables", "named"),
    [({"scores": []}, "the table 'scores'"), ({"baselines": [{"mean": 1}]}, "of 'mean' in")],
)
def test_a_table_or_a_column_without_a_definition_is_an_error(tables, named):
    with pytest.raises(ValueError, match=named):
        columns.framed("compare", tables)


@pytest.mark.parametrize("study", SAMPLES)
def test_every_column_of_the_pages_samples_is_defined(study):
    for name, table in SAMPLES[study]().items():
        for column in table.columns:
            assert columns.definition(study, name, str(column)), (study, name, column)


def test_a_definition_says_more_than_its_name():
    for study in registry.names("columns"):
        tables = columns.tables_of(study)
        for name, defined in tables.items():
            for column, text in defined.items():
                assert len(text) > 4 and text[-1] != ".", (study, name, column)
                assert text.replace("the ", "") != column.replace("_", " "), (study, name, column)


def test_the_page_of_a_comparison_asks_for_no_column_that_is_not_defined():
    for name, wanted in page.COLUMNS.items():
        assert set(wanted.split()) <= set(columns.tables_of("compare")[name])


def test_the_documentation_has_the_definitions():
    assert DOCS.read_text("utf-8") == columns.as_markdown(), (
        "docs/tables.md differs from adaptlens.columns; write as_markdown() into it"
    )


def test_a_frame_is_taken_as_it_is():
    frame = pd.DataFrame({"task": ["t"], "metric": ["exact"], "name": ["x"], "value": [0.5]})
    assert columns.framed("compare", {"baselines": frame})["baselines"] is frame
