"""The index of runs in a real browser: filtered, two side by side, and by a link that is sent."""

import pytest

from adaptlens.studies import runs_index
from browsing import page_width, sync_api, unfold
from tests.cli.test_viewing import made


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("runs")
    made(folder / "first")
    made(folder / "second & last", draws=5)
    made(folder / "third", task="weather", done=False)
    return runs_index.write(folder).as_uri()


def shown(page) -> list[str]:
    return page.eval_on_selector_all(
        "#grid-runs tbody tr:not([hidden])", "all => all.map(one => one.dataset.run)"
    )


def test_the_filter_leaves_runs_with_every_word(visit):
    page = visit()
    assert shown(page) == ["first", "second & last", "third"]
    page.fill("#filter", "WEATHER")
    assert shown(page) == ["third"]
    page.fill("#filter", "undecided topic")
    assert shown(page) == ["first", "second & last"]
    sync_api.expect(page.locator("#left")).to_have_text("2 of 3 runs")


def test_two_runs_show_what_differs_and_the_address_names_them(visit, address):
    page = visit()
    page.select_option("#right-run", "second & last")
    texts = page.locator("#differs table").first.locator("tbody tr").all_inner_texts()
    assert [text.split() for text in texts] == [["draws", "10", "5"]]
    link = page.locator("#share").get_attribute("href")
    page.goto("about:blank")
    page.goto(address + link)
    assert page.locator("#right-run").input_value() == "second & last"
    sync_api.expect(page.locator("#pair")).to_be_in_viewport()
    page.goto(address + "#pair?left=first&right=gone")
    assert page.locator("#left-run").input_value() == "first"


@pytest.mark.parametrize("width", [390, 320, 768])
def test_a_small_screen_never_scrolls_sideways(visit, width):
    page = visit(width=width, height=844)
    unfold(page)
    assert page_width(page) <= width


def test_without_javascript_every_run_is_listed(without_script):
    text = without_script.inner_text("main")
    assert "second & last" in text and "needs JavaScript" in text
    assert not without_script.locator("#filter").is_visible()
