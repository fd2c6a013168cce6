"""From stored answers and patched runs to the tables and claims of the implicit study."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptlens import columns
from adaptlens.conditions import Condition
from adaptlens.report.labels import Shown
from adaptlens.stats.hypotheses import Hypothesis, judged
from adaptlens.store import Run
from adaptlens.studies import recipe
from adaptlens.studies.implicit.circuit_conditions import circuits_of
from adaptlens.studies.implicit.circuit_sets import effects
from adaptlens.studies.implicit.circuit_tables import CIRCUIT_TABLES, CircuitTables
from adaptlens.studies.implicit.config import ImplicitConfig
from adaptlens.studies.implicit.shortcut_use import Rows, behaved, elsewhere
from adaptlens.studies.stored import Stored, read, task_notes

if TYPE_CHECKING:
    from adaptlens.studies.implicit.page import ImplicitReport

EVERY_FAMILY = "all families"
TIMES = 10.0
"""How many times more samples count as many more."""
TABLES = ("curves", "shortcut", "needed", "transfer", *CIRCUIT_TABLES)


def analyze(run: Run, overrides: Sequence[str] = ()) -> "ImplicitReport":
    """Return everything the page shows of what the run holds.

    Args:
        run: the run.
        overrides: "path=value" for the settings of the analysis: the margin of the claims.

    Raises:
        UserError: the run holds no such study, none of its cells is done, or an override would
            change what was measured.
    """
    from adaptlens.studies.implicit.page import ImplicitReport

    study: Stored[ImplicitConfig] = read(run, "implicit", overrides)
    found, tasks, config = study.found, study.tasks, study.config
    tables: dict[str, Rows] = {name: [] for name in TABLES}
    labels: dict[str, Shown] = {}
    judged: Rows = []
    for one in behaved(found, tasks, config.seed):
        tables["curves"] += one.curves()
        tables["shortcut"] += one.shortcut()
        tables["needed"] += one.needed()
        judged += _judged([*one.hypotheses()], one.model, one.family, config.margin)
        judged += one.frugality(TIMES)
    mixed, tables["transfer"], claimed = elsewhere(found, tasks, config.seed)
    tables["curves"] += mixed
    for model, hypotheses in claimed.items():
        judged += _judged(hypotheses, model, EVERY_FAMILY, config.margin)
    for studied in circuits_of(found, tasks, config):
        of_circuits = CircuitTables(studied)
        own = of_circuits.tables()
        for name, rows in own.items():
            tables[name] += rows
        labels |= of_circuits.halves(own["shift"])
        judged += of_circuits.claims()
    frames = columns.framed(
        "implicit",
        {
            **tables,
            "effects": effects(found, tasks),
            "claims": judged,
            "recipes": recipe.rows(found, run),
        },
    )
    notes = [*study.notes, *task_notes(tasks.values())]
    notes += [f"{one.model}: {note}" for one in found for note in one.notes]
    families = dict.fromkeys(row["family"] for row in tables["curves"])
    return ImplicitReport(
        title="Does in-context learning find a hidden shortcut that tuning misses? "
        + ", ".join(families or dict.fromkeys(one.task for one in found))
        + f" on {', '.join(dict.fromkeys(one.model for one in found))}",
        claims=judged,
        tables=frames,
        prompts=_prompts(found),
        notes=list(dict.fromkeys(notes)),
        **study.about(labels),
    )


def _judged(hypotheses: Sequence[Hypothesis], model: str, family: str, margin: float) -> Rows:
    """Return the rows of judged hypotheses about a model and family."""
    test = "crossed sign flips over items and draws"
    return [
        {"model": model, "task": family, **one.row(test)}
        for one in judged(hypotheses, margin=margin)
    ]


def _prompts(found: Sequence[Condition]) -> list[Mapping[str, Any]]:
    """Return a prompt of each way of adapting, per model and task, as it was sent."""
    shown: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in found:
        for prompt in one.prompts[:1]:
            key = (one.model, one.task, one.adaptation)
            shown.setdefault(
                key, {"task": one.task, "model": one.model, "condition": one.label, **prompt}
            )
    return list(shown.values())
