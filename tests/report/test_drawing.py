"""The drawing engine may die; the page then comes without figures, and says so."""

import resource
import subprocess
import sys
import time

import altair as alt
import pandas as pd
import pytest

from adaptlens import telling
from adaptlens.report import drawing, images
from adaptlens.report.images import Wanted, draw
from adaptlens.store.addresses import host_only, without_passwords
from adaptlens.store.versions import together


def chart(width: int):
    table = pd.DataFrame({"x": [1, 2], "y": [3, 4]})
    return alt.Chart(table).mark_point().encode(x="x", y="y").properties(width=width)


WANTED = [Wanted(name, "A caption.", chart) for name in ("one", "two", "three")]


@pytest.fixture
def no_engine(monkeypatch):
    """Have no engine running before and after."""

    def end():
        if drawing._engine is not None:
            drawing._engine.end()
        drawing._engine = None

    end()
    yield
    monkeypatch.undo()
    end()


def test_a_dead_engine_leaves_the_figures_out_and_is_not_asked_for_ever(
    no_engine, monkeypatch, caplog
):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(1) or popen(*a, **k))
    found = draw(WANTED, ["png"])
    assert found == {}
    assert "3 figures could not be drawn (one, two, three)" in found.problem
    assert found.problem in caplog.text and "\n" not in found.problem
    assert len(started) == images.MOST_DEATHS


def test_an_engine_that_died_between_two_figures_is_started_again(no_engine):
    first = draw(WANTED[:1])
    drawing._engine.end()
    assert draw(WANTED[:1]) == first
    assert first.problem == ""


def test_a_chart_that_the_engine_refuses_costs_itself_alone(no_engine):
    class Broken:
        def to_dict(self, validate):
            return {"mark": {"type": "point"}, "data": {"url": "file:///etc/passwd"}, "width": []}

    broken = Wanted("broken", "A caption.", lambda width: Broken())
    found = draw([WANTED[0], broken, WANTED[1]])
    assert {"one", "two"} <= set(found)


def test_an_engine_that_does_not_answer_is_given_up(no_engine, monkeypatch):
    monkeypatch.setattr(drawing, "FIGURE_SECONDS", 0.2)
    monkeypatch.setattr(sys, "executable", "/usr/bin/tail")  # reads on, and says nothing
    monkeypatch.setattr(subprocess, "Popen", _silent(subprocess.Popen))
    assert "SIGKILL" in draw(WANTED[:1]).problem


def _silent(popen):
    return lambda command, **pipes: popen(["sleep", "60"], **pipes)


def test_under_a_limit_of_address_space_there_is_a_reason_and_no_abort(no_engine):
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from tests.report.test_drawing import WANTED, draw\n"
        "found = draw(WANTED[:1]); print(len(found), found.problem)"
    )
    limit = 6 * 2**30
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.stdout.startswith(("0 1 figure could not be drawn", "1 "))


def test_slow_work_is_said_again_and_again_and_quick_work_is_not(monkeypatch, caplog):
    with telling.slow("reading task 'quick'"):
        pass
    monkeypatch.setattr(telling, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(telling, "NEXT_SECONDS", 0.01)
    with telling.slow("reading task 'long'"):
        while caplog.text.count("reading task 'long'") < 2:
            time.sleep(0.01)
    assert "quick" not in caplog.text


def test_versions_of_cells_stand_together_and_unknown_ones_are_said():
    assert together([{"torch": "2.6.0"}, {"torch": "2.7.1"}, {"torch": "2.6.0"}]) == {
        "torch": "2.6.0, 2.7.1"
    }
    assert together([{"torch": "2.6.0"}, {}]) == {"torch": "2.6.0, not recorded"}
    assert together([]) == {}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("ray://ada:s3cret@10.0.0.1:10001", "ray://***@10.0.0.1:10001"),
        ("ray://ada:s3@cret@10.0.0.1:10001", "ray://***@10.0.0.1:10001"),
        ("ada:s3cret@10.0.0.1:6379", "***@10.0.0.1:6379"),
        (":s3cret@10.0.0.1:6379", "***@10.0.0.1:6379"),
        ("10.0.0.1:6379", "10.0.0.1:6379"),
        ("auto", "auto"),
    ],
)
def test_an_address_is_shown_without_what_it_keeps_secret(given, shown):
    assert host_only(given) == shown


def test_settings_keep_everything_but_passwords():
    given = {
        "models": ("https://u:p@host/model", "org/model"),
        "engine": {"address": "u:p@host:1", "workers": 2},
        "tasks": [{"path": "mail@host.csv"}],
    }
    assert without_passwords(given) == {
        "models": ["https://***@host/model", "org/model"],
        "engine": {"address": "***@host:1", "workers": 2},
        "tasks": [{"path": "mail@host.csv"}],
    }
