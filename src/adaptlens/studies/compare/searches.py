"""What each search for a prompt found, as a text to read and as options that give it back."""

import shlex
from collections.abc import Mapping
from typing import Any

from adaptlens import tasks
from adaptlens.conditions import Condition
from adaptlens.tasks import answers, templates
from adaptlens.types import Template

KEPT = ("rule", "validation_accuracy", "items", "reads", "tokens")
"""What a table of searches has straight from the record of a search."""


def rows(
    one: Condition, task: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return what was found for every draw of a condition; nothing where nothing was searched.

    Args:
        one: the condition.
        task: as the run stores it.
        settings: of the comparison.

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
                "label_words": "/".join(words.get(answer, answer) for answer in task["choices"]),
                "order": search["order"] if one.examples else "",
                **{name: search[name] for name in KEPT},
                "options": options(template, task, settings),
                "sent": search.get("sent", ""),
            }
        )
    return found


def restored(stored: Mapping[str, Any]) -> Template:
    """Return a template from its record."""
    words = tuple((answer, word) for answer, word in stored["words"])
    return Template(**{**stored, "words": words})


def options(template: Template, task: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the options of `adaptlens compare` that make it write items as this template does.

    Label words are left out where no option can give them: those of a bundled task, which are
    fixed, and words with a comma or an equals sign.
    """
    words = ["--template", templates.as_text(template)]
    instruction = template.instruction
    instruction = task["instruction"] if instruction is None else instruction
    if instruction:
        words += ["--instruction", instruction]
    if template.chat:
        words.append("--chat")
    if template.words:
        pairs = _raw_words(dict(template.words), task, settings)
        if pairs and not any(mark in part for pair in pairs for part in pair for mark in ",="):
            words += ["--label-words", ",".join(f"{raw}={word}" for raw, word in pairs)]
    return " ".join(word if word.startswith("--") else _quoted(word) for word in words)


def _quoted(text: str) -> str:
    """Return text for a shell, always in quotation marks, so that it is seen where it ends."""
    return shlex.quote(text) if "'" in text else f"'{text}'"


def _raw_words(
    words: Mapping[str, str], task: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Return the word for every raw answer of the data; nothing for a bundled task.

    Answers in the user's data may already have been given words, which the new ones replace.
    """
    sources = [{"path": one} if isinstance(one, str) else one for one in settings["tasks"]]
    if task["name"] in tasks.names() and task["name"] in [one["path"] for one in sources]:
        return []
    for one in sources:
        known = answers.words_for(one.get("label_words") or one.get("choices"))
        if known and set(known.values()) == set(task["choices"]):
            return [(raw, words.get(answer, answer)) for raw, answer in known.items()]
    return [(answer, words.get(answer, answer)) for answer in task["choices"]]
