"""The model card of an adapter: what it is, how to load it, its numbers, how it was made.

It holds no item of the task, no path and no licence: of these its owner says what is to be said.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from adaptlens.conditions import Condition
from adaptlens.formatting import counted, ends, percent
from adaptlens.report.how_tuned import RECIPE
from adaptlens.report.markdown import inline, pipes
from adaptlens.report.tables import Entry, Table
from adaptlens.report.theme import main_metric
from adaptlens.tasks import templates
from adaptlens.types import Task

if TYPE_CHECKING:
    import pandas as pd

    from adaptlens.studies.compare.page import Report


def card(
    report: "Report",
    answers: "pd.DataFrame",
    condition: Condition,
    task: Task,
    config: Mapping[str, Any],
    *,
    arm: str,
    draw: int,
    base: str,
    digest: str,
    name: str,
) -> str:
    """Return the card as Markdown, with what the hub reads at its head.

    Args:
        report: of the comparison.
        answers: every answer of it.
        condition: whose adapter it is.
        task: what it was tuned to.
        config: of the adapter, as PEFT has it.
        arm: what tables call it, under the template that it is read under.
        draw: which draw's.
        base: the hub id of its base; empty where that is not known.
        digest: of the base's files.
        name: what `from_pretrained` takes; empty for a folder.
    """
    kind = "soft prompt" if config.get("peft_type") == "PROMPT_TUNING" else "LoRA adapter"
    lines = ["---", *(f"base_model: {base}" for _ in [base] if base), "library_name: peft"]
    lines += ["tags:", "- adaptlens", "---", ""]
    lines += [f"# {inline(arm)} on {inline(task.name)}", ""]
    instructed = "" if condition.adaptation != "sl" else ", without any instruction"
    lines += [
        f"A {kind} of {inline(base or condition.model)}, tuned on "
        f"{counted(condition.examples, 'example')} of the task {inline(task.name)}{instructed}: "
        f"draw {draw} of {len(condition.draws)} by adaptlens's comparison of prompting and tuning. "
        f"The SHA-256 of the base's files is `{digest}`.",
        "",
        *_loading(base, name),
        *_numbers(report, answers, condition, arm, draw),
        *_prompts(report, condition, task, arm),
        *_recipe(report, condition, draw),
        "## Licence",
        "",
        "None is given here: whoever shares it says so, under the licences of base and data.",
    ]
    return "\n".join(lines) + "\n"


def _loading(base: str, name: str) -> Iterator[str]:
    yield from ("## How to load it", "")
    if not base:
        yield from ("`BASE` is the base's hub id or folder, which this card does not know.", "")
    source, adapter = repr(base or "BASE"), repr(name or "FOLDER")
    yield from (
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({source})",
        f"base = AutoModelForCausalLM.from_pretrained({source})",
        f"model = PeftModel.from_pretrained(base, {adapter})",
        "```",
        "",
    )


def _numbers(
    report: "Report", answers: "pd.DataFrame", condition: Condition, arm: str, draw: int
) -> Iterator[str]:
    scores = report.tables["accuracy"]
    scores = scores[(scores["task"] == condition.task) & (scores["model"] == condition.model)]
    metric = main_metric(scores["metric"])
    scores = scores[scores["metric"] == metric]
    factor = 1.0 if metric == "chrf" else 100.0
    own = dict.fromkeys(("zero-shot", condition.label, arm, f"best-{condition.label}"))
    rows = tuple(
        (
            Entry(str(row["condition"])),
            Entry(f"{factor * row['value']:.1f}"),
            Entry(ends(factor * row["low"], factor * row["high"])),
            Entry(str(row["draws"])),
            Entry(str(row["queries"])),
            Entry(str(row["templates"])),
        )
        for row in scores.to_dict("records")
        if row["condition"] in own
    )
    unit = "chrF" if metric == "chrf" else "accuracy, %"
    headings = (("arm", False), (unit, True), ("95% interval", False), ("draws", True),
                ("test items", True), ("templates", True))  # fmt: skip
    yield from ("## Numbers", "", *pipes(Table("", "", headings, rows)), "")
    mine = answers[
        (answers["task"] == condition.task)
        & (answers["model"] == condition.model)
        & (answers["condition"] == condition.label)
        & (answers["draw"] == draw)
    ]
    if len(mine):
        said = f"Draw {draw}, this adapter, answers {percent(mine['correct'].mean())} rightly"
        yield from (
            f"{said} ({counted(len(mine), 'answer')}, all templates, likeliest option).",
            "",
        )
    verdict = next(
        one
        for one in report.verdicts
        if (one["task"], one["model"]) == (condition.task, condition.model)
    )
    yield from (f"The comparison: {inline(str(verdict.get('advice') or verdict['line']))}", "")


def _prompts(report: "Report", condition: Condition, task: Task, arm: str) -> Iterator[str]:
    """Yield how it is asked: by the template that was chosen, or those it was tuned under."""
    chosen = {
        str(row["template"])
        for row in report.tables["accuracy"].to_dict("records")
        if (row["task"], row["model"]) == (condition.task, condition.model)
        and row["condition"] == arm != condition.label
    }
    yield from ("## How it is asked", "")
    for way in task.templates or (task.template,):
        if not chosen or way.name in chosen:
            instruction = task.instruction if way.instruction is None else way.instruction
            after = way.between if way.after_instruction is None else way.after_instruction
            before = "" if not instruction or condition.adaptation == "sl" else instruction + after
            text = before.replace("\n", "\\n") + templates.as_text(way)
            messages = ", as a message of the chat template" if way.chat else ""
            yield f"- {inline(way.name)}{messages}: {_code(text)}"
    yield ""


def _recipe(report: "Report", condition: Condition, draw: int) -> Iterator[str]:
    """Yield how it was made, and what this draw's candidate was."""
    rows = report.table("recipes")
    found = [] if rows is None else rows.to_dict("records")
    key = (condition.task, condition.model, condition.label)
    names = ("task", "model", "condition")
    own = next((row for row in found if tuple(row[name] for name in names) == key), None)
    if own is None:
        return
    place = condition.draws.index(draw)
    taken = condition.chosen[place] if place < len(condition.chosen) else {}
    cells = [(words, _text(own[name])) for name, words in RECIPE.items()]
    cells.append((f"chosen for draw {draw}", ", ".join(f"{k} {v:.4g}" for k, v in taken.items())))
    shown = tuple((Entry(name), Entry(said)) for name, said in cells if said)
    headings = (("setting", False), ("value", False))
    yield from ("## How it was made", "", *pipes(Table("", "", headings, shown)), "")


def _code(text: str) -> str:
    """Return a text as code, whatever backticks it has."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _text(value: Any) -> str:
    """Return a setting as it is written; empty for what does not apply."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)
