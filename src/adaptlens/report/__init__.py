"""Reports: each study as one self-contained HTML page, with its figures beside it."""

from adaptlens.report.comparison import Report, html, markdown, write
from adaptlens.report.convergence import ConvergenceReport
from adaptlens.report.convergence import html as convergence_html
from adaptlens.report.convergence import write as write_convergence
from adaptlens.report.implicit import html as implicit_html
from adaptlens.report.implicit import write as write_implicit
from adaptlens.report.limits import html as limits_html
from adaptlens.report.limits import write as write_limits
from adaptlens.report.study import StudyReport

__all__ = [
    "ConvergenceReport",
    "Report",
    "StudyReport",
    "convergence_html",
    "html",
    "implicit_html",
    "limits_html",
    "markdown",
    "write",
    "write_convergence",
    "write_implicit",
    "write_limits",
]
