"""The study of implicit patterns as one self-contained HTML page, and as figures beside it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import estimate
from adaptlens.report.frame import other_tables, publish
from adaptlens.report.images import FORMATS, Figure, Wanted
from adaptlens.report.labels import Labels
from adaptlens.report.study_page import (
    Card,
    StudyReport,
    browsed,
    claims_table,
    render_study,
)
from adaptlens.report.tables import Conditions, Table
from adaptlens.report.theme import in_order, style_of
from adaptlens.stats.specification_curve import specification_curve
from adaptlens.studies.implicit import (
    figures_graph,
    figures_robustness,
    figures_shift,
    figures_units,
)
from adaptlens.studies.implicit import tables as tabled
from adaptlens.studies.implicit.figures import chosen_bars, learning, needed, shortcuts, transfers
from adaptlens.studies.implicit.figures_units import named
from adaptlens.studies.implicit.learned import adaptation_of

if TYPE_CHECKING:
    import pandas as pd

KNOWN = {
    "claims", "curves", "shortcut", "needed", "transfer", "gates", "profiles", "differences",
    "shift", "overlap", "functional", "faithfulness", "specifications", "variance", "annotations",
    "circuit", "edges", "effects",
}  # fmt: skip
"""The tables that the page has sections for, or speaks of."""

TITLES = {"chosen": "Accuracy by condition", "distances": "Distances of circuits"}
"""Of the figures that the page may begin with."""

ASKED = ("uses the shortcut more than", "shifts the circuit more than")
"""How the claim reads that the page begins with: the first of these that was tested."""

BARS = "Lines: 95% intervals."

OF_ALL: Mapping[str, tuple[str, Any, str]] = {
    "curves": (
        "curves", learning,
        "Right answers, %, by number of demonstrations or training examples. Dotted: "
        "zero-shot on the same items. Ringed: the number chosen on validation items. Hollow, where "
        "there are any: tuned on all families together. Bands, where there are several numbers: "
        "95% intervals.",
    ),
    "chosen": (
        "curves", chosen_bars,
        "Right answers, %, at the number of samples that all draws chose on validation items, "
        "which flatters it a little; claims judge the choice on other draws. Full: pattern "
        "(learned and read with the shortcut); half: misleading (learned with, read without); "
        f"hollow: plain (neither). Dark tick: zero-shot on the same items. {BARS}",
    ),
    "shortcut": (
        "shortcut", shortcuts,
        "Shortcut use: the gain over zero-shot on pattern items beyond that on plain ones. "
        "Over-reliance: plain less misleading. At the number of samples that all draws chose on "
        f"validation items; claims judge the choice on other draws. {BARS}",
    ),
    "needed": (
        "needed", needed,
        "Training examples that tuning needs, per demonstration, to reach what in-context learning "
        "reaches; left out where that is not above zero-shot. Hollow arrow: not reached with the "
        f"most that were tried. {BARS}",
    ),
    "transfer": (
        "transfer", transfers,
        "Points over zero-shot on the items of one family after learning from another. Blue: "
        "better; orange: worse. Outlined: learned from the family itself.",
    ),
    "variance": (
        "variance", figures_robustness.variance,
        "What the variance of single effects comes from: which item was asked, which draw or seed "
        "adapted the model, how the effect was measured, and the rest.",
    ),
}  # fmt: skip
"""Figures of all families together: the table each is of, its chart and its caption."""

OF_CONDITIONS: Mapping[str, tuple[str, Any, str]] = {
    "gates": (
        "gates", figures_units.gaps,
        "How far clean and corrupt prompts differ in the logit of the answer less that of its "
        "foil. Hollow: no circuit is defined, because the prompts do not differ or the answers are "
        f"guesses. {BARS}",
    ),
    "distances": (
        "shift", figures_shift.distances,
        "Cross-validated squared distance of two profiles, over their mean power; 0 where nothing "
        "shifts. Filled: two conditions. Hollow: a condition and its control. Gray bar: 95% of the "
        f"distances within one condition, its noise floor. {BARS}",
    ),
    "functional": (
        "functional", figures_shift.functional,
        "How well a condition (columns) works when only the circuit of another (rows) is kept: 1 "
        "as with its own, 0 as with random units of the same layers and kinds. –: undefined.",
    ),
    "alone": (
        "faithfulness", figures_robustness.alone,
        "Share of the gap that remains. Filled: the circuit alone (faithfulness). Hollow: all but "
        "the circuit (completeness: the less the better). Tick: random units of the same layers "
        f"and kinds alone. Beside a condition stands the number of units. {BARS}",
    ),
    "specifications": (
        "specifications", figures_robustness.specifications,
        "One comparison under every way of measuring it, the largest first. Filled: its 95% "
        "interval leaves out 0. Orange: below 0.",
    ),
}  # fmt: skip
"""The others of all families together, whose charts name conditions."""

OF_FAMILY: Mapping[str, tuple[str, Any, str]] = {
    "profiles": (
        "profiles", figures_units.profiles,
        "share of the clean-corrupt gap that each head and MLP carries. Blue: for the answer; "
        "orange with a minus: against it. Outlined: p < 0.05 over all units.",
    ),
    "differences": (
        "differences", figures_units.differences,
        "share that each unit carries in one condition less that in another. Blue: more; orange "
        "with a minus: less. Outlined: p < 0.05 by the largest difference of all units. Other "
        "pairs stand in the table.",
    ),
    "overlap": (
        "overlap", figures_shift.overlaps,
        "share of common units (Jaccard) among the largest ones of two conditions, by how many are "
        "counted. Dashed: the ceiling, two halves of one condition. Dotted: chance.",
    ),
    "heads": (
        "annotations", figures_graph.heads,
        "the heads that carry most. Induction, labels, query, sink: share of attention to what "
        "followed earlier, to answers of demonstrations, to the query, to the first token. Vector: "
        "effect of the head's mean output on zero-shot answers.",
    ),
    "graph": (
        "circuit", figures_graph.graph,
        "the units that carry most. Circles: heads; squares: MLPs; the line between: the residual "
        "stream that all read and add to. Larger: more of the gap; blue: for the answer, orange "
        "with a minus: against it. ind: induction; lab, qry: attend to labels, to the query; sink: "
        "to the first token. Units are joined only where edges were measured.",
    ),
}  # fmt: skip
"""Figures of one family each."""


class ImplicitReport(StudyReport):
    """Everything the page of a study of implicit patterns shows."""

    def main_tables(self) -> list[Table | None]:
        """Return the accuracies at the number of samples chosen on validation items."""
        return [tabled.chosen(self.tables)]


def write(report: StudyReport, path: Path | str, *, formats: Iterable[str] = FORMATS) -> Path:
    """Write the page and its figures, see `publish`; return the page's path."""
    return publish(path, wanted(report), partial(html, report), formats)


