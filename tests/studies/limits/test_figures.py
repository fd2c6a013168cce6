"""The limits study's figures show the tables' numbers, and say what is not defined."""

import math

import pandas as pd
import pytest

from adaptlens.formatting import parameters
from adaptlens.report import charts
from adaptlens.report.charts import NothingToDraw
from adaptlens.report.images import svg
from adaptlens.report.theme import ADAPTATIONS, PAIRS, SPARE
from adaptlens.studies.limits import figures, figures_exposure, figures_relation, figures_systems
from adaptlens.studies.limits.figures import PALETTE, size_classes
from adaptlens.studies.limits.panel import abilities
from limits_samples import CLUSTERS, tables
from tests.studies.compare.test_figures import drawn


@pytest.fixture(scope="module")
def found() -> dict[str, pd.DataFrame]:
    return tables()


@pytest.fixture(scope="module")
def points(found) -> pd.DataFrame:
    return figures.points(found["scores"])


def dots(chart, panel: str | None = None) -> list[dict]:
    rows = [row for row in drawn(chart) if "label" in row]
    return [row for row in rows if panel is None or row["panel"] == panel]


def panels(chart) -> list[str]:
    return list(dict.fromkeys(row["panel"] for row in drawn(chart) if "panel" in row))


def test_every_tuned_model_and_task_is_a_point_beside_its_base_in_context(found, points):
    rows = dots(figures.following(points))
    assert len(rows) == len(points) == 8 * 3 * 9
    table = abilities(found["scores"])
    icl = table[(table["system"] == "gold") & (table["model"] == "qwen-m")
                & (table["task"] == "sort") & (table["scoring"] == "choice")]  # fmt: skip
    own = [row for row in rows if row["label"].startswith("qwen-m") and "; sort (" in row["label"]]
    assert len(own) == 3
    assert {row["x"] for row in own} == {round(icl["ability"].item(), 4)}
    assert {row["cluster"] for row in rows} == {*CLUSTERS}


def test_what_was_tuned_on_is_told_apart(points):
    rows = dots(figures.following(points))
    assert sum(row["seen"] for row in rows) == points["seen"].sum()
    assert all(("has the task" in row["label"]) == row["seen"] for row in rows)


def test_both_axes_are_alike_so_that_the_diagonal_is_where_both_are_the_same(points):
    spec = figures.following(points).to_dict()["concat"][0]
    x, y = (spec["layer"][1]["encoding"][axis]["scale"] for axis in "xy")
    assert x == y and spec["width"] == spec["height"]
    line = drawn(figures.following(points))[:2]
    assert all(end["x"] == end["y"] for end in line)


def test_families_and_sizes_have_panels_of_their_own(points):
    names = panels(figures.following_by_kind(points))
    assert names == ["llama: 4 bases", "neox: 2 bases", "qwen: 2 bases", "1.1M to 1.3M: 5 bases",
                     "4.4M to 5M: 3 bases"]  # fmt: skip
    rows = [row for row in drawn(figures.following_by_kind(points)) if "panel" in row]
    assert len(rows) == 2 * 8 * 2 * 9  # twice each: bases x mixtures x tasks, seeds averaged


def test_sizes_near_each_other_share_a_panel():
    assert size_classes([4e6, 1e6, 1.2e6, 1.4e6]) == {
        1e6: "1M to 1.4M", 1.2e6: "1M to 1.4M", 1.4e6: "1M to 1.4M", 4e6: "4M",
    }  # fmt: skip
    assert [parameters(n) for n in (999, 1500, 1.24e6, 70e6, 1.4e9)] == [
        "999", "1.5k", "1.2M", "70M", "1.4B",
    ]  # fmt: skip


def test_each_task_has_one_point_per_base_with_the_range_of_its_models(found, points):
    chart = figures.following_by_task(points, found["per_task"])
    assert len(dots(chart)) == 8 * 9
    row = next(row for row in dots(chart) if row["label"].startswith("sort (code), neox-s"))
    own = points[(points["task"] == "sort") & (points["model"] == "neox-s")]["tuned"]
    assert (row["low"], row["y"], row["high"]) == pytest.approx((own.min(), own.mean(), own.max()))
    table = found["per_task"].query("coefficient == 'spearman' and given == 'nothing'")
    value = table.set_index("task")["value"]["sort"]
    assert f"sort, {value:.2f}" in panels(chart)
    assert "sort" in panels(figures.following_by_task(points, None))


