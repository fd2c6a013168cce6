"""How items are written: what a user's template says, what the usual ones are, and what comes out.

Every wrong template is one line: what was given, what was expected.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import tiny
from adaptlens import tasks
from adaptlens.cli.main import main
from adaptlens.errors import UserError
from adaptlens.prompts import render
from adaptlens.tasks.template_space import FIELD_PAIRS, templates_to_try, words_to_try
from adaptlens.tasks.templates import check_columns, parse, usual, ways, written
from adaptlens.types import Example, Task, Template

NLI = r"P: {premise}\nH: {hypothesis}\nAnswer: {target}"


def text_of(template: Template, example: Example, task: Task, chat: Any = None) -> str:
    """Prompt and right answer, as written."""
    way = written(task, template)
    prompt = render.render(way.task, (), way.example(example), chat=chat)
    return prompt.text + prompt.target


def choosing(**changes: Any) -> Task:
    example = Example("1", "a fine film", "good", fields=(("film", "Heat"), ("year", "1995")))
    task = Task(
        "films", "choice", (example,), (), (), instruction="Is it good?", choices=("bad", "good"),
        columns=("review_text", "verdict"),
    )  # fmt: skip
    return replace(task, **changes)


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixty pairs of 30 premises; a premise alone has two answers."""
    rows = ["premise,hypothesis,label,user"]
    rows += [f"premise {i // 2},claim {i},{('no', 'yes')[i % 2]},u{i // 6}" for i in range(60)]
    file = tmp_path_factory.mktemp("nli") / "pairs.csv"
    file.write_text("\n".join(rows) + "\n")
    return str(file)


# What is parsed


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"Review: {input}\nSentiment: {target}", "Review: a fine film\nSentiment: good"),
        ("Review: {input}\nSentiment: {target}", "Review: a fine film\nSentiment: good"),
        ("{input}{target}", "a fine filmgood"),
        (r"{input}\n{target}", "a fine film\ngood"),
        ("{input} and {input} = {target}", "a fine film and a fine film = good"),
        (r"{film} ({year}): {input}\n\t{target}", "Heat (1995): a fine film\n\tgood"),
        ("{{ film | upper }}: {{ input }} {{ target }}", "HEAT: a fine film good"),
        ("{% if year > '1990' %}New. {% endif %}{{ input }} {{target}}", "New. a fine film good"),
        ("{options}? {input} {target}", "bad, good? a fine film good"),
        ('{"text": "{input}"} {target}', '{"text": "a fine film"} good'),
    ],
)
def test_a_template_writes_what_it_shows(text: str, wanted: str) -> None:
    task = choosing()
    assert text_of(parse(text), task.train[0], task) == wanted


def test_the_instruction_stands_before_the_items_only_if_it_was_given() -> None:
    task, text = choosing(), r"{input}\nIt is {target}"
    assert text_of(parse(text), task.train[0], task) == "a fine film\nIt is good"
    assert (
        text_of(parse(text, instructed=True), task.train[0], task)
        == "Is it good?\n\na fine film\nIt is good"
    )


def test_a_template_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "film.jinja"
    file.write_text("{{ film }}: {{ input }}\nIt is {{ target }}\n", encoding="utf-8")
    task = choosing()
    assert text_of(parse(str(file)), task.train[0], task) == "Heat: a fine film\nIt is good"


plain_text = st.text(st.characters(exclude_characters="{}\\#", exclude_categories=["C"]))


