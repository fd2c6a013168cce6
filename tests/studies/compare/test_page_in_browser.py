"""The page in a real browser: quiet, quick with 20,000 answers, readable on a phone."""

from dataclasses import replace

import pytest

from adaptlens.studies.compare.page import write
from browsing import (
    column,
    ground,
    inks,
    leads_to_its_target,
    num_screens,
    page_width,
    sync_api,
    unfold,
)
from report_samples import SCRIPT, per_query, sample

NUM_ANSWERS = 20_000


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write(sample(NUM_ANSWERS), path, formats=()).as_uri()


@pytest.fixture(scope="module")
def motion() -> str:
    return "no-preference"


def finds(page, count: int) -> bool:
    """Wait until the table says that its filters leave `count` answers."""
    text = "20,000 answers" if count == NUM_ANSWERS else f"{count:,} of 20,000 answers"
    sync_api.expect(page.locator("#found")).to_have_text(text, timeout=60_000)
    return True


def choose(page, name: str, value: str) -> None:
    box = page.locator(f'[data-column="{name}"]')
    if box.evaluate("box => box.tagName") == "SELECT":
        box.select_option(label=value)
    else:
        box.fill(value)


def test_the_page_opens_quietly_with_every_figure(visit):
    page = visit()
    page.wait_for_selector("#grid-answers tbody tr", state="attached")
    assert page.locator("figure .wide svg").count() == 7
    unfold(page)
    assert all(page.locator("figure .wide svg").nth(i).is_visible() for i in range(7))
    assert page.title() == "sentiment-novel and translation on reference · adaptlens"


def test_two_tasks_take_eight_screens_at_most(visit):
    assert num_screens(visit) <= 8


@pytest.mark.parametrize(
    "target",
    ["figure-seconds", "grid-scores-1", "searches", "prompts", "calibration", "grid-cells"],
)
def test_a_link_unfolds_what_it_leads_to(visit, address, target):
    page = visit()
    place = page.locator(f'[id="{target}"]')
    page.evaluate("hash => { location.hash = hash; }", f"#{target}")
    sync_api.expect(place).to_be_in_viewport()
    page.goto("about:blank")
    page.goto(f"{address}#{target}")  # the address as it was sent to someone
    sync_api.expect(place).to_be_in_viewport()
    assert place.evaluate("one => one.closest('details:not([open])')") is None


def test_a_second_click_on_a_link_unfolds_again(visit):
    page = visit()
    page.evaluate("location.hash = '#table-scores-0'")
    link = page.locator("#grid-scores-0 tbody a").first
    for _ in range(2):
        assert leads_to_its_target(page, link)
        page.evaluate("document.getElementById('table-cells').open = false")


def test_all_is_unfolded_at_once_and_folded_again(visit):
    page = visit()
    closed = "document.querySelectorAll('main details:not([open])').length"
    before = page.evaluate(closed)
    page.click("#unfold")
    assert before > 10 and page.evaluate(closed) == page.locator("#grid-answers details").count()
    sync_api.expect(page.locator("#unfold")).to_have_text("Fold all")
    page.click("#unfold")
    assert page.locator("main details[open]").count() == 0


def test_what_is_printed_is_whole_and_folded_again_afterwards(visit):
    page = visit()
    closed = "document.querySelectorAll('main details:not([open], #grid-answers details)').length"
    before = page.evaluate(closed)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(closed) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(closed) == before


def test_without_javascript_print_shows_what_is_folded(without_script):
    page = without_script
    page.emulate_media(media="print")
    assert page.locator("#grid-scores-0").is_visible()


def test_a_table_sorts_both_ways_with_undefined_last(unfolded):
    page = unfolded()
    header = page.locator("#grid-scores-0 thead button").nth(2)  # plain template
    header.click()
    first, last = (column(page, "#grid-scores-0", 3)[i] for i in (0, -1))
    assert (first, last) == ("50.0", "")
    header.click()
    first, last = (column(page, "#grid-scores-0", 3)[i] for i in (0, -1))
    assert (first, last) == ("94.0", "")
    sorted_by = page.locator("#grid-scores-0 [aria-sort]")
    assert sorted_by.get_attribute("aria-sort") == "descending"


