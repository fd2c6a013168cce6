"""The report's figures: drawn without a network, for a page (two widths) and as files."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from adaptlens import plots
from adaptlens.errors import unknown

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

FORMATS = ("svg", "png", "pdf")


@dataclass(frozen=True)
class Figure:
    """One drawn chart: inline SVG for wide and narrow screens, and files by format."""

    name: str
    caption: str
    wide: str
    narrow: str
    files: Mapping[str, bytes]


def draw(tables: Mapping[str, "pd.DataFrame"], formats: Iterable[str] = ()) -> dict[str, Figure]:
    """Return every figure that the tables have numbers for, by name.

    Raises:
        UserError: a format is not one of svg, png, pdf.
    """
    for format in (formats := tuple(formats)):
        if format not in FORMATS:
            raise unknown("figure format", format, FORMATS)
    table, most = tables.get, "Of each adaptation, the condition with most examples is drawn."
    wanted: list[tuple[str, str, Callable[..., alt.ConcatChart], tuple[Any, ...], str]] = [
        (
            "accuracy",
            "accuracy",
            plots.accuracy_by_examples,
            (table("baselines"),),
            "Score against number of examples, with 95% intervals over queries and draws. Dotted: "
            "zero-shot. Dashed: baselines that look at no query.",
        ),
        (
            "differences",
            "differences",
            plots.paired_differences,
            (),
            "Left minus right on the same queries and draws, with 95% intervals. Filled, in the "
            "colour of the better side: clear after Holm's correction (p < 0.05, enough draws). "
            "Hollow: not clear. Pale band: differences too small for this design to detect.",
        ),
        (
            "calibration",
            "reliability",
            plots.reliability,
            (),
            f"How often answers given with some confidence are right; below the dashed line, the "
            f"model is overconfident. {most}",
        ),
        (
            "cost",
            "cost",
            plots.cost_by_queries,
            (table("break_even"),),
            f"Total computation, training included, against queries answered. Rings: from here on "
            f"the tuned model is cheaper than the prompt. {most}",
        ),
        (
            "seconds",
            "cost",
            partial(plots.cost_by_queries, unit="seconds"),
            (table("break_even"),),
            f"The same in seconds on the machine that ran it. {most}",
        ),
    ]
    figures = {}
    for name, source, chart, more, caption in wanted:
        rows = table(source)
        if rows is None or rows.empty:
            continue
        try:
            wide, narrow = (
                svg(chart(rows, *more, width=width)) for width in (plots.WIDE, plots.NARROW)
            )
        except plots.NothingToDraw:
            continue
        said = f"{caption} The same numbers stand in the table below the figure."
        figures[name] = Figure(
            name,
            caption,
            inline(wide, f"{name}-wide", said),
            inline(narrow, f"{name}-narrow", said),
            {format: picture(wide, format) for format in formats},
        )
    return figures


def svg(chart: "alt.ConcatChart") -> str:
    """Return the chart as SVG; text stays text, so it can be searched and restyled."""
    import altair as alt
    import vl_convert

    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    return vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=version)


def picture(drawn: str, format: str) -> bytes:
    """Return an SVG as a file's bytes: "svg", "png" (at twice its size) or "pdf"."""
    import vl_convert

    if format == "svg":
        return drawn.encode()
    if format == "png":
        return vl_convert.svg_to_png(drawn, scale=2)
    return vl_convert.svg_to_pdf(drawn)


def inline(drawn: str, name: str, title: str) -> str:
    """Return an SVG ready to stand in a page beside others.

    Its ids begin with `name`, every labelled mark has a tooltip, and to assistive technology it
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
