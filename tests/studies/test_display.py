"""How a study gets on, where nothing moves: lines on standard error."""

from types import SimpleNamespace

import pytest

from adaptlens.studies import display
from adaptlens.studies.display import Display

CELL = SimpleNamespace(
    task=SimpleNamespace(name="topic"),
    model=SimpleNamespace(name="tiny"),
    label="it-8",
    draws=(0,),
)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(display.time, "monotonic", lambda: now.seconds)
    return now


def test_a_long_cell_says_now_and_then_how_far_it_is(capsys, clock):
    with Display() as shown:
        shown.begin(total=4, done=1)
        shown.started(CELL)
        for minute in range(4):
            shown.progress("tuning", 10 * minute, 100)
            clock.seconds += 30
        shown.progress("reading", 1, 5)
        shown.finished(CELL)
    assert capsys.readouterr().err.splitlines() == [
        "1 of 4 cells were done before; continuing.",
        "[1/4] topic it-8: tuning, 10 of 100, about 4.5 min left",
        "[1/4] topic it-8: tuning, 30 of 100, about 3.5 min left",
        "[2/4] tiny topic it-8 (1 draw)",
    ]


def test_short_cells_and_finished_runs_say_no_more_than_that(capsys, clock):
    with Display() as shown:
        shown.begin(total=4, done=4)
    with Display() as shown:
        shown.begin(total=1, done=0)
        shown.started(CELL)
        shown.progress("tuning", 1, 2)
        shown.finished(CELL)
    assert capsys.readouterr().err.splitlines() == [
        "4 of 4 cells were done before; continuing.",
        "[1/1] tiny topic it-8 (1 draw)",
    ]


def test_a_study_that_grows_says_why_there_are_more_cells(capsys, clock):
    with Display() as shown:
        shown.begin(total=2, done=0)
        for _ in range(2):
            shown.started(CELL)
            shown.finished(CELL)
        shown.begin(total=3, done=2)
        shown.started(CELL)
        shown.finished(CELL)
    assert capsys.readouterr().err.splitlines() == [
        "[1/2] tiny topic it-8 (1 draw)",
        "[2/2] tiny topic it-8 (1 draw)",
        "1 more cell (3 in all), to test what the first 2 found",
        "[3/3] tiny topic it-8 (1 draw)",
    ]


def test_a_grown_study_that_was_done_before_says_so(capsys, clock):
    with Display() as shown:
        shown.begin(total=33, done=33)
        shown.begin(total=39, done=37)
    assert capsys.readouterr().err.splitlines() == [
        "33 of 33 cells were done before; continuing.",
        "6 more cells (39 in all), to test what the first 33 found; 4 were done before",
    ]
