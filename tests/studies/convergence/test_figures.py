"""The convergence study's figures show the table's numbers, and pairs can be told apart."""

import itertools
import math
from functools import partial
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from adaptlens.report import images
from adaptlens.report.charts import NARROW, WIDE, NothingToDraw
from adaptlens.report.labels import Shown, pair_of
from adaptlens.report.theme import PAIRS, style_of, style_of_pair
from adaptlens.studies.convergence import figures as states
from adaptlens.studies.convergence import figures_levels
from adaptlens.studies.convergence.figures import agreement, bars, heat, lens, over_layers
from convergence_samples import DEPTH, LABELS, LEVEL, TASK, tables, value_of
from report_samples import SCRIPT
from tests.studies.compare.test_figures import SIGHT, SVG, contrast, drawn, lab, linear

DRAWN = [PAIRS[name] for name in states.DRAWN]


@pytest.fixture(scope="module")
def found() -> dict[str, pd.DataFrame]:
    return tables()


def panels(chart) -> list[tuple[str, str]]:
    """Every panel's title, and what stands under it."""
    titles = [panel["title"] for panel in chart.to_dict()["concat"]]
    return [(t, "") if isinstance(t, str) else (t["text"], t["subtitle"]) for t in titles]


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("paper", ["light", "dark"])
def test_pairs_are_told_apart_by_color(paper, sight):
    seen = [lab(np.clip(SIGHT[sight] @ linear(getattr(one, paper)), 0, 1)) for one in DRAWN]
    assert min(math.dist(a, b) for a, b in itertools.combinations(seen, 2)) > 20


def test_pairs_are_told_apart_without_color():
    assert len({one.shape for one in DRAWN}) == len(DRAWN) == 4


def test_marks_of_pairs_reach_three_to_one_on_light_and_dark_paper():
    assert min(contrast(one.light, "#fbfaf7") for one in PAIRS.values()) >= 3
    assert min(contrast(one.dark, "#161513") for one in PAIRS.values()) >= 3


def test_a_pair_is_that_of_its_adaptations_in_whatever_order_and_detail_it_comes():
    anchor, icl, it = (LABELS[name] for name in ("zero-shot", "icl-16", "it-16"))
    other, control = LABELS["it-16 other draw"], LABELS["icl-16-shuffled"]
    assert pair_of(it, icl) == pair_of(control, it) == ("icl", "it")
    assert pair_of(icl, anchor) == ("zero_shot", "icl")
    assert pair_of(it, other) == ("it", "it")
    assert style_of_pair(("it", "it")).label == "IT ~ IT"
    strange = Shown("reminded-2", "reminded-2", "reminded")
    assert pair_of(strange, it) == ("it", "reminded")


def test_a_control_looks_like_what_it_controls():
    assert LABELS["icl-16-shuffled"].style == LABELS["icl-16"].style == style_of("icl")
    assert style_of("icl_similar") != style_of("icl")  # an adaptation of its own, no control


def test_conditions_have_short_names():
    given = ("zero-shot", "zero-shot steered", "icl-16", "it-16-unrelated", "it-16 other draw")
    assert [LABELS[name].short for name in given] == [
        "anchor", "anchor steered", "ICL", "IT unrelated", "IT other draw",
    ]  # fmt: skip
    assert Shown("soft-prompt-4", "soft-prompt-4", "soft_prompt", 4).short == "soft-prompt-4"
    assert Shown("best-it-4", "it-4", "it", 4, is_chosen=True).short == "best-it-4"


