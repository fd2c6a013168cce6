"""The table of scores where there is little room, and the prompts that searches found."""

import io

import pandas as pd

from adaptlens.report.labels import Shown
from adaptlens.report.printer import Printer
from adaptlens.studies.compare.score_tables import in_brief, prompt_lines, scores
from report_samples import LABELS, tables

WIDTH = 100


def printed(given, place: int = 0) -> list[str]:
    stream = io.StringIO()
    chosen = Shown("best-full-16", "full-16", "full", 16, is_chosen=True)
    labels = {**LABELS, chosen.label: chosen}
    Printer(file=stream, width=WIDTH).table(in_brief(scores(given)[place], labels))
    return stream.getvalue().splitlines()


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
        for arm in arms for template, value in (("named-bare", 0.9), ("question", 1.0))
    ]  # fmt: skip
    costs = found["cost"].iloc[0].to_dict()
    costs = [{**costs, "condition": arm, "training_flops": 3.84e15} for arm in arms]
    return {**found, "accuracy": pd.DataFrame(rows), "templates": pd.DataFrame(named),
            "cost": pd.DataFrame(costs), "baselines": pd.DataFrame()}  # fmt: skip


def test_eight_arms_fit_a_hundred_columns_and_no_word_or_number_is_broken():
    lines = printed(eight_arms())
    assert max(map(len, lines)) <= WIDTH
    at = next(i for i, line in enumerate(lines) if line.startswith("best-full-16"))
    # Scores of templates may stand on a second line.
    assert {*" ".join(lines[at : at + 2]).split()} >= {
        "best-full-16", "100.0", "[88.4,", "100.0]", "named-bare", "90.0", "question", "prior",
        "6", "×", "10", "200", "3.84e+06",
    }  # fmt: skip


def test_the_table_says_what_its_names_and_rules_mean():
    text = " ".join(" ".join(printed(tables())).split())
    assert "icl-16 shows 16 examples in its prompt" in text
    assert "best-it-16 is it-16 read under its best template alone" in text
    assert "batch: that calibrated over the queries" in text and "chance 50.0" in text


def test_exact_match_has_a_column_of_its_own_and_no_rule():
    table = in_brief(scores(tables())[1], LABELS)
    assert [text for text, _ in table.headings][:3] == ["arm", "chrF, 0–100", "exact match, %"]
    assert "rule" not in [text for text, _ in table.headings]
    row = next(row for row in table.rows if row[0].text == "it-16")
    # 100 * (0.22 + 0.40) in chrF, and a point and a half less in exact match.
    assert [entry.text for entry in row][:3] == ["it-16", "62.0 [59.7, 64.3]", "60.5"]


def test_the_prompt_found_most_often_is_one_line_that_gives_it_back():
    found = tables()
    assert prompt_lines(found)[1] == (
        "reference, sentiment-novel, best-prompt-16: 'Text: ...⏎Label:' Dax/Wug, batch-calibrated; "
        "give it back with --template 'Text: {input}\\nLabel: {target}' "
        "--label-words 'dax=Dax,wug=Wug'"
    )
    row = found["searches"].iloc[1].to_dict()
    other = {**row, "prompt": "other", "template": "{input} = {target}", "options": "--other"}
    table = pd.DataFrame([{**other, "draw": d} for d in range(2)] + [row])
    (line,) = prompt_lines({"searches": table})
    assert ", best-prompt-16 (2 of 3 draws): '... =' Dax/Wug," in line
    assert line.endswith("give it back with --other")
    assert prompt_lines({}) == []
