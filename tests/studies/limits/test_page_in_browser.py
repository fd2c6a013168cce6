"""The limits study's page in a real browser: quiet, sortable, readable on a phone."""

import pytest

from adaptlens.studies.limits.page import write
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
from limits_samples import sample
from report_samples import SCRIPT
from tests.studies.limits.test_page import FIGURES, SECTIONS


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write(sample(), path, formats=()).as_uri()


def test_the_page_opens_quietly_with_all_figures(visit):
    page = visit()
    assert page.title().startswith("Does tuned performance follow")
    assert page.locator("nav a").count() == len(SECTIONS)
    assert page.locator("figure .wide svg:visible").count() == 7
    unfold(page)
    assert page.locator("figure .wide svg:visible").count() == len(FIGURES)


def test_the_page_takes_eight_screens_at_most(visit):
    assert num_screens(visit) <= 8


def test_the_keyboard_unfolds_the_numbers_of_every_section(visit):
    page = visit()
    for id in ("tasks", "relation", "variance", "exposure", "systems", "exceeding", "variations"):
        grid = page.locator(f"#{id} details.numbers:not([open])").first
        assert not grid.locator("table").is_visible()
        grid.locator("> summary").focus()
        page.keyboard.press("Enter")
        opened = page.locator(f"#{id} details.numbers[open]").first
        assert opened.locator("tbody tr").count() > 0
        assert opened.locator("table, .wide svg").first.is_visible()


def test_correlations_sort_by_their_value(visit):
    page = visit()
    unfold(page)
    headings = page.locator("#grid-relations thead button").all_inner_texts()
    at = headings.index("correlation")
    page.locator("#grid-relations thead button").nth(at).click()
    found = column(page, "#grid-relations", at + 1)
    values = [float(text.split()[0].replace("−", "-")) for text in found]
    assert values == sorted(values) and len(values) > 20


def test_every_tuned_model_and_task_can_be_found_and_sorted(visit):
    page = visit()
    unfold(page)
    assert page.inner_text("#found") == "216 scores"
    page.locator('[data-column="base"]').select_option(label="qwen-m")
    page.locator('[data-column="cluster"]').select_option(label="language")
    sync_api.expect(page.locator("#found")).to_have_text("6 of 216 scores")
    page.locator("#grid-answers button.sort", has_text="difference").click()
    headings = page.locator("#grid-answers button.sort").all_inner_texts()
    found = column(page, "#grid-answers", headings.index("difference") + 1)
    values = [float(text.replace("−", "-")) for text in found]
    assert values == sorted(values) and len(values) == 6


def test_a_point_says_which_model_and_task_it_is(visit):
    title = visit().locator("#figure-following .wide title").first
    said = title.text_content()
    assert "in context" in said and "seed" in said and "tuned" in said


@pytest.mark.parametrize("width", [390, 320, 768])
def test_a_small_screen_never_scrolls_sideways(visit, width):
    page = visit(width=width, height=844)
    unfold(page)
    assert page_width(page) <= width
    assert rightmost_figure_edge(page) <= width


def test_light_and_dark_have_their_own_inks(visit):
    assert inks(visit, '#figure-systems .wide path[fill="#2f7fe0"]') == [
        "rgb(47, 127, 224)",
        "rgb(61, 140, 247)",
    ]


def test_every_color_of_a_figure_has_one_for_dark_paper(visit):
    page = visit(color_scheme="dark")
    for name in FIGURES:
        for part in ("fill", "stroke"):
            left = page.eval_on_selector_all(
                f"#figure-{name} .wide [{part}^='#']",
                f"""all => [...new Set(all.filter(
                    one => getComputedStyle(one).{part} === (() => {{
                        const probe = document.createElement('i');
                        probe.style.color = one.getAttribute('{part}');
                        document.body.append(probe);
                        const found = getComputedStyle(probe).color;
                        probe.remove();
                        return found;
                    }})()
                ).map(one => one.getAttribute('{part}')))]""",
            )
            assert set(left) <= {"#000", "#000000"}, (name, part)


def test_script_in_texts_is_shown_and_not_run(visit):
    page = visit()
    assert page.title() != "owned"
    assert SCRIPT.split(">")[0] in page.locator("#sent").text_content()
    assert page.locator("b").count() == 0


def test_a_base_leads_to_its_cell(visit):
    page = visit()
    unfold(page)
    link = page.locator("#grid-bases tbody a").first
    assert leads_to_its_target(page, link)


def test_without_javascript_all_but_the_browsable_table_is_there(without_script):
    text = without_script.inner_text("main")
    drawn = without_script.locator("#figure-following .wide svg").is_visible()
    assert drawn and "Task by task" in text
    assert "needs JavaScript" in without_script.locator("main").text_content()
