"""The page is whole, safe, accessible and says what the tables say."""

import base64
import hashlib
import json
import math
import re
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptlens.errors import UserError
from adaptlens.report import tables as made
from adaptlens.report.frame import ROLES
from adaptlens.studies.compare import score_tables
from adaptlens.studies.compare.page import Report, html, write
from adaptlens.studies.compare.tables import break_evens, differences, measured
from pages import Page, check_elements, check_headings, check_links, check_loads_nothing
from report_samples import LABELS, SCRIPT, sample, tables
from tests.studies.compare.test_figures import contrast

CONDITIONS = made.Conditions(LABELS, {})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write(sample(), folder / "report.html")


@pytest.fixture(scope="module")
def page(written) -> Page:
    return Page(written.read_text("utf-8"))


def bare(**parts) -> Report:
    """A report with nothing but what is given."""
    empty = {"title": "t", "verdicts": [], "tables": {}, "prompts": [], "settings": {}}
    empty |= {"versions": {}, "cells": pd.DataFrame(), "per_query": pd.DataFrame()}
    empty |= {"labels": LABELS}
    return Report(**(empty | parts))


def test_every_figure_lies_beside_the_page_in_three_formats(written):
    found = {file.name for file in (written.parent / "figures").iterdir()}
    names = ("accuracy", "templates", "differences", "differences-all", "calibration", "cost",
             "seconds")  # fmt: skip
    assert found == {f"{name}.{format}" for name in names for format in ("svg", "png", "pdf")}


def test_writing_leaves_no_other_file(written):
    assert {file.name for file in written.parent.iterdir()} == {"report.html", "figures"}


def test_the_same_report_gives_the_same_bytes(written, tmp_path):
    again = write(sample(), tmp_path / "deep" / "page.html", formats=["svg", "png", "pdf"])
    assert again.read_bytes() == written.read_bytes()


def test_a_page_without_pictures_links_to_none(tmp_path):
    one = replace(sample(20), tables={"reliability": tables()["reliability"]})
    text = write(one, tmp_path / "page.html", formats=()).read_text("utf-8")
    assert 'id="figure-calibration"' in text
    assert not (tmp_path / "figures").exists()
    assert 'href="figures/' not in text


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="unknown figure format 'jpg'"):
        write(sample(20), tmp_path / "page.html", formats=["jpg"])
    assert not list(tmp_path.iterdir())


def test_every_element_is_closed_and_every_id_is_used_once(page):
    check_elements(page)


def test_every_link_within_the_page_leads_somewhere(page):
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert sum(link.startswith("cell-") for link in check_links(page)) > 50
    described = [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    assert set(described) <= ids


def test_the_page_names_nothing_to_load(page):
    check_loads_nothing(page)
    assert "@import" not in page.texts["style"][0]
    assert "url(" not in page.texts["style"][0]


def test_the_policy_lets_only_the_page_s_own_script_run(page):
    policy = next(a["content"] for a in page.tagged("meta") if "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(page.texts["script"][-1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")


def test_script_in_texts_is_text(page):
    assert [a.get("type") for a in page.tagged("script")] == ["application/json", None]
    assert any(SCRIPT in text.replace("\n", "") for text in page.texts["pre"])
    assert not page.tagged("b")


@pytest.mark.parametrize("where", ["title", "line", "task", "note", "setting", "name"])
def test_markup_is_text_wherever_it_comes_from(where):
    verdict = {"task": "t", "model": "m", "state": "tune", "line": "l"}
    parts = {
        "title": {"title": SCRIPT},
        "line": {"verdicts": [verdict | {"line": SCRIPT}]},
        "task": {"verdicts": [verdict | {"task": SCRIPT}]},
        "note": {"notes": [SCRIPT]},
        "setting": {"settings": {SCRIPT: {SCRIPT: [SCRIPT]}}},
        "name": {"tables": {SCRIPT: pd.DataFrame({SCRIPT: [SCRIPT]})}},
    }[where]
    found = Page(html(bare(**parts), {}))
    assert len(found.tagged("script")) == 1
    assert not found.tagged("b")


def test_headings_go_down_one_level_at_a_time(page):
    check_headings(page)


def test_every_table_has_a_caption_and_every_control_a_name(page):
    assert len(page.tagged("caption")) == len(page.tagged("table"))
    pictures = [a for a in page.tagged("svg") if a.get("role") == "img"]
    assert len(pictures) == 14
    assert all(len(a["aria-label"]) > 60 for a in pictures)
    decorations = [a for a in page.tagged("svg") if a.get("role") != "img"]
    assert all(a["aria-hidden"] == "true" for a in decorations)


def colors(style: str) -> dict[str, dict[str, str]]:
    """The variables of the light page, of the dark page by system, and by choice."""
    blocks = re.findall(r":root(\S*?)\s*\{([^}]*)\}", style)
    found: dict[str, dict[str, str]] = {}
    for selector, body in blocks:
        found.setdefault(selector, {}).update(re.findall(r"(--[\w-]+):\s*(#[0-9a-f]{6})", body))
    return found


def test_the_dark_page_has_every_color_of_the_light_one(page):
    light, by_system, by_choice = colors(page.texts["style"][0]).values()
    assert by_system == by_choice
    assert set(light) == set(by_choice)


@pytest.mark.parametrize("theme", ["", "[data-theme=dark]"])
def test_text_reaches_four_and_a_half_to_one(page, theme):
    found = colors(page.texts["style"][0])[theme]
    pairs = [(f"--{text}", f"--{ground}") for text in ("ink", "muted", "link")
             for ground in ("paper", "surface", "shade")]  # fmt: skip
    pairs += [
        ("--ink", f"--{part}")
        for part in ("instruction", "demo-input", "demo-target", "query", "cue", "chat")
    ]
    pairs += [("--good", "--surface"), ("--bad", "--surface")]
    low = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}


