"""The index of runs: what lies in a folder and what each found; served to this machine alone."""

import http.client
import json
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from adaptlens.cli import viewing
from adaptlens.cli.main import main
from adaptlens.store import Run
from adaptlens.studies import runs_index
from adaptlens.studies.driver import SUMMARY_FILE, write_summary
from pages import Page, check_elements, check_headings, check_links, check_loads_nothing
from report_samples import SCRIPT, sample

SETTINGS = {"models": ["m"], "tasks": [{"path": "a.tsv"}], "draws": 10, "sizes": None}


def spec(task: str, seed: int = 0) -> dict:
    return {
        "model": {"name": "reference", "digest": "0"}, "task": {"name": task, "digest": "1"},
        "adaptation": {"name": "icl", "label": "icl-4", "arguments": {}}, "draws": [0],
        "measurements": [], "seed": seed,
    }  # fmt: skip


def made(folder, task: str = "topic", *, done: bool = True, **settings):
    """A run of two cells, the first of which is done."""
    run = Run.open(folder, create=True)
    cells = [spec(task), spec(task, 1)]
    study = {"name": "compare", "settings": SETTINGS | settings, "cells": cells, "notes": []}
    run.write_json("study.json", study)
    for one in cells:
        run.add(one)
    if done:
        run.claim(cells[0]).finish({"draws": [0], "numbers": {}})
        write_summary(run, sample(1).summary())
        (folder / "report.html").write_text("the page")
    return run


@pytest.fixture
def folder(tmp_path):
    made(tmp_path / "first")
    made(tmp_path / "second & last", draws=5)
    made(tmp_path / "unfinished", done=False)
    (tmp_path / "notes").mkdir()
    return tmp_path


def view(*words: str, code: int = 0):
    result = CliRunner().invoke(main, ["view", *words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_a_run_says_what_it_is_how_far_it_is_and_what_it_found(folder):
    first, second, unfinished = runs_index.rows(folder)
    assert (first.name, first.study, first.models, first.tasks) == (
        "first", "compare", ["reference"], ["topic"],
    )  # fmt: skip
    assert first.state == "1 of 2 cells"
    assert [one["state"] for one in first.findings] == ["prompt", "undecided"]
    assert first.when.endswith(" UTC") and first.has_page
    assert (second.name, second.settings["draws"]) == ("second & last", "5")
    assert second.settings["tasks.0.path"] == "a.tsv" and second.settings["sizes"] == "not set"
    assert (unfinished.state, unfinished.when, unfinished.findings) == ("0 of 2 cells", "", ())


def test_main_numbers_of_a_run_are_kept_with_it(folder):
    numbers = Run.open(folder / "first").read_json(SUMMARY_FILE)["numbers"]
    assert {"about": "sentiment-novel", "name": "it-16", "value": "91.0 [88.7, 93.3]"} in numbers


def test_a_run_that_cannot_be_read_is_shown_with_the_reason(folder):
    (folder / "first" / "study.json").write_text("{}")
    first = runs_index.rows(folder)[0]
    assert (first.name, first.done) == ("first", 0) and "is damaged" in first.problem
    view(str(folder))
    assert "is damaged" in (folder / "index.html").read_text("utf-8")


def test_the_index_is_one_safe_page_that_links_to_every_page(folder):
    assert view(str(folder)).startswith("index: ")
    found = Page((folder / "index.html").read_text("utf-8"))
    check_elements(found)
    check_links(found)
    check_loads_nothing(found)
    check_headings(found)
    links = [a["href"] for a in found.tagged("a") if a["href"].endswith("report.html")]
    assert links == ["./first/report.html", "./second%20%26%20last/report.html"]
    assert "no report yet" in " ".join(found.texts["td"])


def test_markup_in_names_and_settings_is_text(tmp_path):
    made(tmp_path / "<b>bold<b>", task=SCRIPT, note=SCRIPT)
    view(str(tmp_path))
    found = Page((tmp_path / "index.html").read_text("utf-8"))
    assert [a.get("type") for a in found.tagged("script")] == ["application/json", None]
    assert "<b>bold<b>" in found.texts["td"]
    assert json.loads(found.texts["script"][0])["<b>bold<b>"]["settings"]["note"] == SCRIPT


def test_it_is_made_again_but_never_over_another_page(folder):
    view(str(folder))
    before = (folder / "index.html").read_bytes()
    view(str(folder))
    assert (folder / "index.html").read_bytes() == before
    (folder / "index.html").write_text("mine")
    assert "was not made by `adaptlens view`" in view(str(folder), code=2)
    assert (folder / "index.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("place", "said"),
    [("missing", "there is no folder"), ("notes", "no run lies in"), ("first", "is a run itself")],
)
def test_what_holds_no_runs_is_said_in_one_line(folder, place, said):
    output = view(str(folder / place), code=2)
    assert said in output and len(output.strip().splitlines()) == 1


def asked(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/index.html", headers={"Host": host})
    return connection.getresponse().status


def test_what_is_served_is_served_to_this_machine_by_its_own_name_alone(folder):
    view(str(folder))
    with viewing.server(folder, 0) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        host, port = listening.server_address[:2]
        assert host == "127.0.0.1"
        assert asked(port, f"127.0.0.1:{port}") == 200
        assert asked(port, f"localhost:{port}") == 200
        assert asked(port, f"evil.example:{port}") == 403
        assert "cannot be used" in view(str(folder), "--serve", "--port", str(port), code=2)
        listening.shutdown()


def test_it_needs_no_torch(folder):
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "from adaptlens.cli.main import main; main(['view', sys.argv[1]])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
