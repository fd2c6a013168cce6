"""What a corpus is made of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """A text of some kind, and the spans in it, in characters, that are answers.

    `families` names for every answer the family its input belongs to ("positive", "algebra",
    "translation"); running text has no answers.
    """

    kind: str
    text: str
    answers: tuple[tuple[int, int], ...] = ()
    families: tuple[str, ...] = ()