def test_the_verdicts_come_first(page):
    sections = page.sections()
    assert sections == [
        "verdict",
        "accuracy",
        "differences",
        "cost",
        "recipe",
        "effects",
        "answers",
    ]


def test_what_is_folded_keeps_the_names_it_had(page):
    folded = {attributes.get("id") for attributes in page.tagged("details")}
    assert folded >= {"searches", "prompts", "calibration"}


def test_the_recipe_gives_numbers_the_command_and_the_date(page):
    said = dict(zip(page.texts["dt"], page.texts["dd"], strict=False))
    assert (said["LoRA rank"], said["learning rates tried"]) == ("8", "0.005 or 0.02")
    assert said["made"] == "2026-01-02 10:00 UTC to 2026-01-02 10:20 UTC"
    assert sample(1).command in page.texts["code"]
    arms = [a for a in page.tagged("table") if a.get("id") == "grid-recipes"]
    assert len(arms) == 1


def test_no_number_of_the_page_is_a_negative_zero(written):
    text = re.sub(r"<(style|script|svg).*?</\1>", "", written.read_text("utf-8"), flags=re.S)
    assert not re.search(r"(?<![\w.])[-−]0(\.0+)?(?![\d.,]|\w)", text)


def test_gates_stand_once():
    gate = {"gate": "it-16 >= base - 1", "task": "t", "model": "m", "passed": True}
    gate |= {"difference": 0.01, "least": -0.01, "bound": -1.0, "p": 0.01, "reason": ""}
    verdict = {"task": "t", "model": "m", "state": "tune", "line": "l"}
    found = Page(html(bare(verdicts=[verdict], tables={"gates": pd.DataFrame([gate])}), {}))
    assert "more" not in found.sections()
    said = [text for text in found.texts["p"] if "it-16 >= base - 1" in text]
    assert said == ["Gate it-16 >= base - 1 passed: 0.0 points, shown to be at least 0.0 (p=0.01)"]


def test_a_label_is_said_in_words_where_the_verdict_first_has_it(page):
    said = " ".join(page.texts["p"])
    wanted = "icl-16 (16 examples in the prompt) beats it-16 (tuned on 16 examples with the "
    assert wanted + "instruction) by 4.0 points" in said


def test_what_was_not_measured_has_no_section():
    text = html(bare(settings={"a": {"b": 1}}), {})
    found = Page(text)
    assert found.sections() == ["verdict", "recipe"]
    assert "a.b" in found.texts["dt"]


def test_a_table_the_report_does_not_know_is_shown_whole():
    table = pd.DataFrame({"layer": [0, 1], "shift": [0.25, math.nan], "which": ["q", "v"]})
    found = Page(html(bare(tables={"circuit_shift": table}), {}))
    assert found.texts["caption"] == ["circuit shift"]
    assert [text for text in found.texts["td"]] == ["0", "0.25", "q", "1", "–", "v"]


