"""The study of limits as one self-contained HTML page, and as figures beside it."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.report.frame import other_tables, publish
from adaptlens.report.images import FORMATS, Figure, Wanted
from adaptlens.report.study_page import Card, StudyReport, browsed, render_study
from adaptlens.report.tables import Table
from adaptlens.report.theme import Style
from adaptlens.studies.limits import (
    figures_exposure,
    figures_relation,
    figures_systems,
    system_styles,
)
from adaptlens.studies.limits import tables as tabled
from adaptlens.studies.limits.figures import following, following_by_kind, following_by_task
from adaptlens.studies.limits.figures import points as points_of
from adaptlens.studies.limits.panel import COLUMNS, SYSTEMS

if TYPE_CHECKING:
    import pandas as pd

KNOWN = {
    "scores", "relations", "per_task", "per_model", "attribution", "mixed_effects", "exceeding",
    "systems", "variations", "exposure", "mediation", "claims",
}  # fmt: skip
"""The tables that the page has sections for."""

LINES = "Lines: 95% intervals."
DECIDED = "Blue: better; orange: worse (corrected p < 0.05); gray: not decided."

CAPTIONS: Mapping[str, str] = {
    "following": "Ability (0: guessing, 1: all right) of every tuned model on every task, "
    "zero-shot, against what its base does there with examples in context. Filled: the task was "
    "tuned on. Hollow: it was not. Dashed: both alike.",
    "kinds": "The same for each family, and for bases of like size (parameters); seeds averaged.",
    "tasks": "The same for each task: one mark per base, the mean of the models tuned from it; "
    "lines reach from the lowest to the highest of them. Beside the name: Spearman's correlation "
    "with nothing controlled.",
    "correlations": "Spearman's correlation of tuned and in-context ability, after what is named "
    "was taken out of both. Dark tick: the most that noise lets it be. Filled: related, which "
    f"takes a corrected p < 0.05, an interval above 0 and at least 5 bases. {LINES}",
    "one-by-one": "The same one task and one base at a time. Hollow and gray: with nothing "
    f"controlled. {LINES}",
    "shares": "What the variance of tuned ability goes with, averaged over all orders of "
    "predictors (Shapley). Within tasks: after each task's mean was taken out. Shares of few bases "
    f"are too large. {LINES}",
    "exposures": "Ability of models that differ in how often pretraining showed the exposed tasks: "
    "in context (ICL), tuned (IT), and without either.",
    "effects": "Differences between exposures. Thin lines: 95% intervals for tasks like these; "
    "thick: for these very tasks.",
    "systems": "Mean ability of the five systems, over models, then over tasks.",
    "differences": f"Paired differences. {DECIDED} Small and hollow: tasks not tuned on. {LINES} "
    "Long ones are cut off.",
    "exceeding": "Tuned zero-shot less in context, task by task. Blue: tuned is better by more "
    f"than noise; orange: in context is; gray: not decided. {LINES} Long ones are cut off.",
    "exceeding-bases": "The same for each base, in hundredths. Blue: tuned is better; orange with "
    "a minus: in context. Outlined: by more than noise.",
    "variations": f"What a variation changes in ability, against the prompt as it is. {DECIDED} "
    f"{LINES}",
    "scorings": "Right answers by scoring. Dark tick: the guess floor, which is chance for options "
    "and else what answers given to other items would score.",
}


class LimitsReport(StudyReport):
    """Everything the page of a study of limits shows."""

    def main_tables(self) -> list[Table | None]:
        """Return Spearman's correlation of tuned and in-context ability, by what is controlled."""
        if (table := self.table("relations")) is None:
            return []
        rows = table[(table["scoring"] == "first") & (table["family"] == "")]
        found = tabled.relations(rows[rows["coefficient"] == "spearman"])
        if not found:
            return []
        caption = "Tuned zero-shot against the base in context: Spearman's correlation"
        return [replace(found.only(*tabled.IN_BRIEF), caption=caption)]


def write(report: StudyReport, path: Path | str, *, formats: Iterable[str] = FORMATS) -> Path:
    """Write the page and its figures, see `publish`; return the page's path."""
    return publish(path, wanted(report), partial(html, report), formats)


def html(report: StudyReport, figures: Mapping[str, Figure]) -> str:
    """Return the page as one string.

    Its prompts have what sent them and what came back, too: `system`, `variation`, `output` and
    `answer`.
    """
    scores = usable(report)
    points = None if scores is None else points_of(scores)
    return render_study(
        __package__,
        replace(report, prompts=()),
        figures,
        sent=sent(report.prompts),
        tables=_tables(report, scores, points),
        cards=[
            Card(
                claim=claim["claim"],
                state=claim["state"],
                lines=[(claim["state"], line) for line in said(claim["line"])],
            )
            for claim in sorted(report.claims, key=lambda claim: claim["factor"])
        ],
        compared=[] if scores is None else compared(scores),
        caveats=remarks(report.table("mediation")),
        **browsed(None if points is None else tabled.everything(points)),
    )


