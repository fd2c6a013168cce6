"""What every page is made in: its template, style, script, policy, and how texts and marks appear.

A page loads nothing: style, script, figures and every number are inside it. All text from data is
escaped, and the page's content policy lets only its own script run.
"""

import base64
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import typeset, visible
from adaptlens.report import tables as made
from adaptlens.report.charts import INK, LINE, MUTED, PAPER
from adaptlens.report.how_tuned import constant_columns, table_of
from adaptlens.report.images import Figure, Wanted, draw
from adaptlens.report.labels import explained
from adaptlens.report.theme import (
    ADAPTATIONS,
    PAIRS,
    SHAPES,
    SPARE,
    Style,
    style_of,
    styles_of_others,
)
from adaptlens.store import make_folder, write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

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


def render(
    package: str,
    scripts: Sequence[str],
    figures: Mapping[str, Figure],
    page: str = "page.html",
    **values: Any,
) -> str:
    """Return a page as one string.

    Args:
        package: the study's; its page extends the frame, and it may have scripts.
        scripts: names of the scripts it needs, in order.
        figures: its figures by name.
        page: the name of its template.
        values: what the template shows; `report` has title, prompts, settings, versions, cells.
    """
    import jinja2
    from markupsafe import Markup

    script = "\n".join(_source(package, name) for name in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(partial(_source, package)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        swatch=_swatch, newlines=_newlines, safe_id=_safe_id, typeset=typeset, explained=explained
    )
    report = values["report"]
    recipes = report.tables.get("recipes")
    known = {str(cell) for cell in report.cells["cell"]} if len(report.cells) else set()
    return environment.get_template(page).render(
        **values,
        partial=getattr(report, "partial", None),
        figures=figures,
        undrawn=getattr(figures, "problem", ""),
        known=known,
        constants=constant_columns(recipes),
        recipes=None
        if recipes is None
        else table_of(recipes, made.Conditions.of(report.labels, report.cells)),
        roles=ROLES,
        settings=list(flat(report.settings)),
        prompts=_by_task(report.prompts),
        policy=f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        style=Markup(_source(package, "page.css") + _theme()),
        script=Markup(script),
    )


def _source(package: str, name: str) -> str:
    """Return a template, style or script by name: what all pages share, or the study's own."""
    shared = resources.files("adaptlens.report")
    rooms = (shared / "templates", shared / "static", resources.files(package))
    return next(room / name for room in rooms if (room / name).is_file()).read_text("utf-8")


def publish(
    path: Path | str,
    wanted: Iterable[Wanted],
    page: Callable[[Mapping[str, Figure]], str],
    formats: Iterable[str],
) -> Path:
    """Write a page, and each figure as `figures/NAME.FORMAT` beside it; return the page's path.

    Every file is written atomically, the page last. The same report gives the same bytes.

    Args:
        path: of the page.
        wanted: its figures.
        page: returns the page, given its figures by name.
        formats: of the figures' files: "svg", "png", "pdf".

    Raises:
        UserError: the disk refuses, or a format is not one of svg, png, pdf.
    """
    path = Path(path)
    folder = path.parent / "figures"
    figures = draw(wanted, formats)
    text = visible(page(figures))
    make_folder(path.parent)
    for figure in figures.values():
        for format, content in figure.files.items():
            make_folder(folder)
            write_atomically(folder / f"{figure.name}.{format}", content)
    write_atomically(path, text)
    return path


def check_prompts(prompts: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError where a prompt has a part whose role is not known."""
    for prompt in prompts:
        strange = {role for role, _ in prompt["parts"]} - {*ROLES}
        if strange:
            raise ValueError(f"no such prompt role: {', '.join(sorted(strange))}")


def other_tables(
    tables: Mapping[str, "pd.DataFrame"], known: Collection[str], cells: "pd.DataFrame"
) -> dict[str, Any]:
    """Return the tables that every page has: "cells", and in "others" those it does not know."""
    return {
        "cells": made.plain(cells, "cells", "Cells", anchor="cell") if len(cells) else None,
        "others": [
            made.plain(table, f"other-{i}", made.heading_of(name))
            for i, (name, table) in enumerate(tables.items())
            if name not in (*known, "recipes") and len(table)
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


def flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every setting as (dotted path, value in words)."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{path}{key}.")
        elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            yield from flat({str(i): one for i, one in enumerate(value)}, f"{path}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{path}{key}", ", ".join(map(str, value)) or "none"
        else:
            yield f"{path}{key}", _setting(value)


def _setting(value: Any) -> str:
    """Return one setting's value in words."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in ({}, "") else str(value)


def _theme() -> str:
    """Return the style rules that give figures and marks their colors, light and dark."""
    pairs = {entry.light: entry.dark for entry in (*ADAPTATIONS.values(), *PAIRS.values())}
    pairs |= {light: dark for light, dark, _ in SPARE}
    pairs |= {entry.light: entry.dark for entry in styles_of_others().values()}
    light = "".join(f"--c{color[1:]}:{color};" for color in pairs)
    dark = "".join(f"--c{color[1:]}:{other};" for color, other in pairs.items())
    rules = [
        f":root{{{light}}}",
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}",
        f"@media screen{{:root[data-theme=dark]{{{dark}}}}}",
    ]
    for state, name in (("prompt", "icl"), ("tune", "it")):
        rules.append(f".verdict.{state}{{--tone:var(--c{style_of(name).light[1:]})}}")
    variables = {color: f"--c{color[1:]}" for color in pairs}
    variables |= {INK: "--ink", MUTED: "--muted", LINE: "--line", PAPER: "--paper"}
    for color, variable in variables.items():
        for part in ("fill", "stroke"):
            rules.append(f'.figure [{part}="{color}"]{{{part}:var({variable})}}')
    return "\n".join(rules)


def _swatch(style: Style) -> "Markup":
    """Return the mark of an adaptation or of a pair, as in the figures."""
    from markupsafe import Markup

    return Markup(
        '<svg class="swatch" viewBox="-6 -6 12 12" aria-hidden="true">'
        '<path fill="var(--c{})" d="{}"/></svg>'
    ).format(style.light[1:], SHAPES[style.shape])


def _newlines(text: str) -> "Markup":
    """Return escaped text in which every line break is also seen."""
    from markupsafe import Markup, escape

    mark = Markup('<i class="newline" aria-hidden="true"></i>\n')
    return mark.join(escape(line) for line in text.split("\n"))


def _safe_id(text: str) -> str:
    """Return text with all but letters, digits, "_" and "-" written as their numbers."""
    return "".join(c if c.isalnum() or c in "_-" else f".{ord(c):x}" for c in text)