def html(report: StudyReport, figures: Mapping[str, Figure]) -> str:
    """Return the page as one string."""
    effects, claims = report.table("effects"), cards(report.claims)
    return render_study(
        __package__,
        report,
        figures,
        tables=_tables(report),
        families=families(report),
        main=claims["main"],
        others=claims["others"],
        robust=robust(report),
        titles=TITLES,
        shown_first="chosen" if "chosen" in figures else "distances",
        adaptations=[style_of(name) for name in _adaptations(report)],
        num_effects=0 if effects is None else len(effects),
        **browsed(tabled.everything(report.tables), ("family", "model")),
    )


def families(report: StudyReport) -> dict[str, str]:
    """Return the families the tables are of, each with a name for files and ids."""
    found: dict[str, str] = {}
    for table in report.tables.values():
        for family in table["family"].unique() if "family" in table else ():
            if family not in found:
                plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in str(family))
                found[family] = plain if plain not in found.values() else f"{plain}-{len(found)}"
    return found


def wanted(report: StudyReport) -> Iterator[Wanted]:
    """Yield the figures that the report has rows for."""
    for name, (table, chart, caption) in OF_ALL.items():
        if (rows := report.table(table)) is not None:
            yield Wanted(name, caption, partial(chart, rows))
    for name, (table, chart, caption) in OF_CONDITIONS.items():
        if (rows := report.table(table)) is not None:
            yield Wanted(name, caption, partial(chart, rows, report.labels))
    edges = report.table("edges")
    for name, (table, chart, caption) in OF_FAMILY.items():
        rows = report.table(table)
        for family, slug in families(report).items() if rows is not None else ():
            assert rows is not None
            if (own := rows[rows["family"] == family]).empty:
                continue
            given = [_drawn(name, own, report.labels), report.labels]
            if name == "graph" and edges is not None:
                given.append(edges[edges["family"] == family])
            several = len(families(report)) > 1
            said = f"{family}: {caption}" if several else caption[:1].upper() + caption[1:]
            yield Wanted(f"{name}-{slug}", said, partial(chart, *given))


def _drawn(name: str, rows: "pd.DataFrame", labels: Labels) -> "pd.DataFrame":
    """Return the rows that a figure of one family draws; the others stand in the table below it.

    Of heads and graphs, those of no control; of differences, those from zero-shot and from
    in-context learning.
    """
    if name in ("heads", "graph"):
        return rows[[not labels[label].variant for label in rows["condition"]]]
    if name == "differences":
        starts = ("zero_shot", "icl")
        kept = rows[[labels[label].adaptation in starts for label in rows["left"]]]
        return kept if len(kept) else rows
    return rows


