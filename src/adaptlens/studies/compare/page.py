"""A comparison as one self-contained HTML page, as figures beside it, and in short."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptlens.formatting import counted, percent
from adaptlens.report.charts import WIDE
from adaptlens.report.frame import check_prompts, other_tables, publish, render
from adaptlens.report.images import FORMATS, Figure, Wanted
from adaptlens.report.labels import Labels, in_words
from adaptlens.report.summary import Finding, Partial, Summary
from adaptlens.report.tables import Conditions, embedded, plain
from adaptlens.report.theme import ADAPTATIONS, ORDERS, RULES, in_order, style_of
from adaptlens.studies.compare import figures_templates, gates, score_tables
from adaptlens.studies.compare.curves import LEAST_SIZES
from adaptlens.studies.compare.figures import accuracy_by_examples, reliability
from adaptlens.studies.compare.figures_cost import cost_by_queries
from adaptlens.studies.compare.figures_curves import learning_curves
from adaptlens.studies.compare.figures_differences import (
    by_kind,
    paired_differences,
    shown_first,
)
from adaptlens.studies.compare.figures_front import score_by_cost
from adaptlens.studies.compare.tables import (
    ROLES,
    as_it_is,
    break_evens,
    differences,
    front,
    learned,
    measured,
    side_effects,
)
from adaptlens.studies.compare.verdict import ON_VALIDATION

if TYPE_CHECKING:
    import pandas as pd

STATES = {
    "tune": ("Tune", "▲"),
    "prompt": ("Prompt", "●"),
    "no difference": ("No difference", "="),
    "undecided": ("Undecided", "?"),
    "neither": ("Neither", "∅"),
}
"""What each verdict is called on the page, and a sign that does not depend on color."""

COLUMNS = {
    "accuracy": "task model condition adaptation examples metric value low high rule queries draws "
    "templates template worst_draw cell",
    "templates": "task model condition template metric rule value low high queries draws",
    "searches": "task model condition draw prompt template label_words order rule "
    "validation_accuracy items reads tokens options sent",
    "recipes": "task model condition trained target_modules learning_rates max_steps",
    "wordings": "task model template text",
    "gates": "task model gate passed difference least bound p reason",
    "baselines": "task metric name value",
    "differences": "task model left right metric difference low high p p_holm equivalence_p "
    "detectable queries draws test correction",
    "calibration": "task model condition brier ece answer_loglik",
    "side_effects": "task model set role left right metric value value_low value_high value_right "
    "difference low high p p_holm equivalence_p detectable supports_claims queries draws "
    "correction",
    "changed": "task model condition agreement lost gained rule base_rule",
    "reliability": "task model condition bin_confidence bin_accuracy count",
    "curves": "task model adaptation examples metric measured value low high doublings",
    "crossings": "task model prompt tuned metric prompt_examples prompt_value state low middle "
    "high first last line",
    "cost": "task model condition training_flops training_seconds_amortized query_flops "
    "query_flops_cached query_tokens query_seconds peak_bytes trainable",
    "front": "task model condition metric value low high unit cost cost_cached state against_model "
    "against difference difference_low difference_high p p_holm matched_p queries draws",
    "break_even": "task model prompt_condition tuned_condition serving unit trainer counted "
    "queries low high",
}
"""The columns each table must have. Other tables are shown too, as they are."""


PAIRED = (
    "task", "model", "left", "right", "metric", "difference, points", "p (Holm)",
    "p (equivalence)", "detectable, points", "queries", "draws",
)  # fmt: skip
"""The columns of the table of differences that a text has room for."""


@dataclass(frozen=True, eq=False)
class Report:
    """Everything a report shows.

    Attributes:
        verdicts: for each task and model, `state` (a key of `STATES`), `line`, the sentence, and
            `allowed`, what each side could try, and `break_even`, when tuning pays, a sentence.
        tables: tidy tables, one number a row, with the columns of `COLUMNS`; scores are fractions
            (chrF: 0-100), and `cell` is a cell's id or several. A table that was not measured is
            left out or empty.
        prompts: prompts as sent: task, model, condition, query_id, `parts` of (role, text),
            `answers` and `gold`.
        per_query: one answer a row: task, model, condition, draw, query, input, gold, answer,
            correct, margin; a draw below 0 means that none was made.
        settings: the run's configuration, nested.
        versions: package to version.
        notes: sentences a reader needs in order to trust the numbers.
        cells: one cell a row, its id in the column `cell`.
        labels: what the labels of arms stand for.
        made: when the cells were made, and on which machines, by what that is called.
        command: what makes such a run again.
        fronts: of several models, a task each: which arm to take, and what that rests on.
        partial: how much of the run there is, where some of its cells are not done.
    """

    title: str
    verdicts: Sequence[Mapping[str, Any]]
    tables: Mapping[str, "pd.DataFrame"]
    prompts: Sequence[Mapping[str, Any]]
    per_query: "pd.DataFrame"
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    cells: "pd.DataFrame"
    labels: Labels = field(default_factory=dict)
    notes: Sequence[str] = field(default_factory=tuple)
    made: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    fronts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    partial: Partial | None = None

    def __post_init__(self) -> None:
        """Check that every table has its columns and every verdict a known state."""
        for name, table in (*self.tables.items(), ("cells", self.cells)):
            wanted = COLUMNS.get(name, "cell" if name == "cells" else "").split()
            missing = [column for column in wanted if column not in table.columns]
            if missing and not table.empty:
                raise ValueError(f"the table '{name}' lacks {', '.join(missing)}")
        for verdict in self.verdicts:
            if verdict["state"] not in STATES:
                raise ValueError(f"no such verdict: '{verdict['state']}'; one of {list(STATES)}")
        check_prompts(self.prompts)

    def table(self, name: str) -> "pd.DataFrame | None":
        """Return a table, or None where it was not measured."""
        table = self.tables.get(name)
        return None if table is None or table.empty else table

    def gates(self) -> list[dict[str, Any]]:
        """Return a row for each gate; none where none was given."""
        table = self.table("gates")
        return (
            []
            if table is None
            else [
                {str(name): value for name, value in row.items()}
                for row in table.to_dict("records")
            ]
        )

    def gate_lines(self) -> list[str]:
        """Return what became of each gate, a sentence each."""
        return [
            f"{row['model']}, {row['task']}, gate '{row['gate']}': {gates.line(row)}"
            for row in self.gates()
        ]

    def summary(self) -> Summary:
        """Return the scores, the verdicts, the prompts found and when tuning has paid."""
        about = {f"{one['model']}, {one['task']}": one for one in self.verdicts}
        conditions = Conditions.of(self.labels, self.cells)
        pairs, more = differences(self.tables, conditions), self.table("measured")
        return Summary(
            title=self.title,
            partial=self.partial,
            tables=[
                *(
                    score_tables.in_brief(one, self.labels)
                    for one in score_tables.scores(self.tables)
                ),
                *([] if more is None else [plain(more, "measured", "Measured besides")]),
            ],
            findings=[
                Finding(name, one["state"], one["line"].removeprefix(one["state"]))
                for name, one in about.items()
            ],
            lines=[
                *(line for both in self.fronts for line in both),
                *(f"{n}, in words: {o['advice']}" for n, o in about.items() if o.get("advice")),
                *self.gate_lines(),
                *score_tables.prompt_lines(self.tables),
                *(
                    f"{n}, side effects: {o['side_effects']}"
                    for n, o in about.items()
                    if o.get("side_effects")
                ),
                *(f"{n}, examples: {o['crossing']}" for n, o in about.items() if o.get("crossing")),
                *(f"{n}: {o['break_even']}" for n, o in about.items() if o.get("break_even")),
            ],
            notes=self.notes,
            details=[pairs.only(*PAIRED)] if pairs else [],
        )


def write(report: Report, path: Path | str, *, formats: Iterable[str] = FORMATS) -> Path:
    """Write the page and its figures, see `publish`; return the page's path."""
    return publish(path, wanted(report), partial(html, report), formats)