def test_correlations_are_spearmans_with_interval_and_ceiling(found):
    chart = figures_relation.correlations(found["relations"])
    rows = dots(chart, "All tasks")
    assert [row["row"] for row in rows] == ["nothing", "difficulty", "difficulty, size",
                                            "difficulty, family", "difficulty, size, family",
                                            "difficulty, model"]  # fmt: skip
    table = found["relations"].query("coefficient == 'spearman' and tasks == 'all'")
    own = table[(table["given"] == "difficulty") & (table["family"] == "")].iloc[0]
    for name in ("value", "low", "high", "ceiling"):
        assert rows[1][name] == own[name]
    assert "8 bases" in rows[1]["label"]
    assert panels(chart) == [
        "All tasks", "Tasks tuned on", "Tasks not tuned on", "Within llama",
        "Scored by choice alone", "Scored by exact alone", "Scored by semantic alone",
    ]  # fmt: skip


def test_a_correlation_is_filled_where_it_is_called_related(found):
    rows = found["relations"].query("scoring == 'first' and tasks == 'all' and family == ''")
    related = rows.assign(related=rows["given"] == "difficulty")
    shown = {row["row"]: row["hollow"] for row in dots(figures_relation.correlations(related))}
    assert shown.pop("difficulty") is False and set(shown.values()) == {True}


def test_single_tasks_and_bases_stand_beside_what_they_are_uncontrolled(found):
    rows = dots(figures_relation.one_by_one(found["per_task"], found["per_model"]))
    assert len(rows) == 9 + 8
    own = found["per_model"].query("coefficient == 'spearman' and model == 'qwen-s'")
    row = next(row for row in rows if row["row"] == "qwen-s")
    values = own.set_index("given")["value"]
    assert (row["value"], row["other"]) == (values["difficulty"], values["nothing"])
    assert len(dots(figures_relation.one_by_one(None, found["per_model"]))) == 8


def test_shares_of_predictors_that_vary_are_bars(found):
    rows = dots(figures_relation.shares(found["attribution"]), "Of all variance")
    table = found["attribution"].query("given == 'nothing'").set_index("predictor")
    assert [row["row"] for row in rows] == [*table.index[table["varies"]]]
    assert rows[0]["value"] == pytest.approx(100 * table.loc["base ICL", "share"])
    still = found["attribution"].assign(varies=lambda t: t["predictor"] != "seen")
    assert "seen" not in {row["row"] for row in dots(figures_relation.shares(still))}


def test_each_exposure_has_the_ability_its_models_have(found):
    rows = dots(figures_exposure.exposures(found["exposure"]), "Exposed tasks")
    assert {(row["kind"], row["x"]) for row in rows} == {
        (kind, level) for kind in ("ICL", "IT", "zero-shot") for level in ("none", "little", "much")
    }  # fmt: skip
    table = abilities(found["scores"])
    own = table[(table["system"] == "gold") & (table["model"] == "llama-s-none")
                & (table["cluster"] == "language") & (table["scoring"] == "choice")]  # fmt: skip
    shown = {(row["kind"], row["x"]): row["y"] for row in rows}
    assert shown["ICL", "none"] == pytest.approx(own["ability"].mean())


def test_differences_between_exposures_have_both_intervals(found):
    rows = dots(figures_exposure.effects(found["exposure"]))
    table = found["exposure"].query("mixture == 'all'")
    assert len(rows) == len(table) == 27
    own = table.query("quantity == 'ICL' and tasks == 'exposed' and more == 'much'").iloc[0]
    assert (rows[0]["low"], rows[0]["inner_low"]) == (own["low"], own["low_here"])
    assert rows[0]["row"] == "ICL, much − none"


def test_exposed_models_of_two_sizes_are_told_apart(found):
    table = found["exposure"]
    both = pd.concat([table, table.assign(size=8e6)])
    names = panels(figures_exposure.exposures(both))
    assert "llama 1.1M: Exposed tasks" in names and "llama 8M: Other tasks" in names
    assert len(dots(figures_exposure.effects(both))) == 54


def test_systems_are_dots_over_models_then_tasks(found):
    rows = dots(figures_systems.systems(found["scores"]))
    assert len(rows) == 5 * 5
    table = abilities(found["scores"])
    own = table[(table["system"] == "base") & (table["cluster"] == "text")
                & (table["scoring"] == "exact")]  # fmt: skip
    shown = {(row["row"], row["kind"]): row["value"] for row in rows}
    assert shown["text", "base"] == pytest.approx(own.groupby("task")["ability"].mean().mean())


def test_systems_look_as_what_they_stand_for(found):
    drawn_as = svg(figures_systems.systems(found["scores"]))
    for name in ("zero_shot", "icl", "it", "sl", "full"):
        assert ADAPTATIONS[name].light in drawn_as


