"""Where the cells of a run stand, and what a plan would do and take, as tables."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.cells import STUDY_FILE, Cell, Study, in_plan
from adaptlens.errors import UserError
from adaptlens.formatting import byte_size, duration, fixed
from adaptlens.report.tables import Entry, Table, text
from adaptlens.store import Damaged, Run
from adaptlens.store.runs import CellStatus
from adaptlens.types import NO_DRAWS

if TYPE_CHECKING:
    from adaptlens.studies.compare.curve_sizes import CurveSizes
    from adaptlens.studies.compare.design import Design

Rows = Sequence[Mapping[str, Any]]

PLAN_HEADINGS = {
    "model": "model",
    "task": "task",
    "condition": "condition",
    "measured": "measured",
    "draws": "draws",
    "draws_done": "done",
    "variants_to_tune": "models to tune",
    "prompts": "prompts",
    "prompt_characters": "characters a prompt",
    "state_bytes": "states",
    "seconds": "time",
    "memory_bytes": "memory",
    "disk_bytes": "disk",
}


def plan_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return what would be done, a line per condition; the note sums it up."""
    if not rows:
        return Table("plan", "plan: nothing to do", (), ())
    names = [name for name in PLAN_HEADINGS if name in rows[0]]
    sums = []
    if "state_bytes" in names:
        total = sum(row["state_bytes"] for row in rows)
        sums.append(f"states to store: {byte_size(total)} in all")
    if "seconds" in names:
        left = sum(row["seconds"] * (1 - row["draws_done"] / row["draws"]) for row in rows)
        memory = max(row["memory_bytes"] for row in rows)
        disk = sum(row["disk_bytes"] for row in rows)
        sums.append(
            f"about {duration(left)} to go on one device, {byte_size(memory)} of memory, "
            f"{byte_size(disk)} on disk; tables and page not counted"
        )
    headings = tuple((PLAN_HEADINGS[name], not isinstance(rows[0][name], str)) for name in names)
    entries = tuple(tuple(Entry(_planned(name, row[name])) for name in names) for row in rows)
    return Table("plan", "plan", headings, entries, note="\n".join(sums))


def designs_of(
    study: str, config: Any, planned: Study, points: float | None, like: Path | None
) -> "list[Design]":
    """Return what draws and queries find so many points, for `plan --detect`; none without it.

    Raises:
        UserError: the study is no comparison, or `like` is none that was made.
    """
    if points is None:
        if like is not None:
            raise UserError("--like says how answers vary, for --detect; add --detect POINTS.")
        return []
    if study != "compare":
        raise UserError(
            f"--detect was given for the study '{study}'; expected it with --study compare, whose "
            "verdict is about a difference in points; leave it out."
        )
    from adaptlens.studies.compare.design import designs

    queries = min(len(task.test) for task in planned.tasks.values())
    return designs(points, draws=config.draws, queries=queries, margin=config.margin, like=like)


def curve_of(
    study: str,
    config: Any,
    minutes: float | None,
    plan: Callable[[Any], Study],
    timed: Callable[[Study, Any, Rows], Rows] | None,
) -> "CurveSizes | None":
    """Return which numbers of examples fit so much time, for `plan --curve`; None without it.

    Args:
        study: its name.
        config: its settings.
        minutes: that there are.
        plan: makes its cells.
        timed: returns the rows of a plan with the seconds that each takes; None where models are
            not to be tried out.

    Raises:
        UserError: the study is no comparison, or nothing is tried out, or a curve has no room.
    """
    if minutes is None:
        return None
    if study != "compare":
        raise UserError(
            f"--curve was given for the study '{study}'; expected it with --study compare, whose "
            "curves are over numbers of examples; leave it out."
        )
    if timed is None:
        raise UserError(
            "--curve says what takes how long, so models are tried out; leave out --no-trial."
        )
    from adaptlens.studies.compare.curve_sizes import curve_sizes

    def seconds_of(planned: Study, asked: Any) -> list[float]:
        rows: Rows = [{} for _ in dict.fromkeys(planned.groups())]
        return [row["seconds"] for row in timed(planned, asked, rows)]

    return curve_sizes(config, minutes, plan, seconds_of)


def _planned(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return byte_size(value)
    if name == "seconds":
        return duration(value)
    return value if isinstance(value, str) else f"{value:,.0f}"


def as_planned(run: Run, cells: Sequence[CellStatus]) -> list[tuple[CellStatus, str]]:
    """Return cells in the order of the plan, each with what it is.

    One whose spec is damaged does not say what it is any more, and comes last.
    """
    specs: dict[str, Mapping[str, Any]] = {}
    for one in cells:
        with suppress(Damaged):
            specs[one.id] = run.spec(one.id)
    planned: Sequence[Mapping[str, Any]] = ()
    with suppress(Damaged):
        planned = (run.read_json(STUDY_FILE) or {}).get("cells", ())
    place = in_plan(planned)
    known = sorted((one for one in cells if one.id in specs), key=lambda one: place(specs[one.id]))
    lost = [(one, "") for one in cells if one.id not in specs]
    return [*((one, _name_of(specs[one.id])) for one in known), *lost]


def _name_of(spec: Mapping[str, Any]) -> str:
    of = Cell.of(spec)
    span = "" if of.draws == NO_DRAWS else f" draws {of.draws[0]}-{of.draws[-1]}"
    return f"{of.model.name} {of.task.name} {of.label}{span}"


def status_table(rows: Sequence[Mapping[str, Any]], counts: Mapping[Any, int]) -> Table:
    """Return where every cell stands; the note counts the states."""
    entries = []
    for row in rows:
        by = f"{row['host']}:{row['pid']}" if row["pid"] else ""
        why = row["error"].strip().splitlines()[-1] if row["error"] else ""
        entries.append(tuple(map(text, (row["cell"], row["name"], row["state"], by, why))))
    headings = tuple((name, False) for name in ("cell", "what", "state", "by", "why"))
    note = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    return Table("status", "", headings, tuple(entries), note=note or "no cells")


def rows_table(caption: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return rows of equal keys as a table."""
    first = rows[0] if rows else {}
    headings = tuple((name, not isinstance(value, str)) for name, value in first.items())
    entries = tuple(
        tuple(Entry(fixed(v, 3) if isinstance(v, float) else str(v)) for v in row.values())
        for row in rows
    )
    return Table("rows", caption, headings, entries)
