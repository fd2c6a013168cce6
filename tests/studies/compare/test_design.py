"""What draws and queries find a difference: of a typical pair, and of one that was compared."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from adaptlens.cli.main import main
from adaptlens.errors import UserError
from adaptlens.stats.crossed import Expected, MeanSquares
from adaptlens.stats.difference_tests import DifferenceTest
from adaptlens.stats.intervals import paired_test
from adaptlens.stats.sample_size import SampleSize
from adaptlens.stats.scores import Scores
from adaptlens.stats.unseen_draws import UnseenDraws
from adaptlens.store import Run
from adaptlens.studies.compare import design
from design_rates import designed

NONE = UnseenDraws()


def sized(by_query: float, by_draw: float, by_rest: float, *, binary: bool = False) -> SampleSize:
    squares = MeanSquares(10_000, (1_000,), by_query, (by_draw,), (by_rest,))
    return SampleSize(DifferenceTest(Expected(0.0, squares), NONE, NONE, 0.02, 0.05, binary, 100))


def test_what_is_found_is_the_sum_of_two_critical_values_of_the_error_to_come():
    # Draws alone: a standard deviation of 0.1 each, so 0.02 for 25 draws; Student's t of 24:
    # 2.064 for 5 % two-sided, 0.857 for 80 of 100. Known to 1000 draws, whose upper end is 1.9 %
    # above in standard deviation.
    found = sized(1e-12, 0.1**2 / 1000, 1e-12).detectable(25, 400)
    assert found == pytest.approx(0.02 * (2.064 + 0.857) * 1.019, rel=2e-3)
    # Queries alone: their number counts, draws do not.
    size = sized(0.3**2 / 10_000, 1e-13, 1e-14)
    assert size.detectable(5, 900) == pytest.approx(size.detectable(50, 900), rel=1e-3)
    assert size.detectable(5, 900) == pytest.approx(size.detectable(5, 3600) * 2, rel=1e-2)


def test_a_pilot_in_which_nothing_varies_is_known_to_its_queries_alone():
    alike = Scores(np.ones((10, 100)), tuple(range(10)), floor=1.0)
    _, test = paired_test(alike, alike, ("left", "right"), 0.02, 0.05, 0)
    size = SampleSize(test)
    # No error, but right-or-wrong answers that differ do vary: k^2 / (queries + k^2), k the sum of
    # Student's critical values: 1.984 + 0.845 of 99 degrees of freedom, 1.961 + 0.842 of 1599.
    assert size.detectable(10, 100) == pytest.approx(8.003 / 108.003, rel=1e-3)
    assert size.detectable(10, 1600) == pytest.approx(7.857 / 1607.857, rel=1e-3)
    assert size.draws_to_detect(0.05, 1600, 5) == 5


def test_the_draws_needed_are_the_least_that_find_it():
    size = sized(0.2**2 / 10_000, 0.1**2 / 1000, 1e-9)
    needed = size.draws_to_detect(0.05, 1600, 5)
    assert size.detectable(needed, 1600) <= 0.05 < size.detectable(needed - 1, 1600)
    assert size.draws_to_detect(0.0001, 1600, 5) is None


def test_a_design_says_what_it_finds_and_the_least_work_that_finds_what_was_asked():
    (found,) = design.designs(10.0, draws=10, queries=300, margin=2.0, like=None)
    planned = [row for row in found.rows if row["planned"]]
    assert [row["queries"] for row in planned] == [300]
    falling = [row["detectable"] for row in found.rows]
    assert falling == sorted(falling, reverse=True)
    assert found.line().startswith("10 draws x 300 queries find a difference of ")
    best = min(
        (row for row in found.rows if row["draws_needed"]),
        key=lambda row: row["draws_needed"] * row["queries"],
    )
    assert f"10 points take {best['draws_needed']} draws x {best['queries']:,} queries" in (
        found.line()
    )
    assert ("more test items" in found.line()) == (best["queries"] > 300)
    (few,) = design.designs(3.0, draws=10, queries=25, margin=2.0, like=None)
    assert few.line().endswith("queries (more test items than are planned)")
    (easy,) = design.designs(50.0, draws=10, queries=300, margin=2.0, like=None)
    assert "take" not in easy.line()


def test_a_pilot_s_design_finds_about_as_often_as_it_says():
    asked, refused, share = designed(4, 200, {})
    assert len(asked) == 4 and refused == 0
    assert 0.5 <= share <= 0.98


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["plan", "--no-trial", *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stderr.splitlines()[-1] if code else done.stdout


GIVEN = ("--model", "reference", "--task", "sentiment-novel", "--tuning", "it", "--no-search")


def test_plan_says_what_a_comparison_would_find():
    said = run(*GIVEN, "--detect", "3")
    assert "10 draws x 200 queries find a difference of" in said
    found = json.loads(run(*GIVEN, "--detect", "3", "--json"))
    assert set(found) == {"plan", "detect"}
    ((_, rows),) = found["detect"].items()
    assert rows[0].keys() == {"queries", "planned", "detectable", "draws_needed"}
    assert isinstance(json.loads(run(*GIVEN, "--json")), list)


def test_what_cannot_be_detected_is_refused_in_a_line(tmp_path):
    assert "add --detect POINTS" in run(*GIVEN, "--like", str(tmp_path), code=2)
    said = run("--study", "convergence", "--model", "reference", "--detect", "3", code=2)
    assert "expected it with --study compare" in said
    assert run(*GIVEN, "--detect", "3", "--like", str(tmp_path), code=2).startswith("error: ")
    assert "0<x<=100" in run(*GIVEN, "--detect", "0", code=2)


def test_a_run_without_both_arms_says_nothing_of_a_pair(tmp_path, monkeypatch):
    class One:
        arms = ()

        class verdict:
            tuned = prompt = ""

    monkeypatch.setattr(design, "read", lambda run, name: None)
    monkeypatch.setattr(design, "judged_of", lambda study: [One])
    with pytest.raises(UserError, match="no verdict about a prompted and a tuned arm"):
        design.sizes_of(Run.open(tmp_path / "run", create=True))
