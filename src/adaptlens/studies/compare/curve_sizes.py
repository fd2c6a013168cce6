"""Which numbers of examples a learning curve can have in so much time, before anything is run.

Numbers double, 2, 4, 8, ..., as far as training files and the models' contexts go; what each takes
is what `plan` predicts of its cells.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adaptlens.cells import Study
from adaptlens.errors import UserError
from adaptlens.formatting import duration, listed
from adaptlens.models import shape
from adaptlens.prompts import render, selection
from adaptlens.report.tables import Entry, Table
from adaptlens.studies.compare.config import CompareConfig

LEAST_SIZES = 3
"""Fewer sizes are no curve that goes beyond them."""
CONTEXT_SHARE = 0.9
"""How much of the context the prompt of one item may take, since others are longer."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class CurveSizes:
    """What curves of more and more numbers of examples take.

    Attributes:
        minutes: that there are.
        rows: for each curve that begins at 2 examples, its numbers of `examples`, 0 among them, the
            `seconds` that all its cells take, and whether it `fits` the time.
        ends: why there are no larger numbers.
    """

    minutes: float
    rows: tuple[dict[str, Any], ...]
    ends: str

    def line(self) -> str:
        """Return the longest curve that fits, as an option, and what the next would take."""
        have = duration(60 * self.minutes)
        fitting = [row for row in self.rows if row["fits"]]
        longer = [row for row in self.rows if not row["fits"]]
        if not fitting:
            return (
                f"no curve of {LEAST_SIZES} numbers of examples fits {have}: the shortest takes "
                f"about {duration(longer[0]['seconds'])}; fewer draws or queries, --no-search, or "
                "one rate take less"
            )
        best, then = fitting[-1], self.ends
        if longer:
            then = f"up to {longer[0]['examples'][-1]}, {duration(longer[0]['seconds'])}"
        return (
            f"--shots {_option(best['examples'])} fits {have}: about {duration(best['seconds'])}; "
            f"{then}"
        )

    def table(self) -> Table:
        """Return the rows as a table, the line below it."""
        headings = (("a curve over", False), ("time", True), (f"fits {self.minutes:g} min", False))
        entries = tuple(
            (
                Entry(f"--shots {_option(row['examples'])}"),
                Entry(duration(row["seconds"])),
                Entry("yes" if row["fits"] else "no"),
            )
            for row in self.rows
        )
        return Table("curve", "a learning curve", headings, entries, note=self.line())


def curve_sizes(
    config: CompareConfig,
    minutes: float,
    plan: Callable[[CompareConfig], Study],
    seconds_of: Callable[[Study, CompareConfig], Sequence[float]],
) -> CurveSizes:
    """Return what curves take, and which fit.

    Args:
        config: the comparison; its shots and sizes are replaced.
        minutes: that there are.
        plan: makes the cells of a comparison.
        seconds_of: returns what each condition of a plan takes, in the order of its groups.

    Raises:
        UserError: training files or contexts have no room for three numbers of examples.
    """
    first = plan(replace(config, shots=(0,), sizes=None, gates=()))
    sizes, ends = _doublings(first)
    if len(sizes) < LEAST_SIZES:
        raise UserError(
            f"--curve: a curve takes {LEAST_SIZES} numbers of examples, {listed(['2', '4', '8'])}; "
            f"{ends}; give more data, or a model with a longer context."
        )
    asked = replace(config, shots=(0, *sizes), sizes=None, gates=())
    study = plan(asked)
    examples = {
        group: int(cell.adaptation.arguments.get("examples", 0))
        for group, cell in zip(study.groups(), study.cells, strict=True)
    }
    each = list(zip(examples.values(), seconds_of(study, asked), strict=True))
    rows = []
    for number in range(LEAST_SIZES, len(sizes) + 1):
        seconds = sum(took for size, took in each if size <= sizes[number - 1])
        fits = seconds <= 60 * minutes
        rows.append({"examples": [0, *sizes[:number]], "seconds": seconds, "fits": fits})
    return CurveSizes(minutes, tuple(rows), ends)


def _doublings(study: Study) -> tuple[tuple[int, ...], str]:
    """Return 2, 4, 8, ... as far as there is room, and what ends them."""
    fewest = min(study.tasks.values(), key=lambda task: len(task.train))
    ends = f"the training split of task '{fewest.name}' has {len(fewest.train)} examples"
    sizes = []
    size = 2
    while size <= len(fewest.train):
        if full := _too_long(study, size):
            ends = full
            break
        sizes.append(size)
        size *= 2
    return tuple(sizes), ends


def _too_long(study: Study, size: int) -> str:
    """Return whose context a prompt with so many demonstrations would fill; "" if none's."""
    for name, source in study.sources.items():
        context = shape.context_tokens(source)
        for task in study.tasks.values():
            demos = selection.demonstrations(task, 0, size)
            text = render.render(task, demos, task.test[0]).text
            (tokens,) = shape.token_counts(source, [text])
            if context is not None and tokens > CONTEXT_SHARE * context:
                return (
                    f"{size} demonstrations of task '{task.name}' fill the context of '{name}' "
                    f"({context:,} tokens)"
                )
    return ""


def _option(examples: Sequence[int]) -> str:
    return ",".join(map(str, examples))
