"""The page of the study of limits is whole, safe, and says what the tables say."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from adaptlens.report.images import draw
from adaptlens.studies.limits import page as limits
from adaptlens.studies.limits import tables as tabled
from adaptlens.studies.limits.figures import points
from adaptlens.studies.limits.page import LimitsReport, html, write
from limits_samples import cell_of, claims, prompt, sample, tables
from pages import (
    BARE,
    Page,
    check_elements,
    check_headings,
    check_links,
    check_loads_nothing,
    check_pictures,
)
from report_samples import SCRIPT

FIGURES = [*limits.CAPTIONS]
SECTIONS = [
    "verdict", "tasks", "relation", "variance", "exposure", "systems", "exceeding", "variations",
    "recipe",
]  # fmt: skip
NAMES = ("scores", "relations", "per_task", "per_model", "attribution", "mixed_effects",
         "exceeding", "systems", "variations", "exposure", "mediation")  # fmt: skip


def bare(**parts) -> LimitsReport:
    """A report with nothing but what is given."""
    return LimitsReport(**(BARE | parts))


def texts(grid, heading: str) -> list[str]:
    at = [text for text, _ in grid.headings].index(heading)
    return [row[at].text for row in grid.rows]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "report.html"
    return write(sample(), path, formats=["svg"])


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page(written.read_text("utf-8"))


def test_every_figure_lies_beside_the_page(written):
    found = {file.name for file in (written.parent / "figures").iterdir()}
    assert found == {f"{name}.svg" for name in FIGURES} and len(found) == 14


def test_every_element_is_closed_and_every_id_is_used_once(page):
    check_elements(page)


def test_every_link_within_the_page_leads_somewhere(page):
    assert f"cell-{cell_of('neox-s', 'base')}" in check_links(page)


def test_the_page_names_nothing_to_load(page):
    check_loads_nothing(page)


def test_sections_stand_in_the_order_of_the_study(page):
    assert page.sections() == SECTIONS


def test_headings_go_down_one_level_at_a_time(page):
    check_headings(page)


def test_every_figure_and_table_says_what_it_is(page):
    check_pictures(page, 2 * len(FIGURES))


def test_the_numbers_under_a_figure_are_folded_but_reachable(page):
    grids = [a for a in page.tagged("details") if a.get("class") == "numbers"]
    assert len(grids) >= 14
    assert not [a for a in grids if "open" in a]
    assert all(a["tabindex"] == "0" for a in page.tagged("div") if a.get("class") == "box")


def test_each_claim_says_its_numbers_one_by_one_and_why_they_decide_nothing():
    line = (
        "ICL less zero-shot (claimed below 0.05): +0.034, no interval, 1 task x 3 tunings; "
        "fewer than 3 tasks decide nothing; IT (claimed above 0.05): -0.100 [-0.200, 0.000], 4 "
        "tasks x 1 tuning; p(Holm) = 1.000"
    )
    assert limits.said(line) == [
        "ICL less zero-shot (claimed below 0.05): +0.034, no interval, 1 task × 3 tunings; fewer "
        "than 3 tasks decide nothing",
        "IT (claimed above 0.05): -0.100 [-0.200, 0.000], 4 tasks × 1 tuning; p(Holm) = 1.000",
    ]
    assert limits.said("not measured: it takes x, as --y") == ["not measured: it takes x, as --y"]


def test_verdicts_are_those_of_the_claims(page):
    said = " ".join(page.texts["main"][0].split())
    found = [claim["state"] for claim in claims()]
    assert f"Of 5 claims tested: ✓ {found.count('supported')} supported" in said
    for claim in claims():
        title = f"{claim['claim'][:1].upper()}{claim['claim'][1:]}"
        assert title in page.texts["h3"] + page.texts["strong"]


def test_what_mediation_cannot_show_is_said_once(page):
    caveats = [text for text in page.texts["p"] if "common cause" in text]
    assert len(caveats) == 1 and caveats[0].startswith("One model per exposure")


def test_what_was_not_measured_has_no_section():
    assert Page(html(bare(), {})).sections() == ["verdict", "recipe"]


@pytest.mark.parametrize("name", NAMES)
def test_each_table_alone_and_each_one_missing_makes_a_page(name):
    alone = bare(tables={name: tables()[name]})
    figures = draw(limits.wanted(alone))
    assert bool(figures) == (name not in ("mixed_effects", "mediation"))
    found = Page(html(alone, figures))
    assert found.open == [] and len(found.sections()) >= 3
    assert len(found.tagged("figure")) == len(figures)
    rest = bare(tables={other: own for other, own in tables().items() if other != name})
    assert Page(html(rest, {})).open == []


def test_tables_without_rows_or_numbers_make_a_page():
    full = tables()
    gone = {
        name: own.assign(**{c: math.nan for c in own.select_dtypes("float").columns})
        for name, own in full.items()
    }
    some = bare(tables=gone)
    figures = draw(limits.wanted(some))
    assert figures == {}
    assert Page(html(some, figures)).open == []
    none = bare(tables={name: own[:0] for name, own in full.items()})
    assert [*limits.wanted(none)] == []
    assert Page(html(none, {})).sections() == ["verdict", "recipe"]


@pytest.mark.parametrize("systems", [["base"], ["base", "gold"], ["regular", "samplegen"]])
def test_scores_of_few_systems_make_a_page(systems):
    scores = tables()["scores"]
    some = bare(tables={"scores": scores[scores["system"].isin(systems)]})
    figures = draw(limits.wanted(some))
    assert set(figures) == {"systems", "scorings"}
    found = Page(html(some, figures))
    assert found.sections() == ["verdict", "systems", "variations", "recipe"]


def test_scores_that_are_undefined_or_leave_nothing_above_the_floor_are_left_out():
    scores = tables()["scores"].copy()
    scores.loc[scores.index[:3], "value"] = math.nan
    scores.loc[scores.index[3:5], "floor"] = 1.0
    assert len(limits.usable(bare(tables={"scores": scores}))) == len(scores) - 5
    assert limits.usable(bare(tables={"scores": scores.drop(columns="floor")})) is None


def test_a_table_the_page_does_not_know_is_shown_whole():
    found = Page(html(bare(tables={"extra": pd.DataFrame({"a b": [0.5]})}), {}))
    assert (found.texts["caption"], found.texts["td"]) == (["extra"], ["0.5"])


def test_means_of_a_base_are_over_its_tuned_models_and_tasks():
    found = points(tables()["scores"])
    grid = tabled.bases(found, pd.DataFrame())
    own = found[found["model"] == "qwen-m"]
    at = texts(grid, "base").index("qwen-m")
    assert texts(grid, "tuned")[at] == f"{own['tuned'].mean():.3f}"
    assert texts(grid, "tuned models")[at] == "3" and texts(grid, "tasks")[at] == "9"
    assert len(grid.rows) == 8


def test_every_tuned_model_and_task_can_be_browsed():
    rows = tabled.everything(points(tables()["scores"]))
    assert len(rows) == 8 * 3 * 9
    gap = (rows["tuned"] - rows["in_context"] - rows["difference"]).abs().max()
    assert gap < 2e-4
    assert set(rows["task_is"]) == {"tuned on", "not tuned on"}


def test_shares_are_percentages_and_constant_predictors_say_so():
    table = pd.DataFrame([
        dict(system="regular", given="difficulty", predictor="seen", share=0.125, low=0.05,
             high=0.2, share_of_r2=0.5, varies=True, bases=9, tasks=4, points=36),
        dict(system="regular", given="nothing", predictor="size", share=0.0, low=math.nan,
             high=math.nan, share_of_r2=0.0, varies=False, bases=9, tasks=4, points=36),
    ])  # fmt: skip
    grid = tabled.attribution(table)
    assert texts(grid, "share, %") == ["12.5 [5.0, 20.0]", "0.0"]
    assert texts(grid, "taken out first") == ["difficulty of tasks", "nothing"]
    assert texts(grid, "varies") == ["yes", "no"]


def test_a_column_that_says_nothing_is_left_out():
    grid = tabled.relations(tables()["relations"])
    headings = [text for text, _ in grid.headings]
    assert "correlation" in headings and len(grid.rows) == len(tables()["relations"])
    plain = tabled.relations(tables()["relations"].assign(family="", note=""))
    assert "family" not in [text for text, _ in plain.headings]


def test_prompts_stand_under_their_system_with_what_came_back():
    given = [
        prompt("base"), prompt("regular", "irrelevant"), prompt("pipeline"), prompt("samplegen"),
    ]  # fmt: skip
    found = limits.sent(given)
    assert [*found] == ["base", "tuned", "pipeline", "samplegen"]
    assert [p["variation"] for own in found.values() for p in own["prompts"]] == [
        "", "irrelevant", "", "",
    ]  # fmt: skip
    page = Page(html(bare(prompts=given), {}))
    assert page.texts["pre"].count(" aba\nthe end") == len(given)


def test_prompts_of_which_nothing_came_back_say_so():
    nothing = prompt("samplegen", parts=[], answers=[], output=None, answer=None)
    page = Page(html(bare(prompts=[nothing]), {}))
    said = " ".join(page.texts["main"][0].split())
    assert "Nothing was sent. Came back nothing Answer read none found Answer wanted aba" in said


@pytest.mark.parametrize("where", ["title", "claim", "line", "note", "setting", "task", "cluster",
                                   "family", "model", "mixture", "variation", "caveat", "output",
                                   "sent"])  # fmt: skip
def test_markup_is_text_wherever_it_comes_from(where):
    full = {**tables()}
    full["scores"] = full["scores"][full["scores"]["model"] == "qwen-s"]
    claim = {**claims()[0]}
    parts = {
        "title": {"title": SCRIPT},
        "claim": {"claims": [claim | {"claim": SCRIPT}]},
        "line": {"claims": [claim | {"line": SCRIPT, "test": SCRIPT}]},
        "note": {"notes": [SCRIPT]},
        "setting": {"settings": {SCRIPT: {SCRIPT: [SCRIPT]}}},
        "caveat": {"tables": {"mediation": full["mediation"].assign(note=SCRIPT)}},
        "output": {"prompts": [prompt("base", output=SCRIPT, answer=SCRIPT, gold=SCRIPT)]},
        "sent": {"prompts": [prompt("base", SCRIPT, condition=SCRIPT)]},
    }.get(where)
    if parts is None:
        some = ("scores", "exceeding", "systems", "variations")
        parts = {"tables": {
            name: full[name].assign(**{where: SCRIPT}) if where in full[name] else full[name]
            for name in some
        }}  # fmt: skip
    one = bare(**parts)
    few = [w for w in limits.wanted(one) if w.name in ("following", "exceeding", "variations")]
    found = Page(html(one, draw(few)))
    kinds = [a.get("type") for a in found.tagged("script")]
    assert set(kinds[:-1]) <= {"application/json"} and kinds[-1] is None
    assert not found.tagged("b") and found.open == []


def test_a_verdict_or_prompt_part_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="no such verdict: 'maybe'"):
        bare(claims=[{**claims()[0], "state": "maybe"}])
    with pytest.raises(ValueError, match="no such prompt role: aside"):
        bare(prompts=[prompt("base", parts=[("aside", "x")])])


def test_the_same_report_gives_the_same_page():
    some = replace(sample(), tables={n: tables()[n] for n in ("systems", "attribution")})
    pages = {html(some, draw(limits.wanted(some))) for _ in range(2)}
    assert len(pages) == 1