def test_bars_show_the_last_layer_before_the_final_norm(found):
    chart = bars(found["pairs"], LABELS)
    assert panels(chart) == [
        (f"{TASK} · reference", "raw cosine"),
        (f"{TASK} · untrained:reference", "raw cosine"),
        (f"{TASK} · reference", "centered cosine"),
        (f"{TASK} · untrained:reference", "centered cosine"),
    ]
    shown = {row["pair"]: row for row in drawn(chart) if "centered cosine" in row.get("label", "")}
    assert set(shown) == {one.label for one in DRAWN}
    own = [r for r in drawn(chart) if "icl-16 ~ it-16, layer 4, centered" in r.get("label", "")]
    assert {round(row["value"], 6) for row in own} == {0.77, 0.154}
    assert {(row["baseline"], row["floor"]) for row in own} == {(0.0, 0.83)}


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_numbers_of_bars_stand_above_every_mark(found, width):
    chart = bars(found["pairs"], LABELS, width=width).to_dict()
    for panel in chart["concat"]:
        places = [layer["encoding"]["y"] for layer in panel["layer"]]
        numbers = [place["value"] for place in places if "value" in place]
        bottom, top = next(place["scale"]["domain"] for place in places if "scale" in place)
        data = panel.get("data", panel["layer"][0].get("data"))["name"]
        marks = ("value", "high", "baseline", "floor")
        reached = [row[c] for row in chart["datasets"][data] for c in marks if row[c] is not None]
        highest = panel["height"] * (top - max(reached)) / (top - bottom)
        # Half a letter below a number's middle, and half a mark above a dot's.
        assert numbers and max(numbers) + 6 < highest - 4


def test_curves_have_every_layer_and_the_final_norm_apart(found):
    dots = [d for d in drawn(over_layers(found["pairs"], LABELS)) if "is_final" in d]
    own = [d for d in dots if d["label"].startswith("icl-16 ~ it-16") and "centered" in d["label"]]
    trained = {d["x"]: d["value"] for d in own if d["value"] >= 0.7 or d["x"] == 2}
    assert {d["x"] for d in own if d["is_final"]} == {DEPTH + 1}
    assert {d["x"] for d in own if not d["is_final"]} == set(range(DEPTH + 1))
    assert trained[0] == value_of("reference", ("icl-16", "it-16"), "centered", 0) == 1.0


def test_a_noise_floor_far_above_every_curve_stays_in_its_panel(found):
    low = (
        found["pairs"]
        .query("left == 'icl-16' and right == 'it-16'")
        .assign(value=0.1, low=0.05, high=0.15, baseline=0.0, floor=0.9)
    )
    panel = over_layers(low, LABELS).to_dict()["concat"][0]
    ends = [layer["encoding"]["y"].get("scale", {}).get("domain") for layer in panel["layer"]]
    assert all(high > 0.9 for _, high in filter(None, ends))


def test_only_the_pairs_asked_for_are_drawn(found):
    chart = over_layers(found["pairs"], LABELS, only=(("icl", "it"), ("icl", "sl")))
    assert {d["pair"] for d in drawn(chart) if "pair" in d} == {"ICL ~ IT", "ICL ~ SL"}


def test_an_undefined_similarity_leaves_no_mark(found):
    gone = found["pairs"].copy()
    gone.loc[gone["layer"] == 0, ["value", "low", "high", "baseline"]] = math.nan
    dots = [d for d in drawn(over_layers(gone, LABELS)) if "is_final" in d]
    assert min(dot["x"] for dot in dots) == 1


def test_the_heat_map_has_a_tile_for_every_pair_and_layer(found):
    tiles = [t for t in drawn(heat(found["pairs"], LABELS)) if "strength" in t]
    places = {(t["pair"], t["layer"]) for t in tiles}
    assert len(places) == len(LEVEL) * (DEPTH + 2)
    said = {t["said"] for t in tiles if t["pair"] == "ICL ~ IT unrelated" and t["layer"] == "norm"}
    assert said == {"0.04", "0.01"}  # 0.04, and a fifth of it in the untrained copy


def test_less_alike_than_mismatched_queries_has_the_other_color(found):
    below = found["pairs"].assign(above=-0.25)
    tiles = [t for t in drawn(heat(below, LABELS)) if "strength" in t]
    assert {(t["sign"], t["strength"], t["said"]) for t in tiles} == {("below", 0.25, "−0.25")}


def test_similarity_rises_with_the_number_of_demonstrations(found):
    chart = figures_levels.curve(found["factors"], "demonstrations", LABELS, measures=["centered"])
    own = [d for d in drawn(chart) if d.get("is_claimed")]
    assert {(d["x"], round(d["value"], 2)) for d in own} == {
        (1, 0.2), (2, 0.31), (4, 0.42), (8, 0.53), (16, 0.64), (32, 0.75),
    }  # fmt: skip


