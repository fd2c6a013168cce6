"""How many draws and queries a comparison needs to find a difference of so many points.

What the error comes from is taken from a comparison that was made (`like`), or else from those of
a small real model, see `TYPICAL`. Draws and queries then change, and what an arm's draws vary by,
what queries differ by, and what is left stay as they were.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptlens.errors import UserError
from adaptlens.formatting import fixed
from adaptlens.report.tables import Entry, Table, number
from adaptlens.stats.crossed import Expected, MeanSquares
from adaptlens.stats.difference_tests import DifferenceTest
from adaptlens.stats.intervals import MINIMUM_DRAWS, paired_test
from adaptlens.stats.sample_size import MOST_DRAWS, SampleSize
from adaptlens.stats.unseen_draws import UnseenDraws
from adaptlens.store import Run
from adaptlens.studies.compare.analyze import judged_of
from adaptlens.studies.stored import read

QUERIES = (50, 100, 200, 400, 800, 1600)
ALPHA = 0.05


@dataclass(frozen=True)
class Spread:
    """What the difference of a prompted and a tuned arm varies by, as fractions of 1.

    Attributes:
        query: standard deviation of queries' own differences.
        draw: that of draws.
        rest: that of what is left of a single answer.
        drop: what a failed draw loses.
    """

    query: float
    draw: float
    rest: float
    drop: float


TYPICAL = Spread(query=0.35, draw=0.05, rest=0.50, drop=0.30)
"""About what pairs on SmolLM2-135M varied by: docs/methods.md, section 26."""

TYPICAL_PAIR = "a pair that varies as on SmolLM2-135M (--like RUN: as in a comparison of yours)"


def size_of(spread: Spread, *, margin: float) -> SampleSize:
    """Return how a pair with this spread, which is taken as known, looks at other numbers."""
    draws, queries = 1_000, 10_000
    rest = spread.rest**2 / (draws * queries)
    squares = MeanSquares(
        queries,
        (draws,),
        spread.query**2 / queries + rest,
        (spread.draw**2 / draws + rest,),
        (rest,),
    )
    unseen = UnseenDraws(draws, 0, spread.drop)
    none = UnseenDraws()
    return SampleSize(
        DifferenceTest(Expected(0.0, squares), unseen, none, margin, ALPHA, True, queries)
    )


def sizes_of(run: Run) -> dict[str, SampleSize]:
    """Return the pair of every verdict of a comparison, by model and task.

    Raises:
        UserError: the run holds no comparison of a prompted and a tuned arm with draws.
    """
    found: dict[str, SampleSize] = {}
    for one in judged_of(read(run, "compare")):
        arms = {arm.label: arm.scores for arm in one.arms}
        judged = [arms[name] for name in (one.verdict.tuned, one.verdict.prompt) if name in arms]
        if len(judged) == 2 and any(scores.is_drawn for scores in judged):
            left, right = judged
            names = (one.verdict.tuned, one.verdict.prompt)
            _, test = paired_test(
                left, right, names, one.config.margin / 100, ALPHA, one.config.seed
            )
            found[f"{one.model}, {one.name}: {names[0]} against {names[1]}"] = SampleSize(
                test, max(left.pool_share, right.pool_share)
            )
    if not found:
        raise UserError(
            f"run '{run.folder}' has no verdict about a prompted and a tuned arm of which one has "
            "draws; give a run of `adaptlens compare` that is done."
        )
    return found


@dataclass(frozen=True)
class Design:
    """What numbers of draws and queries find.

    Attributes:
        pair: the two arms whose answers vary so, or what stands in for them.
        points: the difference to find.
        draws: that are planned.
        rows: for each number of `queries`, whether it is `planned`, the difference in points that
            is `detectable` with these draws, and the `draws_needed` to find `points`, if any do.
    """

    pair: str
    points: float
    draws: int
    rows: tuple[dict[str, Any], ...]

    def line(self) -> str:
        """Return what the planned design finds, and the least work that finds so many points."""
        (planned,) = [row for row in self.rows if row["planned"]]
        said = (
            f"{self.draws} draws x {planned['queries']:,} queries find a difference of "
            f"{fixed(planned['detectable'])} points in 80 of 100 runs"
        )
        enough = [row for row in self.rows if row["draws_needed"] is not None]
        if planned["detectable"] <= self.points:
            return said
        if not enough:
            return (
                f"{said}; up to {MOST_DRAWS:,} draws with up to {self.rows[-1]['queries']:,} "
                f"queries do not find {self.points:g}"
            )
        least = min(enough, key=lambda row: row["draws_needed"] * row["queries"])
        more = " (more test items than are planned)"
        return (
            f"{said}; {self.points:g} points take {least['draws_needed']:,} draws x "
            f"{least['queries']:,} queries{more * (least['queries'] > planned['queries'])}"
        )

    def table(self) -> Table:
        """Return the rows as a table, the line below it."""
        headings = (
            ("queries", True), (f"{self.draws} draws find, points", True),
            (f"draws that find {self.points:g} points", True),
        )  # fmt: skip
        entries = tuple(
            (
                Entry(f"{row['queries']:,}{' (planned)' if row['planned'] else ''}"),
                number(row["detectable"], 1, ".1f"),
                Entry(f"over {MOST_DRAWS:,}")
                if row["draws_needed"] is None
                else number(row["draws_needed"], 1, ",.0f"),
            )
            for row in self.rows
        )
        return Table("detect", self.pair, headings, entries, note=self.line())


def designs(
    points: float, *, draws: int, queries: int, margin: float, like: Path | None
) -> list[Design]:
    """Return what it takes to find a difference, for each pair of `like`, or for a typical one.

    Args:
        points: the difference to find.
        draws: that are planned.
        queries: test items that are planned; shown beside `QUERIES`.
        margin: differences below it count as none, in points.
        like: the folder of a comparison that was made.

    Raises:
        UserError: that is none.
    """
    sizes = {TYPICAL_PAIR: size_of(TYPICAL, margin=margin / 100)}
    if like is not None:
        sizes = sizes_of(Run.open(like))
    made = []
    for pair, size in sizes.items():
        rows = tuple(
            {
                "queries": many,
                "planned": many == queries,
                "detectable": 100 * size.detectable(draws, many),
                "draws_needed": size.draws_to_detect(points / 100, many, MINIMUM_DRAWS),
            }
            for many in sorted({*QUERIES, queries})
        )
        made.append(Design(pair, points, draws, rows))
    return made
