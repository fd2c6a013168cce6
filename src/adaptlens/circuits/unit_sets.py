"""Sets of units that are taken out to test a circuit: what they are, and how a cell names them."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["circuit", "random", "without"]


@dataclass(frozen=True, slots=True)
class UnitSet:
    """A circuit, a random set matched with one, or one without one of its members.

    Attributes:
        kind: which of these.
        source: the label of the condition whose circuit it is.
        size: of the circuit, in units.
        part: the number of the random set, or the unit that is left out; "" of a circuit.
    """

    kind: Kind
    source: str
    size: int
    part: str = ""

    def __str__(self) -> str:
        """Return the name that a cell has for it, which `of` reads."""
        return ":".join(
            [self.kind, self.source, str(self.size), *([self.part] if self.part else ())]
        )

    @classmethod
    def of(cls, name: str) -> "UnitSet":
        """Return the set that a cell names.

        Raises:
            ValueError: it is no such name.
        """
        kind, _, rest = name.partition(":")
        match kind:
            case "circuit":
                source, size = rest.rsplit(":", 1)
                return cls(kind, source, int(size))
            case "random" | "without":
                source, size, part = rest.rsplit(":", 2)
                return cls(kind, source, int(size), part)
        raise ValueError(f"'{name}' names no set of units")

    @property
    def circuit(self) -> "UnitSet":
        """The circuit that it is made from, or is."""
        return UnitSet("circuit", self.source, self.size)
