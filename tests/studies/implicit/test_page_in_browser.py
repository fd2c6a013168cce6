"""The implicit study's page in a real browser: quiet, foldable, readable on a phone."""

import pytest

from adaptlens.studies.implicit.page import write
from browsing import (
    column,
    inks,
    leads_to_its_target,
    num_screens,
    page_width,
    rightmost_figure_edge,
    sync_api,
    unfold,
)
from implicit_samples import sample, tables
from report_samples import SCRIPT
from tests.studies.implicit.test_page import ALL, FAMILIES, FIGURES


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write(sample(FAMILIES), path, formats=()).as_uri()


def test_the_page_opens_quietly_with_the_figures_of_one_family(visit):
    page = visit()
    assert page.title().startswith("Does in-context learning find a hidden shortcut")
    assert page.locator("figure .wide svg").count() == len(FIGURES)
    folded = 5  # curves, gates, alone, specifications, variance
    shown = page.locator("figure .wide svg:visible").count()
    assert shown == len(ALL) - folded + 2  # units and graph of the first family


def test_the_page_takes_eight_screens_at_most(visit):
    assert num_screens(visit) <= 8


def test_the_keyboard_unfolds_another_family(visit):
    page = visit()
    figure = page.locator("#figure-profiles-relation .wide svg")
    assert not figure.is_visible()
    page.locator("#units > .family > summary", has_text="relation").focus()
    page.keyboard.press("Enter")
    assert figure.is_visible()


def test_every_figure_has_its_numbers_folded_in_its_section(visit):
    page = visit()
    for id in ("shortcut", "needed", "transfer", "units", "graph"):
        grid = page.locator(f"#{id} details.numbers:not(.family)").first
        assert not grid.locator("table").is_visible()
        grid.locator("summary").click()
        assert grid.locator("tbody tr").count() > 0 and grid.locator("table").is_visible()


def test_units_sort_by_what_they_carry(visit):
    page = visit()
    page.locator("#units details.numbers:not(.family) summary").first.click()
    page.locator("#grid-profiles-expression thead button").nth(2).click()
    found = column(page, "#grid-profiles-expression", 3)
    values = [float(text.split()[0].replace("−", "-")) for text in found]
    assert values == sorted(values) and len(values) == 25


def test_every_unit_can_be_found(visit):
    page = visit()
    own = tables(FAMILIES)
    total = len(own["profiles"]) + len(own["differences"])
    unfold(page)
    assert page.inner_text("#found") == f"{total:,} numbers"
    page.locator('[data-column="family"]').select_option(label="relation")
    page.locator('[data-column="condition"]').select_option(label="icl-16")
    page.locator('[data-column="kind"]').select_option(label="mlp")
    sync_api.expect(page.locator("#found")).to_have_text(f"5 of {total:,} numbers")


@pytest.mark.parametrize("width", [390, 320, 768])
def test_a_small_screen_never_scrolls_sideways(visit, width):
    page = visit(width=width, height=844)
    unfold(page)
    assert page_width(page) <= width
    assert rightmost_figure_edge(page) <= width


def test_light_and_dark_have_their_own_inks(visit):
    assert inks(visit, '#figure-graph-expression .wide line[stroke="#66615a"]', "stroke") == [
        "rgb(102, 97, 90)",
        "rgb(168, 161, 150)",
    ]


def test_script_in_texts_is_shown_and_not_run(visit):
    page = visit()
    assert page.title() != "owned"
    assert SCRIPT.split(">")[0] in page.locator("#prompts").text_content()
    assert page.locator("b").count() == 0


def test_a_condition_leads_to_its_cell(visit):
    page = visit()
    unfold(page)
    link = page.locator("#grid-gates tbody a").first
    assert leads_to_its_target(page, link)


def test_without_javascript_all_but_the_browsable_table_is_there(without_script):
    text = without_script.inner_text("main")
    drawn = without_script.locator("#figure-chosen .wide svg").is_visible()
    assert drawn and "Circuit shift is our operationalization" in text
    assert "needs JavaScript" in without_script.locator("main").text_content()
