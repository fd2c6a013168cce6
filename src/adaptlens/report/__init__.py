"""Reports: each study as one self-contained HTML page, with its figures beside it."""

from adaptlens.report.comparison import Report, html, markdown, write

__all__ = ["Report", "html", "markdown", "write"]
