"""Ways of writing a task's items: a user's own, the usual ones, and what each makes of an item."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adaptlens import sandbox
from adaptlens.errors import UserError, listed
from adaptlens.tasks.names import heading
from adaptlens.types import Example, Task, Template

PLAIN, CHAT = "plain", "chat"
TEMPLATE_FILES = (".jinja", ".jinja2", ".j2", ".txt")

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_EXPRESSION = re.compile(r"\{[{%]")
_NAMED = re.compile(r"\{\{ (\w+) \}\}")
_TARGET = re.compile(r"(\s*)(?:\{\{-?\s*target\s*-?\}\}|\{target\})\s*\Z")
_SHOWN = 48
_LONGEST_FILE = 200_000
_NUMBER = " #"


def parse(text: str, *, instructed: bool = False) -> Template:
    r"""Return the template that a user wrote.

    Args:
        text: "Review: {input}\nSentiment: {target}", with a backslash and n for a line break or
            the break itself; or Jinja, "Review: {{ input }} ...", over the same names; or the name
            of a file of Jinja. `{input}`, `{options}` and any column may be named; `{target}`
            ends it.
        instructed: whether the task's instruction stands before the items.

    Raises:
        UserError: the answer is not at the end, or nothing of the item is named.
    """
    written = _from_file(text) if text.lower().endswith(TEMPLATE_FILES) else text
    written = written.replace("\\n", "\n").replace("\\t", "\t")
    ending = _TARGET.search(written)
    if not ending or len(re.findall(r"\{\s*target\s*\}", written)) != 1:
        raise UserError(
            f"template {_short(text)!r}: expected {{target}}, once, at the end, where the answer "
            "goes, for example 'Review: {input}\\nSentiment: {target}'."
        )
    body, prefix = written[: ending.start()], ending[1]
    if "\n" in prefix:
        body, prefix = body + prefix, ""
    found = _of_body(body, prefix, instructed, text)
    return replace(found, name=_short(_written(found)))


def _of_body(body: str, prefix: str, instructed: bool, text: str) -> Template:
    """Return the template of what stands before the answer, in `text`; it has no name yet."""
    instruction = None if instructed else ""
    if not _EXPRESSION.search(body):
        names = _PLACEHOLDER.findall(body)
        if number := next((name for name in names if name.isdecimal()), None):
            raise UserError(
                f"template {_short(text)!r} names column {number}; expected {{input}} or a column "
                "that has a name; write {input}, or give the file a line of column names."
            )
        if not names:
            raise UserError(
                f"template {_short(text)!r} shows nothing of an item; expected {{input}} or a "
                "column, for example 'Review: {input}\\nSentiment: {target}'."
            )
        if names == ["input"]:
            before, _, after = body.partition("{input}")
            return Template(before, after, prefix, instruction=instruction)
        body = _PLACEHOLDER.sub(r"{{ \1 }}", body)
    return Template("", "", prefix, instruction=instruction, item=body)


def as_text(template: Template) -> str:
    r"""Return the text that `parse` reads as this template, on one line.

    Of any text that `parse` has read it gives one that reads the same. What a text cannot say is
    left out: the instruction, what stands between items, label words, and the chat template.
    """
    return _written(template).replace("\n", "\\n").replace("\t", "\\t")


def _written(template: Template) -> str:
    """Return a template with its line breaks, `{name}` for the parts of an item."""
    item = template.item
    plain = _NAMED.sub(r"{\1}", item)
    names = _PLACEHOLDER.findall(plain)
    if plain != item and not _EXPRESSION.search(plain) and names != ["input"]:
        same = _PLACEHOLDER.sub(r"{{ \1 }}", plain) == item
        item = plain if same and not any(map(str.isdecimal, names)) else item
    body = f"{template.before_input}{item or '{input}'}{template.before_target}"
    return f"{body}{template.target_prefix}{{target}}"


def parse_all(texts: Sequence[str], *, instructed: bool = False) -> tuple[Template, ...]:
    """Return the templates that a user wrote, each under a name of its own.

    Raises:
        UserError: see `parse`; or two of them are the same.
    """
    found: list[Template] = []
    for text in texts:
        template = parse(text, instructed=instructed)
        alike = [one for one in found if one.name.partition(_NUMBER)[0] == template.name]
        if any(replace(one, name="") == replace(template, name="") for one in alike):
            raise UserError(
                f"template {template.name!r} was given twice; expected templates that differ; give "
                "it once."
            )
        if alike:
            template = replace(template, name=f"{template.name}{_NUMBER}{len(alike) + 1}")
        found.append(template)
    return tuple(found)


def check_columns(task: Task, used: Sequence[Template] = ()) -> None:
    """Check that a task's items have what its templates name, or those that are given.

    Raises:
        UserError: a template is not Jinja, or names what the items do not have.
    """
    known = [name for name, _ in task.train[0].fields]
    for template in used or task.templates:
        for name in columns_named(template):
            if name not in known:
                columns = listed(["{input}", "{options}", *(f"{{{one}}}" for one in known)])
                raise UserError(
                    f"template {template.name!r} names '{name}', which the items of task "
                    f"'{task.name}' do not have; expected {columns}; correct the template."
                )


def _from_file(name: str) -> str:
    try:
        path = Path(name).expanduser()
        with path.open("rb") as stream:
            data = stream.read(_LONGEST_FILE + 1)
        if len(data) > _LONGEST_FILE:
            raise UserError(
                f"template file '{name}' is larger than {_LONGEST_FILE:,} bytes; expected one "
                "template; check that this is the right file."
            )
        return data.decode("utf-8").rstrip("\n")
    except (OSError, ValueError, RuntimeError) as error:
        said = getattr(error, "strerror", None) or "not UTF-8 text, or no name of a file"
        raise UserError(
            f"template file '{name}' cannot be read ({said}); expected a text such as "
            "'Review: {{ input }}' and, on the next line, 'Sentiment: {{ target }}'."
        ) from None


def _short(text: str) -> str:
    shown = text.replace("\n", "⏎")
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"


def columns_named(template: Template) -> tuple[str, ...]:
    """Return the names that a template's Jinja refers to, in order, but `input` and `options`."""
    names = sandbox.names(template.item, f"template {template.name!r}")
    return tuple(sorted({*names} - {"input", "options"}, key=lambda n: (template.item.find(n), n)))


