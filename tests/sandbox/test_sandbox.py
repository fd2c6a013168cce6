"""Templates from files: what they may reach, and that nothing they do takes more than its share."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from adaptlens import sandbox
from adaptlens.errors import UserError
from adaptlens.sandbox import child, environment, starting

VALUES = {"text": "some words", "items": ["a", "b"], "number": 3}

COSTLY = {
    "loops in loops": "{% for a in range(9999) %}{% for b in range(9999) %}x"
                      "{% endfor %}{% endfor %}",
    "silent loops": "{% for a in range(99999) %}{% for b in range(99999) %}"
                    "{% endfor %}{% endfor %}",
    "doubling a text": "{% set ns = namespace(t='ab') %}{% for i in range(60) %}"
                       "{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t|length }}",
    "doubling by plus": "{% set ns = namespace(t=[1]) %}{% for i in range(60) %}"
                        "{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t|length }}",
    "padding": "{{ 'x'|center(4000000000) }}",
    "padding by format": "{{ '{:>4000000000}'.format('x') }}",
    "padding by percent": "{{ '%4000000000d'|format(1) }}",
    "padding by a method": "{{ 'x'.ljust(4000000000) }}",
    "zero filled": "{{ 'x'.zfill(4000000000) }}",
    "tabs": "{{ ('\\t' * 100000).expandtabs(1000000) }}",
    "indented": "{{ ('a\\n' * 100000)|indent(100000) }}",
    "replaced": "{{ ('a' * 100000)|replace('a', 'b' * 100000) }}",
    "replaced by a method": "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "joined": "{{ range(99999)|join('b' * 1000000) }}",
    "joined again": "{{ ('a' * 1000)|join('b' * 1000)|join('c' * 1000) }}",
    "a slow pattern": "{{ ('a' * 40 ~ 'b')|regex_replace('(a+)+$', '') }}",
    "a growing pattern": "{{ ('a' * 100000)|regex_replace('a', 'b' * 100000) }}",
    "shifted numbers": "{{ (1 * 10).__pow__(9) if false else [1]|sum(start=[]) }}",
    "a macro of itself": "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "a caller of itself": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}"
                          "{% endmacro %}{{ m(60) }}",
    "a loop of itself": "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "lorem ipsum": "{{ lipsum(n=100000, min=1000, max=2000) }}",
    "batches": "{{ [1]|batch(900000000, 'x')|list }}",
    "slices": "{{ [1]|slice(900000000, 'x')|list }}",
    "ranges": "{% for i in range(99999) %}{{ range(99999)|list|length }}{% endfor %}",
    "sorted": "{% for i in range(99999) %}{{ range(99999)|sort|length }}{% endfor %}",
    "wrapped": "{% for i in range(9999) %}{{ ('a ' * 100000)|wordwrap(2)|length }}{% endfor %}",
    "pretty": "{{ ([[[['a'] * 100] * 100] * 100] * 100)|pprint }}",
    "as JSON": "{{ ([[[['a'] * 100] * 100] * 100] * 100)|tojson }}",
    "quoted again": "{{ 'a\"'" + "|tojson" * 60 + " }}",
    "translated": "{{ ('a' * 1000000).translate({97: 'b' * 1000000}) }}",
    "cycled": "{% set c = cycler('a' * 1000000) %}{% for i in range(99999) %}{{ c.next() }}"
              "{% endfor %}",
    "many pieces": "{{ text }}" * 4000 + "{{ '" + "y" * 1000 + "'|upper }}" * 9,
    "constants at compile time": "{{ 'x'|center(900000000)|length }}",
    "deep brackets": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "deep blocks": "{% if text %}" * 500 + "{% endif %}" * 500,
    "a long number": "{{ " + "9" * 5000 + " }}",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("template", COSTLY.values(), ids=COSTLY)
def test_no_template_takes_more_than_its_share(template):
    """It is refused in one line, or gives a text of at most a million characters."""
    try:
        text = sandbox.render(template, {**VALUES, "text": "w" * 1000}, "row 3, doc_to_text")
    except UserError as error:
        assert str(error).startswith("row 3, doc_to_text: ") and "\n" not in str(error)
    else:
        assert len(text) <= environment.MAX_OUTPUT_CHARACTERS


@pytest.mark.parametrize("name", ["padding", "silent loops"])
def test_memory_and_time_are_bounded_and_the_next_template_is_filled_in(name):
    with pytest.raises(UserError, match=r"takes more|takes MemoryError|cannot be filled in"):
        sandbox.render(COSTLY[name], VALUES, "here")
    assert sandbox.render("{% for i in items %}{{ i }}{% endfor %}", VALUES, "here") == "ab"


PLAIN = [
    "{{ text }}",
    "Text: {{ text|trim }}\nItems: {{ items[0] }} {{ items.1 }}",
    "{% if number > 2 and text %}{{ text|upper }}{% else %}no{% endif %}",
    "{{ 'more' if number is defined else 'less' }}{# said #}",
    "{{ text|default('none')|capitalize }}{{ items|length }}",
]
OTHERS = [
    "{% for i in items %}{{ i }}, {% endfor %}",
    "{{ text.split()[0] }}",
    "{{ text|replace('some', 'no') }}",
    "{{ items|join(' and ') }}",
    "{% set x = number * 2 %}{{ x + 1 }}",
    "{{ text|regex_replace('s.', '') }}",
]


@pytest.mark.parametrize("template", [*PLAIN, *OTHERS])
def test_the_child_and_this_process_fill_in_alike(template):
    assert environment.is_plain(template) == (template in PLAIN)
    here = environment.compiled(template).render(VALUES)
    asked = starting.ask({"do": "fill", "template": template, "values": VALUES})
    assert asked == {"text": here} and sandbox.render(template, VALUES, "here") == here


@pytest.mark.parametrize("template", [*PLAIN, *OTHERS])
def test_names_are_those_that_jinja_finds_undeclared(template):
    assert sandbox.names(template, "here") == environment.names(template)


def test_an_unknown_column_and_a_broken_template_are_said_alike_in_both():
    for template in ("{{ txt }}", "{% for i in txt %}{{ i }}{% endfor %}"):
        with pytest.raises(UserError, match="'txt' is undefined; expected one of the columns text"):
            sandbox.render(template, VALUES, "here")
    with pytest.raises(UserError, match="cannot be filled in"):
        sandbox.render("{{ text", VALUES, "here")


def test_values_that_are_not_json_are_shown_as_texts():
    template = "{% for i in [when] %}{{ i }}{% endfor %}"
    assert sandbox.render(template, {"when": datetime(2020, 1, 2)}, "here") == "2020-01-02 00:00:00"


CHATS = [
    "{% for m in messages %}<{{ m.role }}>{{ m['content'] | trim }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}",
    "{{ bos_token }}{% for m in messages %}\n  {% if loop.first and m.role == 'user' %}\n"
    "first: {{ m.content }}\n  {% endif %}\n{% endfor %}{{ messages | tojson }}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}"
    "{% endfor %}",
]
MESSAGES = [{"role": "user", "content": "Hi <there> é"}, {"role": "assistant", "content": "yes"}]


@pytest.mark.parametrize("template", CHATS)
def test_messages_are_written_as_transformers_writes_them(template):
    from transformers.utils.chat_template_utils import render_jinja_template

    values = {"bos_token": "<s>", "eos_token": "</s>"}
    (theirs,), _ = render_jinja_template(
        [MESSAGES], chat_template=template, add_generation_prompt=True, **values
    )
    assert sandbox.render_chat(template, MESSAGES, values, name="m") == theirs


def test_a_chat_template_reads_the_time_it_is_given_or_is_refused():
    template = "{{ strftime_now('%Y-%m-%d') }}"
    with pytest.raises(UserError, match="the chat template of 'm' reads the clock"):
        sandbox.render_chat(template, MESSAGES, {}, name="m")
    now = "2024-07-26T00:00:00"
    assert sandbox.render_chat(template, MESSAGES, {}, name="m", now=now) == "2024-07-26"


def test_a_chat_template_is_bounded_and_its_own_refusal_is_said():
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(UserError, match="the chat template of 'm' takes more time"):
        sandbox.render_chat(endless, MESSAGES, {}, name="m")
    refusing = "{{ raise_exception('Only two turns.') }}"
    with pytest.raises(UserError, match=r"roles user, assistant \(Only two turns.\)"):
        sandbox.render_chat(refusing, MESSAGES, {}, name="m")


def test_the_child_imports_nothing_of_this_package():
    for module in (child, environment):
        assert "adaptlens" not in Path(module.__file__).read_text("utf-8")


def test_an_error_of_any_kind_is_told_and_not_taken_for_an_end_over_a_limit(monkeypatch):
    def broken(*_):
        raise ImportError("jinja2>=3.1.6 is needed")

    monkeypatch.setitem(child._DO, "fill", broken)
    asked = json.dumps({"do": "fill", "template": "", "values": {}})
    found = child._answer(environment, asked)
    assert found == {"error": "failed", "said": "jinja2>=3.1.6 is needed"}


def test_answers_of_the_child_are_json_lines():
    asked = starting.ask(
        {"do": "fill", "template": "{% for i in [1] %}\n\u2028{% endfor %}", "values": {}}
    )
    assert json.dumps(asked) == '{"text": "\\n\\u2028"}'
