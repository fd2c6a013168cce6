"""What a person sees in a terminal: progress with an ETA, tables, verdicts."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from adaptlens.cli.printer import Printer, err
from adaptlens.cli.printer import out as out
from adaptlens.cli.scores_table import prompt_lines, scores_table
from adaptlens.formatting import counted, visible

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.cells import Cell
    from adaptlens.studies.compare.page import Report

FEW = re.compile(r"(fewer than \d+ \w+ decide nothing)")
"""How a claim's line says that no number could have decided it."""

MOST_ROWS = 40
"""Of a table that a terminal shows as it is."""

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


class Display:
    """Shows how a study gets on: all cells with an ETA, and the steps of the current one.

    Nothing moves when standard error is not a terminal; then each finished cell is one line.
    """

    def __init__(self) -> None:
        self._console = err()
        self._moving = self._console.is_terminal
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", justify="left", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._moving,
            transient=True,
        )
        self._cells: TaskID | None = None
        self._steps: TaskID | None = None
        self._total = 0
        self._done = 0
        self._holders = ""

    def __enter__(self) -> "Display":
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing and leave the terminal clean."""
        self._progress.stop()

    def begin(self, total: int, done: int) -> None:
        """Show the number of cells; cells done before do not count towards the ETA."""
        self._total, self._done = total, done
        if done:
            self._console.print(f"{done} of {total} cells were done before; continuing.")
        self._cells = self._progress.add_task("cells", total=total - done)

    def started(self, cell: "Cell") -> None:
        """Show which cell runs; where several do, the latest."""
        self._clear()
        name = visible(f"{cell.task['name']} {cell.label}")
        self._steps = self._progress.add_task(name, total=None)
        self._name = name

    def progress(self, what: str, done: int, total: int) -> None:
        """Show the current cell's steps."""
        if self._steps is not None:
            self._progress.update(
                self._steps, description=f"{self._name}: {what}", completed=done, total=total
            )

    def finished(self, cell: "Cell") -> None:
        """Count a cell."""
        self._close()
        self._done += 1
        if not self._moving:
            draws = f"{len(cell.draws)} draws" if cell.draws != (-1,) else "no draws"
            self._console.print(
                f"[{self._done}/{self._total}] {cell.model['name']} {cell.task['name']} "
                f"{cell.label} ({draws})"
            )

    def failed(self, cell: "Cell", message: str) -> None:
        """Say that a cell failed."""
        self._close()
        text = f"failed: {cell.model['name']} {cell.task['name']} {cell.label}: {message}"
        self._console.print(Text(text, style="red"))

    def waiting(self, cells: int, holders: str) -> None:
        """Say that other processes hold what is left, and which, once for each change."""
        if not holders or holders == self._holders:
            return
        self._holders = holders
        said = f"waiting for {counted(cells, 'cell')} held by {holders}"
        self._console.print(said, markup=False)
        if self._steps is None:
            self._steps = self._progress.add_task("waiting", total=None)

    def _clear(self) -> None:
        if self._steps is not None:
            self._progress.remove_task(self._steps)
            self._steps = None

    def _close(self) -> None:
        self._clear()
        if self._cells is not None:
            self._progress.advance(self._cells)


def show_report(report: "Report", console: Printer) -> None:
    """Print the scores, the prompts found, the verdicts, and when tuning has paid."""
    accuracy = report.tables["accuracy"]
    for (model, task), rows in accuracy.groupby(["model", "task"], sort=False):
        console.print(scores_table(report, str(model), str(task), rows))
        for line in prompt_lines(report, str(model), str(task)):
            console.print(Text(line))
    for verdict in report.verdicts:
        said = Text(f"{verdict['model']}, {verdict['task']}: ")
        said.append(verdict["line"], style=STATE_STYLE.get(verdict["state"], "bold"))
        console.print(said)
    for line in break_even_lines(report):
        console.print(Text(line))
    for note in report.notes:
        console.print(Text(f"note: {note}", style="dim"))


def break_even_lines(report: "Report") -> list[str]:
    """Return one sentence per verdict: from how many queries on tuning has paid, or why never."""
    return [
        f"{verdict['model']}, {verdict['task']}: {verdict['break_even']}"
        for verdict in report.verdicts
        if verdict.get("break_even")
    ]


def show_convergence(report: Any, console: Printer) -> None:
    """Print the main pairs at the last layer, and every claim of the study with its verdict."""
    pairs = report.tables.get("pairs")
    if pairs is not None and len(pairs):
        for (model, task), rows in pairs.groupby(["model", "task"], sort=False):
            console.print(_last_layer(str(model), str(task), rows))
    show_claims(report, console)


def show_claims(report: Any, console: Printer) -> None:
    """Print every claim of a study with its verdict, and what there is to know about it."""
    short, others = few_units(report.claims)
    for claim in others:
        said = Text(f"{claim['model']}, {claim['task']}, {claim['claim']}: ")
        said.append(claim["state"], style=STATE_STYLE.get(claim["state"], "bold"))
        said.append(f"; {claim['line']}")
        console.print(said)
    for reason, number in short.items():
        said = Text(f"{counted(number, 'claim')}: ")
        said.append("not decided", style=STATE_STYLE["not decided"])
        said.append(f"; {reason}; the page and --json have their numbers")
        console.print(said)
    for note in report.notes:
        console.print(Text(f"note: {note}", style="dim"))


def show_plain(report: Any, console: Printer) -> None:
    """Print the tables of a study that has no form of its own here, its claims and notes."""
    for name, table in report.tables.items():
        if len(table):
            console.print(rows_table(name, table.head(MOST_ROWS).to_dict("records")))
        if len(table) > MOST_ROWS:
            rest = counted(len(table) - MOST_ROWS, "more row")
            console.print(Text(f"{rest}; the page and --json have them", style="dim"))
    show_claims(report, console)