def test_never_sorts_after_every_number_of_queries(visit):
    page = visit()
    page.click("#table-break_even summary")
    page.locator("#grid-break_even thead button").nth(7).click()
    values = column(page, "#grid-break_even", 8)
    assert values[-1] == "never"
    numbers = [int(value.replace(",", "")) for value in values if value != "never"]
    assert numbers == sorted(numbers)


def test_twenty_thousand_answers_stay_few_elements(unfolded):
    page = unfolded()
    assert finds(page, NUM_ANSWERS)
    assert page.locator("#grid-answers tbody tr").count() == 25
    page.select_option("#size", "100")
    assert page.locator("#grid-answers tbody tr").count() == 100
    assert page.inner_text("#where") == "Page 1 of 200"
    page.click("#last")
    assert column(page, "#grid-answers", 3)[-1] == "test-199"
    assert page.locator("#next").is_disabled()


def test_filters_count_what_the_table_holds(unfolded):
    table, page = per_query(NUM_ANSWERS), unfolded()
    choose(page, "condition", "icl-16")
    wanted = table["condition"] == "icl-16"
    assert finds(page, wanted.sum())
    choose(page, "correct", "wrong")
    wanted &= ~table["correct"]
    assert finds(page, wanted.sum())
    choose(page, "margin", "-0.5..0")
    wanted &= table["margin"].between(-0.5, 0)
    assert finds(page, wanted.sum())
    choose(page, "input", "LANTERN")
    wanted &= table["input"].str.contains("lantern")
    assert finds(page, wanted.sum())
    page.click("#clear")
    assert finds(page, NUM_ANSWERS)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("7", lambda draw: draw == 7),
        (">=8", lambda draw: draw >= 8),
        ("< 2", lambda draw: (draw < 2) & (draw >= 0)),
        ("≤1", lambda draw: (draw <= 1) & (draw >= 0)),
    ],
)
def test_a_number_column_takes_a_comparison(unfolded, text, holds):
    draws, page = per_query(NUM_ANSWERS)["draw"], unfolded()
    choose(page, "draw", text)
    assert finds(page, holds(draws).sum())


def test_a_filter_that_is_not_understood_says_so_and_hides_nothing(unfolded):
    page = unfolded()
    choose(page, "margin", "large")
    box = page.locator('[data-column="margin"]')
    sync_api.expect(box).to_have_attribute("aria-invalid", "true", timeout=60_000)
    assert finds(page, NUM_ANSWERS)


def test_answers_sort_by_every_column(unfolded):
    table, page = per_query(NUM_ANSWERS), unfolded()
    header = page.locator("#grid-answers thead button")
    headings = header.all_inner_texts()
    assert headings[0] == "condition" and headings[-1] == "margin"
    for heading in headings:
        header.nth(headings.index(heading)).click()
        assert page.locator("#grid-answers [aria-sort=ascending]").inner_text() == heading
    lowest = float(column(page, "#grid-answers", len(headings))[0].replace("−", "-"))
    assert lowest == pytest.approx(table["margin"].min(), rel=1e-4)
    header.last.click()
    highest = float(column(page, "#grid-answers", len(headings))[0])
    assert highest == pytest.approx(table["margin"].max(), rel=1e-4)


def test_the_keyboard_alone_sorts_and_turns_pages(unfolded):
    page = unfolded()
    page.locator("#grid-answers thead button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#grid-answers [aria-sort=ascending]").count() == 1
    page.locator("#next").focus()
    page.keyboard.press("Space")
    assert page.inner_text("#where") == "Page 2 of 800"


def test_saved_answers_are_the_filtered_ones(unfolded, tmp_path):
    import pandas as pd

    page = unfolded()
    table = per_query(NUM_ANSWERS)
    wanted = table[table["query"].str.contains("test-10")]
    choose(page, "query", "test-10")
    assert finds(page, len(wanted))
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "answers.csv")
    saved = pd.read_csv(tmp_path / "answers.csv")
    assert list(saved["query"]) == list(wanted["query"])
    assert list(saved["input"]) == list(wanted["input"])


FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(A1)", " =1+1", "\t=1", "\uff1d1+1", "-cmd|' /C calc'!A0")
NUMBERS = ("-3", "+1.5", "-1e-9", "12")


def test_no_text_is_a_formula_in_a_saved_table_and_numbers_stay_numbers(browser, tmp_path):
    import csv

    texts = [*FORMULAS, *NUMBERS, "plain", 'say "=1"', "a-b"]
    answers = per_query(len(texts)).assign(input=texts, margin=[-1.5] * len(texts))
    path = write(replace(sample(1), per_query=answers), tmp_path / "page.html", formats=())
    page = browser.new_page()
    page.goto(path.as_uri())
    unfold(page)
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "answers.csv")
    page.close()
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as stream:
        saved = list(csv.DictReader(stream))
    assert [row["input"] for row in saved] == [
        *(f"'{text}" for text in FORMULAS), *NUMBERS, "plain", 'say "=1"', "a-b",
    ]  # fmt: skip
    assert {row["margin"] for row in saved} == {"-1.5"}


def test_script_in_texts_is_shown_and_not_run(unfolded):
    page = unfolded()
    assert page.title() != "owned"
    assert SCRIPT in column(page, "#grid-answers", 4)
    for section, place in (("searches", 0), ("prompts", 5)):
        folded = page.locator(f"#{section} details.prompt").nth(place)
        folded.evaluate("folded => { folded.open = true; }")
        assert SCRIPT in folded.locator("pre.sent").inner_text().replace("\n", "")
    assert page.locator("b").count() == 0


def test_a_long_text_unfolds_whole(visit):
    table, page = per_query(NUM_ANSWERS), visit()
    page.click("#every-answer > summary")
    folded = page.locator("#grid-answers tbody tr").nth(7).locator("details")
    folded.locator("summary").click()
    whole = table["input"].iloc[7]
    sync_api.expect(folded).to_have_text(whole, timeout=60_000)
    assert len(whole) > 140


def test_parts_of_a_prompt_have_different_grounds(unfolded):
    page = unfolded()
    roles = ("instruction", "demo_input", "demo_target", "query", "cue")
    grounds = [
        page.locator(f"pre .part.{role}").first.evaluate(
            "part => getComputedStyle(part).backgroundColor"
        )
        for role in roles
    ]
    assert len(set(grounds)) == len(roles)


def test_light_and_dark_follow_the_system_until_chosen(visit):
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert ground(light) > 700 and ground(dark) < 100
    for _ in range(2):
        light.click("#theme")
    assert light.inner_text("#theme") == "Theme: dark"
    assert ground(light) < 100
    dark.click("#theme")
    assert ground(dark) > 700


def test_a_figure_has_the_theme_s_colors(visit):
    marks = '#figure-accuracy .wide path[fill="#d9480f"]'
    assert inks(visit, marks) == ["rgb(217, 72, 15)", "rgb(238, 132, 64)"]


@pytest.mark.parametrize("width", [390, 320, 768])
def test_a_small_screen_never_scrolls_sideways(visit, width):
    page = visit(width=width, height=844)
    page.wait_for_selector("#grid-answers tbody tr", state="attached")
    unfold(page)
    assert page_width(page) <= width
    if width == 390:
        assert page.locator("figure .narrow svg").first.is_visible()
        assert not page.locator("figure .wide svg").first.is_visible()


def test_print_shows_everything_on_white(visit):
    page = visit(color_scheme="dark")
    page.emulate_media(media="print")
    assert ground(page) == 765
    assert not page.locator("nav").is_visible()


def test_a_number_leads_to_its_cell(unfolded):
    page = unfolded()
    link = page.locator("#grid-scores-0 tbody a").first
    assert leads_to_its_target(page, link)


def test_without_javascript_the_page_still_reads(without_script):
    text = without_script.inner_text("main")
    assert "icl-16 (16 examples in the prompt) beats it-16" in text
    without_script.click("#every-answer > summary")
    assert "needs JavaScript" in without_script.inner_text("main")