def html(report: Report, figures: Mapping[str, Figure]) -> str:
    """Return the page as one string."""
    from markupsafe import Markup

    scores = report.table("accuracy")
    names = [] if scores is None else dict.fromkeys(scores["condition"])
    arms = [report.labels[name] for name in names]
    answers = report.per_query
    constant = {
        name: str(answers[name].iloc[0])
        for name in ("task", "model")
        if name in answers and answers[name].nunique(dropna=False) == 1
    }
    return render(
        __package__,
        ["page.js"],
        figures,
        report=report,
        tables=_tables(report),
        adaptations=[style_of(look) for look in in_order(arm.look for arm in arms)],
        names_in_words=in_words(arms),
        chosen=any(one.get("selection", "").startswith(ON_VALIDATION) for one in report.verdicts),
        states=STATES,
        shown_first="templates" if "templates" in figures else "accuracy",
        size=_size(scores),
        gates=[{**row, "said": gates.line(row)} for row in report.gates()],
        searches=_searches(report),
        found=_prompts_judged(report),
        searched=ADAPTATIONS["best_prompt"],
        shows_form=_shows_form(report.table("curves")),
        several_models=len({verdict["model"] for verdict in report.verdicts}) > 1,
        num_answers=len(answers),
        constant=constant,
        answers=Markup(embedded(answers.drop(columns=list(constant)))),
    )


