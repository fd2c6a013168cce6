"""What a study says of a part of its conditions: every verb on a copy of a run that wants less."""

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from adaptlens import registry
from adaptlens.cli.main import main
from adaptlens.cli.terminal import show
from adaptlens.report import frame, images
from adaptlens.report.printer import Printer
from adaptlens.store import Run

SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'


def cut(run: Run, to: Path, keep: Callable[[Mapping[str, Any]], bool]) -> Run:
    """Copy a run and take what `keep` refuses out of its plan."""
    shutil.copytree(run.folder, to)
    copied = Run.open(to)
    study = copied.read_json("study.json")
    cells = [spec for spec in study["cells"] if keep(spec)]
    copied.write_json("study.json", {**study, "cells": cells})
    return copied


def by(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    """Keep the cells of some adaptations."""
    return lambda spec: spec["adaptation"]["name"] in names


def undrawn(monkeypatch) -> None:
    """Make every chart, and draw none: that takes seconds each."""

    def made(chart):
        chart.to_dict(validate=False)
        return SVG

    monkeypatch.setattr(images, "svg", made)
    monkeypatch.setattr(images, "picture", lambda drawn, format: b"")


def said(run: Run) -> tuple[Any, str]:
    """Analyze, write the page, show and print as JSON; return the report and what was shown.

    The command line reads the same run: `report --json`, `report --markdown` and `status` end well.
    """
    name = run.read_json("study.json")["name"]
    found, page = registry.resolve("study", name).write_report(run)
    assert page.read_text("utf-8").rstrip().endswith("</html>")
    stream = io.StringIO()
    show(found.summary(), Printer(file=stream, width=100))
    with pytest.MonkeyPatch.context() as patch:
        # The charts were made above, of the same tables.
        patch.setattr(frame, "draw", lambda wanted, formats=(): images.Drawn())
        for words in (["report", "--json"], ["report", "--markdown"], ["status", "--json"]):
            verb, *more = words
            done = CliRunner().invoke(main, [verb, str(run.folder), *more])
            assert done.exit_code == 0, (words, done.output, done.exception)
            if "--json" in words:
                json.loads(done.stdout)
    done = CliRunner().invoke(main, ["status", str(run.folder)])
    assert done.exit_code == 0, (done.output, done.exception)
    return found, stream.getvalue()
