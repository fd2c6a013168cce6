"""Reports: each study as one self-contained HTML page, with its figures beside it."""

from adaptlens.report.comparison import Report, html, markdown, write
from adaptlens.report.convergence import ConvergenceReport
from adaptlens.report.convergence import html as convergence_html
from adaptlens.report.convergence import write as write_convergence

__all__ = [
    "ConvergenceReport",
    "Report",
    "convergence_html",
    "html",
    "markdown",
    "write",
    "write_convergence",
]