def _shows_form(curves: "pd.DataFrame | None") -> bool:
    """Return whether any learning curve has so many sizes that more than they can be said."""
    return curves is not None and bool((curves["sizes"] >= LEAST_SIZES).any())


def _size(scores: "pd.DataFrame | None") -> str:
    """Return how large the comparison is: "200 test items, 10 draws of examples, 6 templates"."""
    if scores is None:
        return ""
    most = scores[["queries", "draws", "templates"]].max()
    said = [counted(int(most["queries"]), "test item")]
    if most["draws"] > 1:
        said.append(f"{counted(int(most['draws']), 'draw')} of examples")
    return ", ".join([*said, counted(int(most["templates"]), "template")])


def _searches(report: Report) -> dict[str, list[dict[Any, Any]]]:
    """Return what every search found, in words, by task."""
    found: dict[str, list[dict[Any, Any]]] = {}
    table = report.table("searches")
    for row in [] if table is None else table.to_dict("records"):
        several = report.tables["searches"]["model"].nunique() > 1
        task = f"{row['task']} on {row['model']}" if several else str(row["task"])
        drawn = "" if row["draw"] < 0 else f", draw {row['draw']}"
        shown = {
            "label words": row["label_words"] or "the options of each item",
            "demonstrations": ORDERS.get(row["order"], row["order"]) or "none",
            "scoring rule": RULES.get(row["rule"], row["rule"]),
            "right on labeled items": f"{percent(row['validation_accuracy'])} of {row['items']}",
            "prompts read": f"{row['reads']:,}",
        }
        found.setdefault(task, []).append(
            {**row, "name": f"{row['condition']}{drawn}", "facts": shown}
        )
    return found


def _prompts_judged(report: Report) -> list[tuple[str, str, str]]:
    """Return the prompts found of the arms that verdicts are about, and what gives them back."""
    judged = [f"{v['model']}, {v['task']}, {v.get('prompt')}" for v in report.verdicts]
    lines = score_tables.prompt_lines(report.tables)
    return [
        line.partition("; give it back with ")
        for line in lines
        if any(line.startswith((f"{name}:", f"{name} (")) for name in judged)
    ]


