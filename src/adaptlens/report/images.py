"""The report's figures: drawn without a network, for a page (two widths) and as files."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from adaptlens.errors import unknown
from adaptlens.formatting import counted, visible
from adaptlens.report import charts, drawing

if TYPE_CHECKING:
    import altair as alt

FORMATS = ("svg", "png", "pdf")
MOST_DEATHS = 2
"""After the engine failed over so many figures one after the other, no more are tried."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A figure to draw: its caption, and the chart of a width in pixels."""

    name: str
    caption: str
    chart: "Callable[..., alt.ConcatChart]"


@dataclass(frozen=True)
class Figure:
    """One drawn chart: inline SVG for wide and narrow screens, and files by format."""

    name: str
    caption: str
    wide: str
    narrow: str
    files: Mapping[str, bytes]


class Drawn(dict[str, Figure]):
    """Figures by name; `problem` says which were not drawn and why, or is empty."""

    problem: str = ""


def draw(wanted: Iterable[Wanted], formats: Iterable[str] = ()) -> Drawn:
    """Return every figure that has something to show, by name.

    One that the engine fails to draw is left out, and said.

    Raises:
        UserError: a format is not one of svg, png, pdf.
    """
    for format in (formats := tuple(formats)):
        if format not in FORMATS:
            raise unknown("figure format", format, FORMATS)
    figures = Drawn()
    left_out: list[str] = []
    deaths, reason = 0, ""
    for one in wanted:
        if deaths == MOST_DEATHS:
            left_out.append(one.name)
            continue
        try:
            figures[one.name] = _drawn(one, formats)
            deaths = 0
        except charts.NothingToDraw:
            continue
        except drawing.DrawingFailed as failure:
            deaths, reason = deaths + 1, str(failure)
            left_out.append(one.name)
    if left_out:
        figures.problem = (
            f"{counted(len(left_out), 'figure')} could not be drawn ({', '.join(left_out)}): "
            f"{reason}; the tables hold the same numbers. `adaptlens report` draws again, for "
            "example where more memory may be taken."
        )
        _log.warning("%s", figures.problem)
    return figures


def _drawn(one: Wanted, formats: Iterable[str]) -> Figure:
    wide, narrow = (svg(one.chart(width=width)) for width in (charts.WIDE, charts.NARROW))
    said = f"{one.caption} The same numbers stand in the table below the figure."
    return Figure(
        one.name,
        one.caption,
        inline(wide, f"{one.name}-wide", said),
        inline(narrow, f"{one.name}-narrow", said),
        {format: picture(wide, format) for format in formats},
    )


def svg(chart: "alt.ConcatChart") -> str:
    """Return the chart as SVG; text stays text, so it can be searched and restyled."""
    import altair as alt

    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    return drawing.svg(_visible(chart.to_dict(validate=False)), version)


def _visible(part: Any) -> Any:
    """Return a specification whose texts have no character that XML cannot hold, or that acts."""
    if isinstance(part, str):
        return visible(part)
    if isinstance(part, dict):
        return {name: _visible(value) for name, value in part.items()}
    return [_visible(value) for value in part] if isinstance(part, list | tuple) else part


def picture(drawn: str, format: str) -> bytes:
    """Return an SVG as a file's bytes: "svg", "png" (at twice its size) or "pdf"."""
    return drawn.encode() if format == "svg" else drawing.converted(drawn, format)


def inline(drawn: str, name: str, title: str) -> str:
    """Return an SVG ready to stand in a page beside others.

    Its ids begin with `name`, every labeled mark has a tooltip, and to assistive technology it
    is one picture called `title`.
    """
    namespace = "{http://www.w3.org/2000/svg}"
    ElementTree.register_namespace("", namespace[1:-1])
    root = ElementTree.fromstring(drawn)
    for element in root.iter():
        if "id" in element.attrib:
            element.set("id", f"{name}-{element.attrib['id']}")
        for key, value in element.attrib.items():
            element.set(key, value.replace("url(#", f"url(#{name}-"))
        label = element.attrib.pop("aria-label", None)
        described = element.attrib.pop("aria-roledescription", None)
        element.attrib.pop("role", None)
        if label and described not in ("axis", "legend", "title", "text mark"):
            ElementTree.SubElement(element, f"{namespace}title").text = label
    root.set("role", "img")
    root.set("aria-label", title)
    return ElementTree.tostring(root, encoding="unicode")
