"""The convergence study's page in a real browser: quiet, its map usable by all means."""

import re

import pytest

from adaptlens.studies.convergence.page import write
from browsing import column, inks, leads_to_its_target, num_screens, page_width, sync_api, unfold
from convergence_samples import DEPTH, MODELS, NAMES, TASK, sample
from report_samples import SCRIPT
from tests.studies.convergence.test_page import FIGURES


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write(sample(), path, formats=()).as_uri()


def places(page) -> list[str]:
    return page.eval_on_selector_all(
        "#map-marks path", "marks => marks.map(mark => mark.style.transform)"
    )


def where(page) -> str:
    return page.inner_text("#map-where")


def slide(page, layer: int) -> None:
    page.locator("#map-layer").evaluate(
        "(slider, layer) => { slider.value = layer; slider.dispatchEvent(new Event('input')); }",
        layer,
    )


def test_the_page_opens_quietly_with_every_figure(visit):
    page = visit()
    shown = page.locator("figure .wide svg")
    assert shown.count() == len(FIGURES)
    assert page.locator("figure .wide svg:visible").count() == 4  # claim, pairs, layers, agreement
    unfold(page)
    assert all(shown.nth(i).is_visible() for i in range(len(FIGURES)))
    assert page.title().startswith("Does in-context learning do to hidden states")


def test_the_page_takes_eight_screens_at_most(visit):
    assert num_screens(visit) <= 8


def test_the_slider_moves_the_states_from_layer_to_layer(unfolded):
    page = unfolded()
    assert where(page) == "after the final norm"
    last = places(page)
    slide(page, 1)
    assert where(page) == "layer 1"
    assert page.get_attribute("#map-layer", "aria-valuetext") == "layer 1"
    assert len(places(page)) == len(last) == 4 * 6
    assert places(page) != last
    slide(page, DEPTH + 1)
    assert places(page) == last


def test_the_keyboard_alone_moves_the_slider(unfolded):
    page = unfolded()
    page.focus("#map-layer")
    page.keyboard.press("ArrowLeft")
    assert where(page) == f"layer {DEPTH}"
    page.keyboard.press("Home")
    assert where(page) == "layer 0"


def test_a_query_is_followed_through_the_conditions(unfolded):
    page = unfolded()
    page.select_option("#map-query", label="test-3")
    assert page.locator("#map-marks path.followed").count() == 4
    assert page.locator("#map-marks path.faded").count() == 20
    assert page.inner_text("#map-said") == "test-3, right answer: wug"
    assert len(page.get_attribute("#map-thread polyline", "points").split()) == 4
    page.select_option("#map-query", label="all")
    assert page.locator("#map-marks path.faded").count() == 0


def test_a_condition_is_hidden_and_shown_again(unfolded):
    page = unfolded()
    box = page.get_by_role("checkbox", name="icl-16")
    shown = "marks => marks.filter(mark => mark.style.display !== 'none').length"
    box.uncheck()
    assert page.eval_on_selector_all("#map-marks path", shown) == 18
    box.check()
    assert page.eval_on_selector_all("#map-marks path", shown) == 24


def test_another_model_has_its_own_map(unfolded):
    page = unfolded()
    slide(page, 1)
    page.select_option("#map-which", label=f"{TASK} · {MODELS[1]}")
    assert where(page) == "after the final norm"
    assert MODELS[1] in page.get_attribute("#map-canvas", "aria-label")


def test_the_two_answers_are_told_apart_by_hollow_marks(unfolded):
    page = unfolded()
    assert page.locator("#map-marks path.hollow").count() == 12
    assert "Hollow: the answer wug" in page.inner_text("#map")


def test_a_finger_finds_the_nearest_state(unfolded):
    page = unfolded(width=390, height=844, has_touch=True)
    page.locator("#map-canvas").scroll_into_view_if_needed()
    mark = page.locator("#map-marks path").nth(5)
    at = mark.bounding_box()
    page.touchscreen.tap(at["x"] + at["width"] / 2 + 5, at["y"] + at["height"] / 2)
    followed = page.locator("#map-marks path.followed")
    sync_api.expect(followed).to_have_count(4)
    assert re.fullmatch(r"test-\d, right answer: \w+", page.inner_text("#map-said"))


def test_claims_sort_by_effect_with_their_verdicts(unfolded):
    page = unfolded()
    page.locator("#grid-claims thead button").nth(2).click()
    effects = [float(text.split()[0].replace("−", "-")) for text in column(page, "#grid-claims", 3)]
    assert effects == sorted(effects) == [-0.4, -0.02, -0.01, 0.1, 0.65]
    assert column(page, "#grid-claims", 1)[0] == "✗ refuted"


def test_every_number_can_be_found(unfolded):
    page = unfolded()
    total = len(sample().tables["pairs"])
    assert page.inner_text("#found") == f"{total} numbers"
    page.locator('[data-column="right"]').select_option(label="it-16-restart")
    page.locator('[data-column="measure"]').select_option(label="centered cosine")
    page.locator('[data-column="layer"]').fill("4")
    sync_api.expect(page.locator("#found")).to_have_text(f"4 of {total} numbers")
    assert set(column(page, "#grid-answers", 7)) == {"residual stream", "after the final norm"}


def test_script_in_texts_is_shown_and_not_run(unfolded):
    page = unfolded()
    assert page.title() != "owned"
    page.select_option("#map-query", "0")
    assert page.inner_text("#map-said").startswith(SCRIPT)
    assert page.locator("b").count() == 0


def test_light_and_dark_have_their_own_inks(visit):
    assert inks(visit, '#figure-layers .wide path[fill="#211f1c"]') == [
        "rgb(33, 31, 28)",
        "rgb(236, 232, 225)",
    ]


@pytest.mark.parametrize("width", [390, 320, 768])
def test_a_small_screen_never_scrolls_sideways(visit, width):
    page = visit(width=width, height=844)
    unfold(page)
    assert page_width(page) <= width
    assert page.locator("#map-canvas").bounding_box()["width"] <= width


def test_a_number_leads_to_its_cell(unfolded):
    page = unfolded()
    link = page.locator("#grid-pairs-main tbody a").first
    assert leads_to_its_target(page, link)


def test_without_javascript_the_last_layer_is_shown(without_script):
    marks = without_script.locator("#map-marks path")
    without_script.locator("#map > summary").click()
    text = without_script.inner_text("main")
    boxes = {tuple(marks.nth(i).bounding_box().items()) for i in range(4)}
    assert marks.count() == 4 * 6 and len(boxes) == 4
    assert "in-context learning is implicit instruction tuning" in text
    assert "after the final norm" in text and NAMES[1] in text