def test_wrong_labels_are_drawn_in_percent(found):
    chart = figures_levels.curve(found["factors"], "wrong labels", LABELS, measures=["centered"])
    assert {d["x"] for d in drawn(chart) if "pair" in d} == {0, 50, 100}


def test_every_likeness_and_every_rate_has_its_own_panel(found):
    likeness = figures_levels.curve(found["factors"], "resemblance", LABELS, measures=["centered"])
    assert [under for _, under in panels(likeness)] == [
        "sentence encoder · centered cosine", "BM25 · centered cosine", "chrF · centered cosine",
    ]  # fmt: skip
    rates = figures_levels.curve(found["factors"], "dose", LABELS, measures=["centered"])
    assert [under.partition(" ·")[0] for _, under in panels(rates)] == [
        "default rate",
        "x0.5",
        "x2",
    ]


def test_a_factor_with_one_level_has_nothing_to_compare(found):
    rows = found["factors"].query("factor == 'position' and level == 'last'")
    with pytest.raises(NothingToDraw):
        figures_levels.named(rows, "position", LABELS)


def test_named_levels_keep_their_order(found):
    chart = figures_levels.named(found["factors"], "prompt", LABELS, measures=["centered"])
    levels = [bar["level"] for bar in drawn(chart) if "level" in bar]
    assert list(dict.fromkeys(levels)) == ["plain", "options", "demonstrations"]


def test_agreement_is_drawn_in_percent_against_similarity(found):
    for measure, value in (("within", 0.385), ("centered", 0.77)):
        chart = agreement(found["pair_behavior"], LABELS, measure=measure)
        dots = [d for d in drawn(chart) if "main" in d]
        own = [d for d in dots if d["label"].startswith("icl-16 ~ it-16 (") and d["main"]]
        assert {(round(d["x"], 3), round(d["y"], 1)) for d in own} == {(value, 88.5)}
        assert {d["main"] for d in dots} == {True, False}


def test_regression_is_drawn_alone_and_together(found):
    dots = [d for d in drawn(figures_levels.regression(found["regression"])) if "way" in d]
    assert {(d["way"], d["value"]) for d in dots} == {("alone", 0.006), ("together", 0.002)}


def charts(found) -> dict:
    return {
        "bars": partial(bars, found["pairs"], LABELS),
        "layers": partial(over_layers, found["pairs"], LABELS),
        "heat": partial(heat, found["pairs"], LABELS),
        "curve": partial(figures_levels.curve, found["factors"], "demonstrations", LABELS),
        "dose": partial(figures_levels.curve, found["factors"], "dose", LABELS),
        "named": partial(figures_levels.named, found["factors"], "generation", LABELS),
        "regression": partial(figures_levels.regression, found["regression"]),
        "agreement": partial(agreement, found["pair_behavior"], LABELS),
        "lens": partial(lens, found["lens"], LABELS),
    }


@pytest.mark.parametrize(
    "name",
    ["bars", "layers", "heat", "curve", "dose", "named", "regression", "agreement", "lens"],
)
def test_every_figure_fits_a_page_and_a_phone(found, name):
    for width, room in ((WIDE, 960), (NARROW, 362)):
        root = ElementTree.fromstring(images.svg(charts(found)[name](width=width)))
        assert float(root.get("width", "inf")) <= room


def test_a_model_with_many_layers_has_a_legible_heat_map(found):
    deep = found["pairs"].query("not is_final and layer == 1")
    deep = pd.concat([deep.assign(layer=layer) for layer in range(33)])
    chart = heat(deep, LABELS)
    marks = {layer["mark"]["type"] for panel in chart.to_dict()["concat"]
             for layer in panel["layer"]}  # fmt: skip
    assert marks == {"rect"}  # no numbers where they would not fit


def test_markup_in_names_stays_text(found):
    chart = bars(found["pairs"].assign(task=SCRIPT), LABELS)
    root = ElementTree.fromstring(images.svg(chart))
    assert not list(root.iter(f"{SVG}script"))
    assert any("<script>" in (element.text or "") for element in root.iter(f"{SVG}text"))