@given(plain_text, plain_text.filter(lambda text: text.strip()), plain_text)
def test_what_stands_around_the_input_is_kept_to_the_letter(
    before: str, after: str, text: str
) -> None:
    task = choosing()
    example = replace(task.train[0], input=text)
    template = parse(f"{before}{{input}}{after.rstrip()} {{target}}")
    assert text_of(template, example, task) == f"{before}{text}{after.rstrip()} good"


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_what_an_item_holds_is_never_taken_for_a_template(text: str, film: str) -> None:
    task = choosing()
    example = replace(task.train[0], input=text, fields=(("film", film),))
    template = parse("{film}: {input} {target}")
    assert text_of(template, example, task) == f"{film}: {text} good"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Review: {input}", "expected {target}, once, at the end"),
        ("{target} {input}", "expected {target}, once, at the end"),
        ("{input}: {target}.", "expected {target}, once, at the end"),
        ("{target} {input} {target}", "expected {target}, once, at the end"),
        ("{{ target }} {{ input }} {{ target }}", "expected {target}, once, at the end"),
        ("", "expected {target}, once, at the end"),
        ("Answer: {target}", "shows nothing of an item"),
        ("{0}: {target}", "names column 0"),
        ("missing.jinja", "template file 'missing.jinja' cannot be read"),
    ],
)
def test_a_wrong_template_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse(text)
    assert said in str(error.value) and "\n" not in str(error.value)


# Of a file


def test_columns_of_a_file_are_named_and_need_no_input(nli: str) -> None:
    task = tasks.load(nli, templates=[NLI])
    example = task.train[0]
    fields = dict(example.fields)
    (way,) = ways(task)
    shown = render.render(way.task, (), way.example(example))
    assert shown.text == f"P: {fields['premise']}\nH: {fields['hypothesis']}\nAnswer:"
    assert shown.answers == (" no", " yes")
    assert task.columns == ("premise", "label")


def test_rows_that_differ_in_a_named_column_are_no_duplicates(nli: str) -> None:
    # By the premise alone every row contradicts another, and all would go.
    assert sum(map(len, _splits(tasks.load(nli, templates=[NLI])))) == 60
    with pytest.raises(UserError, match="nothing is left of the train split"):
        tasks.load(nli, input="premise")


def test_a_group_is_that_of_the_row(nli: str) -> None:
    task = tasks.load(nli, templates=[NLI], group="user")
    assert task.clustered_by == "user"
    for example in (e for split in _splits(task) for e in split):
        number = int(dict(example.fields)["hypothesis"].split()[1])
        assert example.group == f"u{number // 6}"


def _splits(task: Task) -> tuple[tuple[Example, ...], ...]:
    return task.train, task.validation, task.test


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"templates": ["{premiss} {target}"]}, "no column 'premiss' (did you mean 'premise'?)"),
        ({"templates": ["{{ premise | }} {target}"]}, "is not Jinja"),
        ({"templates": ["{premise} {label} {target}"]}, "shows the column 'label'"),
        ({"templates": [NLI, NLI]}, "was given twice"),
        ({"group": "passage", "input": "premise"}, "no column 'passage'"),
        ({"fields": ["Premise"], "input": "premise"}, "expected two names"),
        ({"label_words": "no,yes", "input": "premise"}, "a word for each raw answer"),
        ({"label_words": "no=a,yes=b", "choices": "no,yes"}, "were both given"),
    ],
)
def test_what_does_not_fit_the_file_is_one_line(nli: str, given_: Any, said: str) -> None:
    with pytest.raises(UserError) as error:
        tasks.load(nli, **given_)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_bundled_task_takes_templates_over_what_its_items_have() -> None:
    task = tasks.load("sentiment-novel", templates=[r"Say: {input}\nIt is {target}"])
    assert [template.name for template in task.templates] == ["Say: {input}⏎It is {target}"]
    with pytest.raises(UserError, match="names 'premise', which the items of task") as error:
        tasks.load("sentiment-novel", templates=["{premise} {target}"])
    assert "\n" not in str(error.value)


def test_long_templates_that_begin_alike_have_names_of_their_own(nli: str) -> None:
    start = "word " * 20 + "{premise} {hypothesis} "
    task = tasks.load(nli, templates=[start + "a {target}", start + "b {target}"])
    names = [template.name for template in task.templates]
    assert len(set(names)) == 2 and names[1] == f"{names[0]} #2"