def test_prompts_stand_as_sent_part_by_part(page):
    sent = page.texts["pre"][len(sample(1).tables["searches"]) :]
    first = sample(1).prompts[0]
    assert sent[0] == "".join(text for _, text in first["parts"])
    classes = [a["class"] for a in page.tagged("span") if a.get("class", "").startswith("part ")]
    legend = len(ROLES)
    assert classes[legend : legend + 4] == [
        "part instruction",
        "part separator",
        "part query",
        "part cue",
    ]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"tables": {"accuracy": pd.DataFrame({"task": ["t"]})}}, "'accuracy' lacks model, cond"),
        ({"cells": pd.DataFrame({"id": ["x"]})}, "'cells' lacks cell"),
        ({"verdicts": [{"task": "t", "model": "m", "line": "", "state": "maybe"}]}, "maybe"),
        ({"prompts": [{"parts": [("answer", "x")]}]}, "no such prompt role: answer"),
    ],
)
def test_a_report_that_cannot_be_shown_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        bare(**parts)


def decoded(text: str) -> pd.DataFrame:
    """The table that the page's script reads."""
    columns = json.loads(text)["columns"]
    return pd.DataFrame(
        {
            c["name"]: [c["values"][code] for code in c["codes"]]
            if c["kind"] == "text"
            else c["numbers"]
            for c in columns
        }
    )


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.text(), st.floats()), min_size=1))
def test_the_embedded_table_is_the_table(rows):
    table = pd.DataFrame(rows, columns=["input", "margin"])
    text = made.embedded(table)
    assert not set("<>&\u2028\u2029") & set(text)
    found = decoded(text)
    assert list(found["input"]) == list(table["input"])
    for seen, meant in zip(found["margin"], table["margin"], strict=True):
        assert seen == pytest.approx(meant, rel=1e-5, nan_ok=True) or (seen is None) == (
            math.isnan(meant)
        )


def test_embedded_columns_know_their_kind():
    table = pd.DataFrame({"correct": [1, 0], "draw": [-1, 3], "gold": ["a", "a"], "x": [1.5, None]})
    kinds = {c["name"]: c["kind"] for c in json.loads(made.embedded(table))["columns"]}
    assert kinds == {"correct": "flag", "draw": "number", "gold": "text", "x": "number"}


def test_a_partial_score_is_a_number_and_not_right_or_wrong():
    table = pd.DataFrame({"correct": [1.0, 0.4]})
    assert json.loads(made.embedded(table))["columns"][0]["kind"] == "number"


def test_scores_have_a_row_for_each_condition_and_link_to_all_their_cells():
    found = tables()
    found["accuracy"]["cell"] = found["accuracy"]["cell"] + ", second"
    grid = score_tables.scores(found)[0]
    row = next(row for row in grid.rows if row[0].text == "it-16")
    # 91.0 under all templates: one point less, two more, three less and two more.
    assert [entry.text for entry in row[1:6]] == [
        "91.0 [88.7, 93.3]", "90.0", "question 88.0", "named 93.0", "88.7",
    ]  # fmt: skip
    assert [entry.text for entry in row[6:9]] == [
        "batch-calibrated, raw", "4 templates", "4 × 10 × 200",
    ]  # fmt: skip
    assert row[-1].links[1] == ("second", "second")
    assert [row[0].text for row in grid.rows[-2:]] == ["chance", "majority 'dax'"]


def test_an_arm_with_one_way_of_asking_says_which():
    rows = {row[0].text: row for row in score_tables.scores(tables())[0].rows}
    texts = {name: [entry.text for entry in rows[name]] for name in ("best-it-16", "best-prompt-0")}
    assert texts["best-it-16"][2:5] == ["–", "–", "–"]
    assert texts["best-it-16"][7] == "named"
    assert texts["best-prompt-0"][5:9] == [
        "–", "batch-calibrated, raw", "the prompt found", "1 × 1 × 200",
    ]  # fmt: skip


def test_columns_in_which_no_arm_says_anything_are_left_out():
    grid = score_tables.scores(tables())[1]
    assert [text for text, _ in grid.headings] == [
        "arm", "chrF, 0–100", "exact match, %", "worst draw, 0–100", "read under",
        "templates × draws × queries", "tokens a query", "one PEFT run, GFLOP", "cell",
    ]  # fmt: skip


def test_the_same_rule_for_all_arms_has_a_table_of_its_own():
    grid = score_tables.by_fixed_rule(tables())[0]
    assert grid.caption == "sentiment-novel, by the same rule for all arms"
    row = next(row for row in grid.rows if row[0].text == "it-16")
    assert [entry.text for entry in row[1:]] == [
        "89.5 [87.2, 91.8]", "88.0 [85.7, 90.3]", "86.5 [84.2, 88.8]",
    ]  # fmt: skip
    assert "best-it-16" not in [row[0].text for row in grid.rows]


