"""What calls from Python return, as it is shown: lines, HTML, and tables that can be read."""

from pathlib import Path

import pandas as pd
import pytest

import convergence_samples
import report_samples
from adaptlens.engines import Outcome
from adaptlens.studies.compare.plan import Comparison
from adaptlens.studies.convergence.plan import Convergence

PAGE = Path("runs/a/report.html")
DONE = Outcome(1, 0, ())


def test_a_comparison_prints_its_verdicts_and_where_the_page_is():
    found = Comparison(report_samples.sample(), DONE, PAGE.parent, PAGE)
    lines = repr(found).split("\n")
    assert lines[0].startswith("reference, sentiment-novel: prompt: icl-16 beats it-16 by 4.0")
    assert lines[1].startswith("reference, translation: undecided: it-16 and icl-16 differ")
    assert "no break-even: icl-16 is better than it-16" in " ".join(lines[2:])
    assert lines[-1] == "page: runs/a/report.html"
    assert len(lines) <= 10


def test_scores_are_sorted_by_task_the_best_first_and_say_what_they_rest_on():
    report = report_samples.sample()
    scores = Comparison(report, DONE, PAGE.parent, PAGE).scores
    assert [*scores.columns] == ["task", "arm", "score", "metric", "size"]
    assert [*scores["task"].unique()] == ["sentiment-novel", "translation"]
    first = scores[scores["task"] == "sentiment-novel"]
    # 51 without examples; 44 points more with 16 in the prompt.
    assert first.iloc[0][["arm", "metric"]].tolist() == ["icl-16", "score, %"]
    assert first.iloc[0]["score"].startswith("95.0 [")
    values = [float(text.split()[0]) for text in first["score"]]
    assert values == sorted(values, reverse=True)
    judged = report.tables["accuracy"].query("task == 'sentiment-novel' and metric == 'judged'")
    baselines = report.tables["baselines"].query("task == 'sentiment-novel'")["name"]
    assert {*first["arm"]} == {*judged["condition"], *baselines}
    assert {*scores["metric"]} == {"score, %", "chrF, 0–100"}


def test_scores_of_one_task_fit_a_line_as_they_are_printed():
    report = report_samples.sample()
    tables = {
        name: rows[rows["task"] == "sentiment-novel"] if "task" in rows else rows
        for name, rows in report.tables.items()
    }
    object.__setattr__(report, "tables", tables)
    found = Comparison(report, DONE, PAGE.parent, PAGE)
    assert [*found.scores.columns] == ["arm", "score, %", "size"]
    with pd.option_context("display.width", 80, "display.max_columns", 0):
        printed = str(found.scores)
    assert "..." not in printed
    assert max(map(len, printed.split("\n"))) <= 80
    assert found.tables is tables
    assert found.accuracy.shape[1] > 10


@pytest.mark.parametrize("kind", [Comparison, Convergence])
def test_no_page_is_needed_to_show_what_was_found(kind: type, tmp_path: Path):
    sample = {Comparison: report_samples, Convergence: convergence_samples}[kind].sample()
    html = kind(sample, DONE, tmp_path, tmp_path / "report.html")._repr_html_()
    assert html.startswith("<div")
    assert "<svg" not in html
    assert report_samples.SCRIPT not in html


def test_claims_are_whole_in_one_table_and_short_in_another():
    report = convergence_samples.sample()
    found = Convergence(report, DONE, PAGE.parent, PAGE)
    assert len(found.claims) == len(found.in_short) == len(report.claims)
    assert {"p", "p_holm", "low", "high", "test", "line"} <= {*found.claims.columns}
    assert {"claim", "verdict", "effect", "p (Holm)"} <= {*found.in_short.columns}
    lines = repr(found).split("\n")
    assert len(lines) <= 10
    assert lines[-1] == "page: runs/a/report.html"


def test_the_figure_shown_is_that_of_all_templates_or_the_first_of_the_page(tmp_path: Path):
    (tmp_path / "figures").mkdir()
    svg = '<svg xmlns="http://www.w3.org/2000/svg"/>'
    found = Comparison(report_samples.sample(), DONE, tmp_path, tmp_path / "report.html")
    for name, caption in (
        ("accuracy", "number of examples"),
        ("templates", "without hollow marks"),
    ):
        (tmp_path / "figures" / f"{name}.svg").write_text(svg, encoding="utf-8")
        assert caption in found._repr_html_()