def field_names(task: Task) -> tuple[str, str]:
    """Return what the input and the answer are called: as their columns, or Text and Label."""
    text, label = map(heading, (*task.columns, "", "")[:2])
    return text or "Text", label or ("Label" if task.kind == "choice" else "Answer")


def usual(task: Task, *, chat: bool) -> tuple[Template, ...]:
    """Return the ways a task may well be written: with and without instruction, and in other forms.

    plain: the task's own template. named: fields called as the file's columns are, after the
    instruction; named-bare: without it (answer: called Question and Answer, where there is none).
    question: the options in a question after the item. bare: the item, a line break, the answer.
    chat: the tokenizer's chat template; without one, options: the options before the answer, or
    quoted: the item in quotation marks. Bundled tasks have wordings of their own instead. No two
    write the same prompt.

    Args:
        task: to be written.
        chat: whether messages are one of the ways. Where all prompts are messages they are another
            way only after an instruction.
    """
    plain = replace(task.template, name=PLAIN)
    if task.wordings:
        own = replace(plain, before_input="", instruction="")
        worded = [
            replace(own, name=f"wording-{n}", item=text) for n, text in enumerate(task.wordings, 1)
        ]
        return (plain, *worded)
    text, label = field_names(task)
    fields = Template(f"{text}: ", f"\n{label}:", between=plain.between, name="named")
    silent = replace(fields, instruction="")
    choice = task.kind == "choice"
    # What stands after the input is part of the item, so that a chat message has it, too.
    asked = "Which is it: {{ options }}?" if choice else "What is the answer?"
    if not choice and task.instruction:
        asked = _literal(task.instruction)
    if chat:
        last = replace(fields, name=CHAT, before_input="", before_target="", chat=True)
    elif choice:
        item = "{{ input }}\nOptions: {{ options }}"
        last = replace(silent, name="options", item=item)
    else:
        last = replace(silent, name="quoted", before_input="", item='"{{ input }}"')
    third = replace(silent, name="named-bare")
    if not task.instruction:
        third = replace(silent, name="answer", before_input="Question: ", before_target="\nAnswer:")
    return (
        plain,
        fields,
        third,
        replace(
            silent,
            name="question",
            before_input="",
            before_target="\nAnswer:",
            item=f"{{{{ input }}}}\nQuestion: {asked}",
        ),
        replace(
            silent,
            name="bare",
            before_input="",
            before_target="\n" if choice else " =>",
            target_prefix="" if choice else " ",
        ),
        last,
    )


def _literal(text: str) -> str:
    """Return Jinja that writes a text as it is."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if "{" in text else text


@dataclass(frozen=True)
class Written:
    """A task as one template writes it.

    Attributes:
        task: what a prompt needs of it (instruction, template, options in their words), without
            its examples.
        words: answer to the word written for it; empty where it is written as it is.
    """

    task: Task
    words: Mapping[str, str]

    def example(self, example: Example) -> Example:
        """Return an example with its text, options and answer as the template has them.

        Raises:
            UserError: the template's Jinja fails on this example.
        """
        if not self.words and not self.task.template.item:
            return example
        choices = tuple(self.word(choice) for choice in example.choices)
        text = example.input
        if item := self.task.template.item:
            values = {
                **dict(example.fields),
                "input": example.input,
                "options": ", ".join(choices or self.task.choices),
            }
            place = f"template {self.task.template.name!r}, example {example.id}"
            text = sandbox.render(item, values, place)
        return replace(example, input=text, target=self.word(example.target), choices=choices)

    def word(self, answer: str) -> str:
        """Return what is written for an answer."""
        return self.words.get(answer, answer)


def written(task: Task, template: Template | None = None) -> Written:
    """Return the task as a template (its own, if None) writes it."""
    template = template or task.template
    words = dict(template.words)
    instruction = task.instruction if template.instruction is None else template.instruction
    bare = replace(
        task,
        train=(),
        validation=(),
        test=(),
        unrelated=(),
        pool=(),
        elsewhere=(),
        templates=(),
        template=template,
        instruction=instruction,
        choices=tuple(words.get(choice, choice) for choice in task.choices),
    )
    return Written(bare, words)


def ways(task: Task) -> tuple[Written, ...]:
    """Return the task as each of its templates writes it; as its own alone where it has none."""
    return tuple(written(task, template) for template in task.templates or (task.template,))
