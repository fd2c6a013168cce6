"""What a call from Python returns: its report, short where it is shown, whole where it is asked."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.report import in_short
from adaptlens.report.summary import Finding
from adaptlens.report.tables import estimated, number, p_entry

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.engines import Outcome
    from adaptlens.report.images import Wanted


def claims_in_short(claims: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return one row a claim: its verdict, effect with interval and p-value, as texts.

    Model and task have columns where there are several.

    Args:
        claims: as a `report.study_page.StudyReport` has them.
    """
    import pandas as pd

    rows = [
        {
            "model": claim["model"],
            "task": claim["task"],
            "claim": claim["claim"],
            "verdict": claim["state"],
            "effect": estimated(claim["effect"], claim["low"], claim["high"]).text,
            "p (Holm)": p_entry(claim["p_holm"]).text,
            "draws": number(claim["draws"], 1, ",.0f").text,
        }
        for claim in claims
    ]
    names = ("model", "task", "claim", "verdict", "effect", "p (Holm)", "draws")
    table = pd.DataFrame(rows, columns=[*names])
    return table.drop(columns=[n for n in ("model", "task") if table[n].nunique() <= 1])


class Findings(ABC):
    """What every study found.

    Attributes:
        report: everything its page shows.
        outcome: cells finished, found done, and failed with their reasons.
        run_folder: where the run is.
        page: where the page is.
    """

    report: Any
    outcome: "Outcome"
    run_folder: Path
    page: Path

    @property
    def tables(self) -> "Mapping[str, pd.DataFrame]":
        """Every table by its name, with all its columns (docs/tables.md)."""
        tables: Mapping[str, pd.DataFrame] = self.report.tables
        return tables

    @property
    @abstractmethod
    def in_short(self) -> "pd.DataFrame":
        """The numbers in short, as texts, in few columns."""

    def _figures(self) -> "Iterable[Wanted]":
        """Yield the figures that the page has, those to look for first."""
        return ()

    def _findings(self) -> Sequence[Finding]:
        found: Sequence[Finding] = self.report.summary().findings
        return found

    def _title(self) -> str:
        """Return what all findings are about, where that is one thing."""
        return ""

    def _first(self) -> str:
        """Return what has to be known before the findings: that they are of a part of the run."""
        partial = self.report.summary().partial
        return partial.line if partial else ""

    def _words(self) -> Sequence[str]:
        """Return what is said beside the findings."""
        return ()

    def _numbers(self) -> Sequence[str]:
        """Return the numbers in short as texts, for what room is left in a few lines."""
        return ()

    def __repr__(self) -> str:
        """Return the findings in at most ten lines, and where the page is."""
        details = [*self._words(), *self._numbers()]
        return in_short.as_text(
            self._findings(), details, self.page, title=self._title(), first=self._first()
        )

    def _repr_html_(self) -> str:
        """Return the findings, a figure and a short table, for a notebook."""
        return in_short.as_html(
            self._findings(),
            self._words(),
            [*self._figures()],
            self.in_short,
            self.page,
            title=self._title(),
            first=self._first(),
        )
