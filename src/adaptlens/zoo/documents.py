"""What a corpus is made of."""

from collections.abc import Sequence
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


class Listing:
    """A document in the making that remembers where its answers are."""

    def __init__(self, kind: str, text: str = ""):
        self.kind, self.text = kind, text
        self.answers: list[tuple[int, int]] = []
        self.families: list[str] = []

    def add(self, before: str, wanted: str, family: str, after: str) -> str:
        """Write what stands before an answer, the answer, and what follows; return all of it."""
        start = len(self.text) + len(before)
        written = f"{before} {wanted}"
        self.answers.append((start, len(self.text) + len(written)))
        self.families.append(family)
        self.text += written + after
        return written + after

    def document(self) -> Document:
        """Return the document as it stands."""
        return Document(self.kind, self.text, tuple(self.answers), tuple(self.families))


def repeated(pieces: Sequence[str], room: int) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return pieces of text said again until the room is full, and where those said before are."""
    text, answers = "", []
    for position in range(room - 1):
        start = len(text)
        text += pieces[position % len(pieces)]
        if position >= len(pieces):
            answers.append((start, len(text)))
    return text, tuple(answers)
