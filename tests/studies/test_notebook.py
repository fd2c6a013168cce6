"""Progress in a notebook: one line that changes, and nothing in it that acts."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from adaptlens.studies import notebook
from adaptlens.studies.display import Display
from adaptlens.studies.python_call import told


class Shown:
    """Stands in for IPython's display: keeps what every line of it said, the last last."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = []

    def HTML(self, text: str) -> str:
        return text

    def display(self, text: str, display_id: bool = False) -> SimpleNamespace:
        said = [text]
        self.lines.append(said)
        return SimpleNamespace(update=said.append)


@pytest.fixture
def shown(monkeypatch) -> Shown:
    """A notebook's kernel, as far as it is asked."""
    fake, package = Shown(), ModuleType("IPython")
    shell = SimpleNamespace(has_trait=lambda name: name == "kernel")
    package.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    return fake


def cell(label: str) -> SimpleNamespace:
    return SimpleNamespace(
        task=SimpleNamespace(name="films"), model=SimpleNamespace(name="m"), label=label
    )


def test_a_notebook_is_told_from_a_terminal(shown: Shown, monkeypatch):
    assert notebook.is_here()
    with told(None, quiet=False) as reporter:
        assert isinstance(reporter, notebook.Line)
    monkeypatch.delitem(sys.modules, "IPython")
    assert not notebook.is_here()
    with told(None, quiet=False) as reporter:
        assert isinstance(reporter, Display)


def test_one_line_says_how_far_a_study_is_and_what_failed_stays(shown: Shown, monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(notebook.time, "monotonic", lambda: float(next(now)))
    with notebook.Line() as line:
        line.begin(4, 1)
        line.started(cell("icl-<b>4"))
        line.progress("reading", 3, 9)
        line.finished(cell("icl-<b>4"))
        line.failed(cell("it-4"), "no <i>memory")
    first, failed = shown.lines
    assert "<small>1/4 cells</small>" in first
    assert "<small>1/4 cells · films icl-&lt;b&gt;4 reading 3/9</small>" in first
    assert any(text.startswith("<small>2/4 cells · about ") for text in first)
    assert first[-1].startswith("<small>2 cells done in ")
    assert failed == ["<small>failed: m films it-4: no &lt;i&gt;memory</small>"]


def test_a_study_that_stops_or_has_nothing_to_do_says_so(shown: Shown):
    with pytest.raises(KeyboardInterrupt), notebook.Line() as line:
        line.begin(4, 0)
        raise KeyboardInterrupt
    with notebook.Line() as line:
        line.begin(4, 4)
    stopped, idle = (said[-1] for said in shown.lines)
    assert stopped == "<small>stopped after 0 cells of 4</small>"
    assert idle.startswith("<small>nothing left to do, in ")


def test_a_study_that_grows_says_why_and_counts_all_it_did(shown: Shown):
    with notebook.Line() as line:
        line.begin(1, 0)
        line.started(cell("icl-4"))
        line.finished(cell("icl-4"))
        line.begin(2, 1)
        line.started(cell("it-4"))
        line.finished(cell("it-4"))
    first, more = shown.lines
    assert more == ["<small>1 more cell (2 in all), to test what the first 1 found</small>"]
    assert first[-1].startswith("<small>2 cells done in ")
