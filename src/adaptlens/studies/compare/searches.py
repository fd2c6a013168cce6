"""What each search for a prompt found, as a text to read and as options that give it back."""

import shlex
from collections.abc import Mapping
from typing import Any

from adaptlens import tasks
from adaptlens.conditions import Condition
from adaptlens.studies.compare.config import CompareConfig
from adaptlens.tasks import answers, templates
from adaptlens.types import Task, Template

KEPT = ("rule", "validation_accuracy", "items", "reads", "tokens")
"""What a table of searches has straight from the record of a search."""


def rows(one: Condition, task: Task, config: CompareConfig) -> list[dict[str, Any]]:
    """Return what was found for every draw of a condition; nothing where nothing was searched.

    Args:
        one: the condition.
        task: its task.
        config: the settings of the comparison.

    Returns:
        Per draw: `prompt` (the name of what was found), `template` (as `templates.parse` reads it),
        `label_words` (as they are written; none where items have options of their own), `order` of
        the demonstrations, `options` of the command that give the template back, `sent` (the
        prompt of the first test item, as sent), and `KEPT`.
    """
    found = []
    for draw, search in zip(one.draws, one.searches, strict=False):
        template = restored(search["template"])
        words = dict(template.words)
        found.append(
            {
                "draw": draw,
                "prompt": search["prompt"],
                "template": templates.as_text(template),
                "label_words": "/".join(words.get(answer, answer) for answer in task.choices),
                "order": search["order"] if one.examples else "",
                **{name: search[name] for name in KEPT},
                "options": options(template, task, config),
                "sent": search.get("sent", ""),
            }
        )
    return found


def restored(stored: Mapping[str, Any]) -> Template:
    """Return a template from its record."""
    words = tuple((answer, word) for answer, word in stored["words"])
    return Template(**{**stored, "words": words})


def options(template: Template, task: Task, config: CompareConfig) -> str:
    """Return the options of `adaptlens compare` that make it write items as this template does.

    Label words are left out where no option can give them: those of a bundled task, which are
    fixed, and words with a comma or an equals sign.
    """
    words = ["--template", templates.as_text(template)]
    instruction = template.instruction
    instruction = task.instruction if instruction is None else instruction
    if instruction:
        words += ["--instruction", instruction]
    if template.chat:
        words.append("--chat")
    if template.words:
        pairs = _raw_words(dict(template.words), task, config)
        if pairs and not any(mark in part for pair in pairs for part in pair for mark in ",="):
            words += ["--label-words", ",".join(f"{raw}={word}" for raw, word in pairs)]
    return " ".join(word if word.startswith("--") else _quoted(word) for word in words)


def _quoted(text: str) -> str:
    """Return text for a shell, always in quotation marks, so that it is seen where it ends."""
    return shlex.quote(text) if "'" in text else f"'{text}'"


def _raw_words(
    words: Mapping[str, str], task: Task, config: CompareConfig
) -> list[tuple[str, str]]:
    """Return the word for every raw answer of the data; nothing for a bundled task.

    Answers in the user's data may already have been given words, which the new ones replace.
    """
    if task.name in tasks.names() and task.name in [one["path"] for one in config.tasks]:
        return []
    for one in config.tasks:
        known = answers.words_for(one.get("label_words") or one.get("choices"))
        if known and set(known.values()) == set(task.choices):
            return [(raw, words.get(answer, answer)) for raw, answer in known.items()]
    return [(answer, words.get(answer, answer)) for answer in task.choices]
