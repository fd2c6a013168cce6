"""The implicit study's figures show the tables' numbers, and say what is not defined."""

import math
from functools import partial

import pandas as pd
import pytest

from adaptlens.report import charts
from adaptlens.report.charts import NothingToDraw
from adaptlens.report.images import svg
from adaptlens.report.labels import Shown
from adaptlens.report.theme import ADAPTATIONS
from adaptlens.studies.implicit import (
    figures,
    figures_graph,
    figures_robustness,
    figures_shift,
    figures_units,
)
from implicit_samples import CHOSEN, LABELS, MAIN, big, tables
from tests.studies.compare.test_figures import drawn

FAMILIES = ("expression", "relation")


@pytest.fixture(scope="module")
def found() -> dict[str, pd.DataFrame]:
    return tables(FAMILIES)


def of(table: pd.DataFrame, family: str = "expression") -> pd.DataFrame:
    return table[table["family"] == family]


def role(chart, name: str) -> list[dict]:
    return [row for row in drawn(chart) if row.get("role") == name]


def panels(chart) -> list[str]:
    return list(dict.fromkeys(row["panel"] for row in drawn(chart)))


def test_every_family_has_a_panel_for_each_condition(found):
    chart = figures.learning(found["curves"])
    assert panels(chart) == [
        f"{family}, {name}" for family in FAMILIES for name in ("pattern", "misleading", "plain")
    ]


def test_samples_lie_on_a_log_axis_with_zero_shot_apart(found):
    chart = figures.learning(of(found["curves"]))
    anchors, single = role(chart, "anchor"), role(chart, "single")
    assert {row["x"] for row in anchors} == {0.25}
    assert {row["x"] for row in single} == {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}
    scale = chart.to_dict()["concat"][0]["spec"]["layer"][2]["encoding"]["x"]["scale"]
    assert scale["type"] == "log" and scale["domain"][0] < 0.25


def test_zero_shot_is_that_of_the_items_read(found):
    rows = {row["panel"]: row["value"] for row in role(figures.learning(found["curves"]), "anchor")}
    assert rows["expression, pattern"] == 20.0
    assert rows["expression, misleading"] == rows["expression, plain"] == 16.0


def test_the_number_chosen_on_validation_is_ringed(found):
    rows = [row for row in role(figures.learning(of(found["curves"])), "single") if row["chosen"]]
    assert {(row["method"], row["x"]) for row in rows} == {
        ("ICL", CHOSEN["icl"]), ("IT", CHOSEN["it"]), ("full", CHOSEN["full"]),
    }  # fmt: skip


def test_bars_are_at_the_chosen_number_beside_zero_shot(found):
    rows = drawn(figures.chosen_bars(of(found["curves"])))
    assert len(rows) == 3 * 3
    own = next(r for r in rows if r["method"] == "ICL" and r["condition"] == "misleading")
    assert own["anchor"] == 16.0
    assert own["value"] == pytest.approx(20 - 14 * 5 / 6)


def test_where_nothing_was_chosen_the_largest_number_is_drawn(found):
    rows = drawn(figures.chosen_bars(of(found["curves"]).assign(chosen=False)))
    assert {row["x"] for row in rows} == {32, 1024}


def test_shortcut_use_and_over_reliance_have_a_panel_each(found):
    chart = figures.shortcuts(found["shortcut"])
    assert [one["title"] for one in chart.to_dict()["concat"]] == ["shortcut use", "over-reliance"]


def test_samples_that_are_not_reached_lie_at_the_edge():
    rows = [
        row for row in drawn(figures.needed(tables(("code", "relation"))["needed"])) if "row" in row
    ]
    beyond = [row for row in rows if not row["reached"]]
    assert {row["row"] for row in beyond} == {"code"}
    assert all(row["value"] > max(r["value"] for r in rows if r["reached"]) for row in beyond)
    assert all("not reached with 1,024 samples" in row["label"] for row in beyond)


def test_transfer_outlines_what_was_learned_from_the_family_itself(found):
    rows = drawn(figures.transfers(found["transfer"]))
    assert {(r["learned"], r["family"]) for r in rows if r["own"]} == {(f, f) for f in FAMILIES}
    assert {r["said"] for r in rows if r["own"]} == {"+44.0", "−17.6", "+31.0", "−12.4"}


def test_a_condition_without_a_circuit_is_hollow_and_says_why(found):
    rows = [row for row in drawn(figures_units.gaps(found["gates"], LABELS)) if "defined" in row]
    hollow = [row for row in rows if not row["defined"]]
    assert [row["row"] for row in hollow] == ["zero-shot"]
    assert "no circuit: no clean-corrupt gap" in hollow[0]["label"]


