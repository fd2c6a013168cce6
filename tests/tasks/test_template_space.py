"""Templates as texts: what is read of a text, and a text that reads the same."""

import shlex
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adaptlens import tasks
from adaptlens.errors import UserError
from adaptlens.studies.compare import searches
from adaptlens.studies.compare.config import compare_config
from adaptlens.tasks import templates
from adaptlens.tasks.template_space import templates_to_try
from adaptlens.types import Task, Template

PIECES = st.sampled_from(
    ["{input}", "{options}", "{premise}", "{{ input }}", "{{ premise|upper }}", "{% if a %}", "{",
     "}", "{{", "}}", "{#", " ", "\n", "\t", "\\n", "\\t", "\\", "n", "t", "a b", "Text: ", "\r"]
)  # fmt: skip
TARGETS = st.sampled_from(
    ["{target}", "{{ target }}", "{{target}}", "{{- target -}}", "{target}\n"]
)
TASK = Task(
    "reviews", "choice", (), (), (), instruction="Say how it sounds.", choices=("bad", "good")
)


@given(st.lists(PIECES, max_size=8).map("".join), TARGETS, st.booleans())
@example("{premise} and {input}", " {target}", True)
@example("{{ input }}", "{target}", False)
@example("{{ premise }}{", "{target}", False)
@example("\\\\n{input}", "{target}", False)
def test_a_template_that_was_read_has_a_text_that_reads_the_same(body, target, instructed):
    try:
        template = templates.parse(body + target, instructed=instructed)
    except UserError:
        return
    text = templates.as_text(template)
    assert templates.parse(text, instructed=instructed) == template
    assert "\n" not in text and "\t" not in text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (Template("Review: ", "\nSentiment:"), "Review: {input}\\nSentiment: {target}"),
        (Template("", "\n", ""), "{input}\\n{target}"),
        (Template("", "\nLabel:", item="{{ premise }} / {{ input }}"),
         "{premise} / {input}\\nLabel: {target}"),
        (Template("", "", item="{{ premise|upper }}"), "{{ premise|upper }} {target}"),
    ],
)  # fmt: skip
def test_texts_by_hand(template, text):
    assert templates.as_text(template) == text


def test_a_template_is_named_by_the_text_that_gives_it_back():
    jinja, plain = (
        templates.parse("Q: {{input}}\n{{ target }}"),
        templates.parse("Q: {input} {target}"),
    )
    assert (jinja.name, plain.name) == ("Q: {{input}}⏎{target}", "Q: {input} {target}")


@pytest.mark.parametrize("name", ["sentiment", "translation"])
def test_every_template_of_a_search_can_be_given_back(name):
    task = tasks.load(name)
    for template in templates_to_try(task):
        read = templates.parse(templates.as_text(template), instructed=template.instruction is None)
        same = templates.written(task, template), templates.written(task, read)
        items = [way.example(task.test[0]) for way in same]
        own = [(way.task.template, item) for way, item in zip(same, items, strict=True)]
        texts = [
            (t.before_input + item.input + t.before_target, t.target_prefix) for t, item in own
        ]
        assert texts[0] == texts[1]


def options(template: Template, *sources: object) -> list[str]:
    config = compare_config(tasks=list(sources) or [{"path": "reviews.tsv"}])
    return shlex.split(searches.options(template, TASK, config))


def test_options_give_a_template_back():
    found = options(Template("It's: ", "\nLabel:", instruction=""))
    assert found == ["--template", "It's: {input}\\nLabel: {target}"]
    found = options(Template("", "", chat=True))
    assert found[2:] == ["--instruction", "Say how it sounds.", "--chat"]


def test_label_words_are_given_back_by_the_raw_answers_of_the_data():
    template = Template(instruction="", words=(("bad", "awful"), ("good", "great")))
    assert options(template)[2:] == ["--label-words", "bad=awful,good=great"]
    for words in ({"label_words": "0=bad,1=good"}, {"choices": {"0": "bad", "1": "good"}}):
        found = options(template, {"path": "other.tsv"}, {"path": "reviews.tsv", **words})
        assert found[2:] == ["--label-words", "0=awful,1=great"]


def test_label_words_that_no_option_can_give_are_left_out():
    odd = Template(instruction="", words=(("bad", "bad, really"), ("good", "good")))
    assert options(odd)[2:] == []
    words = Template(instruction="", words=(("bad", "awful"), ("good", "great")))
    bundled, config = replace(TASK, name="sentiment"), compare_config(tasks=["sentiment"])
    assert "--label-words" not in searches.options(words, bundled, config)
