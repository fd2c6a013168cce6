"""A comparison as one self-contained HTML page, as figures beside it, and as Markdown.

The page loads nothing: style, script, figures and every answer are inside it. All text from data
is escaped, and the page's content policy lets only its own script run.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from adaptlens import grids
from adaptlens.figures import FORMATS, Figure, draw
from adaptlens.looks import (
    ADAPTATIONS,
    SPARE,
    adaptation_of,
    in_order,
    look,
)
from adaptlens.plots import INK, LINE, MUTED, PAPER
from adaptlens.store import write_atomically
from adaptlens.values import Role

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

STATES = {
    "tune": ("Tune", "▲"),
    "prompt": ("Prompt", "●"),
    "no difference": ("No difference", "="),
    "undecided": ("Undecided", "?"),
    "neither": ("Neither", "∅"),
}
"""What each verdict is called on the page, and a sign that does not depend on colour."""

ROLES = {
    "instruction": "instruction",
    "demo_input": "demonstration, input",
    "demo_target": "demonstration, answer",
    "query": "query",
    "cue": "cue for the answer",
    "separator": "separator",
    "chat": "chat template",
    "filler": "neutral words",
}
SHAPES = {
    "circle": "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0",
    "square": "M-4.5-4.5h9v9h-9Z",
    "triangle-up": "M0-5L5.5 4.5H-5.5Z",
    "triangle-down": "M0 5L5.5-4.5H-5.5Z",
    "triangle-right": "M5 0L-4.5 5.5V-5.5Z",
    "triangle-left": "M-5 0L4.5 5.5V-5.5Z",
    "diamond": "M0-6L6 0L0 6L-6 0Z",
    "cross": "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4Z",
}
"""The outline of each mark, in a box from -6 to 6."""

COLUMNS = {
    "accuracy": "task model condition adaptation examples metric value low high queries draws cell",
    "baselines": "task metric name value",
    "differences": "task model left right metric difference low high p p_holm equivalence_p "
    "detectable queries draws test correction",
    "calibration": "task model condition brier ece answer_loglik",
    "reliability": "task model condition bin_confidence bin_accuracy count",
    "cost": "task model condition training_flops training_seconds query_flops query_flops_cached "
    "query_tokens query_seconds peak_bytes trainable",
    "break_even": "task model prompt_condition tuned_condition serving unit queries",
}
"""The columns each table must have. Other tables are shown too, as they are."""


@dataclass(frozen=True, eq=False)
class Report:
    """Everything a report shows.

    Attributes:
        verdicts: for each task and model, `state` (a key of `STATES`) and `line`, the sentence.
        tables: tidy tables, one number a row, with the columns of `COLUMNS`; scores are fractions
            (chrF: 0-100), and `cell` is a cell's id or several. A table that was not measured is
            left out or empty.
        prompts: prompts as sent: task, model, condition, query_id, `parts` of (role, text),
            `answers` and `gold`.
        per_query: one answer a row: task, model, condition, draw, query, input, gold, answer,
            correct, margin; a draw below 0 means that none was made.
        settings: the run's configuration, nested.
        versions: package to version.
        notes: sentences a reader needs in order to trust the numbers.
        cells: one cell a row, its id in the column `cell`.
    """

    title: str
    verdicts: Sequence[Mapping[str, Any]]
    tables: Mapping[str, "pd.DataFrame"]
    prompts: Sequence[Mapping[str, Any]]
    per_query: "pd.DataFrame"
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    cells: "pd.DataFrame"
    notes: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        """Check that every table has its columns and every verdict a known state."""
        for name, table in (*self.tables.items(), ("cells", self.cells)):
            wanted = COLUMNS.get(name, "cell" if name == "cells" else "").split()
            missing = [column for column in wanted if column not in table.columns]
            if missing and not table.empty:
                raise ValueError(f"the table '{name}' lacks {', '.join(missing)}")
        for verdict in self.verdicts:
            if verdict["state"] not in STATES:
                raise ValueError(f"no such verdict: '{verdict['state']}'; one of {list(STATES)}")
        for prompt in self.prompts:
            strange = {role for role, _ in prompt["parts"]} - set(get_args(Role))
            if strange:
                raise ValueError(f"no such prompt role: {', '.join(sorted(strange))}")

    def table(self, name: str) -> "pd.DataFrame | None":
        """Return a table, or None where it was not measured."""
        table = self.tables.get(name)
        return None if table is None or table.empty else table


def write(report: Report, path: Path | str, *, formats: Iterable[str] = FORMATS) -> Path:
    """Write the page, and each figure as `figures/NAME.FORMAT` beside it; return the page's path.

    Every file is written atomically, the page last. The same report gives the same bytes.

    Raises:
        UserError: the disk refuses, or a format is not one of svg, png, pdf.
    """
    path, formats = Path(path), tuple(formats)
    figures = draw(report.tables, formats)
    folder = path.parent / "figures"
    path.parent.mkdir(parents=True, exist_ok=True)
    for figure in figures.values():
        for format, content in figure.files.items():
            folder.mkdir(exist_ok=True)
            write_atomically(folder / f"{figure.name}.{format}", content)
    write_atomically(path, html(report, figures))
    return path


def html(report: Report, figures: Mapping[str, Figure]) -> str:
    """Return the page as one string."""
    import jinja2
    from markupsafe import Markup

    source = resources.files("adaptlens")
    script = source.joinpath("report.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(swatch=_swatch, newlines=_newlines, safe_id=_safe_id)
    template = environment.from_string(source.joinpath("report.html").read_text("utf-8"))
    scores = report.table("accuracy")
    named = in_order([] if scores is None else scores["adaptation"])
    answers = report.per_query
    constant = {
        name: str(answers[name].iloc[0])
        for name in ("task", "model")
        if name in answers and answers[name].nunique(dropna=False) == 1
    }
    known = {str(cell) for cell in report.cells["cell"]} if len(report.cells) else set()
    return template.render(
        report=report,
        figures=figures,
        grids=_grids(report),
        adaptations=[(name, look(name)) for name in named],
        adaptation_of=adaptation_of,
        known=known,
        states=STATES,
        roles=ROLES,
        settings=list(_flat(report.settings)),
        prompts=_by_task(report.prompts),
        several_models=len({verdict["model"] for verdict in report.verdicts}) > 1,
        num_answers=len(answers),
        constant=constant,
        policy=f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        style=Markup(source.joinpath("report.css").read_text("utf-8") + _theme()),
        script=Markup(script),
        answers=Markup(grids.embedded(answers.drop(columns=list(constant)))),
    )


def markdown(report: Report) -> str:
    """Return the verdicts, the scores and the paired differences as Markdown."""
    lines = [f"# {_line(report.title)}", ""]
    for verdict in report.verdicts:
        lines.append(f"- **{_line(verdict['task'])}**: {_line(verdict['line'])}")
    for grid in grids.scores(report.tables):
        kept = [i for i, (text, _) in enumerate(grid.headings) if text not in ("examples", "cell")]
        lines += ["", f"**{_line(grid.caption)}**", "", *_pipes(grid, kept)]
    if pairs := grids.differences(report.tables):
        kept = [i for i, (text, _) in enumerate(pairs.headings) if text not in ("test", "p")]
        lines += ["", "**Paired differences, left minus right**", "", *_pipes(pairs, kept)]
    if report.notes:
        lines += ["", *(f"- {_line(note)}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def _pipes(grid: grids.Grid, kept: Sequence[int]) -> list[str]:
    """Return some columns of a table in Markdown."""
    lines = [
        "| " + " | ".join(grid.headings[i][0] for i in kept) + " |",
        "|" + "|".join("---:" if grid.headings[i][1] else "---" for i in kept) + "|",
    ]
    lines += ["| " + " | ".join(_line(row[i].text) for i in kept) + " |" for row in grid.rows]
    return lines


def _line(text: str) -> str:
    """Return text that stays on its line and in its table cell, and opens no HTML tag."""
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", " ".join(str(text).split())).replace("|", "\\|")


def _grids(report: Report) -> dict[str, Any]:
    """Return the page's tables by name; those the report does not know come under "others"."""
    tables = report.tables
    return {
        "scores": grids.scores(tables),
        "differences": grids.differences(tables),
        "calibration": grids.measured(tables, "calibration", "Calibration by condition"),
        "reliability": grids.measured(tables, "reliability", "Reliability by confidence"),
        "cost": grids.measured(tables, "cost", "Cost by condition"),
        "break_even": grids.break_evens(tables),
        "cells": grids.plain(report.cells, "cells", "Cells", anchor="cell")
        if len(report.cells)
        else None,
        "others": [
            grids.plain(table, f"other-{i}", grids.heading_of(name))
            for i, (name, table) in enumerate(tables.items())
            if name not in COLUMNS and len(table)
        ],
    }


