"""The figures show the table's numbers, and adaptations can be told apart by anyone."""

import itertools
import math
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from adaptlens.errors import UserError
from adaptlens.report import charts, images
from adaptlens.report.labels import Shown, in_words
from adaptlens.report.theme import (
    ADAPTATIONS,
    SPARE,
    in_order,
    main_metric,
    points,
    style_of,
)
from adaptlens.studies.compare import figures_templates
from adaptlens.studies.compare.figures import accuracy_by_examples, largest, reliability
from adaptlens.studies.compare.figures_cost import cost_by_queries
from adaptlens.studies.compare.figures_differences import (
    by_kind,
    paired_differences,
    shown_first,
)
from report_samples import LABELS, SCRIPT, tables

SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart) -> list[dict]:
    """Every row of data in a chart."""
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def titles(chart) -> list[str]:
    found = [panel["title"] for panel in chart.to_dict()["concat"]]
    return [title if isinstance(title, str) else title["text"] for title in found]


def luminance(color: str) -> float:
    """WCAG 2.2, relative luminance."""
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def linear(color: str) -> np.ndarray:
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear sRGB."""
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = np.array(to_xyz) @ rgb / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Machado, Oliveira and Fernandes (2009), severity 1.0.
SIGHT = {
    "trichromat": np.eye(3),
    "protanope": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranope": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanope": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("paper", ["light", "dark"])
def test_adaptations_are_told_apart_by_color(paper, sight):
    seen = [
        lab(np.clip(SIGHT[sight] @ linear(getattr(entry, paper)), 0, 1))
        for entry in ADAPTATIONS.values()
    ]
    assert min(math.dist(a, b) for a, b in itertools.combinations(seen, 2)) > 20


def test_adaptations_are_told_apart_without_color():
    shapes = [entry.shape for entry in ADAPTATIONS.values()]
    assert len(set(shapes)) == len(shapes)


def test_marks_reach_three_to_one_on_light_and_dark_paper():
    light = [entry.light for entry in ADAPTATIONS.values()] + [spare[0] for spare in SPARE]
    dark = [entry.dark for entry in ADAPTATIONS.values()] + [spare[1] for spare in SPARE]
    assert min(contrast(color, "#fbfaf7") for color in light) >= 3
    assert min(contrast(color, "#161513") for color in dark) >= 3


def test_a_tuned_model_at_a_chosen_template_has_the_tuning_s_color_and_another_shape():
    assert LABELS["best-it-16"].look == "best_it"
    assert LABELS["best-it-16"].style == style_of("best_it")
    assert (style_of("best_it").light, style_of("best_it").dark) == (
        style_of("it").light,
        style_of("it").dark,
    )
    shapes = [
        style_of(name).shape for name in ("it", "sl", "full", "best_it", "best_sl", "best_full")
    ]
    assert len(set(shapes)) == 6
    assert in_order(["best_it", "it", "best_prompt"]) == ["best_prompt", "it", "best_it"]


def test_names_of_arms_are_said_in_words():
    chosen = Shown("best-it-1", "it-1", "it", 1, is_chosen=True)
    named = ("zero-shot", "icl-4", "icl-16", "best-prompt-0", "it-1")
    assert in_words([*(LABELS[name] for name in named), chosen]) == (
        "icl-16 shows 16 examples in its prompt; best-prompt-0 is the best prompt that a search "
        "found; it-1 is tuned on 1 example; best-it-1 is it-1 read under its best template alone"
    )
    assert in_words([LABELS["zero-shot"]]) == ""


def test_an_unknown_adaptation_keeps_one_style_and_its_name():
    assert style_of("soft_prompt") == style_of("soft_prompt")
    assert style_of("soft_prompt").label == "soft_prompt"
    assert style_of("soft_prompt").meaning == "an arm that was brought, as it is"
    assert style_of("best_soft_prompt").light == style_of("soft_prompt").light
    assert style_of("samplegen_tuned").label == "samplegen-tuned"
    assert in_order(["soft_prompt", "it", "zero_shot", "it"]) == ["zero_shot", "it", "soft_prompt"]


def test_scores_are_printed_in_points():
    assert points("accuracy", 0.875) == 87.5
    assert points("chrf", 41.0) == 41.0


def test_a_generation_task_is_judged_by_chrf_first():
    assert main_metric(["exact", "chrf"]) == "chrf"
    assert main_metric(["accuracy_corrected", "accuracy"]) == "accuracy"
    assert main_metric(["accuracy", "judged"]) == "judged"
    assert main_metric(["rouge"]) == "rouge"


def test_the_accuracy_figure_draws_every_score_with_its_interval():
    found = tables()
    table = found["accuracy"]
    chart = accuracy_by_examples(table, found["baselines"])
    shown = {
        (row["label"].split(":")[0], round(row["value"], 6), round(row["low"], 6))
        for row in drawn(chart)
        if "adaptation" in row
    }
    main = table[table["metric"].isin(["judged", "chrf"])]
    expected = {
        (
            f"{row.condition} on {row.task}",
            round(row.value * (1 if row.metric == "chrf" else 100), 6),
            round(row.low * (1 if row.metric == "chrf" else 100), 6),
        )
        for row in main.itertuples()
    }
    assert shown == expected
    assert titles(chart) == ["sentiment-novel", "translation"]


def test_arms_that_only_a_later_panel_has_keep_marks_of_their_own():
    scores = tables()["accuracy"]
    few = scores[scores["adaptation"].isin(["it", "zero_shot"])].assign(task="first")
    chart = accuracy_by_examples(pd.concat([few, scores.assign(task="second")])).to_dict()
    for channel, own in (("color", "light"), ("shape", "shape")):
        scales = [
            layer["encoding"][channel]["scale"]
            for panel in chart["concat"]
            for layer in panel["layer"]
            if "domain" in layer["encoding"].get(channel, {}).get("scale", {})
        ]
        assert len(scales) >= 2 and all(scale == scales[0] for scale in scales)
        named = {
            style_of(name).label: getattr(style_of(name), own) for name in set(scores["adaptation"])
        }
        assert dict(zip(scales[0]["domain"], scales[0]["range"], strict=True)) == named


def test_points_of_one_number_of_examples_stay_together():
    table = tables()["accuracy"]
    chart = accuracy_by_examples(table[table["metric"] == "judged"])
    dots = [(row["x"], row["label"].split()[0]) for row in drawn(chart) if "adaptation" in row]
    assert len(dots) == 16
    for x, arm in dots:
        nearest = min((0, 1, 4, 16), key=lambda k: abs(math.log1p(x) - math.log1p(k)))
        assert nearest == LABELS[arm].examples


@pytest.mark.parametrize("width", [charts.WIDE, charts.NARROW])
def test_baselines_are_named_under_the_title_where_no_mark_is(width):
    found = tables()
    shown = accuracy_by_examples(found["accuracy"], found["baselines"], width=width).to_dict()
    assert {panel["title"]["text"]: panel["title"]["subtitle"] for panel in shown["concat"]} == {
        "sentiment-novel": ["dashed at 53.5: majority 'dax'", "dashed at 50.0: chance"],
        "translation": ["dashed at 14.0: copy the input", "dashed at 8.0: chance"],
    }
    kinds = [layer["mark"]["type"] for panel in shown["concat"] for layer in panel["layer"]]
    assert "text" not in kinds


def test_marks_of_many_arms_stay_in_their_panel():
    found = tables()["accuracy"]
    one = found[(found["metric"] == "judged") & (found["condition"] == "icl-16")]
    many = pd.concat([one.assign(adaptation=f"mine-{n}") for n in range(24)])
    chart = accuracy_by_examples(many)
    (panel,) = chart.to_dict()["concat"]
    ends = [layer["encoding"]["x"]["scale"]["domain"] for layer in panel["layer"]
            if "scale" in layer["encoding"].get("x", {})]  # fmt: skip
    places = [row["x"] for row in drawn(chart) if "adaptation" in row]
    assert len(set(places)) == 24
    assert all(low < min(places) and max(places) < high for low, high in ends)


def test_every_template_of_every_arm_is_drawn_and_the_best_arm_comes_first():
    found = tables()
    chart = figures_templates.scores_by_template(
        found["accuracy"], found["templates"], found["baselines"]
    )
    marks = {(d["arm"], d["template"]): d["value"] for d in drawn(chart) if "template" in d}
    assert len(marks) == 13 * 4
    # icl-16 scores 0.51 + 0.44 = 95 points, and 2 more or 3 less under these templates.
    assert marks["icl-16", "named"] == pytest.approx(97)
    assert marks["icl-16", "question"] == pytest.approx(92)
    arms = [d["arm"] for d in drawn(chart) if "said" in d]
    assert arms[:3] == ["icl-16", "best-prompt-16", "best-it-16"]
    assert set(arms[-2:]) == {"best-prompt-0", "zero-shot"}
    assert {d["name"] for d in drawn(chart) if "name" in d} == {"chance", "majority 'dax'"}


def test_without_templates_there_is_no_figure_of_them():
    found = tables()
    with pytest.raises(charts.NothingToDraw):
        figures_templates.scores_by_template(found["accuracy"], found["templates"].iloc[:0])


def test_more_templates_than_marks_all_have_the_same_mark():
    found = tables()
    own = found["templates"]
    many = pd.concat([own.assign(template=own["template"] + f" {i}") for i in range(2)])
    for table, same in ((own, False), (many, True)):
        spec = figures_templates.scores_by_template(found["accuracy"], table).to_dict()
        shapes = next(
            layer["encoding"]["shape"]["scale"]["range"]
            for layer in spec["concat"][0]["layer"]
            if "shape" in layer["encoding"]
        )
        assert (len(set(shapes)) == 1) == same


def test_a_tuned_model_at_a_chosen_template_costs_what_it_costs_and_is_drawn_once():
    table = cost_table()
    both = pd.concat([table, table[table["condition"] == "it-8"].assign(condition="best-it-8")])
    labels = {**COSTLY, "best-it-8": Shown("best-it-8", "it-8", "it", 8, is_chosen=True)}
    even = {"task": "t", "model": "m", "unit": "FLOP", "serving": "uncached"}
    even |= {"trainer": "plain PEFT", "counted": "one run"}
    even |= {"prompt_condition": "icl-8", "queries": 100.0}
    even |= {"trainer": "plain PEFT", "counted": "one run"}
    for tuned, name in (("it-8", "it"), ("best-it-8", "best_it")):
        chart = cost_by_queries(both, labels, pd.DataFrame([even | {"tuned_condition": tuned}]))
        assert {row["name"] for row in drawn(chart) if "cost" in row and "name" in row} == {
            "icl",
            name,
        }
        assert [row["cost"] for row in drawn(chart) if "tuned" in row] == [1000]


def test_where_a_template_was_chosen_no_arm_with_fewer_examples_takes_the_other_s_place():
    table = cost_table()
    few = table[table["condition"] == "it-8"].assign(condition="it-2", training_flops=100.0)
    chosen = table[table["condition"] == "it-8"].assign(condition="best-it-8")
    labels = {**COSTLY, "it-2": Shown("it-2", "it-2", "it", 2)}
    labels["best-it-8"] = Shown("best-it-8", "it-8", "it", 8, is_chosen=True)
    even = {"task": "t", "model": "m", "unit": "FLOP", "serving": "uncached", "queries": 100.0}
    even |= {"trainer": "plain PEFT", "counted": "one run"}
    even |= {"prompt_condition": "icl-2", "tuned_condition": "best-it-8"}
    chart = cost_by_queries(pd.concat([table, few, chosen]), labels, pd.DataFrame([even]))
    assert {row["arm"] for row in drawn(chart) if "arm" in row} == {"icl-2", "best-it-8"}


def test_an_undefined_score_is_not_drawn():
    table = tables()["accuracy"]
    table.loc[table["condition"] == "it-16", "value"] = math.nan
    labels = [row.get("label", "") for row in drawn(accuracy_by_examples(table))]
    assert not any(label.startswith("it-16 ") for label in labels)
    assert any(label.startswith("it-4 ") for label in labels)


def test_only_clear_differences_have_the_color_of_the_better_side():
    table = pd.DataFrame(
        [
            ("it-4", "icl-4", 0.10, 0.04),  # tuning is better, and clear
            ("it-16", "icl-16", -0.10, 0.04),  # prompting is better, and clear
            ("sl-4", "icl-4", 0.10, 0.06),  # not clear
            ("full-4", "icl-4", 0.10, math.nan),  # not tested
        ],
        columns=["left", "right", "difference", "p_holm"],
    ).assign(task="t", model="m", metric="accuracy", low=0.01, high=0.2, detectable=0.03)
    sides = {r["pair"]: r["side"] for r in drawn(paired_differences(table, LABELS)) if "pair" in r}
    assert sides == {
        "it-4 − icl-4": "it",
        "it-16 − icl-16": "icl",
        "sl-4 − icl-4": "not clear",
        "full-4 − icl-4": "not clear",
    }


def pair(left: str, right: str, difference: float = 0.1) -> dict:
    return dict(task="t", model="m", metric="judged", left=left, right=right, p_holm=0.5,
                difference=difference, low=difference - 0.1, high=difference + 0.1,
                detectable=0.03)  # fmt: skip


def test_the_pair_of_the_verdict_stands_first_and_then_those_with_most_examples():
    sides = [("it-4", "icl-4"), ("it-4", "icl-16"), ("it-16", "icl-16"), ("sl-16", "icl-16"),
             ("sl-4", "icl-16"), ("it-16", "zero-shot"), ("icl-16", "zero-shot")]  # fmt: skip
    table = pd.DataFrame([pair(*both) for both in sides])
    judged = {"task": "t", "model": "m", "tuned": "sl-4", "prompt": "icl-16"}
    names = ["left", "right"]
    first = shown_first(table, LABELS, [judged])[names].itertuples(index=False)
    assert [tuple(row) for row in first] == [
        ("sl-4", "icl-16"), ("it-16", "icl-16"), ("sl-16", "icl-16"),
    ]  # fmt: skip
    judged |= {"tuned": "it-16"}
    first = shown_first(table, LABELS, [judged])[names].itertuples(index=False)
    assert [tuple(row) for row in first] == [("it-16", "icl-16"), ("sl-16", "icl-16")]


def test_where_nothing_was_tuned_every_pair_stands_first():
    table = pd.DataFrame([pair("icl-16", "zero-shot"), pair("icl-4", "zero-shot")])
    assert len(shown_first(table, LABELS)) == 2


def test_pairs_against_the_base_model_do_not_squash_the_others():
    table = pd.DataFrame([pair("it-16", "icl-16", 0.01), pair("it-16", "zero-shot", 0.8)])
    chart = paired_differences(by_kind(table, LABELS), LABELS)
    assert titles(chart) == ["t · score, %", "t, against the base model · score, %"]
    first = chart.to_dict()["concat"][0]["layer"]
    ends = next(
        layer["encoding"]["x"]["scale"]["domain"]
        for layer in first
        if "scale" in layer["encoding"].get("x", {})
    )
    assert ends == pytest.approx([-9 - 0.8, 11 + 0.8])  # ±10 points around 1, and 4% more


def test_every_figure_says_what_its_axes_are():
    found = tables()
    charts_of = [
        accuracy_by_examples(found["accuracy"], found["baselines"]),
        figures_templates.scores_by_template(found["accuracy"], found["templates"]),
        paired_differences(found["differences"], LABELS),
        reliability(found["reliability"], LABELS),
        cost_by_queries(found["cost"], LABELS, found["break_even"]),
        cost_by_queries(found["cost"], LABELS, found["break_even"], unit="seconds"),
    ]
    for chart in charts_of:
        for panel in chart.to_dict()["concat"]:
            drawn_on = [layer["encoding"] for layer in panel["layer"]]
            for axis in ("x", "y"):
                named = [one[axis] for one in drawn_on if one.get(axis, {}).get("type")]
                numbers = [one for one in named if one["type"] == "quantitative"]
                assert not numbers or any(one.get("title") for one in numbers)


def test_too_few_draws_make_no_difference_clear():
    table = tables()["differences"]
    few = paired_differences(table.assign(supports_claims=False), LABELS)
    assert {row["side"] for row in drawn(few) if "side" in row} == {"not clear"}
    assert (
        len({row["side"] for row in drawn(paired_differences(table, LABELS)) if "side" in row}) > 1
    )


COSTLY = {
    f"{name}-{examples}": Shown(f"{name}-{examples}", f"{name}-{examples}", name, examples)
    for name, examples in (("icl", 8), ("it", 8), ("icl", 2))
}


def cost_table() -> pd.DataFrame:
    """Training 900 once and 1 a query, against 10 a query: equal at 100 queries, both 1000."""
    rows = [("icl-8", 0.0, 10.0), ("it-8", 900.0, 1.0), ("icl-2", 0.0, 3.0)]
    table = pd.DataFrame(rows, columns=["condition", "training_flops", "query_flops"])
    return table.assign(task="t", model="m", query_flops_cached=math.nan)


def test_break_even_is_marked_where_the_lines_cross():
    even = {"task": "t", "model": "m", "unit": "FLOP", "serving": "uncached"}
    even |= {"trainer": "plain PEFT", "counted": "one run"}
    even |= {"prompt_condition": "icl-8", "tuned_condition": "it-8", "queries": 100.0}
    chart = cost_by_queries(cost_table(), COSTLY, pd.DataFrame([even]))
    rings = [row for row in drawn(chart) if "tuned" in row]
    assert [(ring["queries"], ring["cost"], ring["said"]) for ring in rings] == [(100, 1000, "100")]
    at_hundred = {
        row["name"]: row["cost"]
        for row in drawn(chart)
        if "name" in row and math.isclose(row["queries"], 100)
    }
    assert at_hundred == pytest.approx({"icl": 1000, "it": 1000})


def test_a_break_even_that_never_comes_is_not_marked():
    even = {"task": "t", "model": "m", "unit": "FLOP", "serving": "uncached"}
    even |= {"trainer": "plain PEFT", "counted": "one run"}
    even |= {"prompt_condition": "icl-8", "tuned_condition": "it-8", "queries": math.inf}
    chart = cost_by_queries(cost_table(), COSTLY, pd.DataFrame([even]))
    assert not any("tuned" in row for row in drawn(chart))


def test_a_serving_without_known_cost_has_no_panel():
    assert titles(cost_by_queries(cost_table(), COSTLY)) == ["t · FLOP, prompt not cached"]


def test_the_condition_with_most_examples_stands_for_its_adaptation():
    assert list(largest(cost_table(), COSTLY)["condition"]) == ["icl-8", "it-8"]


def test_empty_bins_are_not_drawn():
    bins = tables()["reliability"].assign(count=0)
    with pytest.raises(charts.NothingToDraw):
        reliability(bins, LABELS)


@pytest.fixture(scope="module")
def accuracy_svg() -> str:
    found = tables()
    return images.svg(accuracy_by_examples(found["accuracy"], found["baselines"]))


def test_pictures_come_in_three_formats(accuracy_svg):
    assert images.picture(accuracy_svg, "png").startswith(b"\x89PNG\r\n")
    assert images.picture(accuracy_svg, "pdf").startswith(b"%PDF-")
    assert ElementTree.fromstring(images.picture(accuracy_svg, "svg")).tag == f"{SVG}svg"


def test_an_unknown_format_is_refused_with_the_nearest_known():
    with pytest.raises(UserError, match="unknown figure format 'pgn'; did you mean 'png'"):
        images.draw([], ["pgn"])


def test_an_inline_picture_has_a_tooltip_for_every_score(accuracy_svg):
    root = ElementTree.fromstring(images.inline(accuracy_svg, "a", "what it shows"))
    assert (root.get("role"), root.get("aria-label")) == ("img", "what it shows")
    said = [element.text for element in root.iter(f"{SVG}title")]
    wanted = "it-16 on sentiment-novel: 91.0 [88.7, 93.3], 200 queries × 10 draws"
    assert said.count(wanted) == 1
    assert all(element.get("id", "a-").startswith("a-") for element in root.iter())


def test_markup_in_names_stays_text():
    table = tables()["accuracy"].assign(task=SCRIPT)
    root = ElementTree.fromstring(images.svg(accuracy_by_examples(table)))
    assert not list(root.iter(f"{SVG}script"))
    assert any("<script>" in (element.text or "") for element in root.iter(f"{SVG}text"))


def test_the_narrow_figure_fits_a_phone():
    found = tables()
    for chart in (
        accuracy_by_examples(found["accuracy"], found["baselines"], width=charts.NARROW),
        figures_templates.scores_by_template(
            found["accuracy"], found["templates"], found["baselines"], width=charts.NARROW
        ),
        paired_differences(found["differences"], LABELS, width=charts.NARROW),
        cost_by_queries(found["cost"], LABELS, found["break_even"], width=charts.NARROW),
        reliability(found["reliability"], LABELS, width=charts.NARROW),
    ):
        assert float(ElementTree.fromstring(images.svg(chart)).get("width", "inf")) <= 358
