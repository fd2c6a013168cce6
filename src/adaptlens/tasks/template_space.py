"""What a search for a prompt tries: names of fields, with and without instruction, label words."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from adaptlens.tasks.templates import field_names
from adaptlens.types import Task, Template

# fmt: off
FIELD_PAIRS = (
    ("Text", "Label"), ("Text", "Category"), ("Text", "Class"), ("Text", "Topic"),
    ("Text", "Sentiment"), ("Text", "Answer"), ("Sentence", "Label"), ("Sentence", "Sentiment"),
    ("Sentence", "Category"), ("Review", "Sentiment"), ("Review", "Rating"), ("Input", "Output"),
    ("Input", "Label"), ("Question", "Answer"), ("Question", "Type"), ("Question", "Category"),
    ("Query", "Intent"), ("Article", "Topic"), ("Article", "Category"), ("News", "Topic"),
    ("Headline", "Category"), ("Tweet", "Sentiment"), ("Tweet", "Emotion"), ("Comment", "Label"),
    ("Message", "Category"), ("Statement", "Label"), ("Claim", "Verdict"), ("Document", "Subject"),
)
"""What the text and the answer are commonly called in prompts of classification tasks."""

SYNONYMS = (
    (("negative", "positive"), ("bad", "good"), ("terrible", "great")),
    (("no", "yes"), ("false", "true"), ("wrong", "right")),
    (("negative", "neutral", "positive"), ("bad", "okay", "good")),
)
"""Sets of words that mean the same, in the same order."""
# fmt: on


def templates_to_try(task: Task) -> tuple[Template, ...]:
    """Return templates a prompt may be searched among, no two alike.

    The task's own and those it is read under; every pair of names of fields, those of the data
    first, without and with the instruction.
    """
    own = Template(between=task.template.between)
    found = [replace(task.template, name="plain"), *task.templates]
    for text, label in dict.fromkeys((field_names(task), *FIELD_PAIRS)):
        fields = replace(own, before_input=f"{text}: ", before_target=f"\n{label}:")
        found.append(replace(fields, name=f"{text}/{label}, bare", instruction=""))
        if task.instruction:
            found.append(replace(fields, name=f"{text}/{label}"))
    alike: dict[Template, Template] = {}
    for template in found:
        alike.setdefault(replace(template, name=""), template)
    return tuple(alike.values())


def words_to_try(choices: Sequence[str]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield label words to try, as `Template.words`: none, capitals, and words that mean the same.

    Nothing but the first where there are no shared options.
    """
    yield ()
    if not choices:
        return
    capital = [choice[:1].upper() + choice[1:] for choice in choices]
    if capital != list(choices) and len(set(capital)) == len(capital):
        yield tuple(zip(choices, capital, strict=True))
    plain = [choice.casefold() for choice in choices]
    for alike in SYNONYMS:
        for known in alike:
            if sorted(known) != sorted(plain):
                continue
            for other in alike:
                if other != known:
                    words = dict(zip(known, other, strict=True))
                    yield tuple((c, words[p]) for c, p in zip(choices, plain, strict=True))