def usable(report: StudyReport) -> "pd.DataFrame | None":
    """Return the scores that are defined and leave something above their floor; None of none."""
    scores = report.table("scores")
    if scores is None or not {*COLUMNS} <= {*scores.columns}:
        return None
    floor = scores["floor"].fillna(scores["chance"])
    found = scores[scores["value"].between(0, 1) & (floor >= 0) & (floor < 1)]
    return None if found.empty else found


def wanted(report: StudyReport) -> Iterator[Wanted]:
    """Yield the figures that the report has rows for."""
    for name, chart in _charts(report).items():
        yield Wanted(name, CAPTIONS[name], chart)


def _charts(report: StudyReport) -> dict[str, Callable[..., Any]]:
    """Return the figures by name, in the order of the page."""
    scores = usable(report)
    points = None if scores is None else points_of(scores)
    scorings = None if scores is None else figures_systems.by_scoring(scores)
    table = report.table
    alone = table("per_task"), table("per_model")
    of: dict[str, tuple[Callable[..., Any], Any]] = {
        "following": (following, points),
        "kinds": (following_by_kind, points),
        "tasks": (partial(following_by_task, per_task=table("per_task")), points),
        "correlations": (figures_relation.correlations, table("relations")),
        "one-by-one": (partial(figures_relation.one_by_one, per_model=alone[1]), alone[0]),
        "shares": (figures_relation.shares, table("attribution")),
        "exposures": (figures_exposure.exposures, table("exposure")),
        "effects": (figures_exposure.effects, table("exposure")),
        "systems": (figures_systems.systems, scores),
        "differences": (figures_systems.differences, table("systems")),
        "exceeding": (figures_systems.exceeding, table("exceeding")),
        "exceeding-bases": (figures_systems.exceeding_by_base, table("exceeding")),
        "variations": (figures_systems.variations, table("variations")),
        "scorings": (figures_systems.scorings, scorings),
    }
    return {
        name: partial(chart, rows)
        for name, (chart, rows) in of.items()
        if rows is not None or (name == "one-by-one" and alone[1] is not None)
    }


def said(line: str) -> list[str]:
    """Return the numbers of a claim's line one by one, each with why it decides nothing."""
    text = re.sub(r" x (?=\d)", " × ", line)
    found: list[str] = []
    for piece in text.split("; "):
        if found and "(claimed" not in piece:
            found[-1] += f"; {piece}"
        else:
            found.append(piece)
    return found


def remarks(table: "pd.DataFrame | None") -> list[str]:
    """Return what the notes of a table say, each once."""
    if table is None or "note" not in table:
        return []
    return [note for note in dict.fromkeys(table["note"]) if isinstance(note, str) and note]


def compared(scores: "pd.DataFrame") -> list[Style]:
    """Return the systems that were read, as the page's key names them."""
    present = set(scores["system"])
    return [system_styles.style_of_system(name) for name in SYSTEMS if name in present]


def sent(prompts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the prompts by system, each with its mark; a system's own come before varied ones."""
    found: dict[str, dict[str, Any]] = {}
    for prompt in prompts:
        style = system_styles.style_of_system(prompt["system"])
        own = found.setdefault(style.label, {"style": style, "prompts": []})
        own["prompts"].append({
            **prompt,
            "output": prompt.get("output") or "",
            "answer": prompt.get("answer") or "",
        })  # fmt: skip
    return found


def _tables(
    report: StudyReport, scores: "pd.DataFrame | None", points: "pd.DataFrame | None"
) -> dict[str, Any]:
    """Return the page's tables by name; those it does not know come under "others"."""
    table, cells = report.table, report.cells
    return {
        "claims": tabled.claims(report.claims),
        "bases": None if points is None else tabled.bases(points, cells),
        "pairs": None if points is None else tabled.pairs(points),
        "relations": tabled.relations(table("relations")),
        "per_task": tabled.per_task(table("per_task")),
        "per_model": tabled.per_model(table("per_model")),
        "attribution": tabled.attribution(table("attribution")),
        "mixed": tabled.mixed_effects(table("mixed_effects")),
        "exposure": tabled.exposure(table("exposure")),
        "mediation": tabled.mediation(table("mediation")),
        "clusters": None if scores is None else tabled.clusters(figures_systems.by_cluster(scores)),
        "systems": tabled.systems(table("systems")),
        "exceeding": tabled.exceeding(table("exceeding"), "task", "exceeding"),
        "exceeding_bases": tabled.exceeding(table("exceeding"), "base and task", "exceeding-bases"),
        "variations": tabled.variations(table("variations")),
        "scorings": None if scores is None else tabled.scorings(figures_systems.by_scoring(scores)),
        **other_tables(report.tables, KNOWN, cells),
    }
