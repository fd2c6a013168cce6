"""The page of the study of implicit patterns is whole, safe, and says what the tables say."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from adaptlens.report.images import draw
from adaptlens.report.labels import Shown
from adaptlens.studies.implicit import page as implicit
from adaptlens.studies.implicit import tables as tabled
from adaptlens.studies.implicit.page import ImplicitReport, html, write
from implicit_samples import LABELS, cell_of, claim, claims, sample, tables
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

FAMILIES = ("expression", "relation")
ALL = [*implicit.OF_ALL, *implicit.OF_CONDITIONS]
FIGURES = [*ALL, *(f"{name}-{family}" for name in implicit.OF_FAMILY for family in FAMILIES)]
SECTIONS = [
    "verdict", "accuracy", "shortcut", "needed", "transfer", "units", "shift", "function",
    "robustness", "graph", "recipe",
]  # fmt: skip
NAMES = [*tables(("expression",))]


def bare(**parts) -> ImplicitReport:
    """A report with nothing but what is given."""
    known = {**LABELS, SCRIPT: Shown(SCRIPT, SCRIPT, "icl")}
    return ImplicitReport(**(BARE | {"labels": known} | parts))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "report.html"
    return write(sample(FAMILIES), path, formats=["svg"])


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page(written.read_text("utf-8"))


def test_every_figure_lies_beside_the_page(written):
    found = {file.name for file in (written.parent / "figures").iterdir()}
    assert found == {f"{name}.svg" for name in FIGURES}


def test_every_element_is_closed_and_every_id_is_used_once(page):
    check_elements(page)


def test_every_link_within_the_page_leads_somewhere(page):
    assert f"cell-{cell_of('relation', 'icl-16')}" in check_links(page)


def test_the_page_names_nothing_to_load(page):
    check_loads_nothing(page)


def test_sections_stand_in_the_order_of_the_study(page):
    assert page.sections() == SECTIONS


def test_claims_are_counted_in_words_below_the_question(written):
    states = [claim["state"] for claim in sample(FAMILIES).claims]
    counts = ", ".join(f"{states.count(s)} {s}" for s in ("supported", "refuted", "not decided"))
    assert f'<p class="kicker">{len(states)} claims: {counts}</p>' in written.read_text("utf-8")


def test_headings_go_down_one_level_at_a_time(page):
    check_headings(page)


def test_every_figure_and_table_says_what_it_is(page):
    check_pictures(page, 2 * len(FIGURES))


def test_one_family_is_open_and_the_others_are_folded(page):
    folded = [a for a in page.tagged("details") if "family" in a.get("class", "")]
    opened = [True, False], [False, False], [False, False], [True, False], [False, False]
    # units, differences, overlap, graphs, heads
    assert ["open" in a for a in folded] == [one for kind in opened for one in kind]


def test_the_numbers_under_a_figure_are_folded_but_reachable(page):
    grids = [a for a in page.tagged("details") if a.get("class") == "numbers"]
    assert len(grids) >= len(ALL)
    assert all(a["tabindex"] == "0" for a in page.tagged("div") if a.get("class") == "box")


def test_the_page_says_whose_circuit_shift_it_is(page):
    assert any("Circuit shift is our operationalization" in text for text in page.texts["p"])


def test_verdicts_are_counted_and_families_that_differ_said_to(page):
    said = " ".join(page.texts["main"][0].split())
    assert "Of 9 claims tested: ✓ 7 supported, ✗ 1 refuted, ? 1 not decided." in said
    assert "Supported in 1 of 2 In-context learning shifts the circuit more" in said
    assert "relation: undefined: no clean-corrupt gap" in said


def test_a_claim_on_all_families_decides_and_others_must_agree():
    given = [
        claim(1, "a", "supported", 9.0), claim(1, "a", "refuted", -9.0, task="code"),
        claim(4, "b", "refuted", 0.1, task="code"),
        claim(4, "b", "supported", 9.0, task="all families"),
        claim(5, "c", "supported", 1.0, model="x"), claim(5, "c", "refuted", 1.0, model="y"),
    ]  # fmt: skip
    found = {card.claim + card.about: card.state for card in implicit.cards(given)["others"]}
    assert found == {
        "areference-math": "",
        "breference-math": "supported",
        "cx": "supported",
        "cy": "refuted",
    }


def test_the_page_begins_with_the_claim_that_the_study_is_named_after():
    of_shift = claim(
        6, "in-context learning shifts the circuit more than it-8 does", "refuted", 1.0
    )
    of_use = claim(1, "in-context learning uses the shortcut more than it-8", "refuted", 1.0)
    own = [claim(2, "a", "supported", 9.0), of_shift]
    assert [card.claim for card in implicit.cards(own)["main"]] == [of_shift["claim"]]
    assert [card.claim for card in implicit.cards([*own, of_use])["main"]] == [of_use["claim"]]
    assert implicit.cards(own[:1])["main"] == []


def test_what_was_not_measured_has_no_section():
    assert Page(html(bare(), {})).sections() == ["verdict", "recipe"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("effects", "edges")])
def test_each_table_alone_makes_a_page_with_its_figure(name):
    some = bare(tables={name: tables(("expression", "code"))[name]})
    figures = draw(implicit.wanted(some))
    charts = implicit.OF_ALL | implicit.OF_CONDITIONS | implicit.OF_FAMILY
    drawn_from = [table for table, _, _ in charts.values()]
    assert bool(figures) == (name in drawn_from)
    found = Page(html(some, figures))
    assert found.open == [] and len(found.sections()) >= 3
    assert len(found.tagged("figure")) == len(figures)


def test_tables_without_rows_or_numbers_make_a_page():
    full = tables(("relation",))
    gone = {
        name: table.assign(**{c: math.nan for c in table.select_dtypes("float").columns})
        for name, table in full.items()
    }
    some = bare(tables=gone)
    assert Page(html(some, draw(implicit.wanted(some)))).open == []
    none = bare(tables={name: table[:0] for name, table in full.items()})
    assert [*implicit.wanted(none)] == []
    assert Page(html(none, {})).sections() == ["verdict", "recipe"]


def test_a_family_without_circuits_keeps_its_behavior():
    full = tables(FAMILIES)
    of_one = ("profiles", "differences", "overlap", "annotations", "circuit", "edges")
    some = {n: t[t["family"] == "expression"] if n in of_one else t for n, t in full.items()}
    names = [one.name for one in implicit.wanted(bare(tables=some))]
    assert "graph-expression" in names and "graph-relation" not in names


def test_two_models_are_told_apart():
    one = tables(("expression",))
    both = {
        name: pd.concat([table, table.assign(model="other")]) if "model" in table else table
        for name, table in one.items()
    }
    some = bare(tables=both, claims=[*claims(("code",)), claim(1, "c", "refuted", 1.0, model="x")])
    figures = draw([w for w in implicit.wanted(some) if w.name in ("graph-expression", "shortcut")])
    assert "other · ICL" in figures["graph-expression"].wide
    found = Page(html(some, figures))
    assert found.open == [] and found.texts["th"].count("model") >= 10


def test_a_table_the_page_does_not_know_is_shown_whole():
    found = Page(html(bare(tables={"extra": pd.DataFrame({"a b": [0.5]})}), {}))
    assert (found.texts["caption"], found.texts["td"]) == (["extra"], ["0.5"])


def test_units_stand_once_with_a_column_for_each_condition():
    rows = pd.DataFrame(
        [
            dict(model="m", panel=p, unit=u, value=v, low=v - 0.1, high=v + 0.1, p=q)
            for p, u, v, q in (
                ("ICL", "L0.H0", 0.2, 0.5), ("IT", "L0.H0", -0.4, 0.01),
                ("ICL", "L1.MLP", 0.3, 0.9),
            )
        ]
    )  # fmt: skip
    grid = tabled.units(rows, "g", "c", "p")
    assert [text for text, _ in grid.headings] == ["unit", "ICL", "IT"]
    assert [[entry.text for entry in row] for row in grid.rows] == [
        ["L0.H0", "+0.200 [0.100, 0.300]", "−0.400 [−0.500, −0.300] *"],
        ["L1.MLP", "+0.300 [0.200, 0.400]", "–"],
    ]


def test_a_table_under_a_figure_has_the_largest_units_and_says_so():
    rows = pd.DataFrame(
        [dict(model="m", panel="ICL", unit=f"L0.H{i}", value=float(i), low=0.0, high=1.0, p=1.0)
         for i in range(150)]
    )  # fmt: skip
    grid = tabled.units(rows, "g", "Share", "p")
    assert len(grid.rows) == 100 and grid.caption == "Share: the 100 units with the largest"
    assert grid.rows[0][0].text == "L0.H149"


def test_accuracies_at_the_number_chosen_stand_by_condition_with_zero_shot_on_the_same_items():
    table = tabled.chosen(tables(("code",)))
    assert [text for text, _ in table.headings] == [
        "family", "method", "pattern, %", "misleading, %", "plain, %", "samples", "queries",
        "draws",
    ]  # fmt: skip
    # Zero-shot learns nothing, so that misleading and plain are the same broken items for it.
    assert [entry.text for entry in table.rows[0]][1:6] == [
        "zero-shot", "23.0 [15.5, 30.5]", "19.0 [11.5, 26.5]", "19.0 [11.5, 26.5]", "0",
    ]  # fmt: skip
    assert [entry.text for entry in table.rows[2]][1:6] == [
        "it", "61.0 [56.0, 66.0]", "42.0 [37.0, 47.0]", "47.0 [42.0, 52.0]", "1,024",
    ]  # fmt: skip
    assert [row[1].text for row in table.rows] == ["zero-shot", "icl", "it", "full"]


def test_samples_never_reached_are_said_not_to_be():
    grid = tabled.needed(tables(("code",)))
    at = [text for text, _ in grid.headings].index("samples needed")
    assert grid.rows[0][at].text == "not reached [700, not reached]"
    assert grid.rows[2][at].text == "90 [56.2, 162]"


def test_every_unit_of_every_condition_and_pair_can_be_browsed():
    found = tables(("expression",))
    rows = tabled.everything(found)
    assert len(rows) == len(found["profiles"]) + len(found["differences"])
    assert set(rows["what"]) == {"share of the gap", "difference"}
    own = rows[(rows["condition"] == "icl-16") & (rows["kind"] == "head")]
    assert own["induction"].notna().all()
    assert "it-256 − icl-16" in set(rows["condition"])


def test_robustness_is_said_in_a_sentence_for_each_family():
    rows = pd.DataFrame(
        [dict(model="m", family="f", left="icl-16", right="it-256", name="icl-16 ~ it-256",
              value=v, low=v - 1, high=v + 1) for v in (0.5, 2.0, 3.0, -2.0)]
    )  # fmt: skip
    assert implicit.robust(bare(tables={"specifications": rows})) == [
        "f, icl-16 ~ it-256: median +1.250; of 4 specifications 3 on the same side of 0, 2 clearly "
        "so, 1 clearly on the other side"
    ]
    both = pd.concat([rows, rows.assign(model="other")])
    said = implicit.robust(bare(tables={"specifications": both}))
    assert [line.partition(",")[0] for line in said] == ["f on m", "f on other"]


@pytest.mark.parametrize(
    "where", ["title", "claim", "line", "note", "setting", "family", "condition", "reason", "unit"]
)
def test_markup_is_text_wherever_it_comes_from(where):
    full = tables(("expression",))
    hurt = {name: table.assign(family=SCRIPT) for name, table in full.items()}
    nothing = claim(6, "c", "not decided", math.nan, line=SCRIPT, task=SCRIPT)
    parts = {
        "title": {"title": SCRIPT},
        "claim": {"claims": [claim(1, SCRIPT, "refuted", 0.1)]},
        "line": {"claims": [nothing]},
        "note": {"notes": [SCRIPT]},
        "setting": {"settings": {SCRIPT: {SCRIPT: [SCRIPT]}}},
        "family": {"tables": hurt},
        "condition": {"tables": {"gates": full["gates"].assign(condition=SCRIPT)}},
        "reason": {"tables": {"gates": full["gates"].assign(reason=SCRIPT)}},
        "unit": {"tables": {"profiles": full["profiles"].assign(unit=SCRIPT)}},
    }[where]
    some = bare(**parts)
    few = [one for one in implicit.wanted(some) if one.name.startswith(("gates", "profiles"))]
    found = Page(html(some, draw(few)))
    kinds = [a.get("type") for a in found.tagged("script")]
    assert set(kinds[:-1]) <= {"application/json"} and kinds[-1] is None
    assert not found.tagged("b") and found.open == []


def test_families_with_like_names_have_figures_of_their_own():
    table = pd.DataFrame({"family": ["a b", "a-b", "é"]})
    assert implicit.families(bare(tables={"x": table})) == {"a b": "a-b", "a-b": "a-b-1", "é": "-"}


def test_a_verdict_or_prompt_part_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="no such verdict: 'maybe'"):
        bare(claims=[claim(1, "c", "maybe", 0.1)])
    with pytest.raises(ValueError, match="no such prompt role: aside"):
        bare(prompts=[{"parts": [("aside", "x")]}])


def test_the_same_report_gives_the_same_page():
    one = replace(sample(("code",)), tables={})
    assert html(one, {}) == html(one, {})
