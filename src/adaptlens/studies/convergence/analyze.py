"""From stored states to the tables, claims and page of the convergence study; needs no model."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptlens import columns
from adaptlens.report.labels import Labels, Shown
from adaptlens.stats import hypotheses as claims
from adaptlens.stats.hypotheses import Hypothesis, Judged
from adaptlens.store import Run
from adaptlens.studies import recipe
from adaptlens.studies.convergence import thirds
from adaptlens.studies.convergence.agreement import Behaving
from adaptlens.studies.convergence.columns import similarity_of
from adaptlens.studies.convergence.condition_pairs import Compared, Rows
from adaptlens.studies.convergence.config import ConvergenceConfig
from adaptlens.studies.convergence.criterion import CLAIM, against_untrained, alone, implicit_tuning
from adaptlens.studies.convergence.factors import Factors
from adaptlens.studies.convergence.stored_states import PROJECTED, WITHIN, Inside
from adaptlens.studies.stored import Stored, read
from adaptlens.studies.wanted import UNTRAINED
from adaptlens.types import Task

if TYPE_CHECKING:
    from adaptlens.studies.convergence.page import ConvergenceReport

TESTS = {
    2: "intersection-union over the upper third less the middle and controls, sign flips",
    4: "regression, two-way jackknife, Student's t",
}
"""How the claims of a factor are tested, where it is not by sign flips over queries and draws."""

ASKED = {WITHIN: ", within an answer", PROJECTED: ", with the answer projected out"}
"""What a claim is about, by the measure that judges it; else about states, answer and all."""

TABLES = (
    "implicit", "pairs", "u_shape", "factors", "regression", "behavior", "pair_behavior", "lens",
    "models",
)  # fmt: skip


def analyze(run: Run, overrides: Sequence[str] = ()) -> "ConvergenceReport":
    """Return everything the page shows of what the run holds.

    Args:
        run: the run.
        overrides: "path=value" for the settings of the analysis: what is compared, by which
            measures, and how the claim is judged.

    Raises:
        UserError: the run holds no such study, none of its cells is done, or an override would
            change what was measured.
    """
    from adaptlens.studies.convergence.page import ConvergenceReport

    study: Stored[ConvergenceConfig] = read(run, "convergence", overrides)
    studied: dict[tuple[str, str], OneTask] = {}
    tables: dict[str, Rows] = {name: [] for name in TABLES}
    labels: dict[str, Shown] = {}
    judged: Rows = []
    points: Rows = []
    prompts: Rows = []
    notes = [*study.notes]
    for (model, name, digest), members in study.by_task().items():
        task = study.tasks[digest]
        inside = Inside(model, name, members, options_of(task))
        analyzed = OneTask(Compared(inside, study.config), task)
        for table, rows in analyzed.tables().items():
            tables[table] += rows
        labels |= inside.labels()
        judged += analyzed.claims
        studied[model, digest] = analyzed
        points += analyzed.map()
        prompts += [
            {"task": name, "model": model, "condition": c.label, **prompt}
            for c in members
            for prompt in c.prompts[:1]
        ]
        notes += [f"{name}: {note}" for note in (*task.notes, alone(analyzed.compared)) if note]
        notes += [f"{model}: {note}" for c in members for note in c.notes]
    if "models" in study.config.factors:
        tables["models"] = _models(tables["pairs"], labels, judged)
        judged += _against_untrained(studied)
    return ConvergenceReport(
        title="Does in-context learning do to hidden states what tuning does? "
        + ", ".join(dict.fromkeys(one.task for one in study.found))
        + f" on {', '.join(dict.fromkeys(one.model for one in study.found))}",
        claims=judged,
        tables=columns.framed(
            "convergence", {**tables, "claims": judged, "recipes": recipe.rows(study.found, run)}
        ),
        map=columns.frame_of(points),
        prompts=prompts,
        notes=list(dict.fromkeys(notes)),
        **study.about(labels),
    )


class OneTask:
    """One model on one task: its tables, and what becomes of the claims."""

    def __init__(self, compared: Compared, task: Task) -> None:
        """Name what is analyzed; the tables are made when asked for."""
        self.compared, self.task = compared, task
        compared.inside.steer(compared.side("it"))
        self.behaving = Behaving(compared, task.kind == "choice")
        self.claims: Rows = []

    def tables(self) -> dict[str, Rows]:
        """Return the rows of every table, and judge the claims on the way."""
        config, compared = self.compared.config, self.compared
        wanted = set(config.factors)
        factors = Factors(compared, config.claim["measure"])
        pairs = compared.table()
        main, beside = implicit_tuning(compared)
        tables: dict[str, Rows] = {"implicit": beside, "pairs": pairs, "factors": []}
        hypotheses: list[Hypothesis] = list(factors.pairs()) if "pairs" in wanted else []
        if "layers" in wanted:
            tables["u_shape"], more = thirds.thirds(factors)
            hypotheses += more
        if "resemblance" in wanted:
            bins, tables["regression"], more = factors.resemblance()
            tables["factors"] += bins
            hypotheses += more
        for factor in ("demonstrations", "labels", "task", "generation", "prompt", "position",
                       "dose"):  # fmt: skip
            asked = factor in wanted and (factor != "generation" or self.task.kind != "choice")
            if asked:
                rows, more = getattr(factors, factor)()
                tables["factors"] += rows
                hypotheses += more
        tables["behavior"] = self.behaving.scores()
        tables["pair_behavior"] = self.behaving.pairs()
        tables["lens"] = self.behaving.lens()
        margin = config.claim["margin"]
        defined = [one for one in hypotheses if math.isfinite(one.mean.value)]
        self.claims = [*main, *self.judged(claims.judged(defined, margin=margin))]
        return tables

    def map(self) -> Rows:
        """Return the points of the map of states."""
        return self.behaving.map(self.task)

    def judged(self, judged: Sequence[Judged]) -> Rows:
        """Return the rows of judged hypotheses about this model and task."""
        asked = ASKED.get(self.compared.config.claim["measure"], "")
        rows: Rows = []
        for one in judged:
            row = one.row(TESTS.get(one.hypothesis.factor, "crossed sign flips"))
            rows.append({**self.compared.about, **row, "claim": row["claim"] + asked})
        return rows


def options_of(task: Task) -> list[tuple[str, ...]]:
    """Return the answers every test query may be given; none of a task whose answers are text."""
    if task.kind != "choice":
        return []
    return [tuple(query.choices or task.choices) for query in task.test]


def _against_untrained(studied: Mapping[tuple[str, str], OneTask]) -> Rows:
    """Return whether training is what makes ICL and IT alike: models against untrained copies."""
    rows: Rows = []
    for (model, digest), own in studied.items():
        if copy := studied.get((f"{UNTRAINED}{model}", digest)):
            found = against_untrained(own.compared, copy.compared)
            rows += own.judged([found]) if found else []
    return rows


def _models(pairs: Rows, labels: Labels, judged: Rows) -> Rows:
    """Return the main pairs at the last layer and the main claim, one row per model and task."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in pairs:
        if (
            row["role"] != "main"
            or row["is_final"]
            or row["measure"] not in (WITHIN, "cosine", "centered")
        ):
            continue
        own = rows.setdefault((row["model"], row["task"]), {"model": row["model"],
                                                            "task": row["task"]})  # fmt: skip
        left, right = (labels[row[side]].adaptation for side in ("left", "right"))
        # Layers come in order: the last stays.
        own[similarity_of(left, right, row["measure"])] = row["value"]
    for row in judged:
        if row["claim"] == CLAIM:
            about = (row["model"], row["task"])
            if about in rows:
                rows[about] |= {"claim": row["state"], "effect": row["effect"]}
    return list(rows.values()) if len({model for model, _ in rows}) > 1 else []