def robust(report: StudyReport) -> list[str]:
    """Return how often the comparison of each family that is drawn comes out the same way."""
    rows = report.table("specifications")
    found: list[str] = []
    several = rows is not None and rows["model"].nunique() > 1
    groups = rows.groupby(["model", "family"], sort=False) if rows is not None else ()
    for (model, family), own in groups:
        about = f"{family} on {model}" if several else str(family)
        drawn = figures_robustness.compared(own, report.labels)
        if drawn.empty:
            continue
        name, curve = drawn["name"].iloc[0], specification_curve(drawn)
        alike, off, opposite = (
            round(share * curve.count)
            for share in (curve.same_sign, curve.off_zero, curve.opposite)
        )
        against = f", {opposite} clearly on the other side" if opposite else ""
        found.append(
            f"{about}, {name}: median {estimate(curve.median, sign=True)}; of {curve.count} "
            f"specifications {alike} on the same side of 0, {off} clearly so{against}"
        )
    return found


def cards(claims: Sequence[Mapping[str, Any]]) -> dict[str, list[Card]]:
    """Return the claims by what is claimed, each with its verdict on every family.

    What was tested on all families together comes first and decides; where nothing was, and
    families differ, the verdict is how many there are of each. In "main" is the claim that the
    study asks about, in "others" are the others.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for claim in sorted(claims, key=lambda claim: claim["factor"]):
        groups.setdefault((claim["model"], claim["factor"], claim["claim"]), []).append(claim)
    several = len({claim["model"] for claim in claims}) > 1
    asked = next((one for one in ASKED if any(one in claim["claim"] for claim in claims)), "")
    found: dict[str, list[Card]] = {"main": [], "others": []}
    for (model, _, claim), rows in groups.items():
        rows = sorted(rows, key=lambda row: row["task"] != tabled.EVERY_FAMILY)
        card = Card.of(
            rows,
            lambda row: f"{row['task']} {tabled.effect(row)}",
            about=model if several else "",
            more=[
                f"{row['task']}: {row['line']}"
                for row in rows
                if row["state"] == "not decided" or not _is_number(row["effect"])
            ],
            first_decides=rows[0]["task"] == tabled.EVERY_FAMILY,
        )
        found["main" if asked and asked in claim else "others"].append(card)
    return found


def _is_number(effect: float | None) -> bool:
    return effect is not None and math.isfinite(effect)


def _tables(report: StudyReport) -> dict[str, Any]:
    """Return the page's tables by name; those it does not know come under "others"."""
    tables, conditions = report.tables, Conditions.of(report.labels, report.cells)
    found: dict[str, Any] = {
        "claims": claims_table(report.claims, tabled.FACTORS, tabled.effect_entry, "family"),
        "chosen": tabled.chosen(tables),
        "curves": tabled.curves(tables, conditions),
        "shortcut": tabled.shortcut(tables),
        "needed": tabled.needed(tables),
        "transfer": tabled.transfer(tables),
        "gates": tabled.gates(tables, conditions),
        "shift": tabled.shift(tables, conditions),
        "functional": tabled.functional(tables, conditions),
        "faithfulness": tabled.faithfulness(tables, conditions),
        "specifications": tabled.specifications(tables),
        "variance": tabled.variance(tables),
        **{name: {} for name in (*OF_FAMILY, "edges")},
        **other_tables(tables, KNOWN, report.cells),
    }
    sources = {**{name: table for name, (table, _, _) in OF_FAMILY.items()}, "edges": "edges"}
    for name, source in sources.items():
        rows = report.table(source)
        for family, slug in families(report).items() if rows is not None else ():
            assert rows is not None
            own = rows[rows["family"] == family]
            table = f"{name}-{slug}"
            found[name][family] = _of_family(name, own, table, conditions) if len(own) else None
    return found


def _of_family(name: str, rows: "pd.DataFrame", table: str, conditions: Conditions) -> Table | None:
    """Return the table under a figure of one family."""
    if name == "profiles":
        names = named(rows["condition"], conditions.labels)
        rows = rows.assign(panel=rows["condition"].map(names))
        return tabled.units(rows, table, "Share of the gap, by unit; * p < 0.05", "p")
    if name == "differences":
        names = named([*rows["left"], *rows["right"]], conditions.labels)
        pairs = [f"{names[b]} − {names[a]}"
                 for a, b in zip(rows["left"], rows["right"], strict=True)]  # fmt: skip
        caption = "Difference of shares, by unit; * p < 0.05"
        return tabled.units(rows.assign(panel=pairs), table, caption, "p_max")
    if name == "overlap":
        return tabled.overlap(rows, table, "Overlap of the largest units", conditions)
    captions = {"heads": "What heads are known by", "graph": "Units of the circuits"}
    return tabled.listed(rows, table, captions.get(name, "Edges"))


def _adaptations(report: StudyReport) -> list[str]:
    """Return the ways of adapting that the report compares."""
    found: set[str] = set()
    for table in report.tables.values():
        if "method" in table:
            found |= {adaptation_of(method) for method in table["method"].unique()}
    if (gates := report.table("gates")) is not None:
        shown = [report.labels[label] for label in gates["condition"]]
        found |= {one.adaptation for one in shown if not one.variant}
    return in_order(found)