def wanted(report: Report) -> Iterator[Wanted]:
    """Yield the figures that the report has rows for."""
    tables, labels = report.tables, report.labels
    most = "Of each adaptation, the condition with most examples is drawn."
    judged = "Of each adaptation, the arm of the verdict is drawn, else the one with most examples."
    made: list[tuple[str, str, Any, str]] = [
        (
            "accuracy",
            "accuracy",
            partial(accuracy_by_examples, baselines=tables.get("baselines")),
            "Score, by the rule that judges each arm, against number of examples. Intervals are "
            "over queries, draws and templates; baselines look at no query.",
        ),
        (
            "templates",
            "accuracy",
            partial(
                figures_templates.scores_by_template,
                templates=tables.get("templates"),
                baselines=tables.get("baselines"),
            ),
            "Score of every arm by the rule that judges it, over templates and draws. An arm "
            "without hollow marks has one way of asking: a prompt found, or a chosen template.",
        ),
        (
            "differences",
            "differences",
            partial(_main_differences, report=report),
            "Tuned less prompted on the same queries and draws, with 95% intervals, the verdict's "
            "pair first; of each two adaptations, the pair with most examples. p is corrected "
            "(Holm) over all pairs that were tested; the verdict tests its own pair by p(claim).",
        ),
        (
            "differences-all",
            "differences",
            partial(_every_difference, labels=labels),
            "Every pair that was tested: left minus right on the same queries and draws, with 95% "
            "intervals. p is corrected (Holm) over all of them.",
        ),
        (
            "side-effects",
            "side_effects",
            partial(_side_effects, labels=labels),
            "What adapting changes besides the score, with 95% intervals; left of 0 is a loss. On "
            "items that arms were not made for: less what zero-shot scores there. In wording: "
            "under templates that a draw was not tuned on (unseen), less under those that it was. "
            "In confidence: how near stated probabilities are to the truth (1 − Brier / 2). p is "
            "corrected (Holm) over all of them.",
        ),
        (
            "curves",
            "curves",
            partial(learning_curves, crossings=tables.get("crossings")),
            "Score against the number of labeled examples, of the two ways that the verdict is "
            "about. Marks: measured. Line: the middle of all forms of curves that the scores "
            "allow, dashed beyond the largest number measured. Band: 95% interval over all of "
            "them, queries, draws and templates. Dotted: the verdict's prompt. Gray: where the "
            "two cross.",
        ),
        (
            "calibration",
            "reliability",
            partial(reliability, labels=labels),
            f"How often answers given with some confidence are right; below the dashed line, the "
            f"model is overconfident. {most}",
        ),
        (
            "front",
            "front",
            partial(score_by_cost, labels=labels),
            "Score against the cost of a query, without training, of the arms that the verdicts of "
            "all models are about, and of those they are held against. Intervals are over "
            "queries, draws and templates.",
        ),
        (
            "cost",
            "cost",
            partial(cost_by_queries, labels=labels, break_even=tables.get("break_even")),
            f"Total computation, one run of plain PEFT included, against queries answered. "
            f"{judged}",
        ),
        (
            "seconds",
            "cost",
            partial(
                cost_by_queries,
                labels=labels,
                break_even=tables.get("break_even"),
                unit="seconds",
            ),
            f"The same in seconds on the machine that ran it; models that were trained together "
            f"share theirs. {judged}",
        ),
        (
            "money",
            "cost",
            partial(
                cost_by_queries,
                labels=labels,
                break_even=tables.get("break_even"),
                unit="money",
            ),
            f"The same in money, by the prices given. {judged}",
        ),
    ]
    for name, source, chart, caption in made:
        if (rows := tables.get(source)) is not None and not rows.empty:
            if name == "money" and not {"query_price", "training_price"} <= {*rows.columns}:
                continue
            if name == "accuracy":
                # An arm's controls have its number of examples, and stand among the templates.
                rows = rows[[not labels[label].variant for label in rows["condition"]]]
            yield Wanted(name, caption, partial(chart, rows))


def _main_differences(rows: "pd.DataFrame", report: Report, *, width: int = WIDE) -> Any:
    """Return the differences that answer the question."""
    shown = shown_first(rows, report.labels, report.verdicts)
    return paired_differences(shown, report.labels, width=width)


def _every_difference(rows: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> Any:
    """Return all differences, those against the base model apart."""
    return paired_differences(by_kind(rows, labels), labels, width=width, step=19)


def _side_effects(rows: "pd.DataFrame", labels: Labels, *, width: int = WIDE) -> Any:
    """Return every side effect: a panel for each set of items, for wording, for confidence."""
    every = rows.to_dict("records")
    named = [f"{one['set']}, {ROLES[one['role']]}" for one in every]
    pairs = [
        f"{one['left']}, unseen − seen"
        if one["role"] == "wording"
        else f"{one['left']} − {one['right']}"
        for one in every
    ]
    several = rows["task"].nunique() > 1
    titles = [
        f"{task}: {name}" if several else name
        for task, name in zip(rows["task"], named, strict=True)
    ]
    return paired_differences(rows.assign(task=titles, pair=pairs), labels, width=width)


def _tables(report: Report) -> dict[str, Any]:
    """Return the page's tables by name; those the report does not know come under "others"."""
    tables = report.tables
    conditions = Conditions.of(report.labels, report.cells)
    return {
        "scores": score_tables.scores(tables),
        "rules": score_tables.by_fixed_rule(tables),
        "templates": score_tables.by_template(tables, conditions),
        "searches": score_tables.searches(tables, conditions),
        "wordings": as_it_is(tables, "wordings", "Templates, as --template takes them"),
        "differences": differences(tables, conditions),
        "side_effects": side_effects(tables, conditions),
        "changed": measured(tables, "changed", "Answers that changed", conditions),
        "curves": learned(tables),
        "calibration": measured(tables, "calibration", "Calibration by condition", conditions),
        "reliability": measured(tables, "reliability", "Reliability by confidence", conditions),
        "cost": measured(tables, "cost", "Cost by condition", conditions),
        "break_even": break_evens(tables, conditions),
        "front": front(tables, conditions),
        **other_tables(tables, (*COLUMNS, "verdicts"), report.cells),
    }