def test_label_words_take_the_place_of_raw_answers(tmp_path: Path) -> None:
    file = tmp_path / "sst.tsv"
    file.write_text("text\tlabel\n" + "".join(f"film {i}\t{i % 2}\n" for i in range(40)))
    task = tasks.load(str(file), label_words={"0": "bad", "1": "good"}, fields=["Review", "Tone"])
    assert task.choices == ("bad", "good")
    assert all(e.target == ("bad", "good")[int(e.input.split()[1]) % 2] for e in task.train)
    assert text_of(usual(task, chat=False)[2], task.train[0], task) == (
        f"Review: {task.train[0].input}\nTone: {task.train[0].target}"
    )


def test_words_of_a_template_are_written_where_the_answers_are_meant() -> None:
    task = choosing()
    template = replace(parse("{options}: {input} {target}"), words=(("bad", "-"), ("good", "+")))
    assert text_of(template, task.train[0], task) == "-, +: a fine film +"
    way = written(task, template)
    assert render.render(way.task, (), way.example(task.train[0])).answers == (" -", " +")
    own = replace(task.train[0], choices=("good", "bad", "other"))
    assert render.render(way.task, (), way.example(own)).answers == (" +", " -", " other")


# The usual ways

KINDS = {
    "options shared": choosing(),
    "options of its own": choosing(
        choices=(), train=(replace(choosing().train[0], choices=("good", "so so")),)
    ),
    "generation": choosing(kind="generation", choices=()),
    "generation with braces": choosing(
        kind="generation", choices=(), instruction='Fill {"a": {{ b }}} in'
    ),
    "generation without instruction": choosing(kind="generation", choices=(), instruction=""),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["plain", "chat offered", "chat always"])
def test_usual_templates_all_write_something_else(kind: str, layout: str) -> None:
    task = KINDS[kind]
    chat = tiny.tiny_lm("llama", chat=True).render_chat
    offered = {"plain": False, "chat offered": True, "chat always": bool(task.instruction)}
    found = usual(task, chat=offered[layout])
    assert len(found) == len({template.name for template in found}) == 6
    texts = [
        text_of(
            template,
            task.train[0],
            task,
            chat if template.chat or layout == "chat always" else None,
        )
        for template in found
    ]
    assert len(set(texts)) == 6
    assert all("a fine film" in text and "good" in text for text in texts)


def test_the_usual_ways_of_a_file_by_hand() -> None:
    task = choosing()
    found = {t.name: text_of(t, task.train[0], task) for t in usual(task, chat=False)}
    assert found == {
        "plain": "Is it good?\n\nInput: a fine film\nOutput: good",
        "named": "Is it good?\n\nReview text: a fine film\nVerdict: good",
        "named-bare": "Review text: a fine film\nVerdict: good",
        "question": "a fine film\nQuestion: Which is it: bad, good?\nAnswer: good",
        "bare": "a fine film\ngood",
        "options": "Review text: a fine film\nOptions: bad, good\nVerdict: good",
    }


def test_options_of_its_own_are_asked_of_each_item() -> None:
    task = KINDS["options of its own"]
    found = {t.name: text_of(t, task.train[0], task) for t in usual(task, chat=False)}
    assert found["question"] == "a fine film\nQuestion: Which is it: good, so so?\nAnswer: good"


def test_columns_that_are_numbers_name_nothing() -> None:
    task = choosing(columns=("0", "1"))
    assert text_of(usual(task, chat=False)[2], task.train[0], task) == (
        "Text: a fine film\nLabel: good"
    )


def test_bundled_tasks_have_their_own_wordings() -> None:
    task = tasks.load("sentiment-novel")
    found = usual(task, chat=True)
    assert [template.name for template in found] == [
        "plain",
        *(f"wording-{n}" for n in range(1, 6)),
    ]
    assert len({text_of(template, task.train[0], task) for template in found}) == 6


# What a search tries


