"""What columns are usually called, compared without regard to case, blanks and hyphens."""

import re
from collections.abc import Iterable

# fmt: off
INPUT_NAMES = (
    "input", "text", "sentence", "question", "prompt", "query", "review", "document", "source",
    "src", "content", "utterance", "tweet", "post", "comment", "message", "headline", "passage",
    "body", "ctx", "goal", "claim", "description", "title", "question_stem",
)
TARGET_NAMES = (
    "target", "label", "answer", "output", "completion", "response", "labels", "class", "category",
    "sentiment", "gold", "reference", "translation", "summary", "tgt", "intent", "rating",
    "answerkey", "answer_key", "gold_label", "class_index", "correct_answer", "correct_option",
    "correct", "cop", "is_duplicate", "ground_truth", "expected_output",
)
CHOICES_NAMES = (
    "choices", "options", "endings", "answer_choices", "candidates", "alternatives", "mc_options",
)
ASKED_NAMES = ("question", "query", "claim", "hypothesis", "statement")
"""Texts that are asked about another one."""
CONTEXT_NAMES = (
    "context", "passage", "article", "paragraph", "premise", "story", "document", "background",
    "evidence", "support", "abstract", "fact1", "text", "sentence", "content", "body", "review",
    "dialogue",
)
"""Texts that something is asked about."""
TITLE_NAMES = ("title", "subject", "headline", "heading")
BODY_NAMES = (
    "text", "body", "content", "description", "article", "abstract", "review", "document",
    "selftext", "message", "context", "passage", "paragraph",
)
"""Texts that have a title."""
# fmt: on

OTHER_NAMES = (*CHOICES_NAMES, "split", "instruction", "id", "idx", "index", "system")
KNOWN_NAMES = frozenset((*INPUT_NAMES, *TARGET_NAMES, *OTHER_NAMES, *CONTEXT_NAMES, *ASKED_NAMES))

_PAIR = re.compile(
    r"(sentence|question|text|premise|s|observation|tweet|phrase|review|headline|query|claim|q"
    r"|word|input|utterance|sent)_?([12ab])"
)


def folded(name: str) -> str:
    """Return a column's name for comparison: "Class Index" and "class_index" are one."""
    return re.sub(r"[\s\-]+", "_", name.strip().casefold())


def by_name(columns: Iterable[str]) -> dict[str, str]:
    """Return folded name -> column; of two that fold alike, the first."""
    return {folded(column): column for column in reversed(list(columns))}


def pair(columns: Iterable[str]) -> tuple[str, str] | None:
    """Return two columns numbered 1 and 2, or lettered a and b, under one name of a text."""
    known = by_name(columns)
    for name in known:
        match = _PAIR.fullmatch(name)
        if match and match[2] in "1a":
            second = name[:-1] + {"1": "2", "a": "b"}[match[2]]
            third = name[:-1] + {"1": "3", "a": "c"}[match[2]]
            if second in known and third not in known:
                return known[name], known[second]
    return None


def read_together(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the columns that make one input together, in reading order; () where there are none.

    A title stands before what it heads, and what is asked (a question, a hypothesis, a claim) after
    the texts it is asked about.
    """
    columns = list(columns)
    if numbered := pair(columns):
        return numbered
    asked = [c for c in columns if folded(c) in ASKED_NAMES]
    contexts = [c for c in columns if folded(c) in CONTEXT_NAMES and c not in asked]
    titles = [c for c in columns if folded(c) in TITLE_NAMES]
    if asked and contexts:
        return (*titles, *contexts, *asked)
    bodies = [c for c in columns if folded(c) in BODY_NAMES]
    return (*titles, *bodies) if titles and bodies else ()


def heading(column: str) -> str:
    """Return a column's name as it stands before a text; "" where it is a mere number."""
    words = re.sub(r"[\W_]+", " ", column).strip()
    return "" if not re.search(r"[^\W\d]", words) else words[0].upper() + words[1:]