def test_every_template_has_a_column():
    grid = score_tables.by_template(tables(), CONDITIONS)[0]
    assert [text for text, _ in grid.headings] == ["arm", "plain", "named", "question", "bare"]
    row = next(row for row in grid.rows if row[0].text == "icl-16")
    assert [entry.text[:4] for entry in row[1:]] == ["94.0", "97.0", "92.0", "97.0"]


def test_a_search_is_shown_with_all_it_found():
    rows = score_tables.searches(tables(), CONDITIONS).rows
    assert [entry.text for entry in rows[1][1:]] == [
        "best-prompt-16", "3", "Text: {input}\\nLabel: {target}", "Dax/Wug",
        "the first half, answers taking turns", "batch-calibrated", "87.5", "32", "640", "9,100",
        "--template 'Text: {input}\\nLabel: {target}' --label-words 'dax=Dax,wug=Wug'",
    ]  # fmt: skip
    assert rows[0][2].text == "–"


def test_the_prompt_found_stands_as_it_was_sent(page):
    sent = [text.replace("\n", "") for text in page.texts["pre"]]
    assert f"Text: {SCRIPT}Label:" in sent
    assert "Text: the soup was warmLabel: DaxText: the road felt longLabel:" in sent
    assert "--template 'Text: {input}\\nLabel: {target}'" in page.texts["code"]


def test_the_page_says_what_each_side_was_allowed(written):
    text = written.read_text("utf-8")
    assert "Both sides: the same 10 draws of 1, 4 or 16 labeled examples of 512." in text
    assert "best-it-16 is it-16 read under its best template alone." in text


def test_the_page_says_when_tuning_pays_or_why_it_does_not(written):
    text = written.read_text("utf-8")
    assert "sentiment-novel: no break-even: icl-16 is better than it-16.</p>" in text


def test_several_models_are_kept_apart():
    found = tables()
    other = {name: table.assign(model="other") for name, table in found.items()}
    other["baselines"] = found["baselines"]
    both = {n: pd.concat([found[n], other[n]]) for n in found if n != "baselines"}
    assert [grid.caption for grid in score_tables.scores(both)] == [
        "sentiment-novel on reference",
        "translation on reference",
        "sentiment-novel on other",
        "translation on other",
    ]
    assert differences(both, CONDITIONS).headings[:2] == (("task", False), ("model", False))


def test_a_break_even_that_never_comes_is_never():
    rows = break_evens(tables(), CONDITIONS).rows
    never = [row for row in rows if row[-3].text == "never"]
    assert {(row[1].text, row[2].text) for row in never} == {("icl-1", "full-1")}
    assert {row[3].text for row in rows} == {"prompt cached", "prompt not cached"}


def test_costs_are_printed_with_their_unit():
    grid = measured(tables(), "cost", "Cost", CONDITIONS)
    at = {text: i for i, (text, _) in enumerate(grid.headings)}
    row = next(row for row in grid.rows if row[1].text == "icl-4")
    assert row[at["query, GFLOP"]].text == "0.189"  # 4.1e7 * (1 + 0.9 * 4) = 1.886e8
    assert row[at["peak memory, MB"]].text == "350"


def test_no_column_of_a_known_table_is_lost():
    found = tables()
    found["differences"] = found["differences"].assign(supports_claims=False, margin=0.02)
    found["cost"] = found["cost"].assign(energy_joules=2.5)
    pairs = differences(found, CONDITIONS)
    assert pairs.headings[-2:] == (("equivalence margin, points", True), ("supports claims", False))
    assert [entry.text for entry in pairs.rows[0][-2:]] == ["2.0", "no"]
    cost = measured(found, "cost", "Cost", CONDITIONS)
    assert (cost.headings[-1], cost.rows[0][-1].text) == (("energy joules", True), "2.5")


def test_in_short_there_are_the_verdicts_the_scores_and_the_differences():
    short = sample(1).summary()
    assert short.findings[0].about == "reference, sentiment-novel"
    assert short.findings[0].state + short.findings[0].line == sample(1).verdicts[0]["line"]
    row = next(row for row in short.tables[0].rows if row[0].text == "it-16")
    assert [entry.text for entry in row][:7] == [
        "it-16", "91.0 [88.7, 93.3]", "question 88.0", "named 93.0", "88.7", "batch, raw",
        "4 × 10 × 200",
    ]  # fmt: skip
    (pairs,) = short.details
    row = next(row for row in pairs.rows if row[0].text == "translation")
    assert [entry.text for entry in row][1:6] == [
        "it-16",
        "icl-16",
        "chrF",
        "−4.0 [−8.5, 0.5]",
        "1.000",
    ]
    assert short.lines[-1] == (
        "reference, sentiment-novel: no break-even: icl-16 is better than it-16"
    )
