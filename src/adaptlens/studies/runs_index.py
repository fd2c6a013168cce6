"""The runs in a folder as one page: what each is, how far it is, what it found, and two compared.

Nothing is analyzed: what a run found is what its own report wrote down (`driver.SUMMARY_FILE`).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adaptlens.cells import STUDY_FILE
from adaptlens.errors import UserError
from adaptlens.formatting import counted, moment, visible
from adaptlens.report.frame import flat, render
from adaptlens.report.tables import script_safe
from adaptlens.store import Run, write_atomically
from adaptlens.store.atomic import writing
from adaptlens.store.events import span
from adaptlens.store.links import MARKER
from adaptlens.studies.driver import SUMMARY_FILE

INDEX = "index.html"
MADE_BY = '<meta name="generator" content="adaptlens view">'
"""What says that an index was made here, and may be made again."""


@dataclass(frozen=True)
class Row:
    """A run as the index shows it.

    Attributes:
        name: of its folder.
        study: what kind of study it holds; empty where it holds none.
        models: names.
        tasks: names.
        findings: verdicts or claims: about, state and line; none before a report was made.
        when: when its last cell was finished; empty where that is not written down.
        done: cells that are done.
        wanted: cells that it is to have.
        problem: what is wrong: cells that failed, or what cannot be read.
        has_page: whether it has a report.
        settings: dotted path to value, as texts.
        numbers: main numbers: about, name and value, as texts.
    """

    name: str
    study: str = ""
    models: Sequence[str] = ()
    tasks: Sequence[str] = ()
    findings: Sequence[Mapping[str, str]] = ()
    when: str = ""
    done: int = 0
    wanted: int = 0
    problem: str = ""
    has_page: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    numbers: Sequence[Mapping[str, str]] = ()

    @property
    def state(self) -> str:
        """How far it is, in words."""
        said = f"{self.done} of {counted(self.wanted, 'cell')}" if self.wanted else "no cells"
        return "; ".join(filter(None, [said, self.problem]))


def rows(folder: Path) -> list[Row]:
    """Return the runs that lie in a folder, by name.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UserError(
            f"there is no folder '{folder}'; give the one that holds run folders, such as runs."
        )
    if os.path.lexists(folder / MARKER):
        raise UserError(
            f"'{folder}' is a run itself; give the folder that it lies in, "
            f"'{folder.resolve().parent}', or look at {folder / 'report.html'}."
        )
    with writing(folder):
        names = sorted(one.name for one in os.scandir(folder) if one.is_dir())
    found = [_row(folder / name) for name in names if os.path.lexists(folder / name / MARKER)]
    if not found:
        raise UserError(f"no run lies in '{folder}'; `adaptlens compare` makes one in runs/.")
    return found


def _row(folder: Path) -> Row:
    """Return a run; of one that cannot be read, its name and why."""
    try:
        run = Run.open(folder)
        study = run.read_json(STUDY_FILE) or {"name": "", "settings": {}, "cells": []}
        summary = run.read_json(SUMMARY_FILE) or {}
        counts = run.status().counts
    except UserError as error:
        return Row(folder.name, problem=str(error))
    when = span(run.cell_folder(cell) for cell in run.cells() if run.is_done(cell))
    specs = study["cells"]
    troubles = [f"{counts[state]} {state}" for state in ("failed", "damaged") if counts[state]]
    return Row(
        folder.name,
        study["name"],
        list(dict.fromkeys(spec["model"]["name"] for spec in specs)),
        list(dict.fromkeys(spec["task"]["name"] for spec in specs)),
        summary.get("findings", ()),
        moment(when[1]) if when else "",
        counts["done"],
        max(len(specs), sum(counts.values())),
        ", ".join(troubles),
        (folder / "report.html").is_file(),
        dict(flat(study["settings"])),
        summary.get("numbers", ()),
    )


def page(found: Sequence[Row], name: str) -> str:
    """Return the index as one self-contained page.

    Args:
        found: the runs.
        name: of their folder.
    """
    from markupsafe import Markup

    data = {
        one.name: {"settings": one.settings, "numbers": one.numbers, "findings": one.findings,
                   "page": one.has_page}
        for one in found
    }  # fmt: skip
    empty: dict[str, Any] = {
        "settings": {},
        "versions": {},
        "prompts": [],
        "cells": (),
        "tables": {},
    }
    return render(
        "adaptlens.report",
        ["page.js", "runs.js"],
        {},
        page="runs.html",
        report=SimpleNamespace(title=name, **empty),
        rows=found,
        made_by=Markup(MADE_BY),
        data=Markup(script_safe(json.dumps(data, ensure_ascii=False))),
    )


def write(folder: Path) -> Path:
    """Write the index of the runs in a folder into it; return its path.

    Raises:
        UserError: no run is there, or a file that is no index stands in its place.
    """
    found, path = rows(folder), folder / INDEX
    with writing(path):
        foreign = os.path.lexists(path) and MADE_BY not in path.read_text("utf-8", "replace")
    if foreign:
        raise UserError(f"'{path}' was not made by `adaptlens view`; move it away first.")
    write_atomically(path, visible(page(found, folder.resolve().name)))
    return path