def test_the_map_has_a_tile_for_every_head_and_mlp(found):
    chart = figures_units.profiles(of(found["profiles"]), LABELS)
    tiles = role(chart, "unit")
    assert len(tiles) == len(of(found["profiles"])) == 8 * 25
    mlps = [tile for tile in tiles if "MLP" in tile["label"]]
    assert {tile["x"] for tile in mlps} == {4.6}  # heads end at 4, the MLPs stand apart


def test_significant_units_are_outlined_and_undefined_p_is_not(found):
    rows = of(found["profiles"])
    outlined = [t for t in role(figures_units.profiles(rows, LABELS), "unit") if t["significant"]]
    assert len(outlined) == (rows["p"] < 0.05).sum()
    none = role(figures_units.profiles(rows.assign(p=math.nan), LABELS), "unit")
    assert not [tile for tile in none if tile["significant"]]


def test_differences_say_which_condition_is_less_which(found):
    names = panels(figures_units.differences(of(found["differences"]), LABELS))
    assert names[0] == "ICL − zero-shot" and "IT − ICL" in names


def test_conditions_with_one_short_name_keep_their_labels():
    assert figures_units.named(["zero-shot", "icl-16"], LABELS) == {
        "zero-shot": "zero-shot",
        "icl-16": "ICL",
    }
    labels = {**LABELS, "icl-4": Shown("icl-4", "icl-4", "icl", 4)}
    found = figures_units.named(["icl-4", "icl-16"], labels)
    assert found == {"icl-4": "icl-4", "icl-16": "icl-16"}


def test_a_large_model_draws_the_units_that_matter():
    rows = big().tables["profiles"]
    own = rows[rows["condition"] == "icl-16"]
    kept = (own["value"].abs() >= 0.02 * own["value"].abs().max()) | (own["p"] < 0.05)
    assert (
        len(role(figures_units.profiles(own, LABELS), "unit")) == kept.sum() < len(own) == 32 * 33
    )


def test_distances_stand_beside_their_noise_floor_and_controls(found):
    rows = [
        row for row in drawn(figures_shift.distances(of(found["shift"]), LABELS)) if "main" in row
    ]
    assert [row["main"] for row in rows] == [True] * 10 + [False] * 3
    assert {row["floor"] for row in rows} == {0.21}
    assert rows[0]["row"] == "zero-shot ~ ICL" and rows[0]["value"] == 0.9
    assert {row["row"] for row in rows if not row["main"]} == {
        "ICL ~ ICL shuffled", "IT ~ IT shuffled", "ICL ~ ICL neutral",
    }  # fmt: skip


def test_overlap_stands_between_chance_and_ceiling(found):
    rows = [
        r
        for r in drawn(figures_shift.overlaps(of(found["overlap"]), LABELS))
        if r["panel"] == "ICL ~ IT"
    ]
    assert [row["x"] for row in rows] == [5, 10, 20, 40]
    assert [row["chance"] for row in rows] == [0.025, 0.05, 0.1, 0.2]
    assert {row["ceiling"] for row in rows} == {0.7}


def test_functional_transfer_is_of_the_largest_size_and_leaves_undefined_open():
    table = tables(("code",))["functional"]
    both = pd.concat([table, table.assign(size=20, value=table["value"] + 0.1)])
    rows = drawn(figures_shift.functional(both, LABELS))
    assert len(rows) == len(table)
    own = {(r["source"], r["target"]): r for r in rows}
    assert own["ICL", "IT"]["said"] == "0.60"
    assert own["ICL", "SL"]["said"] == "–" and "undefined: the target" in own["ICL", "SL"]["label"]


def test_what_circuits_do_alone_stands_beside_random_units(found):
    rows = [
        row
        for row in drawn(figures_robustness.alone(of(found["faithfulness"]), LABELS))
        if "row" in row
    ]
    assert [row["row"] for row in rows][:2] == ["zero-shot, 5", "zero-shot, 10"]
    assert len(rows) == 2 * len(MAIN)
    assert all(row["random"] < row["faithfulness"] for row in rows)


def test_specifications_are_sorted_and_hollow_where_the_interval_has_zero():
    rows = pd.DataFrame(
        [dict(model="m", family="f", left="icl-16", right="it-256", name="icl-16 ~ it-256",
              metric=m, direction="noise", ablation="mean", corruption="other", value=v,
              low=v - 1, high=v + 1)
         for m, v in (("a", 0.5), ("b", -2.0), ("logit_difference", 3.0))]
    )  # fmt: skip
    dots = [row for row in drawn(figures_robustness.specifications(rows, LABELS)) if "said" in row]
    assert [(d["said"], d["off"], d["sign"]) for d in dots] == [
        ("logit diff.", True, "above"), ("a", False, "above"), ("b", True, "below"),
    ]  # fmt: skip