def few_units(
    claims: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, int], list[Mapping[str, Any]]]:
    """Return how many claims are not decided for want of draws, bases or tasks, and the others.

    The number of the first is by its reason, as the claims' own lines say it; a reason that one
    claim alone has stays with it.
    """
    reasons = [
        found[1] if claim["state"] == "not decided" and (found := FEW.search(claim["line"])) else ""
        for claim in claims
    ]
    several = {reason: number for reason, number in Counter(reasons).items() if number > 1}
    several.pop("", None)
    kept = [c for c, reason in zip(claims, reasons, strict=True) if reason not in several]
    return several, kept


def show_implicit(report: Any, console: Printer) -> None:
    """Print accuracy at the chosen numbers of samples, and every claim with its verdict."""
    curves = report.tables.get("curves")
    if curves is not None and len(curves):
        for model, rows in curves.groupby("model", sort=False):
            console.print(_accuracies(str(model), rows))
    show_claims(report, console)


def show_limits(report: Any, console: Printer) -> None:
    """Print how tuned performance relates to in-context performance, and every claim."""
    relations = report.tables.get("relations")
    if relations is not None and len(relations):
        rows = relations[(relations.scoring == "first") & (relations.family == "")]
        console.print(_relations(rows))
    show_claims(report, console)


def _relations(rows: "pd.DataFrame") -> Table:
    """Return Spearman's correlation of tuned and in-context performance, by what is controlled."""
    table = Table(
        title="Tuned zero-shot against the base in context: Spearman's correlation",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("which tasks", "controlled"):
        table.add_column(heading, overflow="fold")
    for heading in ("correlation", "p (Holm)", "ceiling", "bases", "models", "tasks"):
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows[rows.coefficient == "spearman"].itertuples():
        table.add_row(
            str(row.tasks),
            str(row.given),
            f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]",
            f"{row.p_holm:.3f}",
            f"{row.ceiling:.2f}",
            f"{row.bases}",
            f"{row.models}",
            f"{row.num_tasks}",
        )
    return table


def _accuracies(model: str, rows: "pd.DataFrame") -> Table:
    """Return the accuracy of each way of adapting under each condition, in points."""
    table = Table(
        title=f"{model}: accuracy at the number of samples chosen on validation items",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("family", "adapted by"):
        table.add_column(heading, overflow="fold")
    for heading in ("pattern", "misleading", "plain", "samples", "items x draws"):
        table.add_column(heading, justify="right", overflow="fold")
    anchors = rows[rows.method == "zero-shot"]
    kept = rows[rows.chosen.astype(bool)]
    for family, _ in rows.groupby("family", sort=False):
        zero = {r.read: r for r in anchors[anchors.family == family].itertuples()}
        if zero:
            shown = [_interval(zero.get(kind)) for kind in ("pattern", "broken", "broken")]
            one = next(iter(zero.values()))
            table.add_row(str(family), "zero-shot", *shown, "0", f"{one.queries} x {one.draws}")
        for method, some in kept[kept.family == family].groupby("method", sort=False):
            found = {r.condition: r for r in some.itertuples()}
            names = ("pattern", "misleading", "plain")
            counts = ", ".join(dict.fromkeys(f"{found[n].samples:,}" for n in names if n in found))
            one = next(iter(found.values()))
            table.add_row(
                str(family), str(method), *(_interval(found.get(n)) for n in names), counts,
                f"{one.queries} x {one.draws}",
            )  # fmt: skip
    return table


def _interval(row: Any) -> str:
    return "–" if row is None else f"{row.value:.1f} [{row.low:.1f}, {row.high:.1f}]"


def _last_layer(model: str, task: str, rows: "pd.DataFrame") -> Table:
    """Return the similarities of the main pairs out of the last layer, raw and centred."""
    table = Table(
        title=f"{task} on {model}: similarity of states out of the last layer",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("pair", "measure"):
        table.add_column(heading, overflow="fold")
    for heading in ("similarity", "other queries", "noise floor", "queries x draws"):
        table.add_column(heading, justify="right", overflow="fold")
    main = rows[(rows.role == "main") & (rows.position == "last") & ~rows.is_final.astype(bool)]
    main = main[(main.layer == main.layer.max()) & main.measure.isin(["cosine", "centred"])]
    for row in main.itertuples():
        table.add_row(
            f"{row.left} ~ {row.right}",
            str(row.measure),
            f"{_similarity(row.value)} [{_similarity(row.low)}, {_similarity(row.high)}]",
            _similarity(row.baseline),
            _similarity(row.floor),
            f"{row.queries:.0f} x {row.draws:.0f}",
        )
    return table


def _similarity(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def status_table(rows: list[dict[str, Any]], counts: Mapping[Any, int]) -> Table:
    """Return where every cell stands; the caption counts the states."""
    caption = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    table = Table(caption=caption or "no cells", caption_justify="left")
    for name in ("cell", "what", "state", "by", "why"):
        table.add_column(name)
    for row in rows:
        by = f"{row['host']}:{row['pid']}" if row["pid"] else ""
        why = row["error"].strip().splitlines()[-1] if row["error"] else ""
        table.add_row(row["cell"], row["name"], row["state"], by, Text(why))
    return table


def check_table(found: dict[str, Any]) -> Table:
    """Return the held-out check of a reference model."""
    return rows_table(f"held-out check of {found['model']}", found["rows"])


def rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return rows of equal keys as a table."""
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ():
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    return table


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
