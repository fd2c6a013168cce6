"""From stored cells to the tables, verdicts and page of a comparison; needs no model."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptlens import columns
from adaptlens.conditions import Condition
from adaptlens.measure.arrays import stored_by
from adaptlens.metrics import accuracy
from adaptlens.report.labels import Shown
from adaptlens.stats.intervals import comparisons, estimate, pairs_of_interest
from adaptlens.store import Run
from adaptlens.studies import recipe
from adaptlens.studies.compare import (
    across,
    condition_notes,
    curves,
    gates,
    searches,
    served_use,
    side_effect_words,
    side_effects,
)
from adaptlens.studies.compare.across_models import together
from adaptlens.studies.compare.advice import advice, with_crossing
from adaptlens.studies.compare.allowed import allowed
from adaptlens.studies.compare.answers_changed import answers_changed
from adaptlens.studies.compare.arms import Arm, Reading, arms
from adaptlens.studies.compare.config import CompareConfig
from adaptlens.studies.compare.costs import break_even, cost_row
from adaptlens.studies.compare.priced import list_price_notes, prices_of
from adaptlens.studies.compare.verdict import Verdict, verdict
from adaptlens.studies.stored import Stored, read, said_once
from adaptlens.types import Task

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.studies.compare.page import Report

MOST_ROWS = 20_000
CHOICE_METRICS: dict[str, accuracy.Rule] = {
    "accuracy": "raw",
    "accuracy_normalized": "bytes",
    "accuracy_corrected": "corrected",
    "accuracy_calibrated": "calibrated",
}
JUDGED = "judged"
"""The metric of choice tasks that the verdict is about: accuracy by the rule that each arm has."""

TABLES = [
    "accuracy",
    "templates",
    "searches",
    "recipes",
    "wordings",
    "baselines",
    "differences",
    "calibration",
    "reliability",
    "cost",
    "break_even",
    "front",
    "gates",
    "side_effects",
    "changed",
    "curves",
    "crossings",
    "measured",
    "served",
]

Rows = list[dict[str, Any]]


def analyze(run: Run) -> tuple["Report", "pd.DataFrame"]:
    """Return everything the page shows of what the run holds, and the table of all answers.

    Raises:
        UserError: the run holds no comparison, or none of its cells is done.
    """
    from adaptlens.studies.compare.page import Report

    study: Stored[CompareConfig] = read(run, "compare")
    tables: dict[str, Rows] = {name: [] for name in TABLES}
    verdicts, prompts, answers = [], [], []
    labels: dict[str, Shown] = {}
    notes = [*study.notes]
    every = judged_of(study)
    for judged in every:
        for table, rows in judged.tables().items():
            tables[table] += rows
        tables["recipes"] += recipe.rows(judged.members, run)
        tables["wordings"] += recipe.wordings(judged.task, judged.model)
        labels |= {arm.label: arm.shown for arm in judged.arms}
        verdicts.append(judged.verdict_row())
        prompts += judged.prompts()
        answers += judged.answers()
        notes += judged.notes()
    verdicts = across.corrected(verdicts)
    fronts = together(every)
    tables["front"] = [row for one in fronts for row in one.rows]
    notes += [note for one in fronts for note in one.notes]
    notes = [*across.said(verdicts), *notes, *list_price_notes(study.config.prices)]
    if len(answers) > MOST_ROWS:
        notes.append(
            f"the page lists the first {MOST_ROWS:,} of {len(answers):,} answers (draw by draw); "
            "all of them are in tables/answers.parquet"
        )
    answers.sort(key=lambda row: row["draw"])
    framed = columns.framed("compare", {**tables, "verdicts": verdicts, "answers": answers})
    every_answer = framed.pop("answers")
    report = Report(
        title=f"Prompt or tune? {_names(every)}",
        verdicts=verdicts,
        tables=framed,
        prompts=prompts,
        per_query=every_answer[:MOST_ROWS],
        fronts=[(one.advice, one.line) for one in fronts if one.line],
        notes=said_once(notes, [judged.name for judged in every]),
        **study.about(labels),
    )
    return report, every_answer


def judged_of(study: Stored[CompareConfig]) -> "list[Judged]":
    """Return every model on every task of a comparison, judged."""
    return [
        Judged(model, name, study.tasks[digest], members, study.config)
        for (model, name, digest), members in study.by_task().items()
    ]


def _names(every: "Sequence[Judged]") -> str:
    """Return the tasks and the models: "a, b on m"."""
    tasks, models = (
        dict.fromkeys(names) for names in zip(*((j.name, j.model) for j in every), strict=True)
    )
    return f"{', '.join(tasks)} on {', '.join(models)}"


class Judged:
    """One model on one task: every condition's scores, and what follows from them."""

    def __init__(
        self,
        model: str,
        name: str,
        task: Task,
        members: Sequence[Condition],
        config: CompareConfig,
    ) -> None:
        """Score every condition by every metric."""
        self.model, self.name, self.task, self.config = model, name, task, config
        self.members = list(members)
        self.is_choice = task.kind == "choice"
        self.metric = JUDGED if self.is_choice else "chrf"
        self.readings = {condition.label: Reading(condition, task) for condition in self.members}
        self.arms = arms(self.members, task, config, "chrf")
        self.scores = {arm.label: arm.scores for arm in self.arms if not arm.condition.control}
        self.baselines = self._baselines()
        asked = {arm.label for arm in self.arms if not arm.condition.is_recorded}
        self.verdict: Verdict = verdict(
            {label: scores for label, scores in self.scores.items() if label in asked},
            kind=task.kind,
            baselines=self.baselines,
            margin=config.margin,
            seed=config.seed,
        )
        self.changes = side_effects.changes(
            self.arms, task, self.verdict, margin=config.margin, seed=config.seed
        )
        self.curves = curves.ways(self.arms)
        self.crossing = curves.crossing(self.curves, self.arms, self.verdict, len(task.train))
        self.prices = prices_of(config.prices, model)
        self.break_even = break_even(self.arms, self.verdict, self.prices)

    def _arrays(self, condition: Condition) -> dict[str, np.ndarray]:
        return self.readings[condition.label].arrays()

    def _baselines(self) -> dict[str, np.ndarray]:
        """Return what answering without reading, or without changing the text, scores."""
        if self.is_choice:
            golds = [example.target for example in self.task.test]
            known = [example.target for example in self.task.train] or golds
            label, values = accuracy.majority(known, golds)
            floor = accuracy.chance(self._arrays(self.members[0]))
            return {"chance": floor, f"majority '{label}'": values}
        from sacrebleu.metrics import CHRF

        chrf = CHRF()
        copied = [chrf.sentence_score(e.input, [e.target]).score for e in self.task.test]
        return {"copying the input": np.array(copied) / 100}

    def tables(self) -> dict[str, Rows]:
        """Return the rows of this model and task for every table of the report."""
        tables = {
            "accuracy": self._accuracy(),
            "templates": self._templates(),
            "searches": self._searches(),
            "baselines": [
                {
                    "task": self.name,
                    "metric": self.metric,
                    "name": name,
                    "value": float(values.mean()) * self._scale(self.metric),
                }
                for name, values in self.baselines.items()
            ],
            "differences": self._differences(),
            "calibration": [],
            "reliability": [],
            "cost": [
                {**self._about(arm.condition), "condition": arm.label, **cost_row(arm, self.prices)}
                for arm in self.arms
                if not arm.condition.is_recorded
            ],
            "break_even": [
                {"task": self.name, "model": self.model, **row} for row in self.break_even.rows
            ],
            "gates": self._gates(),
            "side_effects": self._named(side_effects.rows(self.changes)),
            "changed": self._named(answers_changed(self.arms, self.readings)),
            "curves": self._named(curves.rows(self.curves, self.metric)),
            "crossings": self._named(
                [self.crossing.row(self.metric)] if self.crossing.line else []
            ),
            "measured": self._measured(),
            "served": served_use.rows(self.members),
        }
        if self.is_choice:
            for condition in self.members:
                if "written" in self.readings[condition.label].rules():
                    continue
                row, bins = self._calibration(condition)
                tables["calibration"].append(row)
                tables["reliability"] += bins
        return tables

    def _gates(self) -> Rows:
        """Return whether each gate was passed."""
        asked = [gates.parse(text) for text in self.config.gates]
        every = {arm.label: arm.scores for arm in self.arms}
        return self._named(gates.judged(asked, every, self.baselines, seed=self.config.seed))

    def _named(self, rows: Rows) -> Rows:
        return [{"task": self.name, "model": self.model, **row} for row in rows]

    def _measured(self) -> Rows:
        """Return the means of what was measured besides answers and cost, over all but draws."""
        rows = []
        for condition, measurement in itertools.product(self.members, self.config.measurements):
            for name, array in stored_by(measurement, condition.arrays).items():
                by_draw = array.reshape(len(condition.draws), -1).mean(1)
                rows.append(
                    {
                        **self._about(condition),
                        "measurement": measurement,
                        "array": name,
                        "mean": float(by_draw.mean()),
                        "lowest": float(by_draw.min()),
                        "highest": float(by_draw.max()),
                        "draws": len(condition.draws),
                    }
                )
        return rows

    def _about(self, condition: Condition) -> dict[str, Any]:
        return {"task": self.name, "model": self.model, "condition": condition.label}

    @staticmethod
    def _scale(metric: str) -> float:
        return 100.0 if metric == "chrf" else 1.0

    def _accuracy(self) -> Rows:
        return [row for arm in self.arms for row in self._scored(arm)]

    def _scored(self, arm: Arm) -> Rows:
        """Return an arm's score by the rule that judges it, and by every other rule."""
        condition, reading = arm.condition, self.readings[arm.condition.label]
        by_metric = {self.metric: arm.scores}
        if self.is_choice and not arm.templates:
            rules = reading.rules()
            fixed = {name: rule for name, rule in CHOICE_METRICS.items() if rule in rules}
            for name, rule in fixed.items():
                by_metric[name] = replace(arm.scores, values=reading.shaped("accuracy", rule))
        elif not self.is_choice and not arm.templates:
            by_metric["exact"] = replace(arm.scores, values=reading.shaped("exact"))
        rows = []
        for metric, scores in by_metric.items():
            score = estimate(scores, seed=self.config.seed)
            scale, worst = self._scale(metric), score.worst_draw
            rows.append(
                {
                    **self._about(condition),
                    "condition": arm.label,
                    "adaptation": arm.shown.look,
                    "examples": condition.examples,
                    "metric": metric,
                    "value": score.value * scale,
                    "low": score.low * scale,
                    "high": score.high * scale,
                    "rule": arm.rule if metric == self.metric else CHOICE_METRICS.get(metric, ""),
                    "queries": score.queries,
                    "draws": score.draws,
                    "templates": len(scores.templates) or 1,
                    "template": ", ".join(dict.fromkeys(arm.templates)),
                    "worst_draw": np.nan if worst is None else worst * scale,
                    "collapsed": score.collapsed,
                    "cell": " ".join(dict.fromkeys(condition.cells)),
                }
            )
        return rows

    def _templates(self) -> Rows:
        """Return every arm's score under each template, by the rule that judges the arm."""
        rows = []
        for arm in self.arms:
            for place, name in enumerate(arm.scores.templates):
                alone = replace(arm.scores, values=arm.scores.values[place], templates=())
                score = estimate(alone, seed=self.config.seed)
                scale = self._scale(self.metric)
                rows.append(
                    {
                        **self._about(arm.condition),
                        "template": name,
                        "metric": self.metric,
                        "rule": arm.rule,
                        "value": score.value * scale,
                        "low": score.low * scale,
                        "high": score.high * scale,
                        "draws": score.draws,
                        "queries": score.queries,
                    }
                )
        return rows

    def _searches(self) -> Rows:
        """Return what each search for a prompt chose, and what it cost."""
        return [
            {**self._about(condition), **row}
            for condition in self.members
            for row in searches.rows(condition, self.task, self.config)
        ]

    def _differences(self) -> Rows:
        config = self.config
        every = {arm.label: arm.scores for arm in self.arms}
        pairs = [*pairs_of_interest(self.scores), *self._held_against()]
        differences = comparisons(every, pairs, margin=config.margin, seed=config.seed)
        scale = self._scale(self.metric)
        scaled = ("difference", "low", "high", "detectable", "margin")
        return [
            {
                "task": self.name,
                "model": self.model,
                "metric": self.metric,
                **{
                    name: value * scale if name in scaled else value
                    for name, value in asdict(difference).items()
                    if name != "warnings"
                },
            }
            for difference in differences
        ]

    def _held_against(self) -> list[tuple[str, str]]:
        """Return each arm that was brought with its controls; one recorded, with zero-shot."""
        recorded = [(c.label, "zero-shot") for c in self.members if c.is_recorded]
        own = {c.arguments["arm"]: c.label for c in self.members if "arm" in c.arguments
               and not c.control}  # fmt: skip
        controls = [(own[c.arguments["arm"]], c.label) for c in self.members if c.control]
        return [*controls, *(pair for pair in recorded if pair[1] in self.scores)]

    def _calibration(self, condition: Condition) -> tuple[dict[str, Any], Rows]:
        arrays = self._arrays(condition)
        loglik, gold = arrays["loglik"], arrays["gold"]
        stated, right = accuracy.confidence(loglik), accuracy.correct(arrays)
        calibration = accuracy.calibration(stated, right, seed=self.config.seed)
        row = {
            **self._about(condition),
            "brier": float(accuracy.brier(loglik, gold).mean()),
            "ece": calibration.ece,
            "ece_if_calibrated": calibration.ece_if_calibrated,
            "ece_p": calibration.ece_p,
            "answer_loglik": float(accuracy.answer_loglik(loglik, gold).mean()),
        }
        bins = [{**self._about(condition), **b} for b in accuracy.reliability(stated, right)]
        return row, bins

    def verdict_row(self) -> dict[str, Any]:
        """Return the verdict and what it rests on."""
        but = side_effect_words.but(self.changes, self.verdict, self.arms)
        said = advice(self.verdict, self.arms, self.break_even, self.task.kind)
        said = with_crossing(said, self.verdict, self.crossing)
        return {
            "task": self.name,
            "model": self.model,
            "line": f"{self.verdict.line}; {but}" if but else self.verdict.line,
            "state": self.verdict.state,
            "prompt": self.verdict.prompt,
            "tuned": self.verdict.tuned,
            "advice": f"{said} B{but[1:]}." if but else said,
            "selection": self.verdict.selection,
            "allowed": allowed(self.members, self.task, self.config),
            "side_effects": side_effect_words.line(self.changes),
            "break_even": self.break_even.line,
            "crossing": self.crossing.line,
            "p": across.claimed_p(self.verdict),
        }

    def notes(self) -> list[str]:
        """Return what a reader must know, each sentence naming the task."""
        warned = [text for text in self.verdict.warnings if text not in self.verdict.line]
        said = [f"{self.name}: {note}" for note in (*self.task.notes, *warned)]
        said += served_use.notes(self.members)
        for condition in self.members:
            said += condition_notes.notes(condition, self.name, self.model)
        return said + condition_notes.other_rules(self.arms, self.name)

    def prompts(self) -> Rows:
        """Return prompts as sent: of every condition, and of arms at the template chosen for them.

        A condition's are those of its first template; of the chosen ones, the first draw's.
        """
        found = []
        for condition in self.members:
            sent = condition.prompts
            first = [one for one in sent if one.get("template", "") == sent[0].get("template", "")]
            found += [{**self._about(condition), **prompt} for prompt in first]
            chosen = [arm for arm in self.arms if arm.condition is condition and arm.templates]
            found += [
                {**self._about(condition), "condition": arm.label, **prompt}
                for arm in chosen
                for prompt in sent
                if prompt.get("template", "") == arm.templates[0]
            ]
        return found

    def answers(self) -> Rows:
        """Return one row per condition, template, draw and query."""
        rows = []
        for condition in self.members:
            given = list(self._choices(condition) if self.is_choice else self._texts(condition))
            read = [
                (name, draw) for name in condition.templates or ("",) for draw in condition.draws
            ]
            for (template, draw), answers in zip(read, given, strict=False):
                for example, (answer, right, margin) in zip(self.task.test, answers, strict=True):
                    rows.append(
                        {
                            **self._about(condition),
                            "template": template,
                            "draw": draw,
                            "query": example.id,
                            "input": example.input,
                            "gold": example.target,
                            "answer": answer,
                            "correct": right,
                            "margin": margin,
                        }
                    )
        return rows

    def _choices(self, condition: Condition) -> Iterable[list[tuple[str, bool, float]]]:
        """Yield what was answered by log-likelihood as it is, template by template."""
        arrays = self._arrays(condition)
        options = [example.choices or self.task.choices for example in self.task.test]
        chosen = accuracy.predictions(arrays)
        scored = "loglik" in arrays
        margin = accuracy.margins(arrays) if scored else np.full(chosen.shape, np.nan)
        for row, gaps in zip(chosen, margin, strict=True):
            yield [
                (
                    options[i][c] if c >= 0 else "",
                    bool(c == arrays["gold"][i]),
                    round(float(g), 4),
                )
                for i, (c, g) in enumerate(zip(row, gaps, strict=True))
            ]

    def _texts(self, condition: Condition) -> Iterable[list[tuple[str, bool, float]]]:
        """Yield what was written under the first template."""
        arrays = self._arrays(condition)
        for outputs, exact, chrf in zip(
            condition.outputs, arrays["exact"], arrays["chrf"], strict=False
        ):
            yield [
                (text, bool(e), round(float(c), 2))
                for text, e, c in zip(outputs, exact, chrf, strict=True)
            ]
