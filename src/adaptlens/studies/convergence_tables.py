"""From stored states to the tables, claims and page of the convergence study; needs no model."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptlens import claims, layered
from adaptlens.claims import Statement
from adaptlens.config import CONVERGENCE, reanalysed
from adaptlens.errors import UserError
from adaptlens.frames import Condition, conditions
from adaptlens.layered import Likeness
from adaptlens.store import Run
from adaptlens.studies.convergence_behaviour import Behaving
from adaptlens.studies.convergence_factors import Factors
from adaptlens.studies.convergence_pairs import Compared, Rows
from adaptlens.studies.convergence_states import ANCHOR, Inside
from adaptlens.studies.running import STUDY_FILE, UNTRAINED, cell_rows, unfinished

if TYPE_CHECKING:
    from adaptlens.report import ConvergenceReport

LAST = -2
"""The last layer before the final norm."""

TESTS = {
    2: "intersection-union over thirds of the layers, Student's t",
    4: "regression, two-way jackknife, Student's t",
}
"""How the claims of a factor are tested, where it is not by sign flips over queries and draws."""

TABLES = (
    "pairs", "u_shape", "factors", "regression", "behaviour", "pair_behaviour", "lens", "models",
)  # fmt: skip


def analyse(run: Run, overrides: Sequence[str] = ()) -> "ConvergenceReport":
    """Return everything the page shows of what the run holds.

    Args:
        run: the run.
        overrides: "path=value" for the settings of the analysis: what is compared, by which
            measures, and how the claim is judged.

    Raises:
        UserError: the run holds no such study, none of its cells is done, or an override would
            change what was measured.
    """
    import pandas as pd

    from adaptlens.report import ConvergenceReport

    study = run.read_json(STUDY_FILE)
    if study is None or study["name"] != "convergence":
        raise UserError(
            f"run '{run.folder}' holds no convergence study; run `adaptlens study convergence "
            f"--out {run.folder}` first."
        )
    config = reanalysed(CONVERGENCE, study["settings"], overrides)
    settings = {**study["settings"], "measures": config.measures, "claim": dict(config.claim),
                "factors": config.factors}  # fmt: skip
    found = conditions(run, study["cells"])
    if not found:
        raise UserError(
            f"no cell of run '{run.folder}' is done yet; the command that made it finishes them."
        )
    studied: dict[tuple[str, str], OneTask] = {}
    groups: dict[tuple[str, str, str], list[Condition]] = {}
    for one in found:
        groups.setdefault((one.model, one.task, one.task_digest), []).append(one)
    tables: dict[str, Rows] = {name: [] for name in TABLES}
    judged: Rows = []
    points: Rows = []
    prompts: Rows = []
    notes = [*study.get("notes", ()), *unfinished(study["cells"], found)]
    for (model, name, digest), members in groups.items():
        task = run.read_json(f"tasks/{digest[:20]}.json")
        analysed = OneTask(Compared(Inside(model, name, members), settings), task)
        for table, rows in analysed.tables().items():
            tables[table] += rows
        judged += analysed.claims
        studied[model, digest] = analysed
        points += analysed.map()
        prompts += [
            {"task": name, "model": model, "condition": c.label, **prompt}
            for c in members
            for prompt in c.prompts[:1]
        ]
        notes += [f"{name}: {note}" for note in task["notes"]]
        notes += [f"{model}: {note}" for c in members for note in c.notes]
    if "models" in settings["factors"]:
        tables["models"] = _models(tables["pairs"], judged)
        judged += _against_untrained(studied)
    return ConvergenceReport(
        title="Does in-context learning do to hidden states what tuning does? "
        + ", ".join(dict.fromkeys(one.task for one in found)),
        claims=judged,
        tables={name: pd.DataFrame(rows) for name, rows in tables.items()},
        map=pd.DataFrame(points),
        prompts=prompts,
        settings=settings,
        versions=study["versions"],
        cells=pd.DataFrame(cell_rows(found)),
        notes=list(dict.fromkeys(notes)),
    )


class OneTask:
    """One model on one task: its tables, and what becomes of the claims."""

    def __init__(self, compared: Compared, task: Mapping[str, Any]) -> None:
        """Name what is analysed; the tables are made when asked for."""
        self.compared, self.task = compared, task
        self.behaving = Behaving(compared, task["kind"] == "choice")
        self.claims: Rows = []

    def tables(self) -> dict[str, Rows]:
        """Return the rows of every table, and judge the claims on the way."""
        settings, compared = self.compared.settings, self.compared
        wanted = set(settings["factors"])
        factors = Factors(compared, settings["claim"]["measure"])
        tables: dict[str, Rows] = {"pairs": compared.table(), "factors": []}
        statements: list[Statement] = list(factors.pairs()) if "pairs" in wanted else []
        if "layers" in wanted:
            tables["u_shape"], more = factors.layers()
            statements += more
        if "resemblance" in wanted:
            bins, tables["regression"], more = factors.resemblance()
            tables["factors"] += bins
            statements += more
        for factor in ("demonstrations", "labels", "task", "generation", "prompt", "position",
                       "dose"):  # fmt: skip
            asked = factor in wanted and (factor != "generation" or self.task["kind"] != "choice")
            if asked:
                rows, more = getattr(factors, factor)()
                tables["factors"] += rows
                statements += more
        tables["behaviour"] = self.behaving.scores()
        tables["pair_behaviour"] = self.behaving.pairs()
        tables["lens"] = self.behaving.lens()
        self.claims = [*self._implicit_tuning(), *self.judged(statements)]
        return tables

    def map(self) -> Rows:
        """Return the points of the map of states."""
        return self.behaving.map(dict(self.task))

    def excess(self) -> Likeness | None:
        """Return how much more alike ICL and IT are than the anchor and the nearer of the two."""
        icl, it = (self.compared.label(name) for name in ("icl", "it"))
        if not self.compared.inside.has(ANCHOR, icl, it):
            return None
        measure = self.compared.settings["claim"]["measure"]
        both, *anchored = (
            self.compared.inside.likeness(left, right, measure)
            for left, right in ((icl, it), (ANCHOR, icl), (ANCHOR, it))
        )
        nearer = max(anchored, key=lambda one: float(one.values[LAST].mean()))
        values = both.values - nearer.values
        return Likeness(values, both.baseline, both.draws)

    def judged(self, statements: Sequence[Statement]) -> Rows:
        """Return the rows of judged statements about this model and task."""
        margin = self.compared.settings["claim"]["margin"]
        return [
            {
                **self.compared.about,
                "factor": one.statement.factor,
                "claim": one.statement.claim,
                "state": one.state,
                "line": one.line,
                "effect": one.statement.mean.value,
                "low": one.statement.mean.low,
                "high": one.statement.mean.high,
                "p": one.statement.mean.p,
                "p_holm": one.p_holm,
                "test": TESTS.get(one.statement.factor, "crossed sign flips"),
                "queries": one.statement.mean.queries,
                "draws": one.statement.mean.draws,
            }
            for one in claims.judged(statements, margin=margin)
        ]

    def _implicit_tuning(self) -> Rows:
        """Return the main claim, judged over the layers."""
        icl, it = (self.compared.label(name) for name in ("icl", "it"))
        rule = self.compared.settings["claim"]
        control = self.compared.label("it", rule["control"])
        if not self.compared.inside.has(ANCHOR, icl, it, control):
            return []
        measure = rule["measure"]
        pairs = [(icl, it), (ANCHOR, icl), (ANCHOR, it), (icl, control), (ANCHOR, control)]
        likeness = [self.compared.inside.likeness(a, b, measure) for a, b in pairs]
        found = claims.implicit_tuning(*likeness, margin=rule["margin"])
        return [
            {
                **self.compared.about,
                "factor": 1,
                "claim": "in-context learning is implicit instruction tuning",
                "state": found.state,
                "line": found.line,
                "effect": found.effect,
                "low": found.low,
                "high": found.high,
                "p": found.p,
                "p_holm": found.p_holm,
                "test": f"{measure} similarity, control {control}; clusters over layers",
                "queries": found.queries,
                "draws": found.draws,
            }
        ]


def _against_untrained(studied: Mapping[tuple[str, str], OneTask]) -> Rows:
    """Return whether training is what makes ICL and IT alike: models against untrained copies."""
    rows: Rows = []
    for (model, digest), own in studied.items():
        copy = studied.get((f"{UNTRAINED}{model}", digest))
        trained, untrained = own.excess(), copy.excess() if copy else None
        if trained is None or untrained is None:
            continue
        draws = [d for d in trained.draws if d in untrained.draws]
        effect = (
            trained.values[LAST][[trained.draws.index(d) for d in draws]]
            - untrained.values[LAST][[untrained.draws.index(d) for d in draws]]
        )
        claim = "the excess of ICL ~ IT over the anchor is larger than in an untrained copy"
        mean = layered.mean(effect, drawn=True, flips=layered.FLIPS)
        rows += own.judged([Statement(8, claim, 1, mean)])
    return rows


def _models(pairs: Rows, judged: Rows) -> Rows:
    """Return the main pairs at the last layer and the main claim, one row per model and task."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in pairs:
        if row["role"] != "main" or row["is_final"] or row["measure"] not in ("cosine", "centred"):
            continue
        own = rows.setdefault((row["model"], row["task"]), {"model": row["model"],
                                                            "task": row["task"]})  # fmt: skip
        name = f"{row['left'].split('-')[0]} ~ {row['right'].split('-')[0]}"
        own[f"{name}, {row['measure']}"] = row["value"]  # Layers come in order: the last stays.
    for row in judged:
        if row["claim"].startswith("in-context learning is implicit"):
            about = (row["model"], row["task"])
            if about in rows:
                rows[about] |= {"claim": row["state"], "effect": row["effect"]}
    return list(rows.values()) if len({model for model, _ in rows}) > 1 else []