def test_the_comparison_drawn_is_the_claims_where_it_is_defined(found):
    rows = found["specifications"]
    claimed = figures_robustness.compared(of(rows), LABELS)
    assert set(claimed["name"]) == {"shift of ICL less that of IT"}
    of_pair = figures_robustness.compared(of(rows, "relation"), LABELS)
    assert set(of_pair["name"]) == {"icl-16 ~ it-256"}
    assert figures_robustness.compared(of(rows).assign(value=math.nan), LABELS).empty


def test_shares_of_variance_fill_the_whole(found):
    rows = [
        row for row in drawn(figures_robustness.variance(of(found["variance"]))) if "start" in row
    ]
    assert [row["start"] for row in rows][1:] == [row["end"] for row in rows][:-1]
    assert rows[-1]["end"] == pytest.approx(100)


def test_heads_with_the_largest_share_are_described_first(found):
    table = of(found["annotations"]).query("condition == 'icl-16'")
    tiles = [tile for tile in drawn(figures_graph.heads(table, LABELS)) if "column" in tile]
    order = table.sort_values("value", key=abs, ascending=False)["unit"][:8]
    assert list(dict.fromkeys(tile["row"] for tile in tiles)) == list(order)
    assert len(tiles) == 8 * 5


def test_a_graph_has_a_node_for_each_unit_and_ties_it_to_the_residual_stream(found):
    rows = of(found["circuit"]).query("condition == 'icl-16'")
    chart = figures_graph.graph(rows, LABELS, of(found["edges"]))
    nodes = role(chart, "head") + role(chart, "mlp")
    assert len(nodes) == len(rows) == 10
    assert {node["x2"] for node in nodes} == {role(chart, "stream")[0]["x"]}
    signs = {node["label"].split(": ")[0][-5:]: node["sign"] for node in nodes}
    assert set(signs.values()) == {"for the answer", "against it (−)"}


def test_units_are_joined_only_where_edges_were_measured(found):
    rows, edges = of(found["circuit"]), of(found["edges"])
    assert role(figures_graph.graph(rows, LABELS), "edge") == []
    lines = role(figures_graph.graph(rows, LABELS, edges), "edge")
    assert 0 < len(lines) <= len(edges)
    strange = edges.assign(source="L9.H9")
    assert role(figures_graph.graph(rows, LABELS, strange), "edge") == []


def test_what_a_head_is_known_by_is_written_on_it(found):
    rows = of(found["circuit"]).query("condition == 'icl-16'").copy()
    rows["label"] = "induction, labels"
    assert {n["known"] for n in role(figures_graph.graph(rows, LABELS), "head")} == {"ind lab"}


def test_colors_are_those_of_the_adaptations(found):
    drawn_as = svg(figures_units.gaps(of(found["gates"]), LABELS))
    assert all(ADAPTATIONS[name].light in drawn_as for name in ("icl", "it", "sl", "full"))


@pytest.mark.parametrize(
    ("figure", "table"),
    [
        (figures.learning, "curves"),
        (figures.chosen_bars, "curves"),
        (figures.shortcuts, "shortcut"),
        (figures.needed, "needed"),
        (figures.transfers, "transfer"),
        (partial(figures_units.gaps, labels=LABELS), "gates"),
        (partial(figures_units.profiles, labels=LABELS), "profiles"),
        (partial(figures_units.differences, labels=LABELS), "differences"),
        (partial(figures_shift.distances, labels=LABELS), "shift"),
        (partial(figures_shift.overlaps, labels=LABELS), "overlap"),
        (partial(figures_shift.functional, labels=LABELS), "functional"),
        (partial(figures_robustness.alone, labels=LABELS), "faithfulness"),
        (partial(figures_robustness.specifications, labels=LABELS), "specifications"),
        (figures_robustness.variance, "variance"),
        (partial(figures_graph.heads, labels=LABELS), "annotations"),
        (partial(figures_graph.graph, labels=LABELS), "circuit"),
    ],
)
def test_a_figure_of_nothing_is_refused_and_one_of_a_single_row_is_drawn(found, figure, table):
    rows = found[table]
    numbers = {c: math.nan for c in rows.select_dtypes("float").columns}
    if figure is not figures.needed:  # there, what has no number was not reached
        with pytest.raises(NothingToDraw):
            figure(rows.assign(**numbers))
    shown = (
        rows[(rows["samples"] > 0) & (rows["condition"] == "plain")] if table == "curves" else rows
    )
    assert drawn(figure(shown[:1], width=charts.NARROW))