def test_paired_differences_have_a_panel_for_each_pair_and_a_row_for_each_cluster(found):
    chart = figures_systems.differences(found["systems"])
    assert panels(chart) == [
        "tuned − gold ICL", "samplegen − gold ICL", "pipeline − gold ICL", "pipeline − samplegen",
    ]  # fmt: skip
    rows = dots(chart, "pipeline − samplegen")
    assert [row["row"] for row in rows] == ["all tasks", *sorted(CLUSTERS)]
    table = found["systems"].query("left == 'pipeline' and right == 'samplegen'")
    own = table.query("cluster == 'all'").set_index("tasks")["value"]
    assert (rows[0]["value"], rows[0]["other"]) == (own["all"], own["unseen"])


@pytest.mark.parametrize(("state", "kind"), [("tuned", "tuned better"), ("", "not decided"),
                                             ("in context", "in context better")])  # fmt: skip
def test_tuned_less_in_context_is_colored_as_it_was_decided(found, state, kind):
    rows = dots(figures_systems.exceeding(found["exceeding"].assign(state=state)))
    assert {row["kind"] for row in rows} == {kind}
    first = [row["value"] for row in rows if row["panel"] == "All mixtures"]
    assert first == sorted(first, reverse=True) and len(first) == 9


def test_bases_and_tasks_are_tiles_outlined_where_it_is_more_than_noise(found):
    rows = dots(figures_systems.exceeding_by_base(found["exceeding"]))
    table = found["exceeding"].query("level == 'base and task' and tasks == 'all'")
    assert len(rows) == 8 * 9
    assert sum(row["clear"] for row in rows) == (table["state"] != "").sum()
    assert not [row for row in rows if row["said"] in ("-0", "−0")]


def test_variations_are_those_of_all_tasks_for_each_system_and_scoring(found):
    chart = figures_systems.variations(found["variations"])
    assert panels(chart) == ["tuned, by choice", "tuned, by exact", "tuned, by semantic"]
    rows = dots(chart, "tuned, by exact")
    own = found["variations"].query("cluster == 'all' and scoring == 'exact'")
    assert {r["row"]: r["value"] for r in rows} == dict(
        zip(own["variation"], own["value"], strict=True)
    )


def test_scorings_stand_beside_their_guess_floors(found):
    table = figures_systems.by_scoring(found["scores"])
    rows = dots(figures_systems.scorings(table))
    floors = {(row["panel"].split(",")[0], row["ceiling"]) for row in rows}
    assert {(name, round(floor, 6)) for name, floor in floors} == {
        ("Scored by choice", 25.0), ("Scored by exact", 4.0), ("Scored by semantic", 30.0),
    }  # fmt: skip
    assert len(rows) == 3 * 5
    own = table.query("cluster == 'text' and scoring == 'exact' and system == 'gold'")
    scores = found["scores"].query(
        "cluster == 'text' and scoring == 'exact' and system == 'gold' and variation == ''"
    )
    assert own["value"].item() == pytest.approx(scores["value"].mean())


def test_colors_of_clusters_have_a_counterpart_on_dark_paper():
    known = {one.light for one in (*ADAPTATIONS.values(), *PAIRS.values())}
    known |= {light for light, _, _ in SPARE}
    assert {color for color, _ in PALETTE} <= known
    assert len({shape for _, shape in PALETTE}) == len(PALETTE) == 8


@pytest.mark.parametrize(
    ("figure", "table"),
    [
        (figures_relation.correlations, "relations"),
        (figures_relation.shares, "attribution"),
        (figures_exposure.exposures, "exposure"),
        (figures_exposure.effects, "exposure"),
        (figures_systems.differences, "systems"),
        (figures_systems.exceeding, "exceeding"),
        (figures_systems.exceeding_by_base, "exceeding"),
        (figures_systems.variations, "variations"),
    ],
)
def test_a_figure_of_nothing_is_refused_and_one_of_a_single_row_is_drawn(found, figure, table):
    rows = found[table]
    numbers = {c: math.nan for c in rows.select_dtypes("float").columns}
    with pytest.raises(NothingToDraw):
        figure(rows.assign(**numbers))
    with pytest.raises(NothingToDraw):
        figure(rows[:0])
    one = (
        rows[rows["level"] == "base and task"][:1]
        if figure is figures_systems.exceeding_by_base
        else rows[:1]
    )
    assert drawn(figure(one, width=charts.NARROW))


@pytest.mark.parametrize(
    "figure", [figures.following, figures.following_by_kind, figures.following_by_task]
)
def test_points_that_are_not_there_are_not_drawn(points, figure):
    with pytest.raises(NothingToDraw):
        figure(points[:0])
    assert drawn(figure(points[:1], width=charts.NARROW))
