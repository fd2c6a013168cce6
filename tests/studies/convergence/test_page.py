"""The page of the convergence study is whole, safe, and says what the tables say."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from adaptlens.report import tables as made
from adaptlens.report.images import draw
from adaptlens.report.labels import Shown
from adaptlens.report.study_page import claims_table
from adaptlens.report.theme import SIMILARITIES
from adaptlens.studies.convergence import tables as tabled
from adaptlens.studies.convergence.page import ConvergenceReport, html, wanted, write
from adaptlens.studies.convergence.state_map import HEIGHT, MARGIN, WIDTH, embedded, state_maps
from convergence_samples import DEPTH, LABELS, MODELS, TASK, cell_of, claim, points, sample
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

FIGURES = {
    "implicit", "pairs", "pairs-beside", "layers", "layers-beside", "it-against-sl", "heat",
    "models", "demonstrations",
    "resemblance", "labels", "dose", "task", "generation", "prompt", "position", "regression",
    "agreement", "lens",
}  # fmt: skip


CONDITIONS = made.Conditions(LABELS, {})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "report.html"
    return write(sample(), path, formats=["svg"])


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page(written.read_text("utf-8"))


def bare(**parts) -> ConvergenceReport:
    """A report with nothing but what is given."""
    known = {**LABELS, SCRIPT: Shown(SCRIPT, SCRIPT, "icl")}
    return ConvergenceReport(**(BARE | {"map": pd.DataFrame(), "labels": known} | parts))


def test_every_figure_lies_beside_the_page(written):
    found = {file.name for file in (written.parent / "figures").iterdir()}
    assert found == {f"{name}.svg" for name in FIGURES}
    assert {file.name for file in written.parent.iterdir()} == {"report.html", "figures"}


def test_figures_come_as_png_and_pdf_too():
    only = replace(sample(), tables={"regression": sample().tables["regression"]})
    files = draw(wanted(only), ["png", "pdf"])["regression"].files
    assert files["png"].startswith(b"\x89PNG") and files["pdf"].startswith(b"%PDF")


def test_the_same_report_gives_the_same_page():
    assert html(sample(), {}) == html(sample(), {})


def test_every_element_is_closed_and_every_id_is_used_once(page):
    check_elements(page)


def test_every_link_within_the_page_leads_somewhere(page):
    assert f"cell-{cell_of('reference', 'icl-16')}" in check_links(page)


def test_the_page_names_nothing_to_load(page):
    check_loads_nothing(page)
    policy = next(a["content"] for a in page.tagged("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_claims_come_first_and_factors_in_the_order_of_the_study(page):
    assert page.sections() == [
        "verdict", "pairs", "layers", "factors", "behavior", "recipe",
    ]  # fmt: skip
    factors = [a["id"] for a in page.tagged("details") if "factor" in a.get("class", "").split()]
    assert factors == [
        "demonstrations", "resemblance", "labels", "task", "generation", "models", "prompt",
        "position", "dose",
    ]  # fmt: skip


def test_the_name_of_a_factor_says_what_became_of_its_claims():
    own = [claim(5, "a", "refuted", 0.1), claim(5, "b", "refuted", 0.1, task="x"),
           claim(5, "b", "supported", 0.1)]  # fmt: skip
    some = bare(claims=own, tables={"factors": sample().tables["factors"]})
    said = {" ".join(text.split()) for text in Page(html(some, {})).texts["summary"]}
    assert "Wrong labels ✓ 1 supported, ✗ 2 refuted" in said
    assert "Tuning dose" in said


def test_what_is_said_of_the_main_claim_begins_as_a_sentence():
    first = {**sample().claims[0], "detail": "the similarities are not all defined"}
    page = html(bare(claims=[first]), {})
    assert "implicit instruction tuning. The similarities are not all defined</p>" in page


@pytest.mark.parametrize("measure", SIMILARITIES)
def test_a_page_by_any_measure_has_its_figure_of_agreement(measure):
    settings = {**sample().settings, "claim": {"margin": 0.05, "measure": measure}}
    some = bare(settings=settings, tables={"pair_behavior": sample().tables["pair_behavior"]})
    assert [*draw(wanted(some))] == ["agreement"]


def test_a_first_look_says_that_it_is_one():
    assert "a first look (--quick)" in html(bare(settings={"quick": True}), {})
    assert "a first look" not in html(bare(settings={"quick": False}), {})


def test_what_was_not_measured_has_no_section():
    found = Page(html(bare(), {}))
    assert found.sections() == ["verdict", "recipe"]
    some = bare(tables={"factors": sample().tables["factors"].query("factor == 'prompt'")})
    found = Page(html(some, draw(wanted(some))))
    assert found.sections() == ["verdict", "factors", "recipe"]


def test_a_table_the_page_does_not_know_is_shown_whole():
    found = Page(html(bare(tables={"extra": pd.DataFrame({"a b": [0.5]})}), {}))
    assert (found.texts["caption"], found.texts["td"]) == (["extra"], ["0.5"])


def test_headings_go_down_one_level_at_a_time(page):
    check_headings(page)


def test_every_figure_and_table_says_what_it_is(page):
    check_pictures(page, 2 * len(FIGURES) + 1)
    assert all(a["aria-hidden"] == "true" for a in page.tagged("svg") if a.get("role") != "img")


@pytest.mark.parametrize(
    "where", ["title", "claim", "line", "task", "note", "setting", "gold", "level", "condition"]
)
def test_markup_is_text_wherever_it_comes_from(where):
    tables = sample().tables
    level = tables["factors"].query("factor == 'prompt'").assign(level=SCRIPT)
    left = tables["pairs"].assign(left=SCRIPT)
    parts = {
        "title": {"title": SCRIPT},
        "claim": {"claims": [claim(1, SCRIPT, "refuted", 0.1)]},
        "line": {"claims": [claim(1, "c", "refuted", 0.1, line=SCRIPT)]},
        "task": {"claims": [claim(1, "c", "refuted", 0.1, task=SCRIPT)]},
        "note": {"notes": [SCRIPT]},
        "setting": {"settings": {SCRIPT: {SCRIPT: [SCRIPT]}}},
        "gold": {"map": points().assign(gold=SCRIPT, condition=SCRIPT)},
        "level": {"tables": {"factors": level}},
        "condition": {"tables": {"pairs": left}},
    }[where]
    found = Page(html(bare(**parts), {}))
    kinds = [a.get("type") for a in found.tagged("script")]
    assert set(kinds[:-1]) <= {"application/json"} and kinds[-1] is None
    assert not found.tagged("b")


def test_a_verdict_or_prompt_part_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="no such verdict: 'maybe'"):
        bare(claims=[claim(1, "c", "maybe", 0.1)])
    with pytest.raises(ValueError, match="no such prompt role: answer"):
        bare(prompts=[{"parts": [("answer", "x")]}])


def texts(row) -> list[str]:
    return [entry.text for entry in row]


def test_a_claim_is_one_line_with_verdict_effect_and_interval():
    grid = claims_table(sample().claims, tabled.FACTORS, tabled.effect)
    assert texts(grid.rows[1]) == [
        "? not decided", "ICL is more like IT than like SL", "−0.010 [−0.060, 0.040]", "1.000",
        TASK, "reference", "60", "8", "<0.001", "crossed sign flips over queries and draws",
        "1 pairs",
    ]  # fmt: skip
    assert [row[-1].text for row in grid.rows] == [
        "1 pairs", "1 pairs", "1 pairs", "2 layers", "3 demonstrations",
    ]  # fmt: skip


def test_a_pair_stands_beside_its_baseline_and_floor_and_links_to_its_cells():
    one = sample()
    rows = one.tables["pairs"].query(
        f"model == 'reference' and left == 'icl-16' and right == 'it-16' and layer == {DEPTH} "
        "and measure == 'centered' and not is_final"
    )
    conditions = made.Conditions.of(one.labels, one.cells)
    row = tabled.pairs(rows, "pairs-main", "Pairs", conditions).rows[0]
    assert texts(row)[1:9] == [
        "icl-16", "it-16", "centered cosine", "0.770 [0.740, 0.800]", "0.000",
        "+0.770 [0.740, 0.800]", "0.830", "60",
    ]  # fmt: skip
    assert [link[1] for link in row[-1].links] == [
        cell_of("reference", "icl-16"), cell_of("reference", "it-16"),
    ]  # fmt: skip
    assert row[2].links == (("it-16", cell_of("reference", "it-16")),)


def test_levels_sort_by_their_number_and_not_by_their_name():
    from adaptlens.studies.convergence import figures_levels

    rows = figures_levels.of_factor(sample().tables["factors"], "demonstrations", LABELS)
    grid = tabled.factor(rows, "factor-demonstrations", "t", CONDITIONS)
    level = [row[1] for row in grid.rows]
    by_number = sorted(level, key=lambda entry: entry.sort)
    assert list(dict.fromkeys(e.text for e in by_number)) == ["1", "2", "4", "8", "16", "32"]


def test_models_stand_side_by_side_with_their_verdicts():
    grid = tabled.models(sample().tables)
    assert [text for text, _ in grid.headings] == [
        "task", "model", "ICL is implicit IT", "ICL ~ IT, raw cosine", "ICL ~ IT, centered cosine",
        "anchor ~ IT, raw cosine", "effect",
    ]  # fmt: skip
    assert texts(grid.rows[1]) == [TASK, MODELS[1], "–", "0.030", "0.150", "−0.090", "–"]


def test_no_column_of_a_known_table_is_lost():
    one = sample()
    rows = one.tables["pairs"].assign(mantel_p=0.25)
    grid = tabled.pairs(rows, "pairs", "Pairs", CONDITIONS)
    assert (grid.headings[-1], grid.rows[0][-1].text) == (("mantel p", True), "0.25")
    assert "mantel_p" in tabled.everything(rows).columns
    assert len(tabled.everything(rows)) == len(rows)


MAPPED = {**LABELS, "icl-4": Shown("icl-4", "icl-4", "icl", 4)}
MAPPED |= {"it-4": Shown("it-4", "it-4", "it", 4)}


def frame(*places, layer=0, condition="icl-4") -> pd.DataFrame:
    rows = [dict(layer=layer, condition=condition, query=f"q{i}", gold="g", x=x, y=y)
            for i, (x, y) in enumerate(places)]  # fmt: skip
    return pd.DataFrame(rows).assign(model="m", task="t")


def test_a_map_fills_its_frame_and_keeps_proportions():
    (only,) = state_maps(frame((0, 0), (10, 0), (5, 2)), MAPPED)
    (first, second, third) = only.places[0][0]
    assert (first[0], second[0]) == (MARGIN, WIDTH - MARGIN)
    unit = (WIDTH - 2 * MARGIN) / 10
    assert third[0] == pytest.approx(WIDTH / 2)
    assert first[1] - third[1] == pytest.approx(2 * unit, abs=0.11)  # up is up
    assert (first[1] + third[1]) / 2 == pytest.approx(HEIGHT / 2, abs=0.11)


def test_a_layer_that_is_mirrored_is_turned_back():
    straight = frame((0, 0), (10, 0), (4, 3))
    mirrored = frame((0, 0), (-10, 0), (-4, 3), layer=1)
    (only,) = state_maps(pd.concat([straight, mirrored]), MAPPED)
    assert only.places[0] == only.places[1]


def test_states_that_are_all_the_same_stand_in_the_middle():
    (only,) = state_maps(frame((3, 3), (3, 3)), MAPPED)
    assert only.places[0][0] == [(WIDTH / 2, HEIGHT / 2)] * 2


def test_a_state_that_was_not_measured_has_no_place():
    both = pd.concat([frame((0, 0), (1, 1)), frame((0, 1), condition="it-4")])
    (only,) = state_maps(both, MAPPED)
    assert [c["label"] for c in only.conditions] == ["icl-4", "it-4"]
    assert only.places[0][1][1] is None
    assert len(list(only.marks())) == 3


def test_maps_are_embedded_whole_and_safe():
    maps = state_maps(points(), MAPPED)
    text = embedded(maps)
    assert not set("<>&") & set(text)
    found = json.loads(text)
    assert [one["name"] for one in found] == [f"{TASK} · {model}" for model in MODELS]
    assert found[0]["layers"] == [*(f"layer {i}" for i in range(DEPTH + 1)), "after the final norm"]
    assert found[0]["queries"][0] == [SCRIPT, "dax"]
    assert found[0]["hollow"] == "wug"
    shape = [len(found[0]["places"]), len(found[0]["places"][0]), len(found[0]["places"][0][0])]
    assert shape == [DEPTH + 2, 4, 6]
    assert all(
        math.isfinite(n) for layer in found[0]["places"] for c in layer for p in c for n in p
    )