def test_names_of_the_data_come_first_and_nothing_is_tried_twice() -> None:
    task = choosing(templates=usual(choosing(), chat=False))
    found = templates_to_try(task)
    assert [template.name for template in found[:6]] == [t.name for t in task.templates]
    assert len({replace(template, name="") for template in found}) == len(found)
    texts = [text_of(template, task.train[0], task) for template in found]
    assert len(set(texts)) == len(texts)
    for text, label in FIELD_PAIRS:
        shown = f"{text}: a fine film\n{label}: good"
        assert shown in texts and f"Is it good?\n\n{shown}" in texts
    again = templates_to_try(choosing(columns=("Text", "Label")))
    assert [template.name for template in again[:3]] == ["plain", "Text/Label, bare", "Text/Label"]


def test_label_words_to_try_by_hand() -> None:
    assert list(words_to_try(())) == [()]
    assert list(words_to_try(("A", "B"))) == [()]
    assert list(words_to_try(("yes", "no"))) == [
        (),
        (("yes", "Yes"), ("no", "No")),
        (("yes", "true"), ("no", "false")),
        (("yes", "right"), ("no", "wrong")),
    ]
    # Capitals that would make two answers one are not tried.
    assert list(words_to_try(("a", "A"))) == [()]


# Of a command


def test_tasks_show_writes_items_as_each_template_does(nli: str) -> None:
    words = ["tasks", "show", nli, "--template", NLI, "--template", "{hypothesis}? {target}"]
    done = CliRunner().invoke(main, [*words, "--group", "user"])
    assert done.exit_code == 0, done.output
    task = tasks.load(nli, templates=[NLI, "{hypothesis}? {target}"])
    fields = dict(task.train[0].fields)
    lines = [line.strip() for line in done.output.splitlines()]
    at = lines.index(f"P: {fields['premise']}")
    assert lines[at + 1 : at + 3] == [
        f"H: {fields['hypothesis']}", f"Answer: {task.train[0].target}"
    ]  # fmt: skip
    assert f"{fields['hypothesis']}? {task.train[0].target}" in lines
    groups = len({example.group for example in tasks.load(nli, templates=[NLI], group="user").test})
    assert f"groups       {groups} in test, by 'user'" in lines


def test_tasks_show_takes_fields_and_label_words(nli: str) -> None:
    words = ["tasks", "show", nli, "--template", NLI, "--label-words", "no=never,yes=always"]
    done = CliRunner().invoke(main, [*words, "--fields", "Text,Verdict"])
    assert done.exit_code == 0 and "'never', 'always'" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--template", "{premise}"], "expected {target}, once"),
        (["--template", "{nothing} {target}"], "no column 'nothing'"),
        (["--label-words", "never"], "--label-words never"),
        (["--fields", "One"], "--fields One"),
    ],
)
def test_wrong_words_on_the_command_line_are_one_line(
    nli: str, words: list[str], said: str
) -> None:
    done = CliRunner().invoke(main, ["tasks", "show", nli, "--input", "hypothesis", *words])
    assert done.exit_code == 2
    assert said in done.output and len(done.output.strip().splitlines()) == 1


def test_a_template_in_a_config_is_the_one_on_the_command_line(nli: str, tmp_path: Path) -> None:
    from adaptlens.config.reading import load_config
    from adaptlens.studies.compare.config import COMPARISON

    file = tmp_path / "study.yaml"
    file.write_text(f"tasks: [{{path: {nli}, templates: {json.dumps(NLI)}}}]\n")
    (source,) = load_config(COMPARISON, file).tasks
    assert source["templates"] == [NLI]
    (template,) = tasks.load(source["path"], templates=source["templates"]).templates
    assert template == parse(NLI)


def test_templates_are_checked_against_items() -> None:
    with pytest.raises(UserError, match=r"names 'plot'.*\{film\}, \{year\}"):
        check_columns(choosing(templates=(parse("{plot} {target}"),)))
