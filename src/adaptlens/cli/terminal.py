"""What a person sees in a terminal: progress with an ETA, and a report in short."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from adaptlens.report.printer import Printer, err
from adaptlens.report.printer import out as out
from adaptlens.studies.display import Display as Display

if TYPE_CHECKING:
    from adaptlens.report.summary import Summary

STATE_STYLE = {
    "tune": "bold dark_orange",
    "prompt": "bold dodger_blue2",
    "no difference": "bold",
    "undecided": "bold yellow",
    "neither": "bold red",
    "supported": "bold green",
    "refuted": "bold red",
    "not decided": "bold yellow",
}


def show(summary: "Summary", console: Printer) -> None:
    """Print a report in short: its tables, every verdict, and what there is to know about them.

    First of all, where it is so, that it is of a part of the run.
    """
    if summary.partial:
        console.print(Text(summary.partial.line, style="bold yellow"))
    for table in summary.tables:
        console.table(table)
    for finding in summary.findings:
        said = Text(f"{finding.about}: ")
        said.append(finding.state, style=STATE_STYLE.get(finding.state, "bold"))
        said.append(finding.line)
        console.print(said)
    for line in summary.lines:
        console.print(Text(line), soft_wrap=_is_copied(line))
    for note in summary.notes:
        console.print(Text(f"note: {note}", style="dim"), soft_wrap=_is_copied(note))


def _is_copied(line: str) -> bool:
    """Whether a line names options, so that only the terminal may break it: it copies it whole."""
    return " --" in line


@contextmanager
def training_bar(name: str) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a progress callback for pretraining: a bar with ETA, or a line now and then."""
    console = err()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(name, total=None)

        def progress(done: int, total: int, words: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{name} {words}"[:60])
            if not console.is_terminal and (done % 100 == 0 or done == total):
                console.print(f"step {done} of {total}: {words}")

        yield progress