def _by_task(prompts: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the prompts by task, and by model where there are several."""
    several = len({prompt["model"] for prompt in prompts}) > 1
    found: dict[str, list[Mapping[str, Any]]] = {}
    for prompt in prompts:
        name = f"{prompt['task']} on {prompt['model']}" if several else prompt["task"]
        found.setdefault(name, []).append(prompt)
    return found


def _flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every setting as (dotted path, value)."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{path}{key}", ", ".join(map(str, value))
        else:
            yield f"{path}{key}", str(value)


def _theme() -> str:
    """Return the style rules that give figures and marks their colours, light and dark."""
    pairs = {entry.light: entry.dark for entry in ADAPTATIONS.values()}
    pairs |= {light: dark for light, dark, _ in SPARE}
    light = "".join(f"--c{colour[1:]}:{colour};" for colour in pairs)
    dark = "".join(f"--c{colour[1:]}:{other};" for colour, other in pairs.items())
    rules = [
        f":root{{{light}}}",
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}",
        f"@media screen{{:root[data-theme=dark]{{{dark}}}}}",
    ]
    for state, name in (("prompt", "icl"), ("tune", "it")):
        rules.append(f".verdict.{state}{{--tone:var(--c{look(name).light[1:]})}}")
    variables = {colour: f"--c{colour[1:]}" for colour in pairs}
    variables |= {INK: "--ink", MUTED: "--muted", LINE: "--line", PAPER: "--paper"}
    for colour, variable in variables.items():
        for part in ("fill", "stroke"):
            rules.append(f'.figure [{part}="{colour}"]{{{part}:var({variable})}}')
    return "\n".join(rules)


def _swatch(adaptation: str) -> "Markup":
    """Return an adaptation's mark, as in the figures."""
    from markupsafe import Markup

    shown = look(adaptation)
    return Markup(
        '<svg class="swatch" viewBox="-6 -6 12 12" aria-hidden="true">'
        '<path fill="var(--c{})" d="{}"/></svg>'
    ).format(shown.light[1:], SHAPES[shown.shape])


def _newlines(text: str) -> "Markup":
    """Return escaped text in which every line break is also seen."""
    from markupsafe import Markup, escape

    mark = Markup('<i class="newline" aria-hidden="true"></i>\n')
    return mark.join(escape(line) for line in text.split("\n"))


def _safe_id(text: str) -> str:
    """Return text with all but letters, digits, "_" and "-" written as their numbers."""
    return "".join(c if c.isalnum() or c in "_-" else f".{ord(c):x}" for c in text)
