"""What a comparison says in a terminal, and what it says each side was allowed."""

from types import SimpleNamespace

import pandas as pd
import pytest
from rich.console import Console

from adaptlens.cli.scores_table import WIDTH, prompt_lines, scores_table
from adaptlens.conditions import Condition
from adaptlens.studies.compare.allowed import allowed
from report_samples import sample, tables

SETTINGS = {"scoring": "validation", "true_few_shot": False}
TASK = {
    "name": "t",
    "kind": "choice",
    "choices": ["bad", "good"],
    "train": [{}] * 64,
    "validation": [{}] * 21,
    "test": [{}] * 30,
}


def condition(label: str, adaptation: str, **more) -> Condition:
    given = {"model": "m", "task": "t", "task_digest": "d", "draws": (0, 1), "arrays": {}}
    given |= {"arguments": {}, "numbers": {}, "cells": ()}
    return Condition(label=label, adaptation=adaptation, **(given | more))


def printed(report, task: str) -> list[str]:
    console = Console(width=WIDTH, record=True, file=SimpleNamespace(write=len, flush=int))
    rows = report.tables["accuracy"]
    console.print(scores_table(report, "reference", task, rows[rows["task"] == task]))
    return console.export_text().splitlines()


def eight_arms():
    """The widest numbers there are, under the longest usual names."""
    arms = ["zero-shot", "icl-16", "it-16", "full-16"]
    arms += ["best-prompt-0", "best-prompt-16", "best-it-16", "best-full-16"]
    found = tables()
    one = found["accuracy"].query("metric == 'judged'").iloc[0].to_dict()
    rows = [
        {**one, "condition": arm, "value": 1.0, "low": 0.884, "high": 1.0, "templates": 6,
         "draws": 10, "template": "", "worst_draw": 1.0, "queries": 200, "rule": "corrected"}
        for arm in arms
    ]  # fmt: skip
    named = [
        {"task": one["task"], "model": one["model"], "condition": arm, "template": template,
         "metric": "judged", "value": value}
        for arm in arms for template, value in (("named-bare", 0.9), ("a long name of a user", 1.0))
    ]  # fmt: skip
    costs = found["cost"].iloc[0].to_dict()
    costs = [{**costs, "condition": arm, "training_flops": 3.84e15} for arm in arms]
    return SimpleNamespace(
        tables={**found, "accuracy": pd.DataFrame(rows), "templates": pd.DataFrame(named),
                "cost": pd.DataFrame(costs)}
    )  # fmt: skip


def test_eight_arms_fit_a_hundred_columns_a_line_each():
    lines = printed(eight_arms(), "sentiment-novel")
    assert max(map(len, lines)) <= 100
    row = next(line for line in lines if line.startswith("best-full-16"))
    assert row.split() == [
        "best-full-16", "100.0", "[88.4,", "100.0]", "prior", "named-bare", "90", "a", "long",
        "na…", "100", "100.0", "6x10x200", "20", "3.8e15",
    ]  # fmt: skip


def test_the_table_says_what_its_names_and_rules_mean():
    text = " ".join(" ".join(printed(sample(1), "sentiment-novel")).split())
    assert "icl-16 shows 16 examples in its prompt" in text
    assert "best-it-16 is it-16 read under its best template alone" in text
    assert "batch: calibrated over the queries" in text and "without a model: chance 50.0" in text


def test_a_chosen_template_is_named_and_an_undrawn_arm_has_no_worst_draw():
    lines = printed(sample(1), "sentiment-novel")
    chosen = next(line for line in lines if line.startswith("best-it-16")).split()
    # Two rules share their cell, so the second stands on the next line.
    assert chosen[4:8] == ["batch,", "named", "89.7", "1x10x200"]
    assert next(line for line in lines if line.startswith("zero-shot")).split()[9] == "-"


def test_exact_match_has_a_column_of_its_own_and_no_rule():
    lines = printed(sample(1), "translation")
    assert "rule" not in lines[3]
    row = next(line for line in lines if line.startswith("it-16"))
    # 100 * (0.22 + 0.40) in chrF, and a point and a half less in exact match.
    assert row.split()[:5] == ["it-16", "62.0", "[59.7,", "64.3]", "60.5"]


def test_the_prompt_found_most_often_is_one_line_that_gives_it_back():
    report = sample(1)
    assert prompt_lines(report, "reference", "sentiment-novel")[1] == (
        "best-prompt-16: 'Text: ...⏎Label:' Dax/Wug, batch-calibrated; give it back with "
        "--template 'Text: {input}\\nLabel: {target}' --label-words 'dax=Dax,wug=Wug'"
    )
    row = report.tables["searches"].iloc[1].to_dict()
    other = {**row, "prompt": "other", "template": "{input} = {target}", "options": "--other"}
    table = pd.DataFrame([{**other, "draw": d} for d in range(2)] + [row])
    (line,) = prompt_lines(
        SimpleNamespace(tables={"searches": table}), "reference", "sentiment-novel"
    )
    assert line.startswith("best-prompt-16 (2 of 3 draws): '... =' Dax/Wug,")
    assert line.endswith("give it back with --other")
    assert prompt_lines(SimpleNamespace(tables={}), "reference", "sentiment-novel") == []


def test_what_each_side_was_allowed_by_hand():
    found = {"reads": 900, "items": 11}
    tried = [{"rate": rate, "steps": 30} for rate in (0.001, 0.004)]
    members = [
        condition("zero-shot", "zero_shot", draws=(-1,), templates=("plain", "bare")),
        condition("icl-4", "icl", arguments={"examples": 4}, templates=("plain", "bare")),
        condition("best-prompt-4", "best_prompt", arguments={"examples": 4},
                  searches=(found, {**found, "reads": 1200})),
        condition("it-4", "it", arguments={"examples": 4, "rank": 8}, templates=("plain", "bare"),
                  training={"candidates": tried}, chosen=(tried[1], tried[1])),
    ]  # fmt: skip
    assert allowed(members, TASK, SETTINGS) == (
        "Both sides: the same 2 draws of 4 labelled examples of 64; 21 validation items (the first "
        "11 choose rates, prompts, templates and scoring rules, the others choose the arm); "
        "2 templates (plain, bare); for each arm the scoring rule that does best: raw, per byte, "
        "per token, prior-corrected or batch-calibrated. "
        "Prompting: 0 or 4 demonstrations; a search for the best template, label words, "
        "demonstrations and order, which read at most 1,200 prompts on 11 labelled items for one "
        "draw. "
        "Tuning: it, LoRA of rank 8, rates 0.001 (chosen 0×) or 0.004 (chosen 2×), 30 steps."
    )


def test_without_a_search_the_given_rate_and_steps_are_said():
    arguments = {"examples": 4, "rate": [0.002], "steps": None}
    said = allowed(
        [condition("full-4", "full", arguments=arguments)],
        {**TASK, "validation": [{}] * 3},
        {"scoring": "raw", "true_few_shot": False},
    )
    assert said == (
        "Both sides: the same 2 draws of 4 labelled examples of 64; one scoring rule: raw. "
        "Tuning: full, all weights, rate 0.002, the usual steps."
    )


@pytest.mark.parametrize("few", [True, False])
def test_true_few_shot_says_that_validation_items_choose_the_arm_alone(few):
    said = allowed([condition("icl-4", "icl")], TASK, {"scoring": "raw", "true_few_shot": few})
    assert ("21 validation items, which choose the arm and nothing else" in said) == few
